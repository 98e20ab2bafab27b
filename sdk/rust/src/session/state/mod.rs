//! The session as a state machine: what happened and the time go in, messages and orders come out. No I/O, no clock.
//!
//! Whoever drives it calls [`State::on_time`] first whenever it wakes up, so that nothing that arrived late can undo an
//! expiry; then tells what happened; then sends [`State::take_messages`] and carries out [`State::next_order`].

mod attach;
mod operations;
mod route;
mod session;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lockstead_api::v1;
use lockstead_core::Time;
use tokio::sync::oneshot;

use self::operations::Operations;
use self::route::Route;
use self::session::Session;
use super::Command;
use super::wire::{Failure, FromServer, ToServer};
use crate::config::Config;
use crate::error::{Error, Result, Unavailable};
use crate::loss::{Loss, LossReason};

/// What the driver shall do with its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Connect to the server with this index.
    Connect(usize),
    /// Drop whatever stream or attempt there is.
    HangUp,
    /// Close our side, and leave it to the server to close its own.
    Leave,
    /// Close our side, and report when the server has closed its own.
    Finish,
}

/// Where the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// There is none; the next attempt is due at `retry`.
    Down { retry: Time },
    /// The driver connects.
    Connecting { give_up: Time },
    /// `open` or `resume` is on its way since `sent`.
    Attaching { sent: Time, give_up: Time },
    /// The server has answered it.
    Up,
    /// Our side is closed for good.
    Finishing { give_up: Time },
    /// Nothing will happen any more.
    Finished,
}

/// A `connect` that waits for the first session.
struct FirstOpen {
    answer: oneshot::Sender<Result<()>>,
    give_up: Time,
}

/// That the client is to end, and who wants to know when it has.
struct Closing {
    answers: Vec<oneshot::Sender<Result<()>>>,
    give_up: Time,
}

/// See the module.
pub(super) struct State {
    config: Arc<Config>,
    link: Link,
    session: Option<Session>,
    operations: Operations,
    route: Route,
    first_open: Option<FirstOpen>,
    closing: Option<Closing>,
    messages: Vec<v1::SessionRequest>,
    orders: VecDeque<Order>,
}

impl State {
    /// A client that is about to connect; `answer` hears how the first attempt went. `seed` scatters its retries.
    pub(super) fn new(
        config: Arc<Config>,
        request_ids: Arc<AtomicU64>,
        seed: u64,
        now: Time,
        answer: oneshot::Sender<Result<()>>,
    ) -> Self {
        let give_up = now.saturating_add(config.connect_timeout);
        Self {
            link: Link::Down { retry: now },
            session: None,
            operations: Operations::new(request_ids, config.connect_timeout),
            route: Route::new(config.servers.len(), seed),
            first_open: Some(FirstOpen { answer, give_up }),
            closing: None,
            messages: Vec::new(),
            orders: VecDeque::new(),
            config,
        }
    }

    /// Does all that is due. To be called before anything else whenever time may have passed.
    pub(super) fn on_time(&mut self, now: Time) {
        self.expire(now);
        match self.link {
            Link::Down { retry } if now >= retry => self.connect(now),
            Link::Connecting { give_up } | Link::Attaching { give_up, .. } if now >= give_up => {
                self.orders.push_back(Order::HangUp);
                self.on_failure(now, &Failure::Broken("no answer in time".to_owned()));
            }
            Link::Finishing { give_up } if now >= give_up => {
                self.orders.push_back(Order::HangUp);
                self.finish(&Err(self.unavailable()));
            }
            Link::Up => self.ping_if_due(now),
            _ => {}
        }
        if self.first_open.as_ref().is_some_and(|first| now >= first.give_up) {
            self.fail_first_open(self.unavailable());
        }
        if self.closing.as_ref().is_some_and(|closing| now >= closing.give_up) {
            self.orders.push_back(Order::HangUp);
            self.finish(&Err(self.unavailable()));
        }
        if self.link != Link::Up {
            let resuming = self.is_resuming();
            self.operations.give_up(now, resuming, || self.route.unavailable(&self.config));
        }
    }

    /// When [`State::on_time`] has something to do, at the latest.
    pub(super) fn next_wake(&self) -> Option<Time> {
        let link = match self.link {
            Link::Down { retry } => Some(retry),
            Link::Connecting { give_up } | Link::Attaching { give_up, .. } | Link::Finishing { give_up } => {
                Some(give_up)
            }
            Link::Up => self.session.as_ref().map(Session::ping_due),
            Link::Finished => return None,
        };
        let expiry = self.session.as_ref().map(|session| session.validity.deadline());
        let first_open = self.first_open.as_ref().map(|first| first.give_up);
        let closing = self.closing.as_ref().map(|closing| closing.give_up);
        let operations = if self.link == Link::Up { None } else { self.operations.next_give_up() };
        [link, expiry, first_open, closing, operations].into_iter().flatten().min()
    }

    /// Carries out what a client, guard or acquire wants.
    pub(super) fn on_command(&mut self, now: Time, command: Command) {
        let up = self.link == Link::Up;
        match command {
            Command::Acquire(mut acquire) if self.closing.is_some() => acquire.answer(Err(Error::Closed)),
            Command::Acquire(acquire) => self.operations.acquire(now, acquire, up, &mut self.messages),
            Command::Cancel(request_id) => {
                self.operations.cancel(request_id, up, self.is_resuming(), &mut self.messages);
            }
            Command::Release(release) => self.operations.release(now, release, up, &mut self.messages),
            Command::Close(answer) => self.close(now, Some(answer)),
        }
    }

    /// All clients and guards are gone.
    pub(super) fn on_abandoned(&mut self, now: Time) {
        self.close(now, None);
    }

    /// Reads a message of the current stream.
    pub(super) fn on_message(&mut self, now: Time, message: FromServer) {
        let understood = match (self.link, message) {
            (Link::Attaching { sent, .. }, FromServer::Opened(opened)) => self.on_opened(now, sent, opened),
            (Link::Attaching { sent, .. }, FromServer::Resumed(resumed)) => self.on_resumed(now, sent, &resumed),
            (Link::Attaching { .. } | Link::Up, FromServer::Ping(ping)) => {
                self.say(ToServer::Pong(v1::Pong { sequence: ping.sequence, valid_for: None }));
                Ok(())
            }
            (Link::Attaching { .. } | Link::Up, FromServer::Ended(ended)) => {
                self.on_ended(now, &ended);
                Ok(())
            }
            (Link::Up, message) => self.on_news(now, message),
            (Link::Attaching { .. }, _) => Err("the session is not open yet".to_owned()),
            // Said before the server had read that we left.
            (Link::Down { .. } | Link::Connecting { .. } | Link::Finishing { .. } | Link::Finished, _) => Ok(()),
        };
        if let Err(why) = understood {
            self.orders.push_back(Order::HangUp);
            self.on_failure(now, &Failure::Broken(format!("the server said what was not expected: {why}")));
        }
    }

    fn on_news(&mut self, now: Time, message: FromServer) -> std::result::Result<(), String> {
        let Some(session) = &self.session else { return Err("there is no session".to_owned()) };
        match message {
            FromServer::Acquired(acquired) => {
                return self.operations.acquired(&acquired, &session.validity, &mut self.messages);
            }
            FromServer::NotAcquired(answer) => {
                let why = Error::from_not_acquired(answer.why.unwrap_or_default());
                self.operations.refused(answer.request_id, why);
            }
            FromServer::Failed(failed) => {
                let reason = v1::ErrorReason::try_from(failed.reason).unwrap_or_default();
                self.operations.refused(failed.request_id, Error::refused(reason, failed.message));
            }
            FromServer::Released(released) => self.operations.released(released.request_id),
            FromServer::Lost(lost) => return self.operations.lost(now, &lost),
            FromServer::Pong(pong) => return self.on_pong(now, &pong),
            FromServer::Opened(_) | FromServer::Resumed(_) => return Err("the session is open already".to_owned()),
            // Their place in the queue is news to nobody yet; the other two are read before.
            FromServer::Queued(_) | FromServer::Ping(_) | FromServer::Ended(_) | FromServer::Draining(_) => {}
        }
        Ok(())
    }

    fn on_pong(&mut self, now: Time, pong: &v1::Pong) -> std::result::Result<(), String> {
        let valid_for = super::wire::required(pong.valid_for)?;
        let Some(session) = &mut self.session else { return Ok(()) };
        let Some(sent) = session.answered(pong.sequence) else { return Ok(()) };
        self.route.proved();
        if !session.confirm(now, sent, valid_for) {
            self.expire(now);
        }
        Ok(())
    }

    fn on_ended(&mut self, now: Time, ended: &v1::SessionEnded) {
        self.orders.push_back(Order::Leave);
        let reason = LossReason::from_wire(ended.reason);
        self.on_failure(now, &Failure::SessionOver(reason, ended.message.clone()));
    }

    /// If the session's validity has passed: ends it here, and tells the server, so that it need not wait.
    fn expire(&mut self, now: Time) {
        let Some(loss) = self.session.as_ref().and_then(|session| session.validity.loss(now)) else { return };
        let was_up = self.link == Link::Up;
        self.end_session(now, &loss);
        self.go_down(now, false);
        if was_up {
            self.say(ToServer::Close(v1::CloseSession {}));
            self.orders.push_back(Order::Leave);
        } else {
            self.orders.push_back(Order::HangUp);
        }
    }

    fn end_session(&mut self, now: Time, loss: &Loss) {
        let Some(session) = self.session.take() else { return };
        session.validity.end(now, loss.clone());
        self.operations.session_over(now, loss);
    }

    fn ping_if_due(&mut self, now: Time) {
        let Some(session) = &mut self.session else { return };
        if now < session.ping_due() {
            return;
        }
        let sequence = session.ping(now);
        self.say(ToServer::Ping(v1::Ping { sequence }));
    }

    fn close(&mut self, now: Time, answer: Option<oneshot::Sender<Result<()>>>) {
        if self.link == Link::Finished {
            tell(answer, &Ok(()));
            return;
        }
        if let Some(closing) = &mut self.closing {
            closing.answers.extend(answer);
            return;
        }
        let give_up = now.saturating_add(self.config.connect_timeout);
        self.closing = Some(Closing { answers: answer.into_iter().collect(), give_up });
        self.operations.close(now, &Loss::new(LossReason::Disconnected, "the client was closed", now));
        match (&self.session, self.link) {
            (_, Link::Up) => self.leave_for_good(give_up),
            // The server keeps the holds until it hears from us: go on, to resume with nothing and leave.
            (Some(_), _) => {}
            (None, _) => {
                self.orders.push_back(Order::HangUp);
                self.finish(&Ok(()));
            }
        }
    }

    fn leave_for_good(&mut self, give_up: Time) {
        self.say(ToServer::Close(v1::CloseSession {}));
        self.orders.push_back(Order::Finish);
        self.session = None;
        self.link = Link::Finishing { give_up };
    }

    /// The end. Whoever still waits for something hears it.
    fn finish(&mut self, outcome: &Result<()>) {
        self.link = Link::Finished;
        self.session = None;
        self.operations.releases_done(outcome);
        let answers = self.closing.take().map(|closing| closing.answers).unwrap_or_default();
        tell(answers, outcome);
    }

    /// The runtime is ending, so nobody will drive this any more.
    pub(super) fn on_stopped(&mut self, now: Time) {
        let loss = Loss::new(LossReason::Disconnected, "the runtime that the client lived in has ended", now);
        self.end_session(now, &loss);
        self.operations.close(now, &loss);
        self.finish(&Ok(()));
    }

    fn fail_first_open(&mut self, error: Error) {
        if let Some(first) = self.first_open.take() {
            let _ = first.answer.send(Err(error));
            self.orders.push_back(Order::HangUp);
            self.finish(&Ok(()));
        }
    }

    fn unavailable(&self) -> Error {
        self.route.unavailable(&self.config)
    }

    fn say(&mut self, message: ToServer) {
        self.messages.push(v1::SessionRequest { message: Some(message) });
    }

    /// Whether a resume is under way, whose lists the server has or will get.
    fn is_resuming(&self) -> bool {
        self.session.is_some() && matches!(self.link, Link::Attaching { .. })
    }

    pub(super) fn has_messages(&self) -> bool {
        !self.messages.is_empty()
    }

    /// What is to be sent, in this order.
    pub(super) fn take_messages(&mut self) -> Vec<v1::SessionRequest> {
        let room = self.messages.len();
        std::mem::replace(&mut self.messages, Vec::with_capacity(room))
    }

    /// What is to be done next, after the messages were sent.
    pub(super) fn next_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.link == Link::Finished
    }

    /// The id of the session, while the stream is up.
    pub(super) fn session_id(&self) -> Option<&Arc<str>> {
        let session = self.session.as_ref().filter(|_| self.link == Link::Up);
        session.map(|session| &session.id)
    }
}

fn tell(answers: impl IntoIterator<Item = oneshot::Sender<Result<()>>>, outcome: &Result<()>) {
    for answer in answers {
        let _ = answer.send(outcome.clone());
    }
}

/// For error texts: the servers that were tried.
impl Route {
    fn unavailable(&self, config: &Config) -> Error {
        let attempts = config.servers.iter().zip(self.failures());
        let attempts = attempts.map(|(server, failure)| {
            (server.address.clone(), failure.clone().unwrap_or_else(|| "not tried yet".to_owned()))
        });
        Error::Unavailable(Unavailable { after: config.connect_timeout, attempts: attempts.collect() })
    }
}
