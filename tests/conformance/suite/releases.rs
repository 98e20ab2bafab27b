//! Release.

use lockstead_core::{EndReason, Refusal, Release, Releaser};

use crate::fixture::{EXCLUSIVE, Fixture, LONG, SHARED, hold_id, refusal, session_id};

/// "The next waiters that fit are granted in the same step": whoever looks after the release sees them hold.
pub(crate) async fn next_in_the_same_step(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    let grant = f.granted(f.ask(session, 1, "x", EXCLUSIVE)).await;
    f.queued(f.ask(other, 1, "x", SHARED)).await;
    f.queued(f.ask_lease("x", SHARED, LONG)).await;
    f.queued(f.ask(other, 2, "x", EXCLUSIVE)).await;
    f.release(grant.hold, session).await;
    assert_eq!(f.counts(f.lock("x")).await, (2, 1));
    f.events.granted(other, 1).await;
}

/// "By its session: gives up one entry; the hold ends with the last."
pub(crate) async fn entries(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    let grant = f.granted(f.ask_as("k", session, 1, "x", EXCLUSIVE)).await;
    f.granted(f.ask_as("k", session, 2, "x", EXCLUSIVE)).await;
    f.queued(f.ask(other, 1, "x", EXCLUSIVE)).await;
    assert_eq!(f.release(grant.hold, session).await, 1);
    assert_eq!(f.counts(f.lock("x")).await, (1, 1));
    assert_eq!(f.release(grant.hold, session).await, 0);
    f.events.granted(other, 1).await;
}

/// "By its bearer: the hold ends": a lease, whose id and resource are all that one needs to know.
pub(crate) async fn bearer_of_a_lease(f: &Fixture) {
    let lease = f.granted(f.ask_lease("x", EXCLUSIVE, LONG)).await;
    let waiter = f.ask_lease("x", EXCLUSIVE, LONG);
    let next = waiter.hold;
    f.queued(waiter).await;
    assert_eq!(f.release_as_bearer(lease.hold, f.lock("x")).await, Ok(0));
    f.events.lease_granted(next).await;
}

/// "… and its session is told by `Event::Ended`", whatever the entries.
pub(crate) async fn bearer_of_a_session(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    let grant = f.granted(f.ask_as("k", session, 1, "x", EXCLUSIVE)).await;
    f.granted(f.ask_as("k", session, 2, "x", EXCLUSIVE)).await;
    f.queued(f.ask(other, 1, "x", EXCLUSIVE)).await;
    assert_eq!(f.release_as_bearer(grant.hold, f.lock("x")).await, Ok(0));
    assert_eq!(f.events.ended(grant.hold).await, (Some(session), f.lock("x"), EndReason::Released));
    f.events.granted(other, 1).await;
}

/// "Refused if the hold is over, or is not the releaser's."
pub(crate) async fn not_the_releasers(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    let grant = f.granted(f.ask(session, 1, "x", EXCLUSIVE)).await;
    let release = async |hold, by| refusal(f.engine.release(Release { hold, by }).await);
    assert_eq!(release(grant.hold, Releaser::Session(other)).await, Refusal::HoldNotFound);
    assert_eq!(release(grant.hold, Releaser::Bearer(f.lock("y"))).await, Refusal::HoldNotFound);
    assert_eq!(release(hold_id(), Releaser::Session(session)).await, Refusal::HoldNotFound);
    assert_eq!(release(hold_id(), Releaser::Bearer(f.lock("x"))).await, Refusal::NotHolder { ended: None });
    assert_eq!(f.counts(f.lock("x")).await, (1, 0));
    f.release(grant.hold, session).await;
    let over = Refusal::NotHolder { ended: Some(EndReason::Released) };
    assert_eq!(release(grant.hold, Releaser::Session(session)).await, over);
    assert_eq!(release(grant.hold, Releaser::Bearer(f.lock("x"))).await, over);
}
