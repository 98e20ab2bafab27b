//! `lockstead run`: what its command sees, and what its caller hears.

use lockstead_client::Client;
use lockstead_tests::{PATIENCE, Process, Server};
use rustix::process::Signal;

use super::{ask, assert_code, command, text};

/// A shell command that says when it is ready, and does not end.
const STAY: &str = "echo ready; for _ in $(seq 1000); do sleep 0.05; done";

fn run(server: &Server, arguments: &[&str]) -> Process {
    Process::start(command(&server.url, &[&["run"], arguments].concat()))
}

async fn holder(server: &Server, arguments: &[&str]) -> Process {
    let mut process = run(server, &[arguments, &["--", "sh", "-c", STAY]].concat());
    process.line_with("ready").await;
    process
}

/// Returns once so many wait for a lock, which nothing announces.
async fn until_waiting(client: &Client, name: &str, count: u32) {
    let waiting = async {
        while client.lock(name).get().await.unwrap().waiter_count != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn the_exit_code_is_that_of_the_command() {
    let server = Server::start();
    for (script, code) in
        [("exit 0", 0), ("exit 5", 5), ("exit 255", 255), ("kill -KILL $$", 128 + 9), ("kill -TERM $$", 128 + 15)]
    {
        assert_code(&ask(&server.url, &["run", "x", "--", "sh", "-c", script]).await, code);
    }
    let missing = ask(&server.url, &["run", "x", "--", "/nowhere/at/all"]).await;
    assert_code(&missing, 127);
    assert!(text(&missing.stderr).contains("/nowhere/at/all"), "{missing:?}");
    assert_code(&ask(&server.url, &["run", "x", "--", "no-such-program-anywhere"]).await, 127);
    assert_code(&ask(&server.url, &["run", "x", "--", "/"]).await, 126);
    let client = Client::connect(&server.url).await.unwrap();
    assert_eq!(client.list_locks("").all().await.unwrap(), [], "each has released the lock");
}

#[tokio::test]
async fn the_command_finds_its_fencing_token_and_its_input() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let script = "echo $LOCKSTEAD_FENCING_TOKEN; sleep 60";
    let mut process = run(&server, &["--owner", "me", "x", "--", "sh", "-c", script]);
    let token = process.next_line().await.unwrap();
    let lock = client.lock("x").get().await.unwrap();
    assert_eq!((lock.holders[0].token.to_string(), lock.holders[0].owner.as_str()), (token, "me"));
    process.signal(Signal::TERM);
    assert_eq!(process.wait().await.code(), Some(128 + 15));

    let mut cat = command(&server.url, &["run", "x", "--", "cat"]);
    cat.stdin(tempfile_with("from a pipe"));
    assert_eq!(text(&super::output(&mut cat).await.stdout), "from a pipe");
}

fn tempfile_with(content: &str) -> std::fs::File {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

#[tokio::test]
async fn signals_are_passed_on() {
    let server = Server::start();
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
    ] {
        let script = format!("trap 'exit 7' {name}; {STAY}");
        let mut process = run(&server, &["x", "--", "sh", "-c", &script]);
        process.line_with("ready").await;
        process.signal(signal);
        assert_eq!(process.wait().await.code(), Some(7), "{name}");
    }
}

#[tokio::test]
async fn a_lock_that_is_held_is_waited_for_as_long_as_wished() {
    let server = Server::start();
    let first = holder(&server, &["--owner", "the first", "x"]).await;
    for wait in ["0s", "100ms"] {
        let refused = ask(&server.url, &["run", "--wait", wait, "x", "--", "echo", "never"]).await;
        assert_code(&refused, 75);
        assert_eq!(text(&refused.stdout), "");
        assert!(text(&refused.stderr).contains("the first"), "{refused:?}");
    }
    let mut second = run(&server, &["x", "--", "echo", "mine"]);
    until_waiting(&Client::connect(&server.url).await.unwrap(), "x", 1).await;
    first.signal(Signal::TERM);
    second.line_with("mine").await;
    assert_eq!(second.wait().await.code(), Some(0));
}

#[tokio::test]
async fn shared_holders_and_permits_go_beside_each_other() {
    let server = Server::start();
    let _shared = holder(&server, &["--shared", "x"]).await;
    assert_code(&ask(&server.url, &["run", "--wait", "0s", "--shared", "x", "--", "true"]).await, 0);
    assert_code(&ask(&server.url, &["run", "--wait", "0s", "x", "--", "true"]).await, 75);

    let _two = holder(&server, &["--limit", "3", "--permits", "2", "x"]).await;
    let try_permits = |permits| ["run", "--wait", "0s", "--limit", "3", "--permits", permits, "x", "--", "true"];
    assert_code(&ask(&server.url, &try_permits("1")).await, 0);
    assert_code(&ask(&server.url, &try_permits("2")).await, 75);
    let other_limit = ask(&server.url, &["run", "--limit", "4", "x", "--", "true"]).await;
    assert_code(&other_limit, 77);
    assert!(text(&other_limit.stderr).contains("LIMIT_MISMATCH"), "{other_limit:?}");
}

#[tokio::test]
async fn one_that_is_told_to_end_while_it_waits_leaves_the_queue_at_once() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let held = client.lock("x").acquire().await.unwrap();
    // Its session would outlive it for long.
    let mut waiter = run(&server, &["--session-timeout", "5m", "x", "--", "echo", "never"]);
    until_waiting(&client, "x", 1).await;
    waiter.signal(Signal::INT);
    assert_eq!(waiter.wait().await.code(), Some(128 + 2));
    assert_eq!(waiter.next_line().await, None);
    assert_eq!(client.lock("x").get().await.unwrap().waiter_count, 0);
    held.release().await.unwrap();
    assert!(client.lock("x").try_acquire().await.unwrap().is_some());
}
