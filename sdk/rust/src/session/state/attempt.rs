//! Attempts at a stream, from the choice of a server to its answer.

use std::time::Duration;

use lockstead_api::v1;
use lockstead_core::Time;

use super::operations::{Hears, say};
use super::{Link, Order, Session, State, Switch};
use crate::config::OnDisconnect;
use crate::loss::{Loss, LossReason};
use crate::session::wire::{self, Failure, FromServer, ToServer};

/// The least time for an attempt, however little is left of the session.
const ATTEMPT_MIN: Duration = Duration::from_millis(100);

type Understood = Result<(), String>;

/// An attempt at a stream.
#[derive(Clone, Debug)]
pub(super) enum Attempt {
    /// The next one begins then.
    Waiting { until: Time },
    /// The driver connects to one of these servers.
    Connecting { servers: Vec<usize>, give_up: Time },
    /// `open` or `resume` is on its way to a server since `sent`.
    Attaching { server: usize, sent: Time, give_up: Time },
}

impl Attempt {
    /// When time makes a difference to it.
    pub(super) fn due(&self) -> Time {
        match self {
            Self::Waiting { until } => *until,
            Self::Connecting { give_up, .. } | Self::Attaching { give_up, .. } => *give_up,
        }
    }
}

impl State {
    pub(super) fn attempt_on_time(&mut self, now: Time) {
        match self.attempt.as_ref().filter(|attempt| now >= attempt.due()) {
            None => {}
            Some(Attempt::Waiting { .. }) => self.connect(now),
            Some(Attempt::Connecting { .. } | Attempt::Attaching { .. }) => {
                self.orders.push_back(Order::Abandon);
                self.on_attempt_failure(now, &Failure::Broken("no answer in time".to_owned()));
            }
        }
    }

    fn connect(&mut self, now: Time) {
        let servers = self.route.ahead();
        let most = self.config.connect_timeout;
        let bound = self.time_left(now).map_or(most, |left| (left / 2).clamp(ATTEMPT_MIN, most.max(ATTEMPT_MIN)));
        self.orders.push_back(Order::Connect(servers.clone()));
        self.attempt = Some(Attempt::Connecting { servers, give_up: now.saturating_add(bound) });
    }

    /// How long a server may take to answer, so that one which swallows everything does not use up the time of those after
    /// it.
    fn answer_bound(&self, now: Time) -> Duration {
        let most = self.config.attempt_timeout();
        let shares = u32::try_from(self.route.ahead().len()).unwrap_or(u32::MAX).saturating_add(2);
        self.time_left(now).map_or(most, |left| (left / shares).clamp(ATTEMPT_MIN, most.max(ATTEMPT_MIN)))
    }

    /// Until what there is to lose is lost.
    fn time_left(&self, now: Time) -> Option<Duration> {
        let ends_at = self.session.as_ref().map(Session::ends_at)?;
        let stops_at = if let Link::Up { draining } = self.link { draining } else { None };
        Some(stops_at.map_or(ends_at, |stops_at| stops_at.min(ends_at)).since(now))
    }

    /// One of the servers can't be reached.
    pub(in crate::session) fn on_unreachable(&mut self, now: Time, server: usize, failure: &Failure) {
        let Some(Attempt::Connecting { servers, .. }) = &mut self.attempt else { return };
        servers.retain(|other| *other != server);
        let none_is_left = servers.is_empty();
        self.route.failed(server, failure.text());
        if none_is_left {
            self.on_attempt_failure(now, failure);
        }
    }

    /// There is a connection. Answers what is to be said first, if it is still wanted.
    pub(in crate::session) fn on_connected(&mut self, now: Time, server: usize) -> Option<v1::SessionRequest> {
        let Some(Attempt::Connecting { .. }) = self.attempt else { return None };
        self.route.reached(server);
        let give_up = now.saturating_add(self.answer_bound(now));
        self.attempt = Some(Attempt::Attaching { server, sent: now, give_up });
        let Some(session) = &mut self.session else { return Some(say(wire::open(&self.config))) };
        session.attempt += 1;
        Some(say(ToServer::Resume(v1::ResumeSession {
            session_id: session.id.to_string(),
            resume_secret: session.resume_secret.clone(),
            attempt: session.attempt,
            holds: self.operations.list_holds(),
            pending_request_ids: self.operations.acquires.list(),
            options: Some(wire::options(&self.config)),
        })))
    }

    /// Reads a message of the attempt's stream.
    pub(in crate::session) fn on_attempt_message(&mut self, now: Time, message: FromServer) {
        let Some(Attempt::Attaching { server, sent, .. }) = self.attempt else { return };
        let understood = match message {
            FromServer::Opened(opened) => self.on_opened(sent, opened),
            FromServer::Resumed(resumed) => self.on_resumed(now, sent, &resumed),
            FromServer::Ended(ended) => {
                self.orders.push_back(Order::Abandon);
                let reason = LossReason::from_wire(ended.reason);
                return self.on_attempt_failure(now, &Failure::SessionOver(reason, ended.message));
            }
            FromServer::Ping(_) => return,
            _ => Err("the session is not open yet".to_owned()),
        };
        match understood {
            Ok(()) => self.up(now, server),
            Err(why) => {
                self.orders.push_back(Order::Abandon);
                self.on_attempt_failure(now, &Failure::misunderstood(&why));
            }
        }
    }

    fn on_opened(&mut self, sent: Time, opened: v1::SessionOpened) -> Understood {
        if self.session.is_some() {
            return Err("`opened` in answer to `resume`".to_owned());
        }
        let valid_for = wire::required(opened.valid_for)?;
        self.session = Some(Session::new(opened, sent, valid_for));
        Ok(())
    }

    fn on_resumed(&mut self, now: Time, sent: Time, resumed: &v1::SessionResumed) -> Understood {
        let Some(session) = &mut self.session else { return Err("`resumed` in answer to `open`".to_owned()) };
        let valid_for = wire::required(resumed.valid_for)?;
        let hears = Hears { stream: false, acquires: false, resume: false };
        resumed.lost.iter().try_for_each(|lost| self.operations.lost(now, lost, hears))?;
        if !session.confirm_anew(now, sent, valid_for) {
            self.lapse(now);
            if let Some(session) = &mut self.session {
                session.renew_validity(now, sent, valid_for);
            }
        }
        Ok(())
    }

    /// The server knows the session: its stream is the one in use, and takes what waited for that.
    fn up(&mut self, now: Time, server: usize) {
        let in_peace = self.is_draining() || self.link == Link::Moved { in_peace: true };
        self.switch = Some(Switch { in_peace });
        self.link = Link::Up { draining: None };
        self.route.arrived(server);
        self.attempt = None;
        self.messages.clear();
        self.deferred.clear();
        if let Some(session) = &mut self.session {
            session.attached = session.attempt;
            session.pings.clear();
        }
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

    /// The attempt came to nothing.
    pub(in crate::session) fn on_attempt_failure(&mut self, now: Time, failure: &Failure) {
        let attaching_to = match &self.attempt {
            None | Some(Attempt::Waiting { .. }) => return,
            Some(Attempt::Connecting { servers, .. }) => {
                for server in servers {
                    self.route.failed(*server, failure.text());
                }
                None
            }
            Some(Attempt::Attaching { server, .. }) => {
                self.route.failed(*server, failure.text());
                Some(*server)
            }
        };
        self.attempt = None;
        tracing::debug!(failure = failure.text(), "attempt at a session stream failed");
        if let Link::Up { .. } = self.link {
            return self.stay(now, attaching_to.is_some() && matches!(failure, Failure::Broken(_)));
        }
        let had_session = self.session.is_some();
        if let Some(reason) = self.loss_by_answer(failure) {
            self.end_session(now, &Loss::new(reason, wire::shared(failure.text()), now));
            if let (Some(server), Failure::SessionOver(..)) = (attaching_to, failure) {
                // It is there and well; only the session is gone.
                self.route.try_first(server);
            }
        }
        if let Failure::Refused(error, _) = failure
            && !had_session
        {
            self.operations.acquires.refuse_all(error);
            if self.first_open.is_some() {
                return self.fail_first_open(error.clone());
            }
        }
        self.go_down(now);
    }

    /// Why the session is over, if such an answer to a resume ends it.
    fn loss_by_answer(&self, failure: &Failure) -> Option<LossReason> {
        self.session.as_ref()?;
        match failure {
            Failure::SessionOver(reason, _) => Some(*reason),
            Failure::Superseded(_) => Some(LossReason::Expired),
            // A token that has expired may be renewed while there is time.
            _ if failure.is_unauthenticated() && self.config.on_disconnect == OnDisconnect::Keep => None,
            Failure::Refused(..) => Some(LossReason::ServerLost),
            // The server that had taken it saw its stream break.
            _ if self.config.on_disconnect == OnDisconnect::Release => Some(LossReason::Disconnected),
            Failure::Broken(_) | Failure::MoveOn(_) => None,
        }
    }

    /// The session can't move to that server, so it stays where it is, and tries the next in due course.
    fn stay(&mut self, now: Time, may_have_moved: bool) {
        if may_have_moved && let Some(session) = &mut self.session {
            // Only an answer to a ping that is sent from now on tells.
            session.validity.put_at_risk(now);
            session.pings.clear();
            self.ping(now);
        }
        self.operations.resume_failed(now, self.hears(), &mut self.messages);
        if let Some(closing) = &self.closing {
            return self.leave_for_good(closing.give_up);
        }
        self.attempt = Some(Attempt::Waiting { until: now.saturating_add(self.route.pause()) });
        self.read_deferred(now);
    }
}
