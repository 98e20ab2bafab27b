//! Many workers that do the same again and again until the time is over.

use std::future::Future;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Failure;
use crate::clock::nanos;
use crate::figures::real;

/// Share of the time that goes before the count begins.
const WARM_UP: u32 = 5;

/// What was measured.
pub(crate) struct Measured {
    pub(crate) span: Span,
    /// In nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    /// All operations, counted or not.
    pub(crate) done: u64,
}

impl Measured {
    pub(crate) fn during(span: Span) -> Result<Self, Failure> {
        Ok(Self { span, latencies: Histogram::new(3)?, done: 0 })
    }

    /// Takes note of something that began and ended then.
    pub(crate) fn record(&mut self, start: u64, end: u64) {
        self.done += 1;
        if self.span.counts(end) {
            // It grows as needed, and a latency beyond its reach (days) is none of a benchmark.
            _ = self.latencies.record(end.saturating_sub(start));
        }
    }

    pub(crate) fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.latencies.add(&other.latencies)?;
        self.done += other.done;
        Ok(())
    }
}

/// When a measurement begins to count, and when it ends.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Span {
    pub(crate) fn starting_now(time: Duration) -> Self {
        let nanos_of = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let from = nanos() + nanos_of(time / WARM_UP);
        Self { from, to: from + nanos_of(time) }
    }

    pub(crate) fn seconds(self) -> f64 {
        real(self.to - self.from) / 1e9
    }

    /// Whether something that ended then counts.
    pub(crate) fn counts(self, end: u64) -> bool {
        self.from <= end && end < self.to
    }
}

/// Runs each worker's operation in a loop, all side by side.
pub(crate) async fn run<O: Operation>(time: Duration, workers: Vec<O>) -> Result<Measured, Failure> {
    let span = Span::starting_now(time);
    let tasks: Vec<_> = workers.into_iter().map(|worker| tokio::spawn(repeat(worker, span))).collect();
    let mut measured = Measured::during(span)?;
    for task in tasks {
        measured.add(&task.await??)?;
    }
    Ok(measured)
}

/// What a worker does again and again.
pub(crate) trait Operation: Send + 'static {
    /// Does it once.
    fn once(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;
}

async fn repeat(mut operation: impl Operation, span: Span) -> Result<Measured, Failure> {
    let mut measured = Measured::during(span)?;
    let mut start = nanos();
    while start < span.to {
        operation.once().await?;
        let end = nanos();
        measured.record(start, end);
        start = end;
    }
    Ok(measured)
}
