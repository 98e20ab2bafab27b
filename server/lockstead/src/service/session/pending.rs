//! The acquires of a session that wait, and until when.

use std::collections::{BTreeSet, HashMap};

use lockstead_core::{Scope, Time};

/// Acquires in a queue, by the client's numbers.
#[derive(Debug, Default)]
pub(super) struct Pending {
    by_request: HashMap<u64, Waiting>,
    deadlines: BTreeSet<(Time, u64)>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) scope: Scope,
    pub(super) since: Time,
    pub(super) until: Option<Time>,
}

impl Pending {
    pub(super) fn insert(&mut self, request: u64, waiting: Waiting) {
        self.remove(request);
        self.by_request.insert(request, waiting);
        if let Some(until) = waiting.until {
            self.deadlines.insert((until, request));
        }
    }

    pub(super) fn remove(&mut self, request: u64) -> Option<Waiting> {
        let waiting = self.by_request.remove(&request)?;
        if let Some(until) = waiting.until {
            self.deadlines.remove(&(until, request));
        }
        Some(waiting)
    }

    /// When the first wait is over.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// A wait that is over at `now`. It stays pending until it is removed, but is returned only once.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<(u64, Scope)> {
        let &(until, request) = self.deadlines.first().filter(|(until, _)| *until <= now)?;
        self.deadlines.remove(&(until, request));
        self.by_request.get(&request).map(|waiting| (request, waiting.scope))
    }

    pub(super) fn clear(&mut self) {
        self.by_request.clear();
        self.deadlines.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.by_request.len()
    }

    pub(super) fn scope(&self, request: u64) -> Option<Scope> {
        self.by_request.get(&request).map(|waiting| waiting.scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_over_once_and_in_time() {
        let at = Time::from_micros;
        let waiting = |until| Waiting { scope: Scope::Cluster, since: at(0), until };
        let mut pending = Pending::default();
        pending.insert(1, waiting(Some(at(20))));
        pending.insert(2, waiting(Some(at(10))));
        pending.insert(3, waiting(None));
        assert_eq!(pending.next_deadline(), Some(at(10)));
        assert_eq!(pending.pop_due(at(9)), None);
        assert_eq!(pending.pop_due(at(10)), Some((2, Scope::Cluster)));
        assert_eq!(pending.pop_due(at(10)), None);
        assert!(pending.remove(2).is_some() && pending.remove(2).is_none());
        assert_eq!((pending.len(), pending.next_deadline()), (2, Some(at(20))));
        pending.clear();
        assert_eq!((pending.len(), pending.next_deadline()), (0, None));
    }
}
