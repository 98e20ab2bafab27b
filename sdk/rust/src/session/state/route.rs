//! Which server to try next, and when.

use std::time::Duration;

/// The longest pause before the first retry, and before any.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Goes round the servers, more slowly with every failure.
#[derive(Debug)]
pub(super) struct Route {
    current: usize,
    failures_in_a_row: u32,
    /// The last failure of each server.
    failures: Vec<Option<String>>,
    random: u64,
}

impl Route {
    pub(super) fn new(servers: usize, seed: u64) -> Self {
        // Xorshift gets nowhere from zero.
        Self { current: 0, failures_in_a_row: 0, failures: vec![None; servers], random: seed | 1 }
    }

    /// The server to try now.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// The current server failed, for the given reason.
    pub(super) fn failed(&mut self, why: &str) {
        if let Some(failure) = self.failures.get_mut(self.current) {
            *failure = Some(why.to_owned());
        }
    }

    /// Turns to the next server.
    pub(super) fn turn(&mut self) {
        self.current = (self.current + 1) % self.failures.len().max(1);
    }

    /// A session is well alive: the next failure is a first one again.
    pub(super) fn proved(&mut self) {
        self.failures_in_a_row = 0;
    }

    /// How long to pause before the next attempt: up to 100 ms, then up to twice as long each time, up to 1 s; and at
    /// least half of that, at random, so that the clients of a server that went away don't all come back at once.
    pub(super) fn pause(&mut self) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.failures_in_a_row.min(8)).min(LONGEST_PAUSE);
        self.failures_in_a_row += 1;
        let half = longest / 2;
        half + half * self.next_random() / 1024
    }

    pub(super) fn failures(&self) -> &[Option<String>] {
        &self.failures
    }

    /// 0 to 1023.
    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 54) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_50_ms_to_1_s_and_are_scattered() {
        let mut route = Route::new(1, 7);
        let pauses: Vec<u128> = (0..40).map(|_| route.pause().as_millis()).collect();
        assert!((50..100).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses[5..].iter().all(|pause| (500..1000).contains(pause)), "{pauses:?}");
        assert!(pauses[5..].iter().any(|pause| *pause != pauses[5]), "{pauses:?}");
        route.proved();
        assert!(route.pause().as_millis() < 100);
    }

    #[test]
    fn it_goes_round() {
        let mut route = Route::new(2, 0);
        let mut visits = Vec::new();
        for _ in 0..3 {
            visits.push(route.current());
            route.turn();
        }
        assert_eq!(visits, [0, 1, 0]);
    }
}
