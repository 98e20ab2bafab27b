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
//! A name hashes to one of 16 partitions, whose keys share a hash tag, so that a Redis Cluster can spread the partitions. Each
//! partition has a task here (`partition`). It carries operations to Redis by one script, many at a time (`scripts/`): all
//! operations that come while a call is on its way make up the next one. Calls are numbered, and Redis refuses a number that it
//! has seen, so a call that was delayed or doubled on the way counts once.
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
//! | `sessions` (hash), `attached` (sorted set) | the server of each session and its client's count of resumes; the same by server |
//! | `session-holds` (sorted set) | session, hold |
//! | `requests` (hash) | the hold of each lease that was asked for with a request id |
//! | `ended` (hash), `ended-order` (list) | how the last leases ended |

mod call;
mod ended;
mod join;
mod partition;
mod promises;
mod record;
mod table;
pub mod wire;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use lockstead_core::limits::{DESCRIBED_PARTIES_MAX, PAGE_BYTES_MAX};
use lockstead_core::{
    Acquire, AcquireRef, Acquired, Cancel, Cancelled, Census, EndSession, Event, Get, Grant, HoldId, IfGranted, List,
    Party, Refusal, Release, Released, Releaser, Renew, ResourceKey, ResourceView, ResumeSession, SessionId, Time,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::{Answer, Capabilities, Engine, EngineError, Listener, Readiness, Result, SharedKey, at_hand};
use call::{AWAY, Call, Then, give_back, move_session};
#[doc(hidden)]
pub use partition::KEYS;
use partition::Partition;
use promises::Promises;
use record::{hold_bytes, prefix_bytes, resource_bytes, session_bytes};
use table::{Index, Known, Repeat, State, Table};
use wire::{Script, Target, Wire};

/// How many partitions there are unless Redis knows better.
pub const PARTITIONS: u16 = 16;

static OPERATE: LazyLock<Script> = LazyLock::new(|| Script::new(source(), true));

static OPERATE_IN_ANY_EPOCH: LazyLock<Script> = LazyLock::new(|| {
    let check = "if meta[1] ~= replid then";
    let joined = "call('HGET', SERVERS, me) ~= epoch";
    let unchecked = source().replace(check, "epoch, window = 'any', 0\nif false then").replace(joined, "false");
    Script::new(unchecked, true)
});

/// What Redis is told to do, for benchmarks that ask how fast it is without a server.
#[doc(hidden)]
pub fn source() -> String {
    let parts = [
        include_str!("scripts/begin.lua"),
        include_str!("scripts/state.lua"),
        include_str!("scripts/operations.lua"),
        include_str!("scripts/queries.lua"),
        include_str!("scripts/joining.lua"),
        include_str!("scripts/end.lua"),
    ];
    parts.concat()
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
    tasks: Vec<JoinHandle<()>>,
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
    key: Mutex<Option<SharedKey>>,
    /// Whether the first partition has been joined, and so all servers mean the same by a partition. Only then are the others.
    agreed: watch::Sender<bool>,
    /// What is wrong and can't be waited out, if that shows before the first contact.
    misconfigured: watch::Sender<Option<String>>,
}

/// How a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Status {
    /// Out of reach, and why.
    Away(String),
    /// In its reclaim window, which ends then.
    Reclaiming(Time),
    Serving,
}

impl RedisEngine {
    /// Starts an engine that reaches for Redis from now on, on the current runtime, until it is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(settings: RedisSettings, listener: impl Listener) -> Self {
        let answer_within = (settings.server_lease / 8).clamp(Duration::from_millis(150), Duration::from_secs(1));
        let wire = Wire::new(settings.target.clone(), settings.min_acks, answer_within);
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
            key: Mutex::new(None),
            agreed: watch::Sender::new(false),
            misconfigured: watch::Sender::new(None),
            settings,
        });
        let tasks =
            (0..).zip(inboxes).map(|(index, calls)| tokio::spawn(Partition::new(index, shared.clone(), calls).run()));
        Self { tasks: tasks.collect(), shared }
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

impl Drop for RedisEngine {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
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

fn on_its_way<T: Send + 'static>(answer: oneshot::Receiver<Result<T>>) -> Answer<T> {
    Answer::Right(answer.map(|answer| answer.unwrap_or(Err(EngineError::Unavailable(AWAY)))).boxed())
}

fn refused<T>(refusal: Refusal) -> Answer<T> {
    at_hand(Err(refusal.into()))
}

/// A number as Redis reads it.
#[expect(clippy::needless_pass_by_value, reason = "numbers are passed by value")]
fn figure(number: impl ToString) -> Vec<u8> {
    number.to_string().into_bytes()
}

impl Engine for RedisEngine {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { outlives_server: true }
    }

    fn acquire(&self, acquire: Acquire) -> Answer<Acquired> {
        let shared = &self.shared;
        let resource = acquire.resource();
        let partition = shared.partition_of(&resource);
        let mut table = shared.table();
        match table.look_up(&acquire) {
            Err(refusal) => return refused(refusal),
            Ok(Known::Answer(answer)) => return at_hand(Ok(answer)),
            Ok(Known::Waits(_)) if !acquire.queue => {
                drop(table);
                return self.named_holders(partition, &resource);
            }
            Ok(Known::Waits(hold)) => {
                drop(table);
                let args = vec![b"P".to_vec(), hold_bytes(hold)];
                return shared.ask(partition, args, |reply| Then::Position { hold, reply });
            }
            Ok(Known::Asked(hold)) => {
                let (reply, answer) = oneshot::channel();
                if let Some(State::Asked(repeats)) = table.get_mut(hold).map(|hold| &mut hold.state) {
                    repeats.push(Repeat { may_queue: acquire.queue, reply });
                }
                return on_its_way(answer);
            }
            Ok(Known::New) => {}
        }
        let is_new = table.get(acquire.hold).is_none();
        if is_new {
            table.ask(partition, &acquire);
        }
        let (session, attempt, ttl, request) = match &acquire.party {
            Party::Session { session, .. } => (session_bytes(*session), table.attempt(*session), Duration::ZERO, None),
            Party::Lease { ttl, request } => (shared.pseudo_session(), 0, *ttl, request.as_ref()),
        };
        let details = table.get(acquire.hold).map(|hold| hold.details().write()).unwrap_or_default();
        let (hold, claim) = (acquire.hold, acquire.claim);
        let args = vec![
            b"A".to_vec(),
            hold_bytes(hold),
            resource_bytes(&resource),
            figure(claim.permits()),
            figure(claim.limit()),
            session,
            figure(attempt),
            figure(ttl.as_millis()),
            request.map_or_else(Vec::new, |request| request.as_str().as_bytes().to_vec()),
            figure(u8::from(acquire.queue)),
            details,
        ];
        // While the table is locked, so that what is about the same hold goes out in the same order.
        shared.ask(partition, args, |reply| Then::Acquire { hold, kind: resource.kind, claim, ttl, reply })
    }

    fn renew(&self, renew: Renew) -> Answer<Grant> {
        let Renew { resource, hold, ttl } = renew;
        let ttl = ttl.map_or(0, |ttl| ttl.as_millis());
        let args = vec![b"W".to_vec(), hold_bytes(hold), resource_bytes(&resource), figure(ttl)];
        self.shared.ask(self.shared.partition_of(&resource), args, |reply| Then::Renew { hold, reply })
    }

    fn release(&self, release: Release) -> Answer<Released> {
        let hold = release.hold;
        match release.by {
            Releaser::Bearer(resource) => {
                let args = vec![b"R".to_vec(), hold_bytes(hold), resource_bytes(&resource)];
                self.shared.ask(self.shared.partition_of(&resource), args, |reply| Then::ReleaseAny { hold, reply })
            }
            Releaser::Session(session) => {
                let mut table = self.shared.table();
                if !table.holds_for(session, hold) {
                    let ended = table.ended.get(hold);
                    return refused(
                        ended.map_or(Refusal::HoldNotFound, |ended| Refusal::NotHolder { ended: Some(ended) }),
                    );
                }
                let left = table.give_up_entry(hold, None);
                if left > 0 {
                    return at_hand(Ok(Released { entries: u32::try_from(left).unwrap_or(u32::MAX) }));
                }
                self.release_own(&mut table, hold)
            }
        }
    }

    fn cancel(&self, cancel: Cancel) -> Answer<Cancelled> {
        let mut table = self.shared.table();
        let (hold, entry) = match cancel.acquire {
            AcquireRef::Hold(hold) => (Some(hold), None),
            AcquireRef::Request(session, request) => (table.by_request(session, request), Some(request)),
        };
        let Some((hold, known)) = hold.and_then(|hold| Some((hold, table.get(hold)?))) else {
            return at_hand(Ok(Cancelled::Unknown));
        };
        let (partition, kind) = (known.partition, known.resource.kind);
        let give_back_it = cancel.if_granted == IfGranted::GiveBack;
        if known.is_held() {
            if !give_back_it {
                return at_hand(Ok(Cancelled::Kept));
            }
            if table.give_up_entry(hold, entry) > 0 {
                return at_hand(Ok(Cancelled::GivenBack));
            }
        }
        let args = vec![b"C".to_vec(), hold_bytes(hold), figure(u8::from(give_back_it))];
        self.shared.ask(partition, args, |reply| Then::Cancel { hold, kind, reply })
    }

    fn end_session(&self, end: EndSession) -> Answer<usize> {
        let session = end.session;
        let mut table = self.shared.table();
        let partitions = table.partitions(session);
        let Some(count) = table.remove_session(session, Some(end.reason)) else { return at_hand(Ok(0)) };
        let ask = |partition| {
            let args = vec![b"D".to_vec(), session_bytes(session)];
            self.shared.ask(partition, args, |reply| Then::End { session, reply })
        };
        let answers: Vec<_> = partitions.into_iter().map(ask).collect();
        Answer::Right(
            async move { join_all(answers).await.into_iter().try_for_each(|ended| ended).map(|()| count) }.boxed(),
        )
    }

    fn resume_session(&self, resume: ResumeSession) -> Answer<Vec<HoldId>> {
        let shared = self.shared.clone();
        let (session, attempt) = (resume.session, resume.attempt);
        // Redis hears of it in any case: an earlier attempt may yet arrive at another server, and must not win.
        let (partitions, adopted) = shared.table().expect(session, attempt, shared.settings.partitions);
        let ask = |partition| {
            let args = move_session(session, attempt, Vec::new());
            shared.ask(partition, args, |reply| Then::Move { session, attempt, reply })
        };
        let answers: Vec<Answer<bool>> = partitions.into_iter().map(ask).collect();
        Answer::Right(
            async move {
                // If this fails half way, what has come stays, and the next attempt, here or elsewhere, finds it.
                let moved: Vec<bool> = join_all(answers).await.into_iter().collect::<Result<_>>()?;
                if moved.contains(&false) {
                    // A later attempt has it, or will in a moment.
                    shared.table().remove_session(session, None);
                    return Ok(resume.holds.iter().map(|(hold, _)| *hold).collect());
                }
                Ok(shared.reconcile(&resume, adopted))
            }
            .boxed(),
        )
    }

    fn get(&self, get: Get) -> Answer<ResourceView> {
        let args = vec![b"Q".to_vec(), resource_bytes(&get.0), figure(DESCRIBED_PARTIES_MAX)];
        self.shared.ask(self.shared.partition_of(&get.0), args, |reply| Then::Get { reply })
    }

    fn list(&self, list: List) -> Answer<Vec<ResourceView>> {
        let after =
            list.after.as_ref().map(lockstead_core::Name::as_str).filter(|after| *after >= list.prefix.as_str());
        let args = vec![
            b"I".to_vec(),
            prefix_bytes(list.kind, &list.prefix),
            after.map_or_else(Vec::new, |after| prefix_bytes(list.kind, after)),
            figure(list.at_most),
            figure(DESCRIBED_PARTIES_MAX),
            figure(PAGE_BYTES_MAX),
        ];
        let ask = |partition| self.shared.ask(partition, args.clone(), |reply| Then::List { reply });
        let answers: Vec<Answer<Vec<ResourceView>>> = (0..self.shared.settings.partitions).map(ask).collect();
        let at_most = list.at_most;
        Answer::Right(
            async move { Ok(first_page(join_all(answers).await.into_iter().collect::<Result<_>>()?, at_most)) }.boxed(),
        )
    }

    fn census(&self) -> Census {
        self.shared.table().census()
    }

    fn valid_until(&self) -> Option<Time> {
        Some(lock(&self.shared.promises).promise(lockstead_clock::time()))
    }

    fn readiness(&self) -> Readiness {
        partition::readiness(&lock(&self.shared.statuses))
    }

    fn shared_key(&self) -> Option<SharedKey> {
        *lock(&self.shared.key)
    }
}

/// What comes first of the partitions' pages, as far as it makes one page.
fn first_page(pages: Vec<Vec<ResourceView>>, at_most: usize) -> Vec<ResourceView> {
    let mut views: Vec<_> = pages.into_iter().flatten().collect();
    views.sort_by(|one, other| one.key.cmp(&other.key));
    views.truncate(at_most);
    let mut bytes = 0;
    let fits = |view: &ResourceView| {
        let fits = bytes < PAGE_BYTES_MAX;
        bytes += view.size();
        fits
    };
    views.into_iter().take_while(fits).collect()
}

impl RedisEngine {
    fn named_holders(&self, partition: Index, resource: &ResourceKey) -> Answer<Acquired> {
        let args = vec![b"Q".to_vec(), resource_bytes(resource), figure(lockstead_core::limits::NAMED_HOLDERS_MAX)];
        let view = self.shared.ask(partition, args, |reply| Then::Get { reply });
        Answer::Right(view.map(|view| Ok(Acquired::Held { holders: view?.holders })).boxed())
    }

    fn release_own(&self, table: &mut Table, hold: HoldId) -> Answer<Released> {
        let Some(known) = table.remove(hold, Some(lockstead_core::EndReason::Released)) else {
            return refused(Refusal::HoldNotFound);
        };
        let args = vec![b"R".to_vec(), hold_bytes(hold), Vec::new()];
        self.shared.ask(known.partition, args, |reply| Then::ReleaseOwn { reply })
    }
}

impl Shared {
    /// Sixteen bytes in place of a session's id, for the leases that wait here.
    fn pseudo_session(&self) -> Vec<u8> {
        self.server_name().into_bytes()
    }

    fn server_name(&self) -> String {
        format!("{:016x}", self.settings.server)
    }

    /// Makes a session that is here what its client says it is. Returns which of the claimed holds are gone.
    fn reconcile(&self, resume: &ResumeSession, adopted: bool) -> Vec<HoldId> {
        let session: SessionId = resume.session;
        let pending: BTreeSet<u64> = resume.pending.iter().copied().collect();
        let claims: HashMap<HoldId, u32> = resume.holds.iter().copied().collect();
        let mut table = self.table();
        let mut given_up = Vec::new();
        for hold in table.of_session(session) {
            let claimed = claims.get(&hold).copied().unwrap_or(0);
            if !table.reconcile(hold, claimed, &pending, adopted) {
                given_up.push(hold);
            }
        }
        // Waiters first, so that none of them is granted in passing.
        given_up.sort_by_key(|hold| table.get(*hold).is_some_and(table::Hold::is_held));
        for hold in given_up {
            if let Some(known) = table.remove(hold, Some(lockstead_core::EndReason::Released)) {
                self.send(known.partition, give_back(hold), Then::Owed);
            }
        }
        let gone = |hold: &HoldId| !table.holds_for(session, *hold);
        resume.holds.iter().map(|(hold, _)| *hold).filter(gone).collect()
    }
}
