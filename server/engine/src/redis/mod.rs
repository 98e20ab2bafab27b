//! The Redis engine: the truth is in Redis, and any number of servers share it.
//!
//! # Who knows what
//!
//! Redis knows resources, holders, waiters, and which server has which session. *Holds belong to sessions, sessions to
//! servers*, so a session moves from one server to another in one step. Each server knows in a [`table`] what it has itself. That
//! answers what needs no Redis (repeated requests, re-entry, quotas), and it is what the server says again when Redis has
//! lost something.
//!
//! # How they speak
//!
//! A name hashes to one of 4 partitions, whose keys share a hash tag, so that a Redis Cluster can spread the partitions. Each
//! partition is a part of the engine's one task here (`partition`). It carries operations to Redis by one script, many at a time
//! (`scripts/`): all operations that come while a call is on its way make up the next one. Calls are numbered, and Redis refuses a
//! number that it has seen, so a call that was delayed or doubled on the way counts once.
//!
//! Grants to waiters of this server come back with the answer; those to other servers' waiters are published to their inbox
//! in the same script. Who is not subscribed is passed over, and keeps its place.
//!
//! # What keeps it safe
//!
//! - **Leases of servers.** A heartbeat keeps what a server has for one server lease. The server counts from when it *sent* the
//!   heartbeat, and less ([`promises`]), so it has told its clients that their holds are over before Redis gives them to others.
//! - **Epochs.** Redis' replication id changes at each restart and each failover, and a flush takes our copy of it away. Then
//!   nothing is granted for one server lease, the *reclaim window*.
//! - **Joining** (`join`). Before its calls count in an epoch, and after every break of its connection, a server compares its table
//!   with what Redis shows: what Redis lacks is restored if it may be, what the table lacks is given back. The second half is how
//!   calls are made good whose outcome nobody knows.
//!
//! # Keys of a partition
//!
//! | key | holds |
//! |---|---|
//! | `meta` (hash) | replication id, epoch, end of the reclaim window, last token, last ticket; number of partitions, server lease, shared key |
//! | `servers` (hash) | the epoch under which each server has joined; `joining` until it has |
//! | `numbers`, `pushes` (hashes) | of each server: the number of its last call; how many pushes it was sent |
//! | `due` (sorted by ms) | `h`+hold: a lease's deadline; `s`+server: a heartbeat's expiry; `n`+server: when to forget its number |
//! | `holds` (hash) | a record of each hold and waiter |
//! | `resources` (hash) | limit, used permits, holders, waiters |
//! | `parties` (sorted set) | resource, `h` and token or `w` and ticket, hold: holders and queue of each resource in order |
//! | `sessions` (hash), `attached` (sorted set) | the server of each session and its client's count of resumes, with a `+` if it was handed over and not asked for yet; the same by server |
//! | `session-holds` (sorted set) | session, hold |
//! | `requests` (hash) | the hold of each lease that was asked for with a request id |
//! | `ended` (hash), `ended-order` (list) | how the last leases ended, and the last holds that others ended than their session |

mod call;
mod ended;
mod engine;
mod join;
mod partition;
mod promises;
mod record;
mod status;
mod table;
pub mod wire;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use lockstead_core::{Event, ResourceKey};
use lockstead_tasks::Tasks;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Answer, Listener, Result, SharedKey};
use call::{Call, Then};
use engine::on_its_way;
#[doc(hidden)]
pub use partition::KEYS;
use partition::Partition;
use promises::Promises;
use status::Status;
use table::{Index, Table};
use wire::{Script, Target, Wire};

/// How many partitions a server has: enough to spread them over a Cluster, and few, since the operations of a partition
/// share a call. A Redis that is in use with another number is refused.
pub const PARTITIONS: u16 = 4;

static OPERATE: LazyLock<Script> = LazyLock::new(|| Script::new(source(), true));

static OPERATE_IN_ANY_EPOCH: LazyLock<Script> = LazyLock::new(|| {
    let check = "if meta[1] ~= replid then";
    let joined = "call('HGET', SERVERS, me) ~= epoch";
    let source = source();
    assert!(source.contains(check) && source.contains(joined), "the rule to be broken is written in another way");
    let unchecked = source.replace(check, "epoch, window = 'any', 0\nif false then").replace(joined, "false");
    Script::new(unchecked, true)
});

/// What Redis is told to do; also for benchmarks that ask how fast it is without a server.
///
/// All but the beginning stands in a function of its own. Lua looks for what a function has from the one around it each time
/// that it makes the function, and the less there is to look through, the less a call costs.
#[doc(hidden)]
pub fn source() -> String {
    let begin = include_str!("scripts/begin.lua");
    let rest = [
        include_str!("scripts/state.lua"),
        include_str!("scripts/operations.lua"),
        include_str!("scripts/queries.lua"),
        include_str!("scripts/joining.lua"),
        include_str!("scripts/end.lua"),
    ];
    format!("{begin}\nlocal function carry_out()\n{}end\nreturn carry_out()\n", rest.concat())
}

/// For tests of the tests: the engine without one of the rules that keep it safe.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Nobody looks whether Redis has lost what it knew.
    NoEpochCheck,
}

/// What the engine needs to know.
#[derive(Clone)]
pub struct RedisSettings {
    /// Where Redis is.
    pub target: Target,
    /// A random number that names this server there.
    pub server: u64,
    /// A random key, proposed as the one that all servers share.
    pub key: SharedKey,
    /// How long what a server has outlives its last heartbeat. The same for all servers.
    pub server_lease: Duration,
    /// How many replicas must have a grant before it counts.
    pub min_acks: u32,
    /// How many partitions there are. The same for all servers.
    pub partitions: u16,
    /// For tests: every call is sent twice, as if the network had doubled it.
    #[doc(hidden)]
    pub send_twice: bool,
    /// For tests of the tests; no setting of a server leads here.
    #[doc(hidden)]
    pub mutation: Option<Mutation>,
}

impl RedisSettings {
    fn script(&self) -> &'static Script {
        match self.mutation {
            None => &OPERATE,
            Some(Mutation::NoEpochCheck) => &OPERATE_IN_ANY_EPOCH,
        }
    }
}

/// The truth in Redis.
pub struct RedisEngine {
    shared: Arc<Shared>,
    /// Ends the partitions when the engine is dropped.
    _ends: DropGuard,
}

/// What the engine and its partitions share.
struct Shared {
    settings: RedisSettings,
    wire: Wire,
    listener: Box<dyn Listener>,
    table: Mutex<Table>,
    promises: Mutex<Promises>,
    calls: Vec<mpsc::UnboundedSender<Call>>,
    statuses: Mutex<Vec<Status>>,
    /// How often a partition was found in another epoch than before.
    epoch_changes: AtomicU64,
    key: Mutex<Option<SharedKey>>,
    /// Whether the first partition has been joined, and so all servers mean the same by a partition. Only then are the others.
    agreed: watch::Sender<bool>,
    /// What is wrong and can't be waited out, if that shows before the first contact.
    misconfigured: watch::Sender<Option<String>>,
}

impl RedisEngine {
    /// Starts an engine that reaches for Redis from now on, on the current runtime, until it is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(settings: RedisSettings, listener: impl Listener) -> Self {
        let answer_within = (settings.server_lease / 8).clamp(Duration::from_millis(150), Duration::from_secs(1));
        let tasks = Tasks::default();
        let wire = Wire::carried_by(tasks.starter(), settings.target.clone(), settings.min_acks, answer_within);
        let (calls, inboxes): (Vec<_>, Vec<_>) = (0..settings.partitions).map(|_| mpsc::unbounded_channel()).unzip();
        let promises = Promises::new(settings.partitions, settings.server_lease);
        let away = Status::Away("it has not been reached yet".to_owned());
        let shared = Arc::new(Shared {
            wire,
            listener: Box::new(listener),
            table: Mutex::default(),
            promises: Mutex::new(promises),
            calls,
            statuses: Mutex::new(vec![away; usize::from(settings.partitions)]),
            epoch_changes: AtomicU64::new(0),
            key: Mutex::new(None),
            agreed: watch::Sender::new(false),
            misconfigured: watch::Sender::new(None),
            settings,
        });
        // The partitions and the connection that they share are one task, so that a call wakes nobody on its way.
        let ends = CancellationToken::new();
        for (index, calls) in (0..).zip(inboxes) {
            let partition = Partition::new(index, shared.clone(), calls);
            tasks.starter().start(ends.clone().run_until_cancelled_owned(partition.run()).map(drop));
        }
        tokio::spawn(tasks.run_until(ends.clone().cancelled_owned().boxed()));
        Self { shared, _ends: ends.drop_guard() }
    }

    /// Returns if something shows before the first contact that waiting can't mend: what is wrong and what to do.
    pub fn misconfigured(&self) -> impl Future<Output = String> + Send + 'static {
        let mut told = self.shared.misconfigured.subscribe();
        async move {
            let found = told.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
            match found {
                Some(found) => found,
                None => std::future::pending().await,
            }
        }
    }
}

impl std::fmt::Debug for RedisEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisEngine").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere is a defect, but one that must not take every lock with it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// Tells of events, in the order in which they change the table: while it is locked.
    fn tell(&self, _: &Table, events: Vec<Event>) {
        if !events.is_empty() {
            self.listener.on_events(events);
        }
    }

    /// Sixteen bytes in place of a session's id, for the leases that wait here.
    fn pseudo_session(&self) -> Vec<u8> {
        self.server_name().into_bytes()
    }

    fn server_name(&self) -> String {
        format!("{:016x}", self.settings.server)
    }

    /// The partition of a name: by FNV-1a, which is the same for all servers and versions.
    fn partition_of(&self, key: &ResourceKey) -> Index {
        let bytes = key.name.as_str().bytes();
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        Index::try_from(hash % u64::from(self.settings.partitions)).unwrap_or(0)
    }

    fn send(&self, partition: Index, args: Vec<Vec<u8>>, then: Then) {
        let until = lockstead_clock::time().saturating_add(self.settings.server_lease / 2);
        let call = Call { args, then, until, again: false };
        // The task lives as long as the engine; what is dropped with it fails for its caller.
        if let Some(calls) = self.calls.get(usize::from(partition)) {
            _ = calls.send(call);
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        partition: Index,
        args: Vec<Vec<u8>>,
        then: impl FnOnce(oneshot::Sender<Result<T>>) -> Then,
    ) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        self.send(partition, args, then(reply));
        on_its_way(answer)
    }
}

/// A number as Redis reads it.
#[expect(clippy::needless_pass_by_value, reason = "numbers are passed by value")]
fn figure(number: impl ToString) -> Vec<u8> {
    number.to_string().into_bytes()
}
