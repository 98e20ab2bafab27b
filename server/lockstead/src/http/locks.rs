//! Routes of locks.

use axum::http::HeaderMap;
use axum::response::Response;
use lockstead_core::Kind;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Hold, Json, Released, Resource, ResourcePage};
use super::body::Content;
use super::calls::lock;
use super::hold::{ServerSentEvent, WireEvent};
use super::problem::Result;
use super::query::{NoParams, Params};
use super::refusals;
use super::request::{AcquireLock, GetParams, HoldLock, ListParams, NameParam, ReleaseHold, RenewLease, ResourceName};
use super::{Http, HttpState};

pub(super) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(acquire))
        .routes(routes!(renew))
        .routes(routes!(release))
        .routes(routes!(hold))
        .routes(routes!(get))
        .routes(routes!(list))
}

/// Acquire a lease of a lock
///
/// Good until its ttl has passed, unless renewed or released before. A caller who goes away while it waits leaves the
/// queue. Contention is 423, with those who hold it.
#[utoipa::path(
    post,
    path = "/v1/locks/{name}/acquire",
    operation_id = "acquire_lock",
    tag = "locks",
    params(NameParam),
    request_body = Option<AcquireLock>,
    responses((status = 200, description = "Granted.", body = Hold), refusals::AcquireLock),
)]
async fn acquire(
    http: Http,
    ResourceName(name): ResourceName,
    _: Params<NoParams>,
    Content(body): Content<AcquireLock>,
) -> Result<Json<Hold>> {
    http.acquire(body.into_ask(name)?).await
}

/// Renew a lease
///
/// Moves its deadline. The fencing token stays.
#[utoipa::path(
    post,
    path = "/v1/locks/{name}/renew",
    operation_id = "renew_lock",
    tag = "locks",
    params(NameParam),
    request_body = RenewLease,
    responses((status = 200, description = "The lease with its new deadline.", body = Hold), refusals::Renew),
)]
async fn renew(
    http: Http,
    ResourceName(name): ResourceName,
    _: Params<NoParams>,
    Content(body): Content<RenewLease>,
) -> Result<Json<Hold>> {
    http.renew(lock(name), body).await
}

/// Release a hold
///
/// Ends a lease or the hold of a hold stream, on the word of whoever knows its hold id.
#[utoipa::path(
    post,
    path = "/v1/locks/{name}/release",
    operation_id = "release_lock",
    tag = "locks",
    params(NameParam),
    request_body = ReleaseHold,
    responses((status = 200, description = "Released.", body = Released), refusals::Release),
)]
async fn release(
    http: Http,
    ResourceName(name): ResourceName,
    _: Params<NoParams>,
    Content(body): Content<ReleaseHold>,
) -> Result<Json<Released>> {
    http.release(lock(name), body).await
}

/// Hold a lock while reading the answer
///
/// The answer is a stream of events, and while it is open the lock is held. When it ends, however it ends, the hold ends:
/// `curl -N` is a holder, and Ctrl-C releases. Parameters go into the query or the body (`metadata` into the body only);
/// giving one in both is an error. What is refused at once is a problem and not a stream.
///
/// Server-Sent Events, unless `Accept` names `application/x-ndjson`: then one JSON object a line. The event's name is also
/// in the member `event` of its data.
#[utoipa::path(
    post,
    path = "/v1/locks/{name}/hold",
    operation_id = "hold_lock",
    tag = "locks",
    params(NameParam, HoldLock),
    request_body = Option<HoldLock>,
    responses(
        (status = 200, description = "The hold, from the first event to the last.", content(
            (ServerSentEvent = "text/event-stream"),
            (WireEvent = "application/x-ndjson"),
        )),
        refusals::HoldLock,
    ),
)]
async fn hold(
    http: Http,
    ResourceName(name): ResourceName,
    Params(query): Params<HoldLock>,
    headers: HeaderMap,
    Content(body): Content<HoldLock>,
) -> Result<Response> {
    http.hold(&headers, query.into_ask(body, name)?).await
}

/// Who holds a lock, and who waits
///
/// One that nobody holds or waits for is empty, not an error. Hold ids are never shown.
#[utoipa::path(
    get,
    path = "/v1/locks/{name}",
    operation_id = "get_lock",
    tag = "locks",
    params(NameParam, GetParams),
    responses((status = 200, description = "Its holders and waiters.", body = Resource), refusals::Get),
)]
async fn get(http: Http, ResourceName(name): ResourceName, Params(query): Params<GetParams>) -> Result<Json<Resource>> {
    http.get(query.scope(), lock(name)).await
}

/// List locks in use
///
/// Those held or waited for, in order of their names, bytewise.
#[utoipa::path(
    get,
    path = "/v1/locks",
    operation_id = "list_locks",
    tag = "locks",
    params(ListParams),
    responses((status = 200, description = "A page of them.", body = ResourcePage), refusals::List),
)]
async fn list(http: Http, Params(query): Params<ListParams>) -> Result<Json<ResourcePage>> {
    http.list(query.into_list(Kind::Lock)?).await
}
