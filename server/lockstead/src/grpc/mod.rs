//! gRPC: reads requests, hands them to the service, writes answers. It decides nothing about locks.

mod decode;
mod encode;
pub(crate) mod fuzzing;
mod intake;
mod session;
mod trace;

use axum::Router;
use axum::http;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{map_request, map_response};
use axum::response::Response;
use futures::StreamExt;
use futures::stream::BoxStream;
use hyper::body::Incoming;
use lockstead_api::v1::lock_service_server::{LockService, LockServiceServer};
use lockstead_api::{FILE_DESCRIPTOR_SET, convert, status, v1};
use lockstead_core::limits::GRPC_MESSAGE_MAX_BYTES;
use lockstead_core::{HoldId, Renew};
use lockstead_tasks::Starter;
use tonic::service::Routes;
use tonic::{Request, Status, Streaming};
use tonic_health::server::HealthReporter;
use tower::Service as _;

use crate::access::Identity;
use crate::service::{Caller, Error, Service};
use crate::telemetry::traces;

type Answer<T> = Result<tonic::Response<T>, Status>;

/// The service for locks, for those who call it by plain gRPC.
#[derive(Clone)]
pub(crate) struct Locks(LockServiceServer<Handlers>);

impl Locks {
    pub(crate) fn new(service: Service) -> Self {
        Self(LockServiceServer::new(Handlers { service }).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES))
    }

    /// Whether a request is for it, by gRPC as it should be: over HTTP/2, and not gRPC-Web.
    pub(crate) fn is_called_by<B>(request: &http::Request<B>) -> bool {
        let content_type = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        let is_plain =
            content_type.is_some_and(|kind| kind == b"application/grpc" || kind.starts_with(b"application/grpc+"));
        let is_call = request.version() == http::Version::HTTP_2 && request.method() == http::Method::POST;
        is_call && is_plain && request.uri().path().starts_with(PATH)
    }

    /// Answers a call.
    pub(crate) async fn answer(&self, request: http::Request<Incoming>) -> http::Response<tonic::body::Body> {
        let call = |request| async move {
            let Ok(response) = self.0.clone().call(intake::bound(request)).await;
            blame_message(response)
        };
        if traces::is_on() { traces::trace_grpc(request, call).await } else { call(request).await }
    }
}

/// What the paths of the service for locks begin with.
const PATH: &str = "/lockstead.v1.LockService/";

/// All gRPC services: locks, health, reflection; also as gRPC-Web.
///
/// # Errors
/// If the descriptors that reflection shows can't be read, which is a defect of the build.
pub(crate) fn routes(locks: Locks) -> Result<(Router, HealthReporter), tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let router = Routes::new(locks.0)
        .add_service(health_service)
        .add_service(reflection)
        .into_axum_router()
        // The fallback belongs to HTTP, which has the rest of the port.
        .reset_fallback()
        .layer(map_request(async |request| intake::bound(request).map(axum::body::Body::new)))
        .layer(map_response(async |response: Response| blame_message(response)))
        .layer(tonic_web::GrpcWebLayer::new());
    Ok((router, health))
}

/// Gives a request that can't be decoded, of which the handlers never hear, the status that it deserves.
fn blame_message<B>(mut response: http::Response<B>) -> http::Response<B> {
    if let Some(found) = Status::from_header_map(response.headers()) {
        let blamed = status::blame_message(found);
        // Fails only on metadata that is no header, and there is none.
        _ = blamed.add_header(response.headers_mut());
    }
    response
}

struct Handlers {
    service: Service,
}

impl Handlers {
    /// The service as the sender of a request may use it. The door has found out who that is.
    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let identity = request.extensions().get::<Identity>().cloned();
        let unguarded = || v1::ErrorReason::Internal.status("the request came past the door");
        Ok(self.service.caller(identity.ok_or_else(unguarded)?))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.reason().status(error.to_string())
    }
}

#[tonic::async_trait]
impl LockService for Handlers {
    type SessionStream = BoxStream<'static, Result<v1::SessionResponse, Status>>;
    type HoldStream = BoxStream<'static, Result<v1::HoldResponse, Status>>;

    async fn session(&self, request: Request<Streaming<v1::SessionRequest>>) -> Answer<Self::SessionStream> {
        let trace = trace::StreamTrace::begin(request.metadata());
        let caller = self.caller(&request)?;
        let tasks = request.extensions().get::<Starter>().cloned();
        let tasks = tasks.ok_or_else(|| v1::ErrorReason::Internal.status("the request came by no connection"))?;
        Ok(tonic::Response::new(session::serve(caller, request.into_inner(), trace, tasks)))
    }

    async fn hold(&self, request: Request<v1::HoldRequest>) -> Answer<Self::HoldStream> {
        let caller = self.caller(&request)?;
        let ask = decode::hold(request.into_inner())?;
        let (scope, name, claim) = (ask.scope, ask.name.clone(), ask.claim);
        let events = match caller.hold(ask).await? {
            Ok(stream) => stream.map(move |event| Ok(encode::hold_event(scope, &name, claim, event)?)).boxed(),
            Err(why) => futures::stream::iter([Ok(encode::hold_refused(why))]).boxed(),
        };
        Ok(tonic::Response::new(events))
    }

    async fn acquire(&self, request: Request<v1::AcquireRequest>) -> Answer<v1::AcquireResponse> {
        let caller = self.caller(&request)?;
        let lease = decode::lease(request.into_inner())?;
        let (scope, name) = (lease.ask.scope, lease.ask.name.clone());
        let outcome = caller.acquire(lease).await?;
        Ok(tonic::Response::new(encode::outcome(scope, &name, outcome)))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Answer<v1::RenewResponse> {
        let caller = self.caller(&request)?;
        let v1::RenewRequest { resource, hold_id, ttl } = request.into_inner();
        let (scope, resource) = convert::resource_id(resource).map_err(Error::from)?;
        let hold = HoldId::parse(&hold_id).map_err(Error::from)?;
        let ttl = convert::ttl(ttl).map_err(Error::from)?;
        let renewed = caller.renew(scope, Renew { resource: resource.clone(), hold, ttl }).await?;
        let hold = convert::hold_to_wire(scope, &resource.name, &renewed);
        Ok(tonic::Response::new(v1::RenewResponse { hold: Some(hold) }))
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Answer<v1::ReleaseResponse> {
        let caller = self.caller(&request)?;
        let v1::ReleaseRequest { resource, hold_id } = request.into_inner();
        let (scope, resource) = convert::resource_id(resource).map_err(Error::from)?;
        let hold = HoldId::parse(&hold_id).map_err(Error::from)?;
        caller.release(scope, resource, hold).await?;
        Ok(tonic::Response::new(v1::ReleaseResponse {}))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        let caller = self.caller(&request)?;
        let (scope, key) = convert::resource_id(request.into_inner().resource).map_err(Error::from)?;
        let view = caller.get(scope, key).await?;
        Ok(tonic::Response::new(v1::GetResponse { resource: Some(convert::resource_to_wire(scope, view)) }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListResponse> {
        let caller = self.caller(&request)?;
        let (scope, list) = decode::list(request.into_inner())?;
        let page = caller.list_page(scope, list).await?;
        let resources = page.resources.into_iter().map(|view| convert::resource_to_wire(scope, view)).collect();
        let next_page_token = page.next.map(|name| name.to_string()).unwrap_or_default();
        Ok(tonic::Response::new(v1::ListResponse { resources, next_page_token }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lockstead_api::v1::ErrorReason;
    use lockstead_api::v1::hold_response::Event;
    use lockstead_engine::{MemoryEngine, SharedKey};

    use super::*;
    use crate::service::{self, Drain, Engines};

    #[tokio::test]
    async fn a_server_that_shuts_down_tells_hold_streams_the_reason() {
        let router = Arc::new(service::Router::new(Arc::default()));
        let engines = Engines::new(Arc::new(MemoryEngine::start(SharedKey::from_bytes([0; 32]), router.clone())));
        let drain = Drain::default();
        let handlers = Handlers { service: Service::new(engines, router, Arc::default(), drain.clone()) };
        let hold = async || {
            let claim = Some(v1::Claim { name: "x".to_owned(), ..v1::Claim::default() });
            let wait = Some(v1::Wait { how: Some(v1::wait::How::Forever(true)) });
            let request = v1::HoldRequest { claim, wait, ..v1::HoldRequest::default() };
            let mut request = Request::new(request);
            request.extensions_mut().insert(Identity::anyone());
            handlers.hold(request).await.unwrap().into_inner()
        };
        let (mut holding, mut waiting) = (hold().await, hold().await);
        assert!(matches!(holding.next().await.unwrap().unwrap().event, Some(Event::Acquired(_))));
        assert!(matches!(waiting.next().await.unwrap().unwrap().event, Some(Event::Queued(_))));
        drain.end();
        let Some(Event::Lost(lost)) = holding.next().await.unwrap().unwrap().event else { panic!("not lost") };
        assert_eq!(lost.reason(), v1::LossReason::ServerLost);
        assert_eq!(ErrorReason::of(&waiting.next().await.unwrap().unwrap_err()), ErrorReason::Draining);
        assert!(holding.next().await.is_none() && waiting.next().await.is_none());
    }
}
