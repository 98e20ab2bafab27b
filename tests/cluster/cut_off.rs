//! A server that can't reach Redis tells its clients before anybody else is granted what they hold.

use lockstead_client::{Client, HoldState, LossReason, now};
use lockstead_tests::{PATIENCE, Proxy, RedisServer};
use rustix::process::Signal;

use crate::servers::{LEASE, keeping_client, serve};

#[tokio::test]
async fn a_server_cut_off_from_redis_tells_its_clients_first() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::before(redis.address()).await;
    let cut_off = serve(&format!("redis://{}", proxy.address())).await;
    let other = serve(&redis.url()).await;
    let holder = keeping_client(&cut_off.url).await;
    let guard = holder.lock("split").acquire().await.unwrap();
    let rival = Client::connect(&other.url).await.unwrap();
    let waiting = tokio::spawn(async move {
        let next = rival.lock("split").acquire().await.unwrap();
        (now(), next)
    });

    proxy.cut();
    let loss = tokio::time::timeout(PATIENCE, guard.lost()).await.unwrap();
    let told = now();
    let (granted, next) = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();

    assert_eq!(loss.reason, LossReason::BackendLost);
    assert!(told < granted, "told at {told:?}, the next was granted at {granted:?}");
    assert!(next.token() > guard.token());
    assert!(holder.lock("other").try_acquire().await.is_err(), "a server without its store grants nothing");
    // The server recovers by itself, and so does its client.
    proxy.restore();
    let again = holder.lock("other").acquire().await.unwrap();
    assert!(matches!(again.state(), HoldState::Held));
}

#[tokio::test]
async fn clients_of_a_server_that_stands_still_know_by_their_own_clock() {
    let redis = RedisServer::start().await;
    let stopped = serve(&redis.url()).await;
    let other = serve(&redis.url()).await;
    let holder = keeping_client(&stopped.url).await;
    let guard = holder.lock("pause").acquire().await.unwrap();
    let rival = Client::connect(&other.url).await.unwrap();
    let waiting = tokio::spawn(async move {
        let next = rival.lock("pause").acquire().await.unwrap();
        (now(), next)
    });

    stopped.signal(Signal::STOP);
    tokio::time::timeout(PATIENCE, guard.lost()).await.unwrap();
    let knew = guard.valid_until();
    let (granted, _next) = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert!(knew < granted, "it knew at {knew:?}, the next was granted at {granted:?}");
    tokio::time::sleep(LEASE).await;
    stopped.signal(Signal::CONT);

    // Back again, the server gives nothing of what it had to anybody, and serves anew.
    let again = keeping_client(&stopped.url).await;
    assert!(again.lock("pause").try_acquire().await.unwrap().is_none());
    let fresh = again.lock("fresh").acquire().await.unwrap();
    fresh.release().await.unwrap();
}
