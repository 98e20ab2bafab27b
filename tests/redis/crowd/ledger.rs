//! Who believes to hold what.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use lockstead_core::{Claim, Grant, HoldId, Mode, ResourceKey};

/// What clients believe: from when they hear of a grant until they release, or hear of its end.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Beliefs>);

#[derive(Debug, Default)]
struct Beliefs {
    held: HashMap<ResourceKey, HashMap<HoldId, Grant>>,
    /// Holds whose ends were told, perhaps before the client came to believe in them.
    over: HashSet<HoldId>,
    /// Of the grants so far: the greatest of all, and the greatest that excluded everybody.
    last: HashMap<ResourceKey, (u64, u64)>,
    grants: usize,
}

impl Ledger {
    /// A client hears of a grant.
    pub(super) fn enter(&self, resource: &ResourceKey, grant: Grant) {
        let mut beliefs = self.0.lock().unwrap();
        let Beliefs { held, over, last, grants } = &mut *beliefs;
        if over.contains(&grant.hold) {
            return;
        }
        *grants += 1;
        let holders = held.entry(resource.clone()).or_default();
        assert!(holders.insert(grant.hold, grant).is_none(), "granted twice: {resource:?}");
        let used: u64 = holders.values().map(|grant| permits(grant.claim).0).sum();
        let (wanted, limit) = permits(grant.claim);
        assert!(used <= limit, "{used} of {limit} are held: {resource:?}: {:?}", holders.values());
        // Those who share may hear of their grants in another order.
        let (greatest, greatest_alone) = last.entry(resource.clone()).or_default();
        let (token, is_alone) = (grant.token.get(), wanted == limit);
        assert!(token > if is_alone { *greatest } else { *greatest_alone }, "the token did not grow: {resource:?}");
        *greatest = token.max(*greatest);
        if is_alone {
            *greatest_alone = token;
        }
    }

    /// It is about to release. Returns whether it still believed.
    pub(super) fn leave(&self, resource: &ResourceKey, hold: HoldId) -> bool {
        self.0.lock().unwrap().held.get_mut(resource).is_some_and(|holders| holders.remove(&hold).is_some())
    }

    /// It is told that the hold is over.
    pub(super) fn end(&self, resource: &ResourceKey, hold: HoldId) {
        self.leave(resource, hold);
        self.0.lock().unwrap().over.insert(hold);
    }

    pub(super) fn grants(&self) -> usize {
        self.0.lock().unwrap().grants
    }
}

/// How many permits, and of how many.
fn permits(claim: Claim) -> (u64, u64) {
    const ALL: u64 = 1 << 32;
    match claim {
        Claim::Lock(Mode::Exclusive) => (ALL, ALL),
        Claim::Lock(Mode::Shared) => (1, ALL),
        Claim::Semaphore(share) => (share.permits().into(), share.limit().into()),
    }
}
