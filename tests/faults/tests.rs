//! The fault runner itself: it finds nothing wrong with the real server, and what is wrong with a broken one.
//!
//! These runs are short. `make faults` makes longer ones, with a new seed each time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::process::{Output, Stdio};
use std::time::Duration;

use lockstead_tests::program;
use tokio::process::Command;
use tokio::sync::Mutex;

/// One run at a time: each is a small cluster that wants the machine for itself.
static MACHINE: Mutex<()> = Mutex::const_new(());
/// When a run must be over, whatever happens in it.
const PATIENCE: Duration = Duration::from_secs(120);

async fn run(arguments: &[&str]) -> Output {
    let machine = MACHINE.lock().await;
    let mut command = Command::new(program("lockstead-faults"));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    drop(machine);
    output
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn keeps_its_promises(topology: &str, seed: &str) {
    let output = run(&["--topology", topology, "--seed", seed, "--seconds", "6"]).await;
    assert!(output.status.success() && said(&output).contains("no violation"), "{}", said(&output));
}

#[tokio::test]
async fn a_memory_server_keeps_its_promises() {
    keeps_its_promises("memory", "1").await;
}

#[tokio::test]
async fn servers_of_one_redis_keep_their_promises() {
    keeps_its_promises("single", "1").await;
}

#[tokio::test]
async fn servers_behind_sentinels_keep_their_promises() {
    keeps_its_promises("sentinel", "1").await;
}

#[tokio::test]
async fn servers_of_a_cluster_keep_their_promises() {
    keeps_its_promises("cluster", "1").await;
}

#[tokio::test]
async fn a_server_that_does_not_see_what_redis_lost_is_found_out() {
    // Nothing else can show it, so Redis loses its data again and again.
    let plan = ["--topology", "single", "--seed", "1", "--seconds", "10", "--only", "flushed"];
    let broken = program("lockstead-broken-server").display().to_string();
    let output = run(&[&["--server", &broken], &plan[..]].concat()).await;
    assert!(said(&output).contains("VIOLATION of exclusion"), "{}", said(&output));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}
