//! Durations that a request may name, checked against their limits.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::duration;
use crate::invalid::{Field, Invalid};
use crate::limits::{
    SESSION_TIMEOUT_DEFAULT, SESSION_TIMEOUT_MAX, SESSION_TIMEOUT_MIN, TTL_DEFAULT, TTL_MAX, TTL_MIN, WAIT_MAX,
};
use crate::time::Time;

/// How long an acquire may stand in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: try once.
    #[default]
    No,
    /// At most so long.
    UpTo(Duration),
    /// Until granted, cancelled, or the caller goes away.
    Forever,
}

impl Wait {
    /// Checks a wait that has an end. Zero is no wait.
    pub fn up_to(duration: Duration) -> Result<Self, Invalid> {
        match duration {
            Duration::ZERO => Ok(Self::No),
            duration if duration <= WAIT_MAX => Ok(Self::UpTo(duration)),
            _ => {
                let longest = duration::format(WAIT_MAX);
                let message = format!("the wait is longer than {longest}; to wait without end, ask for that");
                Err(Invalid::new(Field::Wait, message))
            }
        }
    }

    /// When a wait that begins at `now` is over; `None`: never.
    pub fn deadline(self, now: Time) -> Option<Time> {
        match self {
            Self::No => Some(now),
            Self::UpTo(duration) => Some(now.saturating_add(duration)),
            Self::Forever => None,
        }
    }
}

/// Checks the ttl of a lease.
pub fn ttl(duration: Duration) -> Result<Duration, Invalid> {
    within(TTL_MIN..=TTL_MAX, duration)
        .map_err(|range| Invalid::new(Field::Ttl, format!("the ttl of a lease is {range}")))
}

/// Checks the ttl of a new lease; without one it is 30 s.
pub fn ttl_or_default(duration: Option<Duration>) -> Result<Duration, Invalid> {
    ttl(duration.unwrap_or(TTL_DEFAULT))
}

/// Checks a session timeout; without one it is 10 s.
pub fn session_timeout(duration: Option<Duration>) -> Result<Duration, Invalid> {
    within(SESSION_TIMEOUT_MIN..=SESSION_TIMEOUT_MAX, duration.unwrap_or(SESSION_TIMEOUT_DEFAULT))
        .map_err(|range| Invalid::new(Field::SessionTimeout, format!("the session timeout is {range}")))
}

/// The error is the range in words.
fn within(range: RangeInclusive<Duration>, duration: Duration) -> Result<Duration, String> {
    let words = || format!("{} to {}", duration::format(*range.start()), duration::format(*range.end()));
    if range.contains(&duration) { Ok(duration) } else { Err(words()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_belong_to_the_range() {
        assert!(ttl(TTL_MIN).is_ok() && ttl(TTL_MAX).is_ok());
        assert!(ttl(TTL_MIN / 2).is_err() && ttl(TTL_MAX + Duration::from_nanos(1)).is_err());
        assert_eq!(ttl_or_default(None), Ok(TTL_DEFAULT));
        assert_eq!(session_timeout(None), Ok(SESSION_TIMEOUT_DEFAULT));
        assert!(session_timeout(Some(Duration::from_millis(999))).is_err());
        assert_eq!(Wait::up_to(Duration::ZERO), Ok(Wait::No));
        assert!(Wait::up_to(WAIT_MAX).is_ok() && Wait::up_to(WAIT_MAX + Duration::from_secs(1)).is_err());
    }
}
