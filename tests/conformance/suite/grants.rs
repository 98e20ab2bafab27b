//! Acquire: who is granted, in which order, with which token.

use lockstead_core::{Acquire, Owner, Refusal};

use crate::fixture::{EXCLUSIVE, Fixture, LONG, SHARED, permits, session_id};

/// "Grants if the permits are free and nobody waits; else queues".
pub(crate) async fn at_once(f: &Fixture) {
    let session = session_id();
    let ask = f.ask(session, 1, "x", permits(2, 3));
    let fresh = ask.hold;
    let grant = f.granted(ask).await;
    assert_eq!((grant.hold, grant.entries, grant.lease), (fresh, 1, None));
    f.granted(f.ask(session, 2, "x", permits(1, 3))).await;
    let ask = f.ask(session, 3, "x", permits(1, 3));
    assert_eq!((ask.hold, 1), f.queued(ask.clone()).await);
    assert_eq!(f.queued(f.ask_lease("x", permits(1, 3), LONG)).await.1, 2);

    let lease = f.granted(f.ask_lease("y", EXCLUSIVE, LONG)).await;
    assert_eq!(lease.lease.map(|lease| lease.ttl), Some(LONG));
}

/// "… or answers `Acquired::Held` if it may not" queue; and then it has left nothing behind.
pub(crate) async fn tries(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    let owner = Owner::parse("the holder").unwrap();
    let grant = f.granted(Acquire { owner, ..f.ask(session, 1, "x", EXCLUSIVE) }).await;
    let holders = f.held(f.ask(other, 1, "x", SHARED)).await;
    assert_eq!(holders.len(), 1);
    assert_eq!((holders[0].owner.as_str(), holders[0].token), ("the holder", grant.token));
    assert_eq!(f.counts(f.lock("x")).await, (1, 0));
    f.release(grant.hold, session).await;
    f.granted(f.ask(other, 1, "x", EXCLUSIVE)).await;
}

/// "… and nobody waits": a request whose permits are free does not pass those who wait.
pub(crate) async fn nobody_barges(f: &Fixture) {
    let [first, second, third] = [session_id(), session_id(), session_id()];
    let grant = f.granted(f.ask(first, 1, "x", SHARED)).await;
    f.queued(f.ask(second, 1, "x", EXCLUSIVE)).await;
    f.held(f.ask(third, 1, "x", SHARED)).await;
    f.queued(f.ask(third, 2, "x", SHARED)).await;
    f.release(grant.hold, first).await;
    let grant = f.events.granted(second, 1).await;
    assert_eq!(f.counts(f.lock("x")).await, (1, 1));
    f.release(grant.hold, second).await;
    f.events.granted(third, 2).await;
}

/// "Serves a queue strictly in order of arrival".
pub(crate) async fn strict_order(f: &Fixture) {
    let (first, session) = (session_id(), session_id());
    let mut grant = f.granted(f.ask(first, 1, "x", EXCLUSIVE)).await;
    for request in [5, 3, 9, 1] {
        f.queued(f.ask(session, request, "x", EXCLUSIVE)).await;
    }
    f.release(grant.hold, first).await;
    for request in [5, 3, 9, 1] {
        grant = f.events.granted(session, request).await;
        assert_eq!(f.get(f.lock("x")).await.holders[0].token, grant.token);
        f.release(grant.hold, session).await;
    }
    assert_eq!(f.events.grants_to(session), [5, 3, 9, 1]);
}

/// Shared waiters next to each other at the head are granted together, and no others with them.
pub(crate) async fn shared_neighbours(f: &Fixture) {
    let (first, session) = (session_id(), session_id());
    let grant = f.granted(f.ask(first, 1, "x", EXCLUSIVE)).await;
    for (request, claim) in [(1, SHARED), (2, SHARED), (3, EXCLUSIVE), (4, SHARED)] {
        f.queued(f.ask(session, request, "x", claim)).await;
    }
    f.release(grant.hold, first).await;
    let grants = [f.events.granted(session, 1).await, f.events.granted(session, 2).await];
    assert_eq!(f.counts(f.lock("x")).await, (2, 2));
    for grant in grants {
        f.release(grant.hold, session).await;
    }
    f.events.granted(session, 3).await;
    assert_eq!(f.counts(f.lock("x")).await, (1, 1));
}

/// "A head that does not fit holds up all behind it", so that it is not starved.
pub(crate) async fn large_head(f: &Fixture) {
    let (first, session) = (session_id(), session_id());
    let one = f.granted(f.ask(first, 1, "x", permits(1, 3))).await;
    let two = f.granted(f.ask(first, 2, "x", permits(1, 3))).await;
    f.queued(f.ask(session, 1, "x", permits(3, 3))).await;
    f.queued(f.ask(session, 2, "x", permits(1, 3))).await;
    f.release(one.hold, first).await;
    assert_eq!(f.counts(f.semaphore("x")).await, (1, 2));
    f.release(two.hold, first).await;
    let all = f.events.granted(session, 1).await;
    assert_eq!(f.counts(f.semaphore("x")).await, (1, 1));
    f.release(all.hold, session).await;
    f.events.granted(session, 2).await;
}

/// A lock and a semaphore of one name are two resources.
pub(crate) async fn separate_kinds(f: &Fixture) {
    let session = session_id();
    let lock = f.granted(f.ask(session, 1, "x", EXCLUSIVE)).await;
    let semaphore = f.granted(f.ask(session, 2, "x", permits(1, 1))).await;
    f.release(lock.hold, session).await;
    assert_eq!(f.counts(f.lock("x")).await, (0, 0));
    assert_eq!(f.get(f.semaphore("x")).await.holders[0].token, semaphore.token);
}

/// All who share a semaphore name the same limit; once nobody uses it, another may be named.
pub(crate) async fn limit_in_use(f: &Fixture) {
    let session = session_id();
    let grant = f.granted(f.ask(session, 1, "x", permits(1, 3))).await;
    for limit in [2, 4] {
        assert_eq!(f.refused(f.ask(session, 2, "x", permits(1, limit))).await, Refusal::LimitMismatch { in_use: 3 });
    }
    f.release(grant.hold, session).await;
    f.granted(f.ask(session, 2, "x", permits(1, 4))).await;
}

/// "The token is greater than at every earlier grant of the name": at once, from the queue, and after nobody used it.
pub(crate) async fn tokens_grow(f: &Fixture) {
    let (first, second) = (session_id(), session_id());
    let mut last = None;
    let mut check = |token| assert!(last.replace(token).is_none_or(|last| last < token));
    for request in 0..5 {
        let grant = f.granted(f.ask(first, request, "x", EXCLUSIVE)).await;
        check(grant.token);
        f.queued(f.ask(second, request, "x", SHARED)).await;
        f.release(grant.hold, first).await;
        let grant = f.events.granted(second, request).await;
        check(grant.token);
        check(f.granted(f.ask(first, request, "x", SHARED)).await.token);
        assert_eq!(f.end(first).await, 1);
        f.release(grant.hold, second).await;
        let lease = f.granted(f.ask_lease("x", EXCLUSIVE, LONG)).await;
        check(lease.token);
        f.release_as_bearer(lease.hold, f.lock("x")).await.unwrap();
    }
}
