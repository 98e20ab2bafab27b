//! A client that falls silent loses its holds at its session timeout, and knows it first.

use std::time::Duration;

use lockstead_client::{Client, Time};
use lockstead_tests::{Process, Server, test_client};
use rustix::process::Signal;
use tokio::process::Command;

const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_stopped_client_loses_its_hold_in_time_and_says_so_first() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let other = client.lock("pause/other").acquire().await.unwrap();
    let mut command = Command::new(test_client());
    command.args(["watch", &server.url, &SESSION_TIMEOUT.as_millis().to_string()]);
    let mut silent = Process::start(command);
    // Long enough for a first pong: what is measured is a session that is well alive.
    let held_at = micros(&silent.line_with("held").await);
    while micros(&silent.line_with("held").await).since(held_at) < SESSION_TIMEOUT / 2 {}

    let stopped = lockstead_client::now();
    silent.signal(Signal::STOP);
    let next = client.lock("pause/mine").acquire().await.unwrap();
    let granted = lockstead_client::now();
    // Its queued acquire is gone with its session; if it were not, this would reach it before it knows anything.
    other.release().await.unwrap();
    silent.signal(Signal::CONT);

    // What it printed before it was stopped is still in the pipe.
    let mut line = silent.next_line().await.unwrap();
    while line.starts_with("held") && micros(&line) <= stopped {
        line = silent.next_line().await.unwrap();
    }
    assert!(line.starts_with("lost Expired") || line.starts_with("over"), "the first thing it says is {line:?}");
    let lost = if line.starts_with("lost") { line } else { silent.next_line().await.unwrap() };
    assert!(lost.starts_with("lost Expired"), "{lost:?}");
    let own_deadline = micros(&lost);
    assert!(own_deadline < granted, "its own deadline {own_deadline:?}, the next grant {granted:?}");
    // The server counts from the last ping, which came at most a third of the timeout before the stop.
    let held_on = granted.since(stopped);
    assert!(held_on > SESSION_TIMEOUT / 2, "lost after {held_on:?} already");
    assert!(held_on < SESSION_TIMEOUT + Duration::from_secs(1), "lost after {held_on:?} only");
    drop(next);
}

/// The last word of a line.
fn micros(line: &str) -> Time {
    Time::from_micros(line.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default())
}
