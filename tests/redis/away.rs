//! Redis is away for longer than what is held survives, or stands still.

use futures::future::join_all;
use lockstead_clock::time;
use lockstead_core::{Acquire, Cancelled, EndReason, Event, HoldId, IfGranted, Refusal, Release, Releaser, Time};
use lockstead_engine::{EngineError, Readiness};
use lockstead_tests::engines::{SERVER_LEASE, promised, servers, until_nothing_is_left, until_ready};
use lockstead_tests::fixture::{EXCLUSIVE, Fixture, LONG, SHARED, permits, refusal, session_id};
use lockstead_tests::{RedisServer, eventually};
use rustix::process::Signal;
use tokio::task::JoinHandle;

/// Asks all the time what a server promises, and checks that it takes nothing back.
struct Watch(JoinHandle<()>);

impl Watch {
    fn over(server: &Fixture) -> Self {
        let engine = server.engine.clone();
        Self(tokio::spawn(async move {
            let mut last = Time::default();
            loop {
                let promise = promised(&*engine);
                assert!(promise >= last, "{promise:?} is less than {last:?}, which was promised before");
                last = promise;
                tokio::time::sleep(SERVER_LEASE / 500).await;
            }
        }))
    }

    fn end(self) {
        assert!(!self.0.is_finished(), "a promise was broken");
        self.0.abort();
    }
}

/// A session of the first server with all kinds of holds, whose end it is told when Redis is away for long.
async fn holds_of(a: &Fixture, session: lockstead_core::SessionId) -> Vec<HoldId> {
    let names = ["s", "t", "u", "v", "w", "x", "y", "z"];
    let mut holds = Vec::new();
    for (request, name) in (0..).zip(names) {
        holds.push(a.granted(a.ask(session, request, name, if request < 4 { EXCLUSIVE } else { SHARED })).await.hold);
    }
    holds.push(a.granted(a.ask_as("k", session, 98, "permits", permits(2, 3))).await.hold);
    a.granted(a.ask_as("k", session, 99, "permits", permits(1, 3))).await;
    holds
}

async fn fails(server: &Fixture, acquire: Acquire) {
    let answer = server.engine.acquire(acquire).await;
    assert!(matches!(answer, Err(EngineError::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn dead_for_longer_than_the_lease() {
    is_away(async |redis| redis.kill(), RedisServer::restart, true).await;
}

/// There is no window when it goes on: whoever is back first is served first.
#[tokio::test]
async fn stopped_for_longer_than_the_lease() {
    is_away(async |redis| redis.signal(Signal::STOP), async |redis| redis.signal(Signal::CONT), false).await;
}

/// It loses its data when it is back, too.
#[tokio::test]
async fn stopped_and_then_flushed() {
    let back = async |redis: &mut RedisServer| {
        redis.signal(Signal::CONT);
        redis.command(&["FLUSHALL"]).await;
    };
    is_away(async |redis| redis.signal(Signal::STOP), back, true).await;
}

async fn is_away(
    go: impl AsyncFnOnce(&mut RedisServer),
    come_back: impl AsyncFnOnce(&mut RedisServer),
    in_order: bool,
) {
    let (mut redis, [a, b]) = servers().await;
    let (session, other) = (session_id(), session_id());
    let holds = holds_of(&a, session).await;
    let lease = a.granted(a.ask_lease("lease", EXCLUSIVE, LONG)).await;
    let of_other = b.granted(b.ask(other, 1, "awaited", EXCLUSIVE)).await;
    // In this order they wait, also when Redis is back.
    a.queued(a.ask(session, 50, "awaited", EXCLUSIVE)).await;
    let (waiting, _) = b.queued(b.ask_lease("awaited", EXCLUSIVE, LONG)).await;
    a.queued(a.ask(session, 51, "awaited", EXCLUSIVE)).await;
    b.queued(b.ask(other, 2, "s", EXCLUSIVE)).await;
    let watches = [Watch::over(&a), Watch::over(&b)];

    go(&mut redis).await;
    eventually("that it is noticed", async || matches!(a.engine.readiness(), Readiness::NotReady(_))).await;
    // Partitions have their heartbeats at different times, and so their ends.
    let noticed = time();
    for hold in &holds {
        a.events.ended(*hold).await;
    }
    assert!(time().since(noticed) < SERVER_LEASE, "later than anybody may believe");
    let told = a.events.so_far();
    for hold in &holds {
        let is_end = |event: &Event| {
            matches!(event, Event::Ended { to: Some(to), hold: ended, reason: EndReason::BackendLost, .. }
                if (to, ended) == (&session, hold))
        };
        assert_eq!(told.iter().filter(|event| is_end(event)).count(), 1, "{told:?}");
    }
    assert_eq!(told.len(), holds.len(), "its waiters and its lease go on: {told:?}");
    assert_eq!(b.events.ended(of_other.hold).await.2, EndReason::BackendLost);
    let lost = Refusal::NotHolder { ended: Some(EndReason::BackendLost) };
    let release = Release { hold: holds[0], by: Releaser::Session(session) };
    assert_eq!(refusal(a.engine.release(release).await), lost);
    // What is asked for now fails, and leaves nothing behind.
    let asks = (100..120).map(|request| fails(&a, a.ask(session, request, &format!("vain/{request}"), EXCLUSIVE)));
    join_all(asks).await;
    fails(&b, b.ask_lease("vain/lease", EXCLUSIVE, LONG)).await;
    fails(&b, b.ask_once("vain", "lease", EXCLUSIVE)).await;
    fails(&b, Acquire { queue: false, ..b.ask(other, 100, "awaited", EXCLUSIVE) }).await;
    let Readiness::NotReady(why) = a.engine.readiness() else { panic!("it can't be ready") };
    assert!(why.contains("Redis"), "{why}");

    come_back(&mut redis).await;
    until_ready(&a).await;
    until_ready(&b).await;
    let of_session = async |request| {
        let grant = a.events.granted(session, request).await;
        a.release(grant.hold, session).await;
        grant
    };
    let of_lease = async {
        let grant = b.events.lease_granted(waiting).await;
        b.release_as_bearer(grant.hold, b.lock("awaited")).await.unwrap();
        grant
    };
    let (first, second, third) = tokio::join!(of_session(50), of_lease, of_session(51));
    let fourth = b.events.granted(other, 2).await;
    assert!(of_other.token < first.token && of_other.token < second.token && first.token < third.token);
    assert!(!in_order || (first.token < second.token && second.token < third.token));
    assert!(lease.token < third.token && fourth.token > of_other.token);
    assert_eq!(a.cancel(session, 100, IfGranted::Keep).await, Cancelled::Unknown);
    assert_eq!(b.renew(lease.hold, b.lock("lease"), LONG).await.unwrap().token, lease.token);
    eventually("only what is held", async || b.all().await.len() == 2).await;
    assert_eq!(a.events.ends().len(), holds.len(), "nothing more was lost");
    a.end(session).await;
    b.end(other).await;
    b.release_as_bearer(lease.hold, b.lock("lease")).await.unwrap();
    until_nothing_is_left(&a).await;
    watches.into_iter().for_each(Watch::end);
}

#[tokio::test]
async fn stopped_for_less_than_the_lease_it_costs_nothing() {
    let (redis, [a, b]) = servers().await;
    let (session, other) = (session_id(), session_id());
    let holds = holds_of(&a, session).await;
    b.queued(b.ask(other, 1, "s", EXCLUSIVE)).await;
    let watches = [Watch::over(&a), Watch::over(&b)];
    for round in 0..3 {
        redis.signal(Signal::STOP);
        let asked = time();
        let ask = a.ask(session, 200 + round, &format!("asked/{round}"), EXCLUSIVE);
        let (grant, ()) = tokio::join!(a.granted(ask), async {
            tokio::time::sleep(SERVER_LEASE / 4).await;
            redis.signal(Signal::CONT);
        });
        assert!(time().since(asked) >= SERVER_LEASE / 4);
        a.release(grant.hold, session).await;
        until_ready(&a).await;
        until_ready(&b).await;
    }
    a.release(holds[0], session).await;
    b.events.granted(other, 1).await;
    assert_eq!((a.events.ends(), b.events.ends()), (vec![], vec![]));
    watches.into_iter().for_each(Watch::end);
    a.end(session).await;
    b.end(other).await;
    until_nothing_is_left(&a).await;
}

/// Its restarts come faster than any window ends.
#[tokio::test]
async fn restarted_again_and_again() {
    let (mut redis, [a, b]) = servers().await;
    let (session, other) = (session_id(), session_id());
    a.granted(a.ask(session, 1, "x", EXCLUSIVE)).await;
    b.queued(b.ask(other, 1, "x", EXCLUSIVE)).await;
    let watches = [Watch::over(&a), Watch::over(&b)];
    let mut last = 0;
    for _ in 0..4 {
        redis.restart().await;
        eventually("the holder, once more", async || a.counts(a.lock("x")).await == (1, 1)).await;
        let token = b.get(b.lock("x")).await.holders[0].token.get();
        assert!(last == 0 || token == last);
        last = token;
    }
    assert!(a.events.so_far().is_empty() && b.events.so_far().is_empty());
    a.end(session).await;
    let grant = b.events.granted(other, 1).await;
    assert!(last < grant.token.get());
    watches.into_iter().for_each(Watch::end);
}
