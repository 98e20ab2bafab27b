//! Acquires, holds, queues and the engine's calls.

use std::time::Duration;

use lockstead_client::Client;
use lockstead_tests::{Process, Server};
use serde_json::Value;
use tokio::process::Command;

use super::scrape::Scrape;

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
    let scrape = Scrape::until(
        &server,
        &[
            ("lockstead_acquires_total{scope=\"cluster\",outcome=\"acquired\"}", 5),
            ("lockstead_acquires_total{scope=\"cluster\",outcome=\"held\"}", 2),
            ("lockstead_acquires_total{scope=\"cluster\",outcome=\"wait_timeout\"}", 1),
            ("lockstead_acquires_total{scope=\"cluster\",outcome=\"cancelled\"}", 1),
            ("lockstead_releases_total{scope=\"cluster\",by=\"session\"}", 1),
            ("lockstead_releases_total{scope=\"cluster\",by=\"bearer\"}", 1),
            ("lockstead_losses_total{scope=\"cluster\",reason=\"expired\"}", 1),
            ("lockstead_wait_seconds_count{scope=\"cluster\"}", 5),
            ("lockstead_hold_seconds_count{scope=\"cluster\"}", 3),
            ("lockstead_hand_over_seconds_count{scope=\"cluster\"}", 0),
            ("lockstead_sessions", 1),
            ("lockstead_sessions_opened_total", 1),
            ("lockstead_resources{scope=\"cluster\"}", 2),
            ("lockstead_holds{scope=\"cluster\"}", 2),
            ("lockstead_waiters{scope=\"cluster\"}", 0),
            ("lockstead_engine_call_seconds_count{engine=\"memory\",operation=\"acquire\"}", 10),
            ("lockstead_engine_call_seconds_count{engine=\"memory\",operation=\"release\"}", 2),
            ("lockstead_engine_call_seconds_count{engine=\"memory\",operation=\"cancel\"}", 2),
            ("lockstead_engine_errors_total{engine=\"memory\",operation=\"acquire\",error=\"refused\"}", 1),
        ],
    )
    .await;
    drop(short);
    assert_eq!(scrape.total("lockstead_acquires_total"), 9, "all of them are in the cluster scope");
    assert_eq!(scrape.total("lockstead_engine_errors_total"), 1);
    assert!(!scrape.text.contains("m/"), "names are in no metric");

    client.close().await.unwrap();
    let scrape = Scrape::until(
        &server,
        &[
            ("lockstead_sessions", 0),
            ("lockstead_holds{scope=\"cluster\"}", 0),
            ("lockstead_resources{scope=\"cluster\"}", 0),
            ("lockstead_sessions_ended_total{end=\"closed\"}", 1),
            ("lockstead_hold_seconds_count{scope=\"cluster\"}", 5),
        ],
    )
    .await;
    assert_eq!(scrape.total("lockstead_releases_total"), 2, "the end of a session is no release of each hold");
}

#[tokio::test]
async fn a_hand_over_is_one_wait_one_hold_and_one_hand_over() {
    const HELD: Duration = Duration::from_millis(120);
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let first = client.lock("busy").acquire().await.unwrap();
    let other = client.lock("calm").acquire().await.unwrap();
    let waiting = ["busy", "busy", "calm"].map(|name| tokio::spawn(client.lock(name).acquire()));
    let queues = [("lockstead_waiters{scope=\"cluster\"}", 3), ("lockstead_longest_queue{scope=\"cluster\"}", 2)];
    Scrape::until(&server, &queues).await;
    // A hold of a known kind: longer than 100 ms.
    tokio::time::sleep(HELD).await;

    first.release().await.unwrap();
    let queues = [
        ("lockstead_waiters{scope=\"cluster\"}", 2),
        ("lockstead_longest_queue{scope=\"cluster\"}", 1),
        ("lockstead_holds{scope=\"cluster\"}", 2),
    ];
    Scrape::until(&server, &queues).await;
    other.release().await.unwrap();
    let [first, second, third] = waiting;
    // One of the first two has the busy lock; the other gets it in its turn.
    let (first, second) = tokio::join!(async { first.await.unwrap().unwrap().release().await }, async {
        second.await.unwrap().unwrap().release().await
    });
    first.and(second).unwrap();
    third.await.unwrap().unwrap().release().await.unwrap();

    let scrape = Scrape::until(&server, &[("lockstead_hold_seconds_count{scope=\"cluster\"}", 5)]).await;
    for (series, count) in [
        ("lockstead_acquires_total{scope=\"cluster\",outcome=\"acquired\"}", 5),
        ("lockstead_wait_seconds_count{scope=\"cluster\"}", 5),
        ("lockstead_hand_over_seconds_count{scope=\"cluster\"}", 3),
        ("lockstead_releases_total{scope=\"cluster\",by=\"session\"}", 5),
        ("lockstead_waiters{scope=\"cluster\"}", 0),
        ("lockstead_longest_queue{scope=\"cluster\"}", 0),
        // Two holds of those that were waited for; three waits for them.
        ("lockstead_hold_seconds_bucket{scope=\"cluster\",le=\"0.1\"}", 3),
        ("lockstead_wait_seconds_bucket{scope=\"cluster\",le=\"0.1\"}", 2),
        ("lockstead_hold_seconds_count{scope=\"node\"}", 0),
    ] {
        assert_eq!(scrape.count(series), count, "{series} in {}", scrape.text);
    }
    let (held, waited) =
        ("lockstead_hold_seconds_sum{scope=\"cluster\"}", "lockstead_wait_seconds_sum{scope=\"cluster\"}");
    assert!(scrape.number(held) >= 2.0 * HELD.as_secs_f64(), "{held} in {}", scrape.text);
    assert!(scrape.number(waited) >= 3.0 * HELD.as_secs_f64(), "{waited} in {}", scrape.text);
    let handed_over = scrape.number("lockstead_hand_over_seconds_sum{scope=\"cluster\"}");
    assert!(handed_over < HELD.as_secs_f64(), "what comes before the release is not in it: {handed_over}");
}

#[tokio::test]
async fn the_node_scope_is_counted_apart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(&["--lock-dir", folder.path().to_str().unwrap()]);
    let client = Client::connect(&server.url).await.unwrap();
    let guard = client.lock("m").node_scope().acquire().await.unwrap();
    assert!(client.lock("m").node_scope().try_acquire().await.unwrap().is_none());
    let lease = client.lock("l").node_scope().lease(Duration::from_secs(9)).acquire().await.unwrap();
    let expected = [
        ("lockstead_acquires_total{scope=\"node\",outcome=\"acquired\"}", 2),
        ("lockstead_acquires_total{scope=\"node\",outcome=\"held\"}", 1),
        ("lockstead_acquires_total{scope=\"cluster\",outcome=\"acquired\"}", 0),
        ("lockstead_holds{scope=\"node\"}", 2),
        ("lockstead_holds{scope=\"cluster\"}", 0),
        ("lockstead_engine_call_seconds_count{engine=\"node\",operation=\"acquire\"}", 3),
        ("lockstead_engine_call_seconds_count{engine=\"memory\",operation=\"acquire\"}", 0),
    ];
    Scrape::until(&server, &expected).await;
    guard.release().await.unwrap();
    lease.release().await.unwrap();
    let expected = [
        ("lockstead_releases_total{scope=\"node\",by=\"session\"}", 1),
        ("lockstead_releases_total{scope=\"node\",by=\"bearer\"}", 1),
        ("lockstead_hold_seconds_count{scope=\"node\"}", 2),
        ("lockstead_holds{scope=\"node\"}", 0),
    ];
    Scrape::until(&server, &expected).await;
}

#[tokio::test]
async fn a_hold_stream_that_is_released_by_its_id_is_one_release_and_no_loss() {
    let server = Server::start();
    let mut holder = hold_by_curl(&server, "m");
    let acquired: Value = serde_json::from_str(&holder.line_with("acquired").await).unwrap();
    let granted = "lockstead_acquires_total{scope=\"cluster\",outcome=\"acquired\"}";
    Scrape::until(&server, &[("lockstead_holds{scope=\"cluster\"}", 1), (granted, 1)]).await;

    let body = serde_json::json!({ "hold_id": acquired["hold_id"] }).to_string();
    let release = reqwest::Client::new().post(format!("{}/v1/locks/m/release", server.url)).body(body);
    assert!(release.send().await.unwrap().status().is_success());
    holder.line_with("released").await;
    assert_eq!(holder.next_line().await, None);
    let expected = [
        ("lockstead_releases_total{scope=\"cluster\",by=\"bearer\"}", 1),
        ("lockstead_hold_seconds_count{scope=\"cluster\"}", 1),
        ("lockstead_holds{scope=\"cluster\"}", 0),
    ];
    let scrape = Scrape::until(&server, &expected).await;
    assert_eq!((scrape.total("lockstead_releases_total"), scrape.total("lockstead_losses_total")), (1, 0));
}

#[tokio::test]
async fn a_hold_stream_whose_reader_goes_is_a_release_and_the_next_ones_grant() {
    let server = Server::start();
    let mut holder = hold_by_curl(&server, "m");
    holder.line_with("acquired").await;
    let mut next = hold_by_curl(&server, "m?wait=1h");
    next.line_with("queued").await;
    Scrape::until(&server, &[("lockstead_waiters{scope=\"cluster\"}", 1)]).await;
    drop(holder);
    next.line_with("acquired").await;
    let expected = [
        ("lockstead_releases_total{scope=\"cluster\",by=\"stream\"}", 1),
        ("lockstead_hold_seconds_count{scope=\"cluster\"}", 1),
        ("lockstead_hand_over_seconds_count{scope=\"cluster\"}", 1),
        ("lockstead_wait_seconds_count{scope=\"cluster\"}", 2),
        ("lockstead_waiters{scope=\"cluster\"}", 0),
    ];
    let scrape = Scrape::until(&server, &expected).await;
    assert_eq!(scrape.total("lockstead_losses_total"), 0);
}

/// Its path ends with a name, or a query behind it.
fn hold_by_curl(server: &Server, name: &str) -> Process {
    let (name, query) = name.split_once('?').unwrap_or((name, ""));
    let mut curl = Command::new("curl");
    let url = format!("{}/v1/locks/{name}/hold?{query}", server.url);
    curl.args(["-sN", "-X", "POST", "-H", "accept: application/x-ndjson", &url]);
    Process::start(curl)
}
