//! Get, list and census.

use std::collections::BTreeMap;

use lockstead_core::{Acquire, Census, Kind, List, Metadata, Owner};

use crate::fixture::{EXCLUSIVE, Fixture, LONG, SHARED, permits, session_id};

/// Get: "Describes one resource; without parties if nobody uses it."
pub(crate) async fn unused(f: &Fixture) {
    let session = session_id();
    let grant = f.granted(f.ask(session, 1, "x", permits(1, 5))).await;
    f.release(grant.hold, session).await;
    let view = f.get(f.semaphore("x")).await;
    assert_eq!((view.key, view.limit), (f.semaphore("x"), None));
    assert_eq!((view.holder_count, view.waiter_count), (0, 0));
    assert!(view.holders.is_empty() && view.waiters.is_empty());
}

/// Get: who holds, oldest first, and who waits, next first.
pub(crate) async fn parties(f: &Fixture) {
    let session = session_id();
    let owner = |text| Owner::parse(text).unwrap();
    let metadata = Metadata::parse(BTreeMap::from([("zone".to_owned(), "a".to_owned())])).unwrap();
    let lease = Acquire { owner: owner("first"), metadata: metadata.clone(), ..f.ask_lease("x", permits(3, 5), LONG) };
    let first = f.granted(lease).await;
    let second = f.granted(Acquire { owner: owner("second"), ..f.ask(session, 1, "x", permits(2, 5)) }).await;
    f.queued(Acquire { owner: owner("third"), ..f.ask(session, 2, "x", permits(4, 5)) }).await;
    f.queued(Acquire { owner: owner("fourth"), ..f.ask(session, 3, "x", permits(1, 5)) }).await;
    let view = f.get(f.semaphore("x")).await;
    assert_eq!((view.limit, view.holder_count, view.waiter_count), (Some(5), 2, 2));
    let holders: Vec<_> = view.holders.iter().map(|it| (it.owner.as_str(), it.token, it.claim)).collect();
    assert_eq!(holders, [("first", first.token, permits(3, 5)), ("second", second.token, permits(2, 5))]);
    assert_eq!(view.holders[0].metadata, metadata);
    assert!(view.holders[0].expires_at.is_some() && view.holders[1].expires_at.is_none());
    assert_eq!(view.holders[0].acquired_at, first.acquired_at);
    let waiters: Vec<_> = view.waiters.iter().map(|it| (it.owner.as_str(), it.position, it.claim)).collect();
    assert_eq!(waiters, [("third", 1, permits(4, 5)), ("fourth", 2, permits(1, 5))]);
}

/// List: "Describes the resources in use, in order of their names, bytewise", by prefix and page by page.
pub(crate) async fn lists(f: &Fixture) {
    let session = session_id();
    let names = ["B", "a", "a/1", "a/1/x", "a/2", "ab", "ä"];
    for (request, name) in (0..).zip(["a/2", "ä", "B", "a/1/x", "ab", "a", "a/1"]) {
        f.granted(f.ask(session, request, name, SHARED)).await;
    }
    f.granted(f.ask(session, 100, "a/semaphore", permits(1, 1))).await;
    let gone = f.granted(f.ask(session, 101, "a/gone", EXCLUSIVE)).await;
    f.release(gone.hold, session).await;

    let list = async |kind, prefix: &str, after: Option<&str>, at_most| {
        let prefix = format!("{}{prefix}", f.prefix());
        let list = List { kind, prefix, after: after.map(|name| f.name(name)), at_most };
        let views = f.engine.list(list).await.unwrap();
        assert!(views.iter().all(|view| view.key.kind == kind && view.holder_count == 1 && view.holders.len() == 1));
        let short = |name: &str| name.strip_prefix(&f.prefix()).expect("listed by its prefix").to_owned();
        views.iter().map(|view| short(view.key.name.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(list(Kind::Lock, "", None, 100).await, names);
    assert_eq!(list(Kind::Lock, "", None, 3).await, names[..3]);
    assert_eq!(list(Kind::Lock, "", Some("a/1"), 3).await, names[3..6]);
    assert_eq!(list(Kind::Lock, "", Some("a/11"), 100).await, names[4..]);
    assert_eq!(list(Kind::Lock, "", Some("ä"), 100).await, [""; 0]);
    assert_eq!(list(Kind::Lock, "a/", None, 100).await, names[2..5]);
    assert_eq!(list(Kind::Lock, "a/", Some("a/2"), 100).await, [""; 0]);
    assert_eq!(list(Kind::Lock, "a/", Some("B"), 100).await, names[2..5]);
    assert_eq!(list(Kind::Semaphore, "a", None, 100).await, ["a/semaphore"]);
}

/// Census: "How much this server has in the engine."
pub(crate) async fn census(f: &Fixture) {
    let session = session_id();
    assert_eq!(f.engine.census(), Census::default());
    f.granted(f.ask(session, 1, "x", EXCLUSIVE)).await;
    f.queued(f.ask_lease("x", EXCLUSIVE, LONG)).await;
    f.granted(f.ask(session, 2, "x", permits(1, 1))).await;
    assert_eq!(f.engine.census(), Census { resources: 2, holds: 3, waiters: 1, longest_queue: 1 });
    assert_eq!(f.end(session).await, 2);
    let Census { resources, holds, .. } = f.engine.census();
    assert_eq!((resources, holds), (1, 1));
}
