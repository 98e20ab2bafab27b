//! Leases that count against the quotas of their callers. A lease has no stream that would end with it, so this remembers
//! until when it is good. What another server does with it, this one does not hear.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockstead_core::{Grant, HoldId, RequestId, Time};

use crate::access::Counted;

/// By the hold. Those that have ended are dropped now and then.
#[derive(Debug, Default)]
pub(super) struct CountedLeases(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    leases: HashMap<HoldId, Lease>,
    by_request: HashMap<RequestId, HoldId>,
    /// How many there were after the last sweep.
    after_sweep: usize,
}

#[derive(Debug)]
struct Lease {
    _counted: Counted,
    request: Option<RequestId>,
    until: Time,
}

/// So few need no sweep.
const SWEEP_FROM: usize = 64;

impl CountedLeases {
    /// Whether the lease of this request is counted already. Whoever asks again has no more by it.
    pub(super) fn knows(&self, request: &RequestId) -> bool {
        let table = self.table();
        let lease = table.by_request.get(request).and_then(|hold| table.leases.get(hold));
        lease.is_some_and(|lease| lease.until > lockstead_clock::time())
    }

    /// Counts a lease until its deadline, if its caller is counted at all.
    pub(super) fn keep(&self, counted: Option<Counted>, request: Option<RequestId>, grant: &Grant) {
        let (Some(counted), Some(until)) = (counted, deadline_of(grant)) else { return };
        let mut table = self.table();
        if let Some(request) = &request {
            table.by_request.insert(request.clone(), grant.hold);
        }
        table.leases.entry(grant.hold).or_insert(Lease { _counted: counted, request, until });
        if table.leases.len() >= SWEEP_FROM.max(2 * table.after_sweep) {
            table.sweep(lockstead_clock::time());
        }
    }

    /// Its deadline has moved.
    pub(super) fn prolong(&self, grant: &Grant) {
        if let (Some(lease), Some(until)) = (self.table().leases.get_mut(&grant.hold), deadline_of(grant)) {
            lease.until = until;
        }
    }

    /// It has ended.
    pub(super) fn ended(&self, hold: HoldId) {
        let mut table = self.table();
        if let Some(request) = table.leases.remove(&hold).and_then(|lease| lease.request) {
            table.by_request.remove(&request);
        }
    }

    /// Drops those that have ended without a word.
    pub(super) fn sweep(&self) {
        self.table().sweep(lockstead_clock::time());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn sweep(&mut self, now: Time) {
        self.leases.retain(|_, lease| lease.until > now);
        let leases = &self.leases;
        self.by_request.retain(|_, hold| leases.contains_key(hold));
        self.after_sweep = self.leases.len();
    }
}

/// A little later than it is, by the time that its news took.
fn deadline_of(grant: &Grant) -> Option<Time> {
    grant.lease.map(|lease| lockstead_clock::time().saturating_add(lease.ttl))
}
