//! What can be asked of the service, checked already, whatever transport it came by.

use std::time::Duration;

use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::{
    Acquire, Claim, Grant, HoldId, HolderView, Metadata, Name, Owner, Party, RequestId, ResourceKey, Scope, Wait,
};

/// What every acquire says.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who shares the resource.
    pub scope: Scope,
    /// Its name.
    pub name: Name,
    /// What is wanted of it.
    pub claim: Claim,
    /// How long to wait for it.
    pub wait: Wait,
    /// Who asks, for people to read.
    pub owner: Owner,
    /// What the holder wants others to know.
    pub metadata: Metadata,
}

/// An acquire of a lease.
#[derive(Clone, Debug)]
pub struct LeaseAsk {
    /// What is asked.
    pub ask: Ask,
    /// How long it is good without renewal.
    pub ttl: Duration,
    /// The caller's own name for the request.
    pub request_id: Option<RequestId>,
}

/// The outcome of an acquire that was in order.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It holds.
    Acquired(Grant),
    /// It does not.
    NotAcquired(NotAcquired),
}

/// Why an acquire got nothing.
#[derive(Clone, Debug)]
pub struct NotAcquired {
    /// Why.
    pub reason: Reason,
    /// Who holds instead, oldest first.
    pub holders: Vec<HolderView>,
}

impl Ask {
    /// What is wanted.
    pub fn resource(&self) -> ResourceKey {
        ResourceKey { kind: self.claim.kind(), name: self.name.clone() }
    }

    /// The engine's command for it.
    pub fn command(&self, hold: HoldId, party: Party) -> Acquire {
        Acquire {
            hold,
            name: self.name.clone(),
            claim: self.claim,
            party,
            owner: self.owner.clone(),
            metadata: self.metadata.clone(),
            queue: self.wait != Wait::No,
        }
    }
}
