//! What locks and semaphores have in common: the call of the service, and its answer.

use axum::http::HeaderMap;
use axum::response::Response;
use lockstead_core::{Kind, List, Name, Renew, ResourceKey, Scope};

use super::Http;
use super::answer::{Hold, Json, Released, Resource, ResourcePage};
use super::hold::{self, Format};
use super::problem::Result;
use super::request::{ReleaseHold, RenewLease};
use crate::service::{Ask, LeaseAsk, Outcome};

impl Http {
    pub(super) async fn acquire(&self, lease: LeaseAsk) -> Result<Json<Hold>> {
        let (scope, name) = (lease.ask.scope, lease.ask.name.clone());
        match self.caller.acquire(lease).await? {
            Outcome::Acquired(grant) => Ok(Json(Hold::new(scope, &name, &grant))),
            Outcome::NotAcquired(why) => Err(why.into()),
        }
    }

    pub(super) async fn renew(&self, resource: ResourceKey, body: RenewLease) -> Result<Json<Hold>> {
        let hold = body.hold()?;
        let scope = body.scope.map_or_else(|| self.caller.engines().scope_of_hold(hold), Into::into);
        let (name, ttl) = (resource.name.clone(), body.ttl.map(|ttl| ttl.0.0));
        let grant = self.caller.renew(scope, Renew { resource, hold, ttl }).await?;
        Ok(Json(Hold::new(scope, &name, &grant)))
    }

    pub(super) async fn release(&self, resource: ResourceKey, body: ReleaseHold) -> Result<Json<Released>> {
        let hold = body.hold()?;
        let scope = body.scope.map_or_else(|| self.caller.engines().scope_of_hold(hold), Into::into);
        self.caller.release(scope, resource, hold).await?;
        Ok(Json(Released::YES))
    }

    pub(super) async fn hold(&self, headers: &HeaderMap, ask: Ask) -> Result<Response> {
        let (scope, name) = (ask.scope, ask.name.clone());
        let events = self.caller.hold(ask).await??;
        Ok(hold::response(Format::wanted(headers), scope, name, events))
    }

    pub(super) async fn get(&self, scope: Scope, resource: ResourceKey) -> Result<Json<Resource>> {
        Ok(Json(Resource::new(scope, self.caller.get(scope, resource).await?)))
    }

    pub(super) async fn list(&self, (scope, list): (Scope, List)) -> Result<Json<ResourcePage>> {
        Ok(Json(ResourcePage::new(scope, self.caller.list_page(scope, list).await?)))
    }
}

pub(super) fn lock(name: Name) -> ResourceKey {
    ResourceKey { kind: Kind::Lock, name }
}

pub(super) fn semaphore(name: Name) -> ResourceKey {
    ResourceKey { kind: Kind::Semaphore, name }
}
