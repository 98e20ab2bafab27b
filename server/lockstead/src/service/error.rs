//! What a request can fail with, whatever transport it came by.

use std::time::Duration;

use lockstead_api::v1::ErrorReason;
use lockstead_core::limits::SESSIONS_MAX;
use lockstead_core::{Invalid, Refusal};
use lockstead_engine::EngineError;
use thiserror::Error;

use crate::access::{Denied, OverQuota, Unauthenticated};

/// What the service answers.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request failed. Its message is for the caller; nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The request is wrong in itself.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The message that should carry the request can't be read.
    #[error("{0}")]
    Unreadable(String),
    /// The rules do not allow it now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A session stream does not go as it must.
    #[error("{0}")]
    BadSession(String),
    /// No such session, or not the caller's.
    #[error("no such session is known here: it has ended, or the resume secret is wrong; open a new one")]
    SessionNotFound,
    /// A newer attach has taken the session over.
    #[error("a newer attach of this session has taken its place")]
    SessionSuperseded,
    /// The client fell silent.
    #[error("nothing was heard of the client for the session timeout; its holds have ended")]
    SessionExpired,
    /// There are too many sessions.
    #[error("the server has {SESSIONS_MAX} sessions already; close some, or try again later")]
    TooManySessions,
    /// The caller is not let in.
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// The caller may not do that.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The caller has, or asks for, more than its quota.
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    /// A web page of another site sends it.
    #[error(
        "this was sent by a web page of another site (see its headers Origin and Sec-Fetch-Site), and is refused; ask from a program, or from a page that this server serves"
    )]
    ForeignPage,
    /// It was sent to a name that anybody can let lead here.
    #[error(
        "this server is for this machine only, so ask it at 127.0.0.1, [::1] or localhost; other names need --access or --insecure"
    )]
    ForeignHost,
    /// The store that keeps the truth can't be reached.
    #[error("{0}")]
    BackendUnavailable(&'static str),
    /// An engine can't serve now, as it says itself.
    #[error("{0}")]
    NotReady(String),
    /// The server is on its way out.
    #[error("this server is shutting down; ask another one, or this one again when it is back")]
    Draining,
}

impl Error {
    /// A session stream that does not go as it must, for this reason.
    pub fn bad_session(why: impl Into<String>) -> Self {
        Self::BadSession(why.into())
    }

    /// What a program can match.
    pub fn reason(&self) -> ErrorReason {
        match self {
            Self::Invalid(invalid) => invalid.into(),
            Self::Unreadable(_) => ErrorReason::InvalidBody,
            Self::Refused(refusal) => refusal.into(),
            Self::BadSession(_) => ErrorReason::InvalidSession,
            Self::SessionNotFound => ErrorReason::SessionNotFound,
            Self::SessionSuperseded => ErrorReason::SessionSuperseded,
            Self::SessionExpired => ErrorReason::SessionExpired,
            Self::TooManySessions | Self::OverQuota(_) => ErrorReason::QuotaExceeded,
            Self::BackendUnavailable(_)
            | Self::NotReady(_)
            | Self::Unauthenticated(Unauthenticated::KeysUnavailable) => ErrorReason::BackendUnavailable,
            Self::Unauthenticated(_) | Self::Denied(Denied::Revoked) => ErrorReason::Unauthenticated,
            Self::Denied(Denied::Forbidden { .. } | Denied::Nothing { .. }) | Self::ForeignPage | Self::ForeignHost => {
                ErrorReason::PermissionDenied
            }
            Self::Draining => ErrorReason::Draining,
        }
    }

    /// When it makes sense to ask again, where it does at all.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::OverQuota(OverQuota::TooFast { retry_after, .. }) = self {
            return Some(*retry_after);
        }
        match self.reason() {
            ErrorReason::QuotaExceeded | ErrorReason::Draining | ErrorReason::BackendUnavailable => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Refused(refusal) => Self::Refused(refusal),
            EngineError::Invalid(invalid) => Self::Invalid(invalid),
            EngineError::Unavailable(why) => Self::BackendUnavailable(why),
        }
    }
}
