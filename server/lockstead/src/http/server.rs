//! Routes that tell of the server itself.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Json;
use super::info::ServerInfo;
use super::problem::Result;
use super::query::{NoParams, Params};
use super::refusals;
use super::sessions::SessionList;
use super::{Http, HttpState};

/// As Prometheus wants it to be called.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(sessions))
        .routes(routes!(info))
        .merge(monitor_routes())
        .routes(routes!(openapi))
        .routes(routes!(docs))
}

pub(super) fn monitor_routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// That the server is well.
#[derive(Serialize, ToSchema)]
struct Status {
    /// `ok` or `ready`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// List the sessions of this server
///
/// Oldest first. Sessions are opened by gRPC. With access control it takes a rule that allows `administer` without a prefix.
#[utoipa::path(
    get,
    path = "/v1/sessions",
    operation_id = "list_sessions",
    tag = "server",
    responses((status = 200, description = "All of them.", body = SessionList), refusals::Sessions),
)]
async fn sessions(http: Http, _: Params<NoParams>) -> Result<Json<SessionList>> {
    Ok(Json(SessionList::new(http.caller.session_views()?)))
}

/// What this server is
///
/// Its version, its engines and what they can do, its limits.
#[utoipa::path(
    get,
    path = "/v1/info",
    operation_id = "get_info",
    tag = "server",
    responses((status = 200, description = "About the server.", body = ServerInfo), refusals::Plain),
)]
async fn info(http: Http, _: Params<NoParams>) -> Json<ServerInfo> {
    Json(ServerInfo::new(&http.info, http.caller.engines()))
}

/// Whether the server is alive
///
/// If this is not answered, restart it.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "get_health",
    tag = "server",
    security(()),
    responses((status = 200, description = "It is.", body = Status), refusals::Healthy),
)]
async fn healthz(_: Params<NoParams>) -> Json<Status> {
    Json(Status { status: "ok" })
}

/// Whether the server takes requests
///
/// While it does not, send them to another one. It does not while it drains, and while its engine can't serve: the detail
/// says why, and what to do about it.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "get_readiness",
    tag = "server",
    security(()),
    responses((status = 200, description = "It does.", body = Status), refusals::Ready),
)]
async fn readyz(http: Http, _: Params<NoParams>) -> Result<Json<Status>> {
    http.caller.check_ready()?;
    Ok(Json(Status { status: "ready" }))
}

/// Metrics for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "get_metrics",
    tag = "server",
    responses(
        (status = 200, description = "In the OpenMetrics text format.", body = String, content_type = OPEN_METRICS),
        refusals::Plain,
    ),
)]
async fn metrics(http: Http, _: Params<NoParams>) -> impl IntoResponse {
    ([(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS))], http.caller.render_metrics())
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "get_openapi",
    tag = "server",
    responses(
        (status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json"),
        refusals::Plain,
    ),
)]
async fn openapi(http: Http, _: Params<NoParams>) -> impl IntoResponse {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], http.pages.openapi.clone())
}

/// This document, for people
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "get_docs",
    tag = "server",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html"), refusals::Plain),
)]
async fn docs(http: Http, _: Params<NoParams>) -> impl IntoResponse {
    let headers = [
        ("content-type", "text/html; charset=utf-8"),
        // The page needs nothing from anywhere, and nothing in it is to run.
        ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        ("x-content-type-options", "nosniff"),
    ];
    (headers, http.pages.docs.clone())
}
