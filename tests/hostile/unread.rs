//! Clients that don't read what they are told.

use std::time::Duration;

use futures::future::join_all;
use lockstead_api::v1;
use lockstead_api::v1::session_request::Message as Say;
use lockstead_client::{Client, now};
use lockstead_tests::eventually;
use lockstead_tests::http2::{self, Speaker, flag, frame, kind};
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::attacked::Attacked;

const CLIENTS: usize = 20;
const GROWTH_MAX_BYTES: usize = 96 << 20;
const STREAM_WINDOW_BYTES: usize = 1 << 20;
/// What was sent has to be acknowledged, and what waits to be sent to be taken, within ten seconds.
const DROPPED_WITHIN: Duration = Duration::from_secs(30);

fn say(message: Say) -> Vec<u8> {
    http2::message(&v1::SessionRequest { message: Some(message) }.encode_to_vec())
}

/// Opens a session with a hold.
async fn open_session(speaker: &mut Speaker, client: usize) {
    let claim = Some(v1::Claim { name: format!("unread/{client}"), ..v1::Claim::default() });
    let acquire = v1::SessionAcquire { request_id: 1, claim, ..v1::SessionAcquire::default() };
    let words = [say(Say::Open(v1::OpenSession::default())), say(Say::Acquire(acquire))].concat();
    speaker.say(&http2::call(1, "Session")).await.unwrap();
    speaker.say(&frame(kind::DATA, flag::NONE, 1, &words)).await.unwrap();
}

/// As many pings on a session stream as may be under way: its window is full then.
async fn ask_for_replies(speaker: &mut Speaker) {
    let pings: Vec<u8> = (0..500).flat_map(|sequence| say(Say::Ping(v1::Ping { sequence }))).collect();
    for _ in 0..(STREAM_WINDOW_BYTES - 1_000) / pings.len() {
        speaker.say(&frame(kind::DATA, flag::NONE, 1, &pings)).await.unwrap();
    }
}

async fn held(client: &Client) -> usize {
    client.list_locks("unread/").all().await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_its_connection_is_dropped_and_its_holds_are_free() {
    let attacked = Attacked::start().await;
    let onlooker = Client::connect(attacked.url()).await.unwrap();
    let mut unread = Vec::new();
    for client in 0..CLIENTS {
        let (mut speaker, mut hearer) = http2::connect(attacked.address(), None).await.unwrap();
        http2::settle(&mut speaker, &mut hearer).await.unwrap();
        open_session(&mut speaker, client).await;
        ask_for_replies(&mut speaker).await;
        unread.push((speaker, hearer));
    }
    eventually("all hold", async || held(&onlooker).await == CLIENTS).await;
    let begun = now();
    let dropped = async {
        while held(&onlooker).await > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let dropped = tokio::time::timeout(DROPPED_WITHIN, dropped).await;
    assert!(dropped.is_ok(), "{} are still there after {DROPPED_WITHIN:?}", held(&onlooker).await);
    println!("dropped after {:?}", now().since(begun));
    drop(unread);
    attacked.assert_unharmed(GROWTH_MAX_BYTES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_client_takes_no_replies_is_not_read_either() {
    let attacked = Attacked::start().await;
    let onlooker = Client::connect(attacked.url()).await.unwrap();
    let mut alive = JoinSet::new();
    for client in 0..CLIENTS {
        // It lets the server send nothing at all on a stream, and is well alive beside that.
        let (mut speaker, mut hearer) = http2::connect(attacked.address(), Some(0)).await.unwrap();
        http2::settle(&mut speaker, &mut hearer).await.unwrap();
        open_session(&mut speaker, client).await;
        ask_for_replies(&mut speaker).await;
        alive.spawn(async move { http2::stay_alive(&mut speaker, &mut hearer).await });
    }
    eventually("all hold", async || held(&onlooker).await == CLIENTS).await;
    // Their sessions end when nothing was read of them for their timeout.
    eventually("all are free", async || held(&onlooker).await == 0).await;
    drop(alive);
    attacked.assert_unharmed(GROWTH_MAX_BYTES).await;
}

/// Asks over HTTP/1, over and over, and reads no answer. Returns when the server has ended the connection.
async fn ask_and_not_read(address: &str, request: String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let requests = request.repeat(100);
    while stream.write_all(requests.as_bytes()).await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_not_kept() {
    let attacked = Attacked::start().await;
    let client = Client::connect(attacked.url()).await.unwrap();
    let owner = "x".repeat(255);
    let guards = (0..200).map(|number| client.lock(format!("listed/{number:03}/{owner:.200}")).owner(&owner).acquire());
    let guards = futures::future::try_join_all(guards).await.unwrap();
    let list = "GET /v1/locks?page_size=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned();
    let document = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned();
    let asking = (0..CLIENTS).map(|client| {
        let request = if client % 2 == 0 { list.clone() } else { document.clone() };
        ask_and_not_read(attacked.address(), request)
    });
    let dropped = tokio::time::timeout(DROPPED_WITHIN, join_all(asking)).await;
    assert!(dropped.is_ok(), "some are still there after {DROPPED_WITHIN:?}");
    drop(guards);
    attacked.assert_unharmed(GROWTH_MAX_BYTES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_streams_that_nobody_reads_end_with_their_connections() {
    let attacked = Attacked::start().await;
    let onlooker = Client::connect(attacked.url()).await.unwrap();
    let mut unread = Vec::new();
    let mut alive = JoinSet::new();
    for client in 0..CLIENTS {
        let mut stream = TcpStream::connect(attacked.address()).await.unwrap();
        let request =
            format!("POST /v1/locks/unread%2F{client}/hold HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        unread.push(stream);
        let (mut speaker, hearer) = http2::connect(attacked.address(), Some(0)).await.unwrap();
        let claim = Some(v1::Claim { name: format!("unread/2/{client}"), ..v1::Claim::default() });
        let hold = v1::HoldRequest { claim, ..v1::HoldRequest::default() };
        let message = http2::message(&hold.encode_to_vec());
        speaker.say(&http2::call(1, "Hold")).await.unwrap();
        speaker.say(&frame(kind::DATA, flag::END_STREAM, 1, &message)).await.unwrap();
        let mut hearer = hearer;
        alive.spawn(async move { http2::stay_alive(&mut speaker, &mut hearer).await });
    }
    eventually("all hold", async || held(&onlooker).await == 2 * CLIENTS).await;
    attacked.serves().await;
    drop((unread, alive));
    eventually("all are free", async || held(&onlooker).await == 0).await;
    attacked.assert_unharmed(GROWTH_MAX_BYTES).await;
}
