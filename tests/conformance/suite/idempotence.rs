//! Acquire: "Repeating a request (same session and number, or same request id) gives the first one's hold, or its place
//! in the queue. Asking for something else under it is refused."

use futures::future::join_all;
use lockstead_core::{Acquire, Acquired, EndReason, Owner, Refusal};

use crate::fixture::{EXCLUSIVE, Fixture, SHARED, hold_id, permits, session_id};

fn again(acquire: &Acquire) -> Acquire {
    Acquire { hold: hold_id(), ..acquire.clone() }
}

/// The same session and number: the same hold, token and all.
pub(crate) async fn session_number(f: &Fixture) {
    let session = session_id();
    let ask = f.ask(session, 1, "x", EXCLUSIVE);
    let grant = f.granted(ask.clone()).await;
    assert_eq!(f.granted(again(&ask)).await, grant);
    assert_eq!(f.granted(Acquire { queue: false, ..again(&ask) }).await, grant);
    assert_eq!(f.counts(f.lock("x")).await, (1, 0));
    // The number of another session is another number.
    f.held(f.ask(session_id(), 1, "x", EXCLUSIVE)).await;
}

/// The same request id: the same hold; without one, each acquire stands alone.
pub(crate) async fn request_id(f: &Fixture) {
    let ask = f.ask_once("r", "x", permits(1, 3));
    let grant = f.granted(ask.clone()).await;
    let repeated = f.granted(again(&ask)).await;
    assert_eq!((repeated.hold, repeated.token), (grant.hold, grant.token));
    assert_eq!(f.counts(f.semaphore("x")).await, (1, 0));
    let anonymous = f.ask_lease("x", permits(1, 3), crate::fixture::LONG);
    let first = f.granted(anonymous.clone()).await;
    assert_ne!(f.granted(again(&anonymous)).await.hold, first.hold);
    assert_eq!(f.counts(f.semaphore("x")).await, (3, 0));
}

/// The same request many times at once, as from a client that retries in haste: one hold.
pub(crate) async fn at_the_same_time(f: &Fixture) {
    let ask = f.ask_once("r", "x", permits(1, 3));
    let answers = join_all((0..10).map(|_| f.engine.acquire(again(&ask)))).await;
    let mut holds: Vec<_> = answers
        .into_iter()
        .map(|answer| match answer.unwrap() {
            Acquired::Granted(grant) => grant.hold,
            other => panic!("not granted: {other:?}"),
        })
        .collect();
    holds.dedup();
    assert_eq!(holds.len(), 1);
    assert_eq!(f.counts(f.semaphore("x")).await, (1, 0));
}

/// Something else under a number or an id that is in use.
pub(crate) async fn something_else(f: &Fixture) {
    let session = session_id();
    for (ask, name) in [(f.ask(session, 1, "x", SHARED), "x"), (f.ask_once("r", "y", SHARED), "y")] {
        f.granted(ask.clone()).await;
        let owner = Owner::parse("another").unwrap();
        let changes = [
            Acquire { claim: EXCLUSIVE, ..again(&ask) },
            Acquire { claim: permits(1, 1), ..again(&ask) },
            Acquire { name: f.name("z"), ..again(&ask) },
            Acquire { owner, ..again(&ask) },
        ];
        for change in changes {
            assert_eq!(f.refused(change).await, Refusal::RequestIdReused);
        }
        assert_eq!(f.counts(f.lock(name)).await, (1, 0));
    }
    let re_entrant = f.ask_as("k", session, 2, "w", SHARED);
    f.granted(re_entrant.clone()).await;
    assert_eq!(f.refused(Acquire { claim: EXCLUSIVE, ..again(&re_entrant) }).await, Refusal::RequestIdReused);
    assert_eq!(f.refused(f.ask_as("j", session, 2, "w", SHARED)).await, Refusal::RequestIdReused);
}

/// A request id whose hold has ended does not make a new one.
pub(crate) async fn ended_request(f: &Fixture) {
    let ask = f.ask_once("r", "x", EXCLUSIVE);
    let grant = f.granted(ask.clone()).await;
    f.release_as_bearer(grant.hold, f.lock("x")).await.unwrap();
    assert_eq!(f.refused(again(&ask)).await, Refusal::NotHolder { ended: Some(EndReason::Released) });
    assert_eq!(f.refused(f.ask_once("r", "x", SHARED)).await, Refusal::RequestIdReused);
    assert_eq!(f.counts(f.lock("x")).await, (0, 0));
}

/// A request that waits keeps its place when it comes again, and is granted once.
pub(crate) async fn repeat_in_queue(f: &Fixture) {
    let (first, second) = (session_id(), session_id());
    let grant = f.granted(f.ask(first, 1, "x", EXCLUSIVE)).await;
    let (of_session, of_lease) = (f.ask(second, 1, "x", EXCLUSIVE), f.ask_once("r", "x", SHARED));
    let (session_hold, lease_hold) = (of_session.hold, of_lease.hold);
    f.queued(of_session.clone()).await;
    f.queued(of_lease.clone()).await;
    assert_eq!(f.queued(again(&of_lease)).await, (lease_hold, 2));
    assert_eq!(f.queued(again(&of_session)).await, (session_hold, 1));
    assert_eq!(f.counts(f.lock("x")).await, (1, 2));

    f.release(grant.hold, first).await;
    let grant = f.events.granted(second, 1).await;
    assert_eq!(grant.hold, session_hold);
    assert_eq!(f.granted(again(&of_session)).await, grant);
    f.release(grant.hold, second).await;
    f.events.lease_granted(lease_hold).await;
    f.settle("x").await;
    assert_eq!(f.counts(f.lock("x")).await, (1, 0));
    assert_eq!(f.events.grants_to(second), [1]);
}
