//! Users that may not do everything.

use std::time::Duration;

use lockstead_client::Client;
use lockstead_engine::wire::{RULE, Target, Wire, WireError};
use lockstead_tests::{RedisServer, Server};
use tokio::sync::mpsc;

use crate::reach::{ANSWER_WITHIN, in_time, refused, swap};

/// Gives the user these permissions and no others.
async fn permit(redis: &RedisServer, rules: &str) {
    let rules = rules.split(' ').filter(|rule| !rule.is_empty());
    let words: Vec<_> = ["ACL", "SETUSER", "lockstead", "reset", "on", ">secret"].into_iter().chain(rules).collect();
    redis.command(&words).await;
}

fn wire_of_user(redis: &RedisServer, min_acks: u32) -> Wire {
    let url = format!("redis://lockstead:secret@{}", redis.address());
    Wire::new(Target::parse(&url, None).unwrap(), min_acks, ANSWER_WITHIN)
}

#[tokio::test]
async fn the_documented_rule_is_enough() {
    let redis = RedisServer::start().await;
    permit(&redis, RULE).await;
    let link = wire_of_user(&redis, 0).link(3).await.unwrap();
    swap(&link, 3, "a").await.unwrap();
    let (inbox, mut heard) = mpsc::unbounded_channel();
    link.subscribe("lockstead:{3}:inbox".to_owned(), inbox).await.unwrap();
    redis.command(&["SPUBLISH", "lockstead:{3}:inbox", "a"]).await;
    assert_eq!(in_time(heard.recv()).await.unwrap(), b"a");
    let log = redis.command(&["ACL", "LOG"]).await;
    assert_eq!(log, redis::Value::Array(Vec::new()), "nothing was tried that is not permitted");
}

#[tokio::test]
async fn every_part_of_the_rule_is_asked_for_when_it_is_missing() {
    let redis = RedisServer::start().await;
    for missing in RULE.split(' ').filter(|&rule| rule != "+cluster|slots") {
        let rest: Vec<_> = RULE.split(' ').filter(|&rule| rule != missing).collect();
        permit(&redis, &rest.join(" ")).await;
        let error = refused(&wire_of_user(&redis, 1)).await;
        let WireError::Misconfigured(sentence) = &error else { panic!("{missing}: {error:?}") };
        let asked_for = sentence.rsplit(": ").next().unwrap();
        assert!(asked_for.split(' ').any(|rule| rule == missing), "{missing}: {sentence}");
        let is_exact = asked_for == missing;
        // Whoever can't run a script can't be asked; and without keys or channels no command on them passes.
        let can_be_exact = !["+evalsha", "+script|load", "+info", "~lockstead:*", "&lockstead:*"].contains(&missing);
        assert!(is_exact || !can_be_exact, "{missing}: {sentence}");
        // What is asked for is what mends it, and nobody need restart.
        let words: Vec<_> = ["ACL", "SETUSER", "lockstead"].into_iter().chain(asked_for.split(' ')).collect();
        redis.command(&words).await;
        assert!(!sentence.contains("secret"), "{sentence}");
    }
}

/// Only an address with a number needs that one.
#[tokio::test]
async fn a_database_number_needs_a_permission_of_its_own() {
    let redis = RedisServer::start().await;
    permit(&redis, RULE).await;
    let url = format!("redis://lockstead:secret@{}/5", redis.address());
    let wire = Wire::new(Target::parse(&url, None).unwrap(), 0, ANSWER_WITHIN);
    let told = refused(&wire).await;
    assert!(matches!(&told, WireError::Misconfigured(sentence) if sentence.ends_with(": +select")), "{told:?}");
    redis.command(&["ACL", "SETUSER", "lockstead", "+select"]).await;
    swap(&wire.link(3).await.unwrap(), 3, "a").await.unwrap();
}

#[tokio::test]
async fn what_is_taken_away_later_is_told_too() {
    let redis = RedisServer::start().await;
    permit(&redis, RULE).await;
    let wire = wire_of_user(&redis, 0);
    let link = wire.link(3).await.unwrap();
    swap(&link, 3, "a").await.unwrap();
    redis.command(&["ACL", "SETUSER", "lockstead", "-hset"]).await;
    let told = swap(&link, 3, "b").await.unwrap_err();
    assert!(matches!(&told, WireError::Misconfigured(sentence) if sentence.contains("+hset")), "{told:?}");
    let told = refused(&wire).await;
    assert!(matches!(&told, WireError::Misconfigured(sentence) if sentence.ends_with(": +hset")), "{told:?}");
    redis.command(&["ACL", "SETUSER", "lockstead", "+hset"]).await;
    let link = wire.link(3).await.unwrap();
    swap(&link, 3, "c").await.unwrap();
}

#[tokio::test]
async fn the_documented_rule_is_enough_for_a_server() {
    let redis = RedisServer::start().await;
    permit(&redis, RULE).await;
    let url = format!("redis://lockstead:secret@{}", redis.address());
    let server = Server::start_with(&["--redis", &url, "--server-lease", "1s"]);
    let client = Client::connect(&server.url).await.unwrap();
    let held = in_time(async {
        loop {
            // It has to get there first.
            if let Ok(lease) = client.lock("a").lease(Duration::from_secs(5)).acquire().await {
                return lease;
            }
        }
    });
    let waiting = client.lock("a").lease(Duration::from_secs(5));
    held.await.release().await.unwrap();
    waiting.acquire().await.unwrap().release().await.unwrap();
    assert_eq!(redis.command(&["ACL", "LOG"]).await, redis::Value::Array(Vec::new()));
}
