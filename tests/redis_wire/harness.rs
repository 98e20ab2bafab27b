//! The harness itself: a test is worth what its Redis is.

use std::time::Duration;

use lockstead_tests::{Proxy, RedisServer};
use redis::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::reach::in_time;

#[tokio::test]
async fn a_redis_that_is_killed_comes_back_on_its_port_empty_unless_it_keeps_a_log() {
    for (arguments, kept) in [(&[][..], Value::Nil), (&["--appendonly", "yes"], Value::BulkString(b"b".into()))] {
        let mut redis = RedisServer::start_with(arguments).await;
        let port = redis.port();
        redis.command(&["SET", "a", "b"]).await;
        redis.kill();
        std::net::TcpStream::connect(redis.address()).unwrap_err();
        redis.restart().await;
        assert_eq!((redis.port(), redis.command(&["GET", "a"]).await), (port, kept), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_proxy_cuts_without_a_word_and_delivers_later() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::before(redis.address()).await;
    let mut client = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    let (mut answer, mut late_answer) = ([0; 7], [0; 7]);
    client.write_all(b"PING\r\n").await.unwrap();
    in_time(client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    proxy.cut();
    client.write_all(b"PING\r\n").await.unwrap();
    let mut late = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    late.write_all(b"PING\r\n").await.unwrap();
    let silence = tokio::time::timeout(Duration::from_millis(200), async {
        tokio::select! {
            heard = client.read_exact(&mut answer) => heard,
            heard = late.read_exact(&mut late_answer) => heard,
        }
    });
    silence.await.unwrap_err();
    proxy.restore();
    for stream in [&mut client, &mut late] {
        in_time(stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"+PONG\r\n");
    }
    proxy.reset();
    let error = in_time(client.read(&mut answer)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn nothing_is_left_of_a_redis_that_is_dropped() {
    let redis = RedisServer::start().await;
    let address = redis.address();
    drop(redis);
    std::net::TcpStream::connect(address).unwrap_err();
}
