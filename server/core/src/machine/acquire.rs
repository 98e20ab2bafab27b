//! Acquire.

use super::{Actor, Command, Hold, HoldState, Machine, least_token};
use crate::command::{Acquire, Acquired, Party, Refusal};
use crate::gate::{Closed, Entrant, Gate};
use crate::ids::HoldId;
use crate::limits::{HOLDS_MAX, HOLDS_PER_SESSION_MAX, NAMED_HOLDERS_MAX, WAITERS_PER_RESOURCE_MAX};
use crate::resource::{Claim, Resource, ResourceKey, Token};
use crate::time::Now;
use crate::view::HolderView;

impl Command for Acquire {
    type Outcome = Result<Acquired, Refusal>;

    fn run<G: Gate>(self, machine: &mut Machine<G>, now: Now) -> Self::Outcome {
        let key = self.resource();
        if let Some(earlier) = machine.find_repeated(&self, &key)? {
            return machine.repeat(earlier, self.queue);
        }
        machine.check_quotas(&self)?;
        if let Some((held, request)) = machine.find_reentry(&self, &key) {
            return machine.reenter(held, request, self.claim).map(Acquired::Granted);
        }
        machine.admit(now, self, &key)
    }
}

impl Acquire {
    /// What it claims.
    pub fn resource(&self) -> ResourceKey {
        ResourceKey { kind: self.claim.kind(), name: self.name.clone() }
    }
}

impl<G: Gate> Machine<G> {
    /// A new request: grant it, queue it, or turn it away.
    fn admit(&mut self, now: Now, acquire: Acquire, key: &ResourceKey) -> Result<Acquired, Refusal> {
        let permits = acquire.claim.permits();
        let (fits, waiters) = match self.resources.get(key) {
            Some(resource) if resource.limit != acquire.claim.limit() => {
                return Err(Refusal::LimitMismatch { in_use: resource.limit });
            }
            Some(resource) => (resource.queue.is_empty() && resource.fits(permits), resource.queue.len()),
            None => (true, 0),
        };
        let admitted = if fits { self.ask_gate(now, &acquire, key)? } else { None };
        if admitted.is_none() && !acquire.queue {
            return Ok(Acquired::Held { holders: self.named_holders(key) });
        }
        if admitted.is_none() && waiters >= WAITERS_PER_RESOURCE_MAX {
            return Err(Refusal::QueueFull);
        }
        self.last_ticket += 1;
        let id = acquire.hold;
        let resource = self.resources.entry(key.clone()).or_insert_with(|| Resource::new(acquire.claim.limit()));
        resource.closed |= fits && admitted.is_none();
        self.link(now, acquire, key.clone());
        if let Some(token) = admitted {
            let grant = self.grant(now, id, token).ok_or(Refusal::HoldNotFound)?;
            return Ok(Acquired::Granted(grant));
        }
        self.enqueue(id, key);
        Ok(Acquired::Queued { hold: id, position: waiters + 1 })
    }

    /// The token with which the gate lets a new request in; none if others hold the resource.
    fn ask_gate(&mut self, now: Now, acquire: &Acquire, key: &ResourceKey) -> Result<Option<Token>, Refusal> {
        let Acquire { hold, claim, owner, .. } = acquire;
        let entrant = Entrant { hold: *hold, resource: key, claim: *claim, owner, at: now.wall };
        match self.gate.admit(&entrant, least_token(self.last_token, now)) {
            Ok(token) => Ok(Some(token)),
            Err(Closed::ByOthers) => Ok(None),
            Err(Closed::OutOfOrder(why)) => Err(Refusal::OutOfOrder(why)),
        }
    }

    /// Enters a new hold into the indexes by id, session and request.
    fn link(&mut self, now: Now, acquire: Acquire, resource: ResourceKey) {
        let Acquire { hold: id, claim, party, owner, metadata, .. } = acquire;
        match &party {
            Party::Session { session, request, .. } => {
                self.sessions.entry(*session).or_default().insert(*request, id);
            }
            Party::Lease { request: Some(request), .. } => {
                self.requests.insert(request.clone(), id);
            }
            Party::Lease { request: None, .. } => {}
        }
        let state = HoldState::Waiting(self.last_ticket);
        let hold = Hold { resource, claim, party, owner, metadata, since: now.wall, state };
        self.holds.insert(id, Box::new(hold));
    }

    fn enqueue(&mut self, id: HoldId, key: &ResourceKey) {
        if let Some(resource) = self.resources.get_mut(key) {
            resource.queue.insert(self.last_ticket, id);
            self.queue_lengths.grew(resource.queue.len());
        }
        if let Some(actor) = self.holds.get(&id).and_then(|hold| hold.actor()) {
            self.actors.entry(actor).or_default().waiting.insert(self.last_ticket, id);
        }
    }

    /// The earlier hold that answers this request, if the request has been seen before.
    fn find_repeated(&self, acquire: &Acquire, key: &ResourceKey) -> Result<Option<HoldId>, Refusal> {
        let id = match &acquire.party {
            Party::Session { session, request, .. } => self.sessions.get(session).and_then(|seen| seen.get(request)),
            Party::Lease { request: Some(request), .. } => {
                if let Some(ended) = self.ended.by_request(request) {
                    let same = ended.resource == *key && ended.claim == acquire.claim;
                    return Err(if same {
                        Refusal::NotHolder { ended: Some(ended.reason) }
                    } else {
                        Refusal::RequestIdReused
                    });
                }
                self.requests.get(request)
            }
            Party::Lease { request: None, .. } => None,
        };
        let Some((id, hold)) = id.and_then(|id| self.holds.get_key_value(id)) else { return Ok(None) };
        if hold.is_answer_to(acquire, key) { Ok(Some(*id)) } else { Err(Refusal::RequestIdReused) }
    }

    fn repeat(&self, earlier: HoldId, queue: bool) -> Result<Acquired, Refusal> {
        if let Some(grant) = self.describe_grant(earlier) {
            return Ok(Acquired::Granted(grant));
        }
        let Some(hold) = self.holds.get(&earlier) else { return Err(Refusal::HoldNotFound) };
        let (key, HoldState::Waiting(ticket)) = (&hold.resource, &hold.state) else {
            return Err(Refusal::HoldNotFound);
        };
        if !queue {
            return Ok(Acquired::Held { holders: self.named_holders(key) });
        }
        let position = self.resources.get(key).map_or(1, |resource| resource.queue.position(*ticket));
        Ok(Acquired::Queued { hold: earlier, position })
    }

    /// The hold that this acquire re-enters, and the session's number for it. Where its actor has several, the oldest that
    /// covers the claim.
    fn find_reentry(&self, acquire: &Acquire, key: &ResourceKey) -> Option<(HoldId, u64)> {
        let Party::Session { session, request, owner_key: Some(owner_key) } = &acquire.party else { return None };
        let actor = Actor { session: *session, resource: key.clone(), owner_key: owner_key.clone() };
        let held = &self.actors.get(&actor)?.held;
        let covers = |id: &&HoldId| self.holds.get(id).is_some_and(|hold| hold.covers(acquire.claim));
        let id = held.iter().find(covers).or(held.first())?;
        Some((*id, *request))
    }

    fn check_quotas(&self, acquire: &Acquire) -> Result<(), Refusal> {
        if self.holds.len() >= HOLDS_MAX {
            return Err(Refusal::EngineFull);
        }
        match &acquire.party {
            Party::Session { session, .. }
                if self.sessions.get(session).is_some_and(|requests| requests.len() >= HOLDS_PER_SESSION_MAX) =>
            {
                Err(Refusal::SessionFull)
            }
            _ => Ok(()),
        }
    }

    /// Who holds a resource, as far as it helps somebody who did not get it.
    pub(super) fn named_holders(&self, key: &ResourceKey) -> Vec<HolderView> {
        self.resources.get(key).map_or_else(Vec::new, |resource| self.holder_views(resource, NAMED_HOLDERS_MAX))
    }
}

impl Hold {
    /// Whether a request that bears this hold's request id is the one that made it.
    fn is_answer_to(&self, acquire: &Acquire, key: &ResourceKey) -> bool {
        let same_resource = self.resource == *key;
        match (&self.party, &acquire.party) {
            // The request may have been a re-entry, which can claim less than the hold has, but not more.
            (Party::Session { owner_key: Some(ours), .. }, Party::Session { owner_key: Some(theirs), .. }) => {
                let same_claim = match self.state {
                    HoldState::Waiting(_) => self.claim == acquire.claim,
                    HoldState::Held { .. } => self.covers(acquire.claim),
                };
                same_resource && ours == theirs && same_claim
            }
            (ours, theirs) => {
                same_resource
                    && ours == theirs
                    && self.claim == acquire.claim
                    && self.owner == acquire.owner
                    && self.metadata == acquire.metadata
            }
        }
    }

    /// Whether whoever has this has that, too.
    fn covers(&self, claim: Claim) -> bool {
        self.claim.limit() == claim.limit() && self.claim.permits() >= claim.permits()
    }
}
