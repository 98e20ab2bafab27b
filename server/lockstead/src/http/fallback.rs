//! Answers where there is no handler, or none that came to its end.

use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use lockstead_api::v1::ErrorReason;

use super::problem::Problem;

/// A path that no route has.
pub(super) async fn no_such_route(uri: Uri) -> Problem {
    let named = uri.path().starts_with("/v1/locks/") || uri.path().starts_with("/v1/semaphores/");
    let hint = if named { "; a slash in a name must be written as %2F" } else { "; /docs lists what there is" };
    Problem::new(ErrorReason::RouteNotFound, format!("there is no route for this path{hint}"))
}

/// A method that the route of the path does not have. The router adds the header `Allow`.
pub(super) async fn no_such_method(method: Method) -> Problem {
    let detail = format!("the path has no method {method}; the header Allow lists those it has");
    Problem::new(ErrorReason::MethodNotAllowed, detail)
}

/// Turns a panic into an answer. What it was about is for the log, not for the caller.
pub(super) async fn catch_panic(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    // What a handler leaves behind when it unwinds is what it leaves behind when its caller goes away.
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(path, "a handler panicked");
        Problem::internal().into_response()
    })
}
