//! Since when leases are held. A lease hangs on nothing in this server, so there is nothing else to keep that with.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockstead_core::{Grant, HoldId, Now, Scope, Time};

/// Nothing is forgotten while there are fewer.
const FEW: usize = 1024;
/// A lease of which nothing was heard for so long after its deadline has ended on another server.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// The leases that this server granted or renewed.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_hold: HashMap<HoldId, Lease>,
    /// When there are so many, those that ended elsewhere are looked for.
    look_at: usize,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    scope: Scope,
    since: Time,
    until: Time,
}

impl Leases {
    /// It was granted, now or before, or its deadline has moved.
    pub(super) fn granted(&self, scope: Scope, grant: &Grant, now: Now) {
        let Some(terms) = grant.lease else { return };
        let ago = Duration::from_micros(now.wall.as_micros().saturating_sub(grant.acquired_at.as_micros()));
        let until = now.time.saturating_add(terms.ttl).saturating_add(FORGET_AFTER);
        let new = Lease { scope, since: now.time.saturating_sub(ago), until };
        let mut known = self.known();
        known.forget(now.time);
        known.by_hold.entry(grant.hold).and_modify(|lease| lease.until = until).or_insert(new);
    }

    /// It has ended. Returns since when it was held, if it was known.
    pub(super) fn ended(&self, hold: HoldId) -> Option<(Scope, Time)> {
        let Lease { scope, since, .. } = self.known().by_hold.remove(&hold)?;
        Some((scope, since))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forget(&mut self, now: Time) {
        if self.by_hold.len() < self.look_at.max(FEW) {
            return;
        }
        self.by_hold.retain(|_, lease| lease.until > now);
        self.look_at = 2 * self.by_hold.len();
    }
}

#[cfg(test)]
mod tests {
    use lockstead_core::{Claim, Mode, Token, WallTime};

    use super::*;

    const SECOND: u64 = 1_000_000;

    const fn at(second: u64) -> Now {
        Now { time: Time::from_micros(second * SECOND), wall: WallTime::from_micros((1000 + second) * SECOND) }
    }

    fn grant(hold: usize, acquired_at: WallTime) -> Grant {
        let ttl = Duration::from_secs(10);
        let lease = Some(lockstead_core::Lease { ttl, expires_at: acquired_at.saturating_add(ttl) });
        let (hold, claim) = (HoldId::from_bits(hold as u128), Claim::Lock(Mode::Exclusive));
        Grant { hold, claim, token: Token::from_number(1), entries: 1, acquired_at, lease }
    }

    #[test]
    fn a_lease_counts_from_its_grant_wherever_that_was() {
        let leases = Leases::default();
        leases.granted(Scope::Node, &grant(1, at(20).wall), at(20));
        leases.granted(Scope::Node, &grant(1, at(20).wall), at(25));
        leases.granted(Scope::Cluster, &grant(2, at(20).wall), at(29));
        let hold = HoldId::from_bits;
        assert_eq!(leases.ended(hold(1)), Some((Scope::Node, at(20).time)));
        assert_eq!(leases.ended(hold(2)), Some((Scope::Cluster, at(20).time)));
        assert_eq!(leases.ended(hold(2)), None);
    }

    #[test]
    fn leases_that_ended_elsewhere_are_forgotten_and_others_are_not() {
        let leases = Leases::default();
        for hold in 0..FEW {
            leases.granted(Scope::Cluster, &grant(hold, at(1).wall), at(1));
        }
        leases.granted(Scope::Cluster, &grant(0, at(1).wall), at(60));
        for hold in FEW..=2 * FEW {
            leases.granted(Scope::Cluster, &grant(hold, at(72).wall), at(72));
        }
        assert_eq!(leases.known().by_hold.len(), FEW + 2);
        assert!(leases.ended(HoldId::from_bits(0)).is_some() && leases.ended(HoldId::from_bits(1)).is_none());
    }
}
