//! `/metrics` counts what happened, exactly.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstead_client::Client;
use lockstead_tests::{PATIENCE, Process, Server};
use serde_json::Value;
use tokio::process::Command;

/// Everything that is counted, by name and labels, without the sums and buckets of histograms.
async fn metrics(server: &Server) -> BTreeMap<String, u64> {
    let answer = reqwest::get(format!("{}/metrics", server.url)).await.unwrap();
    let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(media_type.starts_with("application/openmetrics-text"), "{media_type}");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket"));
    let pairs = lines.map(|line| line.rsplit_once(' ').unwrap());
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// Waits for what comes a moment after the answer that was waited for.
async fn until(server: &Server, expected: &[(&str, u64)]) {
    let wrong = |found: &BTreeMap<String, u64>| {
        expected.iter().any(|(name, value)| found.get(*name).copied().unwrap_or(0) != *value)
    };
    let mut found = BTreeMap::new();
    let all_right = async {
        loop {
            found = metrics(server).await;
            if !wrong(&found) {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, all_right).await;
    assert!(in_time.is_ok(), "expected {expected:#?}, found {found:#?}");
}

#[tokio::test]
async fn each_outcome_is_counted_once() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    // Three acquired on the session, of which one is released and two go on.
    let first = client.lock("m/1").acquire().await.unwrap();
    let _second = client.lock("m/2").acquire().await.unwrap();
    let _permits = client.semaphore("m/3", 5).permits(2).acquire().await.unwrap();
    // Two held, one that waits too long, one cancelled.
    assert!(client.lock("m/1").try_acquire().await.unwrap().is_none());
    assert!(client.lock("m/2").lease(Duration::from_secs(9)).try_acquire().await.unwrap().is_none());
    client.lock("m/1").wait(Duration::from_millis(50)).acquire().await.unwrap_err();
    assert!(tokio::time::timeout(Duration::from_millis(50), client.lock("m/1").acquire()).await.is_err());
    first.release().await.unwrap();
    // Two leases: one released, one left to expire.
    let lease = client.lock("m/4").lease(Duration::from_secs(9)).acquire().await.unwrap();
    let short = client.lock("m/5").lease(Duration::from_millis(100)).acquire().await.unwrap();
    lease.release().await.unwrap();
    // What is refused for another reason is no outcome.
    client.semaphore("m/3", 6).try_acquire().await.unwrap_err();
    until(
        &server,
        &[
            ("lockstead_acquires_total{outcome=\"acquired\"}", 5),
            ("lockstead_acquires_total{outcome=\"held\"}", 2),
            ("lockstead_acquires_total{outcome=\"wait_timeout\"}", 1),
            ("lockstead_acquires_total{outcome=\"cancelled\"}", 1),
            ("lockstead_releases_total", 2),
            ("lockstead_losses_total{reason=\"expired\"}", 1),
            ("lockstead_wait_seconds_count", 5),
            ("lockstead_sessions", 1),
            ("lockstead_resources", 2),
            ("lockstead_holds", 2),
        ],
    )
    .await;
    drop(short);

    client.close().await.unwrap();
    until(
        &server,
        &[
            ("lockstead_sessions", 0),
            ("lockstead_holds", 0),
            ("lockstead_resources", 0),
            ("lockstead_sessions_ended_total{end=\"closed\"}", 1),
            ("lockstead_releases_total", 2),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_hold_stream_that_is_released_by_its_id_is_one_release_and_no_loss() {
    let server = Server::start();
    let mut curl = Command::new("curl");
    let url = format!("{}/v1/locks/m/hold", server.url);
    curl.args(["-sN", "-X", "POST", "-H", "accept: application/x-ndjson", &url]);
    let mut holder = Process::start(curl);
    let acquired: Value = serde_json::from_str(&holder.line_with("acquired").await).unwrap();
    until(&server, &[("lockstead_holds", 1), ("lockstead_acquires_total{outcome=\"acquired\"}", 1)]).await;

    let body = serde_json::json!({ "hold_id": acquired["hold_id"] }).to_string();
    let release = reqwest::Client::new().post(format!("{}/v1/locks/m/release", server.url)).body(body);
    assert!(release.send().await.unwrap().status().is_success());
    holder.line_with("released").await;
    assert_eq!(holder.next_line().await, None);
    let found = metrics(&server).await;
    assert_eq!(found.get("lockstead_releases_total"), Some(&1), "{found:#?}");
    let losses: u64 =
        found.iter().filter(|(name, _)| name.starts_with("lockstead_losses")).map(|(_, value)| value).sum();
    assert_eq!(losses, 0, "{found:#?}");
    assert_eq!(found.get("lockstead_holds"), Some(&0), "{found:#?}");
}

#[tokio::test]
async fn a_hold_that_somebody_else_ends_is_a_loss_of_its_session() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let guard = client.lock("m").acquire().await.unwrap();
    client.lock("m").release(guard.hold_id()).await.unwrap();
    guard.lost().await;
    until(&server, &[("lockstead_losses_total{reason=\"broken\"}", 1), ("lockstead_releases_total", 1)]).await;
}
