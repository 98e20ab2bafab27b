//! A timer that lasts.

use std::fmt;
use std::pin::Pin;

use lockstead_core::Time;

use crate::sleep_until_some;

/// For a loop that waits for many things beside a time: set anew only if the time has changed, which is seldom.
pub struct Timer {
    due: Option<Time>,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Timer {
    /// Returns at `due`, or never if there is none. Safe to drop and call again.
    pub async fn until(&mut self, due: Option<Time>) {
        if self.due != due {
            *self = Self { due, sleep: Box::pin(sleep_until_some(due)) };
        }
        self.sleep.as_mut().await;
        // It must not be awaited again.
        *self = Self::default();
    }
}

impl Default for Timer {
    fn default() -> Self {
        Self { due: None, sleep: Box::pin(std::future::pending()) }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("due", &self.due).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time;

    #[tokio::test]
    async fn goes_off_at_its_last_time_and_once() {
        let mut timer = Timer::default();
        let (soon, later) = (Duration::from_millis(20), Duration::from_secs(600));
        let late = time().saturating_add(later);
        tokio::select! {
            () = timer.until(Some(late)) => panic!("it is not time"),
            () = tokio::time::sleep(soon) => {}
        }
        let due = time().saturating_add(soon);
        timer.until(Some(due)).await;
        assert!(time() >= due);
        timer.until(Some(due)).await;
        tokio::select! {
            () = timer.until(None) => panic!("it has no time"),
            () = tokio::time::sleep(soon) => {}
        }
    }
}
