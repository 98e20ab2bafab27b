//! What a worker wants next: drawn from its seed alone, so that the same seed makes the same choices.

use std::time::Duration;

use fastrand::Rng;

use crate::history::{Ask, HungOn};

/// A name that clients fight for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contended {
    pub(crate) name: &'static str,
    pub(crate) limit: u32,
}

/// More readers than there can be.
pub(crate) const LOCK_LIMIT: u32 = 1_000_000;

/// Few, so that they are contended.
pub(crate) const NAMES: [Contended; 5] = [
    Contended { name: "faults/lock-a", limit: LOCK_LIMIT },
    Contended { name: "faults/lock-b", limit: LOCK_LIMIT },
    Contended { name: "faults/lock-c", limit: LOCK_LIMIT },
    Contended { name: "faults/two", limit: 2 },
    Contended { name: "faults/three", limit: 3 },
];

/// An acquire and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) ask: Ask,
    /// Of a lease.
    pub(super) ttl: Duration,
    /// Takes the acquire back after this time, if it is not granted before.
    pub(super) drops_after: Option<Duration>,
    pub(super) holds_for: Duration,
    /// Gives back by a drop, instead of a call that is answered.
    pub(super) drops_hold: bool,
    pub(super) then_pauses: Duration,
}

impl Choice {
    /// `sessions` says on what a hold hangs that is no lease.
    pub(super) fn draw(rng: &mut Rng, sessions: HungOn, server_lease_ms: u64) -> Self {
        let Contended { name, limit } = NAMES[rng.usize(..NAMES.len())];
        let permits = match limit {
            LOCK_LIMIT if rng.u32(..10) < 3 => 1,
            LOCK_LIMIT => LOCK_LIMIT,
            _ => rng.u32(1..=limit),
        };
        let hung_on = if rng.u32(..10) < 2 { HungOn::Ttl } else { sessions };
        let wait_ms = match rng.u32(..4) {
            0 => Some(0),
            1 | 2 => Some(rng.u64(20..3_000)),
            _ => None,
        };
        let holds_for_ms = match rng.u32(..80) {
            0..28 => 0,
            28..68 => rng.u64(1..50),
            68..79 => rng.u64(50..400),
            // Until it is lost, in a bad moment.
            _ => rng.u64(2_000..4_000),
        };
        // A lease whose server is gone is remembered by nobody but Redis. If that forgets it too, the pause that follows,
        // which is as long as a server's lease, must outlast it.
        let ttl_ms = rng.u64(600..=server_lease_ms);
        // Nobody knows what is held while the lease of one who left goes on, so that must be rare.
        let leaves = if hung_on == HungOn::Ttl { 60 } else { 8 };
        Self {
            ask: Ask { name: name.to_owned(), permits, limit, hung_on, wait_ms },
            ttl: Duration::from_millis(ttl_ms),
            drops_after: (rng.u32(..leaves) == 0).then(|| Duration::from_millis(rng.u64(1..500))),
            holds_for: Duration::from_millis(holds_for_ms),
            drops_hold: rng.u32(..leaves) == 0,
            then_pauses: Duration::from_millis(rng.u64(..50)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(seed: u64) -> Vec<Choice> {
        let mut rng = Rng::with_seed(seed);
        (0..500).map(|_| Choice::draw(&mut rng, HungOn::Keep, 2_000)).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        assert_eq!(choices(1), choices(1));
        assert_ne!(choices(1), choices(2));
    }

    #[test]
    fn every_kind_of_request_comes() {
        let has = |what: fn(&Choice) -> bool| assert!(choices(1).iter().any(what));
        has(|choice| choice.ask.is_exclusive() && choice.ask.limit == LOCK_LIMIT);
        has(|choice| choice.ask.permits == 1 && choice.ask.limit == LOCK_LIMIT);
        has(|choice| choice.ask.permits == 2 && choice.ask.limit == 3);
        has(|choice| choice.ask.hung_on == HungOn::Ttl && choice.ask.wait_ms.is_none());
        has(|choice| choice.ask.wait_ms == Some(0));
        has(|choice| choice.drops_after.is_some());
        has(|choice| choice.holds_for > Duration::from_secs(1));
    }

    #[test]
    fn no_lease_outlives_the_pause_after_a_loss_of_data() {
        assert!(choices(1).iter().all(|choice| choice.ttl <= Duration::from_secs(2)));
    }
}
