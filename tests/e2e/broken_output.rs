//! Nobody reads what a program says: that is no reason to fail.

use std::fs::File;
use std::process::{Command, Stdio};

use lockstead_client::Client;
use lockstead_tests::{Server, lockstead, send_signal};
use rustix::process::Signal;

/// A pipe that nobody reads from.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_server_whose_log_nobody_reads_starts_and_stops_as_any_other() {
    let mut server = Command::new(lockstead());
    server.args(["serve", "--listen", "127.0.0.1:0"]).env("RUST_LOG", "info").stdout(Stdio::piped()).stderr(unread());
    let mut server = server.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut line).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    send_signal(&server, Signal::TERM);
    assert!(server.wait().unwrap().success());
}

#[tokio::test]
async fn run_waits_for_its_lock_though_nobody_reads_that_it_does() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let guard = client.lock("awaited").acquire().await.unwrap();
    let mut run = tokio::process::Command::new(lockstead());
    run.args(["run", "--server", &server.url, "awaited", "--", "true"]).stderr(unread());
    let mut run = run.spawn().unwrap();
    // It says that it waits only after a second.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    guard.release().await.unwrap();
    assert!(run.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_lease_whose_id_nobody_reads_is_given_back() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    for output in [unread(), File::create("/dev/full").unwrap().into()] {
        let mut acquire = tokio::process::Command::new(lockstead());
        acquire.args(["acquire", "--server", &server.url, "unread"]).stdout(output);
        assert_eq!(acquire.status().await.unwrap().code(), Some(74));
        assert_eq!(client.lock("unread").get().await.unwrap().holder_count, 0);
    }
}
