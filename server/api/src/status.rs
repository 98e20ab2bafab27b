//! Errors on the wire: a gRPC status that carries a reason from [`ErrorReason`] in its `google.rpc.ErrorInfo`.

use lockstead_core::{Field, Invalid, Refusal};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::v1::ErrorReason;

/// Of `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "lockstead";

const PREFIX: &str = "ERROR_REASON_";

impl ErrorReason {
    /// The reason as it stands in `ErrorInfo` and in HTTP problem documents: `LOCK_HELD`.
    pub fn as_word(self) -> &'static str {
        self.as_str_name().trim_start_matches(PREFIX)
    }

    /// Reads what [`ErrorReason::as_word`] wrote. A reason of a newer server is unspecified.
    pub fn from_word(word: &str) -> Self {
        Self::from_str_name(&format!("{PREFIX}{word}")).unwrap_or(Self::Unspecified)
    }

    /// The gRPC code that goes with it.
    pub fn code(self) -> Code {
        match self {
            Self::NotHolder | Self::SessionSuperseded | Self::SessionExpired => Code::Aborted,
            Self::LimitMismatch | Self::LockHeld | Self::WaitTimeout | Self::Deadlock | Self::LockFileUnusable => {
                Code::FailedPrecondition
            }
            Self::HoldNotFound | Self::SessionNotFound => Code::NotFound,
            Self::QuotaExceeded => Code::ResourceExhausted,
            Self::Draining | Self::BackendUnavailable => Code::Unavailable,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::Internal | Self::Unspecified => Code::Internal,
            _ => Code::InvalidArgument,
        }
    }

    /// A status that carries this reason, and a sentence for a person.
    pub fn status(self, message: impl Into<String>) -> Status {
        let details = ErrorDetails::with_error_info(self.as_word(), DOMAIN, []);
        Status::with_error_details(self.code(), message, details)
    }

    /// The reason that a status carries.
    pub fn of(status: &Status) -> Self {
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        info.map_or(Self::Unspecified, |info| Self::from_word(&info.reason))
    }
}

impl From<Field> for ErrorReason {
    fn from(field: Field) -> Self {
        match field {
            Field::Name => Self::InvalidName,
            Field::Kind => Self::InvalidKind,
            Field::Mode => Self::InvalidMode,
            Field::Scope => Self::InvalidScope,
            Field::Permits => Self::InvalidPermits,
            Field::Limit => Self::InvalidLimit,
            Field::Ttl => Self::InvalidTtl,
            Field::Wait => Self::InvalidWait,
            Field::Owner => Self::InvalidOwner,
            Field::OwnerKey => Self::InvalidOwnerKey,
            Field::Metadata => Self::InvalidMetadata,
            Field::RequestId => Self::InvalidRequestId,
            Field::HoldId => Self::InvalidHoldId,
            Field::SessionTimeout => Self::InvalidSessionTimeout,
            Field::OnDisconnect => Self::InvalidOnDisconnect,
            Field::PageToken => Self::InvalidPageToken,
        }
    }
}

impl From<&Invalid> for ErrorReason {
    fn from(invalid: &Invalid) -> Self {
        invalid.field.into()
    }
}

impl From<&Refusal> for ErrorReason {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::NotHolder { .. } => Self::NotHolder,
            Refusal::HoldNotFound => Self::HoldNotFound,
            Refusal::NotALease => Self::InvalidHoldId,
            Refusal::LimitMismatch { .. } => Self::LimitMismatch,
            Refusal::RequestIdReused => Self::RequestIdReused,
            Refusal::ReentryTooLarge => Self::InvalidOwnerKey,
            Refusal::TooManyEntries | Refusal::QueueFull | Refusal::SessionFull | Refusal::EngineFull => {
                Self::QuotaExceeded
            }
            Refusal::OutOfOrder(_) => Self::LockFileUnusable,
        }
    }
}

/// Puts the blame for what tonic could not read where it belongs. Tonic calls a message that does not decode, or is too
/// large, an internal error; statuses of our own carry details, so one without them is tonic's.
pub fn blame_message(status: Status) -> Status {
    let of_tonic = status.details().is_empty() && matches!(status.code(), Code::Internal | Code::OutOfRange);
    if of_tonic {
        ErrorReason::InvalidBody.status(format!("the message can't be read: {}", status.message()))
    } else {
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_the_wire() {
        for number in 0..100 {
            let Ok(reason) = ErrorReason::try_from(number) else { continue };
            let status = reason.status("why");
            assert_eq!(ErrorReason::of(&status), reason);
            assert!(!reason.as_word().contains("REASON"), "{}", reason.as_word());
        }
        assert_eq!(ErrorReason::of(&Status::internal("of somebody else")), ErrorReason::Unspecified);
    }

    #[test]
    fn unreadable_messages_are_the_callers_fault() {
        let blamed = blame_message(Status::internal("failed to decode Protobuf message"));
        assert_eq!((blamed.code(), ErrorReason::of(&blamed)), (Code::InvalidArgument, ErrorReason::InvalidBody));
        let ours = blame_message(ErrorReason::Internal.status("a defect"));
        assert_eq!(ours.code(), Code::Internal);
    }
}
