//! Leases: holds without a session.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lockstead_api::convert;
use lockstead_api::v1::{self, ErrorReason};
use lockstead_clock::time;
use lockstead_core::{HoldId, Time, Wait, bounds};

use crate::error::{Error, NotAcquiredReason, Result};
use crate::request::{Demand, Request};
use crate::session::{Handle, UnaryPatience};

/// A request for a lease; made by [`Request::lease`].
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent, with `acquire`"]
pub struct LeaseRequest<K: Demand> {
    request: Request<K>,
    ttl: Duration,
    request_id: Option<String>,
}

/// A hold that ends at its deadline unless it is renewed. Dropping it does nothing: it may be renewed or released by
/// whoever knows its id.
#[must_use = "a lease that is not released is held until its ttl is over"]
pub struct Lease {
    handle: Arc<Handle>,
    resource: v1::ResourceId,
    hold_id: HoldId,
    token: u64,
    ttl: Duration,
    valid_until: Time,
    expires_at: Option<SystemTime>,
}

impl<K: Demand> LeaseRequest<K> {
    pub(crate) fn new(request: Request<K>, ttl: Duration) -> Self {
        Self { request, ttl, request_id: None }
    }

    /// Names the request, with up to 128 bytes. Repeating it under the same id (in another process, after a crash) gives
    /// the same hold, which is then renewed once, because nothing else tells how much is left of it. A random id unless
    /// set, which serves the client's own repetitions.
    pub fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }

    /// Waits until it is granted. Dropping the future takes the request back; if the answer was on its way just then,
    /// the lease ends after its ttl.
    ///
    /// # Errors
    /// As for [`Request::acquire`].
    pub async fn acquire(self) -> Result<Lease> {
        let handle = Arc::clone(self.request.handle());
        let wait = self.request.wait_as_asked()?;
        let resource = self.request.resource_id()?;
        let may_be_old = self.request_id.is_some();
        let request = self.into_wire()?;
        let patience = match wait {
            Wait::No => UnaryPatience::Short,
            Wait::UpTo(wait) => UnaryPatience::Wait(wait),
            Wait::Forever => UnaryPatience::Forever,
        };
        let started = time();
        let answer = handle.call(patience, |mut attempt| {
            let wait = match wait {
                Wait::UpTo(wait) => Wait::UpTo(wait.saturating_sub(attempt.sent.since(started))),
                other => other,
            };
            let request = v1::AcquireRequest { wait: convert::wait_to_wire(wait), ..request.clone() };
            async move { attempt.service.acquire(request).await }
        });
        match answer.await?.outcome {
            // A repeated request may have been granted at its first attempt, so its time counts from there.
            Some(v1::acquire_response::Outcome::Acquired(hold)) => {
                Lease::granted(handle, resource, hold, started, may_be_old).await
            }
            Some(v1::acquire_response::Outcome::NotAcquired(why)) => Err(Error::from_not_acquired(why)),
            None => Err(Error::Protocol("an acquire without an outcome".to_owned())),
        }
    }

    /// Tries once, without waiting. `None` if others hold it, or wait for it already.
    ///
    /// # Errors
    /// As for [`Request::acquire`].
    pub async fn try_acquire(mut self) -> Result<Option<Lease>> {
        self.request = self.request.wait(Duration::ZERO);
        match self.acquire().await {
            Err(Error::NotAcquired(why)) if why.reason == NotAcquiredReason::Held => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    fn into_wire(self) -> Result<v1::AcquireRequest> {
        let request_id = match self.request_id {
            Some(request_id) => request_id,
            None => random_id()?,
        };
        let ttl = Some(convert::duration_to_wire(bounds::ttl(self.ttl)?));
        let config = Arc::clone(&self.request.handle().config);
        let v1::SessionAcquire { claim, mut owner, mut metadata, .. } = self.request.into_wire(0)?;
        // There is no session to inherit them from.
        if owner.is_empty() {
            owner.clone_from(&config.owner);
        }
        if metadata.is_empty() {
            metadata.clone_from(&config.metadata);
        }
        Ok(v1::AcquireRequest { claim, wait: None, ttl, owner, metadata, request_id })
    }
}

impl Lease {
    /// A lease that was asked for at `started`. If it waited long, that says little about its deadline; if it was asked
    /// for before, under the same id, it says nothing. In both cases it is renewed once to know more.
    async fn granted(
        handle: Arc<Handle>,
        resource: v1::ResourceId,
        hold: v1::Hold,
        started: Time,
        may_be_old: bool,
    ) -> Result<Self> {
        let hold_id = HoldId::parse(&hold.hold_id).map_err(|invalid| Error::Protocol(invalid.message))?;
        let (token, ttl) = (hold.fencing_token, Duration::ZERO);
        let mut lease = Self { handle, resource, hold_id, token, ttl, valid_until: started, expires_at: None };
        lease.note(&hold, started)?;
        if may_be_old {
            lease.valid_until = started;
        } else if time().since(started) <= lease.ttl / 4 {
            return Ok(lease);
        }
        match lease.renew(None).await {
            // It may be good all the same; until when, is not known.
            Ok(()) | Err(Error::Unavailable(_)) => Ok(lease),
            Err(error) => Err(error),
        }
    }

    /// Moves the deadline: the lease is good for `ttl` (100 ms to 24 h) from now on, or for as long as before if it is
    /// `None`.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NOT_HOLDER` or `HOLD_NOT_FOUND` if it has ended; [`Error::Unavailable`] if no server
    /// could be reached, and then it goes on until [`Lease::valid_until`].
    pub async fn renew(&mut self, ttl: impl Into<Option<Duration>>) -> Result<()> {
        let ttl = ttl.into().map(bounds::ttl).transpose()?.map(convert::duration_to_wire);
        let request = v1::RenewRequest { resource: Some(self.resource.clone()), hold_id: self.hold_id.reveal(), ttl };
        let answer = self.handle.call(UnaryPatience::Short, |mut attempt| {
            let request = request.clone();
            async move {
                let sent = attempt.sent;
                let answer = attempt.service.renew(request).await?;
                Ok(tonic::Response::new((answer.into_inner(), sent)))
            }
        });
        let (answer, sent) = answer.await?;
        self.note(&answer.hold.unwrap_or_default(), sent)
    }

    /// Gives it back.
    ///
    /// # Errors
    /// [`Error::Refused`] with `NOT_HOLDER` or `HOLD_NOT_FOUND` if it has ended before; [`Error::Unavailable`] if no
    /// server could be reached, and then it ends at its deadline.
    pub async fn release(self) -> Result<()> {
        release(&self.handle, self.resource.clone(), self.hold_id).await
    }

    /// The fencing token: greater than that of every earlier grant of this name, and below 2^53.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Names this grant. A secret: whoever knows it can renew or release the lease.
    pub fn hold_id(&self) -> HoldId {
        self.hold_id
    }

    /// The name of the lock or semaphore.
    pub fn name(&self) -> &str {
        &self.resource.name
    }

    /// How long it is good, counted from its last renewal.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Until when nobody else is granted it, on the clock of [`crate::now`]. On the safe side: counted from the moment
    /// at which the request was sent.
    pub fn valid_until(&self) -> Time {
        self.valid_until
    }

    /// How long nobody else is granted it.
    pub fn remaining(&self) -> Duration {
        self.valid_until.since(time())
    }

    /// When it ends, by the server's wall clock: to show, not to measure with.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    fn note(&mut self, hold: &v1::Hold, sent: Time) -> Result<()> {
        let ttl = hold.ttl.and_then(convert::duration);
        self.ttl = ttl.ok_or_else(|| Error::Protocol("a lease without a ttl".to_owned()))?;
        self.valid_until = sent.saturating_add(self.ttl);
        self.expires_at = hold.expires_at.and_then(|time| SystemTime::try_from(time).ok());
        Ok(())
    }
}

/// Ends a hold by its id.
pub(crate) async fn release(handle: &Handle, resource: v1::ResourceId, hold_id: HoldId) -> Result<()> {
    let request = v1::ReleaseRequest { resource: Some(resource), hold_id: hold_id.reveal() };
    let answer = handle.call(UnaryPatience::Short, |mut attempt| {
        let request = request.clone();
        async move {
            match attempt.service.release(request).await {
                // The attempt before, whose answer was lost, has done it.
                Err(status) if attempt.is_repeated && is_over(&status) => Ok(tonic::Response::new(())),
                answer => answer.map(|_| tonic::Response::new(())),
            }
        }
    });
    answer.await
}

fn is_over(status: &tonic::Status) -> bool {
    matches!(ErrorReason::of(status), ErrorReason::NotHolder | ErrorReason::HoldNotFound)
}

fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    let failed = |error| Error::InvalidConfig(format!("the system gives no random numbers: {error}"));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Lease");
        debug.field("name", &self.name()).field("token", &self.token).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}
