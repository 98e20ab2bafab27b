//! A server that is cut off from Redis while the others are not.

use std::time::Duration;

use futures::future::join_all;
use lockstead_clock::{sleep_until, time};
use lockstead_core::{Acquire, Acquired, Cancelled, EndReason, IfGranted, Release, Releaser};
use lockstead_engine::EngineError;
use lockstead_tests::engines::{
    SERVER_LEASE, promised, settings, settings_at, start, start_unready, until_nothing_is_left, until_ready,
};
use lockstead_tests::fixture::{EXCLUSIVE, Fixture, LONG, hold_id, permits, session_id};
use lockstead_tests::{Proxy, RedisServer, eventually};

/// A server whose way to Redis can be cut, and so many others.
pub(crate) async fn servers_of_which_one_can_be_cut<const N: usize>() -> (RedisServer, Proxy, Fixture, [Fixture; N]) {
    let redis = RedisServer::start().await;
    let proxy = Proxy::before(redis.address()).await;
    let cut = start_unready(settings_at(&format!("redis://{}", proxy.address())));
    let others: [_; N] = std::array::from_fn(|_| start_unready(settings(&redis)));
    until_ready(&cut).await;
    for other in &others {
        until_ready(other).await;
    }
    let others = others.map(|other| cut.beside(other.engine, other.events));
    (redis, proxy, cut, others)
}

/// Its connections break, and new ones lead nowhere.
fn cut_and_reset(proxy: &Proxy) {
    proxy.cut();
    proxy.reset();
}

#[tokio::test]
async fn nobody_else_is_granted_before_it_has_told_its_sessions() {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let (session, next) = (session_id(), session_id());
    let mut holds = Vec::new();
    for (request, name) in (0..).zip(["u", "v", "w", "x", "y", "z"]) {
        holds.push(a.granted(a.ask(session, request, name, EXCLUSIVE)).await.hold);
        b.queued(b.ask(next, request, name, EXCLUSIVE)).await;
    }
    proxy.cut();
    let believed = promised(&*a.engine);
    for (request, hold) in (0..).zip(&holds) {
        b.events.granted(next, request).await;
        assert!(time() > believed, "the other server's clients may believe that they hold");
        assert!(a.events.ends().contains(&(*hold, EndReason::BackendLost)), "its client has not been told");
    }
    assert!(a.events.grants_to(session).is_empty());
    proxy.restore();
    until_ready(&a).await;
    let late = a.engine.release(Release { hold: holds[0], by: Releaser::Session(session) }).await;
    assert_eq!(late, Err(lockstead_core::Refusal::NotHolder { ended: Some(EndReason::BackendLost) }.into()));
    assert_eq!(b.end(next).await, holds.len());
    a.granted(a.ask(session, 9, "x", EXCLUSIVE)).await;
}

/// Its connection is gone, so nobody hears a grant to it: the next is served, and it gets its turn when it is back.
#[tokio::test]
async fn its_waiters_are_passed_over_and_keep_their_places() {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let [first, passed, on_b] = [session_id(), session_id(), session_id()];
    let held = b.granted(b.ask(first, 1, "x", EXCLUSIVE)).await;
    a.queued(a.ask(passed, 1, "x", EXCLUSIVE)).await;
    b.queued(b.ask(on_b, 1, "x", EXCLUSIVE)).await;
    let (lease, _) = a.queued(a.ask_lease("x", EXCLUSIVE, LONG)).await;
    b.queued(b.ask(on_b, 2, "x", EXCLUSIVE)).await;
    cut_and_reset(&proxy);
    let cut = time();
    // Redis hears of the break a little later.
    eventually("a grant past the waiters of the server that is cut off", async || {
        if b.counts(b.lock("x")).await == (1, 4) {
            b.engine.release(Release { hold: held.hold, by: Releaser::Session(first) }).await.unwrap();
        }
        !b.events.grants_to(on_b).is_empty()
    })
    .await;
    let second = b.events.granted(on_b, 1).await;
    assert!(time().since(cut) < SERVER_LEASE, "it was not passed over, but swept");
    proxy.restore();
    assert_eq!(a.counts(a.lock("x")).await, (1, 3), "it answers, so it is back");
    b.release(second.hold, on_b).await;
    let third = a.events.granted(passed, 1).await;
    a.release(third.hold, passed).await;
    let fourth = a.events.lease_granted(lease).await;
    assert!(held.token < second.token && second.token < third.token && third.token < fourth.token);
    b.release_as_bearer(lease, b.lock("x")).await.unwrap();
    b.events.granted(on_b, 2).await;
}

/// Redis does not know that nobody hears: the grant is the server's until its lease is over.
#[tokio::test]
async fn a_grant_that_it_can_not_hear_goes_on_to_the_next_when_it_is_swept() {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let [first, deaf, next] = [session_id(), session_id(), session_id()];
    let held = b.granted(b.ask(first, 1, "x", EXCLUSIVE)).await;
    a.queued(a.ask(deaf, 1, "x", EXCLUSIVE)).await;
    b.queued(b.ask(next, 1, "x", EXCLUSIVE)).await;
    proxy.cut();
    b.release(held.hold, first).await;
    let grant = b.events.granted(next, 1).await;
    assert!(a.events.grants_to(deaf).is_empty());
    proxy.restore();
    until_ready(&a).await;
    eventually("its place in the queue", async || b.counts(b.lock("x")).await == (1, 1)).await;
    assert!(a.events.grants_to(deaf).is_empty(), "the grant was another's by then");
    a.counts(a.lock("x")).await;
    b.release(grant.hold, next).await;
    let last = a.events.granted(deaf, 1).await;
    assert!(grant.token < last.token);
    assert_eq!(a.events.grants_to(deaf), [1]);
}

/// The network is back before the lease is over: nothing was lost, and grants that it missed are heard now, once.
#[tokio::test]
async fn a_short_cut_costs_nothing() {
    tokio::join!(is_nothing(SERVER_LEASE / 20), is_nothing(SERVER_LEASE / 3));
}

async fn is_nothing(cut: Duration) {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let (session, other) = (session_id(), session_id());
    let kept = a.granted(a.ask(session, 1, "kept", EXCLUSIVE)).await;
    let held = b.granted(b.ask(other, 1, "x", EXCLUSIVE)).await;
    a.queued(a.ask(session, 2, "x", EXCLUSIVE)).await;
    let lease = a.granted(a.ask_lease("lease", EXCLUSIVE, LONG)).await;
    proxy.cut();
    b.release(held.hold, other).await;
    b.release_as_bearer(lease.hold, b.lock("lease")).await.unwrap();
    // With the shorter one the connection lives on, with the longer one it is given up.
    tokio::time::sleep(cut).await;
    proxy.restore();
    let grant = a.events.granted(session, 2).await;
    assert_eq!(b.get(b.lock("x")).await.holders[0].token, grant.token);
    a.release(kept.hold, session).await;
    a.settle("kept").await;
    assert_eq!(a.events.grants_to(session), [2]);
    assert_eq!(a.events.ends(), []);
    assert_eq!(b.counts(b.lock("lease")).await, (0, 0));
}

/// A way to ask.
struct Way {
    what: &'static str,
    ask: fn(&Fixture, &str) -> Acquire,
    /// The same acquire again is the same hold.
    is_known_again: bool,
}

const WAYS: [Way; 6] = [
    Way { what: "session", ask: |f, name| f.ask(session_id(), 1, name, permits(2, 5)), is_known_again: true },
    Way { what: "key", ask: |f, name| f.ask_as("k", session_id(), 1, name, permits(2, 5)), is_known_again: true },
    Way { what: "lease", ask: |f, name| f.ask_lease(name, permits(5, 5), LONG), is_known_again: false },
    Way { what: "small lease", ask: |f, name| f.ask_lease(name, permits(2, 5), LONG), is_known_again: false },
    Way { what: "request id", ask: |f, name| f.ask_once(name, name, permits(5, 5)), is_known_again: true },
    Way { what: "small request id", ask: |f, name| f.ask_once(name, name, permits(2, 5)), is_known_again: true },
];

/// Redis does what it is asked, and the answer is lost with the connection: what the caller hears later is what was done,
/// and it was done once.
#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again() {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    for Way { what, ask, is_known_again } in WAYS {
        for waits in [false, true] {
            let name = format!("{what}, {waits}");
            let key = a.semaphore(&name);
            let before = if waits { Some(b.granted(b.ask_lease(&name, permits(5, 5), LONG)).await) } else { None };
            let ask = ask(&a, &name);
            let there = (1, usize::from(waits));
            a.counts(key.clone()).await;
            proxy.cut_answers();
            let (answer, ()) = tokio::join!(a.engine.acquire(ask.clone()), async {
                eventually("the effect", async || b.counts(key.clone()).await == there).await;
                proxy.restore();
                proxy.reset();
            });
            let grant = match (before, answer) {
                (None, Ok(Acquired::Granted(grant))) => grant,
                (Some(before), Ok(Acquired::Queued { hold, position: 1 })) => {
                    assert_eq!(b.counts(key.clone()).await, there, "{name}");
                    b.release_as_bearer(before.hold, key.clone()).await.unwrap();
                    a.events.granted_hold(hold).await
                }
                (_, other) => panic!("{name}: {other:?}"),
            };
            let view = b.get(key.clone()).await;
            let tokens: Vec<_> = view.holders.iter().map(|holder| holder.token).collect();
            assert_eq!((tokens, view.waiter_count), (vec![grant.token], 0), "{name}");
            if is_known_again {
                let again = a.engine.acquire(Acquire { hold: hold_id(), ..ask });
                let again =
                    tokio::time::timeout(SERVER_LEASE, again).await.unwrap_or_else(|_| panic!("{name}: no answer"));
                let Ok(Acquired::Granted(again)) = again else { panic!("{name}: {again:?}") };
                assert_eq!((again.hold, again.token), (grant.hold, grant.token), "{name}");
            }
            b.release_as_bearer(grant.hold, key).await.unwrap();
        }
    }
    until_nothing_is_left(&b).await;
}

/// Nobody waits for ever: the caller hears that the outcome is unknown, and whatever it was, nothing is left of it.
#[tokio::test]
async fn nothing_is_left_of_an_acquire_whose_outcome_stays_unknown() {
    let redis = RedisServer::start().await;
    let b = start(settings(&redis)).await;
    // Each on a server of its own, since the calls of one would wait for each other.
    join_all(WAYS.iter().flat_map(|way| [(way, false), (way, true)]).map(async |(way, waits)| {
        let name = format!("{}, {waits}", way.what);
        let key = b.semaphore(&name);
        let before = if waits { Some(b.granted(b.ask_lease(&name, permits(5, 5), LONG)).await) } else { None };
        let proxy = Proxy::before(redis.address()).await;
        let a = start(settings_at(&format!("redis://{}", proxy.address()))).await;
        let a = b.beside(a.engine, a.events);
        let ask = (way.ask)(&a, &name);
        // Its partition serves, and nothing is on the way that would come first.
        a.counts(key.clone()).await;
        proxy.cut_answers();
        let (answer, ()) = tokio::join!(a.engine.acquire(ask.clone()), async {
            let effect = format!("the effect: {name}");
            eventually(&effect, async || b.counts(key.clone()).await == (1, usize::from(waits))).await;
            cut_and_reset(&proxy);
        });
        assert!(matches!(answer, Err(EngineError::Unavailable(_))), "{name}: {answer:?}");
        proxy.restore();
        let there = (usize::from(waits), 0);
        eventually(&format!("nothing of it: {name}"), async || b.counts(key.clone()).await == there).await;
        if let Some(before) = before {
            b.release_as_bearer(before.hold, key.clone()).await.unwrap();
        }
        assert_eq!(a.counts(key.clone()).await, (0, 0));
        assert_eq!(a.events.so_far(), [], "no event comes of a call that failed");
        // And it may come again.
        let grant = a.granted(Acquire { hold: hold_id(), ..ask }).await;
        b.release_as_bearer(grant.hold, key).await.unwrap();
    }))
    .await;
    until_nothing_is_left(&b).await;
}

/// What is to end ends, although its caller could not be told.
#[tokio::test]
async fn releases_cancels_and_ends_are_made_good() {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let (session, ending, other) = (session_id(), session_id(), session_id());
    let released = a.granted(a.ask(session, 1, "released", EXCLUSIVE)).await;
    let lease = a.granted(a.ask_lease("lease", EXCLUSIVE, LONG)).await;
    a.granted(a.ask(session, 2, "given back", EXCLUSIVE)).await;
    a.granted(a.ask(ending, 1, "ended", EXCLUSIVE)).await;
    b.granted(b.ask(other, 9, "awaited", EXCLUSIVE)).await;
    a.queued(a.ask(session, 3, "awaited", EXCLUSIVE)).await;
    let (waiting, _) = a.queued(a.ask_lease("awaited", EXCLUSIVE, LONG)).await;
    for (request, name) in (1..).zip(["released", "given back", "ended"]) {
        b.queued(b.ask(other, request, name, EXCLUSIVE)).await;
    }
    cut_and_reset(&proxy);
    let release = |by| a.engine.release(Release { hold: released.hold, by });
    let cancel = |acquire, if_granted| a.engine.cancel(lockstead_core::Cancel { acquire, if_granted });
    let (one, two, three, four, five, six) = tokio::join!(
        release(Releaser::Session(session)),
        a.engine.release(Release { hold: lease.hold, by: Releaser::Bearer(a.lock("lease")) }),
        cancel(lockstead_core::AcquireRef::Request(session, 2), IfGranted::GiveBack),
        cancel(lockstead_core::AcquireRef::Request(session, 3), IfGranted::Keep),
        cancel(lockstead_core::AcquireRef::Hold(waiting), IfGranted::GiveBack),
        a.engine.end_session(lockstead_core::EndSession { session: ending, reason: EndReason::Disconnected }),
    );
    assert!(one.is_err() && two.is_err() && three.is_err() && four.is_err() && five.is_err() && six.is_err());
    proxy.restore();
    for request in 1..=3 {
        b.events.granted(other, request).await;
    }
    eventually("the release of the lease", async || b.counts(b.lock("lease")).await == (0, 0)).await;
    eventually("an empty queue", async || b.counts(b.lock("awaited")).await == (1, 0)).await;
    until_ready(&a).await;
    assert_eq!(a.cancel(session, 3, IfGranted::Keep).await, Cancelled::Unknown);
    assert!(a.events.grants_to(session).is_empty());
}

/// A resume whose answer is lost has happened, or happens later: what the client claimed is kept for its next try,
/// wherever that is.
#[tokio::test]
async fn a_resume_whose_outcome_is_unknown_loses_nothing() {
    let (_redis, proxy, a, [b, c]) = servers_of_which_one_can_be_cut().await;
    let session = session_id();
    let mut claims = Vec::new();
    for request in 0..40 {
        claims.push((b.granted(b.ask(session, request, &format!("{request}"), EXCLUSIVE)).await.hold, 1));
    }
    proxy.cut_answers();
    let resume = lockstead_core::ResumeSession { session, attempt: 1, holds: claims.clone(), pending: vec![] };
    let (answer, ()) = tokio::join!(a.engine.resume_session(resume), async {
        b.events.moved(session).await;
        cut_and_reset(&proxy);
    });
    assert!(matches!(answer, Err(EngineError::Unavailable(_))), "{answer:?}");
    proxy.restore();
    until_ready(&a).await;
    assert_eq!(c.resume_as(2, session, &claims, &[]).await, []);
    assert_eq!(c.all().await.len(), claims.len());
    assert_eq!(c.end(session).await, claims.len());
    until_nothing_is_left(&b).await;
}

/// The same, and the next try comes to the same server.
#[tokio::test]
async fn a_resume_whose_outcome_is_unknown_can_be_tried_again() {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let session = session_id();
    let mut claims = Vec::new();
    for request in 0..40 {
        claims.push((b.granted(b.ask(session, request, &format!("{request}"), EXCLUSIVE)).await.hold, 1));
    }
    cut_and_reset(&proxy);
    let resume = |attempt| lockstead_core::ResumeSession { session, attempt, holds: claims.clone(), pending: vec![] };
    let answer = a.engine.resume_session(resume(1)).await;
    assert!(matches!(answer, Err(EngineError::Unavailable(_))), "{answer:?}");
    proxy.restore();
    until_ready(&a).await;
    assert_eq!(a.engine.resume_session(resume(2)).await.unwrap(), []);
    b.events.moved(session).await;
    assert_eq!(a.end(session).await, claims.len());
    until_nothing_is_left(&b).await;
}

/// The answer to an acquire was lost, and its client has repeated it on another server. What the first one gives back once it
/// can is not its own any more.
#[tokio::test]
async fn what_it_owes_does_not_concern_a_session_that_has_moved() {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let session = session_id();
    proxy.cut_answers();
    let asked = a.engine.acquire(a.ask(session, 7, "x", EXCLUSIVE));
    let (answer, hold) = tokio::join!(asked, async {
        eventually("the grant", async || b.counts(b.lock("x")).await == (1, 0)).await;
        cut_and_reset(&proxy);
        assert!(b.resume(session, &[], &[7]).await.is_empty());
        b.granted(Acquire { hold: hold_id(), ..b.ask(session, 7, "x", EXCLUSIVE) }).await.hold
    });
    assert!(matches!(answer, Err(EngineError::Unavailable(_))), "{answer:?}");
    proxy.restore();
    until_ready(&a).await;
    // Answered after what was owed.
    assert_eq!(a.counts(a.lock("x")).await, (1, 0));
    assert_eq!(b.release(hold, session).await, 0);
}

/// What is said over a connection that was given up arrives late: it must not count any more.
#[tokio::test]
async fn a_delayed_call_changes_nothing() {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let (session, other) = (session_id(), session_id());
    let mut last = None;
    for round in 0..5 {
        let name = format!("{round}");
        proxy.cut();
        let asked = a.engine.acquire(a.ask(session, round, &name, EXCLUSIVE));
        let restored = async {
            // The connection is given up, and its call is still on the way.
            tokio::time::sleep(SERVER_LEASE / 5).await;
            proxy.restore();
        };
        let (answer, ()) = tokio::join!(asked, restored);
        let Ok(Acquired::Granted(grant)) = answer else { panic!("{answer:?}") };
        assert!(last.replace(grant.token).is_none_or(|last| last < grant.token));
        a.release(grant.hold, session).await;
        let next = b.granted(b.ask(other, round, &name, EXCLUSIVE)).await;
        assert_eq!(b.get(b.lock(&name)).await.holders[0].token, next.token);
        assert_eq!(b.counts(b.lock(&name)).await, (1, 0));
        sleep_until(time().saturating_add(Duration::from_millis(50))).await;
    }
    assert_eq!(b.end(other).await, 5);
    until_nothing_is_left(&b).await;
}

/// A server that starts while it can't reach Redis serves as soon as it can.
#[tokio::test]
async fn a_server_can_be_started_before_its_redis() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let server = start_unready(settings(&redis));
    let lockstead_engine::Readiness::NotReady(why) = server.engine.readiness() else { panic!("it can't be ready") };
    assert!(why.contains("Redis"), "{why}");
    let answer = server.engine.acquire(server.ask(session_id(), 1, "x", EXCLUSIVE)).await;
    assert!(matches!(answer, Err(EngineError::Unavailable(_))), "{answer:?}");
    redis.restart().await;
    until_ready(&server).await;
    server.granted(server.ask(session_id(), 2, "x", EXCLUSIVE)).await;
    let second = start(settings(&redis)).await;
    assert_eq!(second.engine.shared_key(), server.engine.shared_key());
}
