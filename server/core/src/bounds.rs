//! Durations that a request may name, checked against their limits.

use std::time::Duration;

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
            _ => Err(Invalid::new(Field::Wait, "the wait is longer than 365d; to wait without end, ask for that")),
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
    let inside = (TTL_MIN..=TTL_MAX).contains(&duration);
    inside.then_some(duration).ok_or_else(|| Invalid::new(Field::Ttl, "the ttl of a lease is 100ms to 24h"))
}

/// Checks the ttl of a new lease; without one it is 30 s.
pub fn ttl_or_default(duration: Option<Duration>) -> Result<Duration, Invalid> {
    ttl(duration.unwrap_or(TTL_DEFAULT))
}

/// Checks a session timeout; without one it is 10 s.
pub fn session_timeout(duration: Option<Duration>) -> Result<Duration, Invalid> {
    let duration = duration.unwrap_or(SESSION_TIMEOUT_DEFAULT);
    let inside = (SESSION_TIMEOUT_MIN..=SESSION_TIMEOUT_MAX).contains(&duration);
    inside.then_some(duration).ok_or_else(|| Invalid::new(Field::SessionTimeout, "the session timeout is 1s to 5m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_belong_to_the_range() {
        assert!(ttl(TTL_MIN).is_ok() && ttl(TTL_MAX).is_ok());
        assert!(ttl(TTL_MIN - Duration::from_nanos(1)).is_err() && ttl(TTL_MAX + Duration::from_nanos(1)).is_err());
        assert_eq!(ttl_or_default(None), Ok(TTL_DEFAULT));
        assert_eq!(session_timeout(None), Ok(SESSION_TIMEOUT_DEFAULT));
        assert!(session_timeout(Some(Duration::from_millis(999))).is_err());
        assert_eq!(Wait::up_to(Duration::ZERO), Ok(Wait::No));
        assert!(Wait::up_to(WAIT_MAX).is_ok() && Wait::up_to(WAIT_MAX + Duration::from_secs(1)).is_err());
    }
}
