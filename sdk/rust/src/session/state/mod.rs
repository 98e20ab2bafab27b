//! The session as a state machine: what happened and the time go in, messages and orders come out. No I/O, no clock.
//!
//! There is at most one stream in use, and at most one attempt at another, which takes its place once a server has answered
//! `open` or `resume` on it. Without a stream there is always an attempt. Beside a stream there is one while the session is
//! to move: the server drains, or has been silent for so long that another one may be better.
//!
//! Whoever drives it calls [`State::on_time`] first whenever it wakes up, so that nothing that arrived late can undo an
//! expiry; then tells what happened; then sends [`State::take_messages`] and carries out [`State::next_order`]. What an
//! attempt reports after `on_time` has given it up is ignored: no other begins in the same call.

mod acquires;
mod attempt;
mod end;
mod operations;
mod route;
mod session;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lockstead_api::v1;
use lockstead_core::Time;
use tokio::sync::oneshot;

use self::attempt::Attempt;
use self::end::{Closing, FirstOpen};
use self::operations::{Hears, Operations};
use self::route::Route;
use self::session::Session;
use super::Command;
use super::wire::{FromServer, ToServer};
use crate::config::Config;
use crate::error::{Error, Result};

/// What the driver shall do with its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Begin an attempt: connect to whichever of these servers can be reached, preferably in this order.
    Connect(Vec<usize>),
    /// Drop the attempt.
    Abandon,
    /// Drop the stream in use.
    HangUp,
    /// Close our side of the stream in use, and leave it to the server to close its own.
    Leave,
    /// Close our side of the stream in use, and report when the server has closed its own.
    Finish,
}

/// That the attempt's stream is the one in use from now on; the one before, if there was one, is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    /// The server that is left still answers what it was asked outside the stream.
    pub(super) in_peace: bool,
}

/// The stream in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// There is none.
    Down,
    /// The server has answered `open` or `resume`.
    Up {
        /// It is about to stop, will do so then, takes no more acquires, and wants the session to move.
        draining: Option<Time>,
    },
    /// It ended because another server has taken the session, to which our resume is under way. That one's answer is all
    /// that is missing.
    Moved { in_peace: bool },
    /// Our side is closed for good.
    Finishing { give_up: Time },
    /// Nothing will happen any more.
    Finished,
}

/// See the module.
pub(super) struct State {
    config: Arc<Config>,
    link: Link,
    /// `None` while there is a stream and the session is not to move.
    attempt: Option<Attempt>,
    session: Option<Session>,
    operations: Operations,
    route: Route,
    first_open: Option<FirstOpen>,
    closing: Option<Closing>,
    /// To be said on the stream in use.
    messages: Vec<v1::SessionRequest>,
    /// What the server said that can't be acted upon yet.
    deferred: Vec<FromServer>,
    orders: VecDeque<Order>,
    switch: Option<Switch>,
}

impl State {
    /// A client that is about to connect; `answer` hears how the first attempt went. `seed` scatters its choices.
    pub(super) fn new(
        config: Arc<Config>,
        request_ids: Arc<AtomicU64>,
        seed: u64,
        now: Time,
        answer: oneshot::Sender<Result<()>>,
    ) -> Self {
        let give_up = now.saturating_add(config.connect_timeout);
        Self {
            link: Link::Down,
            attempt: Some(Attempt::Waiting { until: now }),
            session: None,
            operations: Operations::new(request_ids, config.connect_timeout),
            route: Route::new(config.servers.len(), seed),
            first_open: Some(FirstOpen { answer, give_up }),
            closing: None,
            messages: Vec::new(),
            deferred: Vec::new(),
            orders: VecDeque::new(),
            switch: None,
            config,
        }
    }

    /// How many operations wait for an answer.
    pub(super) fn in_flight(&self) -> usize {
        self.operations.in_flight()
    }

    /// Does all that is due. To be called before anything else whenever time may have passed.
    pub(super) fn on_time(&mut self, now: Time) {
        self.attempt_on_time(now);
        match self.link {
            Link::Up { .. } => self.stream_on_time(now),
            Link::Finishing { give_up } if now >= give_up => {
                self.orders.push_back(Order::HangUp);
                self.finish(&Err(self.unavailable()));
            }
            _ => {}
        }
        self.end_on_time(now);
        let hears = self.hears();
        let unavailable = || self.route.unavailable(&self.config);
        self.operations.acquires.on_time(now, hears, &mut self.messages, unavailable);
        // Last, since a new attempt may follow at once.
        self.expire(now);
    }

    /// When [`State::on_time`] has something to do, at the latest.
    pub(super) fn next_wake(&self) -> Option<Time> {
        let link = match self.link {
            Link::Finished => return None,
            Link::Finishing { give_up } => Some(give_up),
            Link::Up { .. } => self.stream_wake(),
            Link::Down | Link::Moved { .. } => None,
        };
        let attempt = self.attempt.as_ref().map(Attempt::due);
        let expiry = self.session.as_ref().map(Session::ends_at);
        let first_open = self.first_open.as_ref().map(|first| first.give_up);
        let closing = self.closing.as_ref().map(|closing| closing.give_up);
        let acquires = self.operations.acquires.next_look();
        [link, attempt, expiry, first_open, closing, acquires].into_iter().flatten().min()
    }

    /// Carries out what a client, guard or acquire wants.
    pub(super) fn on_command(&mut self, now: Time, command: Command) {
        let hears = self.hears();
        match command {
            Command::Acquire(mut acquire) if self.closing.is_some() => acquire.answer(Err(Error::Closed)),
            Command::Acquire(acquire) => self.operations.acquires.add(now, acquire, hears, &mut self.messages),
            Command::Cancel(request_id) => self.operations.acquires.cancel(request_id, hears, &mut self.messages),
            Command::Release(release) => self.operations.release(now, release, hears, &mut self.messages),
            Command::Close(answer) => self.close(now, Some(answer)),
        }
    }

    /// Who hears what is said now.
    fn hears(&self) -> Hears {
        let resume = self.is_resuming();
        let stream = matches!(self.link, Link::Up { .. });
        Hears { stream, acquires: self.link == Link::Up { draining: None } && !resume, resume }
    }

    /// Whether the server is about to stop.
    fn is_draining(&self) -> bool {
        matches!(self.link, Link::Up { draining: Some(_) })
    }

    /// Whether a resume is under way, whose lists the server has or will get.
    fn is_resuming(&self) -> bool {
        self.session.is_some() && matches!(self.attempt, Some(Attempt::Attaching { .. }))
    }

    fn say(&mut self, message: ToServer) {
        self.messages.push(operations::say(message));
    }

    pub(super) fn has_messages(&self) -> bool {
        !self.messages.is_empty()
    }

    /// What is to be sent on the stream in use, in this order.
    pub(super) fn take_messages(&mut self) -> Vec<v1::SessionRequest> {
        let room = self.messages.len();
        std::mem::replace(&mut self.messages, Vec::with_capacity(room))
    }

    /// What is to be done next, after the messages were sent.
    pub(super) fn next_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Whether the attempt's last message has made its stream the one in use. What it says from then on is said on that.
    pub(super) fn take_switch(&mut self) -> Option<Switch> {
        self.switch.take()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.link == Link::Finished
    }

    /// The id of the session, while a server has it.
    pub(super) fn session_id(&self) -> Option<&Arc<str>> {
        let attached = matches!(self.link, Link::Up { .. } | Link::Moved { .. });
        self.session.as_ref().filter(|_| attached).map(|session| &session.id)
    }
}
