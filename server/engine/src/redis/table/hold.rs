//! One hold or waiter of this server.

use std::time::Duration;

use lockstead_core::{
    Acquire, Acquired, Claim, Grant, HoldId, Lease, Metadata, Now, Owner, Party, ResourceKey, SessionId, Time, Token,
    WallTime,
};
use tokio::sync::oneshot;

use super::Index;
use super::reentry::Actor;
use crate::Result;
use crate::redis::record::Details;

/// A hold or waiter of this server.
#[derive(Debug)]
pub(in crate::redis) struct Hold {
    pub(in crate::redis) partition: Index,
    pub(in crate::redis) resource: ResourceKey,
    pub(in crate::redis) claim: Claim,
    pub(in crate::redis) party: Party,
    pub(in crate::redis) owner: Owner,
    pub(in crate::redis) metadata: Metadata,
    pub(in crate::redis) since: WallTime,
    pub(in crate::redis) state: State,
    /// It came from another server, which did not say how often it was entered: its client will.
    pub(super) is_adopted: bool,
}

#[derive(Debug)]
pub(in crate::redis) enum State {
    /// Redis has not answered yet. Others may have asked the same meanwhile.
    Asked(Vec<Repeat>),
    Waiting {
        ticket: u64,
    },
    Held {
        token: Token,
        /// The session's numbers for the acquires that it stands for; none for a lease.
        entries: Vec<u64>,
        lease: Option<LeaseEnd>,
    },
}

/// Somebody who repeats an acquire that is not answered yet.
#[derive(Debug)]
pub(in crate::redis) struct Repeat {
    pub(in crate::redis) may_queue: bool,
    pub(in crate::redis) reply: oneshot::Sender<Result<Acquired>>,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::redis) struct LeaseEnd {
    pub(in crate::redis) at: Time,
    pub(in crate::redis) wall: WallTime,
    pub(in crate::redis) ttl: Duration,
}

/// A grant as Redis has made it.
#[derive(Clone, Copy, Debug)]
pub(in crate::redis) struct Made {
    pub(in crate::redis) token: Token,
    pub(in crate::redis) since: WallTime,
    /// What remains of a lease; `None` if it was granted just now, as it was asked for.
    pub(in crate::redis) left: Option<Left>,
}

/// What remains of a lease, and from what.
#[derive(Clone, Copy, Debug)]
pub(in crate::redis) struct Left {
    pub(in crate::redis) left: Duration,
    pub(in crate::redis) ttl: Duration,
}

impl Hold {
    pub(in crate::redis) fn session(&self) -> Option<SessionId> {
        match &self.party {
            Party::Session { session, .. } => Some(*session),
            Party::Lease { .. } => None,
        }
    }

    pub(super) fn actor(&self) -> Option<Actor> {
        match &self.party {
            Party::Session { session, owner_key: Some(owner_key), .. } => {
                Some(Actor { session: *session, resource: self.resource.clone(), owner_key: owner_key.clone() })
            }
            _ => None,
        }
    }

    pub(in crate::redis) fn is_held(&self) -> bool {
        matches!(self.state, State::Held { .. })
    }

    /// Whether whoever has this has that, too.
    pub(super) fn covers(&self, claim: Claim) -> bool {
        self.claim.limit() == claim.limit() && self.claim.permits() >= claim.permits()
    }

    /// Whether a request under this hold's number is the one that made it.
    pub(super) fn is_answer_to(&self, acquire: &Acquire) -> bool {
        if self.resource != acquire.resource() {
            return false;
        }
        match (&self.party, &acquire.party) {
            // The request may have been a re-entry, which can claim less than the hold has, but not more.
            (Party::Session { owner_key: Some(ours), .. }, Party::Session { owner_key: Some(theirs), .. }) => {
                let same = if self.is_held() { self.covers(acquire.claim) } else { self.claim == acquire.claim };
                ours == theirs && same
            }
            (ours, theirs) => {
                ours == theirs
                    && self.claim == acquire.claim
                    && self.owner == acquire.owner
                    && self.metadata == acquire.metadata
            }
        }
    }

    /// What only servers read of it in Redis.
    pub(in crate::redis) fn details(&self) -> Details<'_> {
        let details = Details::new(&self.owner, &self.metadata);
        match &self.party {
            Party::Session { request, owner_key, .. } => details.with_request(*request, owner_key.as_ref()),
            Party::Lease { ttl, .. } => Details { ttl_ms: u64::try_from(ttl.as_millis()).ok(), ..details },
        }
    }

    pub(in crate::redis) fn describe(&self, hold: HoldId) -> Option<Grant> {
        let State::Held { token, entries, lease } = &self.state else { return None };
        Some(Grant {
            hold,
            claim: self.claim,
            token: *token,
            entries: u32::try_from(entries.len().max(1)).unwrap_or(u32::MAX),
            acquired_at: self.since,
            lease: lease.map(|LeaseEnd { wall, ttl, .. }| Lease { ttl, expires_at: wall }),
        })
    }
}

impl Left {
    pub(super) fn counted_from(self, at: Now) -> LeaseEnd {
        let Self { left, ttl } = self;
        LeaseEnd { at: at.time.saturating_add(left), wall: at.wall.saturating_add(left), ttl }
    }
}
