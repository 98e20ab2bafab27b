//! Resources as everybody may see them: no hold id in here.

use crate::labels::{Metadata, Owner};
use crate::resource::{Claim, ResourceKey, Token};
use crate::time::WallTime;

/// Who holds and who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceView {
    /// Of what.
    pub key: ResourceKey,
    /// The limit in use, of a semaphore in use.
    pub limit: Option<u32>,
    /// Oldest first, and not more than fit a description.
    pub holders: Vec<HolderView>,
    /// Next first, and not more than fit a description.
    pub waiters: Vec<WaiterView>,
    /// All holders.
    pub holder_count: usize,
    /// All waiters.
    pub waiter_count: usize,
}

impl ResourceView {
    /// About how many bytes it takes to write it down.
    pub fn size(&self) -> usize {
        const FRAME: usize = 200;
        let pairs = |metadata: &Metadata| metadata.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        let holders = self.holders.iter().map(|holder| FRAME + holder.owner.as_str().len() + pairs(&holder.metadata));
        let waiters = self.waiters.iter().map(|waiter| FRAME + waiter.owner.as_str().len());
        FRAME + holders.chain(waiters).sum::<usize>()
    }
}

/// A hold as everybody may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderView {
    /// Who.
    pub owner: Owner,
    /// What it wants others to know.
    pub metadata: Metadata,
    /// Its fencing token.
    pub token: Token,
    /// What it has.
    pub claim: Claim,
    /// Since when.
    pub acquired_at: WallTime,
    /// When it ends by itself, if it is a lease.
    pub expires_at: Option<WallTime>,
}

/// A waiter as everybody may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterView {
    /// Who.
    pub owner: Owner,
    /// What it wants.
    pub claim: Claim,
    /// Since when.
    pub queued_at: WallTime,
    /// 1 is next.
    pub position: usize,
}
