//! The command of `lockstead run` never outlives the lock, whatever happens to `lockstead run`, or to the server.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockstead_client::Client;
use lockstead_tests::{PATIENCE, Process, Server};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{command, is_running};

const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

/// A command that ignores SIGTERM, as do its child and grandchild, each of which writes down the time over and over.
const BEAT: &str = r#"
trap '' TERM
beat() { date +%s%N >>"$1/$2"; echo $BASHPID; while [ $SECONDS -lt 60 ]; do date +%s%N >>"$1/$2"; done; }
( ( beat "$1" grandchild ) & beat "$1" child ) &
beat "$1" command
"#;

/// A `lockstead run` with a command that leaves traces of how long it lived.
struct Beating {
    run: Process,
    folder: TempDir,
    pids: Vec<String>,
}

impl Beating {
    async fn start(server: &Server) -> Self {
        Self::start_through(server, &[]).await
    }

    /// The same, started by another command.
    async fn start_through(server: &Server, starter: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let beat = ["bash", "-c", BEAT, "bash", path];
        let arguments = [&["run", "--session-timeout", "2s", "x", "--"], starter, &beat].concat();
        let mut run = Process::start(command(&server.url, &arguments));
        let mut pids = Vec::new();
        for _ in 0..3 {
            let line = run.next_line().await.unwrap();
            pids.extend(line.split_whitespace().map(str::to_owned));
        }
        Self { run, folder, pids }
    }

    /// The last sign of life of any of its processes.
    fn last_beat(&self) -> Duration {
        let beats = ["command", "child", "grandchild"].map(|who| last_time(&self.folder.path().join(who)));
        beats.into_iter().max().unwrap()
    }

    async fn until_ended(&self) {
        for pid in &self.pids {
            until_ended(pid).await;
        }
    }
}

/// Returns once a process is no more, which a kill does not wait for.
async fn until_ended(pid: &str) {
    let ended = async {
        while is_running(pid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("it was killed");
}

/// The last whole line of a file, as a time of day.
fn last_time(file: &Path) -> Duration {
    let text = std::fs::read_to_string(file).unwrap();
    let whole = text.rsplit_once('\n').unwrap_or_default().0;
    Duration::from_nanos(whole.rsplit('\n').next().unwrap_or_default().parse().unwrap())
}

fn time_of_day() -> Duration {
    Duration::from_micros(lockstead_clock::wall_time().as_micros())
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap()
}

/// Waits for the lock, and returns when the server granted it.
async fn granted_at(client: &Client) -> Duration {
    let _next = client.lock("x").wait(SESSION_TIMEOUT * 5).acquire().await.unwrap();
    since_epoch(client.lock("x").get().await.unwrap().holders[0].acquired_at.unwrap())
}

#[tokio::test]
async fn killing_run_stops_the_whole_process_group_before_the_next_grant() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let mut beating = Beating::start(&server).await;
    beating.run.signal(Signal::KILL);
    beating.run.wait().await;
    let granted = granted_at(&client).await;
    beating.until_ended().await;
    assert!(beating.last_beat() < granted, "last beat {:?}, granted {granted:?}", beating.last_beat());
}

#[tokio::test]
async fn what_the_command_leaves_in_the_background_ends_before_the_next_grant() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let beats = folder.path().join("left");
    let script = r#"
        (trap '' TERM; while [ $SECONDS -lt 60 ]; do date +%s%N >>"$0"; done) >/dev/null &
        until [ -s "$0" ]; do :; done
        echo $!"#;
    let arguments = ["run", "x", "--", "bash", "-c", script, beats.to_str().unwrap()];
    let mut run = Process::start(command(&server.url, &arguments));
    let left = run.next_line().await.unwrap();
    let granted = granted_at(&client).await;
    assert_eq!(run.wait().await.code(), Some(0));
    until_ended(&left).await;
    assert!(last_time(&beats) < granted, "last beat {:?}, granted {granted:?}", last_time(&beats));
}

/// `timeout` leads a process group of its own, and `setsid` even a session.
#[tokio::test]
async fn a_command_that_leaves_the_group_is_stopped_all_the_same() {
    for starter in [&["timeout", "100"] as &[&str], &["setsid", "--wait"]] {
        let server = Server::start();
        let client = Client::connect(&server.url).await.unwrap();
        let mut beating = Beating::start_through(&server, starter).await;
        beating.run.signal(Signal::KILL);
        beating.run.wait().await;
        let granted = granted_at(&client).await;
        beating.until_ended().await;
        assert!(beating.last_beat() < granted, "{starter:?}");

        let mut beating = Beating::start_through(&server, starter).await;
        server.signal(Signal::KILL);
        assert_eq!(beating.run.wait().await.code(), Some(76), "{starter:?}");
        beating.until_ended().await;
    }
}

#[tokio::test]
async fn a_signal_reaches_a_command_that_has_left_the_group() {
    let server = Server::start();
    let script = "trap 'echo told; exit 7' TERM; echo ready; for _ in $(seq 1000); do sleep 0.05; done";
    let leave = ["perl", "-e", "setpgrp; exec @ARGV", "sh", "-c", script];
    let mut run = Process::start(command(&server.url, &[&["run", "x", "--"], &leave[..]].concat()));
    run.line_with("ready").await;
    run.signal(Signal::TERM);
    run.line_with("told").await;
    assert_eq!(run.wait().await.code(), Some(7));
}

#[tokio::test]
async fn a_stopped_run_has_its_command_killed_before_the_next_grant() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let beating = Beating::start(&server).await;
    let stopped = time_of_day();
    beating.run.signal(Signal::STOP);
    let granted = granted_at(&client).await;
    beating.until_ended().await;
    let last_beat = beating.last_beat();
    assert!(last_beat < granted, "last beat {last_beat:?}, granted {granted:?}");
    assert!(last_beat > stopped + SESSION_TIMEOUT / 4, "stopped {stopped:?}, last beat {last_beat:?} already");
}

#[tokio::test]
async fn a_killed_server_stops_the_command_within_the_session_timeout() {
    let server = Server::start();
    let mut beating = Beating::start(&server).await;
    let killed = time_of_day();
    server.signal(Signal::KILL);
    assert_eq!(beating.run.wait().await.code(), Some(76));
    beating.until_ended().await;
    let last_beat = beating.last_beat();
    assert!(last_beat < killed + SESSION_TIMEOUT, "killed {killed:?}, last beat {last_beat:?}");
}

#[tokio::test]
async fn a_command_that_listens_is_told_to_end_before_it_is_killed() {
    let server = Server::start();
    let script = "trap 'echo told; exit 0' TERM; echo ready; for _ in $(seq 1000); do sleep 0.05; done";
    let arguments = ["run", "--session-timeout", "2s", "x", "--", "sh", "-c", script];
    let mut run = Process::start(command(&server.url, &arguments));
    run.line_with("ready").await;
    server.signal(Signal::KILL);
    run.line_with("told").await;
    assert_eq!(run.wait().await.code(), Some(76));
}

#[tokio::test]
async fn a_server_that_ends_in_order_stops_the_command_at_once() {
    let server = Server::start();
    let arguments = ["run", "--session-timeout", "5m", "x", "--", "sh", "-c", "echo ready; exec sleep 1000"];
    let mut run = Process::start(command(&server.url, &arguments));
    run.line_with("ready").await;
    server.signal(Signal::TERM);
    assert_eq!(run.wait().await.code(), Some(76));
}
