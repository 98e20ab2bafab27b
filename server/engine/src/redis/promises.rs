//! Until when this server's word is good.

use std::time::Duration;

use lockstead_core::Time;

use super::table::Index;

/// What heartbeats allow the server to promise, by partition, and what it has promised.
#[derive(Debug)]
pub(super) struct Promises {
    server_lease: Duration,
    /// The server's leases, of the partitions in which it has joined.
    leases: Vec<Option<ServerLease>>,
    /// The furthest that anybody was promised.
    promised: Time,
}

#[derive(Clone, Copy, Debug)]
struct ServerLease {
    end: Time,
    is_in_service: bool,
}

impl Promises {
    pub(super) fn new(partitions: Index, server_lease: Duration) -> Self {
        Self { server_lease, leases: vec![None; usize::from(partitions)], promised: Time::default() }
    }

    /// From a heartbeat that was sent then, the server counts less than Redis does.
    pub(super) fn end_of_lease(&self, sent: Time) -> Time {
        sent.saturating_add(self.server_lease.mul_f64(0.9))
    }

    /// A partition's holds end this much before the lease does, so that the promises for all others go on in time.
    pub(super) fn margin(&self) -> Duration {
        self.server_lease / 10
    }

    /// Promises as much as all partitions in service allow.
    pub(super) fn promise(&mut self, now: Time) -> Time {
        let in_service = self.leases.iter().flatten().filter(|lease| lease.is_in_service);
        let allowed = in_service.map(|lease| lease.end).min();
        let until = allowed.unwrap_or_else(|| {
            // Nothing is held, so anything can be promised. What was promised before is promised again for a while: a
            // partition that comes into service has to catch up with it.
            let long_enough = now.saturating_add(self.server_lease / 2);
            if self.promised >= long_enough { self.promised } else { self.end_of_lease(now) }
        });
        self.promised = self.promised.max(until);
        until
    }

    /// Takes note of a heartbeat. Returns whether the partition is in service: not before its lease reaches as far as what
    /// clients believe of all their holds, those to come included.
    pub(super) fn renew(&mut self, partition: Index, end: Time) -> bool {
        let promised = self.promised;
        let Some(known) = self.leases.get_mut(usize::from(partition)) else { return false };
        let before = known.unwrap_or(ServerLease { end, is_in_service: false });
        let is_in_service = before.is_in_service || end >= promised;
        *known = Some(ServerLease { end: before.end.max(end), is_in_service });
        is_in_service
    }

    pub(super) fn is_in_service(&self, partition: Index) -> bool {
        self.lease(partition).is_some_and(|lease| lease.is_in_service)
    }

    fn lease(&self, partition: Index) -> Option<ServerLease> {
        self.leases.get(usize::from(partition)).copied().flatten()
    }

    /// A partition goes out of service.
    pub(super) fn end(&mut self, partition: Index) {
        if let Some(known) = self.leases.get_mut(usize::from(partition)) {
            *known = None;
        }
    }

    /// When the holds of a partition have to end, unless another heartbeat succeeds. There can be some before it is in
    /// service: those that were granted as it joined.
    pub(super) fn deadline(&self, partition: Index) -> Option<Time> {
        Some(self.lease(partition)?.end.saturating_sub(self.margin()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn the_shortest_lease_is_all_that_is_promised() {
        let mut promises = Promises::new(2, LEASE);
        assert!(promises.renew(0, promises.end_of_lease(at(100))));
        assert!(promises.renew(1, promises.end_of_lease(at(103))));
        assert_eq!(promises.promise(at(104)), at(109));
        assert_eq!(promises.deadline(0), Some(at(108)));
        promises.end(0);
        assert_eq!(promises.promise(at(108)), at(112));
    }

    #[test]
    fn a_partition_is_in_service_only_when_it_reaches_what_was_promised() {
        let mut promises = Promises::new(2, LEASE);
        assert!(promises.renew(0, promises.end_of_lease(at(100))));
        assert_eq!(promises.promise(at(100)), at(109));
        assert!(!promises.renew(1, promises.end_of_lease(at(99))), "clients believe longer than that");
        assert!(!promises.is_in_service(1));
        assert_eq!(promises.deadline(1), Some(at(107)), "what was granted as it joined must end in time, too");
        assert_eq!(promises.promise(at(100)), at(109));
        assert!(promises.renew(1, promises.end_of_lease(at(100))));
    }

    #[test]
    fn with_nothing_in_service_promises_stand_still_long_enough_to_be_caught_up_with() {
        let mut promises = Promises::new(1, LEASE);
        assert_eq!(promises.promise(at(100)), at(109));
        assert_eq!(promises.promise(at(104)), at(109));
        assert_eq!(promises.promise(at(105)), at(114));
        assert!(!promises.renew(0, promises.end_of_lease(at(104))));
        assert!(promises.renew(0, promises.end_of_lease(at(105))));
    }
}
