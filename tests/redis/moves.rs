//! A session moves to another server with all it has.

use futures::future::join_all;
use lockstead_core::{Acquire, Acquired, Census, Event, HoldId, Release, Releaser, ResumeSession, SessionId};
use lockstead_engine::EngineError;
use lockstead_tests::ClusterSetup;
use lockstead_tests::engines::{SERVER_LEASE, servers_at, servers_on_shared, until_nothing_is_left, until_ready};
use lockstead_tests::fixture::{EXCLUSIVE, Fixture, SHARED, hold_id, permits, refusal, session_id};
use rustix::process::Signal;

use crate::cut::servers_of_which_one_can_be_cut;

#[tokio::test]
async fn holds_and_waiters_come_along_and_what_is_not_claimed_is_given_back() {
    let [a, b, c] = servers_on_shared().await;
    let (session, other) = (session_id(), session_id());
    let kept = a.granted(a.ask(session, 1, "kept", EXCLUSIVE)).await;
    a.granted(a.ask(session, 2, "unclaimed", EXCLUSIVE)).await;
    let held = c.granted(c.ask(other, 1, "awaited", EXCLUSIVE)).await;
    let (waiter, _) = a.queued(a.ask(session, 3, "awaited", EXCLUSIVE)).await;
    a.queued(a.ask(session, 4, "awaited", EXCLUSIVE)).await;
    c.queued(c.ask(other, 2, "awaited", EXCLUSIVE)).await;
    c.queued(c.ask(other, 3, "unclaimed", EXCLUSIVE)).await;

    let strange = hold_id();
    assert_eq!(b.resume(session, &[(kept.hold, 1), (strange, 1)], &[3]).await, [strange]);
    a.events.moved(session).await;
    c.events.granted(other, 3).await;
    assert_eq!(b.get(b.lock("kept")).await.holders[0].token, kept.token);
    assert_eq!(b.counts(b.lock("awaited")).await, (1, 2));
    assert_eq!(a.engine.census(), Census::default());
    assert_eq!(b.engine.census(), Census { resources: 2, holds: 2, waiters: 1, longest_queue: 1 });

    c.release(held.hold, other).await;
    let granted = b.events.granted(session, 3).await;
    assert_eq!(granted.hold, waiter);
    assert_eq!(b.granted(Acquire { hold: hold_id(), ..b.ask(session, 3, "awaited", EXCLUSIVE) }).await, granted);
    assert_eq!(b.release(granted.hold, session).await, 0);
    c.events.granted(other, 2).await;
    assert_eq!(b.release(kept.hold, session).await, 0);
    assert_eq!(a.events.so_far(), [Event::Moved { session }], "nothing else is news to the old server");
}

#[tokio::test]
async fn the_old_server_can_do_nothing_more_for_it() {
    let [a, b] = servers_on_shared().await;
    let session = session_id();
    let hold = a.granted(a.ask(session, 1, "x", EXCLUSIVE)).await.hold;
    assert!(b.resume(session, &[(hold, 1)], &[]).await.is_empty());
    a.events.moved(session).await;
    let release = Release { hold, by: Releaser::Session(session) };
    refusal(a.engine.release(release).await);
    assert_eq!(a.end(session).await, 0);
    assert_eq!(b.counts(b.lock("x")).await, (1, 0));
    assert_eq!(b.end(session).await, 1);
}

#[tokio::test]
async fn entries_and_owner_keys_come_along() {
    let [a, b] = servers_on_shared().await;
    let session = session_id();
    let grant = a.granted(a.ask_as("k", session, 1, "x", permits(2, 3))).await;
    for request in 2..=4 {
        a.granted(a.ask_as("k", session, request, "x", permits(1, 3))).await;
    }
    assert!(b.resume(session, &[(grant.hold, 3)], &[]).await.is_empty());
    let again = b.granted(b.ask_as("k", session, 9, "x", permits(2, 3))).await;
    assert_eq!((again.hold, again.token, again.entries), (grant.hold, grant.token, 4));
    for left in [3, 2, 1, 0] {
        assert_eq!(b.release(grant.hold, session).await, left);
    }
    assert!(a.all().await.is_empty());
}

/// Its answer was lost with the old server: the client repeats the acquire on the new one, and has one hold.
#[tokio::test]
async fn a_grant_that_the_client_has_not_heard_of_is_kept_for_its_repetition() {
    let [a, b] = servers_on_shared().await;
    let session = session_id();
    let grant = a.granted(a.ask(session, 7, "x", EXCLUSIVE)).await;
    assert!(b.resume(session, &[], &[7, 8]).await.is_empty());
    let again = b.granted(b.ask(session, 7, "x", EXCLUSIVE)).await;
    assert_eq!((again.hold, again.token), (grant.hold, grant.token));
    b.held(b.ask(session, 8, "x", EXCLUSIVE)).await;
    assert_eq!(b.release(grant.hold, session).await, 0);
}

#[tokio::test]
async fn the_later_attempt_has_the_session() {
    let [a, b, c] = servers_on_shared().await;
    let session = session_id();
    let hold = a.granted(a.ask(session, 1, "x", EXCLUSIVE)).await.hold;
    assert!(b.resume_as(2, session, &[(hold, 1)], &[]).await.is_empty());
    a.events.moved(session).await;
    for attempt in [1, 2] {
        assert_eq!(c.resume_as(attempt, session, &[(hold, 1)], &[]).await, [hold]);
        assert_eq!(a.resume_as(attempt, session, &[(hold, 1)], &[]).await, [hold]);
    }
    assert_eq!(b.counts(b.lock("x")).await, (1, 0));
    assert!(b.events.so_far().is_empty());
    assert!(a.resume_as(3, session, &[(hold, 1)], &[]).await.is_empty());
    b.events.moved(session).await;
    assert_eq!(a.release(hold, session).await, 0);
}

/// The client had tried another server first, which was slow, and came back.
#[tokio::test]
async fn an_earlier_attempt_that_comes_late_does_not_take_it_from_the_server_that_had_it_all_along() {
    let [a, b] = servers_on_shared().await;
    let session = session_id();
    let hold = a.granted(a.ask(session, 1, "x", EXCLUSIVE)).await.hold;
    assert!(a.resume_as(2, session, &[(hold, 1)], &[]).await.is_empty());
    assert_eq!(b.resume_as(1, session, &[(hold, 1)], &[]).await, [hold]);
    assert_eq!(b.end(session).await, 0);
    assert_eq!(a.counts(a.lock("x")).await, (1, 0));
    assert!(a.events.so_far().is_empty());
    assert_eq!(a.release(hold, session).await, 0);
}

#[tokio::test]
async fn it_can_move_on_and_on() {
    let servers: [_; 3] = servers_on_shared().await;
    let session = session_id();
    let grant = servers[0].granted(servers[0].ask(session, 1, "x", EXCLUSIVE)).await;
    let (first, waiter) = (servers[0].granted(servers[0].ask(session_id(), 1, "y", EXCLUSIVE)).await, hold_id());
    let ask = Acquire { hold: waiter, ..servers[0].ask(session, 2, "y", SHARED) };
    servers[0].queued(ask).await;
    for attempt in 1..=12_u32 {
        let [old, new] = [attempt - 1, attempt].map(|at| &servers[usize::try_from(at % 3).unwrap()]);
        assert!(new.resume_as(attempt, session, &[(grant.hold, 1)], &[2]).await.is_empty());
        old.events.moved(session).await;
        old.events.take();
    }
    servers[1].release_as_bearer(first.hold, servers[1].lock("y")).await.unwrap();
    assert_eq!(servers[0].events.granted(session, 2).await.hold, waiter);
    assert_eq!(servers[0].release(grant.hold, session).await, 0);
}

#[tokio::test]
async fn a_session_of_a_dead_server_is_kept_if_it_is_resumed_in_time() {
    let [a, b, c] = servers_on_shared().await;
    let (session, lost, other) = (session_id(), session_id(), session_id());
    let kept = a.granted(a.ask(session, 1, "kept", EXCLUSIVE)).await;
    let gone = a.granted(a.ask(lost, 1, "lost", EXCLUSIVE)).await;
    c.queued(c.ask(other, 1, "lost", EXCLUSIVE)).await;
    drop(a);
    assert!(b.resume(session, &[(kept.hold, 1)], &[]).await.is_empty());
    c.events.granted(other, 1).await;
    assert_eq!(c.counts(c.lock("kept")).await, (1, 0), "it is the new server's");
    assert_eq!(b.resume(lost, &[(gone.hold, 1)], &[]).await, [gone.hold]);
    assert_eq!(b.release(kept.hold, session).await, 0);
}

/// Whatever the old server still does for the session while it moves, the new one ends with all of it.
#[tokio::test]
async fn nothing_is_left_of_a_session_that_ends_after_a_move_in_mid_flight() {
    let [a, b] = servers_on_shared().await;
    for round in 0..30 {
        let session = session_id();
        let asks: Vec<_> =
            (0..20).map(|request| a.ask(session, request, &format!("{round}/{request}"), SHARED)).collect();
        let late = tokio::spawn(join_all(asks.iter().map(|ask| a.engine.acquire(ask.clone()))));
        tokio::task::yield_now().await;
        b.resume(session, &[], &(0..20).collect::<Vec<_>>()).await;
        let repeated = asks.into_iter().map(|ask| b.engine.acquire(Acquire { hold: hold_id(), ..ask }));
        for answer in join_all(repeated).await {
            assert!(matches!(answer, Ok(Acquired::Granted(_))), "{answer:?}");
        }
        // They may have failed: the session is another server's.
        _ = late.await.unwrap();
        b.end(session).await;
    }
    until_nothing_is_left(&b).await;
}

/// The client's word counts, also about a session that no server knows any more.
#[tokio::test]
async fn a_session_that_nobody_has_is_lost_with_all_its_holds() {
    let [a, b] = servers_on_shared().await;
    let session = session_id();
    let hold = a.granted(a.ask(session, 1, "x", EXCLUSIVE)).await.hold;
    a.end(session).await;
    assert_eq!(b.resume(session, &[(hold, 1)], &[5]).await, [hold]);
    b.granted(b.ask(session, 5, "x", EXCLUSIVE)).await;
    assert!(a.events.so_far().is_empty());
}

/// The server that had it first has not heard yet that it had gone when it is back.
#[tokio::test]
async fn what_a_session_got_elsewhere_comes_back_with_it_however_late_the_news() {
    let (_redis, proxy, a, [b]) = servers_of_which_one_can_be_cut().await;
    let session = session_id();
    let given_up = a.granted(a.ask(session, 1, "given up", EXCLUSIVE)).await.hold;
    let kept = a.granted(a.ask_as("k", session, 2, "kept", EXCLUSIVE)).await.hold;
    proxy.cut_answers();
    assert!(b.resume_as(1, session, &[(given_up, 1), (kept, 1)], &[]).await.is_empty());
    assert_eq!(b.release(given_up, session).await, 0);
    b.granted(b.ask_as("k", session, 3, "kept", EXCLUSIVE)).await;
    let got = b.granted(b.ask(session, 4, "got", EXCLUSIVE)).await.hold;
    b.granted(b.ask(session, 5, "unclaimed", EXCLUSIVE)).await;
    let claims = [(given_up, 1), (kept, 2), (got, 1)];
    let (lost, ()) = futures::join!(a.resume_as(2, session, &claims, &[]), async {
        // If all its partitions happen to wait for an answer, nothing is asked before that.
        _ = tokio::time::timeout(SERVER_LEASE / 20, b.events.moved(session)).await;
        proxy.restore();
    });
    assert_eq!(lost, [given_up]);
    assert_eq!(a.release(got, session).await, 0);
    assert_eq!(a.release(kept, session).await, 1);
    assert_eq!(a.release(kept, session).await, 0);
    until_nothing_is_left(&a).await;
    assert!(a.events.so_far().is_empty(), "it is here");
}

/// Redis does not know a session that has nothing, so nobody tells the server it was on that it has gone.
#[tokio::test]
async fn a_session_that_had_nothing_when_it_went_comes_back_with_what_it_got() {
    let [a, b] = servers_on_shared().await;
    let session = session_id();
    assert!(a.resume_as(1, session, &[], &[]).await.is_empty());
    assert!(b.resume_as(2, session, &[], &[]).await.is_empty());
    let hold = b.granted(b.ask(session, 1, "x", EXCLUSIVE)).await.hold;
    assert!(a.resume_as(3, session, &[(hold, 1)], &[]).await.is_empty());
    assert_eq!(a.release(hold, session).await, 0);
    until_nothing_is_left(&a).await;
}

/// A node of the Cluster did not answer as the session moved, and its client did not come back.
#[tokio::test]
async fn a_session_that_came_half_way_ends_with_the_server_it_went_to() {
    let cluster = ClusterSetup::start().await;
    let [a, b, c] = servers_at(&cluster.url()).await;
    let (ending, dying) = (session_id(), session_id());
    let (of_ending, of_dying) =
        (holds_everywhere(&a, ending, "ending").await, holds_everywhere(&a, dying, "dying").await);
    let stopped = &cluster.nodes[cluster.primary_of(0).await];
    stopped.signal(Signal::STOP);
    let moved = futures::join!(resume(&b, ending, of_ending), resume(&c, dying, of_dying));
    stopped.signal(Signal::CONT);
    assert!(matches!(moved, (Err(EngineError::Unavailable(_)), Err(EngineError::Unavailable(_)))), "{moved:?}");
    for (session, server) in [(ending, &b), (dying, &c)] {
        a.events.moved(session).await;
        until_ready(server).await;
    }
    b.end(ending).await;
    drop(c);
    until_ready(&a).await;
    until_nothing_is_left(&a).await;
}

/// More than there are partitions.
async fn holds_everywhere(server: &Fixture, session: SessionId, name: &str) -> Vec<HoldId> {
    let asks =
        (0..64).map(|number| server.granted(server.ask(session, number, &format!("{name}/{number}"), EXCLUSIVE)));
    join_all(asks).await.into_iter().map(|grant| grant.hold).collect()
}

async fn resume(server: &Fixture, session: SessionId, holds: Vec<HoldId>) -> Result<Vec<HoldId>, EngineError> {
    let holds = holds.into_iter().map(|hold| (hold, 1)).collect();
    server.engine.resume_session(ResumeSession { session, attempt: 1, holds, pending: Vec::new() }).await
}
