//! Routes of semaphores.

use axum::http::HeaderMap;
use axum::response::Response;
use lockstead_core::Kind;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Hold, Json, Released, Resource, ResourcePage};
use super::body::Content;
use super::calls::semaphore;
use super::hold::{ServerSentEvent, WireEvent};
use super::problem::Result;
use super::query::{NoParams, Params};
use super::refusals;
use super::request::{
    AcquireSemaphore, GetParams, HoldSemaphore, ListParams, NameParam, ReleaseHold, RenewLease, ResourceName,
};
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

/// Acquire permits of a semaphore as a lease
///
/// Good until its ttl has passed, unless renewed or released before. A caller who goes away while it waits leaves the
/// queue. Contention is 423, with those who hold it.
#[utoipa::path(
    post,
    path = "/v1/semaphores/{name}/acquire",
    operation_id = "acquire_semaphore",
    tag = "semaphores",
    params(NameParam),
    request_body = AcquireSemaphore,
    responses((status = 200, description = "Granted.", body = Hold), refusals::AcquireSemaphore),
)]
async fn acquire(
    http: Http,
    ResourceName(name): ResourceName,
    _: Params<NoParams>,
    Content(body): Content<AcquireSemaphore>,
) -> Result<Json<Hold>> {
    http.acquire(body.into_ask(name)?).await
}

/// Renew a lease
///
/// Moves its deadline. The fencing token stays.
#[utoipa::path(
    post,
    path = "/v1/semaphores/{name}/renew",
    operation_id = "renew_semaphore",
    tag = "semaphores",
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
    http.renew(semaphore(name), body).await
}

/// Release a hold
///
/// Ends a lease or the hold of a hold stream, on the word of whoever knows its hold id.
#[utoipa::path(
    post,
    path = "/v1/semaphores/{name}/release",
    operation_id = "release_semaphore",
    tag = "semaphores",
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
    http.release(semaphore(name), body).await
}

/// Hold permits of a semaphore while reading the answer
///
/// The answer is a stream of events, and while it is open the permits are held. When it ends, however it ends, the hold
/// ends: `curl -N` is a holder, and Ctrl-C releases. Parameters go into the query or the body (`metadata` into the body
/// only); giving one in both is an error. What is refused at once is a problem and not a stream.
///
/// Server-Sent Events, unless `Accept` names `application/x-ndjson`: then one JSON object a line. The event's name is also
/// in the member `event` of its data.
#[utoipa::path(
    post,
    path = "/v1/semaphores/{name}/hold",
    operation_id = "hold_semaphore",
    tag = "semaphores",
    params(NameParam, HoldSemaphore),
    request_body = Option<HoldSemaphore>,
    responses(
        (status = 200, description = "The hold, from the first event to the last.", content(
            (ServerSentEvent = "text/event-stream"),
            (WireEvent = "application/x-ndjson"),
        )),
        refusals::HoldSemaphore,
    ),
)]
async fn hold(
    http: Http,
    ResourceName(name): ResourceName,
    Params(query): Params<HoldSemaphore>,
    headers: HeaderMap,
    Content(body): Content<HoldSemaphore>,
) -> Result<Response> {
    http.hold(&headers, query.into_ask(body, name)?).await
}

/// Who holds permits of a semaphore, and who waits
///
/// One that nobody holds or waits for is empty, not an error. Hold ids are never shown.
#[utoipa::path(
    get,
    path = "/v1/semaphores/{name}",
    operation_id = "get_semaphore",
    tag = "semaphores",
    params(NameParam, GetParams),
    responses((status = 200, description = "Its holders and waiters.", body = Resource), refusals::Get),
)]
async fn get(http: Http, ResourceName(name): ResourceName, Params(query): Params<GetParams>) -> Result<Json<Resource>> {
    http.get(query.scope(), semaphore(name)).await
}

/// List semaphores in use
///
/// Those held or waited for, in order of their names, bytewise.
#[utoipa::path(
    get,
    path = "/v1/semaphores",
    operation_id = "list_semaphores",
    tag = "semaphores",
    params(ListParams),
    responses((status = 200, description = "A page of them.", body = ResourcePage), refusals::List),
)]
async fn list(http: Http, Params(query): Params<ListParams>) -> Result<Json<ResourcePage>> {
    http.list(query.into_list(Kind::Semaphore)?).await
}
