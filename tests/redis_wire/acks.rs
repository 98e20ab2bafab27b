//! Calls that count only once replicas have them.

use std::time::Duration;

use lockstead_engine::wire::{Target, Wire, WireError};
use lockstead_tests::RedisServer;
use redis::Value;
use rustix::process::Signal;

use crate::reach::{ANSWER_WITHIN, read, swap, text};

async fn pair() -> (RedisServer, RedisServer) {
    let primary = RedisServer::start().await;
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]).await;
    primary.has_replicas(1).await;
    (primary, replica)
}

fn careful_wire(redis: &RedisServer) -> Wire {
    Wire::new(Target::parse(&redis.url(), None).unwrap(), 1, ANSWER_WITHIN)
}

#[tokio::test]
async fn a_write_counts_once_a_replica_has_it() {
    let (primary, replica) = pair().await;
    let link = careful_wire(&primary).link(3).await.unwrap();
    assert_eq!(swap(&link, 3, "a").await.unwrap(), Value::Nil);
    assert_eq!(replica.command(&["HGET", "lockstead:{3}:test", "f"]).await, text("a"));
}

#[tokio::test]
async fn without_a_replica_that_answers_a_write_happened_but_does_not_count() {
    let (primary, replica) = pair().await;
    let link = careful_wire(&primary).link(3).await.unwrap();
    swap(&link, 3, "a").await.unwrap();
    replica.signal(Signal::STOP);
    assert_eq!(swap(&link, 3, "b").await.unwrap_err(), WireError::TooFewAcks);
    assert_eq!(read(&link, 3).await.unwrap(), text("b"), "what only reads waits for nobody, and the link goes on");
    replica.signal(Signal::CONT);
    let counts = async {
        while swap(&link, 3, "c").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    crate::reach::in_time(counts).await;
}

#[tokio::test]
async fn partitions_do_not_wait_for_each_others_acknowledgements() {
    let (primary, replica) = pair().await;
    let wire = careful_wire(&primary);
    let mut links = Vec::new();
    for partition in 0..16 {
        links.push(wire.link(partition).await.unwrap());
    }
    replica.signal(Signal::STOP);
    // One after the other they would take four times as long as an answer may.
    let calls = links.iter().zip(0..).map(|(link, partition)| swap(link, partition, "a"));
    for called in futures::future::join_all(calls).await {
        assert_eq!(called.unwrap_err(), WireError::TooFewAcks);
    }
}

/// A call that repeats one whose answer was lost may find nothing to write, and on its new connection WAIT would have
/// nothing to wait for.
#[tokio::test]
async fn what_was_written_on_another_connection_counts_no_earlier() {
    static WRITES_NOTHING: std::sync::LazyLock<lockstead_engine::wire::Script> = std::sync::LazyLock::new(|| {
        lockstead_engine::wire::Script::new("return redis.call('HGET', KEYS[1], 'f')", true)
    });
    for program in ["redis-server".to_owned(), crate::valkey::program()] {
        let primary = RedisServer::start_program(&program, &[]).await;
        let replica =
            RedisServer::start_program(&program, &["--replicaof", "127.0.0.1", &primary.port().to_string()]).await;
        primary.has_replicas(1).await;
        replica.signal(Signal::STOP);
        primary.command(&["HSET", "lockstead:{3}:test", "f", "a"]).await;
        let link = careful_wire(&primary).link(3).await.unwrap();
        let called = link.call(&WRITES_NOTHING, &crate::reach::key(3), &[]).await;
        assert_eq!(called.unwrap_err(), WireError::TooFewAcks, "{program}");
    }
}
