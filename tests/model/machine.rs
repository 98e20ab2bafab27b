//! The machine under test: steps are translated for it, and what it answers is translated back.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstead_core::{
    Acquire, AcquireRef, Acquired, Cancel, Cancelled, Claim, Closed, Command, EndReason, EndSession, Entrant, Event,
    Expire, Gate, Get, Grant, HoldId, HolderView, IfGranted, Kind, Knock, List, Lose, Machine, Metadata, Mode, Name,
    Now, Owner, OwnerKey, Party, Permits, Refusal, Release, Releaser, Renew, RequestId, ResourceKey, ResourceView,
    ResumeSession, SessionId, Time, Token, WallTime,
};

use crate::reference::{Answer, News, Note, Reference};
use crate::steps::{Action, Ask, Step, Thing, Want, Who};

/// A machine, and what is known of it from outside.
#[derive(Debug)]
pub(crate) struct Sut {
    machine: Machine<Doorkeeper>,
    now: Now,
    /// What each fresh id was asked for.
    things: BTreeMap<HoldId, (u32, Thing)>,
    tokens: BTreeMap<HoldId, Token>,
    /// The greatest token of each resource, whatever became of it since.
    last_tokens: BTreeMap<Thing, Token>,
}

/// A gate that steps open and shut.
#[derive(Debug, Default)]
struct Doorkeeper {
    shut: BTreeMap<ResourceKey, Closed>,
}

impl Gate for Doorkeeper {
    fn admit(&mut self, entrant: &Entrant<'_>, least: Token) -> Result<Token, Closed> {
        self.shut.get(entrant.resource).map_or(Ok(least), |closed| Err(*closed))
    }

    fn leave(&mut self, _: HoldId, _: &ResourceKey) {}
}

impl Default for Sut {
    fn default() -> Self {
        Self {
            machine: Machine::behind(Doorkeeper::default()),
            now: Now::default(),
            things: BTreeMap::new(),
            tokens: BTreeMap::new(),
            last_tokens: BTreeMap::new(),
        }
    }
}

impl Sut {
    /// Carries out one step, and tells what the machine answered and reported.
    pub(crate) fn step(&mut self, step: &Step) -> (Answer, Vec<Note>) {
        let time = self.now.time.saturating_add(Duration::from_millis(step.pause));
        let wall = match step.set_wall {
            Some(wall) => WallTime::from_micros(wall * 1000),
            None => self.now.wall.saturating_add(Duration::from_millis(step.pause)),
        };
        self.now = Now { time, wall };
        match step.action.clone() {
            Action::Acquire(ask) => {
                self.things.insert(hold_id(ask.hold), (ask.hold, ask.thing));
                self.apply(acquire(&ask), Self::acquired)
            }
            Action::Renew { hold, thing, ttl } => {
                let ttl = ttl.map(Duration::from_millis);
                let renew = Renew { resource: key(thing), hold: hold_id(hold), ttl };
                self.apply(renew, |sut, outcome| outcome.map_or_else(refused, |grant| sut.granted(&grant)))
            }
            Action::ReleaseAsSession { hold, session } => self.release(hold, Releaser::Session(session_id(session))),
            Action::ReleaseAsBearer { hold, thing } => self.release(hold, Releaser::Bearer(key(thing))),
            Action::CancelLease { hold, give_back } => self.cancel(AcquireRef::Hold(hold_id(hold)), give_back),
            Action::CancelRequest { session, request, give_back } => {
                self.cancel(AcquireRef::Request(session_id(session), request), give_back)
            }
            Action::EndSession { session, timeout } => {
                let reason = if timeout { EndReason::Expired } else { EndReason::Disconnected };
                self.apply(EndSession { session: session_id(session), reason }, |_, count| Answer::Ended(count))
            }
            Action::Resume { session, claims, pending } => {
                let holds = claims.iter().map(|(hold, entries)| (hold_id(*hold), *entries)).collect();
                let resume = ResumeSession { session: session_id(session), attempt: 1, holds, pending };
                // In the order of the claims; the machine's own is that of its ids.
                let in_order = move |lost: Vec<HoldId>| {
                    claims.iter().map(|(hold, _)| *hold).filter(|hold| lost.contains(&hold_id(*hold))).collect()
                };
                self.apply(resume, |_, lost| Answer::Lost(in_order(lost)))
            }
            Action::Lose(holds) => {
                let holds = holds.into_iter().map(hold_id).collect();
                self.apply(Lose(holds), |_, ()| Answer::Nothing)
            }
            Action::Shut { thing, jammed } => {
                let closed = if jammed { Closed::OutOfOrder("jammed") } else { Closed::ByOthers };
                // What is due has happened before.
                let told = self.apply(Expire, |_, ()| Answer::Nothing);
                self.machine.gate().shut.insert(key(thing), closed);
                told
            }
            Action::Open(thing) => {
                let (_, mut notes) = self.apply(Expire, |_, ()| Answer::Nothing);
                self.machine.gate().shut.remove(&key(thing));
                let (answer, opened) = self.apply(Knock(key(thing)), |_, ()| Answer::Nothing);
                notes.extend(opened);
                (answer, notes)
            }
            Action::Expire => self.apply(Expire, |_, ()| Answer::Nothing),
            Action::Get(thing) => {
                self.apply(Get(key(thing)), |_, view| Answer::Seen(view.holders.len(), view.waiters.len()))
            }
        }
    }

    /// Compares all that can be seen.
    pub(crate) fn assert_same_picture(&mut self, reference: &Reference) {
        self.machine.assert_invariants();
        let mut views = Vec::new();
        for kind in [Kind::Lock, Kind::Semaphore] {
            let list = List { kind, prefix: String::new(), after: None, at_most: 100 };
            let applied = self.machine.apply(self.now, list);
            assert!(applied.events.is_empty(), "a list at the same time does nothing");
            views.extend(applied.outcome);
        }
        let mut resources = reference.resources.clone();
        resources.sort_by_key(|resource| resource.thing);
        let expected: Vec<_> = resources.iter().map(|resource| format!("{resource:?}")).collect();
        assert_eq!(views.len(), resources.len(), "the resources in use: {views:?} for {expected:?}");
        for (view, resource) in views.iter().zip(&resources) {
            let wall = |millis: u64| WallTime::from_micros(millis * 1000);
            let holders: Vec<_> = resource
                .holders
                .iter()
                .map(|holder| {
                    let ask = &holder.ask;
                    (ask.hold, claim(ask.want), wall(holder.since), holder.until().map(wall), ask.owner)
                })
                .collect();
            assert_eq!(self.seen_holders(view), holders, "holders of {:?}", resource.thing);
            let waiters = resource.queue.iter().enumerate();
            let waiters: Vec<_> =
                waiters.map(|(at, it)| (at + 1, claim(it.ask.want), wall(it.since), it.ask.owner)).collect();
            let seen = view.waiters.iter();
            let seen: Vec<_> = seen.map(|it| (it.position, it.claim, it.queued_at, it.owner.as_str())).collect();
            assert_eq!(seen, waiters, "waiters of {:?}", resource.thing);
            assert_eq!((view.holder_count, view.waiter_count), (holders.len(), waiters.len()));
            assert_eq!(view.key, key(resource.thing));
        }
        self.assert_same_numbers(reference);
    }

    fn assert_same_numbers(&self, reference: &Reference) {
        let census = self.machine.census();
        let parties = reference.resources.iter().map(|resource| resource.holders.len() + resource.queue.len());
        assert_eq!((census.resources, census.holds), (reference.resources.len(), parties.sum::<usize>()));
        let holders = reference.resources.iter().flat_map(|resource| &resource.holders);
        let next = holders.filter_map(|holder| holder.lease).map(|lease| lease.until).min();
        assert_eq!(self.machine.next_deadline(), next.map(|until| Time::from_micros(until * 1000)), "next deadline");
    }

    fn seen_holders<'a>(&self, view: &'a ResourceView) -> Vec<(u32, Claim, WallTime, Option<WallTime>, &'a str)> {
        let seen = |it: &'a HolderView| (self.by_token(it), it.claim, it.acquired_at, it.expires_at, it.owner.as_str());
        view.holders.iter().map(seen).collect()
    }

    /// Views tell no hold ids, but every grant told its token.
    fn by_token(&self, view: &HolderView) -> u32 {
        let known = self.tokens.iter().find(|(_, token)| **token == view.token);
        self.things[known.expect("no grant of such a token was told").0].0
    }

    fn apply<C: Command>(
        &mut self,
        command: C,
        answer: impl FnOnce(&mut Self, C::Outcome) -> Answer,
    ) -> (Answer, Vec<Note>) {
        let applied = self.machine.apply(self.now, command);
        let notes = applied.events.iter().map(|event| self.note(event)).collect();
        (answer(self, applied.outcome), notes)
    }

    fn release(&mut self, hold: u32, by: Releaser) -> (Answer, Vec<Note>) {
        self.apply(Release { hold: hold_id(hold), by }, |_, outcome| {
            outcome.map_or_else(refused, |released| Answer::Released(released.entries as usize))
        })
    }

    fn cancel(&mut self, acquire: AcquireRef, give_back: bool) -> (Answer, Vec<Note>) {
        let if_granted = if give_back { IfGranted::GiveBack } else { IfGranted::Keep };
        self.apply(Cancel { acquire, if_granted }, |sut, outcome| match outcome {
            Cancelled::Withdrawn { holders } => Answer::Withdrawn(sut.named(&holders)),
            Cancelled::GivenBack => Answer::GivenBack,
            Cancelled::Kept => Answer::Kept,
            Cancelled::Unknown => Answer::Unknown,
        })
    }

    fn acquired(&mut self, outcome: Result<Acquired, Refusal>) -> Answer {
        match outcome {
            Ok(Acquired::Granted(grant)) => self.granted(&grant),
            Ok(Acquired::Queued { hold, position }) => Answer::Queued { hold: self.things[&hold].0, position },
            Ok(Acquired::Held { holders }) => Answer::Held(self.named(&holders)),
            Err(refusal) => refused(refusal),
        }
    }

    fn named(&self, holders: &[HolderView]) -> Vec<u32> {
        holders.iter().map(|holder| self.by_token(holder)).collect()
    }

    fn granted(&mut self, grant: &Grant) -> Answer {
        self.check_token(grant);
        let (entries, until) = (grant.entries as usize, until(grant));
        Answer::Granted { hold: self.things[&grant.hold].0, entries, until }
    }

    /// Strictly greater than at every earlier grant of the name; the same for a hold that is told again.
    fn check_token(&mut self, grant: &Grant) {
        if let Some(token) = self.tokens.insert(grant.hold, grant.token) {
            assert_eq!(token, grant.token, "the token of a hold changed");
            return;
        }
        let thing = self.things[&grant.hold].1;
        if let Some(last) = self.last_tokens.insert(thing, grant.token) {
            assert!(last < grant.token, "the token of {thing:?} did not grow: {last:?}, {:?}", grant.token);
        }
    }

    fn note(&mut self, event: &Event) -> Note {
        match event {
            Event::Granted { to, grant } => {
                self.check_token(grant);
                let (hold, thing) = self.things[&grant.hold];
                let to = to.map(|(session, request)| (session_number(session), request));
                let (entries, until) = (grant.entries as usize, until(grant));
                Note { thing, what: News::Granted { to, hold, entries, until } }
            }
            Event::Moved { session } => panic!("the machine has only one server, so {session} can't have moved"),
            Event::Ended { to, hold, resource, reason } => {
                let (hold, thing) = self.things[hold];
                assert_eq!(*resource, key(thing));
                Note { thing, what: News::Ended { to: to.map(session_number), hold, how: how(*reason) } }
            }
        }
    }
}

/// When a grant ends, by the wall clock.
fn until(grant: &Grant) -> Option<u64> {
    Some(grant.lease?.expires_at.as_micros() / 1000)
}

fn acquire(ask: &Ask) -> Acquire {
    let party = match ask.who {
        Who::Session { session, request, key } => Party::Session {
            session: session_id(session),
            request,
            owner_key: key.map(|key| OwnerKey::parse(key).unwrap()),
        },
        Who::Lease { ttl, request } => Party::Lease {
            ttl: Duration::from_millis(ttl),
            request: request.map(|request| RequestId::parse(request).unwrap()),
        },
    };
    Acquire {
        hold: hold_id(ask.hold),
        name: Name::parse(ask.thing.name).unwrap(),
        claim: claim(ask.want),
        party,
        owner: Owner::parse(ask.owner).unwrap(),
        metadata: Metadata::default(),
        queue: ask.queue,
    }
}

fn claim(want: Want) -> Claim {
    match want {
        Want::Exclusive => Claim::Lock(Mode::Exclusive),
        Want::Shared => Claim::Lock(Mode::Shared),
        Want::Permits(permits, limit) => Claim::Semaphore(Permits::new(permits, limit).unwrap()),
    }
}

fn key(thing: Thing) -> ResourceKey {
    let kind = if thing.semaphore { Kind::Semaphore } else { Kind::Lock };
    ResourceKey { kind, name: Name::parse(thing.name).unwrap() }
}

fn hold_id(number: u32) -> HoldId {
    HoldId::from_bits(number.into())
}

fn session_id(number: u8) -> SessionId {
    SessionId::from_bits(number.into())
}

fn session_number(id: SessionId) -> u8 {
    (0..=u8::MAX).find(|number| session_id(*number) == id).expect("a session of the test")
}

fn how(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Released => "Released",
        EndReason::Expired => "Expired",
        EndReason::Disconnected => "Disconnected",
        EndReason::BackendLost => "BackendLost",
    }
}

fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(match refusal {
        Refusal::NotHolder { ended: Some(reason) } => how(reason),
        Refusal::NotHolder { ended: None } => "NotHolder",
        Refusal::HoldNotFound => "HoldNotFound",
        Refusal::NotALease => "NotALease",
        Refusal::LimitMismatch { .. } => "LimitMismatch",
        Refusal::RequestIdReused => "RequestIdReused",
        Refusal::ReentryTooLarge => "ReentryTooLarge",
        Refusal::OutOfOrder(_) => "OutOfOrder",
        other => panic!("no step comes near this limit: {other}"),
    })
}
