//! Requests about one lock or semaphore: how to say what is wanted, and asking for it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use lockstead_api::{convert, v1};
use lockstead_clock::time;
use lockstead_core::{Claim, Kind, Metadata, Mode, Name, Owner, OwnerKey, Permits, Scope, Wait};
use tokio::sync::oneshot;

use crate::error::{Error, NotAcquiredReason, Result};
use crate::guard::Guard;
use crate::lease::LeaseRequest;
use crate::resource::Resource;
use crate::session::{Acquire, Caller, Command, Handle, Patience, UnaryPatience};

/// A request about one lock or semaphore, made by [`Client::lock`](crate::Client::lock) or
/// [`Client::semaphore`](crate::Client::semaphore). Say how you want it, then [`acquire`](Request::acquire).
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent, for example with `acquire`"]
pub struct Request<K> {
    handle: Arc<Handle>,
    name: String,
    demand: K,
    scope: Scope,
    wait: Option<Duration>,
    owner_key: String,
    owner: String,
    metadata: BTreeMap<String, String>,
}

/// That a [`Request`] is about a lock.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    mode: Mode,
}

/// That a [`Request`] is about a semaphore.
#[derive(Clone, Copy, Debug)]
pub struct Semaphore {
    permits: u32,
    limit: u32,
}

/// What requests can be about: [`Lock`] or [`Semaphore`].
pub trait Demand: sealed::Demand {}

mod sealed {
    use lockstead_core::{Claim, Invalid, Kind};

    pub trait Demand: Copy {
        const KIND: Kind;

        fn claim(self) -> Result<Claim, Invalid>;
    }
}

impl sealed::Demand for Lock {
    const KIND: Kind = Kind::Lock;

    fn claim(self) -> std::result::Result<Claim, lockstead_core::Invalid> {
        Ok(Claim::Lock(self.mode))
    }
}

impl sealed::Demand for Semaphore {
    const KIND: Kind = Kind::Semaphore;

    fn claim(self) -> std::result::Result<Claim, lockstead_core::Invalid> {
        Permits::new(self.permits, self.limit).map(Claim::Semaphore)
    }
}

impl Demand for Lock {}
impl Demand for Semaphore {}

impl Request<Lock> {
    pub(crate) fn lock(handle: Arc<Handle>, name: String) -> Self {
        Self::new(handle, name, Lock { mode: Mode::Exclusive })
    }

    /// Shares the lock with other readers, instead of holding it alone.
    pub fn shared(mut self) -> Self {
        self.demand.mode = Mode::Shared;
        self
    }
}

impl Request<Semaphore> {
    pub(crate) fn semaphore(handle: Arc<Handle>, name: String, limit: u32) -> Self {
        Self::new(handle, name, Semaphore { permits: 1, limit })
    }

    /// How many permits to take, 1 to the limit; 1 unless set.
    pub fn permits(mut self, permits: u32) -> Self {
        self.demand.permits = permits;
        self
    }
}

impl<K: Demand> Request<K> {
    fn new(handle: Arc<Handle>, name: String, demand: K) -> Self {
        let (owner_key, owner, metadata) = (String::new(), String::new(), BTreeMap::new());
        Self { handle, name, demand, scope: Scope::Cluster, wait: None, owner_key, owner, metadata }
    }

    /// How long to stand in the queue at most, up to 365 days; zero is to try once. Without it, an acquire waits as long
    /// as it takes.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// The lock of that name that the processes of the server's machine share through the kernel's file locks, instead
    /// of the one that the whole cluster shares.
    pub fn node_scope(self) -> Self {
        self.scope(Scope::Node)
    }

    /// Who shares the resource; the whole cluster unless set.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Makes the acquire re-entrant: while this client holds the resource with the same key (up to 128 bytes; a thread's
    /// or task's id serves), it gets the same hold again. It ends when all its guards have been released. Without a key
    /// every acquire stands alone, and two tasks that share a client exclude each other. Has no effect on leases.
    pub fn owner_key(mut self, key: impl Into<String>) -> Self {
        self.owner_key = key.into();
        self
    }

    /// Who holds, for people to read; up to 255 bytes. The client's owner text unless set.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }

    /// What others may know about the hold; up to 16 entries. The client's metadata unless set.
    pub fn metadata<K2: Into<String>, V: Into<String>>(mut self, entries: impl IntoIterator<Item = (K2, V)>) -> Self {
        self.metadata = entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self
    }

    /// Waits until it is granted. Dropping the future takes the request back; nothing stays held or queued.
    ///
    /// If the connection breaks meanwhile, or the server is about to stop or can't reach its store, the client asks again by
    /// itself, as long as the wait lasts.
    ///
    /// # Errors
    /// [`Error::NotAcquired`] if the wait is over, or if it could never end (a deadlock); [`Error::Refused`] if something
    /// is wrong with the request, or with `BACKEND_UNAVAILABLE` if the wait is over and the store could not be reached at
    /// its end; [`Error::Unavailable`] if it did not want to wait and no server could be reached; [`Error::Lost`] if the
    /// hold was lost again before it could be handed over.
    pub async fn acquire(self) -> Result<Guard> {
        let guard = Answer::to(self)?.await?;
        guard.ensure_held()?;
        Ok(guard)
    }

    /// Tries once, without waiting. `None` if others hold it, or wait for it already.
    ///
    /// # Errors
    /// As for [`Request::acquire`]; without a server, [`Error::Unavailable`] after the connect timeout.
    pub async fn try_acquire(self) -> Result<Option<Guard>> {
        match self.wait(Duration::ZERO).acquire().await {
            Err(Error::NotAcquired(why)) if why.reason == NotAcquiredReason::Held => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// Asks for a lease instead: a hold without a session, which ends after `ttl` (100 ms to 24 h) unless it is renewed.
    /// For holders that can't keep a connection.
    pub fn lease(self, ttl: Duration) -> LeaseRequest<K> {
        LeaseRequest::new(self, ttl)
    }

    /// Ends a hold of this resource by its id, whoever it belongs to.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NOT_HOLDER` or `HOLD_NOT_FOUND` if there is no such hold (any more).
    pub async fn release(self, hold_id: lockstead_core::HoldId) -> Result<()> {
        let resource = self.resource_id()?;
        crate::lease::release(&self.handle, resource, hold_id).await
    }

    /// Who holds it and who waits for it.
    pub async fn get(self) -> Result<Resource> {
        let resource = self.resource_id()?;
        let request = v1::GetRequest { resource: Some(resource) };
        let answer = self.handle.call(UnaryPatience::Short, |mut attempt| {
            let request = request.clone();
            async move { attempt.service.get(request).await }
        });
        Ok(Resource::from_wire(answer.await?.resource.unwrap_or_default()))
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(crate) fn wait_as_asked(&self) -> Result<Wait> {
        Ok(self.wait.map_or(Ok(Wait::Forever), Wait::up_to)?)
    }

    /// Checks the texts: what is wrong at sight needs no server.
    fn check(&self) -> Result<()> {
        Name::parse(&self.name)?;
        if !self.owner.is_empty() {
            Owner::parse(&self.owner)?;
        }
        if !self.owner_key.is_empty() {
            OwnerKey::parse(&self.owner_key)?;
        }
        if !self.metadata.is_empty() {
            Metadata::parse(self.metadata.clone())?;
        }
        Ok(())
    }

    pub(crate) fn resource_id(&self) -> Result<v1::ResourceId> {
        self.check()?;
        Ok(v1::ResourceId {
            kind: v1::Kind::from(K::KIND).into(),
            name: self.name.clone(),
            scope: v1::Scope::from(self.scope).into(),
        })
    }

    pub(crate) fn into_wire(self, request_id: u64) -> Result<v1::SessionAcquire> {
        self.check()?;
        let claim = convert::claim_to_wire(self.scope, self.name, self.demand.claim()?);
        let (owner_key, owner, metadata) = (self.owner_key, self.owner, self.metadata);
        Ok(v1::SessionAcquire { request_id, claim: Some(claim), wait: None, owner_key, owner, metadata })
    }
}

impl<K: Demand> fmt::Debug for Request<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Request");
        debug.field("kind", &<K as sealed::Demand>::KIND).field("name", &self.name).field("wait", &self.wait);
        debug.finish_non_exhaustive()
    }
}

/// The answer to an acquire that is under way. Dropped before it has come, it takes the acquire back.
struct Answer {
    handle: Arc<Handle>,
    request_id: u64,
    receiver: oneshot::Receiver<Result<Guard>>,
    has_come: bool,
}

impl Answer {
    /// Sends the request.
    fn to<K: Demand>(request: Request<K>) -> Result<Self> {
        let patience = match request.wait_as_asked()? {
            Wait::No => Patience::Try,
            Wait::UpTo(wait) => Patience::Until(time().saturating_add(wait)),
            Wait::Forever => Patience::Forever,
        };
        let handle = Arc::clone(&request.handle);
        let request_id = handle.next_request_id();
        let request = request.into_wire(request_id)?;
        let (sender, receiver) = oneshot::channel();
        let caller = Some(Caller { answer: sender, handle: Arc::clone(&handle) });
        handle.send(Command::Acquire(Box::new(Acquire { request, patience, caller })))?;
        Ok(Self { handle, request_id, receiver, has_come: false })
    }
}

impl Future for Answer {
    type Output = Result<Guard>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Guard>> {
        let answer = std::task::ready!(self.receiver.poll_unpin(context));
        self.has_come = true;
        Poll::Ready(answer.unwrap_or(Err(Error::Closed)))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.has_come {
            return;
        }
        self.receiver.close();
        // Either a guard is here already, and gives its hold back as it is dropped; or none can come any more, and the
        // acquire is taken back. Never both: a re-entrant hold would give up two of its entries.
        if self.receiver.try_recv().is_err() {
            let _ = self.handle.send(Command::Cancel(self.request_id));
        }
    }
}
