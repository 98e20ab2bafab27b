//! A memory of how holds ended, for calls that come late.

use std::collections::{HashMap, VecDeque};

use lockstead_core::limits::ENDED_SESSION_HOLDS_REMEMBERED;
use lockstead_core::{EndReason, HoldId};

/// The last holds of this server that ended. Bounded by count: the oldest is forgotten first.
#[derive(Debug, Default)]
pub(super) struct EndedHolds {
    by_id: HashMap<HoldId, EndReason>,
    oldest_first: VecDeque<HoldId>,
}

impl EndedHolds {
    pub(super) fn remember(&mut self, id: HoldId, reason: EndReason) {
        if self.by_id.insert(id, reason).is_some() {
            return;
        }
        if self.oldest_first.len() == ENDED_SESSION_HOLDS_REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        self.oldest_first.push_back(id);
    }

    pub(super) fn get(&self, id: HoldId) -> Option<EndReason> {
        self.by_id.get(&id).copied()
    }
}
