//! The rules of one engine hold across several.

use futures::future::join_all;
use lockstead_core::{
    Acquire, Acquired, Cancelled, Census, EndReason, IfGranted, Kind, List, Owner, Refusal, Release, Releaser,
};
use lockstead_tests::engines::servers_on_shared;
use lockstead_tests::fixture::{EXCLUSIVE, LONG, SHARED, permits, refusal, session_id};

#[tokio::test]
async fn one_queue_for_all_served_in_order_with_growing_tokens() {
    let [a, b, c] = servers_on_shared().await;
    let order = [&a, &b, &c, &a, &c, &b, &b];
    let sessions: Vec<_> = order.iter().map(|_| session_id()).collect();
    let mut grant = a.granted(a.ask(sessions[0], 1, "x", EXCLUSIVE)).await;
    for (position, (server, session)) in order.iter().zip(&sessions).enumerate().skip(1) {
        assert_eq!(server.queued(server.ask(*session, 1, "x", EXCLUSIVE)).await.1, position);
    }
    for (at, server) in order.iter().enumerate() {
        for anybody in [&a, &b, &c] {
            assert_eq!(anybody.counts(a.lock("x")).await, (1, order.len() - 1 - at));
            assert_eq!(anybody.get(a.lock("x")).await.holders[0].token, grant.token);
        }
        server.release(grant.hold, sessions[at]).await;
        if let Some(next) = order.get(at + 1) {
            let granted = next.events.granted(sessions[at + 1], 1).await;
            assert!(grant.token < granted.token);
            grant = granted;
        }
    }
    assert!(c.all().await.is_empty());
}

#[tokio::test]
async fn of_many_at_once_one_is_granted_and_each_has_a_place() {
    let servers: [_; 3] = servers_on_shared().await;
    let askers: Vec<_> = (0..60).map(|at| (&servers[at % 3], session_id())).collect();
    let ask = |(server, session): &(&lockstead_tests::fixture::Fixture, _)| {
        server.engine.acquire(server.ask(*session, 1, "x", EXCLUSIVE))
    };
    let answers = join_all(askers.iter().map(ask)).await;
    let (mut holder, mut queue) = (None, Vec::new());
    for (asker, answer) in askers.into_iter().zip(answers) {
        match answer.unwrap() {
            Acquired::Granted(grant) => assert!(holder.replace((grant, asker)).is_none(), "two hold"),
            Acquired::Queued { position, .. } => queue.push((position, asker)),
            Acquired::Held { .. } => panic!("it may queue"),
        }
    }
    queue.sort_unstable_by_key(|(position, _)| *position);
    assert!(queue.iter().map(|(position, _)| *position).eq(1..60));
    let (mut grant, (mut server, mut session)) = holder.expect("one holds");
    for (_, (next_server, next)) in queue {
        server.release(grant.hold, session).await;
        grant = next_server.events.granted(next, 1).await;
        (server, session) = (next_server, next);
    }
}

#[tokio::test]
async fn a_try_hears_who_holds_elsewhere_and_leaves_nothing() {
    let [a, b] = servers_on_shared().await;
    let (holder, other) = (session_id(), session_id());
    let owner = Owner::parse("the holder").unwrap();
    let grant = a.granted(Acquire { owner: owner.clone(), ..a.ask(holder, 1, "x", EXCLUSIVE) }).await;
    let holders = b.held(b.ask(other, 1, "x", SHARED)).await;
    assert_eq!(holders.len(), 1);
    assert_eq!((&holders[0].owner, holders[0].token, holders[0].claim), (&owner, grant.token, EXCLUSIVE));
    a.release(grant.hold, holder).await;
    assert!(b.all().await.is_empty());
}

#[tokio::test]
async fn shared_neighbours_of_several_servers_are_granted_together() {
    let [a, b, c] = servers_on_shared().await;
    let [first, on_a, on_b, on_c] = [session_id(), session_id(), session_id(), session_id()];
    let held = a.granted(a.ask(first, 1, "x", EXCLUSIVE)).await;
    b.queued(b.ask(on_b, 1, "x", SHARED)).await;
    c.queued(c.ask(on_c, 1, "x", SHARED)).await;
    a.queued(a.ask(on_a, 1, "x", EXCLUSIVE)).await;
    b.queued(b.ask(on_b, 2, "x", SHARED)).await;
    a.release(held.hold, first).await;
    let (by_b, by_c) = (b.events.granted(on_b, 1).await, c.events.granted(on_c, 1).await);
    assert!(held.token < by_b.token && by_b.token < by_c.token);
    assert_eq!(a.counts(a.lock("x")).await, (2, 2));
    b.held(b.ask(on_b, 3, "x", SHARED)).await;
    c.release(by_c.hold, on_c).await;
    assert_eq!(a.counts(a.lock("x")).await, (1, 2));
    b.release(by_b.hold, on_b).await;
    let alone = a.events.granted(on_a, 1).await;
    assert_eq!(c.counts(a.lock("x")).await, (1, 1));
    a.release(alone.hold, on_a).await;
    b.events.granted(on_b, 2).await;
}

#[tokio::test]
async fn permits_are_counted_across_servers() {
    let [a, b, c] = servers_on_shared().await;
    let [on_a, on_b, on_c] = [session_id(), session_id(), session_id()];
    let two = a.granted(a.ask(on_a, 1, "x", permits(2, 3))).await;
    let one = b.granted(b.ask(on_b, 1, "x", permits(1, 3))).await;
    c.held(c.ask(on_c, 1, "x", permits(1, 3))).await;
    assert_eq!(c.refused(c.ask(on_c, 1, "x", permits(1, 4))).await, Refusal::LimitMismatch { in_use: 3 });
    c.queued(c.ask(on_c, 2, "x", permits(3, 3))).await;
    b.queued(b.ask(on_b, 2, "x", permits(1, 3))).await;
    b.release(one.hold, on_b).await;
    assert_eq!(b.counts(a.semaphore("x")).await, (1, 2), "the head does not fit, and holds up those behind it");
    a.release(two.hold, on_a).await;
    let all = c.events.granted(on_c, 2).await;
    assert_eq!(a.counts(a.semaphore("x")).await, (1, 1));
    c.release(all.hold, on_c).await;
    b.events.granted(on_b, 2).await;
}

#[tokio::test]
async fn a_cancel_on_one_server_lets_those_of_another_in() {
    let [a, b] = servers_on_shared().await;
    let [first, head, next, last] = [session_id(), session_id(), session_id(), session_id()];
    let grant = a.granted(a.ask(first, 1, "x", SHARED)).await;
    a.queued(a.ask(head, 1, "x", EXCLUSIVE)).await;
    b.queued(b.ask(next, 1, "x", SHARED)).await;
    let Cancelled::Withdrawn { holders } = a.cancel(head, 1, IfGranted::Keep).await else { panic!("it waits") };
    assert_eq!(holders[0].token, grant.token);
    b.events.granted(next, 1).await;
    b.queued(b.ask(last, 1, "x", EXCLUSIVE)).await;
    assert_eq!(a.cancel(first, 1, IfGranted::GiveBack).await, Cancelled::GivenBack);
    assert_eq!(b.cancel(next, 1, IfGranted::GiveBack).await, Cancelled::GivenBack);
    b.events.granted(last, 1).await;
}

#[tokio::test]
async fn the_end_of_a_session_grants_those_of_other_servers_and_none_of_its_own() {
    let [a, b] = servers_on_shared().await;
    let (session, other) = (session_id(), session_id());
    for (request, name) in (0..).step_by(10).zip(["x", "y", "z"]) {
        a.granted(a.ask(session, request, name, EXCLUSIVE)).await;
        a.queued(a.ask(session, request + 1, name, EXCLUSIVE)).await;
        b.queued(b.ask(other, request, name, EXCLUSIVE)).await;
    }
    assert_eq!(a.end(session).await, 6);
    for (request, name) in (0..).step_by(10).zip(["x", "y", "z"]) {
        b.events.granted(other, request).await;
        assert_eq!(b.counts(a.lock(name)).await, (1, 0));
        a.settle(name).await;
    }
    assert!(a.events.grants_to(session).is_empty());
}

#[tokio::test]
async fn a_session_is_told_when_the_bearer_of_its_hold_releases_it_elsewhere() {
    let [a, b, c] = servers_on_shared().await;
    let (session, other) = (session_id(), session_id());
    let grant = a.granted(a.ask_as("k", session, 1, "x", EXCLUSIVE)).await;
    a.granted(a.ask_as("k", session, 2, "x", EXCLUSIVE)).await;
    c.queued(c.ask(other, 1, "x", EXCLUSIVE)).await;
    let wrong = b.release_as_bearer(grant.hold, b.lock("y")).await;
    assert_eq!(refusal(wrong), Refusal::HoldNotFound);
    assert_eq!(b.release_as_bearer(grant.hold, b.lock("x")).await, Ok(0));
    assert_eq!(a.events.ended(grant.hold).await, (Some(session), a.lock("x"), EndReason::Released));
    c.events.granted(other, 1).await;
    let late = a.engine.release(Release { hold: grant.hold, by: Releaser::Session(session) }).await;
    assert_eq!(refusal(late), Refusal::NotHolder { ended: Some(EndReason::Released) });
    assert_eq!(a.engine.census(), Census::default());
    assert!(b.events.so_far().is_empty());
}

#[tokio::test]
async fn every_server_lists_what_all_have_and_counts_what_it_has() {
    let [a, b, c] = servers_on_shared().await;
    let sessions = [session_id(), session_id()];
    let names: Vec<_> = (0..40).map(|at| format!("{at:02}")).collect();
    for (request, name) in (0..).zip(&names) {
        let server = [&a, &b][usize::try_from(request % 2).unwrap()];
        server.granted(server.ask(sessions[usize::try_from(request % 2).unwrap()], request, name, SHARED)).await;
        server.granted(server.ask_lease(name, SHARED, LONG)).await;
    }
    for server in [&a, &b, &c] {
        let mut seen = Vec::new();
        // Page by page, so that each partition is asked for a part of what it has.
        loop {
            let after = seen.last().map(|name: &String| server.name(name));
            let list = List { kind: Kind::Lock, prefix: server.prefix(), after, at_most: 7 };
            let page = server.engine.list(list).await.unwrap();
            assert!(page.iter().all(|view| (view.holder_count, view.holders.len()) == (2, 2)));
            if page.is_empty() {
                break;
            }
            seen.extend(page.iter().map(|view| view.key.name.as_str()[server.prefix().len()..].to_owned()));
        }
        assert_eq!(seen, names);
    }
    for server in [&a, &b] {
        assert_eq!(server.engine.census(), Census { resources: 20, holds: 40, ..Census::default() });
    }
    assert_eq!(c.engine.census(), Census::default());
}
