//! Many workers that do the same again and again until the time is over.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    let measured = Shared::during(Span::starting_now(time))?;
    let tasks: Vec<_> = workers.into_iter().map(|worker| tokio::spawn(repeat(worker, measured.clone()))).collect();
    for task in tasks {
        task.await??;
    }
    Ok(measured.take())
}

/// What workers measure together. One for each would be hundreds of histograms that push each other, and what is measured,
/// out of the processor's cache.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) span: Span,
    measured: Arc<Mutex<Measured>>,
}

impl Shared {
    pub(crate) fn during(span: Span) -> Result<Self, Failure> {
        Ok(Self { span, measured: Arc::new(Mutex::new(Measured::during(span)?)) })
    }

    /// See [`Measured::record`].
    pub(crate) fn record(&self, start: u64, end: u64) {
        self.lock().record(start, end);
    }

    /// All that was measured.
    pub(crate) fn take(&self) -> Measured {
        let mut measured = self.lock();
        let nothing = Histogram::new_from(&measured.latencies);
        let latencies = std::mem::replace(&mut measured.latencies, nothing);
        Measured { span: self.span, latencies, done: measured.done }
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker does again and again.
pub(crate) trait Operation: Send + 'static {
    /// Does it once.
    fn once(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;
}

async fn repeat(mut operation: impl Operation, measured: Shared) -> Result<(), Failure> {
    let mut start = nanos();
    while start < measured.span.to {
        operation.once().await?;
        let end = nanos();
        measured.record(start, end);
        start = end;
    }
    Ok(())
}
