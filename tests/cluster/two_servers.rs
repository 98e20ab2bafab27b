//! Two servers over one Redis are one lock service.

use std::time::Duration;

use lockstead_client::{Client, Guard, now};
use lockstead_tests::{PATIENCE, RedisServer, Server, eventually};
use tokio::sync::mpsc;

use crate::servers::two_servers;

const HAND_OVERS: usize = 101;
const WAITERS: usize = 30;

async fn clients(servers: &[Server; 2]) -> [Client; 2] {
    [Client::connect(&servers[0].url).await.unwrap(), Client::connect(&servers[1].url).await.unwrap()]
}

#[tokio::test]
async fn what_is_held_on_one_server_is_held_on_the_other() {
    let redis = RedisServer::start().await;
    let servers = two_servers(&redis).await;
    let [here, there] = clients(&servers).await;

    let exclusive = here.lock("one").acquire().await.unwrap();
    assert!(there.lock("one").try_acquire().await.unwrap().is_none());
    assert_eq!(there.lock("one").get().await.unwrap().holders[0].token, exclusive.token());
    exclusive.release().await.unwrap();

    let shared = here.lock("one").shared().acquire().await.unwrap();
    let beside = there.lock("one").shared().try_acquire().await.unwrap().expect("shared holders hold together");
    assert!(there.lock("one").try_acquire().await.unwrap().is_none());
    assert!(beside.token() > shared.token());

    let three = here.semaphore("pool", 4).permits(3).acquire().await.unwrap();
    assert!(there.semaphore("pool", 4).permits(2).try_acquire().await.unwrap().is_none());
    let one = there.semaphore("pool", 4).try_acquire().await.unwrap().expect("one permit is left");
    assert!(here.semaphore("pool", 4).try_acquire().await.unwrap().is_none());
    drop((shared, beside, three, one));
}

#[tokio::test]
async fn waiters_of_both_servers_stand_in_one_queue() {
    let redis = RedisServer::start().await;
    let servers = two_servers(&redis).await;
    let clients = clients(&servers).await;
    let first = clients[0].lock("queue").acquire().await.unwrap();
    let (sender, mut granted) = mpsc::unbounded_channel();
    for number in 0..WAITERS {
        let (lock, sender) = (clients[number % 2].lock("queue"), sender.clone());
        tokio::spawn(async move {
            let guard = lock.acquire().await.unwrap();
            sender.send((number, guard)).unwrap();
        });
        eventually("it waits", || async {
            clients[0].lock("queue").get().await.unwrap().waiter_count as usize == number + 1
        })
        .await;
    }
    let mut last_token = first.token();
    first.release().await.unwrap();
    for number in 0..WAITERS {
        let (who, guard): (usize, Guard) =
            tokio::time::timeout(PATIENCE, granted.recv()).await.unwrap().expect("a waiter is left");
        assert_eq!(who, number);
        assert!(guard.token() > last_token, "tokens follow the order of grants");
        assert!(granted.try_recv().is_err(), "two hold at once");
        last_token = guard.token();
        guard.release().await.unwrap();
    }
}

/// The bound is the promise's own.
#[tokio::test]
async fn a_release_on_one_server_grants_on_the_other_within_five_milliseconds() {
    let redis = RedisServer::start().await;
    let servers = two_servers(&redis).await;
    let clients = clients(&servers).await;
    let mut holding = clients[0].lock("baton").acquire().await.unwrap();
    let mut times = Vec::new();
    for turn in 1..=HAND_OVERS {
        let next = clients[turn % 2].lock("baton");
        let waiter = tokio::spawn(async move {
            let guard = next.acquire().await.unwrap();
            (now(), guard)
        });
        eventually("it waits", || async { clients[0].lock("baton").get().await.unwrap().waiter_count == 1 }).await;
        let released = now();
        holding.release().await.unwrap();
        let (granted, guard) = waiter.await.unwrap();
        times.push(granted.since(released));
        holding = guard;
    }
    times.sort();
    let median = times[HAND_OVERS / 2];
    assert!(median < Duration::from_millis(5), "the median hand-over took {median:?}");
}
