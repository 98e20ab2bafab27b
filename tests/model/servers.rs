//! Two servers over Redis under test: each step is carried out by one of them, and what both report is put together.
//!
//! What depends on time is left out: no time passes between steps, and leases are long. What depends on the server is
//! kept apart: how a session's hold ended only its server remembers, and how often a hold was entered a server does not
//! tell another, so a session moves only while it has no such hold.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use futures::future::join_all;
use lockstead_core::{Acquired, Event, Get, HolderView, Refusal, ResourceView, Token};
use lockstead_engine::EngineError;
use lockstead_tests::engines::start;
use lockstead_tests::fixture::{Fixture, random};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use crate::reference::{Answer, News, Note, Reference, Resource};
use crate::sites::{Site, World};
use crate::steps::{self, Action, Ask, Step, Thing, Who, step};
use crate::words::{Words, claim};

/// How long news from one server to the other may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Leases outlive their case.
const MILLISECOND: Duration = Duration::from_secs(1000);
const THINGS: [(bool, &str); 6] = [(false, "a"), (false, "b"), (false, "c"), (true, "a"), (true, "b"), (true, "c")];

/// The model of the core, without time, for servers at a site.
pub(crate) struct Timeless<S>(PhantomData<S>);

impl<S: Site> ReferenceStateMachine for Timeless<S> {
    type State = Reference;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Reference> {
        Just(Reference::default()).boxed()
    }

    fn transitions(state: &Reference) -> BoxedStrategy<Step> {
        // There is no gate before Redis, and time is not the test's.
        let action = |action| match action {
            Action::Lose(_) | Action::Shut { .. } | Action::Open(_) => Action::Expire,
            Action::Acquire(ask) => Action::Acquire(S::ask(ask)),
            action => action,
        };
        step(state).prop_map(move |step| Step { action: action(step.action), pause: 0, set_wall: None }).boxed()
    }

    fn preconditions(state: &Reference, step: &Step) -> bool {
        steps::names_are_fresh(state, step)
    }

    fn apply(mut state: Reference, step: &Step) -> Reference {
        state.step(step);
        state
    }
}

impl<S: Site> StateMachineTest for Timeless<S> {
    type SystemUnderTest = Sut;
    type Reference = Self;

    fn init_test(_: &Reference) -> Sut {
        let World { runtime, settings } = S::world();
        let servers = runtime.block_on(async { [start(settings()).await, start(settings()).await] });
        let words = Words::new(random() << 32, format!("model/{:032x}/", random()), MILLISECOND);
        let (before, homes, attempts, leases) = Default::default();
        Sut { servers, words, before, homes, attempts, leases, steps: 0 }
    }

    fn apply(mut sut: Sut, reference: &Reference, step: Step) -> Sut {
        S::world().runtime.block_on(sut.step(reference, &step));
        sut.before = reference.clone();
        sut.steps += 1;
        sut
    }

    fn teardown(mut sut: Sut, reference: Reference) {
        S::world().runtime.block_on(sut.tidy_up(&reference));
    }
}

/// What is known of the servers from outside.
pub(crate) struct Sut {
    servers: [Fixture; 2],
    words: Words,
    /// The reference before the step.
    before: Reference,
    /// Which server has each session.
    homes: BTreeMap<u8, usize>,
    attempts: BTreeMap<u8, u32>,
    /// Which server answers for each lease.
    leases: BTreeMap<u32, usize>,
    steps: usize,
}

impl Sut {
    async fn step(&mut self, reference: &Reference, step: &Step) {
        let server = self.server_of(&step.action);
        let (outcome, expected) = (self.carry_out(server, &step.action).await, &reference.answer);
        let events = self.hear(reference.notes.len()).await;
        let notes: Vec<_> = events.iter().map(|event| without_time(self.words.note(event))).collect();
        let expected_notes: Vec<_> = reference.notes.iter().cloned().map(without_time).collect();
        assert_eq!(crate::by_thing(notes), crate::by_thing(expected_notes), "the events of {step:?}");
        let answer = outcome.read(&mut self.words);
        let is_same = timeless(&answer) == timeless(expected)
            || self.is_forgotten(&step.action, expected, &answer)
            || self.is_granted_later(expected, &answer);
        assert!(is_same, "server {server} answered {answer:?} instead of {expected:?} to {step:?}");
        self.becomes_same_picture(reference, step).await;
    }

    /// Any server will do for what names a hold; a session has one, and who asks under a request id stays with his.
    fn server_of(&mut self, action: &Action) -> usize {
        let any = self.steps % 2;
        match action {
            Action::Acquire(Ask { hold, who, .. }) => match who {
                Who::Session { session, .. } => self.home(*session),
                Who::Lease { request, .. } => {
                    let server = request.map_or(*hold as usize, |request| usize::from(request.as_bytes()[0])) % 2;
                    self.leases.insert(*hold, server);
                    server
                }
            },
            Action::ReleaseAsSession { session, .. }
            | Action::CancelRequest { session, .. }
            | Action::EndSession { session, .. } => self.home(*session),
            Action::CancelLease { hold, .. } => self.leases.get(hold).copied().unwrap_or(any),
            Action::Resume { session, claims, pending } => {
                let home = self.home(*session);
                let server = if self.can_move(*session, claims, pending) { any } else { home };
                self.homes.insert(*session, server);
                *self.attempts.entry(*session).or_default() += 1;
                server
            }
            _ => any,
        }
    }

    fn home(&self, session: u8) -> usize {
        self.homes.get(&session).copied().unwrap_or(usize::from(session) % 2)
    }

    /// Whether all that is to be known of its holds is known to Redis or the client.
    fn can_move(&self, session: u8, claims: &[(u32, u32)], pending: &[u64]) -> bool {
        let holders = self.before.resources.iter().flat_map(|resource| &resource.holders);
        holders.filter(|holder| holder.ask.session() == Some(session)).all(|holder| {
            let claimed = claims.iter().find(|(hold, _)| *hold == holder.ask.hold).map_or(0, |(_, entries)| *entries);
            let own: Vec<_> = holder.ask.number().map(|(_, request)| request).into_iter().collect();
            let is_repeated = own.iter().any(|request| pending.contains(request));
            holder.entries == own && claimed <= u32::from(!is_repeated)
        })
    }

    async fn carry_out(&mut self, server: usize, action: &Action) -> Outcome {
        let engine = &self.servers[server].engine;
        match action {
            Action::Acquire(ask) => {
                let (ask, acquire) = (*ask, self.words.acquire(ask));
                let outcome = certain(engine.acquire(acquire).await);
                if let (Who::Lease { .. }, Ok(Acquired::Granted(grant))) = (ask.who, &outcome) {
                    self.leases.insert(self.words.number(grant.hold), server);
                }
                Outcome::new(move |words| words.acquired(&ask, outcome))
            }
            Action::Renew { hold, thing, ttl } => {
                let outcome = certain(engine.renew(self.words.renew(*hold, *thing, *ttl)).await);
                if outcome.is_ok() {
                    self.leases.insert(*hold, server);
                }
                Outcome::new(move |words| words.renewed(outcome))
            }
            Action::ReleaseAsSession { hold, session } => {
                let outcome = certain(engine.release(self.words.release_as_session(*hold, *session)).await);
                Outcome::new(move |_| Words::released(outcome))
            }
            Action::ReleaseAsBearer { hold, thing } => {
                let outcome = certain(engine.release(self.words.release_as_bearer(*hold, *thing)).await);
                Outcome::new(move |_| Words::released(outcome))
            }
            Action::CancelLease { hold, give_back } => {
                let (hold, cancel) = (*hold, self.words.cancel_lease(*hold, *give_back));
                let outcome = engine.cancel(cancel).await.unwrap();
                Outcome::new(move |words| words.lease_cancelled(hold, &outcome))
            }
            Action::CancelRequest { session, request, give_back } => {
                let (session, request) = (*session, *request);
                let outcome = engine.cancel(self.words.cancel_request(session, request, *give_back)).await.unwrap();
                Outcome::new(move |words| words.request_cancelled(session, request, &outcome))
            }
            Action::EndSession { session, timeout } => {
                let count = engine.end_session(self.words.end_session(*session, *timeout)).await.unwrap();
                Outcome::new(move |_| Answer::Ended(count))
            }
            Action::Resume { session, claims, pending } => {
                let resume = self.words.resume(*session, self.attempts[session], claims, pending);
                let (claims, lost) = (claims.clone(), engine.resume_session(resume).await.unwrap());
                Outcome::new(move |words| words.lost(&claims, &lost))
            }
            Action::Expire | Action::Lose(_) | Action::Shut { .. } | Action::Open(_) => {
                Outcome::new(move |_| Answer::Nothing)
            }
            Action::Get(thing) => {
                let view = engine.get(Get(self.words.key(*thing))).await.unwrap();
                Outcome::new(move |_| Answer::Seen(view.holders.len(), view.waiters.len()))
            }
        }
    }

    /// What both servers report, once it is so much. What is about one resource is in the order of its tokens, as far as it is
    /// grants; those of different names have no order, since each partition counts by itself.
    async fn hear(&self, count: usize) -> Vec<Event> {
        let mut heard = Vec::new();
        let all = async {
            loop {
                for server in &self.servers {
                    let news = server.events.take().into_iter();
                    heard.extend(news.filter(|event| !matches!(event, Event::Moved { .. } | Event::Withdrawn { .. })));
                }
                if heard.len() >= count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // What is missing shows when it is compared.
        _ = tokio::time::timeout(PATIENCE, all).await;
        heard.sort_by_key(|event| (self.words.thing(event), token(event)));
        heard
    }

    /// How a session's hold ended only its server remembers, and how a lease ended only its partition.
    fn is_forgotten(&self, action: &Action, expected: &Answer, answer: &Answer) -> bool {
        let (Answer::Refused(expected), Answer::Refused(answer)) = (expected, answer) else { return false };
        let is_how = ["Released", "Expired", "Disconnected"].contains(expected);
        is_how
            && match action {
                Action::ReleaseAsSession { .. } => *answer == "HoldNotFound",
                Action::ReleaseAsBearer { hold, thing } | Action::Renew { hold, thing, .. } => {
                    let asked = self.before.asks.iter().find(|ask| ask.hold == *hold);
                    let is_known = asked.is_some_and(|ask| ask.session().is_none() && ask.thing == *thing);
                    !is_known && ["HoldNotFound", "NotHolder"].contains(answer)
                }
                _ => false,
            }
    }

    /// What a resume gives up makes room for what the session waits for itself: the reference grants it in the same step, and
    /// here that is news which follows. (No client can name a hold that waits; the model does.)
    fn is_granted_later(&self, expected: &Answer, answer: &Answer) -> bool {
        let (Answer::Lost(expected), Answer::Lost(answer)) = (expected, answer) else { return false };
        let waited = |hold: &u32| {
            self.before.resources.iter().flat_map(|resource| &resource.queue).any(|waiter| waiter.ask.hold == *hold)
        };
        expected.iter().all(|hold| answer.contains(hold))
            && answer.iter().filter(|hold| !expected.contains(hold)).all(waited)
    }

    /// Compares all that can be seen, once what the servers tell each other has arrived.
    async fn becomes_same_picture(&self, reference: &Reference, step: &Step) {
        let compared = async {
            loop {
                let difference = self.difference(reference).await;
                if difference.is_none() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, compared).await.is_err() {
            let difference = self.difference(reference).await;
            panic!("after {step:?}: {}", difference.unwrap_or_default());
        }
    }

    async fn difference(&self, reference: &Reference) -> Option<String> {
        let engine = &self.servers[self.steps % 2].engine;
        let things = THINGS.map(|(semaphore, name)| Thing { semaphore, name });
        let views = join_all(things.map(|thing| engine.get(Get(self.words.key(thing))))).await;
        for (thing, view) in things.into_iter().zip(views) {
            let resource = reference.resources.iter().find(|resource| resource.thing == thing);
            if let Some(difference) = self.difference_of(thing, &view.unwrap(), resource) {
                return Some(format!("{thing:?}: {difference}"));
            }
        }
        let here: usize = self.servers.iter().map(|server| server.engine.census().holds).sum();
        let parties = reference.resources.iter().map(|resource| resource.holders.len() + resource.queue.len());
        let expected: usize = parties.sum();
        (here != expected).then(|| format!("the servers have {here} holds and waiters instead of {expected}"))
    }

    fn difference_of(&self, thing: Thing, view: &ResourceView, resource: Option<&Resource>) -> Option<String> {
        let holder = |it: &HolderView| {
            (self.words.by_token(thing, it), it.claim, it.expires_at.is_some(), it.owner.as_str().to_owned())
        };
        let seen_holders: Vec<_> = view.holders.iter().map(holder).collect();
        let holders = resource.into_iter().flat_map(|resource| &resource.holders);
        let holders: Vec<_> =
            holders.map(|it| (it.ask.hold, claim(it.ask.want), it.lease.is_some(), it.ask.owner.to_owned())).collect();
        let seen_waiters: Vec<_> = view.waiters.iter().map(|it| (it.claim, it.owner.as_str())).collect();
        let waiters = resource.into_iter().flat_map(|resource| &resource.queue);
        let waiters: Vec<_> = waiters.map(|it| (claim(it.ask.want), it.ask.owner)).collect();
        let is_same = (&seen_holders, &seen_waiters) == (&holders, &waiters)
            && (view.holder_count, view.waiter_count) == (holders.len(), waiters.len());
        (!is_same).then(|| format!("{seen_holders:?}, {seen_waiters:?} instead of {holders:?}, {waiters:?}"))
    }

    /// Ends all that is left, so that Redis does not fill up; the reference follows.
    async fn tidy_up(&mut self, reference: &Reference) {
        let mut reference = reference.clone();
        let sessions: Vec<_> = (1..=3).map(|session| Action::EndSession { session, timeout: false }).collect();
        let leases = reference.live_leases().into_iter().map(|(hold, _)| Action::CancelLease { hold, give_back: true });
        for action in leases.chain(sessions).collect::<Vec<_>>() {
            let step = Step { pause: 0, set_wall: None, action };
            reference.step(&step);
            self.step(&reference, &step).await;
            self.steps += 1;
        }
        assert!(reference.resources.is_empty());
    }
}

/// An answer that can be read once the events before it have been heard.
struct Outcome(Box<dyn FnOnce(&mut Words) -> Answer>);

impl Outcome {
    fn new(read: impl FnOnce(&mut Words) -> Answer + 'static) -> Self {
        Self(Box::new(read))
    }

    fn read(self, words: &mut Words) -> Answer {
        self.0(words)
    }
}

fn certain<T>(answer: Result<T, EngineError>) -> Result<T, Refusal> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(EngineError::Refused(refusal)) => Err(refusal),
        Err(error) => panic!("Redis is there, but: {error}"),
    }
}

/// None for an end, which comes before the grants that follow from it.
fn token(event: &Event) -> Option<Token> {
    if let Event::Granted { grant, .. } = event { Some(grant.token) } else { None }
}

/// An end there is or is not; when is another matter.
fn timeless(answer: &Answer) -> Answer {
    match answer.clone() {
        Answer::Granted { hold, entries, until } => Answer::Granted { hold, entries, until: until.map(|_| 0) },
        other => other,
    }
}

fn without_time(note: Note) -> Note {
    let Note { thing, what } = note;
    let what = match what {
        News::Granted { to, hold, entries, until } => News::Granted { to, hold, entries, until: until.map(|_| 0) },
        ended @ News::Ended { .. } => ended,
    };
    Note { thing, what }
}
