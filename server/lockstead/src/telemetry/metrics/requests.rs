//! Requests by transport and the code of their answer.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Response};
use tonic::{Code, Status};

use super::Metrics;
use super::text::Text;

/// Status codes of HTTP: 100 to 599.
const HTTP_CODES: std::ops::Range<u16> = 100..600;

/// The codes of gRPC, by their numbers.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// How many requests had which answer.
#[derive(Debug)]
pub(super) struct Requests {
    http: Vec<AtomicU64>,
    grpc: [AtomicU64; GRPC_CODES.len()],
}

impl Default for Requests {
    fn default() -> Self {
        Self { http: HTTP_CODES.map(|_| AtomicU64::new(0)).collect(), grpc: Default::default() }
    }
}

impl Requests {
    fn count_http(&self, status: u16) {
        let counter = status.checked_sub(HTTP_CODES.start).and_then(|index| self.http.get(usize::from(index)));
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count_grpc(&self, code: Code) {
        if let Some(counter) = usize::try_from(i32::from(code)).ok().and_then(|index| self.grpc.get(index)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Only codes that were answered: there are hundreds.
    pub(super) fn write(&self, text: &mut Text) {
        let name = "lockstead_requests_total";
        text.begin(
            name,
            "counter",
            "Requests, by transport and the code of the answer. A stream counts when it begins.",
        );
        let mut write = |transport, code: &str, counter: &AtomicU64| {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                text.sample(name, &[("transport", transport), ("code", code)], count);
            }
        };
        for (code, counter) in GRPC_CODES.iter().zip(&self.grpc) {
            write("grpc", code, counter);
        }
        for (code, counter) in HTTP_CODES.zip(&self.http) {
            write("http", &code.to_string(), counter);
        }
    }
}

impl Metrics {
    /// A request was answered. A refusal by gRPC is in the headers of the answer; what is not refused there is OK, or a stream
    /// that has begun.
    pub(crate) fn answered<B>(&self, is_grpc: bool, response: &Response<B>) {
        if is_grpc {
            let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
            self.requests.count_grpc(code);
        } else {
            self.requests.count_http(response.status().as_u16());
        }
    }
}

/// Whether a request is for gRPC, or gRPC-Web.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"))
}
