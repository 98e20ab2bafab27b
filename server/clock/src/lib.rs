//! The one place where Lockstead reads a clock (`clippy.toml` bans the calls everywhere else).
//!
//! Durations are measured on a clock that also runs while the machine is suspended: `CLOCK_BOOTTIME` on Linux. A holder
//! whose laptop slept for an hour must know that its hold is over; `std::time::Instant` would not tell it.

mod suspension;
mod timer;

use lockstead_core::{Now, Time, WallTime};
use rustix::time::{ClockId, Timespec, clock_gettime};

pub use timer::Timer;

#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

/// The time to measure with.
pub fn time() -> Time {
    Time::from_micros(micros(clock_gettime(MONOTONIC)))
}

/// The time to show.
pub fn wall_time() -> WallTime {
    WallTime::from_micros(micros(clock_gettime(ClockId::Realtime)))
}

/// Both, read together.
pub fn now() -> Now {
    Now { time: time(), wall: wall_time() }
}

/// Returns once [`time`] has reached `deadline`, up to a second late if the machine was suspended in between.
pub async fn sleep_until(deadline: Time) {
    loop {
        // Listens before it looks at the clock, so that nothing is missed in between.
        let is_over = suspension::is_over();
        let left = deadline.since(time());
        if left.is_zero() {
            return;
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(left) => {}
            () = is_over => {}
        }
    }
}

/// Returns at `deadline`, or never if there is none.
pub async fn sleep_until_some(deadline: Option<Time>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn micros(timespec: Timespec) -> u64 {
    let seconds = u64::try_from(timespec.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(timespec.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn sleeps_until_the_deadline_and_not_less() {
        let deadline = time().saturating_add(Duration::from_millis(20));
        sleep_until(deadline).await;
        assert!(time() >= deadline);
        sleep_until(Time::default()).await;
    }
}
