//! What a measurement gives: named numbers.

use std::collections::BTreeMap;

use crate::load::Measured;

/// Operations a second; of pairs, pairs a second.
pub(crate) const PER_SECOND: &str = "per_second";
/// Median latency in microseconds.
pub(crate) const P50: &str = "p50_us";
/// Latency that one of a hundred exceeds, in microseconds.
pub(crate) const P99: &str = "p99_us";
/// CPU time for one operation in microseconds: of the client, and of all processes of the contender.
pub(crate) const CLIENT_CPU: &str = "client_cpu_us";
/// See [`CLIENT_CPU`].
pub(crate) const SERVER_CPU: &str = "server_cpu_us";
/// From the start of a crowd to its end.
pub(crate) const SECONDS: &str = "seconds";
/// How many of a crowd did not get the lock.
pub(crate) const GAVE_UP: &str = "gave_up";
/// Memory of the server for a session.
pub(crate) const KIB_PER_SESSION: &str = "kib_per_session";
/// CPU of the server with idle sessions, in percent of a core.
pub(crate) const IDLE_CPU: &str = "idle_cpu_percent";
/// Memory of the engine for a hold.
pub(crate) const BYTES_PER_HOLD: &str = "bytes_per_hold";
/// How long an operation takes in a full engine, in nanoseconds.
pub(crate) const FULL_NANOS: &str = "ns_when_full";
/// How long one takes in an engine, or a queue, that is small.
pub(crate) const SMALL_NANOS: &str = "ns_when_small";
/// How many times as long as a small one the full one takes.
pub(crate) const GROWTH: &str = "full_to_small";
/// The same for locks that nobody holds.
pub(crate) const GROWTH_OF_FREE: &str = "full_to_small_of_free";
/// All operations that were done, those of the warm-up included.
pub(crate) const DONE: &str = "done";

/// Named numbers.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// As numbers for people; counts and times here are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "counts and times of a benchmark are far below 2^52")]
pub(crate) fn real(number: u64) -> f64 {
    number as f64
}

/// The same for lengths.
pub(crate) fn count(number: usize) -> f64 {
    real(u64::try_from(number).unwrap_or(u64::MAX))
}

/// Of many operations.
pub(crate) fn of_operations(measured: &Measured) -> Figures {
    let micros = |quantile| real(measured.latencies.value_at_quantile(quantile)) / 1_000.0;
    Figures::from([
        (PER_SECOND, real(measured.latencies.len()) / measured.span.seconds()),
        (P50, micros(0.5)),
        (P99, micros(0.99)),
        (DONE, real(measured.done)),
    ])
}
