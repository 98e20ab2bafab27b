//! Messages that are no messages: each is its sender's fault, and told so.

use http::header::{CONTENT_TYPE, TE};
use http_body_util::{BodyExt, Full};
use lockstead_api::v1::{self, ErrorReason, session_request};
use lockstead_tests::PATIENCE;
use prost::Message;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tower::ServiceExt;

use super::asks::Ask;
use super::{assert_unharmed, connect};
use crate::logged::Logged;

/// Calls whose answer is a status alone if they can't be read.
const CALLS: [&str; 6] = ["Acquire", "Renew", "Release", "Get", "List", "Hold"];

/// More than the server takes in one message.
const OVERSIZE_BYTES: usize = (32 << 20) + 1;

/// A message in the frame that gRPC puts around it.
fn frame(message: &[u8]) -> Vec<u8> {
    prefixed(0, u32::try_from(message.len()).unwrap(), message)
}

fn prefixed(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

/// What nobody can read, whatever call it is sent to.
fn unreadable() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("no frame", Vec::new()),
        ("half a prefix", vec![0, 0]),
        ("a prefix alone", prefixed(0, 10, b"")),
        ("a message cut short", prefixed(0, 100, &[0x0a, 0x02])),
        ("garbage", frame(&[0xff; 20])),
        ("a field cut short", frame(&[0x0a, 0x64, 0x01])),
        ("a field of the wrong type", frame(&[0x08, 0x01])),
        ("a field number of zero", frame(&[0x02, 0x00])),
        ("a text that is not UTF-8", frame(&[0x0a, 0x04, 0x0a, 0x02, 0xff, 0xfe, 0x12, 0x02, 0xff, 0xfe])),
        ("compressed, but not said how", prefixed(1, 4, &[0; 4])),
        ("an unknown flag", prefixed(7, 4, &[0; 4])),
        ("a length beyond all limits", prefixed(0, u32::MAX, &[0; 64])),
    ]
}

/// Sends these bytes as the whole body of a call, and returns the status that comes back, as a header or a trailer.
async fn send(server: &Logged, call: &str, bytes: Vec<u8>) -> Status {
    let channel = Endpoint::from_shared(server.url.clone()).unwrap().connect().await.unwrap();
    let request = http::Request::post(format!("/lockstead.v1.LockService/{call}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Body::new(Full::from(bytes)))
        .unwrap();
    let answer = async {
        let (head, body) = channel.oneshot(request).await.unwrap().into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
        Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers))
    };
    tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap_or_else(|| panic!("{call}: no status"))
}

#[tokio::test]
async fn what_can_not_be_read_is_blamed_on_its_sender() {
    let mut server = Logged::start();
    for call in CALLS {
        for (what, body) in unreadable() {
            // As a kind of list, the number of a field of the wrong type is a good one.
            if call == "List" && matches!(what, "a field of the wrong type" | "a text that is not UTF-8") {
                continue;
            }
            let status = send(&server, call, body).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{call}, {what}: {status:?}");
            assert_eq!(ErrorReason::of(&status), ErrorReason::InvalidBody, "{call}, {what}: {status:?}");
        }
    }
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_for_that() {
    let mut server = Logged::start();
    let mut client = connect(&server).await;
    let request = v1::ListRequest { prefix: "x".repeat(OVERSIZE_BYTES), ..v1::ListRequest::default() };
    let status = client.list(request).await.unwrap_err();
    assert_eq!(
        (status.code(), ErrorReason::of(&status)),
        (Code::InvalidArgument, ErrorReason::InvalidBody),
        "{status:?}"
    );
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn garbage_on_a_session_ends_it_with_a_reason() {
    let mut server = Logged::start();
    let open = v1::SessionRequest { message: Some(session_request::Message::Open(v1::OpenSession::default())) };
    let Ask { claim, .. } = Ask::good();
    let acquire = v1::SessionAcquire { request_id: 1, claim, ..v1::SessionAcquire::default() };
    let acquire = v1::SessionRequest { message: Some(session_request::Message::Acquire(acquire)) };
    let good = [frame(&open.encode_to_vec()), frame(&acquire.encode_to_vec())].concat();
    for (what, bad) in unreadable() {
        for before in [&[][..], &good] {
            // Nothing of a message came yet, so this is no message but a stream that ended.
            let ended = matches!(what, "no frame" | "a prefix alone");
            if ended && !before.is_empty() {
                continue;
            }
            let status = send(&server, "Session", [before, &bad].concat()).await;
            let expected = if ended { ErrorReason::InvalidSession } else { ErrorReason::InvalidBody };
            assert_eq!(ErrorReason::of(&status), expected, "{what}: {status:?}");
            assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
        }
    }
    assert_unharmed(&mut server).await;
}
