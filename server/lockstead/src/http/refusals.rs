//! What each route can be refused with, for the document.

use std::collections::BTreeMap;

use lockstead_api::v1::ErrorReason::{
    self, BackendUnavailable, Deadlock, Draining, HoldNotFound, Internal, InvalidBody, InvalidHoldId, InvalidLimit,
    InvalidMetadata, InvalidMode, InvalidName, InvalidOwner, InvalidPageToken, InvalidPermits, InvalidRequestId,
    InvalidScope, InvalidTtl, InvalidWait, LimitMismatch, LockFileUnusable, LockHeld, NotHolder, QuotaExceeded,
    RequestIdReused, WaitTimeout,
};
use lockstead_core::limits::HTTP_BODY_MAX_BYTES;
use serde_json::json;
use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::problem::PROBLEM_JSON;
use super::reason;

/// Declares the refusals of a call, as a type that `responses(…)` takes. Those of a call `with_body` have one more, for a
/// body that is too large.
macro_rules! refusals {
    ($($call:ident: [$($reason:ident),* $(,)?] $($with_body:ident)?;)*) => {$(
        pub(super) struct $call;

        impl IntoResponses for $call {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                #[allow(unused_mut, reason = "only calls with a body add to it")]
                let mut responses = by_status(&[$($reason,)* Internal]);
                $(responses.extend($with_body());)?
                responses
            }
        }
    )*};
}

refusals! {
    AcquireLock: [
        LockHeld, WaitTimeout, Deadlock, InvalidName, InvalidMode, InvalidWait, InvalidTtl, InvalidScope, InvalidOwner,
        InvalidMetadata, InvalidRequestId, InvalidBody, RequestIdReused, NotHolder, LockFileUnusable, QuotaExceeded,
        Draining, BackendUnavailable,
    ] with_body;
    AcquireSemaphore: [
        LockHeld, WaitTimeout, Deadlock, LimitMismatch, InvalidName, InvalidPermits, InvalidLimit, InvalidWait,
        InvalidTtl, InvalidScope, InvalidOwner, InvalidMetadata, InvalidRequestId, InvalidBody, RequestIdReused,
        NotHolder, LockFileUnusable, QuotaExceeded, Draining, BackendUnavailable,
    ] with_body;
    HoldLock: [
        LockHeld, InvalidName, InvalidMode, InvalidWait, InvalidScope, InvalidOwner, InvalidMetadata, InvalidBody,
        LockFileUnusable, QuotaExceeded, Draining, BackendUnavailable,
    ] with_body;
    HoldSemaphore: [
        LockHeld, LimitMismatch, InvalidName, InvalidPermits, InvalidLimit, InvalidWait, InvalidScope, InvalidOwner,
        InvalidMetadata, InvalidBody, LockFileUnusable, QuotaExceeded, Draining, BackendUnavailable,
    ] with_body;
    Renew: [
        NotHolder, HoldNotFound, InvalidName, InvalidHoldId, InvalidTtl, InvalidScope, InvalidBody, BackendUnavailable,
    ] with_body;
    Release: [
        NotHolder, HoldNotFound, InvalidName, InvalidHoldId, InvalidScope, InvalidBody, BackendUnavailable,
    ] with_body;
    Get: [InvalidName, InvalidScope, InvalidBody, BackendUnavailable];
    List: [InvalidScope, InvalidPageToken, InvalidBody, BackendUnavailable];
    Ready: [InvalidBody, Draining, BackendUnavailable];
    Plain: [InvalidBody];
}

fn by_status(reasons: &[ErrorReason]) -> BTreeMap<String, RefOr<Response>> {
    let mut grouped = BTreeMap::<u16, Vec<ErrorReason>>::new();
    for reason in reasons {
        grouped.entry(reason::status(*reason).as_u16()).or_default().push(*reason);
    }
    grouped.into_iter().map(|(status, reasons)| (status.to_string(), response(status, &reasons))).collect()
}

fn response(status: u16, reasons: &[ErrorReason]) -> RefOr<Response> {
    let explained = reasons.iter().map(|reason| format!("`{}`: {}.", reason.as_word(), reason::title(*reason)));
    let response = problem(explained.collect::<Vec<_>>().join(" "));
    match status {
        429 | 503 => response.header("Retry-After", retry_after()).build().into(),
        _ => response.build().into(),
    }
}

fn with_body() -> BTreeMap<String, RefOr<Response>> {
    let response =
        problem(format!("`{}`: The body has more than {} KiB.", InvalidBody.as_word(), HTTP_BODY_MAX_BYTES >> 10));
    BTreeMap::from([("413".to_owned(), response.build().into())])
}

fn problem(description: String) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content(PROBLEM_JSON, content)
}

fn retry_after() -> utoipa::openapi::Header {
    let seconds = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer)).examples([json!(1)]);
    HeaderBuilder::new().schema(Some(seconds)).description(Some("When to ask again, in seconds.")).build()
}
