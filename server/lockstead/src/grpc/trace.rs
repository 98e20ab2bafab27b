//! The spans of a session's operations, for clients that trace their stream.

use std::sync::Arc;

use opentelemetry::KeyValue;
use tonic::metadata::MetadataMap;

use crate::service::Error;
use crate::service::session::{Message, OutboundItem, Reply};
use crate::telemetry::traces::{Operations, grant, outcome_of, resource};

/// Watches what goes over a stream in both directions; `None` if nobody wants to know.
#[derive(Clone)]
pub(super) struct StreamTrace(Option<Arc<Operations>>);

impl StreamTrace {
    pub(super) fn begin(metadata: &MetadataMap) -> Self {
        Self(Operations::of_stream(metadata.as_ref()))
    }

    /// What the client says.
    pub(super) fn heard(&self, message: &Message) {
        let Some(operations) = &self.0 else { return };
        match message {
            Message::Acquire(asked) => {
                let ask = &asked.ask;
                operations.begin(asked.request, "acquire", resource(ask.scope, ask.claim.kind(), &ask.name));
            }
            Message::Release { request, .. } => operations.begin(*request, "release", []),
            Message::Ping { .. }
            | Message::Pong
            | Message::Cancel { .. }
            | Message::Close
            | Message::Invalid { .. } => {}
        }
    }

    /// What it is answered.
    pub(super) fn said(&self, item: &OutboundItem) {
        let (Some(operations), Ok(reply)) = (&self.0, item) else { return };
        match reply {
            Reply::Acquired { request, granted } => operations.end(*request, grant(granted.token, "acquired")),
            Reply::NotAcquired { request, why } => operations.end(*request, [outcome(outcome_of(why.reason))]),
            Reply::Released { request, .. } => operations.end(*request, [outcome("released")]),
            Reply::Failed { request, error } => operations.end(*request, [outcome("failed"), reason(error)]),
            _ => {}
        }
    }
}

fn outcome(word: &'static str) -> KeyValue {
    KeyValue::new("lockstead.outcome", word)
}

fn reason(error: &Error) -> KeyValue {
    KeyValue::new("lockstead.reason", error.reason().as_word())
}
