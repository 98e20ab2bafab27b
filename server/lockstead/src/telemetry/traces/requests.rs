//! A span for each request. That of a stream ends when the stream begins.

use std::future::Future;

use axum::extract::MatchedPath;
use axum::http::{Request, Response};
use axum::middleware::Next;
use axum::response;
use opentelemetry::KeyValue;
use opentelemetry::trace::{FutureExt, SpanKind, Status, TraceContextExt, Tracer};
use tonic::Code;

use super::{TRACER, caller};
use crate::telemetry::metrics::is_grpc;

/// Traces a request of either transport.
pub(crate) async fn trace_requests(request: axum::extract::Request, next: Next) -> response::Response {
    let next = |request| next.run(request);
    if is_grpc(request.headers()) { trace_grpc(request, next).await } else { trace_http(request, next).await }
}

async fn trace_http<I, O, F: Future<Output = Response<O>>>(
    request: Request<I>,
    next: impl FnOnce(Request<I>) -> F,
) -> Response<O> {
    let method = request.method().to_string();
    // Of the paths that are no route there are too many for a name.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let name = route.as_ref().map_or_else(|| method.clone(), |route| format!("{method} {route}"));
    let mut attributes = vec![KeyValue::new("http.request.method", method)];
    attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
    traced(name, attributes, request, next, |response| {
        let status = response.status();
        let failed = status.is_server_error().then_some(Status::error(""));
        (KeyValue::new("http.response.status_code", i64::from(status.as_u16())), failed)
    })
    .await
}

/// Traces a call that this answers.
pub(crate) async fn trace_grpc<I, O, F: Future<Output = Response<O>>>(
    request: Request<I>,
    next: impl FnOnce(Request<I>) -> F,
) -> Response<O> {
    let name = request.uri().path().trim_start_matches('/').to_owned();
    let attributes = vec![KeyValue::new("rpc.system", "grpc"), KeyValue::new("rpc.method", name.clone())];
    traced(name, attributes, request, next, |response| {
        let code = tonic::Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
        let failed = matches!(code, Code::Unknown | Code::Internal | Code::DataLoss | Code::Unavailable);
        let code = i64::from(i32::from(code));
        (KeyValue::new("rpc.grpc.status_code", code), failed.then_some(Status::error("")))
    })
    .await
}

/// What the handler notes comes into its span, because the handler runs within.
async fn traced<I, O, F: Future<Output = Response<O>>>(
    name: String,
    attributes: Vec<KeyValue>,
    request: Request<I>,
    next: impl FnOnce(Request<I>) -> F,
    result: impl FnOnce(&Response<O>) -> (KeyValue, Option<Status>),
) -> Response<O> {
    let Some(tracer) = TRACER.get() else { return next(request).await };
    let caller = caller(request.headers());
    let builder = tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
    let context = caller.with_span(builder.start_with_context(tracer, &caller));
    // A caller that goes away ends the span as well: it ends with its last owner.
    let response = next(request).with_context(context.clone()).await;
    let (code, failed) = result(&response);
    let span = context.span();
    span.set_attribute(code);
    if let Some(failed) = failed {
        span.set_status(failed);
    }
    span.end();
    response
}
