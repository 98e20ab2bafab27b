//! Cancel.

use lockstead_core::{Cancelled, IfGranted, Refusal};

use crate::fixture::{EXCLUSIVE, Fixture, SHARED, hold_id, permits, refusal, session_id};

/// "A waiter leaves the queue without a trace": it is never granted, and its number and id are free again. With the
/// grant and the end of the session this is how a queued acquire can end.
pub(crate) async fn waiter_leaves_no_trace(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    let grant = f.granted(f.ask(session, 1, "x", EXCLUSIVE)).await;
    f.queued(f.ask(other, 1, "x", EXCLUSIVE)).await;
    let lease = f.ask_once("r", "x", EXCLUSIVE);
    f.queued(lease.clone()).await;
    let Cancelled::Withdrawn { holders } = f.cancel(other, 1, IfGranted::Keep).await else { panic!("it waits") };
    assert_eq!(holders.iter().map(|holder| holder.token).collect::<Vec<_>>(), [grant.token]);
    assert!(matches!(f.cancel_lease(lease.hold, IfGranted::GiveBack).await, Cancelled::Withdrawn { .. }));
    assert_eq!(f.cancel(other, 1, IfGranted::Keep).await, Cancelled::Unknown);
    assert_eq!(f.cancel_lease(lease.hold, IfGranted::Keep).await, Cancelled::Unknown);
    assert_eq!(f.counts(f.lock("x")).await, (1, 0));

    f.release(grant.hold, session).await;
    f.settle("x").await;
    assert_eq!(f.counts(f.lock("x")).await, (0, 0));
    assert!(f.events.grants_to(other).is_empty());
    f.granted(f.ask(other, 1, "x", SHARED)).await;
    f.granted(f.ask_once("r", "x", SHARED)).await;
}

/// "… and those behind it that fit now are granted."
pub(crate) async fn lets_others_in(f: &Fixture) {
    let (session, head, other) = (session_id(), session_id(), session_id());
    f.granted(f.ask(session, 1, "x", permits(2, 4))).await;
    f.queued(f.ask(head, 1, "x", permits(3, 4))).await;
    for request in 1..=3 {
        f.queued(f.ask(other, request, "x", permits(1, 4))).await;
    }
    f.cancel(head, 1, IfGranted::Keep).await;
    f.events.granted(other, 1).await;
    f.events.granted(other, 2).await;
    assert_eq!(f.counts(f.semaphore("x")).await, (3, 1));
}

/// "A grant is kept or given back, as asked."
pub(crate) async fn kept_or_given_back(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    f.granted(f.ask(session, 1, "x", EXCLUSIVE)).await;
    f.queued(f.ask(other, 1, "x", EXCLUSIVE)).await;
    assert_eq!(f.cancel(session, 1, IfGranted::Keep).await, Cancelled::Kept);
    assert_eq!(f.counts(f.lock("x")).await, (1, 1));
    assert_eq!(f.cancel(session, 1, IfGranted::GiveBack).await, Cancelled::GivenBack);
    f.events.granted(other, 1).await;
    assert_eq!(f.cancel(session, 1, IfGranted::GiveBack).await, Cancelled::Unknown);
    assert_eq!(f.cancel_lease(hold_id(), IfGranted::GiveBack).await, Cancelled::Unknown);
}

/// "One that is given back leaves no trace either: the same request may come again", even for something else.
pub(crate) async fn may_come_again(f: &Fixture) {
    let session = session_id();
    let lease = f.granted(f.ask_once("r", "x", EXCLUSIVE)).await;
    assert_eq!(f.cancel_lease(lease.hold, IfGranted::GiveBack).await, Cancelled::GivenBack);
    let again = f.granted(f.ask_once("r", "x", SHARED)).await;
    assert!(again.hold != lease.hold && again.token > lease.token);
    assert_eq!(refusal(f.release_as_bearer(lease.hold, f.lock("x")).await), Refusal::NotHolder { ended: None });

    let hold = f.granted(f.ask(session, 1, "y", EXCLUSIVE)).await;
    f.cancel(session, 1, IfGranted::GiveBack).await;
    let again = f.granted(f.ask(session, 1, "y", SHARED)).await;
    assert!(again.hold != hold.hold && again.token > hold.token);
}

/// Of a hold that was re-entered, that entry is given back.
pub(crate) async fn one_entry(f: &Fixture) {
    let session = session_id();
    let grant = f.granted(f.ask_as("k", session, 1, "x", EXCLUSIVE)).await;
    f.granted(f.ask_as("k", session, 2, "x", EXCLUSIVE)).await;
    assert_eq!(f.cancel(session, 1, IfGranted::GiveBack).await, Cancelled::GivenBack);
    assert_eq!(f.cancel(session, 1, IfGranted::GiveBack).await, Cancelled::Unknown);
    assert_eq!(f.cancel(session, 2, IfGranted::Keep).await, Cancelled::Kept);
    assert_eq!(f.granted(f.ask_as("k", session, 1, "x", EXCLUSIVE)).await.entries, 2);
    assert_eq!(f.release(grant.hold, session).await, 1);
}
