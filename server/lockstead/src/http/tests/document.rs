//! The document: complete, consistent, and the one that is checked in.

use serde_json::Value;

use super::harness::Server;
use crate::http::openapi;

const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[test]
fn the_checked_in_document_is_fresh() {
    let fresh = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
    if std::env::var_os("LOCKSTEAD_BLESS").is_some() {
        std::fs::write(CHECKED_IN, &fresh).unwrap();
    }
    let checked_in = std::fs::read_to_string(CHECKED_IN).unwrap_or_default();
    assert!(
        checked_in == fresh,
        "docs/openapi.json is stale; refresh it with: LOCKSTEAD_BLESS=1 cargo test -p lockstead --lib checked_in"
    );
}

#[test]
fn the_document_says_who_may_use_it_and_not_who_wrote_it() {
    let document = serde_json::to_value(openapi()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["license"]["name"], "Apache-2.0");
    assert!(document["info"]["contact"].is_null());
    assert!(!document.to_string().contains('@'));
}

#[test]
fn every_part_is_described_and_every_reference_leads_somewhere() {
    let document = serde_json::to_value(openapi()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let call = format!("{method} {path}");
            assert!(operation["summary"].is_string() && operation["operationId"].is_string(), "{call}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{call}: {parameter}");
            }
            assert!(operation["responses"]["500"].is_object(), "{call}");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
    }
    check_references(&document, &document);
}

fn check_references(document: &Value, part: &Value) {
    match part {
        Value::Object(members) => {
            if let Some(path) = members.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(path.trim_start_matches('#')).is_some(), "{path} leads nowhere");
            }
            members.values().for_each(|member| check_references(document, member));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(document, item)),
        _ => {}
    }
}

#[tokio::test]
async fn the_server_shows_it_to_programs_and_people() {
    let server = Server::start();
    let shown = server.get("/openapi.json").await;
    assert_eq!(shown.headers["content-type"], "application/json");
    assert_eq!(shown.json(), serde_json::to_value(openapi()).unwrap());
    let page = server.get("/docs").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let text = page.text();
    for (path, _) in shown.json()["paths"].as_object().unwrap() {
        assert!(text.contains(path.as_str()), "{path}");
    }
    for outside in ["<script", "http://", "https://", "@import", "<link", "<img"] {
        assert!(!text.contains(outside), "{outside}");
    }
    assert!(text.contains("id=\"LOCK_HELD\""));
}
