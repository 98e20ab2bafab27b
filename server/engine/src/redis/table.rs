//! What this server has in Redis, as far as it believes. It answers what needs no Redis (repeated requests, re-entry, how a
//! hold ended), and what is missing in Redis after a failure is restored from it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use lockstead_core::limits::{ENTRIES_PER_HOLD_MAX, HOLDS_MAX, HOLDS_PER_SESSION_MAX};
use lockstead_core::{
    Acquire, Acquired, Census, Claim, EndReason, Event, Grant, HoldId, Lease, Metadata, Now, Owner, OwnerKey, Party,
    Refusal, RequestId, ResourceKey, SessionId, Time, Token, WallTime,
};
use tokio::sync::oneshot;

use super::ended::EndedHolds;
use super::record::{Details, Record};
use crate::Result;

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

/// A hold or waiter of this server.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) partition: Index,
    pub(super) resource: ResourceKey,
    pub(super) claim: Claim,
    pub(super) party: Party,
    pub(super) owner: Owner,
    pub(super) metadata: Metadata,
    pub(super) since: WallTime,
    pub(super) state: State,
    /// It came from another server, which did not say how often it was entered: its client will.
    is_adopted: bool,
}

#[derive(Debug)]
pub(super) enum State {
    /// Redis has not answered yet. Others may have asked the same meanwhile.
    Asked(Vec<Repeat>),
    Waiting {
        ticket: u64,
    },
    Held {
        token: Token,
        /// The session's numbers for the acquires that it stands for; none for a lease.
        entries: Vec<u64>,
        lease: Option<LeaseEnd>,
    },
}

/// Somebody who repeats an acquire that is not answered yet.
#[derive(Debug)]
pub(super) struct Repeat {
    pub(super) may_queue: bool,
    pub(super) reply: oneshot::Sender<Result<Acquired>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseEnd {
    pub(super) at: Time,
    pub(super) wall: WallTime,
    pub(super) ttl: Duration,
}

/// A session of this server.
#[derive(Debug, Default)]
struct Session {
    attempt: u32,
    /// Where Redis knows it.
    partitions: BTreeSet<Index>,
    /// Where another server had it, and it is not known yet to have moved.
    arriving: BTreeSet<Index>,
    /// Each acquire's hold, by the session's number for it.
    requests: HashMap<u64, HoldId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Actor {
    session: SessionId,
    resource: ResourceKey,
    owner_key: OwnerKey,
}

/// Where a session has gone: to this server, by this count of its client's resumes.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub(super) attempt: u32,
    pub(super) server: Vec<u8>,
}

#[derive(Debug)]
struct Departed {
    to: Move,
    /// Where that has yet to be said.
    partitions: BTreeSet<Index>,
}

/// A grant as Redis has made it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) token: Token,
    pub(super) since: WallTime,
    /// What remains of a lease; `None` if it was granted just now, as it was asked for.
    pub(super) left: Option<Left>,
}

/// What remains of a lease, and from what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) left: Duration,
    pub(super) ttl: Duration,
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

impl Hold {
    pub(super) fn session(&self) -> Option<SessionId> {
        match &self.party {
            Party::Session { session, .. } => Some(*session),
            Party::Lease { .. } => None,
        }
    }

    fn actor(&self) -> Option<Actor> {
        match &self.party {
            Party::Session { session, owner_key: Some(owner_key), .. } => {
                Some(Actor { session: *session, resource: self.resource.clone(), owner_key: owner_key.clone() })
            }
            _ => None,
        }
    }

    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, State::Held { .. })
    }

    /// Whether whoever has this has that, too.
    fn covers(&self, claim: Claim) -> bool {
        self.claim.limit() == claim.limit() && self.claim.permits() >= claim.permits()
    }

    /// Whether a request under this hold's number is the one that made it.
    fn is_answer_to(&self, acquire: &Acquire) -> bool {
        if self.resource != acquire.resource() {
            return false;
        }
        match (&self.party, &acquire.party) {
            // The request may have been a re-entry, which can claim less than the hold has, but not more.
            (Party::Session { owner_key: Some(ours), .. }, Party::Session { owner_key: Some(theirs), .. }) => {
                let same = if self.is_held() { self.covers(acquire.claim) } else { self.claim == acquire.claim };
                ours == theirs && same
            }
            (ours, theirs) => {
                ours == theirs
                    && self.claim == acquire.claim
                    && self.owner == acquire.owner
                    && self.metadata == acquire.metadata
            }
        }
    }

    /// What only servers read of it in Redis.
    pub(super) fn details(&self) -> Details<'_> {
        let details = Details::new(&self.owner, &self.metadata);
        match &self.party {
            Party::Session { request, owner_key, .. } => details.with_request(*request, owner_key.as_ref()),
            Party::Lease { ttl, .. } => Details { ttl_ms: u64::try_from(ttl.as_millis()).ok(), ..details },
        }
    }

    pub(super) fn describe(&self, hold: HoldId) -> Option<Grant> {
        let State::Held { token, entries, lease } = &self.state else { return None };
        Some(Grant {
            hold,
            claim: self.claim,
            token: *token,
            entries: u32::try_from(entries.len().max(1)).unwrap_or(u32::MAX),
            acquired_at: self.since,
            lease: lease.map(|LeaseEnd { wall, ttl, .. }| Lease { ttl, expires_at: wall }),
        })
    }
}

impl Left {
    fn counted_from(self, at: Now) -> LeaseEnd {
        let Self { left, ttl } = self;
        LeaseEnd { at: at.time.saturating_add(left), wall: at.wall.saturating_add(left), ttl }
    }
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
        Census { resources: self.resources.len(), holds: self.holds.len() }
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

    /// The hold that an acquire of this actor re-enters: the oldest that covers the claim, else the oldest.
    fn held_by(&self, actor: &Actor, claim: Claim) -> Option<HoldId> {
        let of_actor = self.actors.get(actor)?;
        let mut held =
            of_actor.iter().filter_map(|id| Some((id, self.holds.get(id)?))).filter(|(_, hold)| hold.is_held());
        let first = held.next()?;
        let mut all = std::iter::once(first).chain(held);
        Some(all.find(|(_, hold)| hold.covers(claim)).map_or(*first.0, |(id, _)| *id))
    }

    /// Adds an acquire of the same actor to a hold. No permits change hands, so Redis need not know.
    fn reenter(&mut self, id: HoldId, request: u64, claim: Claim) -> std::result::Result<Grant, Refusal> {
        let hold = self.holds.get_mut(&id).ok_or(Refusal::HoldNotFound)?;
        if claim.limit() != hold.claim.limit() {
            return Err(Refusal::LimitMismatch { in_use: hold.claim.limit() });
        }
        if claim.permits() > hold.claim.permits() {
            return Err(Refusal::ReentryTooLarge);
        }
        let State::Held { entries, .. } = &mut hold.state else { return Err(Refusal::HoldNotFound) };
        if entries.len() >= ENTRIES_PER_HOLD_MAX {
            return Err(Refusal::TooManyEntries);
        }
        entries.push(request);
        let session = hold.session();
        let grant = hold.describe(id).ok_or(Refusal::HoldNotFound);
        if let Some(session) = session {
            self.sessions.entry(session).or_default().requests.insert(request, id);
        }
        grant
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

    /// Lets the waiters of the same actor in, whose claims the new hold covers. They leave the queue in Redis by the cancels that
    /// the caller makes of what is returned.
    pub(super) fn merge_waiters(&mut self, held: HoldId, events: &mut Vec<Event>) -> Vec<HoldId> {
        let Some(actor) = self.holds.get(&held).and_then(Hold::actor) else { return Vec::new() };
        let others = self.actors.get(&actor).cloned().unwrap_or_default();
        let mut merged = Vec::new();
        for waiter in others {
            let Some(Hold {
                party: Party::Session { session, request, .. }, state: State::Waiting { .. }, claim, ..
            }) = self.holds.get(&waiter)
            else {
                continue;
            };
            let (session, request, claim) = (*session, *request, *claim);
            let Ok(grant) = self.reenter(held, request, claim) else { continue };
            self.remove(waiter, None);
            // Its number stands for the hold now.
            self.sessions.entry(session).or_default().requests.insert(request, held);
            events.push(Event::Granted { to: Some((session, request)), grant });
            merged.push(waiter);
        }
        merged
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

    /// Gives one entry of a hold up. Returns how many are left; 0 means that the hold is to end, and nothing was done.
    pub(super) fn give_up_entry(&mut self, id: HoldId, entry: Option<u64>) -> usize {
        let Some(Hold { party: Party::Session { session, .. }, state: State::Held { entries, .. }, .. }) =
            self.holds.get_mut(&id)
        else {
            return 0;
        };
        if entries.len() <= 1 {
            return 0;
        }
        // The oldest: its acquire was answered long ago, while the newest may yet be cancelled.
        let index = entry.and_then(|entry| entries.iter().position(|other| *other == entry)).unwrap_or(0);
        let (session, entry) = (*session, entries.remove(index));
        let left = entries.len();
        self.forget_request(session, entry, id);
        left
    }

    pub(super) fn knows_session(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    pub(super) fn attempt(&self, session: SessionId) -> u32 {
        self.sessions.get(&session).map_or(0, |session| session.attempt)
    }

    pub(super) fn partitions(&self, session: SessionId) -> Vec<Index> {
        self.sessions.get(&session).map_or_else(Vec::new, |session| session.partitions.iter().copied().collect())
    }

    /// Notes that a session is resumed here. It may have been on another server, even if it is known: what it has where it is
    /// not known has yet to come.
    pub(super) fn expect(&mut self, session: SessionId, attempt: u32, partitions: Index) {
        let session = self.sessions.entry(session).or_default();
        session.attempt = attempt;
        session.arriving.extend((0..partitions).filter(|partition| !session.partitions.contains(partition)));
        session.partitions.extend(0..partitions);
    }

    /// Notes that a session which is resumed here was on another server meanwhile: what it has in this partition is what will
    /// come from there.
    pub(super) fn expect_back(&mut self, session: SessionId, partition: Index) {
        for id in self.of_session(session) {
            if self.holds.get(&id).is_some_and(|hold| hold.partition == partition) {
                self.remove(id, None);
            }
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            session.arriving.insert(partition);
        }
    }

    /// Whether a session has yet to come here in this partition.
    pub(super) fn expects(&self, session: SessionId, partition: Index) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.arriving.contains(&partition))
    }

    /// Notes that all a session has in this partition is here.
    pub(super) fn has_arrived(&mut self, session: SessionId, partition: Index) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.arriving.remove(&partition);
        }
    }

    /// Forgets a session that another server has taken in, and has said so in one partition. Returns the others in which Redis
    /// may still show something of it.
    pub(super) fn session_leaves(&mut self, session: SessionId, to: &Move, said_in: Index) -> Vec<Index> {
        let mut partitions =
            self.sessions.get(&session).map_or_else(BTreeSet::new, |session| session.partitions.clone());
        partitions.remove(&said_in);
        self.remove_session(session, None);
        let others = partitions.iter().copied().collect();
        self.departed.insert(session, Departed { to: to.clone(), partitions });
        self.has_left(session, said_in);
        others
    }

    /// Where a session has gone of which Redis may still show something in this partition.
    pub(super) fn gone_to(&self, session: SessionId, partition: Index) -> Option<&Move> {
        self.departed
            .get(&session)
            .filter(|departed| departed.partitions.contains(&partition))
            .map(|departed| &departed.to)
    }

    /// Notes that Redis shows nothing of a session in this partition any more.
    pub(super) fn has_left(&mut self, session: SessionId, partition: Index) {
        let Some(departed) = self.departed.get_mut(&session) else { return };
        departed.partitions.remove(&partition);
        if departed.partitions.is_empty() {
            self.departed.remove(&session);
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

    /// The holds and waiters of a session, each once.
    pub(super) fn of_session(&self, session: SessionId) -> BTreeSet<HoldId> {
        self.sessions.get(&session).into_iter().flat_map(|session| session.requests.values()).copied().collect()
    }

    /// Forgets a session with all it has. Returns how much that was; `None` if it was not known.
    pub(super) fn remove_session(&mut self, session: SessionId, ended: Option<EndReason>) -> Option<usize> {
        let ids = self.of_session(session);
        for id in &ids {
            self.remove(*id, ended);
        }
        self.sessions.remove(&session).map(|_| ids.len())
    }

    /// Cuts a hold down to what its client claims of it: `entries` whose acquires were answered, and those acquires that it
    /// is about to repeat. Returns whether anything is left.
    pub(super) fn reconcile(&mut self, id: HoldId, claimed: u32, pending: &BTreeSet<u64>) -> bool {
        let Some(hold) = self.holds.get_mut(&id) else { return false };
        let Party::Session { session, request, .. } = &hold.party else { return false };
        let (session, request) = (*session, *request);
        let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
        let State::Held { entries, .. } = &mut hold.state else { return pending.contains(&request) };
        if std::mem::take(&mut hold.is_adopted) {
            // Its own acquire may have been answered or not; of the other entries only their number is known, so they
            // get numbers that no client uses.
            let answered = usize::from(!pending.contains(&request));
            let more = claimed.min(ENTRIES_PER_HOLD_MAX).saturating_sub(answered);
            entries.extend((0..more as u64).map(|nth| u64::MAX - nth));
        }
        let (repeated, answered): (Vec<u64>, Vec<u64>) = entries.iter().partition(|entry| pending.contains(entry));
        let kept = answered.len().min(claimed);
        if repeated.is_empty() && kept == 0 {
            return false;
        }
        *entries = answered[..kept].iter().chain(&repeated).copied().collect();
        for entry in &answered[kept..] {
            self.forget_request(session, *entry, id);
        }
        true
    }

    /// Whether a session's hold is what it was.
    pub(super) fn holds_for(&self, session: SessionId, id: HoldId) -> bool {
        self.holds.get(&id).is_some_and(|hold| hold.session() == Some(session) && hold.is_held())
    }
}
