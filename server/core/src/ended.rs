//! A memory of the holds that ended last, so that a late call hears what happened.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::command::EndReason;
use crate::id_map::IdHasherBuilder;
use crate::ids::HoldId;
use crate::labels::RequestId;
use crate::limits::{ENDED_LEASES_REMEMBERED, ENDED_SESSION_HOLDS_REMEMBERED};
use crate::resource::{Claim, ResourceKey};

/// What is remembered of a lease.
#[derive(Debug)]
pub(crate) struct EndedLease {
    pub(crate) reason: EndReason,
    pub(crate) resource: ResourceKey,
    pub(crate) claim: Claim,
    pub(crate) request: Option<RequestId>,
}

/// The last holds that ended.
#[derive(Debug)]
pub(crate) struct EndedHolds {
    leases: Recent<EndedLease>,
    by_request: BTreeMap<RequestId, HoldId>,
    /// Of sessions. Every release passes here, so it is kept small enough to be at hand.
    of_sessions: Recent<EndReason>,
}

/// The last so many things by their ids: the oldest is forgotten first.
#[derive(Debug)]
struct Recent<T> {
    at_most: usize,
    by_id: HashMap<HoldId, T, IdHasherBuilder>,
    oldest_first: VecDeque<HoldId>,
}

impl<T> Recent<T> {
    fn new(at_most: usize) -> Self {
        Self { at_most, by_id: HashMap::default(), oldest_first: VecDeque::new() }
    }

    /// Returns what is forgotten for it.
    fn remember(&mut self, id: HoldId, what: T) -> Option<T> {
        let is_full = self.oldest_first.len() == self.at_most;
        let oldest = if is_full { self.oldest_first.pop_front() } else { None };
        let forgotten = oldest.and_then(|id| self.by_id.remove(&id));
        self.by_id.insert(id, what);
        self.oldest_first.push_back(id);
        forgotten
    }
}

impl Default for EndedHolds {
    fn default() -> Self {
        Self {
            leases: Recent::new(ENDED_LEASES_REMEMBERED),
            by_request: BTreeMap::new(),
            of_sessions: Recent::new(ENDED_SESSION_HOLDS_REMEMBERED),
        }
    }
}

impl EndedHolds {
    pub(crate) fn remember_lease(&mut self, id: HoldId, ended: EndedLease) {
        if let Some(request) = &ended.request {
            self.by_request.insert(request.clone(), id);
        }
        let forgotten = self.leases.remember(id, ended);
        if let Some(request) = forgotten.and_then(|ended| ended.request) {
            self.by_request.remove(&request);
        }
    }

    pub(crate) fn remember_of_session(&mut self, id: HoldId, reason: EndReason) {
        self.of_sessions.remember(id, reason);
    }

    pub(crate) fn get(&self, id: HoldId) -> Option<EndReason> {
        let lease = self.leases.by_id.get(&id).map(|ended| ended.reason);
        lease.or_else(|| self.of_sessions.by_id.get(&id).copied())
    }

    pub(crate) fn by_request(&self, request: &RequestId) -> Option<&EndedLease> {
        self.leases.by_id.get(self.by_request.get(request)?)
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
        let lease = |number: usize| EndedLease {
            reason: EndReason::Expired,
            resource: ResourceKey { kind: Kind::Lock, name: Name::parse("a").unwrap() },
            claim: Claim::Lock(Mode::Exclusive),
            request: Some(RequestId::parse(&number.to_string()).unwrap()),
        };
        for number in 0..=ENDED_LEASES_REMEMBERED {
            ended.remember_lease(HoldId::from_bits(number as u128), lease(number));
        }
        let request = |text| RequestId::parse(text).unwrap();
        assert!(ended.get(HoldId::from_bits(0)).is_none() && ended.by_request(&request("0")).is_none());
        assert!(ended.get(HoldId::from_bits(1)).is_some() && ended.by_request(&request("1")).is_some());
        assert_eq!(ended.leases.by_id.len(), ENDED_LEASES_REMEMBERED);
        assert_eq!(ended.by_request.len(), ENDED_LEASES_REMEMBERED);
    }

    #[test]
    fn holds_of_sessions_do_not_push_leases_out() {
        let mut ended = EndedHolds::default();
        let (resource, request) = (ResourceKey { kind: Kind::Lock, name: Name::parse("a").unwrap() }, None);
        let (reason, claim) = (EndReason::Expired, Claim::Lock(Mode::Exclusive));
        ended.remember_lease(HoldId::from_bits(u128::MAX), EndedLease { reason, resource, claim, request });
        for number in 0..=ENDED_SESSION_HOLDS_REMEMBERED {
            ended.remember_of_session(HoldId::from_bits(number as u128), EndReason::Released);
        }
        assert_eq!(ended.get(HoldId::from_bits(0)), None);
        assert_eq!(ended.get(HoldId::from_bits(1)), Some(EndReason::Released));
        assert_eq!(ended.get(HoldId::from_bits(u128::MAX)), Some(EndReason::Expired));
    }
}
