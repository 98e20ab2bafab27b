//! Who holds and who waits, as everybody may see it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use lockstead_api::v1;
use lockstead_core::{Kind, Mode, Scope};

/// A lock or semaphore in use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resource {
    /// Lock or semaphore.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Who shares it.
    pub scope: Scope,
    /// The limit in use; 0 for a lock, and for a semaphore that nobody holds or waits for.
    pub limit: u32,
    /// Oldest first; at most 100.
    pub holders: Vec<Holder>,
    /// Next first; at most 100.
    pub waiters: Vec<Waiter>,
    /// How many holders there are.
    pub holder_count: u32,
    /// How many waiters there are.
    pub waiter_count: u32,
}

/// A hold, as everybody may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Who holds, in its own words.
    pub owner: String,
    /// What the holder wants others to know.
    pub metadata: BTreeMap<String, String>,
    /// The fencing token.
    pub token: u64,
    /// Exclusive or shared; absent for a semaphore.
    pub mode: Option<Mode>,
    /// How many permits of a semaphore; 0 for a lock.
    pub permits: u32,
    /// Since when, by the server's wall clock.
    pub acquired_at: Option<SystemTime>,
    /// When a lease ends unless renewed, by the server's wall clock; absent for holds of a session or stream.
    pub expires_at: Option<SystemTime>,
}

/// An acquire in the queue, as everybody may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// Who waits, in its own words.
    pub owner: String,
    /// Exclusive or shared; absent for a semaphore.
    pub mode: Option<Mode>,
    /// How many permits of a semaphore; 0 for a lock.
    pub permits: u32,
    /// Since when, by the server's wall clock.
    pub queued_at: Option<SystemTime>,
    /// 1 is next.
    pub position: u32,
}

impl Resource {
    pub(crate) fn from_wire(wire: v1::Resource) -> Self {
        let id = wire.id.unwrap_or_default();
        Self {
            kind: if id.kind == v1::Kind::Semaphore as i32 { Kind::Semaphore } else { Kind::Lock },
            name: id.name,
            scope: if id.scope == v1::Scope::Node as i32 { Scope::Node } else { Scope::Cluster },
            limit: wire.limit,
            holders: wire.holders.into_iter().map(Holder::from_wire).collect(),
            waiters: wire.waiters.into_iter().map(Waiter::from_wire).collect(),
            holder_count: wire.holder_count,
            waiter_count: wire.waiter_count,
        }
    }
}

impl Holder {
    pub(crate) fn from_wire(wire: v1::Holder) -> Self {
        Self {
            owner: wire.owner,
            metadata: wire.metadata,
            token: wire.fencing_token,
            mode: mode(wire.mode),
            permits: wire.permits,
            acquired_at: wire.acquired_at.and_then(|time| SystemTime::try_from(time).ok()),
            expires_at: wire.expires_at.and_then(|time| SystemTime::try_from(time).ok()),
        }
    }
}

impl Waiter {
    fn from_wire(wire: v1::Waiter) -> Self {
        Self {
            owner: wire.owner,
            mode: mode(wire.mode),
            permits: wire.permits,
            queued_at: wire.queued_at.and_then(|time| SystemTime::try_from(time).ok()),
            position: wire.position,
        }
    }
}

fn mode(wire: i32) -> Option<Mode> {
    match v1::Mode::try_from(wire) {
        Ok(v1::Mode::Exclusive) => Some(Mode::Exclusive),
        Ok(v1::Mode::Shared) => Some(Mode::Shared),
        Ok(v1::Mode::Unspecified) | Err(_) => None,
    }
}
