//! Spans of a session's operations, each from its request to its answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use opentelemetry::trace::{Span, SpanKind, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

use super::{TRACER, recording_caller};

/// Those of one stream that have not been answered, by the client's numbers. Only a client that has its stream recorded
/// has one of these. What is left at the stream's end ends with it.
pub(crate) struct Operations {
    tracer: SdkTracer,
    caller: Context,
    open: Mutex<HashMap<u64, opentelemetry_sdk::trace::Span>>,
}

impl Operations {
    /// For a stream that began with these headers.
    pub(crate) fn of_stream(headers: &HeaderMap) -> Option<Arc<Self>> {
        let tracer = TRACER.get()?.clone();
        let caller = recording_caller(headers)?;
        Some(Arc::new(Self { tracer, caller, open: Mutex::default() }))
    }

    /// The client asks for something.
    pub(crate) fn begin(&self, request: u64, name: &'static str, attributes: impl IntoIterator<Item = KeyValue>) {
        let builder = self.tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
        let span = builder.start_with_context(&self.tracer, &self.caller);
        self.open().insert(request, span);
    }

    /// It is answered.
    pub(crate) fn end(&self, request: u64, attributes: impl IntoIterator<Item = KeyValue>) {
        let span = self.open().remove(&request);
        if let Some(mut span) = span {
            span.set_attributes(attributes);
            span.end();
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, opentelemetry_sdk::trace::Span>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
