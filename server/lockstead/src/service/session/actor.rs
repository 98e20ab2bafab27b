//! The life of a session.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use lockstead_api::v1::LossReason;
use lockstead_core::{EndReason, Event, IfGranted, ResumeSession, Time};
use tokio::sync::mpsc;

use super::OnDisconnect;
use super::attachment::{Attachment, Heard, Inbound, Outbound};
use super::message::{HeldHold, Message, Opened, Reply, Resume};
use super::operations::Done;
use super::pending::Pending;
use super::registry::Session;
use crate::service::Service;
use crate::service::error::{Error, Result};
use crate::service::own_session::OwnSession;

/// Messages read in one go before events and the clock have their turn.
const MESSAGES_IN_A_ROW: usize = 128;

/// A new stream for the session.
pub(super) struct Attach {
    pub(super) resume: Resume,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
}

/// What the task owns.
pub(super) struct Actor {
    pub(super) service: Service,
    pub(super) session: Arc<Session>,
    own: OwnSession,
    /// `None` while its client is away.
    attachment: Option<Attachment>,
    attempt: u32,
    /// The last sign of life. Its holds end the session timeout after it.
    pub(super) alive_at: Time,
    /// A ping of ours that nothing was heard since.
    pub(super) nudged: bool,
    pub(super) pending: Pending,
    mailbox: mpsc::UnboundedReceiver<Event>,
    attaches: mpsc::Receiver<Attach>,
    pub(super) in_flight: FuturesUnordered<BoxFuture<'static, Done>>,
}

/// How a session ends.
enum End {
    /// As its client wished.
    Closed,
    /// With its stream.
    Disconnected,
    /// By its client's silence.
    Expired,
    /// With the server.
    Drained,
}

impl End {
    const fn as_label(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Disconnected => "disconnected",
            Self::Expired => "expired",
            Self::Drained => "drained",
        }
    }
}

impl Actor {
    pub(super) fn new(
        service: Service,
        session: Arc<Session>,
        own: OwnSession,
        mailbox: mpsc::UnboundedReceiver<Event>,
        attaches: mpsc::Receiver<Attach>,
    ) -> Self {
        Self {
            service,
            session,
            own,
            attachment: None,
            attempt: 0,
            alive_at: lockstead_clock::time(),
            nudged: false,
            pending: Pending::default(),
            mailbox,
            attaches,
            in_flight: FuturesUnordered::new(),
        }
    }

    /// Lives until the session ends.
    pub(super) async fn run(mut self, inbound: Inbound, outbound: Outbound) {
        self.attachment = Some(Attachment::new(inbound, outbound));
        self.reply(Reply::Opened(Opened {
            session: self.session.id,
            resume_secret: self.session.secret,
            timeout: self.session.options.timeout,
            valid_for: self.session.options.timeout,
        }));
        let end = self.live().await;
        self.finish(end).await;
    }

    async fn live(&mut self) -> End {
        let draining = self.service.draining.clone();
        loop {
            let timer = self.next_timer();
            let step = tokio::select! {
                biased;
                () = draining.cancelled() => Some(End::Drained),
                // Never `None`: the router keeps the other end until `finish`.
                Some(event) = self.mailbox.recv() => { self.on_event(event); None }
                Some(done) = self.in_flight.next(), if !self.in_flight.is_empty() => { self.on_done(done); None }
                heard = hear(&mut self.attachment) => self.on_heard(heard),
                Some(attach) = self.attaches.recv() => self.on_attach(attach).await,
                () = lockstead_clock::sleep_until(timer) => self.on_timer(),
            };
            if let Some(end) = step {
                return end;
            }
        }
    }

    fn next_timer(&self) -> Time {
        let silence =
            if self.nudged || self.attachment.is_none() { self.session.options.timeout } else { self.nudge_after() };
        let silent_at = self.alive_at.saturating_add(silence);
        self.pending.next_deadline().map_or(silent_at, |wait_over| wait_over.min(silent_at))
    }

    /// A client that pings as it should is never nudged.
    fn nudge_after(&self) -> Duration {
        self.session.options.timeout / 2
    }

    fn on_timer(&mut self) -> Option<End> {
        let now = lockstead_clock::time();
        while let Some((request, scope)) = self.pending.pop_due(now) {
            let cancel = self.cancel_command(request, IfGranted::Keep);
            if let Ok(engine) = self.service.engines.of(scope) {
                let answer = engine.cancel(cancel);
                self.track(answer, move |result| Done::WaitOver(request, result));
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

    fn on_broken(&mut self) -> Option<End> {
        self.attachment = None;
        match self.session.options.on_disconnect {
            OnDisconnect::Release => Some(End::Disconnected),
            OnDisconnect::Keep => {
                self.session.attached.store(false, Ordering::Relaxed);
                None
            }
        }
    }

    async fn on_attach(&mut self, attach: Attach) -> Option<End> {
        let Attach { resume, inbound, outbound } = attach;
        let mut attachment = Attachment::new(inbound, outbound);
        if self.session.options.on_disconnect == OnDisconnect::Release {
            // A client that resumes has lost its stream, even if we have not heard of it yet.
            attachment.send(Err(Error::SessionNotFound));
            return Some(End::Disconnected);
        }
        if resume.attempt <= self.attempt {
            attachment.send(Err(Error::SessionSuperseded));
            return None;
        }
        self.attempt = resume.attempt;
        if let Some(mut old) = self.attachment.take() {
            old.send(Err(Error::SessionSuperseded));
            self.session.attached.store(false, Ordering::Relaxed);
        }
        match self.reconcile(&resume).await {
            Ok(lost) => {
                self.on_sign_of_life();
                self.attachment = Some(attachment);
                self.session.attached.store(true, Ordering::Relaxed);
                self.service.metrics.resumed();
                self.reply(Reply::Resumed { valid_for: self.session.options.timeout, lost });
            }
            Err(error) => attachment.send(Err(error)),
        }
        None
    }

    /// Makes the engines agree with what the client says it has, and returns what it has no more.
    async fn reconcile(&mut self, resume: &Resume) -> Result<Vec<HeldHold>> {
        // Those that stay in their queues are pending again when they are repeated. What happens to them before that is
        // the answer to the repetition, and is not told twice.
        self.pending.clear();
        let mut lost = Vec::new();
        for (scope, engine) in self.service.engines.iter() {
            let here = |held: &HeldHold| self.service.engines.scope_of_hold(held.hold) == scope;
            let holds = resume.holds.iter().filter(|(held, _)| here(held));
            let command = ResumeSession {
                session: self.session.id,
                attempt: resume.attempt,
                holds: holds.map(|(held, entries)| (held.hold, *entries)).collect(),
                pending: resume.pending.clone(),
            };
            let gone: HashSet<_> = engine.resume_session(command).await?.into_iter().collect();
            lost.extend(resume.holds.iter().map(|(held, _)| held).filter(|held| gone.contains(&held.hold)).cloned());
        }
        Ok(lost)
    }

    pub(super) fn reply(&mut self, reply: Reply) {
        self.send(Ok(reply));
    }

    /// What is sent while the client is away is lost: at its resume both sides say what they have.
    fn send(&mut self, item: std::result::Result<Reply, Error>) {
        if let Some(attachment) = &mut self.attachment {
            attachment.send(item);
        }
    }

    /// Ends everything that the session has, then tells the client.
    async fn finish(mut self, end: End) {
        let reason = if matches!(end, End::Expired) { EndReason::Expired } else { EndReason::Disconnected };
        self.own.end(reason).await;
        self.service.metrics.session_ended(end.as_label());
        let (loss, message, error) = match end {
            End::Closed | End::Disconnected => return,
            End::Expired => {
                (LossReason::Expired, "nothing was heard of the client for the session timeout", Error::SessionExpired)
            }
            End::Drained => (LossReason::ServerLost, "the server is shutting down", Error::Draining),
        };
        self.reply(Reply::Ended { reason: loss, message });
        self.send(Err(error));
        // Whatever piled up is for a client that reads; one that does not is not waited for.
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.service.sessions.remove(self.session.id);
    }
}

async fn hear(attachment: &mut Option<Attachment>) -> Heard {
    match attachment {
        Some(attachment) => attachment.hear().await,
        None => std::future::pending().await,
    }
}
