//! Hold streams on the wire: Server-Sent Events, or one JSON object a line.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use lockstead_api::v1::LossReason;
use lockstead_core::{Name, Scope};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Hold, Holder};
use super::json;
use super::problem::not_acquired;
use crate::service::{Error, HoldEvent, HoldStream, loss_message};

/// What happens to a hold. After `not_acquired`, `lost` and `released` the stream ends.
#[derive(Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[schema(as = HoldEvent)]
pub(super) enum WireEvent {
    /// It stands in the queue.
    Queued {
        /// 1 is next.
        #[schema(minimum = 1, example = 1)]
        position: usize,
    },
    /// It holds.
    Acquired(Hold),
    /// Nothing new; sent every few seconds so that both ends notice a dead connection.
    #[serde(rename = "keep-alive")]
    KeepAlive {},
    /// The hold has ended against its holder's will.
    Lost {
        /// `EXPIRED`, `BROKEN`, `DISCONNECTED`, `SERVER_LOST` or `BACKEND_LOST`.
        #[schema(example = "SERVER_LOST")]
        reason: &'static str,
        /// The same in a sentence.
        #[schema(example = "the server is shutting down")]
        message: &'static str,
    },
    /// The hold was released with its hold id.
    Released {},
    /// The wait is over without a grant.
    NotAcquired {
        /// `WAIT_TIMEOUT`, `DEADLOCK` or `DRAINING`.
        #[schema(example = "WAIT_TIMEOUT")]
        reason: &'static str,
        /// The same in a sentence.
        #[schema(example = "not granted within the wait")]
        message: String,
        /// Who holds it now, oldest first, at most 8.
        holders: Vec<Holder>,
    },
}

/// A [`WireEvent`] as a server-sent event.
#[derive(ToSchema)]
#[schema(as = HoldServerSentEvent)]
#[expect(dead_code, reason = "describes for the document what `Format::write` writes")]
pub(super) struct ServerSentEvent {
    /// The event's name.
    #[schema(example = "keep-alive")]
    event: String,
    /// The event, a `HoldEvent`, as JSON.
    #[schema(content_media_type = "application/json", example = r#"{"event":"keep-alive"}"#)]
    data: String,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    ServerSentEvents,
    JsonLines,
}

impl Format {
    /// Server-Sent Events, unless the caller names the other one.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let named = |accept: &HeaderValue| {
            let ranges = accept.to_str().unwrap_or_default().split(',');
            ranges
                .map(|range| range.split(';').next().unwrap_or_default().trim())
                .any(|media_type| media_type.eq_ignore_ascii_case(Self::JsonLines.media_type()))
        };
        if headers.get_all(ACCEPT).iter().any(named) { Self::JsonLines } else { Self::ServerSentEvents }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::ServerSentEvents => "text/event-stream",
            Self::JsonLines => "application/x-ndjson",
        }
    }

    fn write(self, event: &WireEvent) -> Bytes {
        // A defect that leaves an event without its data is in the log.
        let data = json::encode(event).unwrap_or_default();
        let data = String::from_utf8_lossy(&data);
        match self {
            Self::ServerSentEvents => format!("event: {}\ndata: {data}\n\n", event.name()).into(),
            Self::JsonLines => format!("{data}\n").into(),
        }
    }
}

impl WireEvent {
    fn new(scope: Scope, name: &Name, event: HoldEvent) -> Self {
        match event {
            HoldEvent::Queued(position) => Self::Queued { position },
            HoldEvent::Acquired(grant) => Self::Acquired(Hold::new(scope, name, &grant)),
            HoldEvent::KeepAlive => Self::KeepAlive {},
            HoldEvent::Lost(_, reason) => Self::Lost { reason: loss_word(reason), message: loss_message(reason) },
            HoldEvent::Released => Self::Released {},
            HoldEvent::NotAcquired(why) => {
                let (reason, message) = not_acquired(why.reason);
                let holders = why.holders.into_iter().map(Holder::from).collect();
                Self::NotAcquired { reason: reason.as_word(), message: message.to_owned(), holders }
            }
            HoldEvent::Draining => {
                let (reason, message) = (Error::Draining.reason().as_word(), Error::Draining.to_string());
                Self::NotAcquired { reason, message, holders: Vec::new() }
            }
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Acquired(_) => "acquired",
            Self::KeepAlive {} => "keep-alive",
            Self::Lost { .. } => "lost",
            Self::Released {} => "released",
            Self::NotAcquired { .. } => "not_acquired",
        }
    }
}

fn loss_word(reason: LossReason) -> &'static str {
    reason.as_str_name().trim_start_matches("LOSS_REASON_")
}

/// The answer that is the hold: dropping its body, which is what a closed connection does, ends the hold.
pub(super) fn response(format: Format, scope: Scope, name: Name, events: HoldStream) -> Response {
    let chunks = events.map(move |event| Ok::<_, Infallible>(format.write(&WireEvent::new(scope, &name, event))));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(format.media_type())),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies that collect an answer before they pass it on would keep the news from the holder.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(chunks)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_for_those_who_name_them() {
        for (accept, format) in [
            ("application/x-ndjson", Format::JsonLines),
            ("text/html, Application/X-NDJSON;q=0.9", Format::JsonLines),
            ("*/*", Format::ServerSentEvents),
            ("application/json", Format::ServerSentEvents),
            ("", Format::ServerSentEvents),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(Format::wanted(&headers), format, "{accept}");
        }
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::ServerSentEvents);
    }

    #[test]
    fn an_event_has_its_name_in_both_formats() {
        let keep_alive = WireEvent::KeepAlive {};
        assert_eq!(Format::JsonLines.write(&keep_alive), "{\"event\":\"keep-alive\"}\n");
        let written = Format::ServerSentEvents.write(&keep_alive);
        assert_eq!(written, "event: keep-alive\ndata: {\"event\":\"keep-alive\"}\n\n");
    }
}
