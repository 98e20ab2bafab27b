//! The operations of a session: from a message to the engine, from its answer to a reply.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::Either;
use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::{
    AcquireRef, Acquired, Cancel, Cancelled, Event, HoldId, HolderView, IfGranted, Party, Release, Released, Releaser,
    Wait,
};
use lockstead_engine::{Answer, EngineError};

use super::actor::Actor;
use super::message::{HeldHold, Message, Reply, SessionAsk};
use super::pending::Waiting;
use crate::service::engines::new_hold_id;
use crate::service::request::NotAcquired;
use crate::service::router::loss_reason;

/// An engine's answer, with what it belongs to.
pub(super) enum Done {
    Acquire(AcquireDone, Result<Acquired, EngineError>),
    Release(u64, Result<Released, EngineError>),
    /// One engine of several was asked; another one will give the word.
    CancelElsewhere,
    Cancel(u64, Result<Cancelled, EngineError>),
    WaitOver(u64, Result<Cancelled, EngineError>),
}

#[derive(Clone, Copy)]
pub(super) struct AcquireDone {
    request: u64,
    waiting: Waiting,
    /// It was entered as pending before the engine answered.
    entered: bool,
}

impl Actor {
    pub(super) fn on_message(&mut self, message: Message) {
        match message {
            Message::Ping { sequence } => {
                self.on_sign_of_life();
                self.reply(Reply::Pong { sequence, valid_for: self.session.options.timeout });
            }
            Message::Pong => self.on_sign_of_life(),
            Message::Acquire(ask) => self.on_acquire(ask),
            Message::Release { request, hold } => self.on_release(request, hold),
            Message::Cancel { request } => self.on_cancel(request),
            Message::Invalid { request, invalid } => self.reply(Reply::Failed { request, error: invalid.into() }),
            // `on_heard` has seen to it.
            Message::Close => {}
        }
    }

    pub(super) fn on_sign_of_life(&mut self) {
        self.alive_at = lockstead_clock::time();
        self.nudged = false;
    }

    fn on_acquire(&mut self, ask: SessionAsk) {
        let SessionAsk { request, mut ask, owner_key } = ask;
        let scope = ask.scope;
        let engine = match self.service.engines.of(scope) {
            Ok(engine) => engine,
            Err(error) => return self.reply(Reply::Failed { request, error }),
        };
        if ask.owner.as_str().is_empty() {
            ask.owner = self.session.options.owner.clone();
        }
        if ask.metadata.is_empty() {
            ask.metadata = self.session.options.metadata.clone();
        }
        let since = lockstead_clock::time();
        let waiting = Waiting { scope, since, until: ask.wait.deadline(since) };
        let party = Party::Session { session: self.session.id, request, owner_key };
        let answer = engine.acquire(ask.command(new_hold_id(scope), party));
        // If the answer is still on its way, the grant may come before it.
        let entered = matches!(answer, Either::Right(_)) && ask.wait != Wait::No;
        if entered {
            self.pending.insert(request, waiting);
        }
        self.track(answer, move |result| Done::Acquire(AcquireDone { request, waiting, entered }, result));
    }

    fn on_release(&mut self, request: u64, hold: HoldId) {
        let release = Release { hold, by: Releaser::Session(self.session.id) };
        match self.service.engines.of_hold(hold) {
            Ok(engine) => {
                let answer = engine.release(release);
                self.track(answer, move |result| Done::Release(request, result));
            }
            Err(error) => self.reply(Reply::Failed { request, error }),
        }
    }

    fn on_cancel(&mut self, request: u64) {
        // What was granted is pending no more; its scope is not known, but there is only one that knows the request.
        let scope = self.pending.scope(request);
        let cancel = self.cancel_command(request, IfGranted::GiveBack);
        let asked = self.service.engines.iter().filter(|(of, _)| scope.is_none_or(|scope| scope == *of));
        let mut engines: Vec<_> = asked.map(|(_, engine)| engine.clone()).collect();
        let last = engines.pop();
        for engine in engines {
            self.track(engine.cancel(cancel.clone()), |_| Done::CancelElsewhere);
        }
        if let Some(engine) = last {
            self.track(engine.cancel(cancel), move |result| Done::Cancel(request, result));
        }
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
            Either::Right(pending) => self.in_flight.push(pending.map(done).boxed()),
        }
    }

    pub(super) fn on_done(&mut self, done: Done) {
        match done {
            Done::Acquire(of, Ok(acquired)) => self.on_acquired(of, acquired),
            Done::Release(request, Ok(Released { entries })) => {
                if entries == 0 {
                    self.service.metrics.released();
                }
                self.reply(Reply::Released { request, entries });
            }
            Done::Cancel(request, Ok(_)) => {
                self.pending.remove(request);
                self.refuse(request, Reason::Cancelled, Vec::new());
            }
            Done::WaitOver(request, Ok(Cancelled::Withdrawn { holders })) => {
                if self.pending.remove(request).is_some() {
                    self.refuse(request, Reason::WaitTimeout, holders);
                }
            }
            // A wait that was granted at the last moment: the news is in the mailbox, or about to be.
            Done::CancelElsewhere | Done::WaitOver(_, Ok(_)) => {}
            Done::Acquire(AcquireDone { request, .. }, Err(error))
            | Done::Release(request, Err(error))
            | Done::Cancel(request, Err(error))
            | Done::WaitOver(request, Err(error)) => {
                self.pending.remove(request);
                self.reply(Reply::Failed { request, error: error.into() });
            }
        }
        self.session.waiting.store(self.pending.len(), Ordering::Relaxed);
    }

    fn on_acquired(&mut self, of: AcquireDone, acquired: Acquired) {
        let request = of.request;
        match acquired {
            Acquired::Granted(grant) => {
                // A repeated acquire may have been waiting before.
                self.pending.remove(request);
                self.service.metrics.granted(Duration::ZERO);
                self.reply(Reply::Acquired { request, grant });
            }
            // Granted, or cancelled, while the answer was on its way.
            Acquired::Queued { .. } if of.entered && self.pending.scope(request).is_none() => {}
            Acquired::Queued { position, .. } => {
                self.pending.insert(request, of.waiting);
                self.reply(Reply::Queued { request, position });
            }
            Acquired::Held { holders } => self.refuse(request, Reason::Held, holders),
        }
    }

    fn refuse(&mut self, request: u64, reason: Reason, holders: Vec<HolderView>) {
        self.service.metrics.not_acquired(reason);
        self.reply(Reply::NotAcquired { request, why: NotAcquired { reason, holders } });
    }

    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Granted { to: Some((_, request)), grant } => {
                // One that is no longer pending was cancelled, which has given the hold back.
                if let Some(waiting) = self.pending.remove(request) {
                    let waited = lockstead_clock::time().since(waiting.since);
                    self.service.metrics.granted(waited);
                    self.reply(Reply::Acquired { request, grant });
                }
            }
            Event::Granted { to: None, .. } | Event::Moved { .. } => {}
            Event::Ended { hold, resource, reason, .. } => {
                let held = HeldHold { hold, scope: self.service.engines.scope_of_hold(hold), resource };
                let reason = loss_reason(reason);
                self.service.metrics.lost(reason);
                self.reply(Reply::Lost { held, reason });
            }
        }
        self.session.waiting.store(self.pending.len(), Ordering::Relaxed);
    }
}
