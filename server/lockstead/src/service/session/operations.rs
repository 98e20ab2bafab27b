//! The operations of a session: from a message to the engine, from its answer to a reply.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::Either;
use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::{
    AcquireRef, Acquired, Cancel, Cancelled, Event, HoldId, HolderView, IfGranted, Party, Release, Released, Releaser,
    Scope,
};
use lockstead_engine::{Answer, EngineError};

use super::actor::{Actor, End};
use super::message::{HeldHold, Message, Reply, SessionAsk};
use super::pending::{AcquireId, Answered, Cancelling, Waiting};
use crate::service::engines::{new_hold_id, told_scope};
use crate::service::error::Error;
use crate::service::request::{Ask, NotAcquired};
use crate::service::router::loss_reason;
use crate::telemetry::metrics::By;

/// An engine's answer, with what it belongs to.
pub(super) enum Done {
    Acquire(AcquireId, Result<Acquired, EngineError>),
    Release(u64, HoldId, Result<Released, EngineError>),
    /// Whatever the engine answered: if it could not be reached, it sees to the cancel as soon as it can.
    Cancel(u64, Scope),
    WaitOver(AcquireId, Scope, Result<Cancelled, EngineError>),
    /// Something was done of which the client knows already.
    Undone,
    Resume(Result<Vec<HoldId>, EngineError>),
}

impl Actor {
    pub(super) fn on_message(&mut self, message: Message) {
        match message {
            Message::Ping { sequence } => {
                self.on_sign_of_life();
                let valid_for = self.valid_for();
                self.reply(Reply::Pong { sequence, valid_for });
            }
            Message::Pong => self.on_sign_of_life(),
            Message::Acquire(ask) => self.on_acquire(ask),
            Message::Release { request, hold } => self.on_release(request, hold),
            Message::Cancel { request } => self.on_cancel(request),
            Message::Invalid { request, invalid } => self.fail(request, invalid),
            // `on_heard` has seen to it.
            Message::Close => {}
        }
        self.note_waiting();
    }

    pub(super) fn on_sign_of_life(&mut self) {
        self.alive_at = lockstead_clock::time();
        self.nudged = false;
    }

    pub(super) fn valid_for(&self) -> Duration {
        self.service.valid_for(self.session.options.timeout)
    }

    fn on_acquire(&mut self, ask: SessionAsk) {
        let SessionAsk { request, mut ask, owner_key } = ask;
        let repeated = self.to_repeat.remove(&request);
        if let Err(draining) = self.service.check_not_draining()
            && repeated.is_none()
        {
            return self.fail(request, draining);
        }
        let scope = ask.scope;
        let engine = match self.service.engines.of(scope).cloned() {
            Ok(engine) => engine,
            Err(error) => return self.fail(request, error),
        };
        if ask.owner.as_str().is_empty() {
            ask.owner = self.session.options.owner.clone();
        }
        if ask.metadata.is_empty() {
            ask.metadata = self.session.options.metadata.clone();
        }
        let was_let_in = repeated.unwrap_or_default();
        let admitted = if was_let_in { self.let_repeat(request, &ask) } else { self.let_in(request, &mut ask) };
        if let Err(refused) = admitted {
            if repeated.is_some() {
                // The engine has kept its place, and might grant it to nobody.
                self.give_back(request, Some(scope), Done::Undone);
            }
            return self.fail(request, refused);
        }
        let since = lockstead_clock::time();
        let waiting = Waiting { scope, since, until: ask.wait.deadline(since) };
        let party = Party::Session { session: self.session.id, request, owner_key };
        match engine.acquire(ask.command(new_hold_id(scope), party)) {
            Either::Left(answer) => self.on_acquire_answered(request, waiting, answer.into_inner()),
            Either::Right(call) => {
                // The grant may come before the answer.
                let acquire = self.pending.ask(request, waiting);
                self.own.track(call.map(move |result| Done::Acquire(acquire, result)).boxed());
            }
        }
    }

    /// Whether the caller may ask for this, and how much of it.
    fn let_in(&mut self, request: u64, ask: &mut Ask) -> Result<(), Error> {
        if self.service.identity().name().is_none() {
            return Ok(());
        }
        self.service.may_acquire(ask)?;
        if !self.holds.asks(request) {
            let (counted, place) = (self.service.count_hold()?, self.service.count_place(ask)?);
            self.holds.ask(request, counted, place);
        }
        Ok(())
    }

    /// The same, of what was let in before the resume: it counts, but whatever the quota says now.
    fn let_repeat(&mut self, request: u64, ask: &Ask) -> Result<(), Error> {
        self.service.may_keep(ask.scope, &ask.name)?;
        let identity = self.service.identity();
        let place = identity.count_wait(ask.scope, ask.resource()).ok().flatten();
        self.holds.ask(request, identity.count_held(), place);
        Ok(())
    }

    fn on_release(&mut self, request: u64, hold: HoldId) {
        let release = Release { hold, by: Releaser::Session(self.session.id) };
        match self.service.engines.of_hold(hold) {
            Ok(engine) => {
                let answer = engine.release(release);
                self.track(answer, move |result| Done::Release(request, hold, result));
            }
            Err(error) => self.fail(request, error),
        }
    }

    fn on_cancel(&mut self, request: u64) {
        match self.pending.cancel(request) {
            Cancelling::Later => {}
            Cancelling::In(scope) => self.give_back(request, Some(scope), Done::Cancel(request, scope)),
            // What was granted is pending no more; its scope may not be known, but there is only one that knows the request.
            Cancelling::Anywhere => {
                let scope = self.holds.given_back(request, &self.service.metrics);
                self.give_back(request, scope, Done::Cancel(request, scope.unwrap_or_default()));
            }
        }
    }

    /// Takes an acquire back whatever has become of it, in this scope or wherever it may be, and is `done` then.
    fn give_back(&mut self, request: u64, scope: Option<Scope>, done: Done) {
        let cancel = self.cancel_command(request, IfGranted::GiveBack);
        let asked = self.service.engines.iter().filter(|(of, _)| scope.is_none_or(|scope| scope == *of));
        let calls = asked.filter_map(|(_, engine)| match engine.cancel(cancel.clone()) {
            Either::Left(_) => None,
            Either::Right(call) => Some(call),
        });
        let calls: Vec<_> = calls.collect();
        if calls.is_empty() {
            return self.on_done(done);
        }
        self.own.track(futures::future::join_all(calls).map(|_| done).boxed());
    }

    pub(super) fn cancel_command(&self, request: u64, if_granted: IfGranted) -> Cancel {
        Cancel { acquire: AcquireRef::Request(self.session.id, request), if_granted }
    }

    /// Sees to an answer now if it is at hand, else when it comes. Nothing waits for it here.
    pub(super) fn track<T: Send + 'static>(
        &mut self,
        answer: Answer<T>,
        done: impl FnOnce(Result<T, EngineError>) -> Done + Send + 'static,
    ) {
        match answer {
            Either::Left(ready) => self.on_done(done(ready.into_inner())),
            Either::Right(call) => self.own.track(call.map(done).boxed()),
        }
    }

    pub(super) fn on_done(&mut self, done: Done) {
        match done {
            Done::Acquire(acquire, result) => match self.pending.answered(acquire) {
                Answered::Awaited(waiting) => self.on_acquire_answered(acquire.request, waiting, result),
                Answered::Cancelled(waiting) => self.on_cancelled_acquire_answered(acquire.request, waiting, &result),
                Answered::Late => {}
            },
            Done::Release(request, hold, Ok(Released { entries })) => {
                if entries == 0 {
                    self.service.metrics.released(told_scope(hold), By::Session);
                    self.holds.ended(hold, &self.service.metrics);
                }
                self.reply(Reply::Released { request, entries });
            }
            Done::Release(request, _, Err(error)) => self.fail(request, error),
            Done::Cancel(request, scope) => self.refuse(request, scope, Reason::Cancelled, Vec::new()),
            Done::WaitOver(acquire, scope, result) => self.on_wait_over(acquire, scope, result),
            Done::Undone => {}
            Done::Resume(result) => self.on_resumed(result),
        }
        self.note_waiting();
    }

    fn on_acquire_answered(&mut self, request: u64, waiting: Waiting, result: Result<Acquired, EngineError>) {
        match result {
            Ok(Acquired::Granted(grant)) => {
                // A repeated acquire may have been waiting before.
                self.pending.granted(request);
                let now = lockstead_clock::time();
                self.service.metrics.granted(waiting.scope, now.since(waiting.since));
                self.holds.granted(grant.hold, waiting.scope, request, now);
                self.reply(Reply::Acquired { request, granted: grant.into() });
            }
            Ok(Acquired::Queued { position, .. }) => {
                self.pending.queue(request, waiting);
                self.reply(Reply::Queued { request, position });
            }
            Ok(Acquired::Held { holders }) => self.refuse(request, waiting.scope, Reason::Held, holders),
            Err(error) => {
                self.acquire_over(request);
                self.fail(request, error);
            }
        }
    }

    /// The client has taken it back while the answer was on its way, and hears that it is done when it is.
    fn on_cancelled_acquire_answered(
        &mut self,
        request: u64,
        waiting: Waiting,
        result: &Result<Acquired, EngineError>,
    ) {
        match result {
            Ok(Acquired::Granted(_) | Acquired::Queued { .. }) => {
                self.give_back(request, Some(waiting.scope), Done::Cancel(request, waiting.scope));
            }
            Ok(Acquired::Held { .. }) | Err(_) => self.refuse(request, waiting.scope, Reason::Cancelled, Vec::new()),
        }
    }

    fn on_wait_over(&mut self, acquire: AcquireId, scope: Scope, result: Result<Cancelled, EngineError>) {
        let holders = match result {
            // At the last moment: the news is in the mailbox, or about to be.
            Ok(Cancelled::Kept | Cancelled::GivenBack) => return,
            Ok(Cancelled::Withdrawn { holders }) => holders,
            Ok(Cancelled::Unknown) | Err(EngineError::Refused(_) | EngineError::Invalid(_)) => Vec::new(),
            Err(EngineError::Unavailable(_)) => {
                // The wait is over all the same. What it may have got at the last moment is not for the client any more.
                if self.pending.wait_over(acquire) {
                    self.give_back(acquire.request, Some(scope), Done::Undone);
                    self.refuse(acquire.request, scope, Reason::WaitTimeout, Vec::new());
                }
                return;
            }
        };
        if self.pending.wait_over(acquire) {
            self.refuse(acquire.request, scope, Reason::WaitTimeout, holders);
        }
    }

    fn refuse(&mut self, request: u64, scope: Scope, reason: Reason, holders: Vec<HolderView>) {
        self.acquire_over(request);
        self.service.metrics.not_acquired(scope, reason);
        self.reply(Reply::NotAcquired { request, why: NotAcquired { reason, holders } });
    }

    /// An acquire is not counted any more, unless the same request still stands for one that waits.
    fn acquire_over(&mut self, request: u64) {
        if !self.pending.contains(request) {
            self.holds.over(request);
        }
    }

    fn fail(&mut self, request: u64, error: impl Into<Error>) {
        self.reply(Reply::Failed { request, error: Box::new(error.into()) });
    }

    pub(super) fn on_event(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Granted { to: Some((_, request)), grant } => {
                // One that is no longer pending was cancelled, which gives the hold back, or is about to be repeated after
                // a resume.
                if let Some(waiting) = self.pending.granted(request) {
                    let now = lockstead_clock::time();
                    self.service.metrics.granted_in_turn(waiting.scope, now.since(waiting.since), &grant);
                    self.holds.granted(grant.hold, waiting.scope, request, now);
                    self.reply(Reply::Acquired { request, granted: grant.into() });
                }
            }
            // News of leases.
            Event::Granted { to: None, .. } | Event::Withdrawn { .. } => {}
            Event::Moved { .. } => return self.on_moved(),
            Event::Ended { hold, resource, reason, .. } => {
                let held = HeldHold { hold, scope: self.service.engines.scope_of_hold(hold), resource };
                let reason = loss_reason(reason);
                self.service.metrics.lost(held.scope, reason, 1);
                self.holds.ended(hold, &self.service.metrics);
                self.on_lost(held, reason);
            }
        }
        self.note_waiting();
        None
    }

    fn note_waiting(&self) {
        self.session.waiting.store(self.pending.queued(), Ordering::Relaxed);
    }
}
