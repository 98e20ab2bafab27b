//! HTTP requests with something wrong: with a field, a body, a path or a header.

use lockstead_tests::PATIENCE;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::assert_unharmed;
use crate::logged::Logged;

const UNKNOWN_HOLD: &str = "0123456789abcdef0123456789abcdef";

fn client() -> Client {
    Client::builder().timeout(PATIENCE).build().unwrap()
}

fn post(server: &Logged, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    client().request(Method::POST, format!("{}{path}", server.url)).body(body)
}

fn get(server: &Logged, path: &str) -> RequestBuilder {
    client().request(Method::GET, format!("{}{path}", server.url))
}

async fn assert_problem(what: &str, answer: Response, status: u16, reason: &str) {
    let (found, media_type) = (answer.status(), answer.headers().get("content-type").cloned());
    let text = answer.text().await.unwrap();
    assert_eq!(found, status, "{what}: {text}");
    assert_eq!(media_type.unwrap(), "application/problem+json", "{what}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["reason"], reason, "{what}: {text}");
    assert_eq!(problem["status"], status, "{what}: {text}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {text}");
}

/// Fields that every acquire and hold has, with a wrong value.
fn wrong_asks() -> Vec<(Value, &'static str)> {
    let many: serde_json::Map<_, _> = (0..17).map(|key| (key.to_string(), json!(""))).collect();
    vec![
        (json!({"wait": "5"}), "INVALID_WAIT"),
        (json!({"wait": "-1s"}), "INVALID_WAIT"),
        (json!({"wait": "366d"}), "INVALID_WAIT"),
        (json!({"wait": "999999999999999999999d"}), "INVALID_WAIT"),
        (json!({"wait": "for ever"}), "INVALID_WAIT"),
        (json!({"wait": 5}), "INVALID_WAIT"),
        (json!({"scope": "galaxy"}), "INVALID_SCOPE"),
        (json!({"scope": "node"}), "INVALID_SCOPE"),
        (json!({"scope": 1}), "INVALID_SCOPE"),
        (json!({"owner": "o".repeat(256)}), "INVALID_OWNER"),
        (json!({"owner": "a\nb"}), "INVALID_OWNER"),
        (json!({"owner": ["a"]}), "INVALID_OWNER"),
        (json!({"metadata": many}), "INVALID_METADATA"),
        (json!({"metadata": {"": "v"}}), "INVALID_METADATA"),
        (json!({"metadata": {"k": 1}}), "INVALID_METADATA"),
        (json!({"metadata": {"k".repeat(65): "v"}}), "INVALID_METADATA"),
        (json!({"metadata": {"k": "v".repeat(513)}}), "INVALID_METADATA"),
        (json!({"metadata": "none"}), "INVALID_METADATA"),
        (json!({"unknown": true}), "INVALID_BODY"),
        (json!(["mode"]), "INVALID_BODY"),
        (json!("exclusive"), "INVALID_BODY"),
    ]
}

fn wrong_modes() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"mode": "both"}), "INVALID_MODE"),
        (json!({"mode": "EXCLUSIVE"}), "INVALID_MODE"),
        (json!({"mode": 1}), "INVALID_MODE"),
    ]
}

fn wrong_leases() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"ttl": "99ms"}), "INVALID_TTL"),
        (json!({"ttl": "24.001h"}), "INVALID_TTL"),
        (json!({"ttl": "-1s"}), "INVALID_TTL"),
        (json!({"ttl": "0s"}), "INVALID_TTL"),
        (json!({"ttl": "forever"}), "INVALID_TTL"),
        (json!({"ttl": 30}), "INVALID_TTL"),
        (json!({"ttl": "999999999999d"}), "INVALID_TTL"),
        (json!({"request_id": ""}), "INVALID_REQUEST_ID"),
        (json!({"request_id": "r".repeat(129)}), "INVALID_REQUEST_ID"),
        (json!({"request_id": 7}), "INVALID_REQUEST_ID"),
    ]
}

fn wrong_permits() -> Vec<(Value, &'static str)> {
    vec![
        (json!({}), "INVALID_LIMIT"),
        (json!({"limit": 0}), "INVALID_LIMIT"),
        (json!({"limit": -1}), "INVALID_LIMIT"),
        (json!({"limit": 1.5}), "INVALID_LIMIT"),
        (json!({"limit": "4"}), "INVALID_LIMIT"),
        (json!({"limit": 1_000_001}), "INVALID_LIMIT"),
        (json!({"limit": u64::MAX}), "INVALID_LIMIT"),
        (json!({"limit": 1e30}), "INVALID_LIMIT"),
        (json!({"limit": 4, "permits": 0}), "INVALID_PERMITS"),
        (json!({"limit": 4, "permits": -1}), "INVALID_PERMITS"),
        (json!({"limit": 4, "permits": 5}), "INVALID_PERMITS"),
        (json!({"limit": 4, "permits": u64::MAX}), "INVALID_PERMITS"),
        (json!({"limit": 4, "permits": "1"}), "INVALID_PERMITS"),
    ]
}

fn wrong_hold_ids() -> Vec<(Value, &'static str)> {
    vec![
        (json!({}), "INVALID_HOLD_ID"),
        (json!({"hold_id": ""}), "INVALID_HOLD_ID"),
        (json!({"hold_id": "abc"}), "INVALID_HOLD_ID"),
        (json!({"hold_id": "g".repeat(32)}), "INVALID_HOLD_ID"),
        (json!({"hold_id": 7}), "INVALID_HOLD_ID"),
        (json!({"hold_id": UNKNOWN_HOLD, "scope": "node"}), "INVALID_SCOPE"),
        (json!({"hold_id": UNKNOWN_HOLD, "unknown": 1}), "INVALID_BODY"),
    ]
}

#[tokio::test]
async fn a_body_with_a_wrong_field_says_which() {
    let mut server = Logged::start_without_node_scope();
    let (lock, semaphore) = ("/v1/locks/bad%2Finput", "/v1/semaphores/bad%2Finput");
    for (path, tables) in [
        (format!("{lock}/acquire"), vec![wrong_asks(), wrong_modes(), wrong_leases()]),
        (format!("{lock}/hold"), vec![wrong_asks(), wrong_modes()]),
        (format!("{semaphore}/acquire"), vec![wrong_permits(), wrong_leases()]),
        (format!("{semaphore}/hold"), vec![wrong_permits()]),
        (format!("{lock}/renew"), vec![wrong_hold_ids()]),
        (format!("{lock}/release"), vec![wrong_hold_ids()]),
        (format!("{semaphore}/renew"), vec![wrong_hold_ids()]),
        (format!("{semaphore}/release"), vec![wrong_hold_ids()]),
    ] {
        for (body, reason) in tables.concat() {
            let answer = post(&server, &path, body.to_string()).send().await.unwrap();
            assert_problem(&format!("{path} {body}"), answer, 400, reason).await;
        }
    }
    for path in ["/v1/locks/x/renew", "/v1/locks/x/release", "/v1/semaphores/x/renew", "/v1/semaphores/x/release"] {
        let body = json!({ "hold_id": UNKNOWN_HOLD }).to_string();
        let answer = post(&server, path, body).send().await.unwrap();
        assert_problem(path, answer, 404, "HOLD_NOT_FOUND").await;
    }
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_body_that_is_not_json_as_expected_is_refused() {
    let mut server = Logged::start_without_node_scope();
    let nested = "[".repeat(10_000);
    let nested_in_field = format!("{{\"metadata\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let bodies: [(&str, &[u8]); 9] = [
        ("not JSON", b"ttl=30s"),
        ("cut short", b"{\"ttl\": "),
        ("something behind", b"{} {}"),
        ("a key twice", b"{\"ttl\": \"1s\", \"ttl\": \"2s\"}"),
        ("not UTF-8", b"{\"owner\": \"\xff\xfe\"}"),
        ("half a surrogate", br#"{"owner": "\ud800"}"#),
        ("nested arrays", nested.as_bytes()),
        ("nested arrays in a field", nested_in_field.as_bytes()),
        ("a NUL", b"\0"),
    ];
    for path in ["/v1/locks/x/acquire", "/v1/locks/x/hold", "/v1/locks/x/renew", "/v1/locks/x/release"] {
        for (what, body) in bodies {
            let answer = post(&server, path, body.to_vec()).send().await.unwrap();
            assert_problem(&format!("{path}: {what}"), answer, 400, "INVALID_BODY").await;
        }
    }
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_wrong_query_says_what_is_wrong() {
    let mut server = Logged::start_without_node_scope();
    for (path, reason) in [
        ("/v1/locks?scope=galaxy", "INVALID_SCOPE"),
        ("/v1/locks?scope=node", "INVALID_SCOPE"),
        ("/v1/locks?page_size=many", "INVALID_BODY"),
        ("/v1/locks?page_size=-1", "INVALID_BODY"),
        ("/v1/locks?page_token=a%2F%2Fb", "INVALID_PAGE_TOKEN"),
        ("/v1/locks?prefix=a&prefix=b", "INVALID_BODY"),
        ("/v1/locks?prefix=%FF", "INVALID_BODY"),
        ("/v1/locks?unknown=1", "INVALID_BODY"),
        ("/v1/semaphores?scope=galaxy", "INVALID_SCOPE"),
        ("/v1/semaphores?unknown", "INVALID_BODY"),
        ("/v1/locks/x?scope=galaxy", "INVALID_SCOPE"),
        ("/v1/semaphores/x?scope=node", "INVALID_SCOPE"),
        ("/v1/locks/x?unknown=1", "INVALID_BODY"),
        ("/v1/sessions?unknown=1", "INVALID_BODY"),
        ("/v1/info?unknown=1", "INVALID_BODY"),
        ("/metrics?unknown=1", "INVALID_BODY"),
    ] {
        let answer = get(&server, path).send().await.unwrap();
        assert_problem(path, answer, 400, reason).await;
    }
    for (query, body, reason) in [
        ("mode=both", "", "INVALID_MODE"),
        ("wait=soon", "", "INVALID_WAIT"),
        ("wait=366d", "", "INVALID_WAIT"),
        ("scope=node", "", "INVALID_SCOPE"),
        ("owner=a%0Ab", "", "INVALID_OWNER"),
        ("ttl=5s", "", "INVALID_BODY"),
        ("wait=1s&wait=2s", "", "INVALID_BODY"),
        ("wait=1s", r#"{"wait": "1s"}"#, "INVALID_BODY"),
    ] {
        let path = format!("/v1/locks/x/hold?{query}");
        let answer = post(&server, &path, body).send().await.unwrap();
        assert_problem(&path, answer, 400, reason).await;
    }
    for (query, reason) in
        [("", "INVALID_LIMIT"), ("limit=x", "INVALID_LIMIT"), ("limit=4&permits=5", "INVALID_PERMITS")]
    {
        let path = format!("/v1/semaphores/x/hold?{query}");
        assert_problem(&path, post(&server, &path, "").send().await.unwrap(), 400, reason).await;
    }
    let answer = post(&server, "/v1/locks/x/acquire?ttl=5s", "").send().await.unwrap();
    assert_problem("a query for an acquire", answer, 400, "INVALID_BODY").await;
    assert_unharmed(&mut server).await;
}
