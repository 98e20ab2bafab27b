//! A machine on a fake clock, driven by scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::duration;
use crate::machine::{Applied, Command, Machine};
use crate::{
    Acquire, AcquireRef, Acquired, Cancel, Cancelled, Claim, Closed, EndReason, EndSession, Entrant, Event, Expire,
    Gate, Get, Grant, HoldId, HolderView, IfGranted, Kind, Knock, Lose, Metadata, Mode, Name, Now, Owner, OwnerKey,
    Party, Permits, Refusal, Release, Releaser, Renew, RequestId, ResourceKey, ResumeSession, SessionId, Time, Token,
    WallTime,
};

/// Runs a script on a new machine. Each line is a command, `->`, and what it must do: the outcome, then the events, in
/// their order, each after a `;`.
///
/// ```text
/// A: exclusive x s1#1        acquires lock x for session 1 as its request 1; the hold would be called A.
///                            A' is another request with A's owner text, which makes it the same if its number is.
/// B: shared x s1#2/k try     with owner key k; without standing in the queue.
/// C: 2/5 x lease=id ttl=5s   2 permits of semaphore x, limit 5; request id `id`. A plain `lease` has no request id.
/// renew C of sem:x [5s]      moves the deadline.
/// release A by s1            gives up an entry.    release A of lock:x   ends it as its bearer.
/// cancel A|s1#1 keep|back    takes an acquire back.
/// end s1 [Expired]           ends a session.
/// resume s1 A B*2 #5         resumes it: it claims A, two entries of B, and will repeat its request 5.
/// at 10s                     lets time pass.       wall 10s              sets the wall clock alone.
/// show lock:x                holders | waiters, by their owner texts.
/// shut lock:x                from now on the gate says that others hold it;  jam lock:x   that it can't tell.
/// open lock:x                the gate lets in again, once it is asked.       knock lock:x asks it.
/// lose A B                   what these holds rest on is gone.
/// tokens 5000                the gate gives no smaller tokens.
/// ```
pub(super) fn run(text: &str) {
    let mut script = Script::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (command, expected) = line.split_once("->").unwrap_or_else(|| panic!("no `->` in: {line}"));
        assert_eq!(script.step(command.trim()).trim(), expected.trim(), "after: {line}");
    }
}

/// A gate that a script opens and shuts. It knows who is in.
#[derive(Debug, Default)]
pub(super) struct Doorkeeper {
    shut: BTreeMap<ResourceKey, Closed>,
    inside: BTreeSet<HoldId>,
    least_token: u64,
}

impl Doorkeeper {
    fn change(&mut self, change: &str, what: &str) {
        match change {
            "shut" => _ = self.shut.insert(resource(what), Closed::ByOthers),
            "jam" => _ = self.shut.insert(resource(what), Closed::OutOfOrder("jammed")),
            "open" => _ = self.shut.remove(&resource(what)),
            "tokens" => self.least_token = what.parse().unwrap(),
            _ => panic!("no such command: {change}"),
        }
    }
}

impl Gate for Doorkeeper {
    fn admit(&mut self, entrant: &Entrant<'_>, least: Token) -> Result<Token, Closed> {
        if let Some(closed) = self.shut.get(entrant.resource) {
            return Err(*closed);
        }
        assert!(self.inside.insert(entrant.hold), "nobody comes in twice");
        Ok(least.max(Token::from_number(self.least_token)))
    }

    fn leave(&mut self, hold: HoldId, _: &ResourceKey) {
        assert!(self.inside.remove(&hold), "who leaves was in");
    }
}

/// A machine, its clock, and the names of its holds.
pub(super) struct Script {
    pub(super) machine: Machine<Doorkeeper>,
    pub(super) now: Now,
    labels: BTreeMap<HoldId, String>,
    /// By hold, to see that a hold keeps its token.
    tokens: BTreeMap<HoldId, Token>,
    last_token: Option<Token>,
}

impl Default for Script {
    fn default() -> Self {
        let machine = Machine::behind(Doorkeeper::default());
        Self { machine, now: Now::default(), labels: BTreeMap::new(), tokens: BTreeMap::new(), last_token: None }
    }
}

impl Script {
    /// Carries out one line, checks what must always be so, and tells what happened.
    pub(super) fn step(&mut self, line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [label, claim, name, party, options @ ..] if label.ends_with(':') => {
                let acquire = self.read_acquire(label.trim_end_matches(':'), claim, name, party, options);
                self.tell(acquire, Self::acquired)
            }
            ["renew", hold, "of", key, ttl @ ..] => {
                let ttl = ttl.first().map(|ttl| duration::parse(ttl).unwrap());
                let renew = Renew { resource: resource(key), hold: self.hold(hold), ttl };
                self.tell(renew, |script, outcome| outcome.map_or_else(refused, |grant| script.renewed(&grant)))
            }
            ["release", hold, how, whose] => {
                let by = match *how {
                    "by" => Releaser::Session(session(whose)),
                    _ => Releaser::Bearer(resource(whose)),
                };
                let release = Release { hold: self.hold(hold), by };
                self.tell(release, |_, outcome| match outcome.map(|released| released.entries) {
                    Ok(0) => "released".to_owned(),
                    Ok(left) => format!("{left} left"),
                    Err(refusal) => refused(refusal),
                })
            }
            ["cancel", which, if_granted] => {
                let cancel = self.read_cancel(which, if_granted);
                self.tell(cancel, |_, outcome| cancelled(&outcome))
            }
            ["end", whose, reason @ ..] => {
                let reason = if reason == ["Expired"] { EndReason::Expired } else { EndReason::Disconnected };
                self.tell(EndSession { session: session(whose), reason }, |_, count| format!("{count} ended"))
            }
            ["resume", whose, claims @ ..] => {
                let resume = self.read_resume(session(whose), claims);
                self.tell(resume, |script, lost| match lost.as_slice() {
                    [] => "none lost".to_owned(),
                    lost => {
                        let mut labels: Vec<_> = lost.iter().map(|hold| script.labels[hold].as_str()).collect();
                        labels.sort_unstable();
                        format!("lost {}", join(labels.into_iter()))
                    }
                })
            }
            ["at", time] => {
                let time = Time::default().saturating_add(duration::parse(time).unwrap());
                let passed = time.since(self.now.time);
                self.now = Now { time, wall: self.now.wall.saturating_add(passed) };
                self.tell(Expire, |_, ()| String::new())
            }
            ["wall", time] => {
                self.now.wall = WallTime::default().saturating_add(duration::parse(time).unwrap());
                String::new()
            }
            ["show", key] => {
                let key = resource(key);
                self.tell(Get(key), |_, view| {
                    let waiters = view.waiters.iter().map(|waiter| waiter.owner.as_str());
                    format!("{} | {}", owners(&view.holders), join(waiters)).trim().to_owned()
                })
            }
            ["knock", key] => self.tell(Knock(resource(key)), |_, ()| String::new()),
            ["lose", holds @ ..] => {
                let holds = holds.iter().map(|label| self.hold(label)).collect();
                self.tell(Lose(holds), |_, ()| String::new())
            }
            [change, what] => {
                self.machine.gate().change(change, what);
                String::new()
            }
            _ => panic!("no such command: {line}"),
        }
    }

    fn tell<C: Command>(&mut self, command: C, outcome_text: impl Fn(&mut Self, C::Outcome) -> String) -> String {
        let Applied { outcome, events } = self.machine.apply(self.now, command);
        self.machine.assert_invariants();
        self.assert_holders_are_in();
        // What was due has happened before the command took effect, so its grants are the older ones.
        let events: Vec<_> = events.iter().map(|event| self.event(event)).collect();
        let mut text = outcome_text(self, outcome);
        for event in events {
            let separator = if text.is_empty() { "" } else { "; " };
            write!(text, "{separator}{event}").unwrap();
        }
        text
    }

    fn assert_holders_are_in(&mut self) {
        let holders = self.machine.resources.values().flat_map(|resource| resource.holders.iter());
        let holders: BTreeSet<_> = holders.map(|(_, id)| id).collect();
        assert_eq!(holders, self.machine.gate().inside);
    }

    pub(super) fn read_acquire(
        &mut self,
        label: &str,
        claim: &str,
        name: &str,
        party: &str,
        options: &[&str],
    ) -> Acquire {
        let option = |key: &str| options.iter().find_map(|option| option.strip_prefix(key)?.strip_prefix('='));
        let claim = match (claim, claim.split_once('/')) {
            (_, Some((permits, limit))) => {
                Claim::Semaphore(Permits::new(permits.parse().unwrap(), limit.parse().unwrap()).unwrap())
            }
            ("exclusive", None) => Claim::Lock(Mode::Exclusive),
            ("shared", None) => Claim::Lock(Mode::Shared),
            _ => panic!("no such claim: {claim}"),
        };
        let party = if let Some(lease) = party.strip_prefix("lease") {
            let ttl = duration::parse(option("ttl").unwrap_or("30s")).unwrap();
            Party::Lease { ttl, request: lease.strip_prefix('=').map(|id| RequestId::parse(id).unwrap()) }
        } else {
            let (of, request) = party.split_once('#').unwrap();
            let (request, key) = request.split_once('/').map_or((request, None), |(number, key)| (number, Some(key)));
            let owner_key = key.map(|key| OwnerKey::parse(key).unwrap());
            Party::Session { session: session(of), request: request.parse().unwrap(), owner_key }
        };
        let metadata = option("meta").map(|value| ("key".to_owned(), value.to_owned())).into_iter().collect();
        Acquire {
            hold: self.hold(label),
            name: Name::parse(name).unwrap(),
            claim,
            party,
            owner: Owner::parse(option("owner").unwrap_or(label.trim_end_matches('\''))).unwrap(),
            metadata: Metadata::parse(metadata).unwrap(),
            queue: !options.contains(&"try"),
        }
    }

    fn read_cancel(&mut self, which: &str, if_granted: &str) -> Cancel {
        let acquire = match which.split_once('#') {
            Some((of, request)) => AcquireRef::Request(session(of), request.parse().unwrap()),
            None => AcquireRef::Hold(self.hold(which)),
        };
        let if_granted = if if_granted == "keep" { IfGranted::Keep } else { IfGranted::GiveBack };
        Cancel { acquire, if_granted }
    }

    fn read_resume(&mut self, session: SessionId, claims: &[&str]) -> ResumeSession {
        let (mut holds, mut pending) = (Vec::new(), Vec::new());
        for claim in claims {
            match (claim.strip_prefix('#'), claim.split_once('*')) {
                (Some(request), _) => pending.push(request.parse().unwrap()),
                (None, Some((label, entries))) => holds.push((self.hold(label), entries.parse().unwrap())),
                (None, None) => holds.push((self.hold(claim), 1)),
            }
        }
        ResumeSession { session, attempt: 1, holds, pending }
    }

    /// The id of the hold that scripts call by this label.
    fn hold(&mut self, label: &str) -> HoldId {
        // Spread like the random ids that the machine's maps count on.
        let spread =
            |bits: u128, byte| (bits ^ u128::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let bits = label.bytes().fold(1, spread);
        let id = HoldId::from_bits(bits ^ bits >> 64);
        self.labels.insert(id, label.to_owned());
        id
    }

    fn acquired(&mut self, outcome: Result<Acquired, Refusal>) -> String {
        match outcome {
            Ok(Acquired::Granted(grant)) => format!("granted {}", self.grant(&grant)),
            Ok(Acquired::Queued { hold, position }) => format!("queued {} at {position}", self.labels[&hold]),
            Ok(Acquired::Held { holders }) => format!("held by {}", owners(&holders)),
            Err(refusal) => refused(refusal),
        }
    }

    fn renewed(&mut self, grant: &Grant) -> String {
        let lease = grant.lease.expect("only leases are renewed");
        let left = std::time::Duration::from_micros(lease.expires_at.as_micros() - self.now.wall.as_micros());
        format!("renewed {} for {}", self.grant(grant), duration::format(left))
    }

    /// A grant as text, after a look at its token: that of a new hold is greater than all before, that of an old one stays.
    fn grant(&mut self, grant: &Grant) -> String {
        let token = *self.tokens.entry(grant.hold).or_insert_with(|| {
            assert!(self.last_token.is_none_or(|last| last < grant.token), "the token does not grow");
            self.last_token = Some(grant.token);
            grant.token
        });
        assert_eq!(token, grant.token, "a hold's token changes");
        let label = &self.labels[&grant.hold];
        if grant.entries == 1 { label.clone() } else { format!("{label} x{}", grant.entries) }
    }

    fn event(&mut self, event: &Event) -> String {
        match event {
            Event::Granted { to: Some((to, request)), grant } => {
                format!("{}#{request} gets {}", session_label(*to), self.grant(grant))
            }
            Event::Granted { to: None, grant } => format!("lease {} granted", self.grant(grant)),
            Event::Ended { to: Some(to), hold, reason, .. } => {
                format!("{} loses {}: {reason:?}", session_label(*to), self.labels[hold])
            }
            Event::Ended { to: None, hold, reason, .. } => format!("lease {} ends: {reason:?}", self.labels[hold]),
            Event::Moved { .. } | Event::Withdrawn { .. } => panic!("there is nowhere to move to: {event:?}"),
        }
    }
}

pub(super) fn resource(key: &str) -> ResourceKey {
    let (kind, name) = key.split_once(':').expect("lock:NAME or sem:NAME");
    let kind = if kind == "lock" { Kind::Lock } else { Kind::Semaphore };
    ResourceKey { kind, name: Name::parse(name).unwrap() }
}

fn session(label: &str) -> SessionId {
    SessionId::from_bits(label.strip_prefix('s').expect("a session is s1, s2, …").parse().unwrap())
}

fn session_label(id: SessionId) -> String {
    (1..10).map(|number| format!("s{number}")).find(|label| session(label) == id).expect("one of s1 to s9")
}

fn refused(refusal: Refusal) -> String {
    match refusal {
        Refusal::NotHolder { ended: Some(reason) } => format!("NotHolder: {reason:?}"),
        Refusal::NotHolder { ended: None } => "NotHolder".to_owned(),
        Refusal::OutOfOrder(why) => format!("OutOfOrder: {why}"),
        Refusal::LimitMismatch { in_use } => format!("LimitMismatch: {in_use}"),
        other => format!("{other:?}"),
    }
}

fn cancelled(outcome: &Cancelled) -> String {
    match outcome {
        Cancelled::Withdrawn { holders } => format!("withdrawn, held by {}", owners(holders)),
        other => format!("{other:?}"),
    }
}

fn owners(holders: &[HolderView]) -> String {
    join(holders.iter().map(|holder| holder.owner.as_str()))
}

fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
