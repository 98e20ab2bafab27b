//! A server is gone without a goodbye.

use std::time::Duration;

use lockstead_clock::time;
use lockstead_tests::engines::{SERVER_LEASE, promised, servers, servers_on_shared};
use lockstead_tests::eventually;
use lockstead_tests::fixture::{EXCLUSIVE, SHARED, permits, session_id};

#[tokio::test]
async fn what_its_sessions_held_is_free_when_its_lease_is_over_and_not_before() {
    let [a, b, c] = servers_on_shared().await;
    let (dead, other, sharing) = (session_id(), session_id(), session_id());
    let alone = a.granted(a.ask(dead, 1, "alone", EXCLUSIVE)).await;
    a.granted(a.ask(dead, 2, "shared", SHARED)).await;
    b.granted(b.ask(sharing, 2, "shared", SHARED)).await;
    let some = a.granted(a.ask(dead, 3, "permits", permits(2, 3))).await;
    for (request, name, claim) in [(11, "alone", EXCLUSIVE), (12, "shared", EXCLUSIVE), (13, "permits", permits(3, 3))]
    {
        c.queued(c.ask(other, request, name, claim)).await;
    }
    let believed = promised(&*a.engine);
    drop(a);
    let died = time();
    for (request, held) in [(11, alone), (13, some)] {
        let grant = c.events.granted(other, request).await;
        assert!(time() > believed, "too early: its clients may believe that they hold");
        assert!(time().since(died) < SERVER_LEASE + Duration::from_secs(1), "too late");
        assert!(held.token < grant.token);
    }
    assert_eq!(b.counts(b.lock("shared")).await, (1, 1), "the other one still holds");
}

#[tokio::test]
async fn its_waiters_hold_nobody_up() {
    let (redis, [a, b]) = servers().await;
    let (dead, first, next) = (session_id(), session_id(), session_id());
    let held = b.granted(b.ask(first, 1, "x", EXCLUSIVE)).await;
    a.queued(a.ask(dead, 1, "x", EXCLUSIVE)).await;
    a.queued(a.ask_lease("x", EXCLUSIVE, SERVER_LEASE)).await;
    b.queued(b.ask(next, 1, "x", SHARED)).await;
    a.queued(a.ask(dead, 2, "x", EXCLUSIVE)).await;
    b.queued(b.ask(next, 2, "x", SHARED)).await;
    let inboxes = async || redis.command(&["PUBSUB", "SHARDCHANNELS"]).await.into_sequence().unwrap().len();
    let of_both = inboxes().await;
    drop(a);
    eventually("the break", async || inboxes().await == of_both / 2).await;
    // At once: nobody hears the grants to the dead server.
    let released = time();
    b.release(held.hold, first).await;
    b.events.granted(next, 1).await;
    assert!(time().since(released) < SERVER_LEASE / 2, "it waited for the sweep");
    b.events.granted(next, 2).await;
    eventually("a sweep", async || b.counts(b.lock("x")).await == (2, 0)).await;
}

/// A server that starts anew is another one, whatever it was called: it neither has nor disturbs what the dead one had.
#[tokio::test]
async fn a_new_server_in_its_place_begins_with_nothing() {
    let [a, b] = servers_on_shared().await;
    let session = session_id();
    let grant = a.granted(a.ask(session, 1, "x", EXCLUSIVE)).await;
    drop(a);
    let [new] = servers_on_shared().await;
    let new = b.beside(new.engine, new.events);
    assert_eq!(new.get(new.lock("x")).await.holders[0].token, grant.token);
    assert_eq!(new.end(session).await, 0);
    assert!(new.resume(session, &[(grant.hold, 1)], &[]).await.is_empty(), "unless its client asks for it");
    assert_eq!(new.end(session).await, 1);
    b.granted(b.ask(session_id(), 1, "x", EXCLUSIVE)).await;
}
