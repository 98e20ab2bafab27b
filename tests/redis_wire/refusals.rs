//! What can be wrong with a Redis, and what an operator hears of it.

use lockstead_engine::wire::{Target, Wire, WireError};
use lockstead_tests::redis::command;
use lockstead_tests::{RedisServer, SentinelSetup};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::reach::{ANSWER_WITHIN, refused, swap, wire};

fn assert_misconfigured(error: &WireError, told: &str) {
    assert!(matches!(error, WireError::Misconfigured(sentence) if sentence.contains(told)), "{told}: {error:?}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

fn assert_elsewhere(error: &WireError, told: &str) {
    assert!(matches!(error, WireError::Elsewhere(sentence) if sentence.contains(told)), "{told}: {error:?}");
}

#[tokio::test]
async fn nobody_there() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let absent = refused(&wire(&redis.url())).await;
    assert!(matches!(&absent, WireError::Broken(what) if what.contains("refused")), "{absent:?}");
    let unknown = refused(&wire("redis://no-such-host.invalid")).await;
    assert!(matches!(&unknown, WireError::Broken(what) if what.contains("no-such-host.invalid:6379")), "{unknown:?}");
}

#[tokio::test]
async fn passwords() {
    let redis = RedisServer::start_with(&["--requirepass", "secret"]).await;
    let address = redis.address();
    assert_misconfigured(&refused(&wire(&redis.url())).await, "asks for a password");
    for login in [":secret2", "default:secret2", "nobody:secret"] {
        let wrong = refused(&wire(&format!("redis://{login}@{address}"))).await;
        assert_misconfigured(&wrong, "refuses the user name or the password");
    }
    let link = wire(&format!("redis://:secret@{address}/2")).link(0).await.unwrap();
    swap(&link, 0, "a").await.unwrap();
}

#[tokio::test]
async fn keys_that_may_be_dropped() {
    let redis = RedisServer::start_with(&["--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru"]).await;
    assert_misconfigured(&refused(&wire(&redis.url())).await, "maxmemory-policy noeviction");
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    crate::reach::until_it_works(&wire(&redis.url()), 0, "a").await;
}

#[tokio::test]
async fn databases_that_are_not_there() {
    let redis = RedisServer::start().await;
    assert_misconfigured(&refused(&wire(&format!("{}/16", redis.url()))).await, "no database");
}

#[tokio::test]
async fn a_user_who_is_deleted_while_we_are_connected() {
    let redis = RedisServer::start().await;
    redis.command(&["ACL", "SETUSER", "lockstead", "on", ">secret", "~*", "&*", "+@all"]).await;
    let wire = wire(&format!("redis://lockstead:secret@{}", redis.address()));
    let link = wire.link(0).await.unwrap();
    redis.command(&["ACL", "DELUSER", "lockstead"]).await;
    crate::reach::in_time(link.closed()).await;
    assert_misconfigured(&refused(&wire).await, "refuses the user name or the password");
}

#[tokio::test]
async fn replicas() {
    let primary = RedisServer::start().await;
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]).await;
    assert_misconfigured(&refused(&wire(&replica.url())).await, "is a replica");
    // A primary that becomes one is found by the next call.
    let other = RedisServer::start().await;
    let wire = wire(&other.url());
    let link = wire.link(0).await.unwrap();
    other.command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    assert_elsewhere(&swap(&link, 0, "a").await.unwrap_err(), "has become a replica");
    crate::reach::in_time(link.closed()).await;
    assert_misconfigured(&refused(&wire).await, "is a replica");
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_now() {
    let redis = RedisServer::start().await;
    let wire = wire(&redis.url());
    let link = wire.link(0).await.unwrap();
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_elsewhere(&swap(&link, 0, "a").await.unwrap_err(), "memory is full");
    redis.command(&["CONFIG", "SET", "maxmemory", "0", "min-replicas-to-write", "1"]).await;
    assert_elsewhere(&swap(&link, 0, "a").await.unwrap_err(), "min-replicas-to-write");
    redis.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    swap(&link, 0, "a").await.unwrap();
}

#[tokio::test]
async fn a_redis_that_is_loading_its_data() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--enable-debug-command", "local"]).await;
    redis.command(&["DEBUG", "POPULATE", "20000", "key", "100"]).await;
    redis.command(&["BGREWRITEAOF"]).await;
    let written = async {
        while redis.info("aof_rewrite_in_progress").await != "0" || redis.info("aof_rewrite_scheduled").await != "0" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    crate::reach::in_time(written).await;
    let wire = wire(&redis.url());
    redis.restart_slowly(10_000).await;
    assert_elsewhere(&refused(&wire).await, "is loading its data");
    crate::reach::until_it_works(&wire, 0, "a").await;
}

#[tokio::test]
async fn a_redis_that_has_no_room() {
    let redis = RedisServer::start_with(&["--maxclients", "1"]).await;
    let other = wire(&redis.url());
    let link = other.link(0).await.unwrap();
    assert_elsewhere(&refused(&wire(&redis.url())).await, "maxclients");
    swap(&link, 0, "a").await.unwrap();
}

#[tokio::test]
async fn several_nodes_that_are_no_cluster() {
    let (one, other) = (RedisServer::start().await, RedisServer::start().await);
    let refused = refused(&wire(&format!("{},{}", one.url(), other.url()))).await;
    assert_misconfigured(&refused, "several nodes");
}

#[tokio::test]
async fn sentinels_and_nodes_taken_for_each_other() {
    let setup = SentinelSetup::start().await;
    let sentinels = setup.url();
    let as_node = sentinels.split(',').next().unwrap().replace("redis+sentinel", "redis");
    assert_misconfigured(&refused(&wire(&as_node)).await, "is a Sentinel");
    let as_sentinel = setup.primary().url().replace("redis://", "redis+sentinel://");
    assert_misconfigured(&refused(&wire(&as_sentinel)).await, "is not a Sentinel");
    assert_misconfigured(&refused(&wire(&format!("{sentinels}/another"))).await, "knows no primary another");
    for sentinel in sentinels.trim_start_matches("redis+sentinel://").split(',') {
        command(&format!("redis://{sentinel}"), &["ACL", "SETUSER", "default", "resetpass", ">secret"]).await;
    }
    assert_misconfigured(&refused(&wire(&sentinels)).await, "add ?sentinel_password=");
    assert_misconfigured(&refused(&wire(&format!("{sentinels}?sentinel_password=secret2"))).await, "refuses sentinel_");
    wire(&format!("{sentinels}?sentinel_password=secret")).link(0).await.unwrap();
}

#[tokio::test]
async fn something_that_is_not_redis() {
    let http = stub(|_| "HTTP/1.1 400 Bad Request\r\n\r\n".to_owned()).await;
    assert_misconfigured(&refused(&wire(&http)).await, "is not Redis");
}

#[tokio::test]
async fn a_redis_that_is_too_old() {
    let six = stub(|command| {
        if command == "HELLO" {
            return "%1\r\n$7\r\nversion\r\n$6\r\n6.2.14\r\n".to_owned();
        }
        let info = "redis_version:6.2.14\r\nrole:master\r\n";
        format!("${}\r\n{info}\r\n", info.len())
    });
    assert_misconfigured(&refused(&wire(&six.await)).await, "is too old");
    // This one repeats what it was sent.
    let five =
        stub(|command| format!("-ERR unknown command `{command}`, with args beginning with: `secret`, \r\n")).await;
    let five = five.replace("redis://", "redis://:secret@");
    assert_misconfigured(&refused(&wire(&five)).await, "is too old");
}

#[tokio::test]
async fn one_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let target = Target::parse(&url, None).unwrap();
    let wire = Wire::new(target, 0, ANSWER_WITHIN / 10);
    let refused = refused(&wire).await;
    assert!(matches!(&refused, WireError::Broken(what) if what.contains("does not answer within")), "{refused:?}");
}

/// Something that answers each command by the same rule.
async fn stub(answer: fn(&str) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The line after the first length is the command.
                if line.starts_with('*') {
                    lines.next_line().await.unwrap();
                    let command = lines.next_line().await.unwrap().unwrap();
                    writer.write_all(answer(&command).as_bytes()).await.unwrap();
                }
            }
        }
    });
    url
}
