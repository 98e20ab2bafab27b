//! Finds out that the machine was suspended. The runtime's timers stand still meanwhile, so they are late by as much.
//!
//! One thread looks for all timers of the process: if each looked for itself once a second, ten thousand of them would
//! keep a processor busy.

use std::future::Future;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use crate::{micros, time};

/// How late a timer can be after a suspension.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// The two clocks are not read at the same moment.
const NOTABLE_MICROS: u64 = 10_000;

static OVER: Notify = Notify::const_new();
/// Whether there is a thread. Without one, timers look for themselves.
static WATCHED: LazyLock<bool> = LazyLock::new(|| thread::Builder::new().name("clock".to_owned()).spawn(watch).is_ok());

/// Returns after a suspension that ends from now on; perhaps at other times, too.
pub(crate) fn is_over() -> impl Future<Output = ()> {
    let over = OVER.notified();
    let looks_itself = !*WATCHED;
    async move {
        if looks_itself {
            tokio::time::sleep(LOOKS_EVERY).await;
        } else {
            over.await;
        }
    }
}

fn watch() {
    let mut known = suspended_micros();
    loop {
        thread::sleep(LOOKS_EVERY);
        let suspended = suspended_micros();
        if suspended > known + NOTABLE_MICROS {
            OVER.notify_waiters();
        }
        known = suspended;
    }
}

/// How long the machine was suspended since it was started.
fn suspended_micros() -> u64 {
    let running = micros(clock_gettime(ClockId::Monotonic));
    time().as_micros().saturating_sub(running)
}
