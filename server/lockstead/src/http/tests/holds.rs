//! Hold streams: what they say, and that their end is the end of the hold.

use serde_json::{Value, json};

use super::harness::{Events, Server};

const SSE: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
const LOCK: &str = "/v1/locks/a";
const HOLD: &str = "/v1/locks/a/hold";

async fn expect(events: &mut Events, name: &str) -> Value {
    let (found, data) = events.next().await.unwrap();
    assert_eq!(found, name, "{data}");
    data
}

#[tokio::test]
async fn a_hold_is_queued_acquired_and_released() {
    for accept in [SSE, LINES, "*/*"] {
        let server = Server::start();
        let mut first = server.hold(HOLD, accept, r#"{"owner":"first","metadata":{"k":"v"}}"#).await;
        let held = expect(&mut first, "acquired").await;
        assert_eq!((&held["name"], &held["mode"], &held["kind"]), (&json!("a"), &json!("exclusive"), &json!("lock")));
        assert!(held["ttl"].is_null() && held["expires_at"].is_null());
        assert_eq!(server.get(LOCK).await.json()["holders"][0]["metadata"]["k"], "v");
        let mut second = server.hold(&format!("{HOLD}?wait=forever&owner=second&mode=shared"), accept, "").await;
        assert_eq!(expect(&mut second, "queued").await["position"], 1);
        assert_eq!(server.get(LOCK).await.json()["waiters"][0]["owner"], "second");

        let release = json!({"hold_id": held["hold_id"]}).to_string();
        assert_eq!(server.post("/v1/locks/a/renew", release.clone()).await.reason(), "INVALID_HOLD_ID");
        assert_eq!(server.post("/v1/locks/a/release", release).await.status, 200);
        expect(&mut first, "released").await;
        assert!(first.next().await.is_none());
        let granted = expect(&mut second, "acquired").await;
        assert!(granted["fencing_token"].as_u64() > held["fencing_token"].as_u64());
    }
}

#[tokio::test]
async fn a_release_with_the_hold_id_is_counted_once_and_is_no_loss() {
    let server = Server::start();
    let mut holding = server.hold(HOLD, LINES, "").await;
    let held = expect(&mut holding, "acquired").await;
    let release = json!({"hold_id": held["hold_id"]}).to_string();
    assert_eq!(server.post("/v1/locks/a/release", release).await.status, 200);
    expect(&mut holding, "released").await;
    let metrics = server.get("/metrics").await.text();
    let released = "lockstead_releases_total{scope=\"cluster\",by=\"bearer\"} 1";
    assert!(metrics.lines().any(|line| line == released), "{metrics}");
    let losses = metrics.lines().filter(|line| line.starts_with("lockstead_losses_total{"));
    assert!(losses.into_iter().all(|line| line.ends_with(" 0")), "{metrics}");
}

#[tokio::test]
async fn a_closed_connection_unlocks_and_the_next_gets_it() {
    let server = Server::start();
    let mut first = server.hold(HOLD, SSE, "").await;
    expect(&mut first, "acquired").await;
    let mut second = server.hold(HOLD, LINES, r#"{"wait":"1h"}"#).await;
    expect(&mut second, "queued").await;
    let mut third = server.hold(HOLD, LINES, r#"{"wait":"1h"}"#).await;
    assert_eq!(expect(&mut third, "queued").await["position"], 2);
    drop(second);
    drop(first);
    expect(&mut third, "acquired").await;
    drop(third);
    assert!(server.is_unused().await);
}

#[tokio::test]
async fn an_answer_that_nobody_begins_to_read_leaves_nothing_behind() {
    let server = Server::start();
    drop(server.hold(HOLD, SSE, "").await);
    assert!(server.is_unused().await);
}

#[tokio::test]
async fn a_wait_ends_with_those_who_hold() {
    let server = Server::start();
    server.acquire(LOCK, r#"{"owner":"holder"}"#).await;
    let mut waiting = server.hold(HOLD, LINES, r#"{"wait":"10ms"}"#).await;
    expect(&mut waiting, "queued").await;
    let over = expect(&mut waiting, "not_acquired").await;
    assert_eq!((&over["reason"], &over["holders"][0]["owner"]), (&json!("WAIT_TIMEOUT"), &json!("holder")));
    assert!(!over["message"].as_str().unwrap().is_empty());
    assert!(waiting.next().await.is_none());
}

#[tokio::test]
async fn what_is_refused_at_once_is_a_problem() {
    let server = Server::start();
    server.acquire(LOCK, r#"{"owner":"holder"}"#).await;
    let refused = server.post(HOLD, "").await;
    assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (423, "LOCK_HELD"));
    assert_eq!(refused.json()["holders"][0]["owner"], "holder");
    assert_eq!(server.get(LOCK).await.json()["waiter_count"], 0);
}

#[tokio::test]
async fn a_server_that_shuts_down_tells_holders_and_waiters() {
    let server = Server::start();
    let mut holding = server.hold(HOLD, LINES, "").await;
    expect(&mut holding, "acquired").await;
    let mut waiting = server.hold(HOLD, SSE, r#"{"wait":"forever"}"#).await;
    expect(&mut waiting, "queued").await;
    server.drain.end();
    let lost = expect(&mut holding, "lost").await;
    assert_eq!((&lost["reason"], &lost["message"]), (&json!("SERVER_LOST"), &json!("the server is shutting down")));
    assert_eq!(expect(&mut waiting, "not_acquired").await["reason"], "DRAINING");
    assert!(holding.next().await.is_none() && waiting.next().await.is_none());
}

#[tokio::test]
async fn permits_are_held_with_query_and_body_together() {
    let server = Server::start();
    let mut first = server.hold("/v1/semaphores/s/hold?permits=2&limit=3", LINES, r#"{"metadata":{"k":"v"}}"#).await;
    let held = expect(&mut first, "acquired").await;
    assert_eq!((&held["permits"], &held["limit"], &held["kind"]), (&json!(2), &json!(3), &json!("semaphore")));
    let mut second = server.hold("/v1/semaphores/s/hold?wait=forever", SSE, r#"{"permits":2,"limit":3}"#).await;
    expect(&mut second, "queued").await;
    drop(first);
    expect(&mut second, "acquired").await;
}

#[tokio::test]
async fn a_parameter_is_given_once() {
    let server = Server::start();
    for (path, body, name) in [
        ("/v1/locks/a/hold?mode=shared", r#"{"mode":"shared"}"#, "mode"),
        ("/v1/locks/a/hold?wait=1s", r#"{"wait":"1s"}"#, "wait"),
        ("/v1/locks/a/hold?scope=cluster", r#"{"scope":"cluster"}"#, "scope"),
        ("/v1/locks/a/hold?owner=x", r#"{"owner":"y"}"#, "owner"),
        ("/v1/semaphores/a/hold?limit=1", r#"{"limit":1}"#, "limit"),
        ("/v1/semaphores/a/hold?permits=1", r#"{"permits":1,"limit":1}"#, "permits"),
        ("/v1/semaphores/a/hold?limit=1&wait=1s", r#"{"wait":"1s"}"#, "wait"),
        ("/v1/semaphores/a/hold?limit=1&scope=cluster", r#"{"scope":"cluster"}"#, "scope"),
        ("/v1/semaphores/a/hold?limit=1&owner=x", r#"{"owner":"x"}"#, "owner"),
    ] {
        let refused = server.post(path, body).await;
        assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (400, "INVALID_BODY"), "{path}");
        assert!(refused.detail().contains(&format!("`{name}`")), "{path}");
    }
    assert!(server.is_unused().await);
}
