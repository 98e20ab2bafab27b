//! Connections that break, or fall silent.

use std::time::Duration;

use lockstead_engine::wire::WireError;
use lockstead_tests::{Proxy, RedisServer};
use redis::Value;
use rustix::process::Signal;
use tokio::sync::mpsc;

use crate::reach::{in_time, refused, swap, text, until_it_works, wire};

#[tokio::test]
async fn a_killed_redis_closes_the_link_and_a_new_one_leads_to_the_next() {
    let mut redis = RedisServer::start().await;
    let wire = wire(&redis.url());
    let link = wire.link(3).await.unwrap();
    swap(&link, 3, "a").await.unwrap();
    let (inbox, mut heard) = mpsc::unbounded_channel();
    link.subscribe("lockstead:{3}:inbox".to_owned(), inbox).await.unwrap();
    redis.kill();
    in_time(link.closed()).await;
    assert_eq!(in_time(heard.recv()).await, None);
    assert!(matches!(swap(&link, 3, "b").await, Err(WireError::Broken(_))));
    let absent = refused(&wire).await;
    assert!(matches!(&absent, WireError::Broken(what) if what.contains("refused")), "{absent:?}");
    redis.restart().await;
    let (_, old) = until_it_works(&wire, 3, "c").await;
    assert_eq!(old, Value::Nil);
}

#[tokio::test]
async fn a_cut_network_is_noticed_by_the_first_call_and_the_next_link_is_a_new_connection() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::before(redis.address()).await;
    let wire = wire(&format!("redis://{}", proxy.address()));
    let link = wire.link(3).await.unwrap();
    swap(&link, 3, "a").await.unwrap();
    proxy.cut();
    let (cut, ()) = tokio::join!(swap(&link, 3, "b"), in_time(link.closed()));
    assert!(matches!(&cut, Err(WireError::Broken(what)) if what.contains("in time")), "{cut:?}");
    assert!(matches!(refused(&wire).await, WireError::Broken(_)));
    proxy.restore();
    let (_, old) = until_it_works(&wire, 3, "c").await;
    assert!(old == text("a") || old == text("b"), "a call that broke may have happened: {old:?}");
}

#[tokio::test]
async fn one_who_waits_too_long_breaks_it_for_all() {
    let redis = RedisServer::start().await;
    let wire = wire(&redis.url());
    let (mine, yours) = (wire.link(3).await.unwrap(), wire.link(4).await.unwrap());
    redis.signal(Signal::STOP);
    let (called, ()) = tokio::join!(swap(&mine, 3, "a"), in_time(yours.closed()));
    assert!(matches!(called, Err(WireError::Broken(_))));
    redis.signal(Signal::CONT);
    until_it_works(&wire, 4, "b").await;
}

#[tokio::test]
async fn a_slow_network_is_no_broken_one() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::before(redis.address()).await;
    let wire = wire(&format!("redis://{}", proxy.address()));
    proxy.delay(Duration::from_millis(20));
    let link = wire.link(3).await.unwrap();
    let calls = (0..100).map(|_| swap(&link, 3, "a"));
    // All in one go: one after the other they would take 4 s.
    for called in in_time(futures::future::join_all(calls)).await {
        called.unwrap();
    }
    proxy.reset();
    in_time(link.closed()).await;
}

#[tokio::test]
async fn whoever_comes_meanwhile_waits_for_the_same_try() {
    let mut redis = RedisServer::start().await;
    let wire = wire(&redis.url());
    redis.command(&["CONFIG", "RESETSTAT"]).await;
    let links = (0..32).map(|partition| wire.link(partition));
    let links: Vec<_> = futures::future::try_join_all(links).await.unwrap();
    // One of them is the connection that asks.
    assert_eq!(redis.info("total_connections_received").await, "2");
    redis.kill();
    in_time(links[0].closed()).await;
    let tried = std::sync::atomic::AtomicUsize::new(0);
    // Tries that fail are paced: a second of them is not thousands.
    let trying = async {
        loop {
            refused(&wire).await;
            tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    };
    tokio::time::timeout(Duration::from_secs(1), trying).await.unwrap_err();
    assert!((3..20).contains(&tried.into_inner()));
}

#[tokio::test]
async fn nothing_is_left_when_the_wire_is_dropped() {
    let redis = RedisServer::start().await;
    let wire = wire(&redis.url());
    let link = wire.link(3).await.unwrap();
    drop(wire);
    swap(&link, 3, "a").await.unwrap();
    drop(link);
    let gone = async {
        while redis.info("connected_clients").await != "1" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(gone).await;
}
