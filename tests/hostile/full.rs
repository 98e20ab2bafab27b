//! As many connections as there may be.

use lockstead_tests::{Port, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::attacked::Attacked;

const CONNECTIONS: usize = 40;
/// The client beside the attack has its session on one, and there may be a second one for a moment.
const FILLED: usize = 30;
const GROWTH_MAX_BYTES: usize = 32 << 20;

/// Whether the server serves a new connection; otherwise it has closed it at once.
async fn is_served(address: &str) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer).await;
    answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_turns_others_away_and_takes_them_when_there_is_room() {
    let monitor = Port::free();
    let monitor = format!("127.0.0.1:{}", monitor.number);
    let attacked = Attacked::start_with(|command| {
        command.args(["--max-connections", &CONNECTIONS.to_string(), "--monitor-listen", &monitor]);
    })
    .await;
    let address = attacked.address().to_owned();
    let mut filling = Vec::new();
    for _ in 0..FILLED {
        filling.push(TcpStream::connect(&address).await.unwrap());
    }
    assert!(is_served(&address).await, "there is still room");
    for _ in FILLED..CONNECTIONS {
        filling.push(TcpStream::connect(&address).await.unwrap());
    }
    // A connection is taken in when the server comes to it.
    eventually("the server is full", async || !is_served(&address).await).await;
    assert!(is_served(&monitor).await, "whoever watches over the server can still ask");
    attacked.serves().await;
    drop(filling);
    eventually("there is room again", async || is_served(&address).await).await;
    attacked.assert_unharmed(GROWTH_MAX_BYTES).await;
}
