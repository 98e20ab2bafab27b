//! HTTP: reads requests, hands them to the service, writes answers. It decides nothing about locks.
//!
//! The routes and the OpenAPI document come from the same declarations, so neither can lack what the other has.

mod answer;
mod body;
mod calls;
mod docs;
mod document;
mod fallback;
pub(crate) mod fuzzing;
mod hold;
mod info;
mod json;
mod linger;
mod locks;
pub(crate) mod problem;
mod query;
mod reason;
mod refusals;
mod request;
mod semaphores;
mod server;
mod sessions;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::middleware::from_fn;
use utoipa_axum::router::OpenApiRouter;

pub use document::openapi;
pub use info::Info;

use crate::access::Identity;
use crate::service::{Caller, Service};

/// All HTTP routes, with an answer for every path that is none.
pub fn routes(service: Service, info: Info) -> Router {
    let (router, document) = api().split_for_parts();
    let state = HttpState { service, info: Arc::new(info), pages: Arc::new(document::Pages::new(&document)) };
    router
        .fallback(fallback::no_such_route)
        .method_not_allowed_fallback(fallback::no_such_method)
        .layer(from_fn(fallback::catch_panic))
        .layer(from_fn(linger::read_what_is_left))
        .with_state(state)
}

/// The routes for those who watch over the server: probes and metrics, for which nobody is asked who it is.
pub fn monitor_routes(service: Service, info: Info) -> Router {
    let (router, document) = OpenApiRouter::new().merge(server::monitor_routes()).split_for_parts();
    let state = HttpState { service, info: Arc::new(info), pages: Arc::new(document::Pages::new(&document)) };
    router
        .fallback(fallback::no_such_route)
        .method_not_allowed_fallback(fallback::no_such_method)
        .layer(axum::Extension(Identity::anyone()))
        .with_state(state)
}

fn api() -> OpenApiRouter<HttpState> {
    OpenApiRouter::with_openapi(document::frame())
        .merge(locks::routes())
        .merge(semaphores::routes())
        .merge(server::routes())
}

/// What all requests share.
#[derive(Clone)]
struct HttpState {
    service: Service,
    info: Arc<Info>,
    pages: Arc<document::Pages>,
}

/// What a handler works with: the service as the sender of this request may use it. The door has found out who that is.
struct Http {
    caller: Caller,
    info: Arc<Info>,
    pages: Arc<document::Pages>,
}

impl FromRequestParts<HttpState> for Http {
    type Rejection = problem::Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> problem::Result<Self> {
        let Some(identity) = parts.extensions.get::<Identity>() else {
            tracing::error!(path = parts.uri.path(), "a request came past the door");
            return Err(problem::Problem::internal());
        };
        let caller = state.service.caller(identity.clone());
        Ok(Self { caller, info: state.info.clone(), pages: state.pages.clone() })
    }
}
