//! How a session gets its stream, and what it means for the session when a stream or an attempt fails.

use std::time::Duration;

use lockstead_api::v1;
use lockstead_core::Time;

use super::{Link, Order, Session, State};
use crate::config::OnDisconnect;
use crate::loss::{Loss, LossReason};
use crate::session::wire::{self, Failure, ToServer};

type Understood = Result<(), String>;

impl State {
    pub(super) fn connect(&mut self, now: Time) {
        self.orders.push_back(Order::Connect(self.route.current()));
        self.link = Link::Connecting { give_up: now.saturating_add(self.config.attempt_timeout()) };
    }

    /// There is a connection: says the first words.
    pub(in crate::session) fn on_connected(&mut self, now: Time) {
        let Link::Connecting { give_up } = self.link else { return };
        self.link = Link::Attaching { sent: now, give_up };
        let message = match &mut self.session {
            None => wire::open(&self.config),
            Some(session) => {
                session.attempt += 1;
                ToServer::Resume(v1::ResumeSession {
                    session_id: session.id.to_string(),
                    resume_secret: session.resume_secret.clone(),
                    attempt: session.attempt,
                    holds: self.operations.list_holds(),
                    pending_request_ids: self.operations.list_pending(),
                    options: Some(wire::options(&self.config)),
                })
            }
        };
        self.say(message);
    }

    pub(super) fn on_opened(&mut self, now: Time, sent: Time, opened: v1::SessionOpened) -> Understood {
        if self.session.is_some() {
            return Err("`opened` in answer to `resume`".to_owned());
        }
        let valid_for = wire::required(opened.valid_for)?;
        self.session = Some(Session::new(opened, sent, valid_for));
        self.up(now);
        Ok(())
    }

    pub(super) fn on_resumed(&mut self, now: Time, sent: Time, resumed: &v1::SessionResumed) -> Understood {
        let Some(session) = &mut self.session else { return Err("`resumed` in answer to `open`".to_owned()) };
        let valid_for = wire::required(resumed.valid_for)?;
        if !session.confirm(now, sent, valid_for) {
            self.expire(now);
            return Ok(());
        }
        self.operations.resumed();
        resumed.lost.iter().try_for_each(|lost| self.operations.lost(now, lost))?;
        self.up(now);
        Ok(())
    }

    /// The server knows the session: goes on with what waited for that.
    fn up(&mut self, now: Time) {
        self.link = Link::Up;
        if let Some(closing) = &self.closing {
            return self.leave_for_good(closing.give_up);
        }
        if let Some(first) = self.first_open.take()
            && first.answer.send(Ok(())).is_err()
        {
            // Nobody waits for the client any more, and so nobody has it.
            return self.on_abandoned(now);
        }
        self.operations.attached(now, &mut self.messages);
    }

    /// The stream ended, or the attempt at one failed.
    pub(in crate::session) fn on_failure(&mut self, now: Time, failure: &Failure) {
        let was_up = match self.link {
            Link::Down { .. } | Link::Finished => return,
            Link::Finishing { .. } => return self.finish(&Ok(())),
            Link::Connecting { .. } | Link::Attaching { .. } => false,
            Link::Up => true,
        };
        tracing::debug!(failure = failure.text(), "session stream ended");
        self.route.failed(failure.text());
        if matches!(failure, Failure::MoveOn(_)) || (!was_up && matches!(failure, Failure::Broken(_))) {
            self.route.turn();
        }
        let had_session = self.session.is_some();
        if let Some(reason) = self.loss_by(failure, was_up) {
            self.end_session(now, &Loss::new(reason, wire::shared(failure.text()), now));
        }
        if let Failure::Refused(error, _) = failure
            && !had_session
        {
            self.operations.refuse_all(error);
            if self.first_open.is_some() {
                return self.fail_first_open(error.clone());
            }
        }
        // A server that answered a resume is there and well; only the session is gone.
        self.go_down(now, had_session && !was_up && matches!(failure, Failure::SessionOver(..)));
    }

    /// Why the session is over, if such a failure ends it.
    fn loss_by(&self, failure: &Failure, was_up: bool) -> Option<LossReason> {
        match failure {
            Failure::SessionOver(reason, _) => Some(*reason),
            _ if was_up && self.config.on_disconnect == OnDisconnect::Release => Some(LossReason::Disconnected),
            // In answer to a resume.
            Failure::Refused(..) if !was_up => Some(LossReason::ServerLost),
            _ => None,
        }
    }

    /// There is no stream. The next attempt is made after a pause, or at once.
    pub(super) fn go_down(&mut self, now: Time, at_once: bool) {
        let pause = if at_once { Duration::ZERO } else { self.route.pause() };
        self.link = Link::Down { retry: now.saturating_add(pause) };
        // What was to be said on that stream is said again on the next, as far as it still matters.
        self.messages.clear();
        match &mut self.session {
            Some(session) => {
                session.validity.put_at_risk(now);
                session.pings.clear();
            }
            None if self.closing.is_some() => return self.finish(&Ok(())),
            None => {}
        }
        self.operations.detached(now);
    }
}
