//! The machine under test.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstead_core::{
    Claim, Closed, Command, Entrant, Expire, Gate, Get, HoldId, HolderView, Kind, Knock, List, Lose, Machine, Now,
    ResourceKey, ResourceView, Time, Token, WallTime,
};

use crate::reference::{Answer, Note, Reference};
use crate::steps::{Action, Step, Thing};
use crate::words::{Words, claim};

/// A machine, and what is known of it from outside.
#[derive(Debug)]
pub(crate) struct Sut {
    machine: Machine<Doorkeeper>,
    now: Now,
    words: Words,
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
        Self { machine: Machine::behind(Doorkeeper::default()), now: Now::default(), words: Words::default() }
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
        match &step.action {
            Action::Acquire(ask) => {
                let acquire = self.words.acquire(ask);
                self.apply(acquire, |words, outcome| words.acquired(ask, outcome))
            }
            Action::Renew { hold, thing, ttl } => self.apply(self.words.renew(*hold, *thing, *ttl), Words::renewed),
            Action::ReleaseAsSession { hold, session } => {
                self.apply(self.words.release_as_session(*hold, *session), |_, outcome| Words::released(outcome))
            }
            Action::ReleaseAsBearer { hold, thing } => {
                self.apply(self.words.release_as_bearer(*hold, *thing), |_, outcome| Words::released(outcome))
            }
            Action::CancelLease { hold, give_back } => {
                let cancel = self.words.cancel_lease(*hold, *give_back);
                self.apply(cancel, |words, outcome| words.lease_cancelled(*hold, &outcome))
            }
            Action::CancelRequest { session, request, give_back } => {
                let cancel = self.words.cancel_request(*session, *request, *give_back);
                self.apply(cancel, |words, outcome| words.request_cancelled(*session, *request, &outcome))
            }
            Action::EndSession { session, timeout } => {
                self.apply(self.words.end_session(*session, *timeout), |_, count| Answer::Ended(count))
            }
            Action::Resume { session, claims, pending } => {
                self.apply(self.words.resume(*session, 1, claims, pending), |words, lost| words.lost(claims, &lost))
            }
            Action::Lose(holds) => {
                let holds = holds.iter().map(|hold| self.words.hold_id(*hold)).collect();
                self.apply(Lose(holds), |_, ()| Answer::Nothing)
            }
            Action::Shut { thing, jammed } => {
                let closed = if *jammed { Closed::OutOfOrder("jammed") } else { Closed::ByOthers };
                // What is due has happened before.
                let told = self.apply(Expire, |_, ()| Answer::Nothing);
                self.machine.gate().shut.insert(self.words.key(*thing), closed);
                told
            }
            Action::Open(thing) => {
                let thing = self.words.key(*thing);
                let (_, mut notes) = self.apply(Expire, |_, ()| Answer::Nothing);
                self.machine.gate().shut.remove(&thing);
                let (answer, opened) = self.apply(Knock(thing), |_, ()| Answer::Nothing);
                notes.extend(opened);
                (answer, notes)
            }
            Action::Expire => self.apply(Expire, |_, ()| Answer::Nothing),
            Action::Get(thing) => {
                self.apply(Get(self.words.key(*thing)), |_, view| Answer::Seen(view.holders.len(), view.waiters.len()))
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
            assert_eq!(self.seen_holders(resource.thing, view), holders, "holders of {:?}", resource.thing);
            let waiters = resource.queue.iter().enumerate();
            let waiters: Vec<_> =
                waiters.map(|(at, it)| (at + 1, claim(it.ask.want), wall(it.since), it.ask.owner)).collect();
            let seen = view.waiters.iter();
            let seen: Vec<_> = seen.map(|it| (it.position, it.claim, it.queued_at, it.owner.as_str())).collect();
            assert_eq!(seen, waiters, "waiters of {:?}", resource.thing);
            assert_eq!((view.holder_count, view.waiter_count), (holders.len(), waiters.len()));
            assert_eq!(view.key, self.words.key(resource.thing));
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

    fn seen_holders<'a>(
        &self,
        thing: Thing,
        view: &'a ResourceView,
    ) -> Vec<(u32, Claim, WallTime, Option<WallTime>, &'a str)> {
        let seen = |it: &'a HolderView| {
            (self.words.by_token(thing, it), it.claim, it.acquired_at, it.expires_at, it.owner.as_str())
        };
        view.holders.iter().map(seen).collect()
    }

    fn apply<C: Command>(
        &mut self,
        command: C,
        answer: impl FnOnce(&mut Words, C::Outcome) -> Answer,
    ) -> (Answer, Vec<Note>) {
        let applied = self.machine.apply(self.now, command);
        let notes = applied.events.iter().map(|event| self.words.note(event)).collect();
        (answer(&mut self.words, applied.outcome), notes)
    }
}
