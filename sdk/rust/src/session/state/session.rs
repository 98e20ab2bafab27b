//! One session: how long it is good, and its pings.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lockstead_api::{convert, v1};
use lockstead_core::Time;

use crate::session::validity::Validity;

/// The shortest pause between two pings, however short a validity the server grants.
const PING_PAUSE_MIN: Duration = Duration::from_millis(50);
/// The shortest silence after a ping that raises a suspicion.
const SUSPICIOUS_SILENCE_MIN: Duration = Duration::from_millis(250);

/// The session as this client knows it; the server may know more.
pub(super) struct Session {
    pub(super) id: Arc<str>,
    pub(super) resume_secret: String,
    /// How long it survives silence.
    timeout: Duration,
    /// Of the last resume that was said.
    pub(super) attempt: u32,
    /// Of the resume that the stream in use began with; 0 if that was `open`.
    pub(super) attached: u32,
    /// Of the holds. A session can outlive it, and then gets another one with the next promise.
    pub(super) validity: Arc<Validity>,
    /// As last granted.
    valid_for: Duration,
    /// When that was sent which the server answered last.
    heard: Time,
    /// When `open`, `resume` or a ping was sent last.
    last_sent: Time,
    /// Pings without an answer, with the times at which they were sent.
    pub(super) pings: VecDeque<(u64, Time)>,
    last_sequence: u64,
}

impl Session {
    /// A session whose `open` was sent at `sent`.
    pub(super) fn new(opened: v1::SessionOpened, sent: Time, valid_for: Duration) -> Self {
        Self {
            id: opened.session_id.into(),
            resume_secret: opened.resume_secret,
            timeout: opened.session_timeout.and_then(convert::duration).unwrap_or(valid_for),
            attempt: 0,
            attached: 0,
            validity: validity_from(sent, valid_for),
            valid_for,
            heard: sent,
            last_sent: sent,
            pings: VecDeque::new(),
            last_sequence: 0,
        }
    }

    /// The server has answered what was sent at `sent`, and promises so much. False if the validity was over before:
    /// it does not come back.
    pub(super) fn confirm(&mut self, now: Time, sent: Time, valid_for: Duration) -> bool {
        self.hear(sent, valid_for);
        self.validity.confirm(now, sent.saturating_add(valid_for), at_risk_from(sent, valid_for))
    }

    /// Another server may have answered, and its word alone counts. False as for [`Session::confirm`].
    pub(super) fn confirm_anew(&mut self, now: Time, sent: Time, valid_for: Duration) -> bool {
        self.hear(sent, valid_for);
        self.validity.replace(now, sent.saturating_add(valid_for), at_risk_from(sent, valid_for))
    }

    /// The old validity is over, and nothing depends on it any more. What is granted from now on goes by this promise, if
    /// it is worth anything.
    pub(super) fn renew_validity(&mut self, now: Time, sent: Time, valid_for: Duration) {
        if sent.saturating_add(valid_for) > now {
            self.validity = validity_from(sent, valid_for);
        }
    }

    fn hear(&mut self, sent: Time, valid_for: Duration) {
        self.valid_for = valid_for;
        self.heard = self.heard.max(sent);
        self.last_sent = self.last_sent.max(sent);
    }

    /// When the server may have ended the session for our silence.
    pub(super) fn silent_until(&self) -> Time {
        self.heard.saturating_add(self.timeout)
    }

    /// When the holds, or the session if they are gone already, end unless the server is heard.
    pub(super) fn ends_at(&self) -> Time {
        if self.validity.is_over() { self.silent_until() } else { self.validity.deadline() }
    }

    /// When the server's silence is suspicious: it may be cut off from us while others are not. `None` while no ping waits
    /// for its answer.
    pub(super) fn suspicious_at(&self) -> Option<Time> {
        let (_, oldest) = self.pings.front()?;
        Some(at_risk_from(self.heard, self.valid_for).max(oldest.saturating_add(SUSPICIOUS_SILENCE_MIN)))
    }

    /// When the next ping is to be sent.
    pub(super) fn ping_due(&self) -> Time {
        self.last_sent.saturating_add((self.valid_for / 3).max(PING_PAUSE_MIN))
    }

    /// Notes a ping that is sent now, and gives its number.
    pub(super) fn ping(&mut self, now: Time) -> u64 {
        self.last_sequence += 1;
        self.pings.push_back((self.last_sequence, now));
        self.last_sent = now;
        self.last_sequence
    }

    /// When the ping was sent that is answered now. It answers those before it, too.
    pub(super) fn answered(&mut self, sequence: u64) -> Option<Time> {
        let sent = self.pings.iter().find(|(number, _)| *number == sequence).map(|(_, sent)| *sent)?;
        self.pings.retain(|(number, _)| *number > sequence);
        Some(sent)
    }
}

fn validity_from(sent: Time, valid_for: Duration) -> Arc<Validity> {
    Arc::new(Validity::new(sent.saturating_add(valid_for), at_risk_from(sent, valid_for)))
}

/// When the answer to the next ping is late, if what was sent at `sent` was answered last: the ping goes out after a third
/// of the validity, and may take another third.
fn at_risk_from(sent: Time, valid_for: Duration) -> Time {
    sent.saturating_add(valid_for / 3 * 2)
}
