//! Calls and pushes on a link that works.

use lockstead_engine::wire::{Script, WireError};
use lockstead_tests::RedisServer;
use redis::Value;
use tokio::sync::mpsc;

use crate::reach::{in_time, read, swap, text, wire};

#[tokio::test]
async fn a_script_is_run_and_taught_to_a_redis_that_forgot_it() {
    let redis = RedisServer::start().await;
    let link = wire(&redis.url()).link(3).await.unwrap();
    assert_eq!(swap(&link, 3, "a").await.unwrap(), Value::Nil);
    redis.command(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(swap(&link, 3, "b").await.unwrap(), text("a"));
    assert_eq!(read(&link, 3).await.unwrap(), text("b"));
}

#[tokio::test]
async fn calls_of_many_partitions_share_a_connection_and_get_their_own_answers() {
    let redis = RedisServer::start().await;
    let wire = std::sync::Arc::new(wire(&redis.url()));
    let partitions = (0..64).map(|partition| {
        let wire = wire.clone();
        tokio::spawn(async move {
            let link = wire.link(partition).await.unwrap();
            for round in 0..50 {
                let old = swap(&link, partition, &format!("{partition} {round}")).await.unwrap();
                let expected = if round == 0 { Value::Nil } else { text(&format!("{partition} {}", round - 1)) };
                assert_eq!(old, expected);
            }
        })
    });
    for partition in partitions.collect::<Vec<_>>() {
        partition.await.unwrap();
    }
    let Value::BulkString(clients) = redis.command(&["CLIENT", "LIST"]).await else { panic!("no list") };
    let clients = String::from_utf8(clients).unwrap();
    assert_eq!(clients.lines().filter(|client| client.contains("cmd=evalsha")).count(), 1, "{clients}");
}

#[tokio::test]
async fn what_is_published_comes_to_its_channel_in_order() {
    let redis = RedisServer::start().await;
    let link = wire(&redis.url()).link(3).await.unwrap();
    let (inbox, mut heard) = mpsc::unbounded_channel();
    let (other_inbox, mut other_heard) = mpsc::unbounded_channel();
    link.subscribe("lockstead:{3}:inbox:a".to_owned(), inbox).await.unwrap();
    link.subscribe("lockstead:{4}:inbox:a".to_owned(), other_inbox).await.unwrap();
    for payload in ["1", "2", "3"] {
        assert_eq!(redis.command(&["SPUBLISH", "lockstead:{3}:inbox:a", payload]).await, Value::Int(1));
        swap(&link, 3, "calls go on").await.unwrap();
    }
    redis.command(&["SPUBLISH", "lockstead:{4}:inbox:a", "4"]).await;
    for payload in ["1", "2", "3"] {
        assert_eq!(in_time(heard.recv()).await.unwrap(), payload.as_bytes());
    }
    assert_eq!(in_time(other_heard.recv()).await.unwrap(), b"4");
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    in_time(link.closed()).await;
    assert_eq!(in_time(heard.recv()).await, None, "the end of the connection is the end of the inbox");
}

#[tokio::test]
async fn a_script_that_fails_is_a_defect_and_the_link_goes_on() {
    static WRONG: std::sync::LazyLock<Script> = std::sync::LazyLock::new(|| Script::new("return nil .. 1", true));
    let redis = RedisServer::start().await;
    let link = wire(&redis.url()).link(3).await.unwrap();
    let failed = link.call(&WRONG, &[], &[]).await.unwrap_err();
    assert!(matches!(&failed, WireError::Script(what) if what.contains("concatenate")), "{failed:?}");
    swap(&link, 3, "a").await.unwrap();
}
