//! Connections that say nothing, or stop in the middle of a word.

use lockstead_tests::{PATIENCE, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_connection_that_does_not_say_what_it_wants_is_closed() {
    let server = Server::start();
    let ended = ["", "P", "PRI * HTTP/2.0\r\n", "GET / HT"].map(async |begun| {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "still open after {begun:?}");
    });
    futures::future::join_all(ended).await;
}
