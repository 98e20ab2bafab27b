//! Re-entry: one hold that stands for several acquires. It takes no permits, so Redis need not know.

use lockstead_core::limits::ENTRIES_PER_HOLD_MAX;
use lockstead_core::{Claim, Event, Grant, HoldId, OwnerKey, Party, Refusal, ResourceKey, SessionId};

use super::{Hold, State, Table};

/// Who can re-enter a hold of what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Actor {
    pub(super) session: SessionId,
    pub(super) resource: ResourceKey,
    pub(super) owner_key: OwnerKey,
}

impl Table {
    /// The hold that an acquire of this actor re-enters: the oldest that covers the claim, else the oldest.
    pub(super) fn held_by(&self, actor: &Actor, claim: Claim) -> Option<HoldId> {
        let of_actor = self.actors.get(actor)?;
        let mut held =
            of_actor.iter().filter_map(|id| Some((id, self.holds.get(id)?))).filter(|(_, hold)| hold.is_held());
        let first = held.next()?;
        let mut all = std::iter::once(first).chain(held);
        Some(all.find(|(_, hold)| hold.covers(claim)).map_or(*first.0, |(id, _)| *id))
    }

    /// Adds an acquire of the same actor to a hold. No permits change hands, so Redis need not know.
    pub(super) fn reenter(&mut self, id: HoldId, request: u64, claim: Claim) -> std::result::Result<Grant, Refusal> {
        let hold = self.holds.get_mut(&id).ok_or(Refusal::HoldNotFound)?;
        if claim.limit() != hold.claim.limit() {
            return Err(Refusal::LimitMismatch { in_use: hold.claim.limit() });
        }
        if claim.permits() > hold.claim.permits() {
            return Err(Refusal::ReentryTooLarge);
        }
        let State::Held { entries, .. } = &mut hold.state else { return Err(Refusal::HoldNotFound) };
        if entries.len() >= ENTRIES_PER_HOLD_MAX {
            return Err(Refusal::TooManyEntries);
        }
        entries.push(request);
        let session = hold.session();
        let grant = hold.describe(id).ok_or(Refusal::HoldNotFound);
        if let Some(session) = session {
            self.sessions.entry(session).or_default().requests.insert(request, id);
        }
        grant
    }

    /// Lets the waiters of the same actor in, whose claims the new hold covers. They leave the queue in Redis by the cancels that
    /// the caller makes of what is returned.
    pub(in crate::redis) fn merge_waiters(&mut self, held: HoldId, events: &mut Vec<Event>) -> Vec<HoldId> {
        let Some(actor) = self.holds.get(&held).and_then(Hold::actor) else { return Vec::new() };
        let others = self.actors.get(&actor).cloned().unwrap_or_default();
        let mut merged = Vec::new();
        for waiter in others {
            let Some(Hold {
                party: Party::Session { session, request, .. }, state: State::Waiting { .. }, claim, ..
            }) = self.holds.get(&waiter)
            else {
                continue;
            };
            let (session, request, claim) = (*session, *request, *claim);
            let Ok(grant) = self.reenter(held, request, claim) else { continue };
            self.remove(waiter, None);
            // Its number stands for the hold now.
            self.sessions.entry(session).or_default().requests.insert(request, held);
            events.push(Event::Granted { to: Some((session, request)), grant });
            merged.push(waiter);
        }
        merged
    }

    /// Gives one entry of a hold up. Returns how many are left; 0 means that the hold is to end, and nothing was done.
    pub(in crate::redis) fn give_up_entry(&mut self, id: HoldId, entry: Option<u64>) -> usize {
        let Some(Hold { party: Party::Session { session, .. }, state: State::Held { entries, .. }, .. }) =
            self.holds.get_mut(&id)
        else {
            return 0;
        };
        if entries.len() <= 1 {
            return 0;
        }
        // The oldest: its acquire was answered long ago, while the newest may yet be cancelled.
        let index = entry.and_then(|entry| entries.iter().position(|other| *other == entry)).unwrap_or(0);
        let (session, entry) = (*session, entries.remove(index));
        let left = entries.len();
        self.forget_request(session, entry, id);
        left
    }
}
