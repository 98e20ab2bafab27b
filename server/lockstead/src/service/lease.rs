//! Leases: acquire, renew, release.

use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::{
    AcquireRef, Acquired, Cancel, Cancelled, Grant, HoldId, IfGranted, Party, Release, Releaser, Renew, RequestId,
    ResourceKey, Scope, Time,
};

use super::caller::Caller;
use super::engines::new_hold_id;
use super::error::{Error, Result};
use super::request::{LeaseAsk, NotAcquired, Outcome};
use super::waiting::Waiter;
use crate::access::Counted;
use crate::telemetry::metrics::By;
use crate::telemetry::traces;

impl Caller {
    /// Acquires a lease, and waits for it if asked to. Dropping the future takes the acquire back, also if it has just
    /// been granted.
    pub async fn acquire(&self, lease: LeaseAsk) -> Result<Outcome> {
        self.check_not_draining()?;
        let started = lockstead_clock::time();
        let LeaseAsk { mut ask, ttl, request_id } = lease;
        traces::note_ask(&ask);
        self.may_acquire(&mut ask)?;
        let request_id = request_id.map(|id| self.own_request_id(id));
        let counted = self.count_lease(request_id.as_ref())?;
        let _place = self.count_place(&ask)?;
        let engine = self.engines.of(ask.scope)?;
        let mut waiter = self.router.waits.enter(&self.engines, new_hold_id(ask.scope), request_id.as_ref()).await;
        let command = |hold| ask.command(hold, Party::Lease { ttl, request: request_id.clone() });
        let mut answer = waiter.see_to(engine.acquire(command(waiter.hold()))).await;
        while let Ok(Acquired::Queued { hold, .. }) = &answer
            && waiter.learn_name(*hold)
        {
            // It was asked for on another server before, and may have been granted before we listened to that name.
            answer = waiter.see_to(engine.acquire(command(waiter.hold()))).await;
        }
        let outcome = match answer {
            Ok(Acquired::Granted(grant)) => {
                waiter.take(grant);
                self.metrics.granted(ask.scope, lockstead_clock::time().since(started));
                Outcome::Acquired(grant)
            }
            Ok(Acquired::Held { holders }) => {
                waiter.settle();
                Outcome::NotAcquired(NotAcquired { reason: Reason::Held, holders })
            }
            Ok(Acquired::Queued { .. }) => {
                let outcome = self.wait(waiter, ask.scope, ask.wait.deadline(started)).await?;
                if let Outcome::Acquired(grant) = &outcome {
                    self.metrics.granted_in_turn(ask.scope, lockstead_clock::time().since(started), grant);
                }
                outcome
            }
            Err(error) => {
                waiter.settle();
                return Err(error.into());
            }
        };
        match &outcome {
            Outcome::Acquired(grant) => {
                self.router.leases.keep(counted, request_id, grant);
                self.metrics.lease_granted(ask.scope, grant);
                traces::note_grant(grant, "acquired");
            }
            Outcome::NotAcquired(why) => {
                self.metrics.not_acquired(ask.scope, why.reason);
                traces::note_outcome(traces::outcome_of(why.reason));
            }
        }
        Ok(outcome)
    }

    /// A request that is repeated counts once.
    fn count_lease(&self, request_id: Option<&RequestId>) -> Result<Option<Counted>> {
        if request_id.is_some_and(|id| self.router.leases.knows(id)) {
            return Ok(None);
        }
        self.count_hold()
    }

    async fn wait(&self, mut waiter: Waiter, scope: Scope, deadline: Option<Time>) -> Result<Outcome> {
        tokio::select! {
            biased;
            // First, so that what others give back as the server ends is not granted any more.
            () = self.drain.begun() => return Err(Error::Draining),
            granted = waiter.granted() => {
                let grant = granted?;
                waiter.take(grant);
                return Ok(Outcome::Acquired(grant));
            }
            () = lockstead_clock::sleep_until_some(deadline) => {}
        }
        let over = |holders| Outcome::NotAcquired(NotAcquired { reason: Reason::WaitTimeout, holders });
        if !waiter.close_if_last() {
            // Another caller with the same request id waits on.
            return Ok(over(Vec::new()));
        }
        let cancel = Cancel { acquire: AcquireRef::Hold(waiter.hold()), if_granted: IfGranted::Keep };
        match self.engines.of(scope)?.cancel(cancel).await {
            Ok(Cancelled::Withdrawn { holders }) => {
                waiter.settle();
                Ok(over(holders))
            }
            // Granted at the last moment; the news is on its way.
            Ok(Cancelled::Kept | Cancelled::GivenBack) => tokio::select! {
                () = self.drain.begun() => Err(Error::Draining),
                granted = waiter.granted() => {
                    let grant = granted?;
                    waiter.take(grant);
                    Ok(Outcome::Acquired(grant))
                }
            },
            Ok(Cancelled::Unknown) => {
                waiter.settle();
                Ok(over(Vec::new()))
            }
            // The wait is over all the same, and what it may have got at the last moment is given back.
            Err(_) => Ok(over(Vec::new())),
        }
    }

    /// Moves the deadline of a lease.
    pub async fn renew(&self, scope: Scope, renew: Renew) -> Result<Grant> {
        traces::note_resource(scope, &renew.resource);
        self.may_keep(scope, &renew.resource.name)?;
        let grant = self.engines.of(scope)?.renew(renew).await?;
        self.router.leases.prolong(&grant);
        self.metrics.lease_granted(scope, &grant);
        traces::note_grant(&grant, "renewed");
        Ok(grant)
    }

    /// Ends a hold on the word of whoever knows its id.
    pub async fn release(&self, scope: Scope, resource: ResourceKey, hold: HoldId) -> Result<()> {
        traces::note_resource(scope, &resource);
        self.may_keep(scope, &resource.name)?;
        let release = Release { hold, by: Releaser::Bearer(resource) };
        self.engines.of(scope)?.release(release).await?;
        self.router.leases.ended(hold);
        self.metrics.released(scope, By::Bearer);
        self.metrics.lease_ended(hold);
        traces::note_outcome("released");
        Ok(())
    }
}
