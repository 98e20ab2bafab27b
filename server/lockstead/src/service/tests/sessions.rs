//! The operations of a session while answers are on their way.

use std::time::Duration;

use lockstead_api::v1::ErrorReason;
use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::{Event, Wait};

use super::client::{Client, Slow, resume};
use super::slow_engine::Method;
use crate::service::session::{Message, OnDisconnect, Reply};

async fn hear_not_acquired(client: &mut Client, request: u64, reason: Reason) {
    match client.hear().await {
        Reply::NotAcquired { request: of, why } => assert_eq!((of, why.reason), (request, reason)),
        other => panic!("instead of {reason:?}: {other:?}"),
    }
}

#[tokio::test]
async fn a_grant_that_comes_before_its_answer_is_told_once() {
    let mut slow = Slow::start();
    let (mut client, _) = slow.open(OnDisconnect::Release).await;
    client.acquire(1, "x", Wait::No);
    let first = client.hear_acquired().await;
    slow.engine.hold_back(&[Method::Acquire]);
    client.acquire(2, "x", Wait::Forever);
    let queued = slow.held_back(Method::Acquire).await.carry_out();
    client.release(3, first.hold);
    // The grant is an event, which may come before or after the answer to the release.
    let (one, other) = (client.hear().await, client.hear().await);
    let both = [&one, &other];
    assert!(both.iter().any(|reply| matches!(reply, Reply::Acquired { request: 2, .. })), "{both:?}");
    assert!(both.iter().any(|reply| matches!(reply, Reply::Released { request: 3, entries: 0 })), "{both:?}");
    queued.answer();
    client.ping().await;
}

/// What is late belongs to the acquire that it was asked for, not to the next of that number.
#[tokio::test]
async fn a_number_can_be_used_again_while_the_answer_of_its_last_acquire_is_late() {
    let mut slow = Slow::start();
    let (mut client, _) = slow.open(OnDisconnect::Release).await;
    let (mut other, _) = slow.open(OnDisconnect::Release).await;
    other.acquire(1, "x", Wait::No);
    let blocking = other.hear_acquired().await;
    slow.engine.hold_back(&[Method::Acquire]);
    client.acquire(1, "x", Wait::Forever);
    let late = slow.held_back(Method::Acquire).await.carry_out();
    other.release(2, blocking.hold);
    let grant = client.hear_acquired().await;
    client.release(2, grant.hold);
    assert!(matches!(client.hear().await, Reply::Released { request: 2, .. }));
    client.acquire(1, "y", Wait::No);
    let second = slow.held_back(Method::Acquire).await;
    late.answer();
    client.ping().await;
    second.answer();
    client.hear_acquired().await;
}

#[tokio::test]
async fn a_cancel_does_not_overtake_its_acquire() {
    for held_by_other in [false, true] {
        let mut slow = Slow::start();
        let (mut client, _) = slow.open(OnDisconnect::Release).await;
        let (mut other, _) = slow.open(OnDisconnect::Release).await;
        if held_by_other {
            other.acquire(1, "x", Wait::No);
            other.hear_acquired().await;
        }
        slow.engine.hold_back(&[Method::Acquire, Method::Cancel]);
        client.acquire(1, "x", Wait::Forever);
        let acquire = slow.held_back(Method::Acquire).await;
        client.cancel(1);
        client.ping().await;
        slow.no_other_call();
        acquire.answer();
        let cancel = slow.held_back(Method::Cancel).await;
        client.ping().await;
        cancel.answer();
        hear_not_acquired(&mut client, 1, Reason::Cancelled).await;
        assert_eq!(slow.counts("x").await, (usize::from(held_by_other), 0));
    }
}

#[tokio::test]
async fn a_cancel_of_what_is_granted_meanwhile_is_the_last_word() {
    let mut slow = Slow::start();
    let (mut client, _) = slow.open(OnDisconnect::Release).await;
    let (mut other, _) = slow.open(OnDisconnect::Release).await;
    other.acquire(1, "x", Wait::No);
    let blocking = other.hear_acquired().await;
    client.acquire(1, "x", Wait::Forever);
    client.hear_queued().await;
    slow.engine.hold_back(&[Method::Cancel]);
    client.cancel(1);
    let cancel = slow.held_back(Method::Cancel).await;
    other.release(2, blocking.hold);
    other.hear().await;
    client.ping().await;
    cancel.answer();
    hear_not_acquired(&mut client, 1, Reason::Cancelled).await;
    assert_eq!(slow.counts("x").await, (0, 0));
}

#[tokio::test]
async fn an_engine_that_is_away_is_no_reason_to_leave_a_cancel_unanswered() {
    let mut slow = Slow::start();
    let (mut client, _) = slow.open(OnDisconnect::Release).await;
    client.acquire(1, "x", Wait::No);
    client.hear_acquired().await;
    slow.engine.hold_back(&[Method::Acquire, Method::Cancel]);
    client.acquire(2, "x", Wait::Forever);
    slow.held_back(Method::Acquire).await.answer();
    client.hear_queued().await;
    for request in [1, 2] {
        client.cancel(request);
        slow.held_back(Method::Cancel).await.fail();
        hear_not_acquired(&mut client, request, Reason::Cancelled).await;
    }
    // One whose acquire fails has nothing to be taken back.
    client.acquire(3, "y", Wait::Forever);
    let acquire = slow.held_back(Method::Acquire).await;
    client.cancel(3);
    client.ping().await;
    acquire.fail();
    hear_not_acquired(&mut client, 3, Reason::Cancelled).await;
    slow.no_other_call();
}

#[tokio::test]
async fn a_wait_is_over_also_if_the_engine_is_away_and_nothing_comes_of_it() {
    let mut slow = Slow::start();
    let (mut client, _) = slow.open(OnDisconnect::Release).await;
    let (mut other, _) = slow.open(OnDisconnect::Release).await;
    other.acquire(1, "x", Wait::No);
    let blocking = other.hear_acquired().await;
    slow.engine.hold_back(&[Method::Cancel]);
    client.acquire(1, "x", Wait::UpTo(Duration::from_millis(20)));
    client.hear_queued().await;
    slow.held_back(Method::Cancel).await.fail();
    hear_not_acquired(&mut client, 1, Reason::WaitTimeout).await;
    // Granted at the last moment.
    let give_back = slow.held_back(Method::Cancel).await;
    other.release(2, blocking.hold);
    slow.until("x", (1, 0)).await;
    give_back.answer();
    client.ping().await;
    assert_eq!(slow.counts("x").await, (0, 0));
}

#[tokio::test]
async fn a_grant_at_the_end_of_the_wait_stands() {
    let mut slow = Slow::start();
    let (mut client, _) = slow.open(OnDisconnect::Release).await;
    let (mut other, _) = slow.open(OnDisconnect::Release).await;
    other.acquire(1, "x", Wait::No);
    let blocking = other.hear_acquired().await;
    slow.engine.hold_back(&[Method::Cancel]);
    client.acquire(1, "x", Wait::UpTo(Duration::from_millis(20)));
    client.hear_queued().await;
    let over = slow.held_back(Method::Cancel).await;
    other.release(2, blocking.hold);
    client.hear_acquired().await;
    over.answer();
    client.ping().await;
    assert_eq!(slow.counts("x").await, (1, 0));
}

#[tokio::test]
async fn what_the_engine_can_not_do_now_is_said_to_be_so() {
    let mut slow = Slow::start();
    let (mut client, _) = slow.open(OnDisconnect::Release).await;
    client.acquire(1, "x", Wait::No);
    let grant = client.hear_acquired().await;
    slow.engine.hold_back(&[Method::Acquire, Method::Release]);
    client.acquire(2, "y", Wait::No);
    slow.held_back(Method::Acquire).await.fail();
    client.release(3, grant.hold);
    slow.held_back(Method::Release).await.fail();
    for failed in [2, 3] {
        let Reply::Failed { request, error } = client.hear().await else { panic!("not failed") };
        assert_eq!((request, error.reason()), (failed, ErrorReason::BackendUnavailable));
    }
}

/// However the session ends: a call that was under way may take effect after the end.
#[tokio::test]
async fn what_an_acquire_gets_after_the_end_of_its_session_is_given_back() {
    for close in [true, false] {
        let mut slow = Slow::start();
        let (client, _) = slow.open(OnDisconnect::Release).await;
        slow.engine.hold_back(&[Method::Acquire, Method::End]);
        client.acquire(1, "x", Wait::Forever);
        let acquire = slow.held_back(Method::Acquire).await;
        if close {
            client.say(Message::Close);
        }
        drop(client);
        slow.held_back(Method::End).await.answer();
        acquire.answer();
        assert_eq!(slow.counts("x").await, (1, 0));
        slow.held_back(Method::End).await.answer();
        assert_eq!(slow.counts("x").await, (0, 0));
        slow.no_other_call();
    }
}

#[tokio::test]
async fn a_session_that_moved_leaves_the_engine_alone_and_its_stream_says_so() {
    let mut slow = Slow::start();
    let (mut client, opened) = slow.open(OnDisconnect::Keep).await;
    client.acquire(1, "x", Wait::No);
    client.hear_acquired().await;
    slow.engine.hold_back(&[Method::End]);
    slow.engine.tell(Event::Moved { session: opened.session });
    assert_eq!(client.end().await.unwrap().reason(), ErrorReason::SessionSuperseded);
    slow.service.sessions().none_left().await;
    slow.no_other_call();
    assert_eq!(slow.counts("x").await, (1, 0));
    // It can come back.
    let mut client = slow.resume(resume(&opened, 2)).await;
    assert!(client.hear_resumed().await.is_empty());
}
