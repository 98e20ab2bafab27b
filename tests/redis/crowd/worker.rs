//! One of the crowd.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockstead_core::{
    Acquire, AcquireRef, Acquired, Cancel, Cancelled, EndReason, EndSession, Event, Grant, HoldId, IfGranted, Party,
    Refusal, Release, Releaser, SessionId,
};
use lockstead_engine::{EngineError, Listener};
use lockstead_tests::PATIENCE;
use lockstead_tests::fixture::{EXCLUSIVE, Fixture, LONG, SHARED, permits, session_id};
use tokio::sync::oneshot;

use super::ledger::Ledger;

/// Longer than any fault keeps anybody waiting.
const LONGEST_WAIT: Duration = PATIENCE.saturating_mul(2);

/// Hears what a server's engine reports, and passes it on to who waits for it.
#[derive(Debug)]
pub(super) struct Desk {
    ledger: Arc<Ledger>,
    waiting: Mutex<HashMap<HoldId, oneshot::Sender<Grant>>>,
}

impl Desk {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, waiting: Mutex::default() }
    }

    fn expect(&self, hold: HoldId) -> oneshot::Receiver<Grant> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap().insert(hold, sender);
        receiver
    }

    fn forget(&self, hold: HoldId) {
        self.waiting.lock().unwrap().remove(&hold);
    }
}

impl Listener for Desk {
    fn on_events(&self, events: Vec<Event>) {
        for event in events {
            match &event {
                Event::Granted { grant, .. } => {
                    if let Some(waiting) = self.waiting.lock().unwrap().remove(&grant.hold) {
                        // Who has cancelled meanwhile gives it back.
                        _ = waiting.send(*grant);
                    }
                }
                // At once, since others may be granted the same in a moment.
                Event::Ended { hold, resource, .. } => self.ledger.end(resource, *hold),
                Event::Moved { .. } | Event::Withdrawn { .. } => panic!("nothing has moved, but: {event:?}"),
            }
        }
    }
}

/// Takes, holds and gives back, again and again.
pub(super) struct Worker {
    at: usize,
    servers: Vec<(Fixture, Arc<Desk>)>,
    ledger: Arc<Ledger>,
    has_faults: bool,
    session: SessionId,
    dice: RandomState,
    thrown: u64,
}

impl Worker {
    pub(super) fn new(at: usize, servers: Vec<(Fixture, Arc<Desk>)>, ledger: Arc<Ledger>, has_faults: bool) -> Self {
        Self { at, servers, ledger, has_faults, session: session_id(), dice: RandomState::new(), thrown: 0 }
    }

    pub(super) async fn work(mut self, rounds: usize) {
        for round in 0..rounds {
            let acquire = self.choose(round);
            if let Some(grant) = self.take(&acquire).await {
                if self.throw(3) == 0 {
                    tokio::time::sleep(Duration::from_millis(self.throw(5))).await;
                }
                self.give_back(&acquire, grant).await;
            }
        }
        let end = EndSession { session: self.session, reason: EndReason::Disconnected };
        let ended = self.server().engine.end_session(end).await;
        self.check(ended.map(|_| ()));
    }

    fn server(&self) -> &Fixture {
        &self.servers[self.at % self.servers.len()].0
    }

    fn desk(&self) -> &Desk {
        &self.servers[self.at % self.servers.len()].1
    }

    /// A random number below `sides`.
    fn throw(&mut self, sides: u64) -> u64 {
        self.thrown += 1;
        self.dice.hash_one(self.thrown) % sides
    }

    fn choose(&mut self, round: usize) -> Acquire {
        let (name, claim) = match self.throw(8) {
            0 | 1 => ("alone", EXCLUSIVE),
            2 => ("mixed", EXCLUSIVE),
            3 | 4 => ("mixed", SHARED),
            5 => ("permits", permits(3, 3)),
            _ => ("permits", permits(1, 3)),
        };
        let request = u64::try_from(round).unwrap();
        let acquire = match self.throw(4) {
            0 => self.server().ask_lease(name, claim, LONG),
            1 => self.server().ask_once(&format!("{}/{round}", self.session), name, claim),
            _ => self.server().ask(self.session, request, name, claim),
        };
        Acquire { queue: self.throw(6) > 0, ..acquire }
    }

    /// Only where there are faults a call may fail.
    fn check<T>(&self, answer: Result<T, EngineError>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(EngineError::Unavailable(_)) if self.has_faults => None,
            Err(EngineError::Refused(Refusal::NotHolder { ended: Some(EndReason::BackendLost) }))
                if self.has_faults =>
            {
                None
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn take(&mut self, acquire: &Acquire) -> Option<Grant> {
        let coming = self.desk().expect(acquire.hold);
        let answer = self.server().engine.acquire(acquire.clone()).await;
        let grant = match self.check(answer) {
            Some(Acquired::Granted(grant)) => Some(grant),
            Some(Acquired::Queued { .. }) if self.throw(5) > 0 => {
                let waited = tokio::time::timeout(LONGEST_WAIT, coming).await;
                Some(waited.unwrap_or_else(|_| panic!("never granted: {:?}", acquire.name)).unwrap())
            }
            Some(Acquired::Queued { .. }) => self.cancel(acquire, coming).await,
            Some(Acquired::Held { .. }) | None => None,
        };
        self.desk().forget(acquire.hold);
        if let Some(grant) = grant {
            self.ledger.enter(&acquire.resource(), grant);
        }
        grant
    }

    async fn cancel(&mut self, acquire: &Acquire, mut coming: oneshot::Receiver<Grant>) -> Option<Grant> {
        let acquire = match acquire.party {
            Party::Session { session, request, .. } => AcquireRef::Request(session, request),
            Party::Lease { .. } => AcquireRef::Hold(acquire.hold),
        };
        let if_granted = if self.throw(2) == 0 { IfGranted::Keep } else { IfGranted::GiveBack };
        let cancelled = self.server().engine.cancel(Cancel { acquire, if_granted }).await;
        match self.check(cancelled) {
            Some(Cancelled::Kept) => Some(coming.try_recv().expect("the news came before the answer")),
            Some(Cancelled::Unknown) if !self.has_faults => panic!("it waited"),
            _ => None,
        }
    }

    async fn give_back(&mut self, acquire: &Acquire, grant: Grant) {
        let resource = acquire.resource();
        if !self.ledger.leave(&resource, grant.hold) {
            assert!(self.has_faults, "the hold ended by itself");
            return;
        }
        let is_lease = matches!(acquire.party, Party::Lease { .. });
        let release = |by| Release { hold: grant.hold, by };
        let answer = if is_lease {
            let anywhere = usize::try_from(self.throw(3)).unwrap();
            self.servers[anywhere].0.engine.release(release(Releaser::Bearer(resource))).await
        } else {
            self.server().engine.release(release(Releaser::Session(self.session))).await
        };
        self.check(answer);
    }
}
