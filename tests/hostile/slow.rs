//! Clients that take their time: each is dropped in the documented time, whatever it is slow at.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use lockstead_api::v1;
use lockstead_api::v1::session_request::Message as Say;
use lockstead_client::now;
use lockstead_tests::http2::{self, flag, frame, kind};
use lockstead_tests::{Logged, TlsFiles};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::attacked::Attacked;

/// Ten seconds for what has to come, ten more for a sign of life or for what is left of a body, and time for a busy machine.
const DROPPED_WITHIN: Duration = Duration::from_secs(30);
/// Nobody is slow for that.
const SERVED_FOR: Duration = Duration::from_secs(5);
const TRICKLE_EVERY: Duration = Duration::from_millis(500);
const GROWTH_MAX_BYTES: usize = 32 << 20;
const HEADERS: &str = "POST /v1/locks/x/acquire HTTP/1.1\r\nhost: localhost\r\nx-a: bcdefghijklmnopqrstuvwxyz";

/// Says something at once, and the rest byte by byte, until the server ends the connection. What it answered.
async fn trickle(address: String, at_once: Vec<u8>, rest: Vec<u8>) -> Vec<u8> {
    let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    to.write_all(&at_once).await.unwrap();
    let mut answer = Vec::new();
    let trickling = async {
        for byte in rest.iter().cycle() {
            tokio::time::sleep(TRICKLE_EVERY).await;
            if to.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // A reset is an end, too.
        _ = from.read_to_end(&mut answer) => {}
        () = trickling => {}
    }
    answer
}

/// Says something, then nothing any more.
async fn fall_silent(address: String, words: Vec<u8>) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&words).await.unwrap();
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer).await;
    answer
}

/// All of them are still there for a while, if they are to be, and are gone in time.
async fn assert_dropped(clients: Vec<(&'static str, BoxFuture<'static, Vec<u8>>)>) {
    let dropped = clients.into_iter().map(async |(what, client)| {
        let begun = now();
        let answer = tokio::time::timeout(DROPPED_WITHIN, client).await;
        let answer = answer.unwrap_or_else(|_| panic!("{what}: still there after {DROPPED_WITHIN:?}"));
        let took = now().since(begun);
        println!("{what}: dropped after {took:?}; it was told {} bytes", answer.len());
        assert!(took > SERVED_FOR, "{what}: dropped after {took:?} already: {}", String::from_utf8_lossy(&answer));
    });
    join_all(dropped).await;
}

fn http2_words(more: &[Vec<u8>]) -> Vec<u8> {
    [http2::PREFACE.to_vec(), http2::settings(None), more.concat()].concat()
}

#[tokio::test]
async fn slow_clients_are_dropped_in_time() {
    let attacked = Attacked::start().await;
    let address = || attacked.address().to_owned();
    let bytes = |text: &str| text.as_bytes().to_vec();
    let body = "POST /v1/locks/x/acquire HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{";
    let chunks = "POST /v1/locks/x/hold HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let open_headers = frame(kind::HEADERS, flag::NONE, 1, &http2::header_block(&[(":method", "GET")]));
    let begun_frame = frame(kind::PING + 100, flag::NONE, 0, &[0; 10_000])[..10].to_vec();
    assert_dropped(vec![
        ("says nothing", fall_silent(address(), Vec::new()).boxed()),
        ("trickles the preface", trickle(address(), Vec::new(), http2::PREFACE[..20].to_vec()).boxed()),
        ("trickles headers", trickle(address(), Vec::new(), bytes(HEADERS)).boxed()),
        ("stops in its headers", fall_silent(address(), bytes(HEADERS)).boxed()),
        ("trickles a body", trickle(address(), bytes(body), vec![b' ']).boxed()),
        ("trickles chunks", trickle(address(), bytes(chunks), bytes("1\r\n \r\n")).boxed()),
        (
            "asks once and stays",
            fall_silent(address(), bytes("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")).boxed(),
        ),
        ("HTTP/2: says the preface only", fall_silent(address(), http2::PREFACE.to_vec()).boxed()),
        ("HTTP/2: says its settings only", fall_silent(address(), http2_words(&[])).boxed()),
        ("HTTP/2: stops in its headers", fall_silent(address(), http2_words(&[open_headers])).boxed()),
        ("HTTP/2: trickles a frame", trickle(address(), http2_words(&[begun_frame]), vec![0]).boxed()),
    ])
    .await;
    attacked.assert_unharmed(GROWTH_MAX_BYTES).await;
}

#[tokio::test]
async fn a_tls_handshake_must_come_to_an_end() {
    let files = TlsFiles::make();
    let mut server = Logged::start_with(|command| {
        command.arg("--tls-cert").arg(files.certificate()).arg("--tls-key").arg(files.key());
    });
    let address = || server.address().to_owned();
    // The head of a record, and of a hello in it.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    assert_dropped(vec![
        ("says nothing", fall_silent(address(), Vec::new()).boxed()),
        ("stops in its hello", fall_silent(address(), hello.clone()).boxed()),
        ("trickles its hello", trickle(address(), hello, vec![7]).boxed()),
    ])
    .await;
    server.assert_well();
}

/// A connection that is alive in all else, with one call on it. How that ends.
async fn call_slowly(address: String, method: &'static str, at_once: Vec<u8>, trickles: bool) -> Vec<u8> {
    let (mut speaker, mut hearer) = http2::connect(&address, None).await.unwrap();
    speaker.say(&http2::call(1, method)).await.unwrap();
    speaker.say(&frame(kind::DATA, flag::NONE, 1, &at_once)).await.unwrap();
    loop {
        let next = tokio::time::timeout(TRICKLE_EVERY, hearer.hear()).await;
        let Ok(next) = next else {
            if trickles {
                speaker.say(&frame(kind::DATA, flag::NONE, 1, &[0])).await.unwrap();
            }
            continue;
        };
        let next = next.expect("the connection lives on");
        if let Some(answer) = next.answer() {
            speaker.say(&answer).await.unwrap();
        }
        let is_end = next.kind == kind::RST_STREAM || next.flags & flag::END_STREAM != 0 && next.kind != kind::SETTINGS;
        if next.stream == 1 && is_end {
            return next.payload;
        }
    }
}

#[tokio::test]
async fn a_message_must_come_to_an_end() {
    let attacked = Attacked::start().await;
    let address = || attacked.address().to_owned();
    let list = v1::ListRequest { prefix: "x".repeat(1_000), ..v1::ListRequest::default() };
    let list = http2::message(&list.encode_to_vec());
    let open = v1::SessionRequest { message: Some(Say::Open(v1::OpenSession::default())) };
    let open = http2::message(&open.encode_to_vec());
    let begun = http2::message(&[0; 1_000])[..100].to_vec();
    assert_dropped(vec![
        ("says no message", call_slowly(address(), "List", Vec::new(), false).boxed()),
        ("stops in a message", call_slowly(address(), "List", list[..100].to_vec(), false).boxed()),
        ("trickles a message", call_slowly(address(), "List", list[..100].to_vec(), true).boxed()),
        ("does not end the request", call_slowly(address(), "List", list, false).boxed()),
        ("says nothing on a session", call_slowly(address(), "Session", Vec::new(), false).boxed()),
        ("stops in the first message", call_slowly(address(), "Session", begun.clone(), false).boxed()),
        ("trickles a later message", call_slowly(address(), "Session", [open, begun].concat(), true).boxed()),
    ])
    .await;
    attacked.assert_unharmed(GROWTH_MAX_BYTES).await;
}
