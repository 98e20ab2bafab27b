//! A memory of the holds that ended last, so that a late call hears what happened.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::command::EndReason;
use crate::id_map::IdHasherBuilder;
use crate::ids::HoldId;
use crate::labels::RequestId;
use crate::limits::ENDED_HOLDS_REMEMBERED;
use crate::resource::{Claim, ResourceKey};

/// What is remembered of a hold.
#[derive(Debug)]
pub(crate) struct EndedHold {
    pub(crate) reason: EndReason,
    pub(crate) resource: ResourceKey,
    pub(crate) claim: Claim,
    pub(crate) request: Option<RequestId>,
}

/// The last holds that ended. Its size is bounded by count: the oldest is forgotten first.
#[derive(Debug, Default)]
pub(crate) struct EndedHolds {
    by_id: HashMap<HoldId, EndedHold, IdHasherBuilder>,
    by_request: BTreeMap<RequestId, HoldId>,
    oldest_first: VecDeque<HoldId>,
}

impl EndedHolds {
    pub(crate) fn remember(&mut self, id: HoldId, ended: EndedHold) {
        if self.oldest_first.len() == ENDED_HOLDS_REMEMBERED {
            self.forget_oldest();
        }
        if let Some(request) = &ended.request {
            self.by_request.insert(request.clone(), id);
        }
        self.by_id.insert(id, ended);
        self.oldest_first.push_back(id);
    }

    pub(crate) fn get(&self, id: HoldId) -> Option<&EndedHold> {
        self.by_id.get(&id)
    }

    pub(crate) fn by_request(&self, request: &RequestId) -> Option<&EndedHold> {
        self.by_id.get(self.by_request.get(request)?)
    }

    fn forget_oldest(&mut self) {
        let ended = self.oldest_first.pop_front().and_then(|id| self.by_id.remove(&id));
        if let Some(request) = ended.and_then(|ended| ended.request) {
            self.by_request.remove(&request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::resource::{Kind, Mode};

    #[test]
    fn remembers_a_bounded_number() {
        let mut ended = EndedHolds::default();
        let hold = |number: usize| EndedHold {
            reason: EndReason::Expired,
            resource: ResourceKey { kind: Kind::Lock, name: Name::parse("a").unwrap() },
            claim: Claim::Lock(Mode::Exclusive),
            request: Some(RequestId::parse(&number.to_string()).unwrap()),
        };
        for number in 0..=ENDED_HOLDS_REMEMBERED {
            ended.remember(HoldId::from_bits(number as u128), hold(number));
        }
        let request = |text| RequestId::parse(text).unwrap();
        assert!(ended.get(HoldId::from_bits(0)).is_none() && ended.by_request(&request("0")).is_none());
        assert!(ended.get(HoldId::from_bits(1)).is_some() && ended.by_request(&request("1")).is_some());
        assert_eq!(ended.by_id.len(), ENDED_HOLDS_REMEMBERED);
        assert_eq!(ended.by_request.len(), ENDED_HOLDS_REMEMBERED);
    }
}
