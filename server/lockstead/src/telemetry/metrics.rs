//! Counters and histograms, in the Prometheus text format at `/metrics`.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use lockstead_api::v1::LossReason;
use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::Census;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::service::{Error, Outcome};

/// Everything that is counted. Labels have few values, all known in advance.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    acquires: Family<OutcomeLabel, Counter>,
    granted: Counter,
    releases: Counter,
    losses: Family<ReasonLabel, Counter>,
    refusals: Family<ReasonLabel, Counter>,
    sessions_ended: Family<EndLabel, Counter>,
    resumes: Family<FromLabel, Counter>,
    wait: Histogram,
    sessions: Gauge<u64, AtomicU64>,
    resources: Gauge<u64, AtomicU64>,
    holds: Gauge<u64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FromLabel {
    from: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("lockstead");
        let acquires = Family::<OutcomeLabel, Counter>::default();
        let granted = acquires.get_or_create(&OutcomeLabel { outcome: "acquired" }).clone();
        let releases = Counter::default();
        let (losses, refusals) = (Family::default(), Family::<ReasonLabel, Counter>::default());
        let (sessions_ended, resumes) = (Family::default(), Family::default());
        // 100 µs to 52 s.
        let wait = Histogram::new(exponential_buckets(0.0001, 3.0, 13));
        let (sessions, resources, holds) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("acquires", "Acquires answered, by outcome", acquires.clone());
        registry.register("releases", "Holds released by their holders", releases.clone());
        registry.register("losses", "Holds ended against their holder's will, by reason", losses.clone());
        registry.register("refusals", "Requests refused by access control, by reason", refusals.clone());
        registry.register("sessions_ended", "Sessions ended, by how", sessions_ended.clone());
        registry.register(
            "session_resumes",
            "Sessions attached to a new stream, by where they were before",
            resumes.clone(),
        );
        registry.register_with_unit("wait", "From a request to its grant", Unit::Seconds, wait.clone());
        registry.register("sessions", "Open sessions", sessions.clone());
        registry.register("resources", "Locks and semaphores held or waited for", resources.clone());
        registry.register("holds", "Holders and waiters", holds.clone());
        Self {
            registry,
            acquires,
            granted,
            releases,
            losses,
            refusals,
            sessions_ended,
            resumes,
            wait,
            sessions,
            resources,
            holds,
        }
    }

    /// An acquire was answered, so long after it was asked.
    pub fn acquired(&self, outcome: &Outcome, waited: Duration) {
        match outcome {
            Outcome::Acquired(_) => self.granted(waited),
            Outcome::NotAcquired(not_acquired) => self.not_acquired(not_acquired.reason),
        }
    }

    /// An acquire was granted, so long after it was asked.
    pub fn granted(&self, waited: Duration) {
        self.granted.inc();
        self.wait.observe(waited.as_secs_f64());
    }

    /// An acquire got nothing.
    pub fn not_acquired(&self, reason: Reason) {
        let outcome = match reason {
            Reason::Held => "held",
            Reason::WaitTimeout => "wait_timeout",
            Reason::Deadlock => "deadlock",
            Reason::Cancelled => "cancelled",
            Reason::Unspecified => "unspecified",
        };
        self.acquires.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A caller was not let in, or not allowed what it asked for.
    pub fn refused(&self, error: &Error) {
        let reason = match error {
            Error::OverQuota(_) => "quota",
            Error::Denied(_) | Error::ForeignPage => "forbidden",
            _ => "unauthenticated",
        };
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A holder released its hold.
    pub fn released(&self) {
        self.releases.inc();
    }

    /// A hold ended against its holder's will.
    pub fn lost(&self, reason: LossReason) {
        self.lost_many(reason, 1);
    }

    /// So many holds ended against their holders' will.
    pub fn lost_many(&self, reason: LossReason, holds: usize) {
        let reason = match reason {
            LossReason::Expired => "expired",
            LossReason::Broken => "broken",
            LossReason::Disconnected => "disconnected",
            LossReason::ServerLost => "server_lost",
            LossReason::BackendLost => "backend_lost",
            LossReason::Unspecified => "unspecified",
        };
        self.losses.get_or_create(&ReasonLabel { reason }).inc_by(holds as u64);
    }

    /// A session ended.
    pub fn session_ended(&self, end: &'static str) {
        self.sessions_ended.get_or_create(&EndLabel { end }).inc();
    }

    /// A session was attached to a new stream; it was another server's before, or this one's.
    pub fn resumed(&self, was_elsewhere: bool) {
        let from = if was_elsewhere { "elsewhere" } else { "here" };
        self.resumes.get_or_create(&FromLabel { from }).inc();
    }

    /// All of it as Prometheus reads it, with these counts of what there is now.
    pub fn render(&self, sessions: usize, census: Census) -> String {
        self.sessions.set(sessions as u64);
        self.resources.set(census.resources as u64);
        self.holds.set(census.holds as u64);
        let mut text = String::new();
        // Writing to a string does not fail.
        _ = encode(&mut text, &self.registry);
        text
    }
}
