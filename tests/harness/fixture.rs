//! What a scenario works with: an engine, what it reported, and short ways to say things.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a scenario that does not go as it should fails by panicking"
)]

use std::any::Any;
use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use lockstead_core::limits::PAGE_SIZE_MAX;
use lockstead_core::{
    Acquire, AcquireRef, Acquired, Cancel, Cancelled, Claim, EndReason, EndSession, Get, Grant, HoldId, HolderView,
    IfGranted, Kind, List, Metadata, Mode, Name, Owner, OwnerKey, Party, Permits, Refusal, Release, Releaser, Renew,
    RequestId, ResourceKey, ResourceView, ResumeSession, SessionId,
};
use lockstead_engine::{Engine, EngineError};

use crate::events::EventLog;

/// Alone.
pub const EXCLUSIVE: Claim = Claim::Lock(Mode::Exclusive);
/// With others.
pub const SHARED: Claim = Claim::Lock(Mode::Shared);
/// The shortest lease there is, for scenarios that wait for its end.
pub const SHORT: Duration = Duration::from_millis(100);
/// A lease that outlives its scenario.
pub const LONG: Duration = Duration::from_secs(3600);

/// An engine under test.
#[derive(Clone)]
pub struct Fixture {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// What it reported.
    pub events: Arc<EventLog>,
    /// Keeps scenarios apart that share a backend.
    prefix: String,
    /// What the engine needs for as long as the scenario takes.
    kept: Option<Arc<dyn Any + Send + Sync>>,
}

/// Permits of a semaphore.
pub fn permits(permits: u32, limit: u32) -> Claim {
    Claim::Semaphore(Permits::new(permits, limit).unwrap())
}

/// A new random id.
pub fn hold_id() -> HoldId {
    HoldId::from_bits(random())
}

/// A new random id.
pub fn session_id() -> SessionId {
    SessionId::from_bits(random())
}

/// Random enough for a test.
pub fn random() -> u128 {
    let half = |salt: &str| u128::from(RandomState::new().hash_one(salt));
    half("high") << 64 | half("low")
}

/// What an engine refused.
pub fn refusal<T: Debug>(result: Result<T, EngineError>) -> Refusal {
    match result {
        Err(EngineError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

impl Fixture {
    /// An engine, and the log that listens to it.
    pub fn new(engine: Arc<dyn Engine>, events: Arc<EventLog>) -> Self {
        Self { engine, events, prefix: format!("conformance/{:032x}", random()), kept: None }
    }

    /// Keeps something for as long as the scenario takes.
    #[must_use]
    pub fn keeping(self, kept: impl Any + Send + Sync) -> Self {
        Self { kept: Some(Arc::new(kept)), ..self }
    }

    /// Another engine, which shares its backend and the names of the scenario with this one.
    #[must_use]
    pub fn beside(&self, engine: Arc<dyn Engine>, events: Arc<EventLog>) -> Self {
        Self { engine, events, prefix: self.prefix.clone(), kept: self.kept.clone() }
    }

    /// A name that only this scenario uses.
    pub fn name(&self, last: &str) -> Name {
        Name::parse(&format!("{}/{last}", self.prefix)).unwrap()
    }

    /// A request id that only this scenario uses.
    pub fn request_id(&self, last: &str) -> RequestId {
        RequestId::parse(&format!("{}/{last}", self.prefix)).unwrap()
    }

    /// The start of all names of this scenario.
    pub fn prefix(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The lock of this name.
    pub fn lock(&self, name: &str) -> ResourceKey {
        ResourceKey { kind: Kind::Lock, name: self.name(name) }
    }

    /// The semaphore of this name.
    pub fn semaphore(&self, name: &str) -> ResourceKey {
        ResourceKey { kind: Kind::Semaphore, name: self.name(name) }
    }

    /// An acquire of a session.
    pub fn ask(&self, session: SessionId, request: u64, name: &str, claim: Claim) -> Acquire {
        self.acquire(name, claim, Party::Session { session, request, owner_key: None })
    }

    /// A re-entrant acquire of a session.
    pub fn ask_as(&self, key: &str, session: SessionId, request: u64, name: &str, claim: Claim) -> Acquire {
        let owner_key = Some(OwnerKey::parse(key).unwrap());
        self.acquire(name, claim, Party::Session { session, request, owner_key })
    }

    /// An acquire of a lease, without a request id.
    pub fn ask_lease(&self, name: &str, claim: Claim, ttl: Duration) -> Acquire {
        self.acquire(name, claim, Party::Lease { ttl, request: None })
    }

    /// An acquire of a long lease, with a request id.
    pub fn ask_once(&self, id: &str, name: &str, claim: Claim) -> Acquire {
        self.acquire(name, claim, Party::Lease { ttl: LONG, request: Some(self.request_id(id)) })
    }

    fn acquire(&self, name: &str, claim: Claim, party: Party) -> Acquire {
        let (owner, metadata) = (Owner::default(), Metadata::default());
        Acquire { hold: hold_id(), name: self.name(name), claim, party, owner, metadata, queue: true }
    }

    /// Acquires, and is granted at once.
    pub async fn granted(&self, acquire: Acquire) -> Grant {
        match self.engine.acquire(acquire).await {
            Ok(Acquired::Granted(grant)) => grant,
            other => panic!("not granted: {other:?}"),
        }
    }

    /// Acquires, and is queued; which hold it will be, and its position.
    pub async fn queued(&self, acquire: Acquire) -> (HoldId, usize) {
        match self.engine.acquire(acquire).await {
            Ok(Acquired::Queued { hold, position }) => (hold, position),
            other => panic!("not queued: {other:?}"),
        }
    }

    /// Tries, and hears who holds.
    pub async fn held(&self, acquire: Acquire) -> Vec<HolderView> {
        match self.engine.acquire(Acquire { queue: false, ..acquire }).await {
            Ok(Acquired::Held { holders }) => holders,
            other => panic!("not held by another: {other:?}"),
        }
    }

    /// Acquires, and is refused.
    pub async fn refused(&self, acquire: Acquire) -> Refusal {
        refusal(self.engine.acquire(acquire).await)
    }

    /// Releases as the hold's session; how many entries are left.
    pub async fn release(&self, hold: HoldId, session: SessionId) -> u32 {
        self.engine.release(Release { hold, by: Releaser::Session(session) }).await.unwrap().entries
    }

    /// Releases as the hold's bearer.
    pub async fn release_as_bearer(&self, hold: HoldId, resource: ResourceKey) -> Result<u32, EngineError> {
        let by = Releaser::Bearer(resource);
        self.engine.release(Release { hold, by }).await.map(|released| released.entries)
    }

    /// Renews a lease.
    pub async fn renew(&self, hold: HoldId, resource: ResourceKey, ttl: Duration) -> Result<Grant, EngineError> {
        self.engine.renew(Renew { resource, hold, ttl: Some(ttl) }).await
    }

    /// Cancels an acquire of a session.
    pub async fn cancel(&self, session: SessionId, request: u64, if_granted: IfGranted) -> Cancelled {
        self.engine.cancel(Cancel { acquire: AcquireRef::Request(session, request), if_granted }).await.unwrap()
    }

    /// Cancels the acquire of a lease.
    pub async fn cancel_lease(&self, hold: HoldId, if_granted: IfGranted) -> Cancelled {
        self.engine.cancel(Cancel { acquire: AcquireRef::Hold(hold), if_granted }).await.unwrap()
    }

    /// Ends a session as if its stream had ended.
    pub async fn end(&self, session: SessionId) -> usize {
        self.engine.end_session(EndSession { session, reason: EndReason::Disconnected }).await.unwrap()
    }

    /// Resumes a session; which of the listed holds are lost.
    pub async fn resume(&self, session: SessionId, holds: &[(HoldId, u32)], pending: &[u64]) -> Vec<HoldId> {
        self.resume_as(1, session, holds, pending).await
    }

    /// Resumes a session for the `attempt`th time; which of the listed holds are lost.
    pub async fn resume_as(
        &self,
        attempt: u32,
        session: SessionId,
        holds: &[(HoldId, u32)],
        pending: &[u64],
    ) -> Vec<HoldId> {
        let (holds, pending) = (holds.to_vec(), pending.to_vec());
        self.engine.resume_session(ResumeSession { session, attempt, holds, pending }).await.unwrap()
    }

    /// Looks at a resource.
    pub async fn get(&self, resource: ResourceKey) -> ResourceView {
        self.engine.get(Get(resource)).await.unwrap()
    }

    /// All resources of this scenario that are in use.
    pub async fn all(&self) -> Vec<ResourceView> {
        let mut all = Vec::new();
        for kind in [Kind::Lock, Kind::Semaphore] {
            let mut after = None;
            loop {
                let list = List { kind, prefix: self.prefix(), after, at_most: PAGE_SIZE_MAX };
                let page = self.engine.list(list).await.unwrap();
                let Some(end) = page.last() else { break };
                after = Some(end.key.name.clone());
                all.extend(page);
            }
        }
        all
    }

    /// How many hold a resource and how many wait for it.
    pub async fn counts(&self, resource: ResourceKey) -> (usize, usize) {
        let view = self.get(resource).await;
        (view.holder_count, view.waiter_count)
    }

    /// Returns when all events about lock `name` that have happened so far have been heard: it makes one more, about the
    /// semaphore of that name, and waits for it.
    pub async fn settle(&self, name: &str) {
        let (first, next) = (session_id(), session_id());
        let grant = self.granted(self.ask(first, 1, name, permits(1, 1))).await;
        self.queued(self.ask(next, 1, name, permits(1, 1))).await;
        self.release(grant.hold, first).await;
        let grant = self.events.granted(next, 1).await;
        self.release(grant.hold, next).await;
    }
}
