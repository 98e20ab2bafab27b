//! Very many connections of clients that do nothing.

use lockstead_tests::{Process, eventually, test_client};
use rustix::process::Signal;
use tokio::process::Command;

use crate::attacked::Attacked;

const CONNECTIONS: usize = 10_000;
/// As often as that, so that memory which is lost with each connection shows: it would take three times as much.
const CROWDS: usize = 3;
/// What an idle connection may take, with what the allocator makes of so many small pieces.
const GROWTH_MAX_BYTES: usize = CONNECTIONS * (32 << 10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_are_in_nobodys_way() {
    let attacked = Attacked::start().await;
    let others = attacked.open_files();
    let mut growths = Vec::new();
    for _ in 0..CROWDS {
        let mut command = Command::new(test_client());
        command.args(["idle", attacked.address(), &CONNECTIONS.to_string()]);
        let mut crowd = Process::start(command);
        crowd.line_with("connected").await;
        eventually("all of them are let in", async || attacked.open_files() >= CONNECTIONS).await;
        attacked.serves().await;
        crowd.signal(Signal::KILL);
        crowd.wait().await;
        eventually("the crowd is gone", async || attacked.open_files() <= others + 10).await;
        growths.push(attacked.growth() >> 20);
    }
    println!("after each crowd the server has grown by {growths:?} MiB at most");
    attacked.assert_bounded(GROWTH_MAX_BYTES).await;
}
