//! Many workers that do the same again and again until the time is over.

use std::future::Future;
use std::time::Duration;

use hdrhistogram::Histogram;
use lockstead_core::Time;

use super::Failure;

/// Share of the time that goes before the count begins.
const WARM_UP: u32 = 5;

/// What was measured.
pub(super) struct Measured {
    pub(super) seconds: f64,
    /// In microseconds.
    pub(super) latencies: Histogram<u64>,
}

impl Measured {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self { seconds: 0.0, latencies: Histogram::new(3)? })
    }

    pub(super) fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of operations is far below 2^52")]
        let count = self.latencies.len() as f64;
        count / self.seconds
    }

    pub(super) fn micros_at(&self, quantile: f64) -> u64 {
        self.latencies.value_at_quantile(quantile)
    }
}

/// When a measurement begins to count, and when it ends.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) from: Time,
    pub(super) to: Time,
}

impl Span {
    pub(super) fn starting_now(time: Duration) -> Self {
        let from = lockstead_clock::time().saturating_add(time / WARM_UP);
        Self { from, to: from.saturating_add(time) }
    }

    pub(super) fn seconds(self) -> f64 {
        self.to.since(self.from).as_secs_f64()
    }

    /// Whether something that ended then counts.
    pub(super) fn counts(self, end: Time) -> bool {
        self.from <= end && end < self.to
    }
}

/// Runs workers side by side; each does its operation in a loop.
pub(super) async fn run<O: Operation>(
    workers: usize,
    time: Duration,
    worker: impl Fn(usize) -> O,
) -> Result<Measured, Failure> {
    let span = Span::starting_now(time);
    let tasks: Vec<_> = (0..workers).map(|index| tokio::spawn(repeat(worker(index), span))).collect();
    let mut measured = Measured::new()?;
    measured.seconds = span.seconds();
    for task in tasks {
        measured.latencies.add(task.await??)?;
    }
    Ok(measured)
}

/// What a worker does again and again.
pub(super) trait Operation: Send + 'static {
    /// Does it once.
    fn once(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;
}

async fn repeat(mut operation: impl Operation, span: Span) -> Result<Histogram<u64>, Failure> {
    let mut latencies = Histogram::new(3)?;
    let mut start = lockstead_clock::time();
    while start < span.to {
        operation.once().await?;
        let end = lockstead_clock::time();
        if span.counts(end) {
            record(&mut latencies, end.since(start));
        }
        start = end;
    }
    Ok(latencies)
}

/// Counts a latency.
pub(super) fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    // It grows as needed, and a latency beyond its reach (days) is none of a benchmark.
    _ = latencies.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
}
