//! Counters and histograms for Prometheus, at `/metrics`. docs/metrics.md says what each is for.
//!
//! What happens is counted where it happens, by a few additions: there is no lock, nobody looks for a label, and all
//! values of all labels are known in advance. What there is now is asked for when somebody reads.

mod engine;
mod labels;
mod leases;
mod process;
mod requests;
mod series;
mod text;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lockstead_api::v1::LossReason;
use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::{Census, Grant, HoldId, Scope};
use lockstead_engine::{Engine, StoreView};

pub use labels::{By, From, Loss, Outcome, Refused, SessionEnd};
pub(crate) use requests::is_grpc;
pub use text::MEDIA_TYPE;

use engine::{EngineCalls, Measured};
use leases::Leases;
use requests::Requests;
use series::{Counter, Each, Histogram};
use text::Text;

use crate::access::Unauthenticated;
use crate::service::Error;

/// 100 µs to half an hour: at once, soon, or after somebody's work.
const WAITS: &[u64] = &[
    100,
    500,
    1_000,
    5_000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
];
/// 1 ms to a day.
const HOLDS: &[u64] = &[
    1_000,
    5_000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
];
/// 50 µs to 2.5 s: within one server, through Redis, or through one that has just come back.
const HAND_OVERS: &[u64] =
    &[50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000];

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    connections_opened: Counter,
    connections_closed: Counter,
    requests: Requests,
    refused: Each<Refused, Counter>,
    sessions_opened: Counter,
    sessions_ended: Each<SessionEnd, Counter>,
    resumes: Each<From, Counter>,
    acquires: Each<(Scope, Outcome), Counter>,
    releases: Each<(Scope, By), Counter>,
    losses: Each<(Scope, Loss), Counter>,
    wait: Each<Scope, Histogram>,
    hold: Each<Scope, Histogram>,
    hand_over: Each<Scope, Histogram>,
    leases: Leases,
    engines: RwLock<Vec<Arc<EngineCalls>>>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<Metrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections_closed.add(1);
    }
}

/// What there is now, for whoever reads the metrics.
#[derive(Clone, Debug)]
pub struct State {
    /// Whether the server takes requests.
    pub is_ready: bool,
    /// Whether it is on its way out.
    pub is_draining: bool,
    /// Open sessions.
    pub sessions: usize,
    /// What each scope has.
    pub scopes: Vec<(Scope, Census)>,
    /// The store of the cluster scope, if it is apart from this server.
    pub store: Option<StoreView>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        Self {
            connections_opened: Counter::default(),
            connections_closed: Counter::default(),
            requests: Requests::default(),
            refused: Each::default(),
            sessions_opened: Counter::default(),
            sessions_ended: Each::default(),
            resumes: Each::default(),
            acquires: Each::default(),
            releases: Each::default(),
            losses: Each::default(),
            wait: Each::new(|| Histogram::new(WAITS)),
            hold: Each::new(|| Histogram::new(HOLDS)),
            hand_over: Each::new(|| Histogram::new(HAND_OVERS)),
            leases: Leases::default(),
            engines: RwLock::default(),
        }
    }

    /// A connection was accepted. It counts as open until what this returns is dropped.
    pub(crate) fn connection(self: &Arc<Self>) -> OpenConnection {
        self.connections_opened.add(1);
        OpenConnection(self.clone())
    }

    /// A caller was not let in, or not allowed what it asked for.
    pub fn refused(&self, error: &Error) {
        let why = match error {
            Error::OverQuota(_) => Refused::Quota,
            Error::Denied(_) | Error::ForeignPage | Error::ForeignHost => Refused::Forbidden,
            Error::Unauthenticated(Unauthenticated::KeysUnavailable) => return,
            _ => Refused::Unauthenticated,
        };
        self.refused.of(why).add(1);
    }

    /// A session was opened.
    pub fn session_opened(&self) {
        self.sessions_opened.add(1);
    }

    /// A session ended.
    pub fn session_ended(&self, end: SessionEnd) {
        self.sessions_ended.of(end).add(1);
    }

    /// A session was attached to a new stream.
    pub fn resumed(&self, from: From) {
        self.resumes.of(from).add(1);
    }

    /// An acquire was granted, so long after it was asked.
    pub fn granted(&self, scope: Scope, waited: Duration) {
        self.acquires.of((scope, Outcome::Acquired)).add(1);
        self.wait.of(scope).observe(waited);
    }

    /// The same, out of the queue: somebody else's hold had ended at the moment of the grant.
    pub fn granted_in_turn(&self, scope: Scope, waited: Duration, grant: &Grant) {
        self.granted(scope, waited);
        let since = lockstead_clock::wall_time().as_micros().saturating_sub(grant.acquired_at.as_micros());
        self.hand_over.of(scope).observe(Duration::from_micros(since));
    }

    /// An acquire got nothing.
    pub fn not_acquired(&self, scope: Scope, reason: Reason) {
        let outcome = match reason {
            Reason::Held => Outcome::Held,
            Reason::WaitTimeout => Outcome::WaitTimeout,
            Reason::Deadlock => Outcome::Deadlock,
            Reason::Cancelled => Outcome::Cancelled,
            Reason::Unspecified => return,
        };
        self.acquires.of((scope, outcome)).add(1);
    }

    /// A hold was released.
    pub fn released(&self, scope: Scope, by: By) {
        self.releases.of((scope, by)).add(1);
    }

    /// So many holds ended against their holders' will.
    pub fn lost(&self, scope: Scope, reason: LossReason, holds: usize) {
        let loss = match reason {
            LossReason::Expired => Loss::Expired,
            LossReason::Broken => Loss::Broken,
            LossReason::Disconnected => Loss::Disconnected,
            LossReason::ServerLost => Loss::ServerLost,
            LossReason::BackendLost => Loss::BackendLost,
            LossReason::Unspecified => return,
        };
        self.losses.of((scope, loss)).add(holds as u64);
    }

    /// A hold has ended, so long after its grant.
    pub fn held(&self, scope: Scope, lasted: Duration) {
        self.hold.of(scope).observe(lasted);
    }

    /// A lease was granted or renewed here.
    pub fn lease_granted(&self, scope: Scope, grant: &Grant) {
        self.leases.granted(scope, grant, lockstead_clock::now());
    }

    /// A lease has ended.
    pub fn lease_ended(&self, hold: HoldId) {
        if let Some((scope, since)) = self.leases.ended(hold) {
            self.held(scope, lockstead_clock::time().since(since));
        }
    }

    /// An engine whose calls are measured from now on.
    pub fn measure(&self, engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
        let calls = Arc::new(EngineCalls::new(engine.name()));
        self.engines.write().unwrap_or_else(PoisonError::into_inner).push(calls.clone());
        Arc::new(Measured::new(engine, calls))
    }

    /// All of it as Prometheus reads it.
    pub fn render(&self, state: &State) -> String {
        let mut text = Text::default();
        self.write_server(&mut text, state);
        self.write_sessions(&mut text, state);
        self.write_holds(&mut text);
        write_scopes(&mut text, &state.scopes);
        let engines = self.engines.read().unwrap_or_else(PoisonError::into_inner);
        engine::write(&mut text, &engines);
        drop(engines);
        if let Some(store) = &state.store {
            write_store(&mut text, store);
        }
        process::write(&mut text);
        text.into_string()
    }

    fn write_server(&self, text: &mut Text, state: &State) {
        text.begin("lockstead_build_info", "gauge", "Always 1; the label is the version of the server.");
        text.sample("lockstead_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let help = "Whether the server takes requests, as /readyz says: 1 or 0.";
        text.single("lockstead_ready", "gauge", help, u8::from(state.is_ready));
        let help = "Whether the server is on its way out: 1 or 0.";
        text.single("lockstead_draining", "gauge", help, u8::from(state.is_draining));
        // The closed ones first, so that none is seen closed that was not seen opened.
        let closed = self.connections_closed.get();
        let opened = self.connections_opened.get();
        text.single("lockstead_connections", "gauge", "Open connections.", opened.saturating_sub(closed));
        text.single("lockstead_connections_opened_total", "counter", "Connections accepted.", opened);
        self.requests.write(text);
        let help = "Requests that access control turned away, by why.";
        text.counters("lockstead_refused_requests_total", help, &self.refused);
    }

    fn write_sessions(&self, text: &mut Text, state: &State) {
        text.single("lockstead_sessions", "gauge", "Open sessions of this server.", state.sessions);
        let opened = self.sessions_opened.get();
        text.single("lockstead_sessions_opened_total", "counter", "Sessions opened.", opened);
        text.counters("lockstead_sessions_ended_total", "Sessions that ended here, by how.", &self.sessions_ended);
        let help = "Sessions attached to a new stream, by where they were before.";
        text.counters("lockstead_session_resumes_total", help, &self.resumes);
    }

    fn write_holds(&self, text: &mut Text) {
        text.counters("lockstead_acquires_total", "Acquires answered, by outcome.", &self.acquires);
        let help = "Holds released, by whom. A release by the hold id alone, of a session's hold, is its loss as well.";
        text.counters("lockstead_releases_total", help, &self.releases);
        let help = "Holds ended against their holders' will, by why.";
        text.counters("lockstead_losses_total", help, &self.losses);
        text.histograms("lockstead_wait_seconds", "From an acquire to its grant.", &self.wait);
        let help = "From a grant by this server to the end of the hold, if it ended here.";
        text.histograms("lockstead_hold_seconds", help, &self.hold);
        let help = "Of grants out of the queue: from the end of the hold before, which is the moment of the grant by the \
                    engine's clock (over Redis, Redis' own), until this server tells the waiter.";
        text.histograms("lockstead_hand_over_seconds", help, &self.hand_over);
    }
}

fn write_scopes(text: &mut Text, scopes: &[(Scope, Census)]) {
    let mut gauge = |name, help, figure: fn(&Census) -> usize| {
        text.begin(name, "gauge", help);
        for (scope, census) in scopes {
            text.sample(name, &text::written(*scope), figure(census));
        }
    };
    let help = "Locks and semaphores that this server's clients hold or wait for.";
    gauge("lockstead_resources", help, |has| has.resources);
    gauge("lockstead_holds", "Holds of this server's clients.", |has| has.holds.saturating_sub(has.waiters));
    gauge("lockstead_waiters", "Acquires of this server's clients that wait.", |has| has.waiters);
    let help = "Acquires of this server's clients that wait for the same lock or semaphore, where they are most.";
    gauge("lockstead_longest_queue", help, |has| has.longest_queue);
}

fn write_store(text: &mut Text, store: &StoreView) {
    let name = "lockstead_redis_partitions";
    text.begin(name, "gauge", "Partitions of Redis, by how this server sees them.");
    let states = [("serving", store.serving), ("reclaiming", store.reclaiming), ("away", store.away)];
    for (state, partitions) in states {
        text.sample(name, &[("state", state)], partitions);
    }
    let help = "Partitions of Redis found in another epoch than before: Redis had restarted, failed over, or lost its data, \
                and a reclaim window began.";
    text.single("lockstead_redis_epoch_changes_total", "counter", help, store.epoch_changes);
}
