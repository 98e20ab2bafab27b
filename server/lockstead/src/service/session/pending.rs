//! The acquires of a session that have not come to their end: on their way to an engine, or in a queue.

use std::collections::{BTreeSet, HashMap};

use lockstead_core::{Scope, Time};

/// They go by the client's numbers. A number can come again once its acquire is over, so what arrives late names the acquire
/// itself, by its [`AcquireId`].
#[derive(Debug, Default)]
pub(super) struct Pending {
    asked: HashMap<u64, Asked>,
    queued: HashMap<u64, Queued>,
    deadlines: BTreeSet<(Time, u64)>,
    last_serial: u64,
}

/// One acquire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AcquireId {
    pub(super) request: u64,
    serial: u64,
}

/// Where it was asked, since when, and until when it may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) scope: Scope,
    pub(super) since: Time,
    pub(super) until: Option<Time>,
}

/// The engine has not answered yet.
#[derive(Debug)]
struct Asked {
    serial: u64,
    waiting: Waiting,
    cancelled: bool,
}

/// It stands in a queue.
#[derive(Debug)]
struct Queued {
    serial: u64,
    waiting: Waiting,
}

/// What the engine's answer to an acquire is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// It is the answer.
    Awaited(Waiting),
    /// The client has cancelled the acquire.
    Cancelled(Waiting),
    /// Nothing: the grant has come before it.
    Late,
}

/// What there is to do for a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelling {
    /// Nothing yet. A cancel must not overtake its acquire, so it is due when that has been answered.
    Later,
    /// To cancel it there.
    In(Scope),
    /// To cancel it wherever it may be: it is not pending.
    Anywhere,
}

impl Pending {
    /// The engine was asked and will answer later.
    pub(super) fn ask(&mut self, request: u64, waiting: Waiting) -> AcquireId {
        let serial = self.next_serial();
        self.asked.insert(request, Asked { serial, waiting, cancelled: false });
        AcquireId { request, serial }
    }

    /// That answer is here.
    pub(super) fn answered(&mut self, acquire: AcquireId) -> Answered {
        match self.asked.get(&acquire.request) {
            Some(asked) if asked.serial == acquire.serial => {}
            _ => return Answered::Late,
        }
        match self.asked.remove(&acquire.request) {
            Some(Asked { waiting, cancelled: true, .. }) => Answered::Cancelled(waiting),
            Some(Asked { waiting, .. }) => Answered::Awaited(waiting),
            None => Answered::Late,
        }
    }

    /// Whether there is one of this number.
    pub(super) fn contains(&self, request: u64) -> bool {
        self.asked.contains_key(&request) || self.queued.contains_key(&request)
    }

    /// It stands in a queue.
    pub(super) fn queue(&mut self, request: u64, waiting: Waiting) {
        self.leave_queue(request);
        let serial = self.next_serial();
        self.queued.insert(request, Queued { serial, waiting });
        if let Some(until) = waiting.until {
            self.deadlines.insert((until, request));
        }
    }

    /// An event, or an answer, says that it was granted. `None` if it is not pending, or cancelled: then the grant is not
    /// for the client.
    pub(super) fn granted(&mut self, request: u64) -> Option<Waiting> {
        if self.asked.get(&request).is_some_and(|asked| asked.cancelled) {
            return None;
        }
        let asked = self.asked.remove(&request).map(|asked| asked.waiting);
        self.leave_queue(request).or(asked)
    }

    /// The client takes it back.
    pub(super) fn cancel(&mut self, request: u64) -> Cancelling {
        let queued = self.leave_queue(request);
        if let Some(asked) = self.asked.get_mut(&request) {
            asked.cancelled = true;
            return Cancelling::Later;
        }
        queued.map_or(Cancelling::Anywhere, |waiting| Cancelling::In(waiting.scope))
    }

    /// It left its queue because its wait is over. False if it had been granted or cancelled before.
    pub(super) fn wait_over(&mut self, acquire: AcquireId) -> bool {
        let waits = self.queued.get(&acquire.request).is_some_and(|queued| queued.serial == acquire.serial);
        waits && self.leave_queue(acquire.request).is_some()
    }

    fn leave_queue(&mut self, request: u64) -> Option<Waiting> {
        let Queued { waiting, .. } = self.queued.remove(&request)?;
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
    pub(super) fn pop_due(&mut self, now: Time) -> Option<(AcquireId, Scope)> {
        let &(until, request) = self.deadlines.first().filter(|(until, _)| *until <= now)?;
        self.deadlines.remove(&(until, request));
        let queued = self.queued.get(&request)?;
        Some((AcquireId { request, serial: queued.serial }, queued.waiting.scope))
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.asked.clear();
        self.queued.clear();
        self.deadlines.clear();
    }

    /// How many stand in a queue.
    pub(super) fn queued(&self) -> usize {
        self.queued.len()
    }

    /// How many stand in a queue of this scope.
    pub(super) fn queued_in(&self, scope: Scope) -> usize {
        self.queued.values().filter(|queued| queued.waiting.scope == scope).count()
    }

    fn next_serial(&mut self) -> u64 {
        self.last_serial += 1;
        self.last_serial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    const fn waiting(until: Option<Time>) -> Waiting {
        Waiting { scope: Scope::Cluster, since: at(0), until }
    }

    #[test]
    fn each_wait_is_over_once_and_in_time() {
        let mut pending = Pending::default();
        pending.queue(1, waiting(Some(at(20))));
        pending.queue(2, waiting(Some(at(10))));
        pending.queue(3, waiting(None));
        assert_eq!(pending.next_deadline(), Some(at(10)));
        assert_eq!(pending.pop_due(at(9)), None);
        let (due, scope) = pending.pop_due(at(10)).unwrap();
        assert_eq!((due.request, scope), (2, Scope::Cluster));
        assert_eq!(pending.pop_due(at(10)), None);
        assert!(pending.wait_over(due) && !pending.wait_over(due));
        assert_eq!((pending.queued(), pending.next_deadline()), (2, Some(at(20))));
        pending.clear();
        assert_eq!((pending.queued(), pending.next_deadline()), (0, None));
    }

    #[test]
    fn a_wait_begins_when_the_engine_has_answered() {
        let mut pending = Pending::default();
        let acquire = pending.ask(1, waiting(Some(at(10))));
        assert_eq!((pending.next_deadline(), pending.queued()), (None, 0));
        assert_eq!(pending.answered(acquire), Answered::Awaited(waiting(Some(at(10)))));
        pending.queue(1, waiting(Some(at(10))));
        assert_eq!((pending.next_deadline(), pending.queued()), (Some(at(10)), 1));
    }

    #[test]
    fn an_answer_that_comes_after_the_grant_says_nothing_of_a_later_acquire_of_that_number() {
        let mut pending = Pending::default();
        let first = pending.ask(1, waiting(None));
        assert!(pending.granted(1).is_some() && pending.granted(1).is_none());
        let second = pending.ask(1, waiting(None));
        assert_eq!(pending.answered(first), Answered::Late);
        assert_eq!(pending.answered(second), Answered::Awaited(waiting(None)));
    }

    #[test]
    fn the_end_of_a_wait_says_nothing_of_a_later_acquire_of_that_number() {
        let mut pending = Pending::default();
        pending.queue(1, waiting(Some(at(10))));
        let (due, _) = pending.pop_due(at(10)).unwrap();
        assert!(pending.granted(1).is_some());
        pending.queue(1, waiting(Some(at(20))));
        assert!(!pending.wait_over(due));
        assert_eq!(pending.next_deadline(), Some(at(20)));
    }

    #[test]
    fn a_cancel_never_overtakes_its_acquire_and_hides_its_grant() {
        let mut pending = Pending::default();
        let acquire = pending.ask(1, waiting(None));
        assert_eq!(pending.cancel(1), Cancelling::Later);
        assert_eq!(pending.granted(1), None);
        assert_eq!(pending.answered(acquire), Answered::Cancelled(waiting(None)));
        pending.queue(2, waiting(Some(at(10))));
        assert_eq!(pending.cancel(2), Cancelling::In(Scope::Cluster));
        assert_eq!((pending.granted(2), pending.next_deadline()), (None, None));
        assert_eq!(pending.cancel(2), Cancelling::Anywhere);
    }
}
