//! What can go wrong, each with a sentence that a person can act on.

use std::fmt;
use std::time::Duration;

use lockstead_api::v1::{self, ErrorReason};
use lockstead_core::{Invalid, duration};
use tonic::{Code, Status};

use crate::loss::Loss;
use crate::resource::Holder;

/// The result of most calls.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The lock or semaphore could not be had. An answer rather than a fault.
    #[error(transparent)]
    NotAcquired(NotAcquired),
    /// The server refused the call, and nothing was changed.
    #[error("refused by the server ({}): {message}", reason.as_word())]
    Refused {
        /// Why, to be matched on. `Unspecified` if the server gave no reason that this client knows.
        reason: ErrorReason,
        /// The same in a sentence for a person, with what to do about it.
        message: String,
    },
    /// No server could be reached.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The hold was lost before.
    #[error(transparent)]
    Lost(#[from] Loss),
    /// The client was closed, or the runtime that it lived in has ended.
    #[error("the client is closed; connect a new one")]
    Closed,
    /// The client can't be built as it was described.
    #[error("{0}")]
    InvalidConfig(String),
    /// The server sent something that this client does not understand.
    #[error("the server's answer can't be understood: {0}; are client and server of compatible versions?")]
    Protocol(String),
}

/// Who was in the way of an acquire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotAcquired {
    /// Why it got nothing.
    pub reason: NotAcquiredReason,
    /// Who holds it now, oldest first; at most 8.
    pub holders: Vec<Holder>,
    /// The reason in a sentence for a person.
    pub message: String,
}

/// Why an acquire got nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotAcquiredReason {
    /// Held by others, or others wait for it already; and the acquire did not want to wait.
    Held,
    /// The wait is over.
    WaitTimeout,
    /// Granting it could never happen: it was part of a cycle of waits.
    Deadlock,
    /// Taken back.
    Cancelled,
    /// A reason that this version of the client does not know.
    Unknown,
}

/// Which servers were tried, and what each of them said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unavailable {
    /// For how long it was tried.
    pub after: Duration,
    /// Each address with its last error.
    pub attempts: Vec<(String, String)>,
}

impl Error {
    pub(crate) fn refused(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self::Refused { reason, message: message.into() }
    }

    /// What a status that is not about the connection means.
    pub(crate) fn from_status(status: &Status) -> Self {
        let reason = ErrorReason::of(status);
        match reason {
            ErrorReason::Unspecified => Self::refused(reason, format!("{:?}: {}", status.code(), status.message())),
            _ => Self::refused(reason, status.message()),
        }
    }

    pub(crate) fn from_not_acquired(wire: v1::NotAcquired) -> Self {
        Self::NotAcquired(NotAcquired::from_wire(wire))
    }

    pub(crate) fn wait_is_over() -> Self {
        Self::NotAcquired(NotAcquired {
            reason: NotAcquiredReason::WaitTimeout,
            holders: Vec::new(),
            message: "not granted within the wait, for part of which no server could be reached".to_owned(),
        })
    }
}

/// Whether another attempt, perhaps at another server, may do.
pub(crate) fn is_transient(status: &Status) -> bool {
    match ErrorReason::of(status) {
        ErrorReason::Draining | ErrorReason::BackendUnavailable => true,
        // Without a reason of ours it comes from tonic, or from something between here and the server.
        ErrorReason::Unspecified => !matches!(
            status.code(),
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented
                | Code::Unauthenticated
        ),
        _ => false,
    }
}

/// What went wrong with a connection, down to the cause that says most.
pub(crate) fn describe(status: &Status) -> String {
    let mut text = match ErrorReason::of(status) {
        ErrorReason::Unspecified => status.message().to_owned(),
        reason => format!("{}: {}", reason.as_word(), status.message()),
    };
    if text.is_empty() {
        text = format!("{:?}", status.code());
    }
    with_causes(text, std::error::Error::source(status))
}

/// Appends the causes of an error, each once.
pub(crate) fn with_causes(mut text: String, mut cause: Option<&(dyn std::error::Error + 'static)>) -> String {
    while let Some(error) = cause {
        let sentence = error.to_string();
        if !text.contains(&sentence) {
            text = format!("{text}: {sentence}");
        }
        cause = error.source();
    }
    text
}

impl NotAcquired {
    fn from_wire(wire: v1::NotAcquired) -> Self {
        use v1::not_acquired::Reason;
        let reason = match Reason::try_from(wire.reason) {
            Ok(Reason::Held) => NotAcquiredReason::Held,
            Ok(Reason::WaitTimeout) => NotAcquiredReason::WaitTimeout,
            Ok(Reason::Deadlock) => NotAcquiredReason::Deadlock,
            Ok(Reason::Cancelled) => NotAcquiredReason::Cancelled,
            Ok(Reason::Unspecified) | Err(_) => NotAcquiredReason::Unknown,
        };
        let holders = wire.holders.into_iter().map(Holder::from_wire).collect();
        Self { reason, holders, message: wire.message }
    }
}

impl fmt::Display for NotAcquired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not acquired: {}", self.message)?;
        let mut owners = self.holders.iter().map(|holder| holder.owner.as_str()).filter(|owner| !owner.is_empty());
        if let Some(first) = owners.next() {
            write!(f, " (held by {first}")?;
            owners.try_for_each(|owner| write!(f, ", {owner}"))?;
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl std::error::Error for NotAcquired {}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no Lockstead server could be reached within {}", duration::format(self.after))?;
        for (index, (address, error)) in self.attempts.iter().enumerate() {
            write!(f, "{} {address} ({error})", if index == 0 { ":" } else { "," })?;
        }
        f.write_str("; check that `lockstead serve` runs there and that the address is right")
    }
}

impl std::error::Error for Unavailable {}

impl From<Invalid> for Error {
    /// What the server would say, without asking it.
    fn from(invalid: Invalid) -> Self {
        Self::refused(ErrorReason::from(&invalid), invalid.message)
    }
}
