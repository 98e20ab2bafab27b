//! Wrong requests: each is refused with the reason of what is wrong, and changes nothing.

use axum::http::Method;

use super::harness::Server;

const HOLD_ID: &str = "00000000000000000000000000000000";

async fn expect(server: &Server, method: Method, path: &str, body: impl Into<Vec<u8>>, reason: &str) -> String {
    let body = body.into();
    let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
    let answer = server.call(method, path, body).await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (400, reason), "{path} {shown}: {answer:?}");
    answer.detail()
}

/// Wrong values of a field that reads a text: `(JSON, ...)`.
fn not_texts() -> Vec<String> {
    ["5", "-1", "1e30", "true", "[]", "{}", "[\"x\"]"].map(str::to_owned).to_vec()
}

fn quoted(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| serde_json::to_string(text).unwrap()).collect()
}

/// Every field of every call, with values that it can't have.
fn wrong_values(field: &str) -> (&'static str, Vec<String>) {
    let long = "x".repeat(300);
    let huge = "9".repeat(60_000);
    let durations = ["", "5", "-1s", "1 s", "1x", "1e3s", "５s", &huge];
    let numbers = ["0", "-1", "1.5", "1e30", "1000001", "99999999999999999999", "true", "[]", "\"2\""];
    let (reason, texts) = match field {
        "mode" => ("INVALID_MODE", quoted(&["", "Exclusive", "x", &long])),
        "wait" => ("INVALID_WAIT", quoted(&[&durations[..], &["366d", "Forever", "never"]].concat())),
        "ttl" => ("INVALID_TTL", quoted(&[&durations[..], &["0s", "99ms", "24.001h", "forever"]].concat())),
        "scope" => ("INVALID_SCOPE", quoted(&["", "node", "planet", &long])),
        "owner" => ("INVALID_OWNER", quoted(&[&"x".repeat(256), "a\nb", "\u{0}"])),
        "request_id" => ("INVALID_REQUEST_ID", quoted(&["", &"x".repeat(129)])),
        "hold_id" => ("INVALID_HOLD_ID", quoted(&["", "x", &HOLD_ID[1..], &"0".repeat(33), &"g".repeat(32)])),
        "permits" => return ("INVALID_PERMITS", numbers.map(str::to_owned).to_vec()),
        "limit" => return ("INVALID_LIMIT", numbers.map(str::to_owned).to_vec()),
        "metadata" => return ("INVALID_METADATA", wrong_metadata()),
        other => unreachable!("{other}"),
    };
    (reason, [not_texts(), texts].concat())
}

fn wrong_metadata() -> Vec<String> {
    let many: Vec<_> = (0..17).map(|number| format!("\"{number}\":\"\"")).collect();
    let wrong = [
        "5".to_owned(),
        "\"x\"".to_owned(),
        "[]".to_owned(),
        r#"{"a":5}"#.to_owned(),
        r#"{"a":null}"#.to_owned(),
        r#"{"a":{}}"#.to_owned(),
        r#"{"":"x"}"#.to_owned(),
        format!("{{{}}}", many.join(",")),
        format!(r#"{{"{}":""}}"#, "k".repeat(65)),
        format!(r#"{{"k":"{}"}}"#, "v".repeat(513)),
    ];
    wrong.to_vec()
}

/// Each call with its fields, and what else its body must have.
const CALLS: [(&str, &[&str], &str); 8] = [
    ("/v1/locks/a/acquire", &["mode", "wait", "ttl", "scope", "owner", "metadata", "request_id"], ""),
    ("/v1/locks/a/hold", &["mode", "wait", "scope", "owner", "metadata"], ""),
    ("/v1/locks/a/renew", &["hold_id", "ttl", "scope"], "hold_id"),
    ("/v1/locks/a/release", &["hold_id", "scope"], "hold_id"),
    (
        "/v1/semaphores/a/acquire",
        &["permits", "limit", "wait", "ttl", "scope", "owner", "metadata", "request_id"],
        "limit",
    ),
    ("/v1/semaphores/a/hold", &["permits", "limit", "wait", "scope", "owner", "metadata"], "limit"),
    ("/v1/semaphores/a/renew", &["hold_id", "ttl", "scope"], "hold_id"),
    ("/v1/semaphores/a/release", &["hold_id", "scope"], "hold_id"),
];

fn needed(needs: &str, field: &str) -> String {
    match needs {
        "limit" if field != "limit" => ",\"limit\":1000".to_owned(),
        "hold_id" if field != "hold_id" => format!(",\"hold_id\":\"{HOLD_ID}\""),
        _ => String::new(),
    }
}

#[tokio::test]
async fn every_wrong_value_of_every_field_has_the_reason_of_the_field() {
    let server = Server::start();
    for (path, fields, needs) in CALLS {
        for field in fields {
            let (reason, values) = wrong_values(field);
            for value in values {
                let body = format!("{{\"{field}\":{value}{}}}", needed(needs, field));
                let detail = expect(&server, Method::POST, path, body, reason).await;
                assert!(detail.chars().count() <= 401, "{detail}");
                assert!(detail.contains(field) || detail.contains(&field.replace('_', " ")), "{field}: {detail}");
            }
        }
    }
    assert!(server.is_unused().await);
}

#[tokio::test]
async fn what_must_be_given_is_missed() {
    let server = Server::start();
    for (path, _, needs) in CALLS {
        let reason = match needs {
            "limit" => "INVALID_LIMIT",
            "hold_id" => "INVALID_HOLD_ID",
            _ => continue,
        };
        for body in ["", "{}", "null", &format!("{{\"{needs}\":null}}")] {
            assert!(expect(&server, Method::POST, path, body, reason).await.contains(needs));
        }
    }
    assert!(server.is_unused().await);
}

#[tokio::test]
async fn what_is_not_the_json_that_is_expected_is_an_invalid_body() {
    let server = Server::start();
    let nested_in_field = format!("{{\"mode\":{}}}", "[".repeat(10_000));
    let nested = "[".repeat(10_000) + &"]".repeat(10_000);
    let bodies: &[&[u8]] = &[
        b"5",
        b"[]",
        b"\"x\"",
        b"true",
        b"{",
        b"}",
        b"{}}",
        b"{} x",
        b"{}{}",
        b"{a:1}",
        b"{'mode':'shared'}",
        b"{,}",
        b"mode=shared",
        b"{\"mode\":\"shared\",}",
        b"\xff",
        b"{\"owner\":\"\xff\"}",
        b"\xef\xbb\xbf{}",
        b"\0",
        b"{\"x\":1}",
        b"{\"Mode\":\"shared\"}",
        b"{\"x\":{\"mode\":\"shared\"}}",
        b"{\"\":1}",
        b"// x\n{}",
        b"{\"wait\":\"1s\",\"wait\":\"1s\"}",
        b"{\"wait\":\"1s\",\"w\\u0061it\":\"2s\"}",
        b"{\"x\":1,\"x\":1}",
        b"{\"owner\":\"\\ud800\"}",
        b"{\"owner\":NaN}",
        b"{\"metadata\":{\"a\":\"1\",\"a\":\"2\"}}",
        nested.as_bytes(),
        nested_in_field.as_bytes(),
    ];
    for (path, ..) in CALLS {
        for body in bodies {
            expect(&server, Method::POST, path, *body, "INVALID_BODY").await;
        }
        let field_of_others = if path.contains("semaphores") { "{\"mode\":\"shared\"}" } else { "{\"limit\":1}" };
        expect(&server, Method::POST, path, field_of_others, "INVALID_BODY").await;
    }
    assert!(server.is_unused().await);
}

#[tokio::test]
async fn a_message_names_the_field_and_the_place() {
    let server = Server::start();
    for (body, words) in [
        ("{\"mode\":\"shared\",\n \"tttl\":\"5s\"}", ["`tttl`", "line 2 column 7"]),
        ("{\"mode\":\"shared\",\"mode\":\"shared\"}", ["`mode`", "line 1 column 23"]),
        ("{\"mode\":5}", ["mode: ", "line 1 column 9"]),
        ("{\"ttl\":\"5x\"}", ["ttl: ", "`5x`"]),
        ("{\"metadata\":{\"k\":5}}", ["metadata.k: ", "expected a string"]),
        ("{\"mode\" \"shared\"}", ["line 1 column 9", "expected `:`"]),
        ("\u{a4}", ["line 1 column 1", "expected value"]),
    ] {
        let detail = server.post("/v1/locks/a/acquire", body).await.detail();
        assert!(words.iter().all(|word| detail.contains(word)), "{body}: {detail}");
    }
    let detail = server.post("/v1/locks/a/acquire", b"{\"owner\":\"\xff\"}".to_vec()).await.detail();
    assert!(detail.contains("byte 10"), "{detail}");
    let detail = server.get("/v1/locks?prefiks=a").await.detail();
    assert!(detail.contains("`prefiks`") && detail.contains("query"), "{detail}");
}

#[tokio::test]
async fn a_name_is_checked_after_it_is_decoded() {
    let server = Server::start();
    let long = "x".repeat(256);
    for name in
        ["", "%ff", "a%C3", "%00", "a%0Ab", "%2F", "%2Fa", "a%2F", "a%2F%2Fb", ".", "%2E%2E", "a%2F..%2Fb", &long]
    {
        for call in ["acquire", "renew", "release", "hold"] {
            expect(&server, Method::POST, &format!("/v1/locks/{name}/{call}"), "", "INVALID_NAME").await;
            expect(&server, Method::POST, &format!("/v1/semaphores/{name}/{call}"), "", "INVALID_NAME").await;
        }
        if name.is_empty() {
            continue;
        }
        expect(&server, Method::GET, &format!("/v1/locks/{name}"), "", "INVALID_NAME").await;
        expect(&server, Method::GET, &format!("/v1/semaphores/{name}"), "", "INVALID_NAME").await;
    }
    assert!(server.is_unused().await);
}

#[tokio::test]
async fn queries_are_read_as_strictly() {
    let server = Server::start();
    for kind in ["locks", "semaphores"] {
        for (call, reason) in [
            ("?x=1", "INVALID_BODY"),
            ("?x", "INVALID_BODY"),
            ("?prefix=a&prefix=b", "INVALID_BODY"),
            ("?prefix=%ff", "INVALID_BODY"),
            ("?%ff=a", "INVALID_BODY"),
            ("?page_size=x", "INVALID_BODY"),
            ("?page_size=-1", "INVALID_BODY"),
            ("?page_token=%2F", "INVALID_PAGE_TOKEN"),
            ("?scope=planet", "INVALID_SCOPE"),
            ("?scope=node", "INVALID_SCOPE"),
            ("?scope=Cluster", "INVALID_SCOPE"),
            ("/a?x=1", "INVALID_BODY"),
            ("/a?scope=planet", "INVALID_SCOPE"),
            ("/a?scope=node", "INVALID_SCOPE"),
            ("/a?scope=cluster&scope=cluster", "INVALID_BODY"),
        ] {
            expect(&server, Method::GET, &format!("/v1/{kind}{call}"), "", reason).await;
        }
        for call in ["acquire", "renew", "release"] {
            let path = format!("/v1/{kind}/a/{call}?ttl=1s");
            assert!(expect(&server, Method::POST, &path, "", "INVALID_BODY").await.contains("`ttl`"));
        }
    }
    for path in ["/v1/sessions", "/v1/info", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"] {
        expect(&server, Method::GET, &format!("{path}?x=1"), "", "INVALID_BODY").await;
    }
    for (query, reason) in [
        ("mode=x", "INVALID_MODE"),
        ("wait=5", "INVALID_WAIT"),
        ("scope=x", "INVALID_SCOPE"),
        ("owner=%00", "INVALID_OWNER"),
        ("metadata=x", "INVALID_METADATA"),
        ("ttl=5s", "INVALID_BODY"),
        ("mode=shared&mode=shared", "INVALID_BODY"),
    ] {
        expect(&server, Method::POST, &format!("/v1/locks/a/hold?{query}"), "", reason).await;
    }
    for (query, reason) in [
        ("limit=x", "INVALID_LIMIT"),
        ("limit=0", "INVALID_LIMIT"),
        ("limit=-1", "INVALID_LIMIT"),
        ("limit=", "INVALID_LIMIT"),
        ("limit=1&permits=2", "INVALID_PERMITS"),
        ("limit=1&permits=x", "INVALID_PERMITS"),
        ("limit=1&mode=shared", "INVALID_BODY"),
    ] {
        expect(&server, Method::POST, &format!("/v1/semaphores/a/hold?{query}"), "", reason).await;
    }
    assert!(server.is_unused().await);
}

#[tokio::test]
async fn a_body_has_a_largest_size() {
    let server = Server::start();
    let body = |size: usize| format!("{{}}{}", " ".repeat(size - 2));
    assert_eq!(server.post("/v1/locks/a/acquire", body(65_536)).await.status, 200);
    for (path, ..) in CALLS {
        let refused = server.post(&path.replace("/a/", "/b/"), body(65_537)).await;
        assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (413, "INVALID_BODY"), "{path}");
    }
}
