//! What happens to a session as a whole.

use std::collections::{BTreeMap, BTreeSet};

use super::{Command, Ends, Hold, HoldState, Machine};
use crate::command::{EndReason, EndSession, Party, ResumeSession};
use crate::gate::Gate;
use crate::ids::{HoldId, SessionId};
use crate::time::Now;

impl Command for EndSession {
    type Outcome = usize;

    fn run<G: Gate>(self, machine: &mut Machine<G>, now: Now) -> usize {
        let ids = machine.holds_of(self.session);
        machine.remove_all(now, &ids, self.reason);
        ids.len()
    }
}

impl Command for ResumeSession {
    type Outcome = Vec<HoldId>;

    fn run<G: Gate>(self, machine: &mut Machine<G>, now: Now) -> Vec<HoldId> {
        let claimed: BTreeMap<_, _> = self.holds.iter().copied().collect();
        let pending: BTreeSet<_> = self.pending.iter().copied().collect();
        let mut given_up = Vec::new();
        for id in machine.holds_of(self.session) {
            let entries = claimed.get(&id).copied().unwrap_or(0);
            if !machine.reconcile(id, self.session, entries, &pending) {
                given_up.push(id);
            }
        }
        machine.remove_all(now, &given_up, EndReason::Released);
        let ours = |id: &HoldId| machine.holds.get(id).is_some_and(|hold| hold.is_held_by(self.session));
        claimed.into_keys().filter(|id| !ours(id)).collect()
    }
}

impl<G: Gate> Machine<G> {
    /// The holders and waiters of a session, each once, in a fixed order.
    fn holds_of(&self, session: SessionId) -> Vec<HoldId> {
        let ids: BTreeSet<_> = self.sessions.get(&session).into_iter().flat_map(BTreeMap::values).copied().collect();
        ids.into_iter().collect()
    }

    /// Removes all of them before it grants anything, so that none of them is granted in passing.
    fn remove_all(&mut self, now: Now, ids: &[HoldId], reason: EndReason) {
        let mut touched = BTreeSet::new();
        for id in ids {
            let ended = self.holds.get(id).filter(|hold| matches!(hold.state, HoldState::Held { .. })).map(|_| reason);
            if let Some(hold) = self.remove(*id, ended) {
                touched.insert(hold.resource);
            }
        }
        for resource in touched {
            self.serve(now, &resource);
        }
    }

    /// Cuts a hold down to what its client claims of it: `entries` whose acquires were answered, and those acquires that
    /// are about to be repeated. Returns whether anything is left.
    fn reconcile(&mut self, id: HoldId, session: SessionId, entries: u32, pending: &BTreeSet<u64>) -> bool {
        let Some(hold) = self.holds.get_mut(&id) else { return false };
        let claimed = usize::try_from(entries).unwrap_or(usize::MAX);
        let dropped = match (&hold.party, &mut hold.state) {
            (Party::Session { request, .. }, HoldState::Waiting(_)) => {
                return pending.contains(request);
            }
            (_, HoldState::Waiting(_) | HoldState::Held { ends: Ends::At(_), .. }) => return false,
            (_, HoldState::Held { ends: Ends::WithSession(entries), .. }) => {
                let (repeated, answered): (Vec<_>, Vec<_>) =
                    entries.as_slice().iter().partition(|entry| pending.contains(entry));
                let kept = answered.len().min(claimed);
                if repeated.is_empty() && kept == 0 {
                    return false;
                }
                *entries = answered[..kept].iter().chain(&repeated).copied().collect();
                answered[kept..].to_vec()
            }
        };
        for entry in dropped {
            self.unlink_request(session, entry);
        }
        true
    }
}

impl Hold {
    fn is_held_by(&self, session: SessionId) -> bool {
        self.session() == Some(session) && matches!(self.state, HoldState::Held { .. })
    }
}
