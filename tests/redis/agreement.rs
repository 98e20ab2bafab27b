//! What the servers of one Redis have to agree on, and how one of them tells what is wrong.

use std::sync::Arc;
use std::time::Duration;

use lockstead_core::{Acquire, Acquired, duration};
use lockstead_engine::{Engine, PARTITIONS, Readiness, RedisEngine, RedisSettings};
use lockstead_tests::engines::{
    SERVER_LEASE, servers, settings, settings_at, shared_redis, start, start_unready, until_ready,
};
use lockstead_tests::events::EventLog;
use lockstead_tests::fixture::{EXCLUSIVE, Fixture, session_id};
use lockstead_tests::{RedisServer, eventually};

/// A server that is told that its settings are wrong: its engine and what it says.
async fn misconfigured(settings: RedisSettings) -> (Fixture, String) {
    let events = Arc::new(EventLog::default());
    let engine = Arc::new(RedisEngine::start(settings, events.clone()));
    let told = tokio::time::timeout(SERVER_LEASE * 2, engine.misconfigured()).await;
    let told = told.unwrap_or_else(|_| panic!("nothing is wrong with it: {:?}", engine.readiness()));
    (Fixture::new(engine, events), told)
}

/// It would not exclude those who use other settings, so it grants nothing.
async fn grants_nothing(server: &Fixture) {
    for request in 0..50 {
        let ask = server.ask(session_id(), request, &format!("{request}"), EXCLUSIVE);
        let asked = server.engine.acquire(Acquire { queue: false, ..ask });
        let answer = tokio::time::timeout(SERVER_LEASE / 100, asked).await;
        assert!(!matches!(answer, Ok(Ok(Acquired::Granted(_)))), "{answer:?}");
    }
    let Readiness::NotReady(_) = server.engine.readiness() else { panic!("it can't be ready") };
}

#[tokio::test]
async fn a_server_with_another_lease_says_so_and_grants_nothing() {
    let redis = shared_redis().await;
    let first = start(settings(redis)).await;
    for factor in [2, 10] {
        let (server, told) =
            misconfigured(RedisSettings { server_lease: SERVER_LEASE * factor, ..settings(redis) }).await;
        let (theirs, ours) = (duration::format(SERVER_LEASE), duration::format(SERVER_LEASE * factor));
        assert!(told.contains(&theirs) && told.contains(&ours), "{told}");
        assert!(told.contains("--server-lease"), "{told}");
        grants_nothing(&server).await;
    }
    first.granted(first.ask(session_id(), 1, "x", EXCLUSIVE)).await;
}

#[tokio::test]
async fn a_server_with_other_partitions_says_so_and_grants_nothing() {
    let redis = RedisServer::start().await;
    let first = start(settings(&redis)).await;
    for partitions in [1, 8, 64] {
        let (server, told) = misconfigured(RedisSettings { partitions, ..settings(&redis) }).await;
        assert!(told.contains(&PARTITIONS.to_string()) && told.contains(&partitions.to_string()), "{told}");
        // Longer than the window of a partition in which it would be the first.
        tokio::time::sleep(SERVER_LEASE * 3 / 2).await;
        grants_nothing(&server).await;
    }
    first.granted(first.ask(session_id(), 1, "x", EXCLUSIVE)).await;
}

#[tokio::test]
async fn what_is_wrong_with_the_way_to_redis_is_said_in_words() {
    let redis = RedisServer::start_with(&["--requirepass", "a secret"]).await;
    let (server, told) = misconfigured(settings_at(&redis.url())).await;
    let Readiness::NotReady(why) = server.engine.readiness() else { panic!("it can't be ready") };
    assert!(why.contains(&told), "{why}");
    let url = format!("redis://:not%20the%20secret@{}", redis.address());
    let (_, told) = misconfigured(settings_at(&url)).await;
    assert!(told.contains("password") && !told.contains("secret"), "{told}");
}

#[tokio::test]
async fn all_share_a_key_which_survives_redis() {
    let (mut redis, [a, b]) = servers().await;
    let key = a.engine.shared_key();
    assert!(key.is_some() && key == b.engine.shared_key());
    redis.restart().await;
    eventually("the window", async || a.engine.readiness() != Readiness::Ready).await;
    until_ready(&a).await;
    let new = start(settings(&redis)).await;
    assert_eq!((a.engine.shared_key(), new.engine.shared_key()), (key, key));
    drop((a, b));
    redis.command(&["FLUSHALL"]).await;
    eventually("the window", async || new.engine.readiness() != Readiness::Ready).await;
    let newest = start(settings(&redis)).await;
    assert_eq!((newest.engine.shared_key(), new.engine.shared_key()), (key, key));
}

/// An operator who looks in the meantime is told why nothing is granted.
#[tokio::test]
async fn the_first_window_is_explained() {
    let redis = RedisServer::start().await;
    let began = lockstead_clock::time();
    let server = start_unready(settings(&redis));
    let mut told = Vec::new();
    while let Readiness::NotReady(why) = server.engine.readiness() {
        if told.last() != Some(&why) {
            told.push(why);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(lockstead_clock::time().since(began) >= SERVER_LEASE, "there was no window");
    let last = told.last().expect("it was not ready at first");
    assert!(last.contains("server lease"), "{told:?}");
    server.granted(server.ask(session_id(), 1, "x", EXCLUSIVE)).await;
}

/// One heartbeat for each server and partition, however much is held.
#[tokio::test]
async fn what_is_held_costs_nothing_while_nothing_happens() {
    let (redis, [a, b]) = servers().await;
    let calls = async || {
        let stats: String = redis::from_redis_value(redis.command(&["INFO", "commandstats"]).await).unwrap();
        let calls = stats.split_once("cmdstat_evalsha:calls=").and_then(|(_, stats)| stats.split(',').next());
        calls.unwrap_or_else(|| panic!("{stats}")).parse::<u64>().unwrap()
    };
    let in_a_while = async || {
        let before = calls().await;
        tokio::time::sleep(SERVER_LEASE).await;
        calls().await - before
    };
    let idle = in_a_while().await;
    assert!(idle > 0, "heartbeats");
    let (on_a, on_b) = (session_id(), session_id());
    for request in 0..500 {
        let name = format!("{request}");
        a.granted(a.ask(on_a, request, &name, EXCLUSIVE)).await;
        b.queued(b.ask(on_b, request, &name, EXCLUSIVE)).await;
    }
    let busy = in_a_while().await;
    assert!(busy < idle * 3 / 2, "{busy} calls instead of {idle}");
}

#[tokio::test]
async fn a_server_that_is_dropped_lets_go_of_its_connections() {
    let (redis, [a, b]) = servers().await;
    let inboxes = async || redis.command(&["PUBSUB", "SHARDCHANNELS"]).await.into_sequence().unwrap().len();
    assert_eq!(inboxes().await, 2 * usize::from(PARTITIONS), "one of each server in each partition");
    let asked = a.engine.acquire(a.ask(session_id(), 1, "x", EXCLUSIVE));
    drop((a, b));
    // Nobody is left to answer, and nobody waits for ever.
    drop(tokio::time::timeout(SERVER_LEASE, asked).await.expect("an answer of some kind"));
    eventually("the end of its connections", async || inboxes().await == 0).await;
}
