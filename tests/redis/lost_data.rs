//! Redis comes back without all or some of its data, or under another epoch with all of it: whose server lives keeps what
//! it holds.

use lockstead_clock::{sleep_until, time};
use lockstead_core::{Acquire, Acquired, Census, Grant, IfGranted, ResourceView, SessionId, Time};
use lockstead_engine::{EngineError, PARTITIONS, Readiness};
use lockstead_tests::engines::{SERVER_LEASE, servers_on, until_nothing_is_left, until_ready};
use lockstead_tests::fixture::{EXCLUSIVE, Fixture, LONG, SHARED, permits, session_id};
use lockstead_tests::{RedisServer, eventually};

use crate::cut::servers_of_which_one_can_be_cut;

#[tokio::test]
async fn flushed() {
    let redis = RedisServer::start().await;
    loses_nothing(redis, async |redis| drop(redis.command(&["FLUSHALL"]).await)).await;
}

#[tokio::test]
async fn killed_and_restarted_empty() {
    loses_nothing(RedisServer::start().await, RedisServer::restart).await;
}

#[tokio::test]
async fn killed_and_restarted_with_its_data() {
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    loses_nothing(RedisServer::start_with(&durable).await, RedisServer::restart).await;
}

/// One disaster after the other, each in the window of the one before.
#[tokio::test]
async fn flushed_again_and_again() {
    loses_nothing(RedisServer::start().await, async |redis| {
        for _ in 0..10 {
            redis.command(&["FLUSHALL"]).await;
            tokio::time::sleep(SERVER_LEASE / 20).await;
        }
    })
    .await;
}

/// Somebody deletes a key.
#[tokio::test]
async fn a_key_is_gone() {
    loses_nothing(RedisServer::start().await, async |redis| {
        for partition in 0..PARTITIONS {
            redis.command(&["DEL", &format!("lockstead:{{{partition}}}:meta")]).await;
        }
    })
    .await;
}

/// The next primary's clock may be behind, and what it takes over may not show how far tokens had come.
#[tokio::test]
async fn its_clock_shows_an_earlier_time() {
    let (redis, [a, b]) = servers_on(RedisServer::start().await).await;
    // As if the clock had been ahead by an hour until now.
    let ahead = (lockstead_clock::wall_time().as_micros() + 3_600_000_000).to_string();
    for partition in 0..PARTITIONS {
        let meta = format!("lockstead:{{{partition}}}:meta");
        redis.command(&["HSET", &meta, "token", &ahead, "ticket", &ahead]).await;
    }
    let (on_a, on_b) = (session_id(), session_id());
    let before = a.granted(a.ask(on_a, 1, "clock", EXCLUSIVE)).await;
    a.release(before.hold, on_a).await;
    redis.command(&["FLUSHALL"]).await;
    b.queued(b.ask(on_b, 2, "clock", EXCLUSIVE)).await;
    let after = b.events.granted(on_b, 2).await;
    assert!(before.token < after.token, "{before:?} then {after:?}");
}

/// What there is before the disaster.
struct Before {
    on_a: SessionId,
    on_b: SessionId,
    /// By name.
    holds: Vec<(&'static str, Grant)>,
    /// A lease that ends in the middle of the window, and one that ends after it.
    short: (Time, Grant),
    middle: (Time, Grant),
}

impl Before {
    async fn begin(a: &Fixture, b: &Fixture) -> Self {
        let (on_a, on_b) = (session_id(), session_id());
        let alone = a.granted(a.ask_as("k", on_a, 1, "alone", EXCLUSIVE)).await;
        a.granted(a.ask_as("k", on_a, 2, "alone", EXCLUSIVE)).await;
        let shared = a.granted(a.ask(on_a, 3, "shared", SHARED)).await;
        b.granted(b.ask(on_b, 3, "shared", SHARED)).await;
        let permits = b.granted(b.ask(on_b, 4, "permits", permits(2, 3))).await;
        let lease = a.granted(a.ask_once("held", "lease", EXCLUSIVE)).await;
        let renewed = a.granted(a.ask_lease("renewed", EXCLUSIVE, SERVER_LEASE)).await;
        b.renew(renewed.hold, b.lock("renewed"), LONG).await.unwrap();
        // In this order they wait.
        b.queued(b.ask(on_b, 11, "alone", EXCLUSIVE)).await;
        a.queued(a.ask_once("waits", "alone", EXCLUSIVE)).await;
        a.queued(a.ask(on_a, 12, "alone", SHARED)).await;
        b.queued(b.ask(on_b, 13, "alone", SHARED)).await;
        let mut leases = Vec::new();
        for (request, name, ttl) in [(21, "short", SERVER_LEASE / 2), (22, "middle", SERVER_LEASE * 3)] {
            let before = time();
            leases.push((before.saturating_add(ttl), a.granted(a.ask_lease(name, EXCLUSIVE, ttl)).await));
            b.queued(b.ask(on_b, request, name, EXCLUSIVE)).await;
        }
        let [short, middle] = leases.try_into().unwrap();
        let holds = vec![("alone", alone), ("shared", shared), ("lease", lease), ("renewed", renewed)];
        let holds = holds.into_iter().chain([("permits", permits)]).collect();
        Self { on_a, on_b, holds, short, middle }
    }

    /// All is as it was, and goes on as it would have.
    async fn assert_kept(self, a: &Fixture, b: &Fixture) {
        let Self { on_a, on_b, holds, .. } = self;
        for (name, grant) in &holds {
            let key = if *name == "permits" { a.semaphore(name) } else { a.lock(name) };
            let view = a.get(key).await;
            assert!(view.holders.iter().any(|holder| holder.token == grant.token), "{name}: {view:?}");
        }
        assert_eq!(a.counts(a.lock("alone")).await, (1, 4));
        assert_eq!(a.counts(a.lock("shared")).await, (2, 0));
        let (alone, lease, renewed) = (holds[0].1, holds[2].1, holds[3].1);
        assert_eq!(b.granted(b.ask_once("held", "lease", EXCLUSIVE)).await.token, lease.token);
        assert_eq!(a.renew(renewed.hold, a.lock("renewed"), LONG).await.unwrap().token, renewed.token);

        assert_eq!(a.release(alone.hold, on_a).await, 1, "its entries are counted");
        assert_eq!(a.release(alone.hold, on_a).await, 0);
        let first = b.events.granted(on_b, 11).await;
        assert_eq!(b.release(first.hold, on_b).await, 0);
        eventually("the grant of the lease", async || b.counts(b.lock("alone")).await == (1, 2)).await;
        let second = a.granted(a.ask_once("waits", "alone", EXCLUSIVE)).await;
        b.release_as_bearer(second.hold, b.lock("alone")).await.unwrap();
        let (third, fourth) = (a.events.granted(on_a, 12).await, b.events.granted(on_b, 13).await);
        let tokens = [alone, first, second, third, fourth].map(|grant| grant.token);
        assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");

        a.end(on_a).await;
        b.end(on_b).await;
        for (name, grant) in [("lease", lease), ("renewed", renewed)] {
            a.release_as_bearer(grant.hold, a.lock(name)).await.unwrap();
        }
        until_nothing_is_left(a).await;
        assert_eq!((a.engine.census(), b.engine.census()), (Census::default(), Census::default()));
    }
}

async fn loses_nothing(redis: RedisServer, disaster: impl AsyncFnOnce(&mut RedisServer)) {
    let (mut redis, [a, b]) = servers_on(redis).await;
    let before = Before::begin(&a, &b).await;
    let began = time();
    disaster(&mut redis).await;

    // In the window nobody gets anything, free or not.
    let (new, trying) = (session_id(), session_id());
    b.queued(b.ask(new, 1, "free", EXCLUSIVE)).await;
    for name in ["alone", "free", "free, too"] {
        let answer = a.engine.acquire(Acquire { queue: false, ..a.ask(trying, 2, name, SHARED) }).await;
        assert!(!matches!(answer, Ok(Acquired::Granted(_))), "{name} was granted in the window");
    }
    assert!(time().since(began) < SERVER_LEASE, "the machine is too slow for this test");
    let granted = b.events.granted(new, 1).await;
    assert!(time().since(began) >= SERVER_LEASE, "too early");
    assert!(before.holds.iter().all(|(_, grant)| grant.token < granted.token));
    b.release(granted.hold, new).await;
    until_ready(&a).await;
    until_ready(&b).await;
    a.granted(a.ask(trying, 3, "free, too", EXCLUSIVE)).await;
    a.end(trying).await;

    // A lease ends at its time, but not in the window.
    let next = b.events.granted(before.on_b, 21).await;
    assert!(time() >= before.short.0 && time().since(began) >= SERVER_LEASE, "too early");
    assert!(before.short.1.token < next.token);
    let next = b.events.granted(before.on_b, 22).await;
    assert!(time() >= before.middle.0, "too early");
    assert!(time().since(before.middle.0) < SERVER_LEASE, "too late");
    assert!(before.middle.1.token < next.token);
    let ends = [a.events.ends(), b.events.ends()].concat();
    let expired = |hold| hold == before.short.1.hold || hold == before.middle.1.hold;
    assert!(ends.iter().all(|(hold, _)| expired(*hold)), "a holder was told of an end: {ends:?}");
    before.assert_kept(&a, &b).await;
}

/// Redis lost its last writes, in which everything changed hands. Whichever server joins first: who holds now keeps it,
/// and nobody comes back who has let go.
#[tokio::test]
async fn without_its_last_writes() {
    let (mut redis, [a, b]) = servers_on(RedisServer::start().await).await;
    let (on_a, on_b, over_on_a, over_on_b) = (session_id(), session_id(), session_id(), session_id());
    let names: Vec<_> = (0..16).map(|at| format!("{at:02}")).collect();
    let mut changes = Vec::new();
    for (request, name) in (0..).zip(&names) {
        let ends = [(&a, on_a), (&b, on_b)];
        let [(from, old), (to, new)] = if request % 2 == 0 { ends } else { [ends[1], ends[0]] };
        let held = from.granted(from.ask(old, request, name, EXCLUSIVE)).await;
        to.queued(to.ask(new, request, name, EXCLUSIVE)).await;
        changes.push((from, old, held, to, new, request));
    }
    let released = a.granted(a.ask(on_a, 100, "released", EXCLUSIVE)).await;
    a.granted(a.ask(over_on_a, 100, "ended", EXCLUSIVE)).await;
    b.queued(b.ask(over_on_b, 101, &names[0], EXCLUSIVE)).await;
    b.queued(b.ask(on_b, 102, &names[1], EXCLUSIVE)).await;
    let limited = a.granted(a.ask(on_a, 103, "limit", permits(2, 2))).await;
    let first = a.granted(a.ask_lease("lease", EXCLUSIVE, LONG)).await;
    let renewed = a.granted(a.ask_lease("renewed", EXCLUSIVE, SERVER_LEASE * 2)).await;
    redis.command(&["SAVE"]).await;

    let mut kept = Vec::new();
    for (from, old, held, to, new, request) in changes {
        from.release(held.hold, old).await;
        kept.push(to.events.granted(new, request).await);
    }
    a.release(released.hold, on_a).await;
    a.end(over_on_a).await;
    b.end(over_on_b).await;
    b.cancel(on_b, 102, IfGranted::Keep).await;
    a.release(limited.hold, on_a).await;
    let limited = b.granted(b.ask(on_b, 104, "limit", permits(1, 5))).await;
    b.release_as_bearer(first.hold, b.lock("lease")).await.unwrap();
    let second = b.granted(b.ask_lease("lease", EXCLUSIVE, LONG)).await;
    b.renew(renewed.hold, b.lock("renewed"), LONG).await.unwrap();
    let fresh = a.granted(a.ask(on_a, 105, "fresh", EXCLUSIVE)).await;

    let began = time();
    redis.restart().await;
    let new = session_id();
    b.queued(b.ask(new, 1, "released", EXCLUSIVE)).await;
    let grant = b.events.granted(new, 1).await;
    assert!(time().since(began) >= SERVER_LEASE, "too early");
    assert!(fresh.token < grant.token && second.token < grant.token);
    b.end(new).await;
    sleep_until(began.saturating_add(SERVER_LEASE * 3)).await;

    assert_eq!((a.events.ends(), b.events.ends()), (vec![], vec![]), "nobody lost anything");
    let held: Vec<_> = names.iter().map(String::as_str).zip(kept).collect();
    let held = held.into_iter().chain([("fresh", fresh), ("lease", second), ("limit", limited), ("renewed", renewed)]);
    let expected: Vec<_> = held.map(|(name, grant)| (a.name(name), vec![grant.token], 0)).collect();
    let seen = |view: ResourceView| {
        let tokens: Vec<_> = view.holders.iter().map(|holder| holder.token).collect();
        (view.key.name, tokens, view.waiter_count)
    };
    let mut all: Vec<_> = a.all().await.into_iter().map(seen).collect();
    all.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    assert_eq!(all, expected);
}

/// Its own server has yet to say that it goes on.
#[tokio::test]
async fn a_lease_that_is_not_restored_yet_is_not_taken_for_lost() {
    let (redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let kept = a.granted(a.ask_lease("kept", EXCLUSIVE, LONG)).await;
    let released = a.granted(a.ask_lease("released", EXCLUSIVE, LONG)).await;
    proxy.cut();
    redis.command(&["FLUSHALL"]).await;
    eventually("the window", async || b.engine.readiness() != Readiness::Ready).await;
    let renewed = b.renew(kept.hold, b.lock("kept"), LONG).await;
    assert!(matches!(renewed, Err(EngineError::Unavailable(_))), "{renewed:?}");
    assert_eq!(b.release_as_bearer(released.hold, b.lock("released")).await, Ok(0));
    proxy.restore();
    until_ready(&a).await;
    until_ready(&b).await;
    assert_eq!(b.renew(kept.hold, b.lock("kept"), LONG).await.unwrap().token, kept.token);
    assert_eq!(b.counts(b.lock("released")).await, (0, 0));
    b.granted(b.ask_lease("released", EXCLUSIVE, LONG)).await;
}
