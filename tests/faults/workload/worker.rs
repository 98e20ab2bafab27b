//! One worker: one acquire after the other.

use std::time::Duration;

use fastrand::Rng;
use lockstead_client::{Client, Demand, Error, ErrorReason, Guard, HoldState, Lease, NotAcquiredReason, Request};
use tokio::sync::watch;
use tokio::time::sleep;

use super::choice::Choice;
use super::{LOCK_LIMIT, WorkloadArgs, say};
use crate::history::{Ask, Event, HungOn, Op, Process, Refusal};
use crate::plan::ClientSite;

/// How often a holder looks how its hold stands.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// See the module.
pub(super) struct Worker {
    client: Client,
    rng: Rng,
    process: Process,
    number: usize,
    sessions: HungOn,
    server_lease_ms: u64,
    ending: watch::Receiver<bool>,
}

/// What was acquired.
enum Held {
    Guard(Guard),
    Lease(Lease),
}

/// What a request is about, as the client library sees it.
pub(crate) enum Wanted {
    Lock(Request<lockstead_client::Lock>),
    Semaphore(Request<lockstead_client::Semaphore>),
}

impl Worker {
    pub(super) fn new(
        client: Client,
        args: &WorkloadArgs,
        site: ClientSite,
        number: usize,
        ending: watch::Receiver<bool>,
    ) -> Self {
        // Every life and every worker makes choices of its own.
        let mut rng = Rng::with_seed(site.seed);
        for _ in 0..args.process.life * site.workers + number {
            rng.u64(..);
        }
        let (process, server_lease_ms) = (args.process, args.server_lease_ms);
        Self { client, rng: rng.fork(), process, number, sessions: site.sessions, server_lease_ms, ending }
    }

    pub(super) async fn run(mut self) {
        let mut number = 0;
        while !*self.ending.borrow() {
            let choice = Choice::draw(&mut self.rng, self.sessions, self.server_lease_ms);
            let op = Op { process: self.process, worker: self.number, number };
            if let Some(held) = self.acquire(op, &choice).await {
                match held {
                    Held::Guard(guard) => self.hold_guard(op, guard, &choice).await,
                    Held::Lease(lease) => self.hold_lease(op, lease, &choice).await,
                }
            }
            sleep(choice.then_pauses).await;
            number += 1;
        }
    }

    async fn acquire(&mut self, op: Op, choice: &Choice) -> Option<Held> {
        let wanted = request(&self.client, op, &choice.ask);
        say(Event::Asked { op, ask: choice.ask.clone() });
        let answer = async {
            match wanted {
                Wanted::Lock(request) => acquire(request, choice).await,
                Wanted::Semaphore(request) => acquire(request, choice).await,
            }
        };
        tokio::pin!(answer);
        let drop_due = async {
            match choice.drops_after {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            outcome = &mut answer => outcome,
            () = drop_due => {
                say(Event::Dropped { op });
                return None;
            }
            _ = self.ending.wait_for(|ending| *ending) => {
                say(Event::Dropped { op });
                return None;
            }
        };
        match outcome {
            Ok(held) => {
                say(Event::Granted { op, token: held.token(), until: held.until() });
                Some(held)
            }
            Err(error) => {
                say(failure(op, &error));
                None
            }
        }
    }

    async fn hold_guard(&mut self, op: Op, guard: Guard, choice: &Choice) {
        let (mut until, mut at_risk) = (guard.valid_until(), false);
        let mut ending = guard.lost();
        let done = done(choice.holds_for, &mut self.ending);
        tokio::pin!(done);
        loop {
            tokio::select! {
                loss = &mut ending => {
                    return say(Event::Lost { op, reason: loss.reason.to_string(), since: loss.at.as_micros() });
                }
                () = &mut done => break,
                () = sleep(LOOK_EVERY) => {}
            }
            let state = guard.state();
            if matches!(state, HoldState::AtRisk) != at_risk && !matches!(state, HoldState::Lost(_)) {
                at_risk = !at_risk;
                say(if at_risk { Event::AtRisk { op } } else { Event::Confirmed { op } });
            }
            if guard.valid_until() != until && !matches!(state, HoldState::Lost(_)) {
                until = guard.valid_until();
                say(Event::Valid { op, until: until.as_micros() });
            }
        }
        say(Event::GivingBack { op });
        if choice.drops_hold {
            return drop(guard);
        }
        match guard.release().await {
            Err(Error::Lost(loss)) => {
                say(Event::Lost { op, reason: loss.reason.to_string(), since: loss.at.as_micros() });
            }
            outcome => given_back(op, outcome),
        }
    }

    async fn hold_lease(&mut self, op: Op, mut lease: Lease, choice: &Choice) {
        let done = done(choice.holds_for, &mut self.ending);
        tokio::pin!(done);
        loop {
            tokio::select! {
                () = &mut done => break,
                () = sleep(lease.ttl() / 3) => {}
            }
            match lease.renew(None).await {
                Ok(()) => say(Event::Valid { op, until: lease.valid_until().as_micros() }),
                Err(error) => {
                    if lease_is_over(op, &lease, &error) {
                        return;
                    }
                }
            }
        }
        say(Event::GivingBack { op });
        if choice.drops_hold {
            // It ends by itself.
            return;
        }
        given_back(op, lease.release().await);
    }
}

impl Held {
    fn token(&self) -> u64 {
        match self {
            Self::Guard(guard) => guard.token(),
            Self::Lease(lease) => lease.token(),
        }
    }

    fn until(&self) -> u64 {
        let until = match self {
            Self::Guard(guard) => guard.valid_until(),
            Self::Lease(lease) => lease.valid_until(),
        };
        until.as_micros()
    }
}

/// Returns when the hold is no longer needed.
async fn done(holds_for: Duration, ending: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = sleep(holds_for) => {}
        _ = ending.wait_for(|ending| *ending) => {}
    }
}

/// An acquire in the words of the client library.
pub(crate) fn request(client: &Client, op: Op, ask: &Ask) -> Wanted {
    if ask.limit == LOCK_LIMIT {
        let lock = client.lock(&ask.name);
        Wanted::Lock(with_wait(if ask.is_exclusive() { lock } else { lock.shared() }, op, ask))
    } else {
        Wanted::Semaphore(with_wait(client.semaphore(&ask.name, ask.limit).permits(ask.permits), op, ask))
    }
}

fn with_wait<K: Demand>(request: Request<K>, op: Op, ask: &Ask) -> Request<K> {
    let request = request.owner(op.to_string());
    match ask.wait_ms {
        Some(wait_ms) => request.wait(Duration::from_millis(wait_ms)),
        None => request,
    }
}

async fn acquire<K: Demand>(request: Request<K>, choice: &Choice) -> Result<Held, Error> {
    if choice.ask.hung_on == HungOn::Ttl {
        return request.lease(choice.ttl).acquire().await.map(Held::Lease);
    }
    request.acquire().await.map(Held::Guard)
}

/// What the error of an acquire says about it.
pub(crate) fn failure(op: Op, error: &Error) -> Event {
    if let Error::NotAcquired(why) = error {
        let why = match why.reason {
            NotAcquiredReason::Held => Some(Refusal::Held),
            NotAcquiredReason::WaitTimeout => Some(Refusal::WaitOver),
            NotAcquiredReason::Deadlock => Some(Refusal::Deadlock),
            NotAcquiredReason::Cancelled => Some(Refusal::Cancelled),
            _ => None,
        };
        if let Some(why) = why {
            return Event::Refused { op, why };
        }
    }
    let reason = match error {
        Error::Refused { reason, .. } => reason.as_word(),
        Error::Unavailable(_) => "UNAVAILABLE",
        Error::Lost(_) => "LOST",
        Error::Closed => "CLOSED",
        _ => "UNEXPECTED",
    };
    Event::Failed { op, reason: reason.to_owned(), message: error.to_string() }
}

/// Whether a failed renewal says that the lease has ended. It has for sure when its deadline has passed.
fn lease_is_over(op: Op, lease: &Lease, error: &Error) -> bool {
    let (now, deadline) = (lockstead_client::now(), lease.valid_until());
    let gone = matches!(error, Error::Refused { reason: ErrorReason::NotHolder | ErrorReason::HoldNotFound, .. });
    if now >= deadline {
        say(Event::Lost { op, reason: "EXPIRED".to_owned(), since: deadline.as_micros() });
    } else if gone {
        say(Event::Lost { op, reason: "NOT_HOLDER".to_owned(), since: now.as_micros() });
    }
    gone || now >= deadline
}

fn given_back(op: Op, outcome: Result<(), Error>) {
    say(Event::GivenBack { op, failure: outcome.err().map(|error| error.to_string()) });
}
