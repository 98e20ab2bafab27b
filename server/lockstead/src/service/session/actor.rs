//! The life of a session.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockstead_api::v1::LossReason;
use lockstead_clock::Timer;
use lockstead_core::{EndReason, Event, IfGranted, Time};
use tokio::sync::mpsc;

use super::OnDisconnect;
use super::attachment::{Attachment, Heard, Inbound, Outbound};
use super::holds::Holds;
use super::message::{Message, Opened, Reply};
use super::operations::Done;
use super::pending::Pending;
use super::registry::Session;
use super::resume::{Attach, ON_THE_MOVE, Resuming};
use super::secret::Secret;
use crate::service::Caller;
use crate::service::error::Error;
use crate::service::own_session::OwnSession;
use crate::telemetry::metrics::SessionEnd;

/// Messages, or answers, read in one go before events and the clock have their turn.
const MESSAGES_IN_A_ROW: usize = 128;

/// A session, and what its task owns.
#[must_use = "a session lives while its actor runs"]
pub struct Actor {
    pub(super) service: Caller,
    pub(super) session: Arc<Session>,
    /// With the calls whose answers are on their way.
    pub(super) own: OwnSession<Done>,
    /// `None` while its client is away.
    pub(super) attachment: Option<Attachment>,
    /// A new stream that waits for the engines' answer to its resume. There is no attachment then.
    pub(super) resuming: Option<Resuming>,
    pub(super) attempt: u32,
    /// The last sign of life. Its holds end the session timeout after it.
    pub(super) alive_at: Time,
    /// A ping of ours that nothing was heard since.
    pub(super) nudged: bool,
    pub(super) pending: Pending,
    pub(super) holds: Holds,
    /// Acquires that the last resume listed and that have not been repeated since; and whether they may have been let in before.
    pub(super) to_repeat: HashMap<u64, bool>,
    /// Another server has it, or had it, and it has not been resumed here yet.
    pub(super) was_elsewhere: bool,
    mailbox: mpsc::UnboundedReceiver<Box<Event>>,
    timer: Timer,
    attaches: mpsc::Receiver<Box<Attach>>,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As its client wished.
    Closed,
    /// With its stream.
    Disconnected,
    /// By its client's silence.
    Expired,
    /// With the server.
    Drained,
    /// Not at all: the server ends, and the session waits in the engine for its client to resume it elsewhere.
    Left,
    /// Not at all: its client has resumed it on another server.
    Moved,
}

impl End {
    const fn counted_as(self) -> SessionEnd {
        match self {
            Self::Closed => SessionEnd::Closed,
            Self::Disconnected => SessionEnd::Disconnected,
            Self::Expired => SessionEnd::Expired,
            Self::Drained => SessionEnd::Drained,
            Self::Left => SessionEnd::Left,
            Self::Moved => SessionEnd::Moved,
        }
    }

    /// What the holds are lost by, if they are.
    const fn loss(self) -> Option<LossReason> {
        match self {
            Self::Disconnected => Some(LossReason::Disconnected),
            Self::Expired => Some(LossReason::Expired),
            Self::Drained => Some(LossReason::ServerLost),
            Self::Closed | Self::Left | Self::Moved => None,
        }
    }

    /// What the client's stream ends with, if the client can hear it.
    const fn error(self) -> Option<Error> {
        match self {
            Self::Closed | Self::Disconnected => None,
            Self::Expired => Some(Error::SessionExpired),
            Self::Drained | Self::Left => Some(Error::Draining),
            Self::Moved => Some(Error::SessionSuperseded),
        }
    }
}

impl Actor {
    /// Of a session that has no stream yet.
    pub(super) fn new(
        service: Caller,
        session: Arc<Session>,
        attaches: mpsc::Receiver<Box<Attach>>,
        was_elsewhere: bool,
    ) -> Self {
        let (own, mailbox) = OwnSession::begin(&service, session.id);
        Self {
            service,
            session,
            own,
            attachment: None,
            resuming: None,
            attempt: 0,
            alive_at: lockstead_clock::time(),
            nudged: false,
            pending: Pending::default(),
            holds: Holds::default(),
            to_repeat: HashMap::new(),
            was_elsewhere,
            mailbox,
            timer: Timer::default(),
            attaches,
        }
    }

    /// Opens the session on this stream.
    pub(super) fn open(&mut self, inbound: Inbound, outbound: Outbound) {
        self.attach(Attachment::new(inbound, outbound));
        let opened = Opened {
            session: self.session.id,
            resume_secret: Secret::sign(self.session.id, self.service.identity().name(), &self.session.key),
            timeout: self.session.options.timeout,
            valid_for: self.valid_for(),
        };
        self.reply(Reply::Opened(Box::new(opened)));
    }

    /// Lives until the session ends.
    pub async fn run(mut self) {
        let end = self.live().await;
        self.finish(end).await;
    }

    async fn live(&mut self) -> End {
        let drain = self.service.drain.clone();
        // All sessions share these two, so each is asked for once and not for every message.
        let (mut begun, mut over) = (pin!(drain.begun()), pin!(drain.over()));
        let mut told_to_move = false;
        loop {
            let due = self.next_timer();
            let step = tokio::select! {
                biased;
                () = &mut over => Some(self.end_by_drain()),
                () = &mut begun, if !told_to_move => {
                    told_to_move = true;
                    self.tell_to_move();
                    None
                }
                // Never `None`: the router keeps the other end until `finish`.
                Some(event) = self.mailbox.recv() => self.on_event(*event),
                done = self.own.answered() => { self.on_answers(done); None }
                heard = hear(&mut self.attachment) => self.on_heard(heard),
                Some(attach) = self.attaches.recv() => self.on_attach(*attach),
                () = self.timer.until(due) => self.on_timer(),
            };
            if let Some(end) = step {
                return end;
            }
        }
    }

    /// `None` while the engines have the word, which will come.
    fn next_timer(&self) -> Option<Time> {
        if self.resuming.is_some() {
            return None;
        }
        let silence =
            if self.nudged || self.attachment.is_none() { self.session.options.timeout } else { self.nudge_after() };
        let silent_at = self.alive_at.saturating_add(silence);
        Some(self.pending.next_deadline().map_or(silent_at, |wait_over| wait_over.min(silent_at)))
    }

    /// A client that pings as it should is never nudged.
    fn nudge_after(&self) -> Duration {
        self.session.options.timeout / 2
    }

    fn on_timer(&mut self) -> Option<End> {
        let now = lockstead_clock::time();
        while let Some((ticket, scope)) = self.pending.pop_due(now) {
            let cancel = self.cancel_command(ticket.request, IfGranted::Keep);
            if let Ok(engine) = self.service.engines.of(scope) {
                let answer = engine.cancel(cancel);
                self.track(answer, move |result| Done::WaitOver(ticket, scope, result));
            }
        }
        let silence = now.since(self.alive_at);
        if silence >= self.session.options.timeout {
            return Some(End::Expired);
        }
        if silence >= self.nudge_after() && !self.nudged && self.attachment.is_some() {
            self.nudged = true;
            self.reply(Reply::Ping { sequence: now.as_micros() });
        }
        None
    }

    /// Sees to what was heard, and to what has arrived behind it, as long as it does not take too long.
    fn on_heard(&mut self, first: Heard) -> Option<End> {
        let mut heard = first;
        for _ in 1..MESSAGES_IN_A_ROW {
            if let Some(end) = self.on_one_heard(heard) {
                return Some(end);
            }
            heard = self.attachment.as_mut().and_then(Attachment::hear_now)?;
        }
        self.on_one_heard(heard)
    }

    fn on_one_heard(&mut self, heard: Heard) -> Option<End> {
        match heard {
            Heard::Message(Message::Close) => Some(End::Closed),
            Heard::Message(message) => {
                self.on_message(message);
                None
            }
            Heard::Written => None,
            Heard::Unreadable(error) => {
                self.send(Err(error));
                self.on_broken()
            }
            Heard::Broken => self.on_broken(),
        }
    }

    /// Sees to an answer of an engine, and to those that have come with it.
    fn on_answers(&mut self, first: Done) {
        self.on_done(first);
        for _ in 1..MESSAGES_IN_A_ROW {
            let Some(done) = self.own.answered_now() else { return };
            self.on_done(done);
        }
    }

    fn on_broken(&mut self) -> Option<End> {
        self.detach();
        match self.session.options.on_disconnect {
            OnDisconnect::Release => Some(End::Disconnected),
            OnDisconnect::Keep => None,
        }
    }

    pub(super) fn attach(&mut self, attachment: Attachment) {
        self.attachment = Some(attachment);
        self.session.attached.store(true, Ordering::Relaxed);
    }

    pub(super) fn detach(&mut self) -> Option<Attachment> {
        self.session.attached.store(false, Ordering::Relaxed);
        self.attachment.take()
    }

    /// Asks the client to go to another server, if the engine has others.
    pub(super) fn tell_to_move(&mut self) {
        if self.service.engines.outlive_server() {
            self.reply(Reply::Draining { within: self.service.drain.left() });
        }
    }

    fn end_by_drain(&self) -> End {
        let keeps = self.session.options.on_disconnect == OnDisconnect::Keep;
        if keeps && self.service.engines.outlive_server() { End::Left } else { End::Drained }
    }

    pub(super) fn reply(&mut self, reply: Reply) {
        self.send(Ok(reply));
    }

    /// What is sent while the client is away is lost: at its resume both sides say what they have.
    fn send(&mut self, item: Result<Reply, Error>) {
        if let Some(attachment) = &mut self.attachment {
            attachment.send(item);
        }
    }

    /// Ends everything that the session has, unless it goes on elsewhere, then tells the client.
    async fn finish(&mut self, end: End) {
        match end {
            End::Left | End::Moved => {
                self.holds.leave();
                self.own.leave();
            }
            End::Closed | End::Disconnected | End::Expired | End::Drained => self.end_holds(end).await,
        }
        self.service.metrics.session_ended(end.counted_as());
        if let Some(resuming) = self.resuming.take() {
            self.attachment = Some(resuming.attachment);
        } else if let Some(reason @ (LossReason::Expired | LossReason::ServerLost)) = end.loss() {
            self.reply(Reply::Ended { reason, message: ended_message(reason) });
        }
        if let Some(error) = end.error() {
            self.send(Err(error));
        }
        // Whatever piled up is for a client that reads; one that does not is not waited for.
        self.turn_away(end);
    }

    /// Who comes to resume it just now comes too late.
    fn turn_away(&mut self, end: End) {
        self.attaches.close();
        while let Ok(attach) = self.attaches.try_recv() {
            let Attach { inbound, outbound, .. } = *attach;
            let error = match end {
                End::Drained | End::Left => Error::Draining,
                // It has come back, and finds the session at the next attempt.
                End::Moved => Error::BackendUnavailable(ON_THE_MOVE),
                End::Closed | End::Disconnected | End::Expired => Error::SessionNotFound,
            };
            Attachment::new(inbound, outbound).send(Err(error));
        }
    }

    async fn end_holds(&mut self, end: End) {
        let reason = if end == End::Expired { EndReason::Expired } else { EndReason::Disconnected };
        let ended = self.own.end(reason).await;
        self.holds.end_all(&self.service.metrics);
        if let Some(loss) = end.loss() {
            for (scope, count) in ended {
                let holds = count.saturating_sub(self.pending.queued_in(scope));
                self.service.metrics.lost(scope, loss, holds);
            }
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.service.sessions.remove(self.session.id);
    }
}

fn ended_message(reason: LossReason) -> &'static str {
    match reason {
        LossReason::Expired => "nothing was heard of the client for the session timeout",
        _ => "the server is shutting down",
    }
}

async fn hear(attachment: &mut Option<Attachment>) -> Heard {
    match attachment {
        Some(attachment) => attachment.hear().await,
        None => std::future::pending().await,
    }
}
