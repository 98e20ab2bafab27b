//! Bytes that are no messages, or not quite, as the whole body of a call.

use std::time::Duration;

use fastrand::Rng;
use http::header::{CONTENT_TYPE, TE};
use http_body_util::{BodyExt, Full};
use lockstead_api::v1;
use lockstead_api::v1::acquire_response::Outcome;
use lockstead_api::v1::session_request::Message as Say;
use prost::Message;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::ServiceExt;

use crate::yields::Yields;
use crate::{Findings, draw};

const CALLS: [&str; 10] = [
    "lockstead.v1.LockService/Session",
    "lockstead.v1.LockService/Session",
    "lockstead.v1.LockService/Hold",
    "lockstead.v1.LockService/Acquire",
    "lockstead.v1.LockService/Renew",
    "lockstead.v1.LockService/Release",
    "lockstead.v1.LockService/Get",
    "lockstead.v1.LockService/List",
    "grpc.health.v1.Health/Check",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];
const CONTENT_TYPES: [&str; 4] =
    ["application/grpc", "application/grpc+proto", "application/grpc-web+proto", "application/grpc-web-text"];
/// A call whose answer has not come by then is left alone. What is held or waited for ends with that.
const LEAVES_AFTER: Duration = Duration::from_millis(100);
const BYTES_MAX: usize = 2_000;

pub(crate) async fn attack(channel: &Channel, rng: &mut Rng, findings: &Findings, yields: &Yields) {
    let call = draw::one(rng, &CALLS);
    let content_type = if rng.u8(..8) > 0 { CONTENT_TYPES[0] } else { draw::one(rng, &CONTENT_TYPES) };
    let body = body(call, rng, yields);
    let request = http::Request::post(format!("/{call}"))
        .header(CONTENT_TYPE, content_type)
        .header(TE, "trailers")
        .body(Body::new(Full::from(body.clone())))
        .unwrap();
    let answer = async {
        let (head, answer) =
            channel.clone().oneshot(request).await.map_err(|error| format!("no answer: {error:?}"))?.into_parts();
        let answer = answer.collect().await.map_err(|error| format!("a broken answer: {error:?}"))?;
        let trailers = answer.trailers().cloned().unwrap_or_default();
        let status = Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers));
        Ok::<_, String>((status, answer.to_bytes()))
    };
    let why = |status: &dyn std::fmt::Debug| format!("{status:?} to {content_type} {call} {body:02x?}");
    match tokio::time::timeout(LEAVES_AFTER, answer).await {
        Err(_) => findings.note("bytes", Code::Cancelled, String::new),
        Ok(Err(broken)) => findings.wrong(why(&broken)),
        Ok(Ok((Some(status), answer))) => {
            findings.note("bytes", status.code(), || why(&status));
            if call.ends_with("/Acquire") {
                note_lease(&answer, yields);
            }
        }
        // In gRPC-Web it is in the body.
        Ok(Ok((None, answer))) if content_type.contains("web") => {
            let text = String::from_utf8_lossy(&answer);
            let code = if text.contains("grpc-status:13") { Code::Internal } else { Code::Ok };
            findings.note("bytes over gRPC-Web", code, || why(&text));
            // What an answer of this kind holds is not looked at; its lease ends soon.
        }
        Ok(Ok((None, answer))) => findings.wrong(why(&format!("no status: {answer:?}"))),
    }
}

fn note_lease(frame: &[u8], yields: &Yields) {
    let answer = frame.get(5..).and_then(|message| v1::AcquireResponse::decode(message).ok());
    if let Some(Outcome::Acquired(hold)) = answer.and_then(|answer| answer.outcome) {
        yields.note_lease(&hold);
    }
}

fn body(call: &str, rng: &mut Rng, yields: &Yields) -> Vec<u8> {
    if rng.u8(..3) == 0 {
        let bytes = bytes(rng);
        return if rng.bool() { bytes } else { frame(&bytes) };
    }
    if call.ends_with("/Session") {
        // A good beginning: what comes after it has more to break. It is left as it is, or the session could last for long.
        let open = v1::OpenSession {
            session_timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..v1::OpenSession::default()
        };
        let mut body = frame(&v1::SessionRequest { message: Some(Say::Open(open)) }.encode_to_vec());
        for _ in 0..rng.u8(1..6) {
            let message = frame(&draw::later(rng, yields).encode_to_vec());
            body.extend(if rng.bool() { mangled(message, rng) } else { message });
        }
        return body;
    }
    let message = match call.rsplit('/').next().unwrap_or_default() {
        "Hold" => draw::hold_stream(rng).encode_to_vec(),
        "Acquire" => draw::acquire(rng).encode_to_vec(),
        "Renew" => draw::renew(rng, yields).encode_to_vec(),
        "Release" => draw::release(rng, yields).encode_to_vec(),
        "Get" => draw::get(rng).encode_to_vec(),
        "List" => draw::list(rng).encode_to_vec(),
        _ => bytes(rng),
    };
    mangled(frame(&message), rng)
}

fn bytes(rng: &mut Rng) -> Vec<u8> {
    let length = rng.usize(..BYTES_MAX);
    some_bytes(rng, length)
}

fn some_bytes(rng: &mut Rng, length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// With some of its bits flipped, cut short, or with something more at its end.
fn mangled(mut bytes: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..4) {
        0 | 1 => {
            for _ in 0..rng.u8(1..8) {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u8(..8);
            }
        }
        2 => bytes.truncate(rng.usize(..bytes.len())),
        _ => {
            let length = rng.usize(..20);
            bytes.extend(some_bytes(rng, length));
        }
    }
    bytes
}
