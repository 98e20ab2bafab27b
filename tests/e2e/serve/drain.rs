//! A server that is told to end: everybody is told, nobody is left hanging, and it does not take long.

use std::time::Duration;

use lockstead_client::{Client, LossReason, OnDisconnect};
use lockstead_tests::{PATIENCE, Process, Server};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Well below the ten seconds after which it would end in any case.
const SOON: Duration = Duration::from_secs(5);

fn curl_hold(server: &Server, query: &str) -> Process {
    let mut curl = Command::new("curl");
    let url = format!("{}/v1/locks/deploy/hold?{query}", server.url);
    curl.args(["-sN", "-X", "POST", "-H", "accept: application/x-ndjson", &url]);
    Process::start(curl)
}

/// Tells the server to end, and returns once it has, with success.
async fn end(mut server: Server) {
    let told = lockstead_client::now();
    let ended = tokio::task::spawn_blocking(move || {
        server.signal(Signal::TERM);
        server.wait()
    });
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0));
    let took = lockstead_client::now().since(told);
    assert!(took < SOON, "it took {took:?}");
}

async fn until_waiting(client: &Client, name: &str, count: u32) {
    let waiting = async {
        while client.lock(name).get().await.unwrap().waiter_count != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[tokio::test]
async fn a_hold_stream_is_told_that_its_hold_is_lost() {
    let server = Server::start();
    let mut holder = curl_hold(&server, "");
    holder.line_with("acquired").await;
    let mut waiter = curl_hold(&server, "wait=forever");
    waiter.line_with("queued").await;
    end(server).await;
    let lost = json(&holder.line_with("\"lost\"").await);
    assert_eq!(lost["reason"], "SERVER_LOST", "{lost}");
    let refused = json(&waiter.line_with("not_acquired").await);
    assert_eq!(refused["reason"], "DRAINING", "{refused}");
    for mut curl in [holder, waiter] {
        assert_eq!(curl.next_line().await, None, "the stream ends after that");
        assert_eq!(curl.wait().await.code(), Some(0), "and in order");
    }
}

#[tokio::test]
async fn an_acquire_that_waits_is_told_to_go_elsewhere() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let _held = client.lock("x").acquire().await.unwrap();
    let url = format!("{}/v1/locks/x/acquire", server.url);
    let waiting = tokio::spawn(reqwest::Client::new().post(url).body(r#"{"wait": "forever"}"#).send());
    until_waiting(&client, "x", 1).await;
    end(server).await;
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
    let problem = json(&answer.text().await.unwrap());
    assert_eq!(problem["reason"], "DRAINING", "{problem}");
}

#[tokio::test]
async fn a_session_is_told_that_its_holds_are_lost() {
    for on_disconnect in [OnDisconnect::Release, OnDisconnect::Keep] {
        let server = Server::start();
        let client = Client::builder().server(&server.url).on_disconnect(on_disconnect);
        let client = client.connect().await.unwrap();
        let guard = client.lock("x").acquire().await.unwrap();
        let ending = tokio::spawn(guard.lost());
        end(server).await;
        let loss = tokio::time::timeout(PATIENCE, ending).await.unwrap().unwrap();
        assert_eq!(loss.reason, LossReason::ServerLost, "{loss:?}");
        assert!(guard.ensure_held().is_err());
    }
}

#[tokio::test]
async fn open_connections_do_not_keep_it() {
    let server = Server::start();
    let _silent = TcpStream::connect(server.address()).await.unwrap();
    let mut idle = TcpStream::connect(server.address()).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    http2.get(format!("{}/healthz", server.url)).send().await.unwrap();
    // One that holds and does not read.
    let hold = http2.post(format!("{}/v1/locks/x/hold", server.url)).send().await.unwrap();
    assert!(hold.status().is_success());
    let _session = Client::connect(&server.url).await.unwrap();
    end(server).await;
}

#[tokio::test]
async fn it_is_not_ready_while_it_drains() {
    let mut server = Server::start_with(&["--drain-timeout", "30s"]);
    let channel = Endpoint::from_shared(server.url.clone()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let mut status = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(status.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut holder = curl_hold(&server, "");
    holder.line_with("acquired").await;
    // A request that has begun is seen to its end.
    let mut begun = TcpStream::connect(server.address()).await.unwrap();
    begun.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
    let client = Client::connect(&server.url).await.unwrap();
    client.lock("x").get().await.unwrap();

    server.signal(Signal::TERM);
    holder.line_with("lost").await;
    assert_eq!(status.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    begun.write_all(b"\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, begun.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("DRAINING"), "{answer}");
    assert!(TcpStream::connect(server.address()).await.is_err(), "the port is closed");
    drop((status, health));
    let ended = tokio::task::spawn_blocking(move || server.wait());
    assert_eq!(tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_request_that_never_ends_keeps_it_no_longer_than_it_was_told() {
    let mut server = Server::start_with(&["--drain-timeout", "500ms"]);
    let mut begun = TcpStream::connect(server.address()).await.unwrap();
    begun
        .write_all(b"POST /v1/locks/x/acquire HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
        .await
        .unwrap();
    // It has been accepted before this one, which is answered.
    reqwest::get(format!("{}/healthz", server.url)).await.unwrap();
    server.signal(Signal::TERM);
    let ended = tokio::task::spawn_blocking(move || server.wait());
    assert_eq!(tokio::time::timeout(SOON, ended).await.unwrap().unwrap().code(), Some(0));
}
