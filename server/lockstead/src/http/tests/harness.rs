//! A server without a port: requests go straight to its routes, and each answer is compared with what the document
//! promises.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures::StreamExt;
use futures::stream::BoxStream;
use http_body_util::BodyExt;
use lockstead_engine::{MemoryEngine, SharedKey};
use serde_json::Value;
use tower::ServiceExt;

use crate::access::Identity;
use crate::http::{Info, openapi, routes};
use crate::service::{self, Drain, Engines, Service};
use crate::telemetry::Metrics;

/// A server with the memory engine.
pub(super) struct Server {
    pub(super) router: Router,
    pub(super) service: Service,
    pub(super) drain: Drain,
    document: Value,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// An answer that goes on: the events of a hold stream. Its drop is the end of the connection.
pub(super) struct Events {
    chunks: BoxStream<'static, Result<axum::body::Bytes, axum::Error>>,
    lines: bool,
}

impl Server {
    pub(super) fn start() -> Self {
        let metrics = Arc::new(Metrics::new());
        let router = Arc::new(service::Router::new(metrics.clone()));
        let engines = Engines::new(Arc::new(MemoryEngine::start(SharedKey::from_bytes([0; 32]), router.clone())));
        let drain = Drain::default();
        let service = Service::new(engines, router, metrics, drain.clone());
        let document = serde_json::to_value(openapi()).unwrap();
        let router = routes(service.clone(), Info::new("1.2.3")).layer(axum::Extension(Identity::anyone()));
        Self { router, service, drain, document }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Vec::new()).await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.call(Method::POST, path, body).await
    }

    /// Calls, and checks that the document tells of such an answer.
    pub(super) async fn call(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.call_with(method, path, Body::from(body.into())).await
    }

    /// The same, with a body of any kind.
    pub(super) async fn call_with(&self, method: Method, path: &str, body: Body) -> Answer {
        let request = Request::builder().method(method.clone()).uri(path).body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        self.check_documented(&method, path, &answer);
        answer
    }

    /// Acquires, and returns the hold.
    pub(super) async fn acquire(&self, path: &str, body: &str) -> Value {
        let answer = self.post(&format!("{path}/acquire"), body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Starts to hold.
    pub(super) async fn hold(&self, path: &str, accept: &str, body: &str) -> Events {
        let request = Request::post(path).header("accept", accept).body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let lines = response.headers()["content-type"] == "application/x-ndjson";
        assert!(lines || response.headers()["content-type"] == "text/event-stream");
        Events { chunks: Box::pin(response.into_body().into_data_stream()), lines }
    }

    /// Whether nobody holds or waits for anything.
    pub(super) async fn is_unused(&self) -> bool {
        let empty = |answer: Answer| answer.json()["resources"] == serde_json::json!([]);
        empty(self.get("/v1/locks").await) && empty(self.get("/v1/semaphores").await)
    }

    fn check_documented(&self, method: &Method, path: &str, answer: &Answer) {
        let Some(operation) = self.operation(method, path) else {
            assert!(matches!(answer.status.as_u16(), 404 | 405), "{method} {path} is not in the document: {answer:?}");
            return;
        };
        let response = &operation["responses"][answer.status.as_str()];
        assert!(response.is_object(), "{method} {path}: the document lacks this: {answer:?}");
        let media_type = answer.headers["content-type"].to_str().unwrap();
        let known = response["content"].as_object().unwrap();
        assert!(known.keys().any(|it| media_type.starts_with(it.as_str())), "{method} {path}: {media_type}");
        if answer.status.is_client_error() || answer.status.is_server_error() {
            let description = response["description"].as_str().unwrap();
            assert!(description.contains(&format!("`{}`", answer.reason())), "{method} {path}: {answer:?}");
        }
    }

    fn operation(&self, method: &Method, path: &str) -> Option<&Value> {
        let path: Vec<_> = path.split('?').next()?.split('/').collect();
        let paths = self.document["paths"].as_object()?;
        let (_, operations) = paths.iter().find(|(template, _)| {
            let template: Vec<_> = template.split('/').collect();
            let fits = |(part, given): (&&str, &&str)| part == given || part.starts_with('{');
            // An empty name at the end is no name but another path.
            template.len() == path.len() && path.last() != Some(&"") && template.iter().zip(&path).all(fits)
        })?;
        operations.get(method.as_str().to_lowercase())
    }
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The reason of a problem document, whose shape is checked in passing.
    pub(super) fn reason(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        let reason = problem["reason"].as_str().unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["type"], format!("/docs#{reason}"));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        reason.to_owned()
    }

    pub(super) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

impl Events {
    /// The next event with its name, without looking at keep-alives; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let chunk = self.chunks.next().await?.unwrap();
            let (name, data) = self.read(std::str::from_utf8(&chunk).unwrap());
            if name != "keep-alive" {
                return Some((name, data));
            }
        }
    }

    /// Each event comes in a chunk of its own, so that it is on its way as soon as it happens.
    fn read(&self, chunk: &str) -> (String, Value) {
        let data = if self.lines {
            chunk.strip_suffix('\n').unwrap()
        } else {
            let (name, data) = chunk.strip_suffix("\n\n").unwrap().split_once("\ndata: ").unwrap();
            let data_name: Value = serde_json::from_str::<Value>(data).unwrap()["event"].clone();
            assert_eq!(name.strip_prefix("event: ").unwrap(), data_name);
            data
        };
        assert!(!data.contains('\n'));
        let data: Value = serde_json::from_str(data).unwrap();
        (data["event"].as_str().unwrap().to_owned(), data)
    }
}
