//! What a scenario works with: an engine, what it reported, and short ways to say things.

use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use lockstead_core::{
    Acquire, AcquireRef, Acquired, Cancel, Cancelled, Claim, EndReason, EndSession, Get, Grant, HoldId, HolderView,
    IfGranted, Kind, Metadata, Mode, Name, Owner, OwnerKey, Party, Permits, Refusal, Release, Releaser, Renew,
    RequestId, ResourceKey, ResourceView, ResumeSession, SessionId,
};
use lockstead_engine::{Engine, EngineError};

use crate::events::EventLog;

/// Alone.
pub(crate) const EXCLUSIVE: Claim = Claim::Lock(Mode::Exclusive);
/// With others.
pub(crate) const SHARED: Claim = Claim::Lock(Mode::Shared);
/// The shortest lease there is, for scenarios that wait for its end.
pub(crate) const SHORT: Duration = Duration::from_millis(100);
/// A lease that outlives its scenario.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// An engine under test.
pub(crate) struct Fixture {
    /// The engine.
    pub(crate) engine: Arc<dyn Engine>,
    /// What it reported.
    pub(crate) events: Arc<EventLog>,
    /// Keeps scenarios apart that share a backend.
    prefix: String,
    /// What the engine needs for as long as the scenario takes.
    _keep: Option<Box<dyn Any + Send + Sync>>,
}

/// Permits of a semaphore.
pub(crate) fn permits(permits: u32, limit: u32) -> Claim {
    Claim::Semaphore(Permits::new(permits, limit).unwrap())
}

/// A new random id.
pub(crate) fn hold_id() -> HoldId {
    HoldId::from_bits(random())
}

/// A new random id.
pub(crate) fn session_id() -> SessionId {
    SessionId::from_bits(random())
}

fn random() -> u128 {
    let half = |salt: &str| u128::from(RandomState::new().hash_one(salt));
    half("high") << 64 | half("low")
}

/// What an engine refused.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, EngineError>) -> Refusal {
    match result {
        Err(EngineError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

impl Fixture {
    /// An engine, and the log that listens to it.
    pub(crate) fn new(engine: Arc<dyn Engine>, events: Arc<EventLog>) -> Self {
        Self { engine, events, prefix: format!("conformance/{:032x}", random()), _keep: None }
    }

    /// Keeps something for as long as the scenario takes.
    pub(crate) fn keeping(self, kept: impl Any + Send + Sync) -> Self {
        Self { _keep: Some(Box::new(kept)), ..self }
    }

    /// A name that only this scenario uses.
    pub(crate) fn name(&self, last: &str) -> Name {
        Name::parse(&format!("{}/{last}", self.prefix)).unwrap()
    }

    /// A request id that only this scenario uses.
    pub(crate) fn request_id(&self, last: &str) -> RequestId {
        RequestId::parse(&format!("{}/{last}", self.prefix)).unwrap()
    }

    /// The start of all names of this scenario.
    pub(crate) fn prefix(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The lock of this name.
    pub(crate) fn lock(&self, name: &str) -> ResourceKey {
        ResourceKey { kind: Kind::Lock, name: self.name(name) }
    }

    /// The semaphore of this name.
    pub(crate) fn semaphore(&self, name: &str) -> ResourceKey {
        ResourceKey { kind: Kind::Semaphore, name: self.name(name) }
    }

    /// An acquire of a session.
    pub(crate) fn ask(&self, session: SessionId, request: u64, name: &str, claim: Claim) -> Acquire {
        self.acquire(name, claim, Party::Session { session, request, owner_key: None })
    }

    /// A re-entrant acquire of a session.
    pub(crate) fn ask_as(&self, key: &str, session: SessionId, request: u64, name: &str, claim: Claim) -> Acquire {
        let owner_key = Some(OwnerKey::parse(key).unwrap());
        self.acquire(name, claim, Party::Session { session, request, owner_key })
    }

    /// An acquire of a lease, without a request id.
    pub(crate) fn ask_lease(&self, name: &str, claim: Claim, ttl: Duration) -> Acquire {
        self.acquire(name, claim, Party::Lease { ttl, request: None })
    }

    /// An acquire of a long lease, with a request id.
    pub(crate) fn ask_once(&self, id: &str, name: &str, claim: Claim) -> Acquire {
        self.acquire(name, claim, Party::Lease { ttl: LONG, request: Some(self.request_id(id)) })
    }

    fn acquire(&self, name: &str, claim: Claim, party: Party) -> Acquire {
        let (owner, metadata) = (Owner::default(), Metadata::default());
        Acquire { hold: hold_id(), name: self.name(name), claim, party, owner, metadata, queue: true }
    }

    /// Acquires, and is granted at once.
    pub(crate) async fn granted(&self, acquire: Acquire) -> Grant {
        match self.engine.acquire(acquire).await {
            Ok(Acquired::Granted(grant)) => grant,
            other => panic!("not granted: {other:?}"),
        }
    }

    /// Acquires, and is queued; which hold it will be, and its position.
    pub(crate) async fn queued(&self, acquire: Acquire) -> (HoldId, usize) {
        match self.engine.acquire(acquire).await {
            Ok(Acquired::Queued { hold, position }) => (hold, position),
            other => panic!("not queued: {other:?}"),
        }
    }

    /// Tries, and hears who holds.
    pub(crate) async fn held(&self, acquire: Acquire) -> Vec<HolderView> {
        match self.engine.acquire(Acquire { queue: false, ..acquire }).await {
            Ok(Acquired::Held { holders }) => holders,
            other => panic!("not held by another: {other:?}"),
        }
    }

    /// Acquires, and is refused.
    pub(crate) async fn refused(&self, acquire: Acquire) -> Refusal {
        refusal(self.engine.acquire(acquire).await)
    }

    /// Releases as the hold's session; how many entries are left.
    pub(crate) async fn release(&self, hold: HoldId, session: SessionId) -> u32 {
        self.engine.release(Release { hold, by: Releaser::Session(session) }).await.unwrap().entries
    }

    /// Releases as the hold's bearer.
    pub(crate) async fn release_as_bearer(&self, hold: HoldId, resource: ResourceKey) -> Result<u32, EngineError> {
        let by = Releaser::Bearer(resource);
        self.engine.release(Release { hold, by }).await.map(|released| released.entries)
    }

    /// Renews a lease.
    pub(crate) async fn renew(&self, hold: HoldId, resource: ResourceKey, ttl: Duration) -> Result<Grant, EngineError> {
        self.engine.renew(Renew { resource, hold, ttl: Some(ttl) }).await
    }

    /// Cancels an acquire of a session.
    pub(crate) async fn cancel(&self, session: SessionId, request: u64, if_granted: IfGranted) -> Cancelled {
        self.engine.cancel(Cancel { acquire: AcquireRef::Request(session, request), if_granted }).await.unwrap()
    }

    /// Cancels the acquire of a lease.
    pub(crate) async fn cancel_lease(&self, hold: HoldId, if_granted: IfGranted) -> Cancelled {
        self.engine.cancel(Cancel { acquire: AcquireRef::Hold(hold), if_granted }).await.unwrap()
    }

    /// Ends a session as if its stream had ended.
    pub(crate) async fn end(&self, session: SessionId) -> usize {
        self.engine.end_session(EndSession { session, reason: EndReason::Disconnected }).await.unwrap()
    }

    /// Resumes a session; which of the listed holds are lost.
    pub(crate) async fn resume(&self, session: SessionId, holds: &[(HoldId, u32)], pending: &[u64]) -> Vec<HoldId> {
        let (holds, pending) = (holds.to_vec(), pending.to_vec());
        self.engine.resume_session(ResumeSession { session, attempt: 1, holds, pending }).await.unwrap()
    }

    /// Looks at a resource.
    pub(crate) async fn get(&self, resource: ResourceKey) -> ResourceView {
        self.engine.get(Get(resource)).await.unwrap()
    }

    /// How many hold a resource and how many wait for it.
    pub(crate) async fn counts(&self, resource: ResourceKey) -> (usize, usize) {
        let view = self.get(resource).await;
        (view.holder_count, view.waiter_count)
    }

    /// Returns when all events about lock `name` that have happened so far have been heard: it makes one more, about the
    /// semaphore of that name, and waits for it.
    pub(crate) async fn settle(&self, name: &str) {
        let (first, next) = (session_id(), session_id());
        let grant = self.granted(self.ask(first, 1, name, permits(1, 1))).await;
        self.queued(self.ask(next, 1, name, permits(1, 1))).await;
        self.release(grant.hold, first).await;
        let grant = self.events.granted(next, 1).await;
        self.release(grant.hold, next).await;
    }
}
