//! What a port serves. Whatever comes in is asked at the door who it is, answered, and counted, once for all transports.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use tower::Service;

use crate::access::Door;
use crate::grpc;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::is_grpc;

/// What a connection hands its requests to.
pub(crate) trait Serve: Send + Sync + 'static {
    /// Answers a request. The future is dropped when whoever asked goes away.
    fn serve(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>>;
}

/// The whole server, by gRPC and HTTP.
pub(crate) struct App {
    door: Door,
    metrics: Arc<Metrics>,
    /// What is called most, without the way through the router.
    locks: grpc::Locks,
    router: Router,
}

impl App {
    pub(crate) const fn new(door: Door, metrics: Arc<Metrics>, locks: grpc::Locks, router: Router) -> Self {
        Self { door, metrics, locks, router }
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        if let Err(refusal) = self.door.let_in(&mut request).await {
            return refusal;
        }
        if grpc::Locks::is_called_by(&request) {
            return self.locks.answer(request).await.map(Body::new);
        }
        route(&self.router, request).await
    }
}

impl Serve for App {
    fn serve(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        async move {
            let is_grpc = is_grpc(request.headers());
            let response = self.answer(request).await;
            self.metrics.answered(is_grpc, &response);
            response
        }
        .boxed()
    }
}

/// The port for probes and metrics: nobody is asked who it is.
impl Serve for Router {
    fn serve(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        async move { route(&self, request).await }.boxed()
    }
}

async fn route(router: &Router, request: Request<Incoming>) -> Response<Body> {
    let Ok(response) = router.clone().call(request.map(Body::new)).await;
    response
}
