//! Steps in the words of those who carry them out, and what those say in the words of the steps.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstead_core::{
    Acquire, AcquireRef, Acquired, Cancel, Cancelled, Claim, EndReason, EndSession, Event, Grant, HoldId, HolderView,
    IfGranted, Kind, Metadata, Mode, Name, Owner, OwnerKey, Party, Permits, Refusal, Release, Released, Releaser,
    Renew, RequestId, ResourceKey, ResumeSession, SessionId, Token,
};

use crate::reference::{Answer, News, Note};
use crate::steps::{Ask, Thing, Want, Who};

/// What a case calls things, and what it has been told of them.
#[derive(Debug)]
pub(crate) struct Words {
    /// Where the ids of this case begin, and its names: they differ from those of all other cases.
    first_id: u128,
    prefix: String,
    /// How long a millisecond of a step lasts.
    millisecond: Duration,
    /// What each fresh id was asked for.
    things: BTreeMap<HoldId, (u32, Thing)>,
    tokens: BTreeMap<HoldId, Token>,
    /// The greatest token of each resource, whatever became of it since.
    last_tokens: BTreeMap<Thing, Token>,
    /// What each session's request that was queued last waited for.
    waited_for: BTreeMap<(u8, u64), Thing>,
}

impl Default for Words {
    fn default() -> Self {
        Self::new(0, String::new(), Duration::from_millis(1))
    }
}

impl Words {
    pub(crate) fn new(first_id: u128, prefix: String, millisecond: Duration) -> Self {
        let (things, tokens, last_tokens, waited_for) = Default::default();
        Self { first_id, prefix, millisecond, things, tokens, last_tokens, waited_for }
    }
}

/// From steps.
impl Words {
    pub(crate) fn acquire(&mut self, ask: &Ask) -> Acquire {
        let hold = self.hold_id(ask.hold);
        self.things.insert(hold, (ask.hold, ask.thing));
        let party = match ask.who {
            Who::Session { session, request, key } => Party::Session {
                session: self.session_id(session),
                request,
                owner_key: key.map(|key| OwnerKey::parse(key).unwrap()),
            },
            Who::Lease { ttl, request } => Party::Lease {
                ttl: self.time(ttl),
                request: request.map(|request| RequestId::parse(&format!("{}{request}", self.prefix)).unwrap()),
            },
        };
        Acquire {
            hold,
            name: self.key(ask.thing).name,
            claim: claim(ask.want),
            party,
            owner: Owner::parse(ask.owner).unwrap(),
            metadata: Metadata::default(),
            queue: ask.queue,
        }
    }

    pub(crate) fn renew(&self, hold: u32, thing: Thing, ttl: Option<u64>) -> Renew {
        Renew { resource: self.key(thing), hold: self.hold_id(hold), ttl: ttl.map(|ttl| self.time(ttl)) }
    }

    pub(crate) fn release_as_session(&self, hold: u32, session: u8) -> Release {
        Release { hold: self.hold_id(hold), by: Releaser::Session(self.session_id(session)) }
    }

    pub(crate) fn release_as_bearer(&self, hold: u32, thing: Thing) -> Release {
        Release { hold: self.hold_id(hold), by: Releaser::Bearer(self.key(thing)) }
    }

    pub(crate) fn cancel_lease(&self, hold: u32, give_back: bool) -> Cancel {
        Cancel { acquire: AcquireRef::Hold(self.hold_id(hold)), if_granted: if_granted(give_back) }
    }

    pub(crate) fn cancel_request(&self, session: u8, request: u64, give_back: bool) -> Cancel {
        Cancel { acquire: AcquireRef::Request(self.session_id(session), request), if_granted: if_granted(give_back) }
    }

    pub(crate) fn end_session(&self, session: u8, timeout: bool) -> EndSession {
        let reason = if timeout { EndReason::Expired } else { EndReason::Disconnected };
        EndSession { session: self.session_id(session), reason }
    }

    pub(crate) fn resume(&self, session: u8, attempt: u32, claims: &[(u32, u32)], pending: &[u64]) -> ResumeSession {
        let holds = claims.iter().map(|(hold, entries)| (self.hold_id(*hold), *entries)).collect();
        ResumeSession { session: self.session_id(session), attempt, holds, pending: pending.to_vec() }
    }

    pub(crate) fn key(&self, thing: Thing) -> ResourceKey {
        let kind = if thing.semaphore { Kind::Semaphore } else { Kind::Lock };
        ResourceKey { kind, name: Name::parse(&format!("{}{}", self.prefix, thing.name)).unwrap() }
    }

    pub(crate) fn hold_id(&self, number: u32) -> HoldId {
        HoldId::from_bits(self.first_id + u128::from(number))
    }

    pub(crate) fn session_id(&self, number: u8) -> SessionId {
        SessionId::from_bits(self.first_id + u128::from(number))
    }

    fn time(&self, millis: u64) -> Duration {
        self.millisecond * u32::try_from(millis).unwrap()
    }
}

/// From those who carry them out.
impl Words {
    pub(crate) fn acquired(&mut self, ask: &Ask, outcome: Result<Acquired, Refusal>) -> Answer {
        match outcome {
            Ok(Acquired::Granted(grant)) => self.granted(&grant),
            Ok(Acquired::Queued { hold, position }) => {
                self.waited_for.extend(ask.number().map(|number| (number, ask.thing)));
                Answer::Queued { hold: self.number(hold), position }
            }
            Ok(Acquired::Held { holders }) => Answer::Held(self.named(ask.thing, &holders)),
            Err(refusal) => refused(refusal),
        }
    }

    pub(crate) fn renewed(&mut self, outcome: Result<Grant, Refusal>) -> Answer {
        outcome.map_or_else(refused, |grant| self.granted(&grant))
    }

    pub(crate) fn released(outcome: Result<Released, Refusal>) -> Answer {
        outcome.map_or_else(refused, |released| Answer::Released(released.entries as usize))
    }

    pub(crate) fn lease_cancelled(&self, hold: u32, outcome: &Cancelled) -> Answer {
        self.cancelled(self.things.get(&self.hold_id(hold)).map(|(_, thing)| *thing), outcome)
    }

    pub(crate) fn request_cancelled(&self, session: u8, request: u64, outcome: &Cancelled) -> Answer {
        self.cancelled(self.waited_for.get(&(session, request)).copied(), outcome)
    }

    fn cancelled(&self, waited_for: Option<Thing>, outcome: &Cancelled) -> Answer {
        match outcome {
            Cancelled::Withdrawn { holders } => {
                Answer::Withdrawn(self.named(waited_for.expect("one that waits has asked for something"), holders))
            }
            Cancelled::GivenBack => Answer::GivenBack,
            Cancelled::Kept => Answer::Kept,
            Cancelled::Unknown => Answer::Unknown,
        }
    }

    /// In the order of the claims, whatever order they come in.
    pub(crate) fn lost(&self, claims: &[(u32, u32)], lost: &[HoldId]) -> Answer {
        let claimed = claims.iter().map(|(hold, _)| *hold);
        Answer::Lost(claimed.filter(|hold| lost.contains(&self.hold_id(*hold))).collect())
    }

    pub(crate) fn note(&mut self, event: &Event) -> Note {
        match event {
            Event::Granted { to, grant } => {
                self.check_token(grant);
                let (hold, thing) = self.things[&grant.hold];
                let to = to.map(|(session, request)| (self.session_number(session), request));
                let (entries, until) = (grant.entries as usize, until(grant));
                Note { thing, what: News::Granted { to, hold, entries, until } }
            }
            Event::Moved { .. } | Event::Withdrawn { .. } => panic!("nothing went anywhere else, but: {event:?}"),
            Event::Ended { to, hold, resource, reason } => {
                let (hold, thing) = self.things[hold];
                assert_eq!(*resource, self.key(thing));
                let to = to.map(|session| self.session_number(session));
                Note { thing, what: News::Ended { to, hold, how: how(*reason) } }
            }
        }
    }

    /// What it is about.
    pub(crate) fn thing(&self, event: &Event) -> Thing {
        match event {
            Event::Granted { grant, .. } => self.things[&grant.hold].1,
            Event::Ended { hold, .. } => self.things[hold].1,
            Event::Moved { .. } | Event::Withdrawn { .. } => panic!("nothing went anywhere else, but: {event:?}"),
        }
    }

    /// The model's number for a hold.
    pub(crate) fn number(&self, hold: HoldId) -> u32 {
        self.things[&hold].0
    }

    /// Views tell no hold ids, but every grant told its token. Only those of one name differ for certain. 0 if none was told
    /// (yet).
    pub(crate) fn by_token(&self, thing: Thing, view: &HolderView) -> u32 {
        let mut of_thing = self.things.iter().filter(|(_, (_, of))| *of == thing);
        let known = of_thing.find(|(hold, _)| self.tokens.get(hold) == Some(&view.token));
        known.map_or(0, |(_, (hold, _))| *hold)
    }

    fn named(&self, thing: Thing, holders: &[HolderView]) -> Vec<u32> {
        holders.iter().map(|holder| self.by_token(thing, holder)).collect()
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

    fn session_number(&self, id: SessionId) -> u8 {
        (0..=u8::MAX).find(|number| self.session_id(*number) == id).expect("a session of the test")
    }
}

/// When a grant ends, by the wall clock.
fn until(grant: &Grant) -> Option<u64> {
    Some(grant.lease?.expires_at.as_micros() / 1000)
}

fn if_granted(give_back: bool) -> IfGranted {
    if give_back { IfGranted::GiveBack } else { IfGranted::Keep }
}

pub(crate) fn claim(want: Want) -> Claim {
    match want {
        Want::Exclusive => Claim::Lock(Mode::Exclusive),
        Want::Shared => Claim::Lock(Mode::Shared),
        Want::Permits(permits, limit) => Claim::Semaphore(Permits::new(permits, limit).unwrap()),
    }
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
