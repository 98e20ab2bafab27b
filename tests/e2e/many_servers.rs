//! Several servers that share nothing: a client moves on to the next one, and learns there that its session is no more.

use std::time::Duration;

use lockstead_client::{Client, HoldState, LossReason, OnDisconnect, Time, now};
use lockstead_tests::{PATIENCE, Process, Server, test_client};
use serde_json::Value;
use tokio::process::Command;

/// A client of two servers; the one that it is not with, and the one that it is with.
async fn pair(on_disconnect: OnDisconnect) -> (Client, Server, Server) {
    let (one, two) = (Server::start(), Server::start());
    let client = Client::builder().server(&one.url).server(&two.url).on_disconnect(on_disconnect).connect();
    let client = client.await.unwrap();
    let guard = client.lock("where").acquire().await.unwrap();
    let is_one = Client::connect(&one.url).await.unwrap().lock("where").get().await.unwrap().holder_count == 1;
    guard.release().await.unwrap();
    if is_one { (client, two, one) } else { (client, one, two) }
}

#[tokio::test]
async fn a_server_that_has_never_heard_of_the_session_ends_it_and_serves_the_client() {
    let (client, other, home) = pair(OnDisconnect::Keep).await;
    let guard = client.lock("mine").acquire().await.unwrap();
    let rival = Client::connect(&home.url).await.unwrap().lock("theirs").acquire().await.unwrap();
    let waiting = tokio::spawn(client.lock("theirs").acquire());
    let first_session = client.session_id();
    drop(home);
    let loss = tokio::time::timeout(PATIENCE, guard.lost()).await.unwrap();
    assert_eq!(loss.reason, LossReason::ServerLost, "{loss}");
    // Nobody holds it there: the acquire goes on in a session of its own.
    let next = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(next.state(), HoldState::Held);
    assert_ne!(client.session_id(), first_session);
    let seen = Client::connect(&other.url).await.unwrap().lock("theirs").get().await.unwrap();
    assert_eq!(seen.holders[0].token, next.token());
    drop(rival);
}

#[tokio::test]
async fn with_release_the_client_is_at_the_next_server_at_once() {
    let (client, _other, home) = pair(OnDisconnect::Release).await;
    let guard = client.lock("mine").acquire().await.unwrap();
    let killed = now();
    drop(home);
    let loss = tokio::time::timeout(PATIENCE, guard.lost()).await.unwrap();
    assert_eq!(loss.reason, LossReason::Disconnected, "{loss}");
    let again = client.lock("mine").acquire().await.unwrap();
    let took = now().since(killed);
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    again.release().await.unwrap();
}

#[tokio::test]
async fn a_lease_finds_the_next_server() {
    let (client, _other, home) = pair(OnDisconnect::Release).await;
    drop(home);
    let lease = client.lock("leased").lease(Duration::from_secs(30)).acquire().await.unwrap();
    lease.release().await.unwrap();
}

/// The client that the tests of servers with a common store will use, here without one.
#[tokio::test]
async fn a_keeper_of_many_holds_says_what_becomes_of_each() {
    let (one, two) = (Server::start(), Server::start());
    let mut command = Command::new(test_client());
    let servers = format!("{},{}", one.url, two.url);
    command.args(["keep", "--server", &servers, "--sessions", "3", "--holds", "2", "--prefix", "p"]);
    command.args(["--session-timeout", "5s", "--on-disconnect", "keep"]);
    let mut keeper = Process::start(command);
    let mut names = Vec::new();
    for _ in 0..6 {
        let line = event(&mut keeper).await;
        assert_eq!(line["event"], "held", "{line}");
        assert!(time(&line, "valid_until") > now() && time(&line, "at") <= now(), "{line}");
        names.push(line["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(names, ["p/0/0", "p/0/1", "p/1/0", "p/1/1", "p/2/0", "p/2/1"]);
    assert_eq!(event(&mut keeper).await["event"], "ready");
    drop((one, two));
    let mut lost = Vec::new();
    while lost.len() < 6 {
        let line = event(&mut keeper).await;
        match line["event"].as_str() {
            Some("at_risk") => assert!(!lost.contains(&line["name"]), "{line}"),
            Some("lost") => {
                assert!(time(&line, "since") <= time(&line, "at"), "{line}");
                lost.push(line["name"].clone());
            }
            _ => panic!("{line}"),
        }
    }
    lost.sort_by_key(Value::to_string);
    assert_eq!(lost, names);
}

async fn event(process: &mut Process) -> Value {
    serde_json::from_str(&process.next_line().await.unwrap()).unwrap()
}

fn time(line: &Value, field: &str) -> Time {
    Time::from_micros(line[field].as_u64().unwrap())
}
