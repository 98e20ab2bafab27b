//! Leases: acquire, renew, release.

use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::{
    AcquireRef, Acquired, Cancel, Cancelled, Grant, HoldId, IfGranted, Party, Release, Releaser, Renew, ResourceKey,
    Scope, Time,
};

use super::engines::new_hold_id;
use super::error::{Error, Result};
use super::request::{LeaseAsk, NotAcquired, Outcome};
use super::waiting::Waiter;
use super::{Service, session::wait_deadline};

impl Service {
    /// Acquires a lease, and waits for it if asked to. Dropping the future takes the acquire back, also if it has just
    /// been granted.
    pub async fn acquire(&self, lease: LeaseAsk) -> Result<Outcome> {
        self.check_not_draining()?;
        let started = lockstead_clock::time();
        let LeaseAsk { ask, ttl, request_id } = lease;
        let engine = self.engines.of(ask.scope)?;
        let waiter = self.router.waits.enter(engine, new_hold_id(ask.scope), request_id.as_ref()).await;
        let command = ask.command(waiter.hold(), Party::Lease { ttl, request: request_id });
        let outcome = match engine.acquire(command).await {
            Ok(Acquired::Granted(grant)) => {
                waiter.take();
                Outcome::Acquired(grant)
            }
            Ok(Acquired::Held { holders }) => {
                waiter.settle();
                Outcome::NotAcquired(NotAcquired { reason: Reason::Held, holders })
            }
            Ok(Acquired::Queued { .. }) => self.wait(waiter, ask.scope, wait_deadline(ask.wait)).await?,
            Err(error) => {
                waiter.settle();
                return Err(error.into());
            }
        };
        self.metrics.acquired(&outcome, lockstead_clock::time().since(started));
        Ok(outcome)
    }

    async fn wait(&self, waiter: Waiter, scope: Scope, deadline: Option<Time>) -> Result<Outcome> {
        tokio::select! {
            biased;
            grant = waiter.granted() => {
                waiter.take();
                return Ok(Outcome::Acquired(grant));
            }
            () = self.draining.cancelled() => return Err(Error::Draining),
            () = lockstead_clock::sleep_until_some(deadline) => {}
        }
        let over = |holders| Outcome::NotAcquired(NotAcquired { reason: Reason::WaitTimeout, holders });
        if !waiter.close_if_last() {
            // Another caller with the same request id waits on.
            return Ok(over(Vec::new()));
        }
        let cancel = Cancel { acquire: AcquireRef::Hold(waiter.hold()), if_granted: IfGranted::Keep };
        match self.engines.of(scope)?.cancel(cancel).await? {
            Cancelled::Withdrawn { holders } => {
                waiter.settle();
                Ok(over(holders))
            }
            // Granted at the last moment; the news is on its way.
            Cancelled::Kept | Cancelled::GivenBack => {
                let grant = waiter.granted().await;
                waiter.take();
                Ok(Outcome::Acquired(grant))
            }
            Cancelled::Unknown => {
                waiter.settle();
                Ok(over(Vec::new()))
            }
        }
    }

    /// Moves the deadline of a lease.
    pub async fn renew(&self, scope: Scope, renew: Renew) -> Result<Grant> {
        Ok(self.engines.of(scope)?.renew(renew).await?)
    }

    /// Ends a hold on the word of whoever knows its id.
    pub async fn release(&self, scope: Scope, resource: ResourceKey, hold: HoldId) -> Result<()> {
        let release = Release { hold, by: Releaser::Bearer(resource) };
        self.engines.of(scope)?.release(release).await?;
        self.metrics.released();
        Ok(())
    }
}
