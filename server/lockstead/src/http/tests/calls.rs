//! Leases: what each call does, and what it answers when the rules refuse it.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::{Answer, Server};

const LOCK: &str = "/v1/locks/jobs%2Fnightly";
const SEMAPHORE: &str = "/v1/semaphores/jobs%2Fnightly";

fn id_of(hold: &Value) -> String {
    json!({ "hold_id": hold["hold_id"] }).to_string()
}

fn is_micros_utc(time: &Value) -> bool {
    let time = time.as_str().unwrap();
    time.len() == "2026-11-21T02:17:50.123456Z".len() && time.ends_with('Z')
}

#[tokio::test]
async fn a_lock_is_acquired_seen_renewed_and_released() {
    let server = Server::start();
    let body = r#"{"mode":"exclusive","ttl":"1m","owner":"me","metadata":{"k":"v"},"scope":"cluster","wait":"0s"}"#;
    let hold = server.acquire(LOCK, body).await;
    assert_eq!(
        (&hold["name"], &hold["kind"], &hold["scope"]),
        (&json!("jobs/nightly"), &json!("lock"), &json!("cluster"))
    );
    assert_eq!((&hold["mode"], &hold["ttl"]), (&json!("exclusive"), &json!("1m")));
    assert!(hold["permits"].is_null() && hold["fencing_token"].as_u64().unwrap() < 1 << 53);
    assert!(is_micros_utc(&hold["acquired_at"]) && is_micros_utc(&hold["expires_at"]));

    let seen = server.get(LOCK).await;
    assert!(!seen.text().contains(hold["hold_id"].as_str().unwrap()));
    let holder = &seen.json()["holders"][0];
    assert_eq!((&holder["owner"], &holder["metadata"]), (&json!("me"), &json!({"k": "v"})));
    assert_eq!((&holder["fencing_token"], &holder["mode"]), (&hold["fencing_token"], &json!("exclusive")));
    assert!(is_micros_utc(&holder["expires_at"]));

    let renewal = json!({"hold_id": hold["hold_id"], "ttl": "2h"}).to_string();
    let renewed = server.post(&format!("{LOCK}/renew"), renewal).await.json();
    assert_eq!((&renewed["ttl"], &renewed["fencing_token"]), (&json!("2h"), &hold["fencing_token"]));
    assert!(renewed["expires_at"].as_str() > hold["expires_at"].as_str());
    let as_before = server.post(&format!("{LOCK}/renew"), id_of(&hold)).await.json();
    assert_eq!(as_before["ttl"], "2h");

    let released = server.post(&format!("{LOCK}/release"), id_of(&hold)).await;
    assert_eq!((released.status.as_u16(), released.json()), (200, json!({"released": true})));
    assert!(server.is_unused().await);
}

#[tokio::test]
async fn permits_are_acquired_seen_renewed_and_released() {
    let server = Server::start();
    let hold = server.acquire(SEMAPHORE, r#"{"permits":2,"limit":3}"#).await;
    assert_eq!((&hold["permits"], &hold["limit"], &hold["kind"]), (&json!(2), &json!(3), &json!("semaphore")));
    assert!(hold["mode"].is_null());
    let one = server.acquire(SEMAPHORE, r#"{"limit":3,"permits":null}"#).await;
    assert_eq!(one["permits"], 1);
    let seen = server.get(SEMAPHORE).await.json();
    assert_eq!((&seen["limit"], &seen["holder_count"], &seen["waiter_count"]), (&json!(3), &json!(2), &json!(0)));
    assert_eq!((&seen["holders"][0]["permits"], &seen["holders"][0]["mode"]), (&json!(2), &Value::Null));
    for hold in [hold, one] {
        assert_eq!(server.post(&format!("{SEMAPHORE}/renew"), id_of(&hold)).await.status, 200);
        assert_eq!(server.post(&format!("{SEMAPHORE}/release"), id_of(&hold)).await.status, 200);
    }
    assert!(server.is_unused().await);
}

#[tokio::test]
async fn an_empty_body_asks_for_all_defaults() {
    for body in ["", " \n", "{}", "null"] {
        let server = Server::start();
        let hold = server.acquire(LOCK, body).await;
        assert_eq!(
            (&hold["mode"], &hold["ttl"], &hold["scope"]),
            (&json!("exclusive"), &json!("30s"), &json!("cluster"))
        );
    }
}

#[tokio::test]
async fn a_lock_and_a_semaphore_of_one_name_are_two() {
    let server = Server::start();
    server.acquire(LOCK, "").await;
    server.acquire(SEMAPHORE, r#"{"limit":1}"#).await;
}

#[tokio::test]
async fn contention_names_those_who_hold() {
    let server = Server::start();
    server.acquire(LOCK, r#"{"mode":"shared","owner":"first"}"#).await;
    server.acquire(LOCK, r#"{"mode":"shared","owner":"second"}"#).await;
    let cases = [("", "LOCK_HELD"), (r#"{"wait":"0s"}"#, "LOCK_HELD"), (r#"{"wait":"1ms"}"#, "WAIT_TIMEOUT")];
    for (body, reason) in cases {
        let refused = server.post(&format!("{LOCK}/acquire"), body).await;
        assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (423, reason), "{body}");
        let holders = refused.json()["holders"].clone();
        assert_eq!((&holders[0]["owner"], &holders[1]["owner"]), (&json!("first"), &json!("second")));
        assert!(!refused.text().contains("hold_id"));
    }
}

#[tokio::test]
async fn a_waiter_is_granted_when_the_holder_releases() {
    let server = Server::start();
    let first = server.acquire(LOCK, "").await;
    let release = async {
        while server.get(LOCK).await.json()["waiter_count"] == 0 {
            tokio::task::yield_now().await;
        }
        let waiter = server.get(LOCK).await.json()["waiters"][0].clone();
        assert_eq!(
            (&waiter["owner"], &waiter["position"], &waiter["mode"]),
            (&json!("next"), &json!(1), &json!("shared"))
        );
        assert!(is_micros_utc(&waiter["queued_at"]));
        server.post(&format!("{LOCK}/release"), id_of(&first)).await
    };
    let (second, _) =
        tokio::join!(server.acquire(LOCK, r#"{"wait":"forever","owner":"next","mode":"shared"}"#), release);
    assert!(second["fencing_token"].as_u64() > first["fencing_token"].as_u64());
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_hold() {
    let server = Server::start();
    let body = r#"{"request_id":"r1"}"#;
    assert_eq!(server.acquire(LOCK, body).await["hold_id"], server.acquire(LOCK, body).await["hold_id"]);
}

#[tokio::test]
async fn what_the_rules_refuse_has_its_status() {
    let server = Server::start();
    let hold = server.acquire(LOCK, r#"{"request_id":"r1"}"#).await;
    server.acquire(SEMAPHORE, r#"{"limit":3}"#).await;
    let unknown_even = json!({"hold_id": "0".repeat(32)}).to_string();
    let unknown_odd = json!({"hold_id": "f".repeat(32)}).to_string();
    for (path, body, status, reason) in [
        ("/v1/locks/other/release", id_of(&hold), 404, "HOLD_NOT_FOUND"),
        ("/v1/locks/other/renew", id_of(&hold), 404, "HOLD_NOT_FOUND"),
        ("/v1/locks/a/release", unknown_even.clone(), 404, "HOLD_NOT_FOUND"),
        ("/v1/locks/a/release", unknown_odd.clone(), 404, "HOLD_NOT_FOUND"),
        ("/v1/semaphores/a/renew", unknown_even, 404, "HOLD_NOT_FOUND"),
        ("/v1/semaphores/a/renew", unknown_odd, 404, "HOLD_NOT_FOUND"),
        ("/v1/locks/other/acquire", r#"{"request_id":"r1"}"#.to_owned(), 422, "REQUEST_ID_REUSED"),
        ("/v1/semaphores/jobs%2Fnightly/acquire", r#"{"limit":4}"#.to_owned(), 409, "LIMIT_MISMATCH"),
        ("/v1/semaphores/jobs%2Fnightly/hold", r#"{"limit":4}"#.to_owned(), 409, "LIMIT_MISMATCH"),
    ] {
        let refused = server.post(path, body).await;
        assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (status, reason), "{path}");
    }
    assert_eq!(server.get(LOCK).await.json()["holder_count"], 1);
    server.post(&format!("{LOCK}/release"), id_of(&hold)).await;
    let late = server.post(&format!("{LOCK}/release"), id_of(&hold)).await;
    assert_eq!((late.status.as_u16(), late.reason().as_str()), (409, "NOT_HOLDER"));
}

#[tokio::test]
async fn a_server_that_shuts_down_says_so_and_when_to_ask_again() {
    let server = Server::start();
    assert_eq!(server.get("/readyz").await.json(), json!({"status": "ready"}));
    let check = |answer: Answer| {
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "DRAINING"));
        assert_eq!(
            (&answer.headers["retry-after"], &answer.json()["retry_after_ms"]),
            (&"1".parse().unwrap(), &json!(1000))
        );
    };
    server.acquire(LOCK, "").await;
    let drain = async {
        while server.get(LOCK).await.json()["waiter_count"] == 0 {
            tokio::task::yield_now().await;
        }
        server.drain.end();
    };
    let path = format!("{LOCK}/acquire");
    let (waiting, ()) = tokio::join!(server.post(&path, r#"{"wait":"forever"}"#), drain);
    check(waiting);
    for path in ["acquire", "hold"] {
        check(server.post(&format!("{LOCK}/{path}"), "").await);
        check(server.post(&format!("{SEMAPHORE}/{path}"), r#"{"limit":1}"#).await);
    }
    check(server.get("/readyz").await);
    assert_eq!(server.get("/healthz").await.json(), json!({"status": "ok"}));
}

#[tokio::test]
async fn the_server_tells_about_itself() {
    let server = Server::start();
    server.acquire(LOCK, "").await;
    let info = server.get("/v1/info").await.json();
    assert_eq!(info["version"], "1.2.3");
    assert_eq!(info["scopes"], json!({"cluster": {"engine": "memory", "capabilities": {"outlives_server": false}}}));
    assert_eq!((&info["limits"]["ttl_min"], &info["limits"]["name_max_bytes"]), (&json!("100ms"), &json!(255)));
    assert!(is_micros_utc(&info["started_at"]) && info["uptime"].is_string());
    assert_eq!(server.get("/v1/sessions").await.json(), json!({"sessions": []}));
    let metrics = server.get("/metrics").await.text();
    for line in [
        "lockstead_holds{scope=\"cluster\"} 1",
        "lockstead_acquires_total{scope=\"cluster\",outcome=\"acquired\"} 1",
        "lockstead_engine_call_seconds_count{engine=\"memory\",operation=\"acquire\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn every_get_has_its_head() {
    let server = Server::start();
    let paths = ["/v1/locks", "/v1/semaphores", "/v1/sessions", "/v1/info", "/healthz", "/readyz", "/metrics"];
    for path in paths.into_iter().chain(["/openapi.json", "/docs", LOCK, SEMAPHORE]) {
        let request = axum::http::Request::head(path).body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(server.router.clone(), request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.headers().contains_key("content-length"), "{path}");
        assert_eq!(server.call(Method::GET, path, "").await.status, 200, "{path}");
    }
}
