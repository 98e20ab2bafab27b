//! What each reason means in HTTP.

use axum::http::StatusCode;
use lockstead_api::v1::ErrorReason;

/// The status of an answer that carries this reason. Of `INVALID_BODY`, which is 413 for a body that is too large, the
/// other one.
pub(super) const fn status(reason: ErrorReason) -> StatusCode {
    use ErrorReason as R;
    match reason {
        R::LockHeld | R::WaitTimeout => StatusCode::LOCKED,
        R::NotHolder
        | R::LimitMismatch
        | R::Deadlock
        | R::LockFileUnusable
        | R::SessionSuperseded
        | R::SessionExpired => StatusCode::CONFLICT,
        R::HoldNotFound | R::SessionNotFound | R::RouteNotFound => StatusCode::NOT_FOUND,
        R::RequestIdReused => StatusCode::UNPROCESSABLE_ENTITY,
        R::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
        R::Draining | R::BackendUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        R::Internal | R::Unspecified => StatusCode::INTERNAL_SERVER_ERROR,
        R::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        R::Unauthenticated => StatusCode::UNAUTHORIZED,
        R::PermissionDenied => StatusCode::FORBIDDEN,
        R::InvalidName
        | R::InvalidMode
        | R::InvalidTtl
        | R::InvalidWait
        | R::InvalidPermits
        | R::InvalidLimit
        | R::InvalidScope
        | R::InvalidKind
        | R::InvalidOwner
        | R::InvalidMetadata
        | R::InvalidRequestId
        | R::InvalidHoldId
        | R::InvalidOwnerKey
        | R::InvalidSessionTimeout
        | R::InvalidOnDisconnect
        | R::InvalidPageToken
        | R::InvalidBody
        | R::InvalidSession => StatusCode::BAD_REQUEST,
    }
}

/// The reason in a few words, the same whenever it occurs.
pub(super) const fn title(reason: ErrorReason) -> &'static str {
    use ErrorReason as R;
    match reason {
        R::LockHeld => "Held by others",
        R::WaitTimeout => "Not granted within the wait",
        R::Deadlock => "Waiting for this would never end",
        R::NotHolder => "Not, or no longer, the holder",
        R::LimitMismatch => "In use with another limit",
        R::HoldNotFound => "No such hold",
        R::SessionNotFound => "No such session",
        R::RequestIdReused => "The request id stands for another request",
        R::QuotaExceeded => "A queue or quota is full",
        R::Draining => "The server is shutting down",
        R::BackendUnavailable => "The store behind the server can't be reached",
        R::LockFileUnusable => "The lock's file can't be used",
        R::Unauthenticated => "No credentials, or none that are good here",
        R::PermissionDenied => "Not allowed to this caller",
        R::SessionSuperseded => "A newer attach took the session over",
        R::SessionExpired => "The session's timeout has passed",
        R::Internal | R::Unspecified => "A defect of the server",
        R::RouteNotFound => "No such route",
        R::MethodNotAllowed => "The route has no such method",
        R::InvalidName => "Not a name of 1 to 255 bytes",
        R::InvalidMode => "Neither exclusive nor shared",
        R::InvalidTtl => "Not a duration from 100ms to 24h",
        R::InvalidWait => "Neither a duration up to 365d nor forever",
        R::InvalidPermits => "Not a number from 1 to the limit",
        R::InvalidLimit => "Not a number from 1 to 1000000",
        R::InvalidScope => "Not a scope of this server",
        R::InvalidKind => "Not a kind",
        R::InvalidOwner => "Not a text of up to 255 bytes without control characters",
        R::InvalidMetadata => "Not a small map of short texts",
        R::InvalidRequestId => "Not a text of 1 to 128 bytes",
        R::InvalidHoldId => "Not a hold id, or not that of a lease to renew",
        R::InvalidOwnerKey => "Not an owner key of 1 to 128 bytes",
        R::InvalidSessionTimeout => "Not a duration from 1s to 5m",
        R::InvalidOnDisconnect => "Neither release nor keep",
        R::InvalidPageToken => "Not a page token",
        R::InvalidBody => "Not the JSON or query that is expected",
        R::InvalidSession => "Not how a session begins",
    }
}

/// The reason for a value that is wrong, by the name of its field. A field without a reason of its own is part of the
/// body.
pub(super) fn of_field(name: &str) -> ErrorReason {
    match name {
        "mode" => ErrorReason::InvalidMode,
        "wait" => ErrorReason::InvalidWait,
        "ttl" => ErrorReason::InvalidTtl,
        "scope" => ErrorReason::InvalidScope,
        "owner" => ErrorReason::InvalidOwner,
        "metadata" => ErrorReason::InvalidMetadata,
        "request_id" => ErrorReason::InvalidRequestId,
        "hold_id" => ErrorReason::InvalidHoldId,
        "permits" => ErrorReason::InvalidPermits,
        "limit" => ErrorReason::InvalidLimit,
        "page_token" => ErrorReason::InvalidPageToken,
        _ => ErrorReason::InvalidBody,
    }
}
