//! Resources: what can be claimed of them, and who gets it next.

use crate::ids::HoldId;
use crate::invalid::{Field, Invalid};
use crate::limits::{LOCK_PERMITS, SEMAPHORE_LIMIT_MAX};
use crate::name::Name;
use crate::parties::{Holders, Queue};

/// Lock or semaphore. Of one name they are two resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Held exclusively by one or shared by many.
    Lock,
    /// Has a limit of permits.
    Semaphore,
}

/// Who shares a resource. The same name in two scopes is two resources, kept by two engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All servers of the cluster.
    #[default]
    Cluster,
    /// This machine.
    Node,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
        })
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Alone: takes all permits.
    Exclusive,
    /// Beside other shared holders: takes one permit.
    Shared,
}

/// A share of a semaphore: 1 ≤ permits ≤ limit ≤ 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permits {
    permits: u32,
    limit: u32,
}

/// What an acquire wants of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// A lock, in this mode.
    Lock(Mode),
    /// Permits of a semaphore.
    Semaphore(Permits),
}

/// Names a resource within a scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Lock or semaphore.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
}

/// Orders the grants of a name, whatever happens in between. Below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub(crate) u64);

impl Token {
    /// Of a grant that somebody else has numbered.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// As a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Permits {
    /// Checks a share.
    pub fn new(permits: u32, limit: u32) -> Result<Self, Invalid> {
        if limit == 0 || limit > SEMAPHORE_LIMIT_MAX {
            let message = format!("the limit of a semaphore is a number from 1 to {SEMAPHORE_LIMIT_MAX}");
            return Err(Invalid::new(Field::Limit, message));
        }
        if permits == 0 || permits > limit {
            let message = format!("permits is a number from 1 to the limit, which is {limit}");
            return Err(Invalid::new(Field::Permits, message));
        }
        Ok(Self { permits, limit })
    }

    /// How many are taken.
    pub const fn permits(self) -> u32 {
        self.permits
    }

    /// Of how many.
    pub const fn limit(self) -> u32 {
        self.limit
    }
}

impl Claim {
    /// Of what kind of resource.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Lock(_) => Kind::Lock,
            Self::Semaphore(_) => Kind::Semaphore,
        }
    }

    /// How many permits it takes of its resource.
    pub const fn permits(self) -> u32 {
        match self {
            Self::Lock(Mode::Exclusive) => LOCK_PERMITS,
            Self::Lock(Mode::Shared) => 1,
            Self::Semaphore(share) => share.permits,
        }
    }

    /// How many permits its resource has in all.
    pub const fn limit(self) -> u32 {
        match self {
            Self::Lock(_) => LOCK_PERMITS,
            Self::Semaphore(share) => share.limit,
        }
    }
}

/// The order of arrival, across all queues.
pub(crate) type Ticket = u64;

/// A resource in use: it exists while it is held or waited for.
#[derive(Debug)]
pub(crate) struct Resource {
    /// All permits there are.
    pub(crate) limit: u32,
    /// Permits that the holders have together.
    pub(crate) used: u32,
    pub(crate) holders: Holders,
    pub(crate) queue: Queue,
    /// The head of the queue fits, but the gate kept it out when it was last asked.
    pub(crate) closed: bool,
}

impl Resource {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, used: 0, holders: Holders::none(), queue: Queue::default(), closed: false }
    }

    /// Whether that many permits are free. It says nothing of who is next in the queue.
    pub(crate) const fn fits(&self, permits: u32) -> bool {
        permits <= self.limit - self.used
    }

    pub(crate) const fn is_unused(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty()
    }

    pub(crate) fn add_holder(&mut self, token: Token, id: HoldId, permits: u32) {
        debug_assert!(self.fits(permits), "a grant beyond the limit");
        self.used += permits;
        self.holders.push(token, id);
    }

    pub(crate) fn remove_holder(&mut self, token: Token, permits: u32) {
        if self.holders.remove(token) {
            self.used -= permits;
        }
    }
}
