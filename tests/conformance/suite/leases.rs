//! Leases: their ends and renewals.

use lockstead_core::{EndReason, Refusal};

use crate::fixture::{EXCLUSIVE, Fixture, LONG, SHORT, hold_id, refusal, session_id};

/// A lease ends at its deadline, by itself and not before; the next waiter is granted.
pub(crate) async fn expiry_serves_the_queue(f: &Fixture) {
    let session = session_id();
    let lease = f.granted(f.ask_lease("x", EXCLUSIVE, LONG)).await;
    f.queued(f.ask(session, 1, "x", EXCLUSIVE)).await;
    let before = lockstead_clock::time();
    f.renew(lease.hold, f.lock("x"), SHORT).await.unwrap();
    let grant = f.events.granted(session, 1).await;
    assert!(lockstead_clock::time().since(before) >= SHORT, "too early");
    assert!(lease.token < grant.token);
    assert_eq!(f.events.ended(lease.hold).await, (None, f.lock("x"), EndReason::Expired));
    let over = Refusal::NotHolder { ended: Some(EndReason::Expired) };
    assert_eq!(refusal(f.renew(lease.hold, f.lock("x"), LONG).await), over);
    assert_eq!(refusal(f.release_as_bearer(lease.hold, f.lock("x")).await), over);
}

/// A lease that waited lasts from its grant, however long it waited.
pub(crate) async fn ttl_of_a_waiter(f: &Fixture) {
    let session = session_id();
    let first = f.granted(f.ask_lease("x", EXCLUSIVE, LONG)).await;
    let (waiter, _) = f.queued(f.ask_lease("x", EXCLUSIVE, SHORT)).await;
    f.queued(f.ask(session, 1, "x", EXCLUSIVE)).await;
    let before = lockstead_clock::time();
    f.renew(first.hold, f.lock("x"), SHORT * 2).await.unwrap();
    let grant = f.events.lease_granted(waiter).await;
    assert_eq!(grant.lease.map(|lease| lease.ttl), Some(SHORT));
    f.events.granted(session, 1).await;
    assert!(lockstead_clock::time().since(before) >= SHORT * 3, "too early");
}

/// "The new deadline counts from this call. The token stays."
pub(crate) async fn renewal(f: &Fixture) {
    let session = session_id();
    let lease = f.granted(f.ask_lease("x", EXCLUSIVE, LONG)).await;
    f.queued(f.ask(session, 1, "x", EXCLUSIVE)).await;
    let before = lockstead_clock::time();
    let renewed = f.renew(lease.hold, f.lock("x"), SHORT).await.unwrap();
    assert_eq!((renewed.hold, renewed.token, renewed.acquired_at), (lease.hold, lease.token, lease.acquired_at));
    assert_eq!(renewed.lease.map(|lease| lease.ttl), Some(SHORT));
    f.events.granted(session, 1).await;
    assert!(lockstead_clock::time().since(before) >= SHORT, "too early");

    // And the other way round: one that would have ended is kept.
    let short = f.granted(f.ask_lease("y", EXCLUSIVE, SHORT * 10)).await;
    f.renew(short.hold, f.lock("y"), LONG).await.unwrap();
    let other = f.granted(f.ask_lease("z", EXCLUSIVE, SHORT * 10)).await;
    f.events.ended(other.hold).await;
    assert_eq!(f.counts(f.lock("y")).await, (1, 0));
}

/// "Refused if the hold is over, is not of that resource, or is no lease."
pub(crate) async fn renew_refused(f: &Fixture) {
    let session = session_id();
    let of_session = f.granted(f.ask(session, 1, "x", EXCLUSIVE)).await;
    assert_eq!(refusal(f.renew(of_session.hold, f.lock("x"), LONG).await), Refusal::NotALease);
    let lease = f.granted(f.ask_lease("y", EXCLUSIVE, LONG)).await;
    assert_eq!(refusal(f.renew(lease.hold, f.lock("x"), LONG).await), Refusal::NotHolder { ended: None });
    assert_eq!(refusal(f.renew(lease.hold, f.lock("z"), LONG).await), Refusal::HoldNotFound);
    assert_eq!(refusal(f.renew(hold_id(), f.lock("z"), LONG).await), Refusal::HoldNotFound);
    f.release_as_bearer(lease.hold, f.lock("y")).await.unwrap();
    let over = Refusal::NotHolder { ended: Some(EndReason::Released) };
    assert_eq!(refusal(f.renew(lease.hold, f.lock("y"), LONG).await), over);
}
