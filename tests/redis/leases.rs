//! Leases hang on no server: any of them can renew and end them, and only their deadline counts.

use crate::cut::servers_of_which_one_can_be_cut;
use lockstead_core::{Acquire, Acquired, Cancelled, EndReason, Event, IfGranted, Refusal};
use lockstead_engine::PARTITIONS;
use lockstead_tests::engines::{SERVER_LEASE, servers, servers_on_shared};
use lockstead_tests::eventually;
use lockstead_tests::fixture::{EXCLUSIVE, LONG, SHARED, SHORT, hold_id, refusal, session_id};

#[tokio::test]
async fn any_server_can_renew_and_release() {
    let [a, b, c] = servers_on_shared().await;
    let session = session_id();
    let lease = a.granted(a.ask_lease("x", EXCLUSIVE, LONG)).await;
    c.queued(c.ask(session, 1, "x", EXCLUSIVE)).await;
    assert_eq!(refusal(b.renew(lease.hold, b.lock("y"), LONG).await), Refusal::HoldNotFound);
    let renewed = b.renew(lease.hold, b.lock("x"), LONG / 2).await.unwrap();
    assert_eq!((renewed.hold, renewed.token, renewed.claim), (lease.hold, lease.token, lease.claim));
    assert_eq!(renewed.acquired_at, lease.acquired_at);
    assert_eq!(renewed.lease.map(|lease| lease.ttl), Some(LONG / 2));
    assert_eq!(c.release_as_bearer(lease.hold, c.lock("x")).await, Ok(0));
    c.events.granted(session, 1).await;
    let over = Refusal::NotHolder { ended: Some(EndReason::Released) };
    for server in [&a, &b, &c] {
        assert_eq!(refusal(server.release_as_bearer(lease.hold, a.lock("x")).await), over);
        assert_eq!(refusal(server.renew(lease.hold, a.lock("x"), LONG).await), over);
        assert!(server.events.ends().is_empty(), "its holder ended it");
    }
}

/// Both go out in one call, which writes once.
#[tokio::test]
async fn of_two_renewals_at_once_each_hears_its_own() {
    let [a] = servers_on_shared().await;
    let lease = a.granted(a.ask_lease("x", EXCLUSIVE, LONG)).await;
    let renewals = [LONG, LONG / 2].map(|ttl| a.renew(lease.hold, a.lock("x"), ttl));
    let renewed = futures::future::join_all(renewals).await;
    let ttls = renewed.into_iter().map(|grant| grant.unwrap().lease.unwrap().ttl);
    assert_eq!(ttls.collect::<Vec<_>>(), [LONG, LONG / 2]);
}

#[tokio::test]
async fn of_two_deadlines_the_renewed_one_counts_wherever_it_was_renewed() {
    let [a, b, c] = servers_on_shared().await;
    let (longer, shorter) = (session_id(), session_id());
    let kept = a.granted(a.ask_lease("kept", EXCLUSIVE, SHORT * 5)).await;
    let cut = a.granted(a.ask_lease("cut", EXCLUSIVE, LONG)).await;
    c.queued(c.ask(longer, 1, "kept", EXCLUSIVE)).await;
    c.queued(c.ask(shorter, 1, "cut", EXCLUSIVE)).await;
    b.renew(kept.hold, b.lock("kept"), LONG).await.unwrap();
    let before = lockstead_clock::time();
    b.renew(cut.hold, b.lock("cut"), SHORT * 10).await.unwrap();
    c.events.granted(shorter, 1).await;
    assert!(lockstead_clock::time().since(before) >= SHORT * 10, "too early");
    assert_eq!(b.events.ended(cut.hold).await, (None, b.lock("cut"), EndReason::Expired));
    assert_eq!(c.counts(c.lock("kept")).await, (1, 1));
    assert!(a.events.ends().is_empty(), "it is the other server's since the renewal");
}

/// Whoever asks first at or after the deadline is granted, and nobody before.
#[tokio::test]
async fn a_deadline_is_kept_to_the_millisecond() {
    let [a, b] = servers_on_shared().await;
    for round in 0..10 {
        let name = format!("{round}");
        let before = lockstead_clock::time();
        a.granted(a.ask_lease(&name, EXCLUSIVE, SHORT)).await;
        let after = lockstead_clock::time();
        let session = session_id();
        loop {
            let asked = lockstead_clock::time();
            match b.engine.acquire(Acquire { queue: false, ..b.ask(session, 1, &name, SHARED) }).await.unwrap() {
                Acquired::Granted(_) => break,
                Acquired::Held { .. } => assert!(asked.since(after) < SHORT * 2, "too late"),
                Acquired::Queued { .. } => panic!("it may not queue"),
            }
        }
        assert!(lockstead_clock::time().since(before) >= SHORT, "too early");
    }
}

#[tokio::test]
async fn a_lease_outlives_its_server_and_ends_at_its_deadline() {
    let [a, b, c] = servers_on_shared().await;
    let (dead, session) = (session_id(), session_id());
    let before = lockstead_clock::time();
    let lease = a.granted(a.ask_lease("x", EXCLUSIVE, SERVER_LEASE * 2)).await;
    a.granted(a.ask(dead, 1, "of its session", EXCLUSIVE)).await;
    b.queued(b.ask(session, 2, "of its session", EXCLUSIVE)).await;
    b.queued(b.ask(session, 3, "x", EXCLUSIVE)).await;
    drop(a);
    b.events.granted(session, 2).await;
    assert_eq!(c.counts(c.lock("x")).await, (1, 1), "the server is swept, its leases are not");
    let next = b.events.granted(session, 3).await;
    assert!(lockstead_clock::time().since(before) >= SERVER_LEASE * 2, "too early");
    assert!(lease.token < next.token);
}

#[tokio::test]
async fn a_lease_of_a_dead_server_can_be_renewed_and_asked_for_again() {
    let [a, b] = servers_on_shared().await;
    let ask = a.ask_once("r", "x", EXCLUSIVE);
    let lease = a.granted(ask.clone()).await;
    drop(a);
    let again = b.granted(Acquire { hold: hold_id(), ..ask }).await;
    assert_eq!((again.hold, again.token), (lease.hold, lease.token));
    assert_eq!(b.renew(lease.hold, b.lock("x"), LONG).await.unwrap().token, lease.token);
    assert_eq!(b.release_as_bearer(lease.hold, b.lock("x")).await, Ok(0));
}

#[tokio::test]
async fn a_repeated_request_gives_the_same_hold_on_any_server() {
    let [a, b, c] = servers_on_shared().await;
    let ask = a.ask_once("r", "x", SHARED);
    let lease = a.granted(ask.clone()).await;
    for server in [&b, &c, &a] {
        let again = server.granted(Acquire { hold: hold_id(), ..ask.clone() }).await;
        assert_eq!((again.hold, again.token, again.acquired_at), (lease.hold, lease.token, lease.acquired_at));
        assert_eq!(again.lease.map(|lease| lease.ttl), Some(LONG));
        let something_else = Acquire { claim: EXCLUSIVE, hold: hold_id(), ..ask.clone() };
        assert_eq!(server.refused(something_else).await, Refusal::RequestIdReused);
    }
    assert_eq!(c.counts(c.lock("x")).await, (1, 0));
    c.release_as_bearer(lease.hold, c.lock("x")).await.unwrap();
    for server in [&b, &c, &a] {
        let again = Acquire { hold: hold_id(), ..ask.clone() };
        assert_eq!(server.refused(again).await, Refusal::NotHolder { ended: Some(EndReason::Released) });
        assert_eq!(server.refused(server.ask_once("r", "x", EXCLUSIVE)).await, Refusal::RequestIdReused);
    }
    assert!(a.all().await.is_empty());
}

/// The caller on the first server goes away as late as that.
#[tokio::test]
async fn what_was_granted_again_elsewhere_can_not_be_given_back_where_it_was_granted_first() {
    let [a, b] = servers_on_shared().await;
    let ask = a.ask_once("r", "x", EXCLUSIVE);
    let lease = a.granted(ask.clone()).await;
    let again = b.granted(Acquire { hold: hold_id(), ..ask.clone() }).await;
    assert_eq!((again.hold, again.token), (lease.hold, lease.token));
    assert_eq!(a.cancel_lease(lease.hold, IfGranted::GiveBack).await, Cancelled::Unknown);
    assert_eq!(b.counts(b.lock("x")).await, (1, 0), "its caller has it");
    assert_eq!(b.cancel_lease(lease.hold, IfGranted::GiveBack).await, Cancelled::GivenBack);
}

/// Its deadline counts from the grant, not from when its server hears of it.
#[tokio::test]
async fn a_lease_whose_grant_is_heard_late_is_not_longer_for_that() {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let session = session_id();
    let held = b.granted(b.ask(session, 1, "x", EXCLUSIVE)).await;
    let ask = a.ask_lease("x", EXCLUSIVE, LONG);
    a.queued(ask.clone()).await;
    proxy.cut();
    assert_eq!(b.release(held.hold, session).await, 0);
    tokio::time::sleep(SERVER_LEASE / 4).await;
    proxy.restore();
    let grant = a.events.lease_granted(ask.hold).await;
    let expires_at = grant.lease.unwrap().expires_at;
    assert!(expires_at <= grant.acquired_at.saturating_add(LONG), "{grant:?}");
}

#[tokio::test]
async fn a_request_that_waits_takes_its_place_along_to_the_server_that_repeats_it() {
    let [a, b, c] = servers_on_shared().await;
    let (first, last) = (session_id(), session_id());
    let held = c.granted(c.ask(first, 1, "x", EXCLUSIVE)).await;
    let ask = a.ask_once("r", "x", EXCLUSIVE);
    a.queued(ask.clone()).await;
    c.queued(c.ask(last, 1, "x", EXCLUSIVE)).await;
    let again = Acquire { hold: hold_id(), ..ask.clone() };
    let (waiter, position) = b.queued(again).await;
    assert_eq!(position, 1);
    assert_eq!(a.counts(a.lock("x")).await, (1, 2));
    c.release(held.hold, first).await;
    let lease = b.events.lease_granted(waiter).await;
    assert_eq!(a.counts(a.lock("x")).await, (1, 1));
    let on_a = a.granted(Acquire { hold: hold_id(), ..ask.clone() }).await;
    assert_eq!((on_a.hold, on_a.token), (lease.hold, lease.token));
    b.release_as_bearer(lease.hold, b.lock("x")).await.unwrap();
    c.events.granted(last, 1).await;
    assert_eq!(a.events.so_far(), [Event::Withdrawn { hold: ask.hold }], "its place went over");
}

/// As the memory engine has it: a try that repeats a request which waits hears who holds, and the request waits on.
#[tokio::test]
async fn a_try_does_not_take_the_place_of_a_request_that_waits_elsewhere() {
    let [a, b] = servers_on_shared().await;
    let first = session_id();
    let held = b.granted(b.ask(first, 1, "x", EXCLUSIVE)).await;
    let ask = a.ask_once("r", "x", EXCLUSIVE);
    a.queued(ask.clone()).await;
    let holders = b.held(Acquire { hold: hold_id(), ..ask.clone() }).await;
    assert_eq!(holders[0].token, held.token);
    b.release(held.hold, first).await;
    a.events.lease_granted(ask.hold).await;
}

#[tokio::test]
async fn a_lease_that_waits_leaves_with_its_server() {
    let (redis, [a, b]) = servers().await;
    let (first, last) = (session_id(), session_id());
    let held = b.granted(b.ask(first, 1, "x", EXCLUSIVE)).await;
    let ask = a.ask_once("r", "x", EXCLUSIVE);
    a.queued(ask.clone()).await;
    b.queued(b.ask(last, 1, "x", EXCLUSIVE)).await;
    drop(a);
    // What Redis has yet to hear of could still be granted something.
    let inboxes = async || redis.command(&["PUBSUB", "SHARDCHANNELS"]).await.into_sequence().unwrap().len();
    eventually("a server whose end Redis knows", async || inboxes().await == usize::from(PARTITIONS)).await;
    b.release(held.hold, first).await;
    let grant = b.events.granted(last, 1).await;
    eventually("a sweep of the dead server", async || b.counts(b.lock("x")).await == (1, 0)).await;
    b.release(grant.hold, last).await;
    b.granted(Acquire { hold: hold_id(), ..ask }).await;
}
