//! The state, and the few steps of which every command is made.

mod acquire;
mod entries;
mod gate;
mod invariants;
mod query;
mod release;
mod renew;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::command::{EndReason, Event, Expire, Grant, Lease, Party, Refusal};
use crate::ended::{EndedHolds, EndedLease};
use crate::gate::{Entrant, Gate, Open};
use crate::id_map::IdHasherBuilder;
use crate::ids::{HoldId, SessionId};
use crate::labels::{Metadata, Owner, OwnerKey, RequestId};
use crate::limits::{ENTRIES_PER_HOLD_MAX, TOKEN_END};
use crate::queue_lengths::QueueLengths;
use crate::resource::{Claim, Resource, ResourceKey, Ticket, Token};
use crate::time::{Now, Time, WallTime};
use entries::Entries;

/// The clock can push tokens no further than this (it is the year 2112), so that there is always room to count on.
const TOKEN_CLOCK_END: u64 = TOKEN_END / 2;

/// All resources of one engine. See the crate's description for the rules.
#[derive(Debug)]
pub struct Machine<G = Open> {
    gate: G,
    resources: BTreeMap<ResourceKey, Resource>,
    /// Holders and waiters alike. Every id in the other maps is in here.
    /// Boxed, since a map is up to twice as large as what is in it.
    holds: HashMap<HoldId, Box<Hold>, IdHasherBuilder>,
    /// What each session has, by its own request numbers. A re-entered hold is here once for each of its entries.
    sessions: HashMap<SessionId, BTreeMap<u64, HoldId>, IdHasherBuilder>,
    /// Leases that were asked for with a request id.
    requests: BTreeMap<RequestId, HoldId>,
    /// Re-entrant holds and the re-entrant waiters behind them.
    actors: BTreeMap<Actor, ActorHolds>,
    /// When leases end.
    deadlines: BTreeSet<(Time, HoldId)>,
    ended: EndedHolds,
    queue_lengths: QueueLengths,
    last_ticket: Ticket,
    last_token: u64,
    /// Of the command at work.
    events: Vec<Event>,
}

/// Whatever can be told to a [`Machine`]; see [`Machine::apply`].
pub trait Command {
    /// What it answers.
    type Outcome;

    /// Carries the command out. Call [`Machine::apply`] instead, which first ends what is due.
    #[doc(hidden)]
    fn run<G: Gate>(self, machine: &mut Machine<G>, now: Now) -> Self::Outcome;
}

/// What a command did.
#[derive(Debug)]
#[must_use]
pub struct Applied<T> {
    /// For its sender.
    pub outcome: T,
    /// For others, in the order in which it happened.
    pub events: Vec<Event>,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Resources held or waited for.
    pub resources: usize,
    /// Holders and waiters.
    pub holds: usize,
    /// The waiters among them.
    pub waiters: usize,
    /// Those who wait in the longest queue.
    pub longest_queue: usize,
}

/// A holder or a waiter.
#[derive(Debug)]
struct Hold {
    resource: ResourceKey,
    claim: Claim,
    party: Party,
    owner: Owner,
    metadata: Metadata,
    /// Of the request while it waits, of the grant while it holds.
    since: WallTime,
    state: HoldState,
}

#[derive(Debug)]
enum HoldState {
    Waiting(Ticket),
    Held { token: Token, ends: Ends },
}

/// What a holder hangs on.
#[derive(Debug)]
enum Ends {
    /// It ends with its session, if the acquires that it stands for are not all released before.
    WithSession(Entries),
    At(Deadline),
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Time,
    /// The same on the wall clock, as foreseen when it was set.
    wall: WallTime,
    ttl: Duration,
}

/// Whose acquires re-enter each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Actor {
    session: SessionId,
    resource: ResourceKey,
    owner_key: OwnerKey,
}

#[derive(Debug, Default)]
struct ActorHolds {
    /// Oldest first. More than one if a waiter was granted that the hold before it did not cover.
    held: Vec<HoldId>,
    waiting: BTreeMap<Ticket, HoldId>,
}

impl Deadline {
    fn after(now: Now, ttl: Duration) -> Self {
        Self { at: now.time.saturating_add(ttl), wall: now.wall.saturating_add(ttl), ttl }
    }
}

impl HoldState {
    /// The acquires that a session's hold stands for.
    const fn entries_mut(&mut self) -> Option<&mut Entries> {
        match self {
            Self::Held { ends: Ends::WithSession(entries), .. } => Some(entries),
            _ => None,
        }
    }

    /// When a lease ends.
    const fn deadline(&self) -> Option<&Deadline> {
        match self {
            Self::Held { ends: Ends::At(deadline), .. } => Some(deadline),
            _ => None,
        }
    }
}

impl Hold {
    fn actor(&self) -> Option<Actor> {
        match &self.party {
            Party::Session { session, owner_key: Some(owner_key), .. } => {
                Some(Actor { session: *session, resource: self.resource.clone(), owner_key: owner_key.clone() })
            }
            _ => None,
        }
    }

    fn session(&self) -> Option<SessionId> {
        match &self.party {
            Party::Session { session, .. } => Some(*session),
            Party::Lease { .. } => None,
        }
    }

    fn entrant(&self, id: HoldId, now: Now) -> Entrant<'_> {
        Entrant { hold: id, resource: &self.resource, claim: self.claim, owner: &self.owner, at: now.wall }
    }
}

impl Machine {
    /// A machine in which nothing is held.
    pub fn new() -> Self {
        Self::behind(Open)
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl<G: Gate> Machine<G> {
    /// A machine in which nothing is held, and that grants what this gate lets in.
    pub fn behind(gate: G) -> Self {
        Self {
            gate,
            resources: BTreeMap::new(),
            holds: HashMap::default(),
            sessions: HashMap::default(),
            requests: BTreeMap::new(),
            actors: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            ended: EndedHolds::default(),
            queue_lengths: QueueLengths::default(),
            last_ticket: 0,
            last_token: 0,
            events: Vec::new(),
        }
    }

    /// Ends what is due at `now`, then carries out `command`. Times should not go back; where one does,
    /// deadlines just come later.
    pub fn apply<C: Command>(&mut self, now: Now, command: C) -> Applied<C::Outcome> {
        self.expire(now);
        let outcome = command.run(self, now);
        Applied { outcome, events: std::mem::take(&mut self.events) }
    }

    /// When the next lease ends: apply [`Expire`] then, or any other command, to let the next waiter in.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// How much there is.
    pub fn census(&self) -> Census {
        let (waiters, longest_queue) = (self.queue_lengths.waiters(), self.queue_lengths.longest());
        Census { resources: self.resources.len(), holds: self.holds.len(), waiters, longest_queue }
    }

    fn expire(&mut self, now: Now) {
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now.time
        {
            let Some(hold) = self.remove(id, Some(EndReason::Expired)) else { break };
            let resource = hold.resource.clone();
            self.events.push(Event::Ended { to: hold.session(), hold: id, resource, reason: EndReason::Expired });
            self.serve(now, &hold.resource);
        }
    }

    /// Grants the head of a queue for as long as it fits, and forgets a resource that nobody uses.
    fn serve(&mut self, now: Now, key: &ResourceKey) {
        while let Some(resource) = self.resources.get_mut(key) {
            if resource.is_unused() {
                self.resources.remove(key);
                return;
            }
            resource.closed = false;
            let Some((ticket, id)) = resource.queue.first() else { return };
            let Some(hold) = self.holds.get(&id) else { return };
            if !resource.fits(hold.claim.permits()) {
                return;
            }
            let Ok(token) = self.gate.admit(&hold.entrant(id, now), least_token(self.last_token, now)) else {
                resource.closed = true;
                return;
            };
            if resource.queue.remove(ticket) {
                self.queue_lengths.shrank(resource.queue.len());
            }
            self.promote(now, id, ticket, token);
        }
    }

    /// Makes a waiter that has left the queue a holder, and lets its own re-entries in.
    fn promote(&mut self, now: Now, id: HoldId, ticket: Ticket, token: Token) {
        if let Some(grant) = self.grant(now, id, token) {
            self.announce(id, grant);
        }
        let Some(actor) = self.holds.get(&id).and_then(|hold| hold.actor()) else { return };
        let Some(of_actor) = self.actors.get_mut(&actor) else { return };
        of_actor.waiting.remove(&ticket);
        let waiting: Vec<_> = of_actor.waiting.iter().map(|(ticket, id)| (*ticket, *id)).collect();
        for (ticket, waiter) in waiting {
            self.merge_waiter(id, waiter, ticket);
        }
    }

    /// Turns a re-entrant waiter into one more entry of `held`, if that covers it.
    fn merge_waiter(&mut self, held: HoldId, waiter: HoldId, ticket: Ticket) {
        let Some((party, claim)) = self.holds.get(&waiter).map(|hold| (&hold.party, hold.claim)) else { return };
        let &Party::Session { session, request, .. } = party else { return };
        let Ok(grant) = self.reenter(held, request, claim) else { return };
        if let Some(hold) = self.holds.remove(&waiter) {
            if let Some(of_actor) = hold.actor().and_then(|actor| self.actors.get_mut(&actor)) {
                of_actor.waiting.remove(&ticket);
            }
            self.leave_queue(&hold.resource, ticket);
        }
        self.events.push(Event::Granted { to: Some((session, request)), grant });
    }

    /// Makes `id`, which is neither in the queue nor a holder, a holder of its resource. The caller has checked that its
    /// permits are free, and the gate has let it in with this token.
    fn grant(&mut self, now: Now, id: HoldId, token: Token) -> Option<Grant> {
        debug_assert!(token.0 > self.last_token, "tokens grow");
        self.last_token = token.0;
        let hold = self.holds.get_mut(&id)?;
        let ends = match &hold.party {
            Party::Session { request, .. } => Ends::WithSession(Entries::One(*request)),
            Party::Lease { ttl, .. } => {
                let deadline = Deadline::after(now, *ttl);
                self.deadlines.insert((deadline.at, id));
                Ends::At(deadline)
            }
        };
        hold.since = now.wall;
        hold.state = HoldState::Held { token, ends };
        let (actor, permits) = (hold.actor(), hold.claim.permits());
        self.resources.get_mut(&hold.resource)?.add_holder(token, id, permits);
        if let Some(actor) = actor {
            self.actors.entry(actor).or_default().held.push(id);
        }
        self.describe_grant(id)
    }

    /// Adds an acquire of the same actor to a hold. No permits change hands, so it passes the queue.
    fn reenter(&mut self, held: HoldId, request: u64, claim: Claim) -> Result<Grant, Refusal> {
        let holder = self.holds.get_mut(&held).ok_or(Refusal::HoldNotFound)?;
        if claim.limit() != holder.claim.limit() {
            return Err(Refusal::LimitMismatch { in_use: holder.claim.limit() });
        }
        if claim.permits() > holder.claim.permits() {
            return Err(Refusal::ReentryTooLarge);
        }
        let Some(entries) = holder.state.entries_mut() else { return Err(Refusal::HoldNotFound) };
        if entries.len() >= ENTRIES_PER_HOLD_MAX {
            return Err(Refusal::TooManyEntries);
        }
        entries.push(request);
        if let Some(session) = holder.session() {
            self.sessions.entry(session).or_default().insert(request, held);
        }
        self.describe_grant(held).ok_or(Refusal::HoldNotFound)
    }

    /// Takes a holder or waiter out of everything. Its resource stays, for [`Machine::serve`] to see to. `ended` is what
    /// late calls are told; without it the hold leaves no trace.
    fn remove(&mut self, id: HoldId, ended: Option<EndReason>) -> Option<Box<Hold>> {
        let hold = self.holds.remove(&id)?;
        match &hold.state {
            HoldState::Waiting(ticket) => self.leave_queue(&hold.resource, *ticket),
            HoldState::Held { token, ends } => {
                if let Some(resource) = self.resources.get_mut(&hold.resource) {
                    resource.remove_holder(*token, hold.claim.permits());
                }
                if let Ends::At(deadline) = ends {
                    self.deadlines.remove(&(deadline.at, id));
                }
                self.gate.leave(id, &hold.resource);
            }
        }
        self.unlink(id, &hold);
        if let Some(reason) = ended {
            match &hold.party {
                Party::Lease { request, .. } => {
                    let (resource, claim, request) = (hold.resource.clone(), hold.claim, request.clone());
                    self.ended.remember_lease(id, EndedLease { reason, resource, claim, request });
                }
                Party::Session { .. } => self.ended.remember_of_session(id, reason),
            }
        }
        Some(hold)
    }

    fn leave_queue(&mut self, key: &ResourceKey, ticket: Ticket) {
        if let Some(resource) = self.resources.get_mut(key)
            && resource.queue.remove(ticket)
        {
            self.queue_lengths.shrank(resource.queue.len());
        }
    }

    /// Takes a hold out of the indexes by session, request and actor.
    fn unlink(&mut self, id: HoldId, hold: &Hold) {
        match &hold.party {
            Party::Lease { request, .. } => {
                if let Some(request) = request {
                    self.requests.remove(request);
                }
            }
            Party::Session { session, request, .. } => match &hold.state {
                HoldState::Held { ends: Ends::WithSession(entries), .. } => {
                    for entry in entries.as_slice() {
                        self.unlink_request(*session, *entry);
                    }
                }
                _ => self.unlink_request(*session, *request),
            },
        }
        let Some(actor) = hold.actor() else { return };
        let Some(of_actor) = self.actors.get_mut(&actor) else { return };
        match &hold.state {
            HoldState::Waiting(ticket) => _ = of_actor.waiting.remove(ticket),
            HoldState::Held { .. } => of_actor.held.retain(|held| *held != id),
        }
        if of_actor.held.is_empty() && of_actor.waiting.is_empty() {
            self.actors.remove(&actor);
        }
    }

    fn unlink_request(&mut self, session: SessionId, request: u64) {
        if let Some(requests) = self.sessions.get_mut(&session) {
            requests.remove(&request);
            if requests.is_empty() {
                self.sessions.remove(&session);
            }
        }
    }

    fn announce(&mut self, id: HoldId, grant: Grant) {
        let to = match self.holds.get(&id).map(|hold| &hold.party) {
            Some(Party::Session { session, request, .. }) => Some((*session, *request)),
            _ => None,
        };
        self.events.push(Event::Granted { to, grant });
    }

    fn describe_grant(&self, id: HoldId) -> Option<Grant> {
        let hold = self.holds.get(&id)?;
        let HoldState::Held { token, ends } = &hold.state else { return None };
        let (entries, lease) = match ends {
            Ends::WithSession(entries) => (entries.len(), None),
            Ends::At(Deadline { wall, ttl, .. }) => (1, Some(Lease { ttl: *ttl, expires_at: *wall })),
        };
        Some(Grant {
            hold: id,
            claim: hold.claim,
            token: *token,
            entries: u32::try_from(entries).unwrap_or(u32::MAX),
            acquired_at: hold.since,
            lease,
        })
    }
}

/// Tokens grow with every grant, and across restarts because they start from the wall clock.
fn least_token(last: u64, now: Now) -> Token {
    Token((last + 1).max(now.wall.as_micros().min(TOKEN_CLOCK_END)))
}

impl Command for Expire {
    type Outcome = ();

    /// Every command expires first, so there is nothing left to do.
    fn run<G: Gate>(self, _: &mut Machine<G>, _: Now) {}
}
