//! What this server has in Redis, as far as it believes. It answers what needs no Redis (repeated requests, re-entry, how a
//! hold ended), and what is missing in Redis after a failure is restored from it.

mod hold;
mod reentry;
mod sessions;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use lockstead_core::limits::{HOLDS_MAX, HOLDS_PER_SESSION_MAX};
use lockstead_core::{
    Acquire, Acquired, Census, EndReason, Grant, HoldId, Now, Party, Refusal, RequestId, ResourceKey, SessionId,
    WallTime,
};

use super::ended::EndedHolds;
use super::record::Record;
pub(super) use hold::{Hold, Left, Made, Repeat, State};
use reentry::Actor;
pub(super) use sessions::Move;
use sessions::{Departed, Session};

/// Number of a partition.
pub(super) type Index = u16;

#[derive(Debug, Default)]
pub(super) struct Table {
    holds: HashMap<HoldId, Hold>,
    sessions: HashMap<SessionId, Session>,
    /// The holds of leases that were asked for with a request id.
    requests: HashMap<RequestId, HoldId>,
    /// Re-entrant holds and waiters of one actor, oldest first.
    actors: HashMap<Actor, Vec<HoldId>>,
    /// How many holds and waiters each resource has here.
    resources: HashMap<ResourceKey, usize>,
    by_partition: HashMap<Index, HashSet<HoldId>>,
    pub(super) ended: EndedHolds,
    /// Sessions that another server has taken in, and of which Redis may still show something under this one's name.
    departed: HashMap<SessionId, Departed>,
    /// Operations that Redis owes nobody an answer to any more, but that must be carried out once it is back.
    owed: HashMap<Index, Vec<Vec<Vec<u8>>>>,
}

/// What the table has to say to an acquire.
pub(super) enum Known {
    /// Nothing: ask Redis.
    New,
    /// This.
    Answer(Acquired),
    /// It waits already: Redis knows the position.
    Waits(HoldId),
    /// It is being asked already.
    Asked(HoldId),
}

impl Table {
    pub(super) fn get(&self, hold: HoldId) -> Option<&Hold> {
        self.holds.get(&hold)
    }

    pub(super) fn get_mut(&mut self, hold: HoldId) -> Option<&mut Hold> {
        self.holds.get_mut(&hold)
    }

    pub(super) fn by_request(&self, session: SessionId, request: u64) -> Option<HoldId> {
        self.sessions.get(&session)?.requests.get(&request).copied()
    }

    pub(super) fn census(&self) -> Census {
        let mut queues = HashMap::<_, usize>::new();
        for waiter in self.holds.values().filter(|hold| matches!(hold.state, State::Waiting { .. })) {
            *queues.entry(&waiter.resource).or_default() += 1;
        }
        Census {
            resources: self.resources.len(),
            holds: self.holds.len(),
            waiters: queues.values().sum(),
            longest_queue: queues.values().copied().max().unwrap_or(0),
        }
    }

    /// The holds and waiters of a partition.
    pub(super) fn of_partition(&self, partition: Index) -> Vec<HoldId> {
        self.by_partition.get(&partition).into_iter().flatten().copied().collect()
    }

    /// What is known of an acquire before Redis is asked.
    pub(super) fn look_up(&mut self, acquire: &Acquire) -> std::result::Result<Known, Refusal> {
        let earlier = match &acquire.party {
            Party::Session { session, request, .. } => self.by_request(*session, *request),
            Party::Lease { request, .. } => request.as_ref().and_then(|request| self.requests.get(request)).copied(),
        };
        if let Some((id, hold)) = earlier.and_then(|id| Some((id, self.holds.get(&id)?))) {
            if !hold.is_answer_to(acquire) {
                return Err(Refusal::RequestIdReused);
            }
            return Ok(match (&hold.state, hold.describe(id)) {
                (State::Asked(_), _) => Known::Asked(id),
                (State::Waiting { .. }, _) => Known::Waits(id),
                // A lease may have ended on another server; Redis knows.
                (State::Held { .. }, Some(grant)) if hold.session().is_some() => {
                    Known::Answer(Acquired::Granted(grant))
                }
                (State::Held { .. }, _) => Known::New,
            });
        }
        if self.holds.len() >= HOLDS_MAX {
            return Err(Refusal::EngineFull);
        }
        let Party::Session { session, request, owner_key } = &acquire.party else { return Ok(Known::New) };
        if self.sessions.get(session).is_some_and(|session| session.requests.len() >= HOLDS_PER_SESSION_MAX) {
            return Err(Refusal::SessionFull);
        }
        let Some(owner_key) = owner_key else { return Ok(Known::New) };
        let actor = Actor { session: *session, resource: acquire.resource(), owner_key: owner_key.clone() };
        let Some(held) = self.held_by(&actor, acquire.claim) else { return Ok(Known::New) };
        self.reenter(held, *request, acquire.claim).map(|grant| Known::Answer(Acquired::Granted(grant)))
    }

    /// Notes an acquire that Redis is asked for.
    pub(super) fn ask(&mut self, partition: Index, acquire: &Acquire) {
        let hold = Hold {
            partition,
            resource: acquire.resource(),
            claim: acquire.claim,
            party: acquire.party.clone(),
            owner: acquire.owner.clone(),
            metadata: acquire.metadata.clone(),
            since: WallTime::default(),
            state: State::Asked(Vec::new()),
            is_adopted: false,
        };
        self.insert(acquire.hold, hold);
    }

    fn insert(&mut self, id: HoldId, hold: Hold) {
        match (&hold.party, &hold.state) {
            (Party::Session { session, .. }, State::Held { entries, .. }) => {
                let requests = &mut self.sessions.entry(*session).or_default().requests;
                requests.extend(entries.iter().map(|entry| (*entry, id)));
            }
            (Party::Session { session, request, .. }, _) => {
                self.sessions.entry(*session).or_default().requests.insert(*request, id);
            }
            (Party::Lease { request: Some(request), .. }, _) => {
                // The first stays if it is repeated.
                self.requests.entry(request.clone()).or_insert(id);
            }
            (Party::Lease { request: None, .. }, _) => {}
        }
        if let Some(session) = hold.session() {
            self.sessions.entry(session).or_default().partitions.insert(hold.partition);
        }
        if let Some(actor) = hold.actor() {
            self.actors.entry(actor).or_default().push(id);
        }
        *self.resources.entry(hold.resource.clone()).or_default() += 1;
        self.by_partition.entry(hold.partition).or_default().insert(id);
        self.holds.insert(id, hold);
    }

    /// Notes what another server had.
    pub(super) fn adopt(&mut self, partition: Index, id: HoldId, session: SessionId, record: Record) {
        if self.holds.contains_key(&id) {
            return;
        }
        let request = record.details.request.unwrap_or_default();
        let (owner, metadata) = (record.details.owner(), record.details.metadata());
        let party = Party::Session { session, request, owner_key: record.details.owner_key() };
        let state = match record.token {
            Some(token) => State::Held { token, entries: vec![request], lease: None },
            None => State::Waiting { ticket: record.ticket },
        };
        let (resource, claim, since) = (record.resource, record.claim, record.since);
        self.insert(id, Hold { partition, resource, claim, party, owner, metadata, since, state, is_adopted: true });
    }

    /// Notes a lease that this server answers for from now on.
    pub(super) fn take_lease(&mut self, partition: Index, id: HoldId, record: Record, at: Now) {
        let Some(token) = record.token else { return };
        let ttl = Duration::from_millis(record.ttl_ms);
        let lease = Left { left: ttl, ttl }.counted_from(at);
        if let Some(hold) = self.holds.get_mut(&id) {
            hold.state = State::Held { token, entries: Vec::new(), lease: Some(lease) };
            return;
        }
        let (owner, metadata) = (record.details.owner(), record.details.metadata());
        let asked = record.details.ttl_ms.map_or(ttl, Duration::from_millis);
        let party = Party::Lease { ttl: asked, request: record.request };
        let state = State::Held { token, entries: Vec::new(), lease: Some(lease) };
        let (resource, claim, since) = (record.resource, record.claim, record.since);
        self.insert(id, Hold { partition, resource, claim, party, owner, metadata, since, state, is_adopted: false });
    }

    /// Redis knows what was asked for here by the name under which it was asked for before, perhaps on another server.
    pub(super) fn rename(&mut self, asked: HoldId, known: HoldId) {
        if let Some(hold) = self.remove(asked, None)
            && !self.holds.contains_key(&known)
        {
            self.insert(known, hold);
        }
    }

    /// Makes one that was asked for or waits a holder. Of a lease that is one already, it notes what is left.
    pub(super) fn grant(&mut self, id: HoldId, made: Made, at: Now) -> Option<Grant> {
        let Made { token, since, left } = made;
        let hold = self.holds.get_mut(&id)?;
        let (entries, lease) = match &hold.party {
            Party::Session { .. } if hold.is_held() => return None,
            Party::Session { request, .. } => (vec![*request], None),
            Party::Lease { ttl, .. } => {
                (Vec::new(), Some(left.unwrap_or(Left { left: *ttl, ttl: *ttl }).counted_from(at)))
            }
        };
        hold.since = since;
        hold.state = State::Held { token, entries, lease };
        hold.describe(id)
    }

    /// Forgets a holder or waiter. `ended` is what late calls are told.
    pub(super) fn remove(&mut self, id: HoldId, ended: Option<EndReason>) -> Option<Hold> {
        let hold = self.holds.remove(&id)?;
        match (&hold.party, &hold.state) {
            (Party::Session { session, .. }, State::Held { entries, .. }) => {
                for entry in entries {
                    self.forget_request(*session, *entry, id);
                }
            }
            (Party::Session { session, request, .. }, _) => self.forget_request(*session, *request, id),
            (Party::Lease { request: Some(request), .. }, _) => {
                if self.requests.get(request) == Some(&id) {
                    self.requests.remove(request);
                }
            }
            (Party::Lease { request: None, .. }, _) => {}
        }
        if let Some(actor) = hold.actor()
            && let Some(of_actor) = self.actors.get_mut(&actor)
        {
            of_actor.retain(|other| *other != id);
            if of_actor.is_empty() {
                self.actors.remove(&actor);
            }
        }
        if let Some(count) = self.resources.get_mut(&hold.resource) {
            *count -= 1;
            if *count == 0 {
                self.resources.remove(&hold.resource);
            }
        }
        if let Some(ids) = self.by_partition.get_mut(&hold.partition) {
            ids.remove(&id);
        }
        if let (Some(reason), true) = (ended, hold.is_held()) {
            self.ended.remember(id, reason);
        }
        Some(hold)
    }

    fn forget_request(&mut self, session: SessionId, request: u64, id: HoldId) {
        if let Some(session) = self.sessions.get_mut(&session)
            && session.requests.get(&request) == Some(&id)
        {
            session.requests.remove(&request);
        }
    }

    /// Notes an operation that is to be carried out once Redis is back.
    pub(super) fn owe(&mut self, partition: Index, operation: Vec<Vec<u8>>) {
        self.owed.entry(partition).or_default().push(operation);
    }

    /// The operations that are to be carried out now.
    pub(super) fn take_owed(&mut self, partition: Index) -> Vec<Vec<Vec<u8>>> {
        self.owed.remove(&partition).unwrap_or_default()
    }

    /// Whether a session's hold is what it was.
    pub(super) fn holds_for(&self, session: SessionId, id: HoldId) -> bool {
        self.holds.get(&id).is_some_and(|hold| hold.session() == Some(session) && hold.is_held())
    }
}
