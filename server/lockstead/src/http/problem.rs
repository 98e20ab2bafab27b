//! Errors in HTTP: problem documents (RFC 9457).

use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lockstead_api::convert::not_acquired_message;
use lockstead_api::v1::ErrorReason;
use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::Invalid;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Holder;
use super::reason;
use crate::service::{Error, NotAcquired};

/// Its media type.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Longest detail. One that quotes its caller could be as long as the caller likes.
const DETAIL_MAX_CHARS: usize = 400;

/// An error as an answer.
pub(crate) fn response(error: Error) -> Response {
    Problem::from(error).into_response()
}

/// What a handler answers.
pub(super) type Result<T> = std::result::Result<T, Problem>;

/// An error on its way to the caller.
#[derive(Debug)]
pub(crate) struct Problem {
    reason: ErrorReason,
    status: StatusCode,
    detail: String,
    holders: Option<Vec<Holder>>,
    retry_after: Option<Duration>,
}

/// An error, as RFC 9457 has it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemDocument {
    /// Where the reason is explained.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", example = "/docs#LOCK_HELD")]
    kind: String,
    /// The reason in a few words.
    #[schema(example = "Held by others")]
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 423)]
    status: u16,
    /// What is the matter, for a person to read.
    #[schema(example = "held by others, or others wait for it already")]
    detail: String,
    /// What a program can match. A reason keeps its meaning for ever.
    #[schema(example = "LOCK_HELD")]
    reason: &'static str,
    /// With `LOCK_HELD`, `WAIT_TIMEOUT` and `DEADLOCK`: who holds it now, oldest first, at most 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    holders: Option<Vec<Holder>>,
    /// With 429 and 503: when it makes sense to ask again. Also in the header `Retry-After`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1000)]
    retry_after_ms: Option<u64>,
}

impl Problem {
    pub(super) fn new(reason: ErrorReason, detail: impl Into<String>) -> Self {
        let detail = shorten(detail.into());
        Self { reason, status: reason::status(reason), detail, holders: None, retry_after: None }
    }

    /// The body is larger than a body can be.
    pub(super) fn too_large(detail: String) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, ..Self::new(ErrorReason::InvalidBody, detail) }
    }

    /// Says where to look for what is wrong.
    pub(super) fn in_query(self) -> Self {
        Self { detail: format!("{}, in the query", self.detail), ..self }
    }

    /// A defect, of which the caller learns nothing more.
    pub(super) fn internal() -> Self {
        Self::new(ErrorReason::Internal, "the server has made a mistake; its log tells more")
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self { retry_after: error.retry_after(), ..Self::new(error.reason(), error.to_string()) }
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Error::from(invalid).into()
    }
}

impl From<NotAcquired> for Problem {
    fn from(why: NotAcquired) -> Self {
        let (reason, message) = not_acquired(why.reason);
        let holders = why.holders.into_iter().map(Holder::from).collect();
        Self { holders: Some(holders), ..Self::new(reason, message) }
    }
}

/// Why an acquire got nothing, as a reason and in a sentence.
pub(super) fn not_acquired(reason: Reason) -> (ErrorReason, &'static str) {
    let word = match reason {
        Reason::Held => ErrorReason::LockHeld,
        Reason::WaitTimeout => ErrorReason::WaitTimeout,
        Reason::Deadlock => ErrorReason::Deadlock,
        // Only sessions cancel: a caller of HTTP goes away, and hears no answer.
        Reason::Cancelled | Reason::Unspecified => ErrorReason::Internal,
    };
    (word, not_acquired_message(reason))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = ProblemDocument {
            kind: format!("/docs#{}", self.reason.as_word()),
            title: reason::title(self.reason),
            status: self.status.as_u16(),
            detail: self.detail,
            reason: self.reason.as_word(),
            holders: self.holders,
            retry_after_ms: self.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            let whole_seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds));
        }
        // Texts and numbers only, which can always be written.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        (self.status, headers, body).into_response()
    }
}

fn shorten(mut detail: String) -> String {
    if let Some((end, _)) = detail.char_indices().nth(DETAIL_MAX_CHARS) {
        detail.truncate(end);
        detail.push('…');
    }
    detail
}
