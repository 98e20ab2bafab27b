//! What must always be so, for tests to check after every command.

use super::{Ends, HoldState, Machine};
use crate::command::Party;
use crate::gate::Gate;

impl<G: Gate> Machine<G> {
    /// Checks the whole state, at the cost of walking through all of it.
    ///
    /// # Panics
    /// If anything is not as it must be, which is a defect of this crate.
    pub fn assert_invariants(&self) {
        let (mut holders, mut waiters, mut longest_queue) = (0, 0, 0);
        for (key, resource) in &self.resources {
            assert!(!resource.is_unused(), "{key:?} is kept though nobody uses it");
            let permits: u64 = resource.holders.iter().map(|(_, id)| u64::from(self.holds[&id].claim.permits())).sum();
            assert_eq!(permits, u64::from(resource.used), "permits of {key:?}");
            assert!(resource.used <= resource.limit, "{key:?} is granted beyond its limit");
            let head = resource.queue.first();
            let head_fits = head.is_some_and(|(_, head)| resource.fits(self.holds[&head].claim.permits()));
            assert_eq!(head_fits, resource.closed, "only the gate keeps a head of {key:?} out that fits");
            for (token, id) in resource.holders.iter() {
                assert!(matches!(&self.holds[&id].state, HoldState::Held { token: own, .. } if *own == token));
                assert_eq!(self.holds[&id].resource, *key);
            }
            for (ticket, id) in resource.queue.iter() {
                assert!(matches!(&self.holds[&id].state, HoldState::Waiting(own) if *own == ticket));
                assert_eq!(self.holds[&id].resource, *key);
            }
            holders += resource.holders.len();
            waiters += resource.queue.len();
            longest_queue = longest_queue.max(resource.queue.len());
        }
        assert_eq!(holders + waiters, self.holds.len(), "every hold is in one resource");
        let counted = (self.queue_lengths.waiters(), self.queue_lengths.longest());
        assert_eq!((waiters, longest_queue), counted, "queues are counted as they change");
        self.assert_indexes();
    }

    fn assert_indexes(&self) {
        let (mut entries, mut leases, mut requests) = (0, 0, 0);
        for (id, hold) in &self.holds {
            let of_hold = match &hold.state {
                HoldState::Waiting(_) => 1,
                HoldState::Held { ends: Ends::At(deadline), .. } => {
                    assert!(self.deadlines.contains(&(deadline.at, *id)));
                    leases += 1;
                    0
                }
                HoldState::Held { ends: Ends::WithSession(entries), .. } => entries.len(),
            };
            match &hold.party {
                Party::Session { .. } => entries += of_hold,
                Party::Lease { request, .. } => requests += usize::from(request.is_some()),
            }
        }
        assert_eq!(leases, self.deadlines.len(), "every deadline is that of a lease");
        assert_eq!(requests, self.requests.len(), "every request id is that of a lease");
        let ended = |request| self.ended.by_request(request).is_some();
        assert!(!self.requests.keys().any(ended), "a request id is granted once");
        assert_eq!(entries, self.sessions.values().map(std::collections::BTreeMap::len).sum::<usize>());
        assert!(self.sessions.values().all(|requests| !requests.is_empty()));
        for (actor, holds) in &self.actors {
            assert!(!holds.held.is_empty() || !holds.waiting.is_empty(), "{actor:?} is kept without a hold");
            for id in holds.held.iter().chain(holds.waiting.values()) {
                assert_eq!(self.holds[id].actor().as_ref(), Some(actor));
            }
        }
        let with_actor = self.holds.values().filter(|hold| hold.actor().is_some()).count();
        let of_actors: usize = self.actors.values().map(|holds| holds.held.len() + holds.waiting.len()).sum();
        assert_eq!(with_actor, of_actors, "every re-entrant hold is known by its actor");
    }
}
