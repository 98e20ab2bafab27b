//! What can become of a hold.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lockstead_api::v1;
use lockstead_core::Time;

/// How a hold stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoldState {
    /// Held, and lately confirmed by the server.
    Held,
    /// Still held, but not confirmed just now: the stream broke, the answer to a ping is late, or the server can't vouch
    /// for the hold. Unless it or another server confirms it, the hold is lost when its validity ends.
    AtRisk,
    /// No longer held; somebody else may hold it now.
    Lost(Loss),
}

/// Why a hold ended although its holder did not release it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// The server did not confirm the session in time.
    Expired,
    /// Somebody ended it from outside.
    Broken,
    /// The stream broke, and the session was opened with [`OnDisconnect::Release`](crate::OnDisconnect::Release); or
    /// the client was closed.
    Disconnected,
    /// The server that knew it is gone, and no other knows it.
    ServerLost,
    /// The server could not reach the store in which the truth is kept for as long as the hold was good without it, or that
    /// has lost it; in the scope `node`, the lock's file was removed.
    BackendLost,
    /// A reason that this version of the client does not know.
    Unknown,
}

/// The end of a hold against its holder's will.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// Why.
    pub reason: LossReason,
    /// The same in a sentence for a person.
    pub message: Arc<str>,
    /// Since when it can't be relied on any more, on the clock of [`crate::now`].
    pub at: Time,
}

impl LossReason {
    /// The word for it that is the same in all of Lockstead: `EXPIRED`.
    pub const fn as_word(self) -> &'static str {
        match self {
            Self::Expired => "EXPIRED",
            Self::Broken => "BROKEN",
            Self::Disconnected => "DISCONNECTED",
            Self::ServerLost => "SERVER_LOST",
            Self::BackendLost => "BACKEND_LOST",
            Self::Unknown => "UNKNOWN",
        }
    }

    pub(crate) fn from_wire(wire: i32) -> Self {
        match v1::LossReason::try_from(wire) {
            Ok(v1::LossReason::Expired) => Self::Expired,
            Ok(v1::LossReason::Broken) => Self::Broken,
            Ok(v1::LossReason::Disconnected) => Self::Disconnected,
            Ok(v1::LossReason::ServerLost) => Self::ServerLost,
            Ok(v1::LossReason::BackendLost) => Self::BackendLost,
            Ok(v1::LossReason::Unspecified) | Err(_) => Self::Unknown,
        }
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_word())
    }
}

impl Loss {
    pub(crate) fn new(reason: LossReason, message: impl Into<Arc<str>>, at: Time) -> Self {
        Self { reason, message: message.into(), at }
    }

    pub(crate) fn expired(at: Time) -> Self {
        Self::new(LossReason::Expired, "the server did not confirm the session before its validity ended", at)
    }

    /// How long ago it was.
    pub fn ago(&self) -> Duration {
        lockstead_clock::time().since(self.at)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the hold is lost ({}): {}", self.reason, self.message)
    }
}

impl std::error::Error for Loss {}
