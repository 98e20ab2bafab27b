//! `curl -N` is a lock holder, and its death unlocks.

use std::time::Duration;

use lockstead_tests::{Process, Server};
use rustix::process::Signal;
use tokio::process::Command;

fn hold(server: &Server, query: &str) -> Process {
    let mut curl = Command::new("curl");
    let url = format!("{}/v1/locks/deploy/hold?{query}", server.url);
    curl.args(["-sN", "-X", "POST", "-H", "accept: application/x-ndjson", &url]);
    Process::start(curl)
}

#[tokio::test]
async fn killing_a_curl_gives_its_lock_to_the_next_within_50_ms() {
    let server = Server::start();
    let mut holder = hold(&server, "owner=first");
    let first = holder.line_with("acquired").await;
    let mut waiter = hold(&server, "wait=forever&owner=second");
    waiter.line_with("queued").await;

    let killed = lockstead_client::now();
    holder.signal(Signal::KILL);
    let second = waiter.line_with("acquired").await;
    let handed_over = lockstead_client::now().since(killed);

    assert!(handed_over < Duration::from_millis(50), "it took {handed_over:?}");
    assert!(token(&second) > token(&first), "{first} then {second}");
}

#[tokio::test]
async fn a_waiting_curl_that_is_killed_never_holds() {
    let server = Server::start();
    let mut holder = hold(&server, "");
    holder.line_with("acquired").await;
    let mut gone = hold(&server, "wait=forever");
    gone.line_with("queued").await;
    let mut patient = hold(&server, "wait=forever");
    patient.line_with("\"position\":2").await;

    gone.signal(Signal::KILL);
    gone.wait().await;
    holder.signal(Signal::KILL);
    patient.line_with("acquired").await;
}

fn token(event: &str) -> u64 {
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    event["fencing_token"].as_u64().unwrap_or_else(|| panic!("no token in {event}"))
}
