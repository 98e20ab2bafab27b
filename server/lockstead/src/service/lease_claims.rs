//! What leases count against the quotas of their callers. A lease has no stream that would end with it, so this remembers
//! until when it is good. What another server does with it, this one does not hear.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use lockstead_core::{Grant, HoldId, Time};

use crate::access::Claim;

/// Claims of leases, by the hold. Those that have ended are dropped now and then.
#[derive(Debug, Default)]
pub(super) struct LeaseClaims(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    claims: HashMap<HoldId, (Claim, Time)>,
    /// How many there were after the last sweep.
    after_sweep: usize,
}

/// So few need no sweep.
const SWEEP_FROM: usize = 64;

impl LeaseClaims {
    /// Counts a lease until its deadline, if its caller is counted at all. A repeated request has the same lease again.
    pub(super) fn keep(&self, claim: Option<Claim>, grant: &Grant) {
        let (Some(claim), Some(deadline)) = (claim, deadline_of(grant)) else { return };
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.claims.insert(grant.hold, (claim, deadline));
        if table.claims.len() >= SWEEP_FROM.max(2 * table.after_sweep) {
            table.sweep(lockstead_clock::time());
        }
    }

    /// Its deadline has moved.
    pub(super) fn prolong(&self, grant: &Grant) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some((_, until)), Some(deadline)) = (table.claims.get_mut(&grant.hold), deadline_of(grant)) {
            *until = deadline;
        }
    }

    /// It has been released.
    pub(super) fn drop_of(&self, hold: HoldId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).claims.remove(&hold);
    }

    /// Drops those that have ended.
    pub(super) fn sweep(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sweep(lockstead_clock::time());
    }
}

/// A little later than it is, by the time that its news took.
fn deadline_of(grant: &Grant) -> Option<Time> {
    grant.lease.map(|lease| lockstead_clock::time().saturating_add(lease.ttl))
}

impl Table {
    fn sweep(&mut self, now: Time) {
        self.claims.retain(|_, (_, until)| *until > now);
        self.after_sweep = self.claims.len();
    }
}
