//! How a session ends, and the client.

use lockstead_api::v1;
use lockstead_core::Time;
use tokio::sync::oneshot;

use super::attempt::Attempt;
use super::route::Route;
use super::{Link, Order, State};
use crate::config::Config;
use crate::error::{Error, Result, Unavailable};
use crate::loss::{Loss, LossReason};
use crate::session::wire::ToServer;

/// A `connect` that waits for the first session.
pub(super) struct FirstOpen {
    pub(super) answer: oneshot::Sender<Result<()>>,
    pub(super) give_up: Time,
}

/// That the client is to end, and who wants to know when it has.
pub(super) struct Closing {
    answers: Vec<oneshot::Sender<Result<()>>>,
    pub(super) give_up: Time,
}

impl State {
    /// Gives up what has waited long enough.
    pub(super) fn end_on_time(&mut self, now: Time) {
        if self.first_open.as_ref().is_some_and(|first| now >= first.give_up) {
            self.fail_first_open(self.unavailable());
        }
        if self.closing.as_ref().is_some_and(|closing| now >= closing.give_up) {
            self.orders.push_back(Order::HangUp);
            self.finish(&Err(self.unavailable()));
        }
    }

    /// If the validity of the holds has passed: they are lost. If also the server may have ended the session for our
    /// silence: ends it here, and tells the server, so that it need not wait.
    pub(super) fn expire(&mut self, now: Time) {
        let Some(session) = &self.session else { return };
        let Some(loss) = session.validity.loss(now) else { return };
        if now < session.silent_until() {
            return self.lapse(now);
        }
        let was_up = matches!(self.link, Link::Up { .. });
        self.end_session(now, &loss);
        // The server has been silent. If it was not, but we were, another one is as good.
        self.route.new_round();
        self.go_down(now);
        if was_up {
            self.say(ToServer::Close(v1::CloseSession {}));
            self.orders.push_back(Order::Leave);
        }
    }

    /// The server does not vouch for the holds any more, for it can't reach the store, or can't be heard itself. The
    /// session goes on, and with it the places of its acquires in their queues.
    pub(super) fn lapse(&mut self, now: Time) {
        let loss = self.session.as_ref().and_then(|session| session.validity.loss(now));
        if let Some(loss) = loss {
            self.operations.lapse(now, &loss, self.hears(), &mut self.messages);
        }
    }

    /// Nothing is left of the session, and so nothing to resume.
    pub(super) fn end_session(&mut self, now: Time, loss: &Loss) {
        if self.is_resuming() {
            self.attempt = None;
            self.orders.push_back(Order::Abandon);
        }
        let Some(session) = self.session.take() else { return };
        session.validity.end(now, loss.clone());
        self.operations.session_over(now, loss);
    }

    pub(super) fn close(&mut self, now: Time, answer: Option<oneshot::Sender<Result<()>>>) {
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
            // Which server has the session will be known when it is answered.
            (Some(_), Link::Up { .. }) if self.is_resuming() => {}
            (_, Link::Up { .. }) => self.leave_for_good(give_up),
            // The server keeps the holds until it hears from us: go on, to resume with nothing and leave.
            (Some(_), _) => {}
            (None, _) => self.finish(&Ok(())),
        }
    }

    /// All clients and guards are gone.
    pub(in crate::session) fn on_abandoned(&mut self, now: Time) {
        self.close(now, None);
    }

    pub(super) fn leave_for_good(&mut self, give_up: Time) {
        self.abandon();
        self.say(ToServer::Close(v1::CloseSession {}));
        self.orders.push_back(Order::Finish);
        self.session = None;
        self.link = Link::Finishing { give_up };
    }

    /// The end. Whoever still waits for something hears it.
    pub(super) fn finish(&mut self, outcome: &Result<()>) {
        self.abandon();
        self.link = Link::Finished;
        self.session = None;
        self.operations.releases_done(outcome);
        let answers = self.closing.take().map(|closing| closing.answers).unwrap_or_default();
        tell(answers, outcome);
    }

    fn abandon(&mut self) {
        if let Some(Attempt::Connecting { .. } | Attempt::Attaching { .. }) = self.attempt.take() {
            self.orders.push_back(Order::Abandon);
        }
    }

    /// The runtime is ending, so nobody will drive this any more.
    pub(in crate::session) fn on_stopped(&mut self, now: Time) {
        let loss = Loss::new(LossReason::Disconnected, "the runtime that the client lived in has ended", now);
        self.end_session(now, &loss);
        self.operations.close(now, &loss);
        self.finish(&Ok(()));
    }

    pub(super) fn fail_first_open(&mut self, error: Error) {
        if let Some(first) = self.first_open.take() {
            let _ = first.answer.send(Err(error));
            self.finish(&Ok(()));
        }
    }

    pub(super) fn unavailable(&self) -> Error {
        self.route.unavailable(&self.config)
    }
}

fn tell(answers: impl IntoIterator<Item = oneshot::Sender<Result<()>>>, outcome: &Result<()>) {
    for answer in answers {
        let _ = answer.send(outcome.clone());
    }
}

/// For error texts: the servers that were tried.
impl Route {
    pub(super) fn unavailable(&self, config: &Config) -> Error {
        let attempts = config.servers.iter().zip(self.failures());
        let attempts = attempts.map(|(server, failure)| {
            (server.address.clone(), failure.clone().unwrap_or_else(|| "not tried yet".to_owned()))
        });
        Error::Unavailable(Unavailable { after: config.connect_timeout, attempts: attempts.collect() })
    }
}
