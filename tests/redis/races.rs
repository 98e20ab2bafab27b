//! What happens between two servers, or between a server and Redis, in an order that is seldom and possible.

use std::time::Duration;

use futures::future::join_all;
use lockstead_clock::time;
use lockstead_core::{Acquire, Acquired, Get, Release, Releaser, ResumeSession};
use lockstead_engine::{PARTITIONS, RedisSettings};
use lockstead_tests::engines::{
    SERVER_LEASE, promised, servers_on, servers_on_shared, settings, settings_at, start, start_unready, until_ready,
};
use lockstead_tests::fixture::{EXCLUSIVE, LONG, hold_id, permits, session_id};
use lockstead_tests::{Proxy, RedisServer, eventually};

use crate::cut::servers_of_which_one_can_be_cut;

/// Long enough for what is on its way, where nothing tells that it has arrived.
async fn a_moment() {
    tokio::time::sleep(SERVER_LEASE / 10).await;
}

/// Its server died while it waited, the lock came free, and then its client resumed elsewhere.
#[tokio::test]
async fn a_waiter_whose_turn_came_while_its_server_was_dead_is_served_where_it_is_resumed() {
    let [a, b, c] = servers_on_shared().await;
    let (session, other, next) = (session_id(), session_id(), session_id());
    let held = c.granted(c.ask(other, 1, "x", EXCLUSIVE)).await;
    let ask = a.ask(session, 1, "x", EXCLUSIVE);
    a.queued(ask.clone()).await;
    drop(a);
    a_moment().await;
    c.release(held.hold, other).await;
    assert_eq!(c.counts(c.lock("x")).await, (0, 1));
    assert!(b.resume(session, &[], &[1]).await.is_empty());
    let again = b.engine.acquire(Acquire { hold: hold_id(), ..ask }).await;
    c.queued(c.ask(next, 1, "x", EXCLUSIVE)).await;
    assert!(again.is_ok(), "{again:?}");
    eventually("the turn of the first", async || c.counts(c.lock("x")).await == (1, 1)).await;
}

/// The same with a lease's request that is repeated on another server.
#[tokio::test]
async fn a_request_whose_turn_came_while_its_server_was_dead_is_served_where_it_is_repeated() {
    let [a, b, c] = servers_on_shared().await;
    let (other, next) = (session_id(), session_id());
    let held = c.granted(c.ask(other, 1, "x", EXCLUSIVE)).await;
    let ask = a.ask_once("r", "x", EXCLUSIVE);
    a.queued(ask.clone()).await;
    drop(a);
    a_moment().await;
    c.release(held.hold, other).await;
    assert_eq!(c.counts(c.lock("x")).await, (0, 1));
    let again = b.engine.acquire(Acquire { hold: hold_id(), ..ask }).await;
    c.queued(c.ask(next, 1, "x", EXCLUSIVE)).await;
    assert!(again.is_ok(), "{again:?}");
    eventually("the turn of the first", async || c.counts(c.lock("x")).await == (1, 1)).await;
}

/// Whoever believed before the move believes no longer than the new server's life in Redis.
#[tokio::test]
async fn what_moved_to_a_server_that_dies_outlives_what_its_client_believes() {
    let redis = RedisServer::start().await;
    let of_a = settings(&redis);
    let name_of_a = format!("s{:016x}", of_a.server);
    let a = start(of_a).await;
    let c = start(settings(&redis)).await;
    let c = a.beside(c.engine, c.events);
    for round in 0..4 {
        let of_b = settings(&redis);
        let name_of_b = format!("s{:016x}", of_b.server);
        let b = start(of_b).await;
        let b = a.beside(b.engine, b.events);
        let name = format!("{round}");
        let hash = a
            .name(&name)
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let due = format!("lockstead:{{{}}}:due", hash % u64::from(PARTITIONS));
        let expiry = async |server: &str| -> f64 {
            let score: String = redis::from_redis_value(redis.command(&["ZSCORE", &due, server]).await).unwrap();
            score.parse().unwrap()
        };
        // The new server's last heartbeat is older than the old one's, by more than the tenth that servers keep back.
        let begun = time();
        let differs = loop {
            if expiry(&name_of_a).await - expiry(&name_of_b).await > 270.0 {
                break true;
            }
            if time().since(begun) > SERVER_LEASE {
                break false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        if !differs {
            tokio::time::sleep(Duration::from_millis(130)).await;
            continue;
        }
        let (session, next) = (session_id(), session_id());
        let hold = a.granted(a.ask(session, 1, &name, EXCLUSIVE)).await.hold;
        c.queued(c.ask(next, 1, &name, EXCLUSIVE)).await;
        let believed = promised(&*a.engine);
        let resume = ResumeSession { session, attempt: 1, holds: vec![(hold, 1)], pending: vec![] };
        // Its client hears nothing of it.
        let answer = b.engine.resume_session(resume).await;
        drop(b);
        c.events.granted(next, 1).await;
        let early = believed.since(time());
        eprintln!("round {round}: {answer:?}, {early:?} too early");
        assert!(early.is_zero(), "round {round}: granted {early:?} before the end of what the client believes");
        c.end(next).await;
    }
}

/// A lease renewed elsewhere while its old server was cut off, and released: gone for good.
#[tokio::test]
async fn a_lease_that_was_renewed_elsewhere_is_not_the_old_servers_after_a_cut() {
    let (redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let lease = a.granted(a.ask_lease("x", EXCLUSIVE, LONG)).await;
    proxy.cut();
    proxy.reset();
    a_moment().await;
    b.renew(lease.hold, b.lock("x"), LONG).await.unwrap();
    proxy.restore();
    until_ready(&a).await;
    a.counts(a.lock("x")).await;
    b.release_as_bearer(lease.hold, b.lock("x")).await.unwrap();
    a.counts(a.lock("x")).await;
    let census = a.engine.census();
    redis.command(&["FLUSHALL"]).await;
    a_moment().await;
    let session = session_id();
    let asked = b.engine.acquire(b.ask(session, 1, "x", EXCLUSIVE)).await;
    tokio::time::sleep(SERVER_LEASE * 3).await;
    let view = b.get(b.lock("x")).await;
    assert!(
        b.events.grants_to(session) == [1],
        "{asked:?}; a ghost holds it: {view:?}; the old server's table: {census:?}"
    );
}

/// A request that waits is repeated elsewhere while its server was cut off.
#[tokio::test]
async fn a_request_that_was_repeated_elsewhere_does_not_wait_twice_after_a_cut() {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let session = session_id();
    b.granted(b.ask(session, 1, "x", EXCLUSIVE)).await;
    let ask = a.ask_once("r", "x", EXCLUSIVE);
    a.queued(ask.clone()).await;
    proxy.cut();
    proxy.reset();
    a_moment().await;
    b.queued(Acquire { hold: hold_id(), ..ask.clone() }).await;
    proxy.restore();
    until_ready(&a).await;
    a.counts(a.lock("x")).await;
    assert_eq!(b.counts(b.lock("x")).await, (1, 1), "one request, two places; {:?}", a.events.so_far());
}

/// The limit of a semaphore had changed in the writes that were lost.
#[tokio::test]
async fn a_queue_is_not_stuck_for_a_limit_that_nobody_has_any_more() {
    let (mut redis, [a, b]) = servers_on(RedisServer::start().await).await;
    let (on_a, on_b) = (session_id(), session_id());
    let first = a.granted(a.ask(on_a, 1, "s", permits(2, 2))).await;
    redis.command(&["SAVE"]).await;
    a.release(first.hold, on_a).await;
    let second = b.granted(b.ask(on_b, 2, "s", permits(5, 5))).await;
    b.queued(b.ask(on_b, 3, "s", permits(5, 5))).await;
    redis.kill();
    let (released, ()) =
        tokio::join!(b.engine.release(Release { hold: second.hold, by: Releaser::Session(on_b) }), async {
            redis.restart().await;
        });
    eprintln!("{released:?}");
    until_ready(&a).await;
    until_ready(&b).await;
    tokio::time::sleep(SERVER_LEASE).await;
    let view = b.get(b.semaphore("s")).await;
    assert_eq!(b.events.grants_to(on_b), [3], "{view:?}");
}

/// The old server, which has not heard of the move, says again what the new one has given back.
#[tokio::test]
async fn what_moved_and_was_released_is_not_put_back_by_the_server_it_left() {
    let (redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let (session, next) = (session_id(), session_id());
    // Of one name, so of one partition.
    let lock = a.granted(a.ask(session, 1, "x", EXCLUSIVE)).await.hold;
    let permit = a.granted(a.ask(session, 2, "x", permits(1, 1))).await.hold;
    proxy.cut();
    proxy.reset();
    assert!(b.resume(session, &[(lock, 1), (permit, 1)], &[]).await.is_empty());
    b.release(lock, session).await;
    redis.command(&["FLUSHALL"]).await;
    eventually("the window", async || b.counts(b.semaphore("x")).await == (1, 0)).await;
    proxy.restore();
    until_ready(&a).await;
    until_ready(&b).await;
    let asked = b.engine.acquire(b.ask(next, 1, "x", EXCLUSIVE)).await;
    tokio::time::sleep(SERVER_LEASE * 2).await;
    let view = b.get(b.lock("x")).await;
    assert!(
        matches!(asked, Ok(Acquired::Granted(_))),
        "{asked:?} {view:?} a {:?} b {:?}",
        a.engine.census(),
        b.engine.census()
    );
}

/// A server that begins just as the data was lost does not make the secrets of all others worthless.
#[tokio::test]
async fn the_shared_key_outlives_the_loss_of_the_data() {
    let (redis, proxy, a, []) = servers_of_which_one_can_be_cut().await;
    let before = a.engine.shared_key();
    proxy.cut();
    redis.command(&["FLUSHALL"]).await;
    let new = start_unready(settings(&redis));
    eventually("the key", async || new.engine.shared_key().is_some()).await;
    proxy.restore();
    until_ready(&a).await;
    until_ready(&new).await;
    assert!(a.engine.shared_key() == before, "sessions that are open can't be resumed elsewhere any more");
}

/// A release that could not be carried out before the session moved.
#[tokio::test]
async fn a_late_release_of_the_old_server_is_not_unheard_of_by_the_new_one() {
    let (_redis, proxy, a, [b, c]) = servers_of_which_one_can_be_cut().await;
    let (session, next) = (session_id(), session_id());
    let hold = a.granted(a.ask(session, 1, "x", EXCLUSIVE)).await.hold;
    proxy.cut();
    proxy.reset();
    let release = a.engine.release(Release { hold, by: Releaser::Session(session) });
    c.queued(c.ask(next, 1, "x", EXCLUSIVE)).await;
    let lost = b.resume(session, &[(hold, 1)], &[]).await;
    assert!(lost.is_empty());
    proxy.restore();
    _ = release.await;
    a_moment().await;
    a_moment().await;
    let granted = c.events.grants_to(next);
    assert!(granted.is_empty() || !b.events.ends().is_empty(), "two hold: {granted:?}, {:?}", b.events.so_far());
}

/// The new server's way to Redis is longer than the old one's, and one of its partitions is busy just then: the old
/// server hands the session over there before the new one asks for it.
#[tokio::test]
async fn what_is_handed_over_before_it_is_asked_for_comes_along_too() {
    let (_redis, proxy, b, [a]) = servers_of_which_one_can_be_cut().await;
    let (session, other) = (session_id(), session_id());
    let names: Vec<String> = (0..8).map(|at| format!("{at}")).collect();
    let mut claims = Vec::new();
    for (request, name) in (0..).zip(&names) {
        claims.push((a.granted(a.ask(session, request, name, EXCLUSIVE)).await.hold, 1));
    }
    // It waits for this one, whose partition will be busy.
    let held = a.granted(a.ask(other, 1, "awaited", EXCLUSIVE)).await;
    a.queued(a.ask(session, 100, "awaited", EXCLUSIVE)).await;
    proxy.delay(Duration::from_millis(40));
    let busy = join_all([b.lock(&names[0]), b.lock("awaited")].map(|key| b.engine.get(Get(key))));
    let resume = ResumeSession { session, attempt: 1, holds: claims.clone(), pending: vec![100] };
    let (_, answer) = tokio::join!(busy, async {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        b.engine.resume_session(resume).await
    });
    proxy.restore();
    let again = b.engine.acquire(Acquire { hold: hold_id(), ..b.ask(session, 100, "awaited", EXCLUSIVE) }).await;
    a.release(held.hold, other).await;
    tokio::time::sleep(SERVER_LEASE).await;
    let (first, awaited) = (b.counts(b.lock(&names[0])).await, b.counts(b.lock("awaited")).await);
    assert_eq!(
        (answer, first, awaited),
        (Ok(vec![]), (1, 0), (1, 0)),
        "the repeat was answered {again:?}, b heard {:?}; the table has {:?}, Redis {} resources",
        b.events.so_far(),
        b.engine.census(),
        b.all().await.len()
    );
    let held = |known: &lockstead_core::Event| matches!(known, lockstead_core::Event::Granted { .. });
    assert!(matches!(again, Ok(Acquired::Granted(_))) || b.events.so_far().iter().any(held));
}

/// It comes back to a server that has not heard that it had gone, and is handed over before it is asked for: what it has
/// released meanwhile is somebody else's.
#[tokio::test]
async fn what_was_released_elsewhere_is_not_confirmed_by_a_server_that_has_not_heard_of_the_move() {
    let (_redis, proxy, a, [b, c]) = servers_of_which_one_can_be_cut().await;
    let (session, next) = (session_id(), session_id());
    let given_up = a.granted(a.ask(session, 1, "given up", EXCLUSIVE)).await.hold;
    // Some more, in other partitions.
    let mut claims = vec![(given_up, 1)];
    for request in 2..10 {
        claims.push((a.granted(a.ask(session, request, &format!("{request}"), EXCLUSIVE)).await.hold, 1));
    }
    proxy.cut_answers();
    assert!(b.resume_as(1, session, &claims, &[]).await.is_empty());
    assert_eq!(b.release(given_up, session).await, 0);
    c.granted(c.ask(next, 1, "given up", EXCLUSIVE)).await;
    // One of its partitions waits for an answer.
    let busy = a.engine.get(Get(a.lock("given up")));
    let resume = ResumeSession { session, attempt: 2, holds: claims, pending: vec![] };
    let (_, answer, ()) = tokio::join!(
        busy,
        async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            a.engine.resume_session(resume).await
        },
        async {
            // If all its partitions happen to wait for an answer, nothing is asked before that.
            _ = tokio::time::timeout(SERVER_LEASE / 20, b.events.moved(session)).await;
            tokio::time::sleep(Duration::from_millis(40)).await;
            proxy.restore();
        }
    );
    assert_eq!(answer, Ok(vec![given_up]), "two believe that they hold it");
}

/// What a server has is read in parts, of which each is soon done.
#[tokio::test]
async fn a_session_that_has_much_in_one_partition_survives_a_break() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::before(redis.address()).await;
    let url = format!("redis://{}", proxy.address());
    let a = start(RedisSettings { partitions: 1, ..settings_at(&url) }).await;
    let session = session_id();
    for block in 0..4 {
        let asks = (0..600).map(|at| a.granted(a.ask(session, block * 1000 + at, &format!("{block}/{at}"), EXCLUSIVE)));
        join_all(asks).await;
    }
    let last = a.granted(a.ask(session, 9999, "last", EXCLUSIVE)).await;
    proxy.reset();
    // What it can't say again in time ends by then.
    tokio::time::sleep(SERVER_LEASE * 2).await;
    until_ready(&a).await;
    assert_eq!(a.events.ends(), []);
    assert_eq!(a.get(a.lock("last")).await.holders[0].token, last.token);
    assert_eq!(a.end(session).await, 4 * 600 + 1);
}
