//! What can only be seen on a real connection: bodies without end, and callers who go away.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::harness::Server;

/// Serves until the test ends.
async fn serve(server: &Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Reads one answer of known length.
async fn read_answer(stream: &mut BufReader<TcpStream>) -> (String, String) {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line == "\r\n" {
            break;
        }
        assert!(!line.is_empty(), "the connection ended after {head:?}");
        if let Some(number) = line.to_lowercase().strip_prefix("content-length: ") {
            length = number.trim().parse().unwrap();
        }
        head += &line;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_the_connection_lives_on() {
    const PIECE: usize = 1 << 20;
    let server = Server::start();
    let address = serve(&server).await;
    let piece = vec![b' '; PIECE];
    let head = "POST /v1/locks/a/acquire HTTP/1.1\r\nhost: x\r\n";
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());

    stream.write_all(format!("{head}content-length: {}\r\n\r\n", 100 * PIECE).as_bytes()).await.unwrap();
    for _ in 0..100 {
        stream.write_all(&piece).await.unwrap();
    }
    let (answer, body) = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(body.contains("\"INVALID_BODY\""), "{body}");

    stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    for _ in 0..10 {
        stream.write_all(format!("{PIECE:x}\r\n").as_bytes()).await.unwrap();
        stream.write_all(&piece).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let (answer, _) = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    for path in ["/v1/locks/%00/acquire", "/v1/locks/a", "/nowhere"] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 10 * PIECE);
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..10 {
            stream.write_all(&piece).await.unwrap();
        }
        assert!(read_answer(&mut stream).await.0.starts_with("HTTP/1.1 40"));
    }

    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(read_answer(&mut stream).await.0.starts_with("HTTP/1.1 200 "));
    assert!(server.is_unused().await);
}

#[tokio::test]
async fn who_asks_before_sending_too_much_need_not_send_it() {
    let server = Server::start();
    let mut stream = BufReader::new(TcpStream::connect(serve(&server).await).await.unwrap());
    let head =
        "POST /v1/locks/a/acquire HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_answer(&mut stream).await.0.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_the_queue_and_gives_back() {
    let server = Server::start();
    let address = serve(&server).await;
    let connect = async |path: &str| {
        let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\naccept: application/x-ndjson\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let mut holder = connect("/v1/locks/a/hold").await;
    let mut line = String::new();
    while !line.contains("acquired") {
        line.clear();
        assert_ne!(holder.read_line(&mut line).await.unwrap(), 0);
    }
    let counts = async || {
        let seen = server.get("/v1/locks/a").await.json();
        (seen["holder_count"].as_u64().unwrap(), seen["waiter_count"].as_u64().unwrap())
    };
    let reach = async |wanted| {
        while counts().await != wanted {
            tokio::task::yield_now().await;
        }
    };
    let waiter = connect("/v1/locks/a/hold?wait=forever").await;
    reach((1, 1)).await;
    drop(waiter);
    reach((1, 0)).await;
    drop(holder);
    reach((0, 0)).await;
}
