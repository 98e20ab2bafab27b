//! What each route can be refused with, for the document.

use std::collections::BTreeMap;

use lockstead_api::v1::ErrorReason::{
    self, BackendUnavailable, Deadlock, Draining, HoldNotFound, Internal, InvalidBody, InvalidHoldId, InvalidLimit,
    InvalidMetadata, InvalidMode, InvalidName, InvalidOwner, InvalidPageToken, InvalidPermits, InvalidRequestId,
    InvalidScope, InvalidTtl, InvalidWait, LimitMismatch, LockFileUnusable, LockHeld, NotHolder, PermissionDenied,
    QuotaExceeded, RequestIdReused, Unauthenticated, WaitTimeout,
};
use lockstead_core::limits::HTTP_BODY_MAX_BYTES;
use serde_json::json;
use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::problem::PROBLEM_JSON;
use super::reason;

/// Declares the refusals of a call, as a type that `responses(…)` takes: by a function, and the reasons that it gets.
macro_rules! refusals {
    ($($call:ident: $of:ident [$($reason:ident),* $(,)?];)*) => {$(
        pub(super) struct $call;

        impl IntoResponses for $call {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                $of(&[$($reason),*])
            }
        }
    )*};
}

refusals! {
    AcquireLock: guarded_with_body [
        LockHeld, WaitTimeout, Deadlock, InvalidName, InvalidMode, InvalidWait, InvalidTtl, InvalidScope, InvalidOwner,
        InvalidMetadata, InvalidRequestId, InvalidBody, RequestIdReused, NotHolder, LockFileUnusable, QuotaExceeded,
        Draining, BackendUnavailable,
    ];
    AcquireSemaphore: guarded_with_body [
        LockHeld, WaitTimeout, Deadlock, LimitMismatch, InvalidName, InvalidPermits, InvalidLimit, InvalidWait,
        InvalidTtl, InvalidScope, InvalidOwner, InvalidMetadata, InvalidRequestId, InvalidBody, RequestIdReused,
        NotHolder, LockFileUnusable, QuotaExceeded, Draining, BackendUnavailable,
    ];
    HoldLock: guarded_with_body [
        LockHeld, InvalidName, InvalidMode, InvalidWait, InvalidScope, InvalidOwner, InvalidMetadata, InvalidBody,
        LockFileUnusable, QuotaExceeded, Draining, BackendUnavailable,
    ];
    HoldSemaphore: guarded_with_body [
        LockHeld, LimitMismatch, InvalidName, InvalidPermits, InvalidLimit, InvalidWait, InvalidScope, InvalidOwner,
        InvalidMetadata, InvalidBody, LockFileUnusable, QuotaExceeded, Draining, BackendUnavailable,
    ];
    Renew: guarded_with_body [
        NotHolder, HoldNotFound, InvalidName, InvalidHoldId, InvalidTtl, InvalidScope, InvalidBody, BackendUnavailable,
    ];
    Release: guarded_with_body [
        NotHolder, HoldNotFound, InvalidName, InvalidHoldId, InvalidScope, InvalidBody, BackendUnavailable,
    ];
    Get: guarded [InvalidName, QuotaExceeded, InvalidScope, InvalidBody, BackendUnavailable];
    List: guarded [InvalidScope, QuotaExceeded, InvalidPageToken, InvalidBody, BackendUnavailable];
    Ready: open [InvalidBody, Draining, BackendUnavailable];
    Healthy: open [InvalidBody];
    Sessions: guarded [InvalidBody, QuotaExceeded];
    Plain: guarded [InvalidBody];
}

/// Of a call that anybody may make.
fn open(reasons: &[ErrorReason]) -> BTreeMap<String, RefOr<Response>> {
    by_status(reasons.iter().chain(&[Internal]))
}

/// Of a call for which access control asks who makes it. The keys that prove that may be out of reach.
fn guarded(reasons: &[ErrorReason]) -> BTreeMap<String, RefOr<Response>> {
    let keys = [BackendUnavailable].iter().filter(|reason| !reasons.contains(reason));
    by_status(reasons.iter().chain(&[Unauthenticated, PermissionDenied, Internal]).chain(keys))
}

/// The same, if it has a body, which can be too large.
fn guarded_with_body(reasons: &[ErrorReason]) -> BTreeMap<String, RefOr<Response>> {
    let mut responses = guarded(reasons);
    let response =
        problem(format!("`{}`: The body has more than {} KiB.", InvalidBody.as_word(), HTTP_BODY_MAX_BYTES >> 10));
    responses.insert("413".to_owned(), response.build().into());
    responses
}

fn by_status<'a>(reasons: impl Iterator<Item = &'a ErrorReason>) -> BTreeMap<String, RefOr<Response>> {
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

fn problem(description: String) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content(PROBLEM_JSON, content)
}

fn retry_after() -> utoipa::openapi::Header {
    let seconds = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer)).examples([json!(1)]);
    HeaderBuilder::new().schema(Some(seconds)).description(Some("When to ask again, in seconds.")).build()
}
