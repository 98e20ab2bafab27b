//! `ready`, which is what the image's health check runs.

use lockstead_tests::{Port, Server, lockstead, serve};
use tokio::net::TcpListener;

use super::{ask, assert_code, text};

/// A server that looks for a Redis where there is none, and the port that nobody else gets.
fn server_without_its_redis() -> (Server, Port) {
    let port = Port::free();
    let server = Server::start_with(&["--redis", &format!("redis://127.0.0.1:{}", port.number)]);
    (server, port)
}

#[tokio::test]
async fn a_server_that_is_ready_is_0() {
    let server = Server::start();
    let told = ask(&server.url, &["ready"]).await;
    assert_code(&told, 0);
    assert_eq!(text(&told.stdout), format!("{} is ready\n", server.url));
    // Over IPv6, where brackets are part of the address but not of the host.
    let mut over_ipv6 = serve();
    over_ipv6.args(["--listen", "[::1]:0"]);
    assert_code(&ask(&Server::start_as(over_ipv6).url, &["ready"]).await, 0);
}

#[tokio::test]
async fn a_server_that_is_not_ready_says_why() {
    let (server, port) = server_without_its_redis();
    let told = ask(&server.url, &["ready"]).await;
    assert_code(&told, 69);
    let why = text(&told.stderr);
    assert!(why.contains("is not ready") && why.contains(&port.number.to_string()), "{why}");
    assert!(told.stdout.is_empty());
    let other = Server::start();
    assert_code(&ask(&format!("{},{}", server.url, other.url), &["ready"]).await, 0);
}

#[tokio::test]
async fn what_does_not_answer_as_a_server_does_is_not_ready() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let told = ask(&url, &["ready", "--connect-timeout", "200ms"]).await;
    assert_code(&told, 69);
    assert!(text(&told.stderr).contains("does not answer in time"), "{told:?}");
    // A Redis, or whatever else listens there.
    let mut other = tokio::process::Command::new(lockstead());
    other.args(["ready", "--server", &url]).kill_on_drop(true);
    let (told, ()) = tokio::join!(super::output(&mut other), async {
        // The first connection is the one that timed out.
        _ = silent.accept().await.unwrap();
        let (mut stream, _) = silent.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"-ERR unknown command\r\n").await.unwrap();
    });
    assert_code(&told, 69);
}
