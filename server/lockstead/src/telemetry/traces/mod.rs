//! Traces, by OTLP: a span for each request, as a part of its caller's trace, and for each operation of a session whose
//! client traces it.
//!
//! Without a collector there is no tracer, no layer around the routes, and nothing else that would cost anything.

mod exporter;
mod note;
mod operations;
mod requests;

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use thiserror::Error;

pub(crate) use note::{grant, note_ask, note_grant, note_outcome, note_resource, outcome_of, resource};
pub(crate) use operations::Operations;
pub(crate) use requests::{trace_grpc, trace_requests};

use crate::config::Otlp;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// A shutdown does not wait longer for the collector.
const LAST_SPANS_WITHIN: Duration = Duration::from_secs(2);

/// What sends spans to the collector, until it is told to stop.
#[must_use]
pub struct Traces(Option<SdkTracerProvider>);

/// Traces can't be sent there.
#[derive(Debug, Error)]
#[error("--otlp-endpoint: {0}")]
pub struct TracesError(String);

/// Starts tracing, if it is asked for. To be called once, on the runtime that carries the spans.
pub fn init_traces(otlp: Option<&Otlp>) -> Result<Traces, TracesError> {
    let Some(otlp) = otlp else { return Ok(Traces(None)) };
    let exporter = exporter::start(&otlp.endpoint).map_err(|error| TracesError(error.to_string()))?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        // Who calls decides, if it says so.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(otlp.sample_ratio))))
        .with_resource(Resource::builder().with_service_name("lockstead").with_attribute(version).build())
        .build();
    // One that is there already, in a test, may stay.
    _ = TRACER.set(provider.tracer("lockstead"));
    Ok(Traces(Some(provider)))
}

impl Traces {
    /// Sends what has not been sent yet, but does not wait for it for ever.
    pub async fn finish(self) {
        let Some(provider) = self.0 else { return };
        let finish = move || provider.shutdown_with_timeout(LAST_SPANS_WITHIN);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(finish).await {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Whether there are any.
pub(crate) fn is_on() -> bool {
    TRACER.get().is_some()
}

/// The caller's trace, if it names one: the W3C's headers `traceparent` and `tracestate`.
fn caller(headers: &HeaderMap) -> Context {
    struct Headers<'a>(&'a HeaderMap);

    impl Extractor for Headers<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key)?.to_str().ok()
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(axum::http::HeaderName::as_str).collect()
        }
    }

    // Not the context of this thread, which is another request's.
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

/// The same, if the caller records it.
fn recording_caller(headers: &HeaderMap) -> Option<Context> {
    let caller = caller(headers);
    let is_recorded = caller.span().span_context().is_sampled();
    is_recorded.then_some(caller)
}
