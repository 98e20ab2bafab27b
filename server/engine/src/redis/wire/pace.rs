//! How soon to try again.

use std::time::Duration;

use lockstead_core::Time;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Short, so that service is back soon after Redis is.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// After so much quiet, trouble counts as new.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// Trying again at once at first, then less and less often, and never in step with other servers.
#[derive(Debug, Default)]
pub(in crate::redis) struct Pace {
    tries: u32,
    last: Time,
}

impl Pace {
    /// How long to wait before a try that is asked for now. `dice` is any number.
    pub(in crate::redis) fn next_pause(&mut self, now: Time, dice: u32) -> Duration {
        if now.since(self.last) > FORGOTTEN_AFTER {
            self.tries = 0;
        }
        self.last = now;
        let doublings = self.tries.checked_sub(1);
        self.tries = self.tries.saturating_add(1);
        let Some(doublings) = doublings else { return Duration::ZERO };
        let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE);
        // Between half of it and all of it.
        longest / 2 + longest.mul_f64(f64::from(dice) / f64::from(u32::MAX)) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_are_forgotten() {
        let mut pace = Pace::default();
        let start = Time::default().saturating_add(Duration::from_secs(100));
        let pauses: Vec<_> = (0..8).map(|_| pace.next_pause(start, u32::MAX).as_millis()).collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pace.next_pause(start, 0).as_millis(), 500);
        assert_eq!(pace.next_pause(start.saturating_add(FORGOTTEN_AFTER), 0).as_millis(), 500);
        assert_eq!(pace.next_pause(start.saturating_add(FORGOTTEN_AFTER * 3), 0), Duration::ZERO);
        let jitter: std::collections::HashSet<_> = (0..4).map(|dice| pace.next_pause(start, dice << 30)).collect();
        assert!(jitter.len() > 2, "{jitter:?}");
    }
}
