//! What holds for every call.

use futures::future::join_all;
use lockstead_core::{Acquire, Acquired, Event, Refusal, SessionId};

use crate::fixture::{EXCLUSIVE, Fixture, LONG, SHARED, SHORT, hold_id, permits, session_id};

/// "Every method is atomic": of many at the same time one is granted, and each of the others has a place of its own, in
/// the order of which all are served.
pub(crate) async fn atomic(f: &Fixture) {
    let sessions: Vec<_> = (0..20).map(|_| session_id()).collect();
    let answers = join_all(sessions.iter().map(|session| f.engine.acquire(f.ask(*session, 1, "x", EXCLUSIVE)))).await;
    let (mut holder, mut queue) = (None, Vec::new());
    for (session, answer) in sessions.into_iter().zip(answers) {
        match answer.unwrap() {
            Acquired::Granted(grant) => assert!(holder.replace((grant, session)).is_none(), "two hold"),
            Acquired::Queued { position, .. } => queue.push((position, session)),
            Acquired::Held { .. } => panic!("it may queue"),
        }
    }
    queue.sort_unstable_by_key(|(position, _)| *position);
    assert!(queue.iter().map(|(position, _)| *position).eq(1..=19));
    let (mut grant, mut session) = holder.expect("one holds");
    for (_, next) in queue {
        f.release(grant.hold, session).await;
        let next_grant = f.events.granted(next, 1).await;
        assert!(grant.token < next_grant.token);
        (grant, session) = (next_grant, next);
    }
}

/// "What is due at the time of a call has ended before the call takes effect": a try is granted once the deadline has
/// passed, whether or not the engine has noticed by itself; and not before.
pub(crate) async fn due_first(f: &Fixture) {
    let before = lockstead_clock::time();
    f.granted(f.ask_lease("x", EXCLUSIVE, SHORT)).await;
    let after = lockstead_clock::time();
    let session = session_id();
    loop {
        let asked = lockstead_clock::time();
        match f.engine.acquire(Acquire { queue: false, ..f.ask(session, 1, "x", SHARED) }).await {
            Ok(Acquired::Granted(_)) => break,
            Ok(Acquired::Held { .. }) => assert!(asked.since(after) < SHORT, "too late"),
            other => panic!("neither granted nor held: {other:?}"),
        }
        tokio::task::yield_now().await;
    }
    assert!(lockstead_clock::time().since(before) >= SHORT, "too early");
}

/// "A call that fails with `Refused` has changed nothing."
pub(crate) async fn refused_changes_nothing(f: &Fixture) {
    let (first, second) = (session_id(), session_id());
    let held = f.granted(f.ask_as("k", first, 1, "x", permits(2, 3))).await;
    f.queued(f.ask(second, 1, "x", permits(3, 3))).await;
    let lease = f.granted(f.ask_lease("y", EXCLUSIVE, LONG)).await;
    // Without the time at which the lease expires, which is worked out anew from both clocks each time.
    let picture = async || {
        let (x, y) = (f.get(f.semaphore("x")).await, f.get(f.lock("y")).await);
        let tokens: Vec<_> = x.holders.iter().chain(&y.holders).map(|it| (it.token, it.claim)).collect();
        (tokens, x.waiters, y.waiters, f.events.so_far())
    };
    let before = picture().await;

    assert_eq!(f.refused(f.ask(first, 2, "x", permits(1, 4))).await, Refusal::LimitMismatch { in_use: 3 });
    assert_eq!(f.refused(f.ask_as("k", first, 2, "x", permits(3, 3))).await, Refusal::ReentryTooLarge);
    assert_eq!(f.refused(f.ask(first, 1, "z", EXCLUSIVE)).await, Refusal::RequestIdReused);
    assert!(f.renew(held.hold, f.semaphore("x"), LONG).await.is_err());
    assert!(f.release_as_bearer(held.hold, f.lock("y")).await.is_err());
    assert!(f.release_as_bearer(lease.hold, f.semaphore("x")).await.is_err());

    assert_eq!(picture().await, before);
    assert_eq!(f.counts(f.lock("z")).await, (0, 0));
    assert_eq!(f.release(held.hold, first).await, 0, "the refused re-entry is no entry");
    f.events.granted(second, 1).await;
}

/// "Events reach the `Listener` in the order in which they happened, each once."
pub(crate) async fn events_in_order_and_once(f: &Fixture) {
    let (first, session) = (session_id(), session_id());
    let mut held = f.granted(f.ask(first, 1, "x", EXCLUSIVE)).await;
    for request in 1..=10 {
        f.queued(f.ask(session, request, "x", if request % 5 == 0 { EXCLUSIVE } else { SHARED })).await;
    }
    // 1 to 4 together, then 5 alone, 6 to 9 together, 10 alone.
    f.release(held.hold, first).await;
    for request in 1..=10 {
        held = f.events.granted(session, request).await;
        f.release(held.hold, session).await;
    }
    f.settle("x").await;
    assert_eq!(f.events.grants_to(session), (1..=10).collect::<Vec<_>>());
    let tokens: Vec<_> = f.events.so_far().iter().filter_map(granted_token_of(session)).collect();
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

fn granted_token_of(session: SessionId) -> impl Fn(&Event) -> Option<u64> {
    move |event| match event {
        Event::Granted { to: Some((to, _)), grant } if *to == session => Some(grant.token.get()),
        _ => None,
    }
}

/// "Dropping a future before it is ready cancels nothing: the call may have happened." So the same call again has the
/// effect of one.
pub(crate) async fn dropped_calls(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    let ask = f.ask(session, 1, "x", EXCLUSIVE);
    drop(f.engine.acquire(ask.clone()));
    let again = Acquire { hold: hold_id(), ..ask };
    let grant = f.granted(again).await;
    assert_eq!(f.counts(f.lock("x")).await, (1, 0));

    f.queued(f.ask(other, 1, "x", EXCLUSIVE)).await;
    f.release(grant.hold, session).await;
    f.events.granted(other, 1).await;
    f.settle("x").await;
    assert_eq!(f.counts(f.lock("x")).await, (1, 0), "no second hold turned up");
}
