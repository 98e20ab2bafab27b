//! Messages of the session stream, in and out of their envelopes.

use std::sync::Arc;
use std::time::Duration;

use lockstead_api::convert;
use lockstead_api::v1::{self, ErrorReason, session_request, session_response};
use tonic::Status;

use crate::config::{Config, OnDisconnect};
use crate::error::{self, Error};
use crate::loss::LossReason;

pub(super) type ToServer = session_request::Message;
pub(super) type FromServer = session_response::Message;

/// Why a stream, or an attempt at one, came to nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    /// The connection's trouble: it may work the next time.
    Broken(String),
    /// This server does not want anybody now; another one may.
    MoveOn(String),
    /// A later attach of the session took the stream's place.
    Superseded(String),
    /// The server says that the session is over.
    SessionOver(LossReason, String),
    /// The server does not want this client, and will not the next time either.
    Refused(Error, String),
}

impl Failure {
    /// Reads the status with which a stream ended.
    pub(super) fn of(status: &Status) -> Self {
        let text = error::describe(status);
        match ErrorReason::of(status) {
            ErrorReason::SessionNotFound => Self::SessionOver(LossReason::ServerLost, text),
            ErrorReason::SessionExpired => Self::SessionOver(LossReason::Expired, text),
            ErrorReason::SessionSuperseded => Self::Superseded(text),
            ErrorReason::Draining | ErrorReason::BackendUnavailable => Self::MoveOn(text),
            ErrorReason::Internal => Self::Broken(text),
            _ if error::is_transient(status) => Self::Broken(text),
            _ => Self::Refused(Error::from_status(status), text),
        }
    }

    /// The server said what can't be understood.
    pub(super) fn misunderstood(why: &str) -> Self {
        Self::Broken(format!("the server said what was not expected: {why}"))
    }

    /// Whether other credentials might do.
    pub(super) fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Refused(Error::Refused { reason: ErrorReason::Unauthenticated, .. }, _))
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Broken(text)
            | Self::MoveOn(text)
            | Self::Superseded(text)
            | Self::SessionOver(_, text)
            | Self::Refused(_, text) => text,
        }
    }
}

/// The first message of a new session.
pub(super) fn open(config: &Config) -> ToServer {
    ToServer::Open(options(config))
}

/// What the session is like.
pub(super) fn options(config: &Config) -> v1::OpenSession {
    let on_disconnect = match config.on_disconnect {
        OnDisconnect::Release => v1::OnDisconnect::Release,
        OnDisconnect::Keep => v1::OnDisconnect::Keep,
    };
    v1::OpenSession {
        session_timeout: config.session_timeout.map(convert::duration_to_wire),
        on_disconnect: on_disconnect.into(),
        owner: config.owner.clone(),
        metadata: config.metadata.clone(),
    }
}

/// A duration that must be there.
pub(super) fn required(wire: Option<prost_types::Duration>) -> Result<Duration, String> {
    wire.and_then(convert::duration).ok_or_else(|| "`valid_for` is missing".to_owned())
}

/// What a claim is about.
pub(super) fn resource_of(claim: v1::Claim) -> v1::ResourceId {
    let kind = match claim.demand {
        Some(v1::claim::Demand::Semaphore(_)) => v1::Kind::Semaphore,
        Some(v1::claim::Demand::Lock(_)) | None => v1::Kind::Lock,
    };
    v1::ResourceId { kind: kind.into(), name: claim.name, scope: claim.scope }
}

/// A text for many holders.
pub(super) fn shared(text: &str) -> Arc<str> {
    text.into()
}
