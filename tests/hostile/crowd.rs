//! Very many connections of clients that do nothing.

use lockstead_tests::{Process, eventually, test_client};
use rustix::process::{Resource, Signal, getrlimit};
use tokio::process::Command;

use crate::attacked::Attacked;

const CONNECTIONS: usize = 10_000;
/// Files that the server has open beside them, and more.
const OTHER_FILES: usize = 200;
/// As often as that, so that memory which is lost with each connection shows: it would take five times as much as at first.
const CROWDS: usize = 5;
/// How many times as much as after the first crowd there may be after the last: the allocator does not find room for each piece
/// where there was one like it before.
const AT_LAST_MAX: usize = 3;
/// What an idle connection may take, with what the allocator makes of so many small pieces.
const CONNECTION_MAX_BYTES: usize = 32 << 10;

/// So many, or as many as the system lets a process have.
fn connections() -> usize {
    let files =
        getrlimit(Resource::Nofile).maximum.map_or(CONNECTIONS, |files| usize::try_from(files).unwrap_or(usize::MAX));
    CONNECTIONS.min(files - OTHER_FILES)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_are_in_nobodys_way() {
    let attacked = Attacked::start().await;
    let (others, connections) = (attacked.open_files(), connections());
    let mut growths = Vec::new();
    for _ in 0..CROWDS {
        let mut command = Command::new(test_client());
        command.args(["idle", attacked.address(), &connections.to_string()]);
        let mut crowd = Process::start(command);
        crowd.line_with("connected").await;
        eventually("all of them are let in", async || attacked.open_files() >= connections).await;
        attacked.serves().await;
        crowd.signal(Signal::KILL);
        crowd.wait().await;
        eventually("the crowd is gone", async || attacked.open_files() <= others + 10).await;
        growths.push(attacked.growth());
    }
    let mebibytes: Vec<_> = growths.iter().map(|growth| growth >> 20).collect();
    println!("after each crowd of {connections} the server has grown by {mebibytes:?} MiB at most");
    let first = growths[0];
    assert!(first <= connections * CONNECTION_MAX_BYTES, "{mebibytes:?} MiB");
    attacked.assert_bounded(AT_LAST_MAX * first).await;
}
