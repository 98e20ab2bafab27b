//! Who holds a resource and who waits for it. Most resources have one holder and no queue, and there can be a million of
//! them, so that much needs no memory of its own.

use std::collections::BTreeMap;

use crate::ids::HoldId;
use crate::resource::{Ticket, Token};

/// In order of their tokens, so oldest first.
#[derive(Debug)]
pub(crate) enum Holders {
    One(Token, HoldId),
    Many(Vec<(Token, HoldId)>),
}

impl Holders {
    pub(crate) const fn none() -> Self {
        Self::Many(Vec::new())
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Token, HoldId)> {
        let (one, many) = match self {
            Self::One(token, id) => (Some((*token, *id)), &[][..]),
            Self::Many(holders) => (None, &holders[..]),
        };
        one.into_iter().chain(many.iter().copied())
    }

    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::One(..) => 1,
            Self::Many(holders) => holders.len(),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one with a later token than all others have.
    pub(crate) fn push(&mut self, token: Token, id: HoldId) {
        debug_assert!(self.iter().next_back().is_none_or(|(last, _)| last < token), "tokens grow");
        match self {
            Self::One(..) => *self = Self::Many(self.iter().chain([(token, id)]).collect()),
            Self::Many(holders) if holders.is_empty() => *self = Self::One(token, id),
            Self::Many(holders) => holders.push((token, id)),
        }
    }

    /// Returns whether it was there.
    pub(crate) fn remove(&mut self, token: Token) -> bool {
        match self {
            Self::One(one, _) if *one == token => *self = Self::none(),
            Self::One(..) => return false,
            Self::Many(holders) => match holders.binary_search_by_key(&token, |(token, _)| *token) {
                Ok(index) => _ = holders.remove(index),
                Err(_) => return false,
            },
        }
        true
    }
}

/// In order of arrival.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "a place for a pointer instead of three words, in a million resources")]
pub(crate) struct Queue(Option<Box<BTreeMap<Ticket, HoldId>>>);

impl Queue {
    pub(crate) fn first(&self) -> Option<(Ticket, HoldId)> {
        self.iter().next()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ticket, HoldId)> {
        self.0.iter().flat_map(|waiters| waiters.iter()).map(|(ticket, id)| (*ticket, *id))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiters| waiters.len())
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn insert(&mut self, ticket: Ticket, id: HoldId) {
        self.0.get_or_insert_default().insert(ticket, id);
    }

    /// Returns whether it was there.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> bool {
        let Some(waiters) = &mut self.0 else { return false };
        let was_there = waiters.remove(&ticket).is_some();
        if waiters.is_empty() {
            self.0 = None;
        }
        was_there
    }

    /// 1 is next.
    pub(crate) fn position(&self, ticket: Ticket) -> usize {
        self.0.as_ref().map_or(0, |waiters| waiters.range(..=ticket).count())
    }
}
