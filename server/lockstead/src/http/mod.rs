//! HTTP: reads requests, hands them to the service, writes answers. It decides nothing about locks.
//!
//! The routes and the OpenAPI document come from the same declarations, so neither can lack what the other has.

mod answer;
mod body;
mod calls;
mod docs;
mod document;
mod fallback;
mod hold;
mod info;
mod json;
mod linger;
mod locks;
mod problem;
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
use axum::middleware::from_fn;
use utoipa_axum::router::OpenApiRouter;

pub use document::openapi;
pub use info::Info;

use crate::service::Service;

/// All HTTP routes, with an answer for every path that is none.
pub fn routes(service: Service, info: Info) -> Router {
    let (router, document) = api().split_for_parts();
    let http = Http { service, info: Arc::new(info), pages: Arc::new(document::Pages::new(&document)) };
    router
        .fallback(fallback::no_such_route)
        .method_not_allowed_fallback(fallback::no_such_method)
        .layer(from_fn(fallback::catch_panic))
        .layer(from_fn(linger::read_what_is_left))
        .with_state(http)
}

fn api() -> OpenApiRouter<Http> {
    OpenApiRouter::with_openapi(document::frame())
        .merge(locks::routes())
        .merge(semaphores::routes())
        .merge(server::routes())
}

/// What handlers work with.
#[derive(Clone)]
struct Http {
    service: Service,
    info: Arc<Info>,
    pages: Arc<document::Pages>,
}
