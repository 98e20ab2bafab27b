//! What the acquires and holds of a session count against its caller's quota. Empty if its caller is not counted.

use std::collections::HashMap;

use lockstead_core::{HoldId, ResourceKey, Scope};

use crate::access::{Claim, Identity, OverQuota, WaitClaim};

/// By the request that asked, and by what it got.
#[derive(Debug, Default)]
pub(super) struct Claims {
    asked: HashMap<u64, Asked>,
    held: HashMap<HoldId, (u64, Claim)>,
}

#[derive(Debug)]
struct Asked {
    claim: Claim,
    /// Given up when the wait ends, however it does.
    _place: Option<WaitClaim>,
}

impl Claims {
    /// Counts an acquire. One that is repeated is counted once.
    pub(super) fn ask(
        &mut self,
        identity: &Identity,
        request: u64,
        queue: Option<(Scope, ResourceKey)>,
    ) -> Result<(), OverQuota> {
        self.over(request);
        let Some(claim) = identity.claim_hold()? else { return Ok(()) };
        let place = queue.map(|(scope, resource)| identity.claim_wait(scope, resource)).transpose()?.flatten();
        self.asked.insert(request, Asked { claim, _place: place });
        Ok(())
    }

    /// It holds. A re-entry is part of a hold that is counted already.
    pub(super) fn granted(&mut self, request: u64, hold: HoldId) {
        if let Some(Asked { claim, .. }) = self.asked.remove(&request) {
            self.held.entry(hold).or_insert((request, claim));
        }
    }

    /// It got nothing, or gave back what it got.
    pub(super) fn over(&mut self, request: u64) {
        if self.asked.remove(&request).is_none() && !self.held.is_empty() {
            self.held.retain(|_, (of, _)| *of != request);
        }
    }

    /// A hold has ended.
    pub(super) fn ended(&mut self, hold: HoldId) {
        self.held.remove(&hold);
    }

    /// After a resume the session has these holds, and nothing pending but what is repeated.
    pub(super) fn resumed(&mut self, identity: &Identity, holds: impl Iterator<Item = HoldId>) {
        let mut before = std::mem::take(self);
        self.held = holds
            .filter_map(|hold| {
                let known = before.held.remove(&hold);
                Some((hold, known.or_else(|| identity.claim_held().map(|claim| (0, claim)))?))
            })
            .collect();
    }
}
