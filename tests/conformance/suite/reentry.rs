//! Acquire: "Re-enters a hold of the same session and owner key; this passes the queue, for it takes no permits."

use lockstead_core::Refusal;

use crate::fixture::{EXCLUSIVE, Fixture, SHARED, permits, session_id};

/// It passes the queue, adds an entry, and keeps the token.
pub(crate) async fn passes_the_queue(f: &Fixture) {
    let (session, other) = (session_id(), session_id());
    let grant = f.granted(f.ask_as("k", session, 1, "x", EXCLUSIVE)).await;
    f.queued(f.ask(other, 1, "x", EXCLUSIVE)).await;
    for (request, entries) in [(2, 2), (3, 3), (2, 3)] {
        let again = f.granted(f.ask_as("k", session, request, "x", SHARED)).await;
        assert_eq!((again.hold, again.token, again.entries), (grant.hold, grant.token, entries));
    }
    assert_eq!(f.counts(f.lock("x")).await, (1, 1));
}

/// Without the key, under another key, in another session and of another resource an acquire stands alone.
pub(crate) async fn same_key_only(f: &Fixture) {
    let session = session_id();
    let grant = f.granted(f.ask_as("k", session, 1, "x", EXCLUSIVE)).await;
    f.held(f.ask(session, 2, "x", SHARED)).await;
    f.held(f.ask_as("j", session, 3, "x", SHARED)).await;
    f.held(f.ask_as("k", session_id(), 1, "x", SHARED)).await;
    assert_ne!(f.granted(f.ask_as("k", session, 4, "y", EXCLUSIVE)).await.hold, grant.hold);
    assert_ne!(f.granted(f.ask_as("k", session, 5, "x", permits(1, 1))).await.hold, grant.hold);
}

/// It takes no permits, so it can't have more of them than the hold.
pub(crate) async fn no_more_than_held(f: &Fixture) {
    let session = session_id();
    f.granted(f.ask_as("k", session, 1, "x", SHARED)).await;
    assert_eq!(f.refused(f.ask_as("k", session, 2, "x", EXCLUSIVE)).await, Refusal::ReentryTooLarge);
    f.granted(f.ask_as("k", session, 3, "x", permits(2, 5))).await;
    assert_eq!(f.refused(f.ask_as("k", session, 4, "x", permits(3, 5))).await, Refusal::ReentryTooLarge);
    assert_eq!(f.granted(f.ask_as("k", session, 4, "x", permits(1, 5))).await.entries, 2);
}

/// Acquires that wait under one key are one hold once the first of them is granted; a larger one waits for its turn.
pub(crate) async fn merges_in_the_queue(f: &Fixture) {
    let (first, session, other) = (session_id(), session_id(), session_id());
    let held = f.granted(f.ask(first, 1, "x", permits(5, 5))).await;
    f.queued(f.ask_as("k", session, 1, "x", permits(2, 5))).await;
    f.queued(f.ask(other, 1, "x", permits(5, 5))).await;
    f.queued(f.ask_as("k", session, 2, "x", permits(3, 5))).await;
    f.queued(f.ask_as("k", session, 3, "x", permits(1, 5))).await;
    f.release(held.hold, first).await;
    let grant = f.events.granted(session, 1).await;
    let merged = f.events.granted(session, 3).await;
    assert_eq!((merged.hold, merged.token, merged.entries), (grant.hold, grant.token, 2));
    assert_eq!(f.counts(f.semaphore("x")).await, (1, 2));
    assert_eq!(f.release(grant.hold, session).await, 1);
    assert_eq!(f.release(grant.hold, session).await, 0);
    let held = f.events.granted(other, 1).await;
    f.release(held.hold, other).await;
    assert_ne!(f.events.granted(session, 2).await.hold, grant.hold);
}
