//! The stream in use: what the server says on it, when it should be left, and what its end means.

use std::time::Duration;

use lockstead_api::{convert, v1};
use lockstead_core::Time;

use super::attempt::Attempt;
use super::{Link, Order, Session, State};
use crate::config::OnDisconnect;
use crate::error::Error;
use crate::loss::{Loss, LossReason};
use crate::session::wire::{self, Failure, FromServer, ToServer};

type Understood = Result<(), String>;

impl State {
    /// Reads a message of the stream in use.
    pub(in crate::session) fn on_message(&mut self, now: Time, message: FromServer) {
        // Else it was said before the server had read that we left.
        let Link::Up { .. } = self.link else { return };
        if let Err(why) = self.on_news(now, message) {
            self.orders.push_back(Order::HangUp);
            self.on_failure(now, &Failure::misunderstood(&why));
        }
    }

    fn on_news(&mut self, now: Time, message: FromServer) -> Understood {
        if self.must_wait(&message) {
            self.deferred.push(message);
            return Ok(());
        }
        let hears = self.hears();
        let Some(session) = &self.session else { return Err("there is no session".to_owned()) };
        match message {
            FromServer::Acquired(acquired) => {
                return self.operations.acquired(&acquired, &session.validity, &mut self.messages);
            }
            FromServer::NotAcquired(answer) => {
                let why = Error::from_not_acquired(answer.why.unwrap_or_default());
                self.operations.acquires.refuse(answer.request_id, &why);
            }
            FromServer::Failed(failed) => {
                let reason = v1::ErrorReason::try_from(failed.reason).unwrap_or_default();
                let error = Error::refused(reason, failed.message);
                self.operations.failed(now, failed.request_id, &error, &mut self.route.pauses);
            }
            FromServer::Released(released) => self.operations.released(released.request_id),
            FromServer::Lost(lost) => return self.operations.lost(now, &lost, hears),
            FromServer::Ping(ping) => self.say(ToServer::Pong(v1::Pong { sequence: ping.sequence, valid_for: None })),
            FromServer::Pong(pong) => return self.on_pong(now, &pong),
            FromServer::Ended(ended) => {
                self.orders.push_back(Order::Leave);
                let reason = LossReason::from_wire(ended.reason);
                self.on_failure(now, &Failure::SessionOver(reason, ended.message));
            }
            FromServer::Draining(draining) => self.on_draining(now, &draining),
            FromServer::Opened(_) | FromServer::Resumed(_) => return Err("the session is open already".to_owned()),
            // Their place in the queue is news to nobody yet.
            FromServer::Queued(_) => {}
        }
        Ok(())
    }

    /// Whether it is too early to act upon a message. While a resume is under way, its lists stand: if it is answered,
    /// the next server has the last word about what they say, and this one's does not matter. And a grant without a
    /// promise waits for one, which is due with the next pong.
    fn must_wait(&self, message: &FromServer) -> bool {
        let is_answer = matches!(
            message,
            FromServer::Acquired(_) | FromServer::NotAcquired(_) | FromServer::Failed(_) | FromServer::Released(_)
        );
        let without_promise = self.session.as_ref().is_some_and(|session| session.validity.is_over());
        is_answer && (self.is_resuming() || (without_promise && matches!(message, FromServer::Acquired(_))))
    }

    pub(super) fn read_deferred(&mut self, now: Time) {
        for message in std::mem::take(&mut self.deferred) {
            self.on_message(now, message);
        }
    }

    fn on_pong(&mut self, now: Time, pong: &v1::Pong) -> Understood {
        let valid_for = wire::required(pong.valid_for)?;
        let resume_sent = match self.attempt {
            Some(Attempt::Attaching { sent, .. }) => Some(sent),
            _ => None,
        };
        let Some(session) = &mut self.session else { return Ok(()) };
        let Some(sent) = session.answered(pong.sequence) else { return Ok(()) };
        // The server may not know yet that another one has taken the session, from when on only that one's word counts. But
        // that can't have been before the resume was sent.
        let sent = resume_sent.map_or(sent, |resume_sent| sent.min(resume_sent));
        if !session.confirm(now, sent, valid_for) {
            self.lapse(now);
            if let Some(session) = &mut self.session {
                session.renew_validity(now, sent, valid_for);
            }
        }
        self.heard_again();
        self.read_deferred(now);
        Ok(())
    }

    /// The server is well alive: there is no need to look for another one, unless it drains.
    fn heard_again(&mut self) {
        if self.is_draining() || self.is_resuming() {
            return;
        }
        if let Some(Attempt::Connecting { .. }) = self.attempt.take() {
            self.orders.push_back(Order::Abandon);
        }
        self.route.proved();
    }

    fn on_draining(&mut self, now: Time, draining: &v1::SessionDraining) {
        if self.closing.is_some() || self.is_draining() {
            return;
        }
        let within = draining.within.and_then(convert::duration).unwrap_or(Duration::MAX);
        self.link = Link::Up { draining: Some(now.saturating_add(within)) };
        self.route.note(self.route.home(), "the server is about to stop");
        if let None | Some(Attempt::Waiting { .. }) = self.attempt {
            self.move_away(now);
        }
    }

    /// Looks for another server while the stream stays in use.
    fn move_away(&mut self, now: Time) {
        self.route.new_round();
        self.attempt = Some(Attempt::Waiting { until: now });
    }

    /// Pings when that is due, and looks for another server if the pong does not come. A session that does not survive its
    /// stream stays: for that one, a second stream would be none the better.
    pub(super) fn stream_on_time(&mut self, now: Time) {
        if self.session.as_ref().is_some_and(|session| now >= session.ping_due()) {
            self.ping(now);
        }
        if self.suspicious_at().is_some_and(|suspicious_at| now >= suspicious_at) {
            self.route.note(self.route.home(), "no answer in time");
            self.move_away(now);
        }
    }

    pub(super) fn stream_wake(&self) -> Option<Time> {
        let ping_due = self.session.as_ref().map(Session::ping_due);
        [ping_due, self.suspicious_at()].into_iter().flatten().min()
    }

    fn suspicious_at(&self) -> Option<Time> {
        let may_move = self.config.on_disconnect == OnDisconnect::Keep && self.closing.is_none();
        let session = self.session.as_ref().filter(|_| may_move && self.attempt.is_none());
        session.and_then(Session::suspicious_at)
    }

    pub(super) fn ping(&mut self, now: Time) {
        let Some(session) = &mut self.session else { return };
        let sequence = session.ping(now);
        self.say(ToServer::Ping(v1::Ping { sequence }));
    }

    /// The stream in use has ended.
    pub(in crate::session) fn on_failure(&mut self, now: Time, failure: &Failure) {
        let in_peace = match self.link {
            Link::Down | Link::Moved { .. } | Link::Finished => return,
            Link::Finishing { .. } => return self.finish(&Ok(())),
            Link::Up { draining } => draining.is_some(),
        };
        tracing::debug!(failure = failure.text(), "session stream ended");
        if self.is_superseded_by_us(failure) && self.is_resuming() {
            // No news: the answer to the resume is on its way.
            self.link = Link::Moved { in_peace };
            return self.forget_stream(now);
        }
        if let Some(reason) = self.loss_by_end(failure) {
            self.end_session(now, &Loss::new(reason, wire::shared(failure.text()), now));
        }
        if !self.is_resuming() {
            self.route.note(self.route.home(), failure.text());
            self.choose_next(now, failure);
        }
        self.go_down(now);
    }

    /// Where to go after the stream in use has ended.
    fn choose_next(&mut self, now: Time, failure: &Failure) {
        if let Some(Attempt::Waiting { until }) = &mut self.attempt {
            // Whoever did not want the session a moment ago is asked again: now there is nowhere to stay.
            self.route.new_round();
            *until = now;
        }
        if matches!(failure, Failure::MoveOn(_)) {
            self.route.try_last(self.route.home());
        }
    }

    /// Whether the stream ended because a server has taken the session at our own wish.
    fn is_superseded_by_us(&self, failure: &Failure) -> bool {
        let later_attempt = self.session.as_ref().is_some_and(|session| session.attempt > session.attached);
        later_attempt && matches!(failure, Failure::Superseded(_))
    }

    /// Why the session is over, if such an end of its stream ends it.
    fn loss_by_end(&self, failure: &Failure) -> Option<LossReason> {
        match failure {
            Failure::SessionOver(reason, _) => Some(*reason),
            // The server that has taken it may have seen its stream break, too.
            _ if self.config.on_disconnect == OnDisconnect::Release => Some(LossReason::Disconnected),
            Failure::Superseded(_) if !self.is_superseded_by_us(failure) => Some(LossReason::Expired),
            _ => None,
        }
    }

    /// There is no stream. An attempt that is under way goes on; else the next one begins after a pause, if there has to be
    /// one.
    pub(super) fn go_down(&mut self, now: Time) {
        self.link = Link::Down;
        self.forget_stream(now);
        match &mut self.session {
            Some(session) => session.validity.put_at_risk(now),
            None if self.closing.is_some() => return self.finish(&Ok(())),
            None => {}
        }
        if !self.is_resuming() {
            self.operations.resume_failed(now, self.hears(), &mut self.messages);
        }
        if self.attempt.is_none() {
            self.attempt = Some(Attempt::Waiting { until: now.saturating_add(self.route.pause()) });
        }
    }

    /// What was to be said on the stream is said again on the next, as far as it still matters.
    fn forget_stream(&mut self, now: Time) {
        self.messages.clear();
        self.deferred.clear();
        if let Some(session) = &mut self.session {
            session.pings.clear();
        }
        self.operations.stream_gone(now);
    }
}
