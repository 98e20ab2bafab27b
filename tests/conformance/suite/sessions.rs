//! The end and the resumption of sessions.

use lockstead_core::{EndReason, Refusal, Release, Releaser};

use crate::fixture::{EXCLUSIVE, Fixture, LONG, SHARED, hold_id, refusal, session_id};

/// End: "None of its waiters is granted in passing." Those of others are granted.
pub(crate) async fn end_grants_none_in_passing(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    for name in ["a", "b", "c", "d"] {
        let request = u64::from(name.as_bytes()[0]) * 10;
        f.granted(f.ask(session, request, name, EXCLUSIVE)).await;
        f.queued(f.ask(session, request + 1, name, EXCLUSIVE)).await;
        f.queued(f.ask(other, request, name, EXCLUSIVE)).await;
        f.queued(f.ask(session, request + 2, name, EXCLUSIVE)).await;
    }
    assert_eq!(f.end(session).await, 12);
    for name in ["a", "b", "c", "d"] {
        f.events.granted(other, u64::from(name.as_bytes()[0]) * 10).await;
        f.settle(name).await;
        assert_eq!(f.counts(f.lock(name)).await, (1, 0));
    }
    assert!(f.events.grants_to(session).is_empty());
}

/// End: "Answers how many holds and waiters there were; 0 for a session that the engine has never seen." Late calls hear
/// the reason; leases stay.
pub(crate) async fn end_counts(f: &Fixture) {
    let session = session_id();
    let grant = f.granted(f.ask_as("k", session, 1, "x", EXCLUSIVE)).await;
    f.granted(f.ask_as("k", session, 2, "x", EXCLUSIVE)).await;
    f.granted(f.ask_lease("y", EXCLUSIVE, LONG)).await;
    f.queued(f.ask(session, 3, "y", EXCLUSIVE)).await;
    assert_eq!(f.end(session).await, 2, "a hold counts once, whatever its entries");
    assert_eq!(f.end(session).await, 0);
    assert_eq!(f.end(session_id()).await, 0);
    assert_eq!((f.counts(f.lock("x")).await, f.counts(f.lock("y")).await), ((0, 0), (1, 0)));
    let late = f.engine.release(Release { hold: grant.hold, by: Releaser::Session(session) }).await;
    assert_eq!(refusal(late), Refusal::NotHolder { ended: Some(EndReason::Disconnected) });
}

/// Acquire: "A queued acquire ends with exactly one of `Event::Granted`, a cancel, or the end of its session."
pub(crate) async fn end_of_waiters(f: &Fixture) {
    let (first, waiter, last) = (session_id(), session_id(), session_id());
    let grant = f.granted(f.ask(first, 1, "x", SHARED)).await;
    f.queued(f.ask(waiter, 1, "x", EXCLUSIVE)).await;
    f.queued(f.ask(last, 1, "x", SHARED)).await;
    assert_eq!(f.end(waiter).await, 1);
    f.events.granted(last, 1).await;
    f.release(grant.hold, first).await;
    f.settle("x").await;
    assert!(f.events.grants_to(waiter).is_empty());
    assert_eq!(f.events.grants_to(last), [1]);
}

/// Resume: "Keeps the holds that the client lists …; gives back everything else."
pub(crate) async fn resume_keeps_what_is_listed(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    let kept = f.granted(f.ask(session, 1, "x", EXCLUSIVE)).await;
    let dropped = f.granted(f.ask(session, 2, "y", EXCLUSIVE)).await;
    f.queued(f.ask(session, 3, "y", EXCLUSIVE)).await;
    f.queued(f.ask(other, 1, "y", EXCLUSIVE)).await;
    assert!(f.resume(session, &[(kept.hold, 1)], &[]).await.is_empty());
    f.events.granted(other, 1).await;
    assert_eq!(f.counts(f.lock("y")).await, (1, 0));
    assert_eq!(f.get(f.lock("x")).await.holders[0].token, kept.token);
    let late = f.engine.release(Release { hold: dropped.hold, by: Releaser::Session(session) }).await;
    assert_eq!(refusal(late), Refusal::NotHolder { ended: Some(EndReason::Released) });
    f.settle("y").await;
    assert!(f.events.grants_to(session).is_empty());
}

/// Resume: "(cut down to the entries it lists)".
pub(crate) async fn resume_cuts_entries(f: &Fixture) {
    let session = session_id();
    let grant = f.granted(f.ask_as("k", session, 1, "x", EXCLUSIVE)).await;
    for request in 2..=4 {
        f.granted(f.ask_as("k", session, request, "x", EXCLUSIVE)).await;
    }
    assert!(f.resume(session, &[(grant.hold, 9)], &[]).await.is_empty());
    assert_eq!(f.granted(f.ask_as("k", session, 1, "x", EXCLUSIVE)).await.entries, 4);
    assert!(f.resume(session, &[(grant.hold, 2)], &[]).await.is_empty());
    assert_eq!(f.release(grant.hold, session).await, 1);
    assert_eq!(f.release(grant.hold, session).await, 0);
}

/// Resume: keeps "the acquires that it will repeat", whether they wait or have been granted.
pub(crate) async fn resume_keeps_pending(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    let granted = f.granted(f.ask(session, 1, "x", EXCLUSIVE)).await;
    let held = f.granted(f.ask(other, 1, "y", EXCLUSIVE)).await;
    let (waiting, _) = f.queued(f.ask(session, 2, "y", EXCLUSIVE)).await;
    f.queued(f.ask(other, 2, "y", EXCLUSIVE)).await;
    assert!(f.resume(session, &[], &[1, 2, 77]).await.is_empty());
    assert_eq!(f.granted(f.ask(session, 1, "x", EXCLUSIVE)).await.token, granted.token);
    assert_eq!(f.queued(f.ask(session, 2, "y", EXCLUSIVE)).await, (waiting, 1));
    f.release(held.hold, other).await;
    assert_eq!(f.events.granted(session, 2).await.hold, waiting);
}

/// Resume: "Answers which of the listed holds are not the session's (any more)."
pub(crate) async fn resume_reports_lost(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    let kept = f.granted(f.ask(session, 1, "x", EXCLUSIVE)).await;
    let gone = f.granted(f.ask(session, 2, "y", EXCLUSIVE)).await;
    f.release_as_bearer(gone.hold, f.lock("y")).await.unwrap();
    let foreign = f.granted(f.ask(other, 1, "z", EXCLUSIVE)).await;
    let lease = f.granted(f.ask_lease("w", EXCLUSIVE, LONG)).await;
    let mut expected = vec![gone.hold, foreign.hold, lease.hold, hold_id()];
    let claims: Vec<_> = expected.iter().chain([&kept.hold]).map(|hold| (*hold, 1)).collect();
    let mut lost = f.resume(session, &claims, &[]).await;
    lost.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lost, expected);
    for name in ["x", "z", "w"] {
        assert_eq!(f.counts(f.lock(name)).await, (1, 0), "{name}");
    }
    assert_eq!(f.resume(session_id(), &[(kept.hold, 1)], &[]).await, [kept.hold]);
}
