//! One lock that many want: how long from a release to the next holder's knowing it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use lockstead_client::Client;
use lockstead_core::Time;

use super::load::{Measured, Span, record};
use super::{Bench, Failure};

const LOCK: &str = "bench/hand-over";

/// So many waiters on one session; each waits, holds for no time at all, and waits again.
pub(super) async fn one_lock(bench: &Bench, waiters: usize) -> Result<Measured, Failure> {
    bench.announce("hand-over, one lock", waiters);
    let client = bench.client().connect().await?;
    let span = Span::starting_now(bench.args.time);
    // When the last holder began to release, in microseconds. Only a holder reads or writes it.
    let released_at = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> =
        (0..waiters).map(|_| tokio::spawn(take_turns(client.clone(), released_at.clone(), span))).collect();
    let mut measured = Measured::new()?;
    measured.seconds = span.seconds();
    for task in tasks {
        measured.latencies.add(task.await??)?;
    }
    client.close().await?;
    Ok(measured)
}

async fn take_turns(client: Client, released_at: Arc<AtomicU64>, span: Span) -> Result<Histogram<u64>, Failure> {
    let mut latencies = Histogram::new(3)?;
    loop {
        let guard = client.lock(LOCK).acquire().await?;
        let now = lockstead_clock::time();
        let released = Time::from_micros(released_at.load(Ordering::Acquire));
        if span.counts(now) && released >= span.from {
            record(&mut latencies, now.since(released));
        }
        released_at.store(lockstead_clock::time().as_micros(), Ordering::Release);
        guard.release().await?;
        if now >= span.to {
            return Ok(latencies);
        }
    }
}
