//! Resumes that take their time.

use std::time::Duration;

use lockstead_api::v1::{ErrorReason, LossReason};
use lockstead_core::{Release, Releaser, Wait};
use lockstead_engine::Engine;

use super::client::{LONG, Slow, held, lock, options, resume, soon, stranger};
use super::slow_engine::Method;
use crate::service::session::{Message, OnDisconnect, Reply, Resume};

#[tokio::test]
async fn a_call_of_the_old_stream_is_over_before_the_resume_and_its_answer_is_nobodys() {
    for listed in [false, true] {
        let mut slow = Slow::start();
        let (mut client, opened) = slow.open(OnDisconnect::Keep).await;
        slow.engine.hold_back(&[Method::Acquire, Method::Resume]);
        client.acquire(1, "x", Wait::Forever);
        let acquire = slow.held_back(Method::Acquire).await;
        let pending = if listed { vec![1] } else { Vec::new() };
        let mut old = std::mem::replace(&mut client, slow.resume(Resume { pending, ..resume(&opened, 1) }).await);
        assert_eq!(old.end().await.unwrap().reason(), ErrorReason::SessionSuperseded);
        let carried = acquire.carry_out();
        slow.no_other_call();
        carried.answer();
        slow.held_back(Method::Resume).await.answer();
        assert!(client.hear_resumed().await.is_empty());
        client.ping().await;
        assert_eq!(slow.counts("x").await, (usize::from(listed), 0));
        if listed {
            client.acquire(1, "x", Wait::Forever);
            slow.held_back(Method::Acquire).await.answer();
            client.hear_acquired().await;
        }
        client.ping().await;
    }
}

#[tokio::test]
async fn of_two_resumes_the_higher_attempt_wins_also_if_the_first_takes_long() {
    let mut slow = Slow::start();
    let (mut client, opened) = slow.open(OnDisconnect::Keep).await;
    client.acquire(1, "x", Wait::No);
    let grant = client.hear_acquired().await;
    slow.engine.hold_back(&[Method::Resume]);
    let mut first = slow.resume(resume(&opened, 1)).await;
    assert_eq!(client.end().await.unwrap().reason(), ErrorReason::SessionSuperseded);
    let first_call = slow.held_back(Method::Resume).await;
    let holds = vec![held("x", &grant)];
    let mut second = slow.resume(Resume { holds: holds.clone(), ..resume(&opened, 2) }).await;
    assert_eq!(first.end().await.unwrap().reason(), ErrorReason::SessionSuperseded);
    let mut late = slow.resume(Resume { holds, ..resume(&opened, 2) }).await;
    assert_eq!(late.end().await.unwrap().reason(), ErrorReason::SessionSuperseded);
    slow.no_other_call();
    first_call.fail();
    slow.held_back(Method::Resume).await.answer();
    assert!(second.hear_resumed().await.is_empty());
    second.ping().await;
}

#[tokio::test]
async fn a_hold_that_ends_during_the_resume_is_lost_whatever_the_engine_saw_first() {
    let mut slow = Slow::start();
    let (mut client, opened) = slow.open(OnDisconnect::Keep).await;
    client.acquire(1, "x", Wait::No);
    let ends = client.hear_acquired().await;
    client.acquire(2, "y", Wait::No);
    let stays = client.hear_acquired().await;
    slow.engine.hold_back(&[Method::Resume]);
    let holds = vec![held("x", &ends), held("y", &stays)];
    let mut client = slow.resume(Resume { holds, ..resume(&opened, 1) }).await;
    let carried = slow.held_back(Method::Resume).await.carry_out();
    let break_it = Release { hold: ends.hold, by: Releaser::Bearer(lock("x")) };
    slow.engine.release(break_it).await.unwrap();
    carried.answer();
    let Reply::Resumed { lost, .. } = client.hear().await else { panic!("not resumed") };
    let lost: Vec<_> = lost.into_iter().map(|(held, reason)| (held.hold, reason)).collect();
    assert_eq!(lost, [(ends.hold, LossReason::Broken)]);
    client.ping().await;
}

#[tokio::test]
async fn a_session_does_not_expire_while_its_resume_is_under_way() {
    let mut slow = Slow::start();
    let timeout = Duration::from_secs(1);
    let (mut client, opened) = slow.open_with(options(OnDisconnect::Keep, timeout)).await;
    client.acquire(1, "x", Wait::No);
    let grant = client.hear_acquired().await;
    slow.engine.hold_back(&[Method::Resume]);
    drop(client);
    let mut client = slow.resume(Resume { holds: vec![held("x", &grant)], ..resume(&opened, 1) }).await;
    let call = slow.held_back(Method::Resume).await;
    // Until others of the same age have expired.
    let (mut silent, _) = slow.open_with(options(OnDisconnect::Keep, timeout)).await;
    assert_eq!(silent.end().await.unwrap().reason(), ErrorReason::SessionExpired);
    call.answer();
    assert!(client.hear_resumed().await.is_empty());
    client.ping().await;
}

#[tokio::test]
async fn a_resume_that_fails_costs_its_stream_and_not_the_session() {
    let mut slow = Slow::start();
    let (mut client, opened) = slow.open(OnDisconnect::Keep).await;
    client.acquire(1, "x", Wait::No);
    let grant = client.hear_acquired().await;
    drop(client);
    slow.engine.hold_back(&[Method::Resume]);
    let holds = vec![held("x", &grant)];
    let mut client = slow.resume(Resume { holds: holds.clone(), ..resume(&opened, 1) }).await;
    slow.held_back(Method::Resume).await.fail();
    assert_eq!(client.end().await.unwrap().reason(), ErrorReason::BackendUnavailable);
    slow.engine.hold_back(&[]);
    let mut client = slow.resume(Resume { holds, ..resume(&opened, 2) }).await;
    assert!(client.hear_resumed().await.is_empty());
    assert_eq!(slow.counts("x").await, (1, 0));
}

#[tokio::test]
async fn what_is_said_behind_the_resume_is_heard_when_that_is_done() {
    let mut slow = Slow::start();
    let (client, opened) = slow.open(OnDisconnect::Keep).await;
    drop(client);
    slow.engine.hold_back(&[Method::Resume]);
    let mut client = slow.resume(resume(&opened, 1)).await;
    client.acquire(1, "x", Wait::No);
    client.say(Message::Ping { sequence: 1 });
    slow.held_back(Method::Resume).await.answer();
    client.hear_resumed().await;
    client.hear_acquired().await;
    assert!(matches!(client.hear().await, Reply::Pong { sequence: 1, .. }));
}

#[tokio::test]
async fn a_session_of_another_server_is_taken_in_if_secret_and_options_are_there() {
    let slow = Slow::start();
    let (_client, opened) = slow.open(OnDisconnect::Keep).await;
    let elsewhere = Slow::start();
    let refused = async |resume: Resume| elsewhere.resume(resume).await.end().await.unwrap().reason();
    let right = || resume(&opened, 1);
    let wrong_session = Resume { session: stranger(), ..right() };
    assert_eq!(refused(wrong_session).await, ErrorReason::SessionNotFound);
    assert_eq!(refused(Resume { options: None, ..right() }).await, ErrorReason::SessionNotFound);
    assert_eq!(refused(resume(&opened, 0)).await, ErrorReason::SessionSuperseded);
    elsewhere.engine.behave(|behaviour| behaviour.key = None);
    assert_eq!(refused(right()).await, ErrorReason::BackendUnavailable);
    elsewhere.engine.behave(|behaviour| behaviour.key = Some(crate::service::random::key()));
    assert_eq!(refused(right()).await, ErrorReason::SessionNotFound);
    assert_eq!(elsewhere.service.sessions().count(), 0);

    let elsewhere = Slow::start();
    let mut client = elsewhere.resume(right()).await;
    assert!(client.hear_resumed().await.is_empty());
    assert_eq!(client.ping().await, LONG);
}

/// A client that moves because its server drains may try again, whatever its session is like.
#[tokio::test]
async fn a_session_that_goes_with_its_stream_can_be_taken_in_at_the_second_attempt() {
    let slow = Slow::start();
    let (_client, opened) = slow.open(OnDisconnect::Release).await;
    let mut elsewhere = Slow::start();
    elsewhere.engine.hold_back(&[Method::Resume]);
    let attempt = |number| Resume { options: Some(options(OnDisconnect::Release, LONG)), ..resume(&opened, number) };
    let mut client = elsewhere.resume(attempt(1)).await;
    elsewhere.held_back(Method::Resume).await.fail();
    assert_eq!(client.end().await.unwrap().reason(), ErrorReason::BackendUnavailable);
    let mut client = elsewhere.resume(attempt(2)).await;
    elsewhere.held_back(Method::Resume).await.answer();
    client.hear_resumed().await;
    client.ping().await;
    drop(client);
    soon(elsewhere.service.sessions().none_left()).await;
}
