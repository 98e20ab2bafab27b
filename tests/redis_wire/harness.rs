//! The harness itself: a test is worth what its Redis is.

use lockstead_tests::RedisServer;
use redis::Value;

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
