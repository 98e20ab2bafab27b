//! One session: how long it is good, and its pings.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lockstead_api::v1;
use lockstead_core::Time;

use crate::session::validity::Validity;

/// The shortest pause between two pings, however short a validity the server grants.
const PING_PAUSE_MIN: Duration = Duration::from_millis(10);

/// The session as this client knows it; the server may know more.
pub(super) struct Session {
    pub(super) id: Arc<str>,
    pub(super) resume_secret: String,
    /// Of the last resume.
    pub(super) attempt: u32,
    pub(super) validity: Arc<Validity>,
    /// As last granted.
    valid_for: Duration,
    /// When `open`, `resume` or a ping was sent last.
    last_sent: Time,
    /// Pings without an answer, with the times at which they were sent.
    pub(super) pings: VecDeque<(u64, Time)>,
    last_sequence: u64,
}

impl Session {
    /// A session whose `open` was sent at `sent`.
    pub(super) fn new(opened: v1::SessionOpened, sent: Time, valid_for: Duration) -> Self {
        let deadline = sent.saturating_add(valid_for);
        Self {
            id: opened.session_id.into(),
            resume_secret: opened.resume_secret,
            attempt: 0,
            validity: Arc::new(Validity::new(deadline, at_risk_from(sent, valid_for))),
            valid_for,
            last_sent: sent,
            pings: VecDeque::new(),
            last_sequence: 0,
        }
    }

    /// The server confirmed what was sent at `sent`. False if that comes too late.
    pub(super) fn confirm(&mut self, now: Time, sent: Time, valid_for: Duration) -> bool {
        self.valid_for = valid_for;
        self.last_sent = self.last_sent.max(sent);
        self.validity.confirm(now, sent.saturating_add(valid_for), at_risk_from(sent, valid_for))
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

/// When the answer to the next ping is late, if what was sent at `sent` was answered last: the ping goes out after a third
/// of the validity, and may take another third.
fn at_risk_from(sent: Time, valid_for: Duration) -> Time {
    sent.saturating_add(valid_for / 3 * 2)
}
