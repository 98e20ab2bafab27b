//! What clients are promised, and what the server says of itself.

use std::time::Duration;

use lockstead_api::v1::{ErrorReason, LossReason};
use lockstead_core::{Event, Time, Wait};
use lockstead_engine::Readiness;

use super::client::{LONG, Slow, ask, held, options, resume, soon};
use super::slow_engine::Method;
use crate::service::Error;
use crate::service::session::{Message, OnDisconnect, Reply, Resume, attachment_channel};

fn in_a(while_: Duration) -> Time {
    lockstead_clock::time().saturating_add(while_)
}

#[tokio::test]
async fn a_session_is_promised_no_more_than_its_engine_promises() {
    let short = Duration::from_secs(5);
    let slow = Slow::start();
    let (mut client, opened) = slow.open(OnDisconnect::Keep).await;
    assert_eq!((opened.valid_for, client.ping().await), (LONG, LONG));
    slow.engine.behave(|behaviour| behaviour.valid_until = Some(in_a(2 * LONG)));
    assert_eq!(client.ping().await, LONG);

    slow.engine.behave(|behaviour| behaviour.valid_until = Some(in_a(short)));
    let (_, opened) = slow.open(OnDisconnect::Keep).await;
    let mut resumed = slow.resume(resume(&opened, 1)).await;
    let Reply::Resumed { valid_for, .. } = resumed.hear().await else { panic!("not resumed") };
    for promised in [opened.valid_for, client.ping().await, valid_for] {
        assert!(promised <= short && promised > Duration::ZERO, "{promised:?}");
    }

    slow.engine.behave(|behaviour| behaviour.valid_until = Some(Time::from_micros(1)));
    assert_eq!(client.ping().await, Duration::ZERO);
}

#[tokio::test]
async fn no_session_is_opened_that_no_other_server_could_know() {
    let slow = Slow::start();
    slow.engine.behave(|behaviour| behaviour.key = None);
    let (outbound, _replies) = attachment_channel();
    let refused =
        slow.service.open_session(options(OnDisconnect::Keep, LONG), Box::pin(futures::stream::pending()), outbound);
    assert_eq!(refused.map(drop).unwrap_err().reason(), ErrorReason::BackendUnavailable);
    assert_eq!(slow.service.sessions().count(), 0);
}

#[tokio::test]
async fn it_is_ready_when_its_engine_is_and_it_does_not_drain() {
    let slow = Slow::start();
    assert_eq!(slow.service.check_ready(), Ok(()));
    let why = "Redis at h:6379 has not been reached yet".to_owned();
    slow.engine.behave(|behaviour| behaviour.readiness = Readiness::NotReady(why.clone()));
    let error = slow.service.check_ready().unwrap_err();
    assert_eq!((error.to_string(), error.reason()), (why, ErrorReason::BackendUnavailable));
    slow.drain.begin(LONG);
    assert_eq!(slow.service.check_ready(), Err(Error::Draining));
}

#[tokio::test]
async fn a_drain_asks_sessions_to_move_and_takes_nothing_new() {
    let slow = Slow::start();
    let (mut client, opened) = slow.open(OnDisconnect::Release).await;
    let (mut other, _) = slow.open(OnDisconnect::Keep).await;
    client.acquire(1, "x", Wait::No);
    let grant = client.hear_acquired().await;
    other.acquire(1, "x", Wait::Forever);
    other.hear_queued().await;
    slow.drain.begin(LONG);
    for client in [&mut client, &mut other] {
        let Reply::Draining { within } = client.hear().await else { panic!("not told") };
        assert!(within <= LONG && within > LONG / 2, "{within:?}");
        client.ping().await;
        client.acquire(2, "y", Wait::Forever);
        let Reply::Failed { request: 2, error } = client.hear().await else { panic!("not refused") };
        assert_eq!(*error, Error::Draining);
    }
    let mut late = slow.resume(resume(&opened, 1)).await;
    assert_eq!(late.end().await, Some(Error::Draining));
    assert_eq!(slow.service.hold(ask("y", Wait::No)).await.err(), Some(Error::Draining));
    // What was there goes on.
    client.release(3, grant.hold);
    assert!(matches!(client.hear().await, Reply::Released { .. }));
    other.hear_acquired().await;
    client.say(Message::Close);
    assert_eq!(client.end().await, None);
}

#[tokio::test]
async fn an_acquire_that_a_resume_listed_is_repeated_also_if_the_drain_begins_meanwhile() {
    let mut slow = Slow::start();
    let (mut client, opened) = slow.open(OnDisconnect::Keep).await;
    client.acquire(1, "x", Wait::No);
    client.hear_acquired().await;
    drop(client);
    slow.engine.hold_back(&[Method::Resume]);
    let mut client = slow.resume(Resume { pending: vec![1], ..resume(&opened, 1) }).await;
    let call = slow.held_back(Method::Resume).await;
    slow.drain.begin(LONG);
    call.answer();
    client.hear_resumed().await;
    assert!(matches!(client.hear().await, Reply::Draining { .. }));
    client.acquire(1, "x", Wait::No);
    client.hear_acquired().await;
    client.acquire(1, "x", Wait::No);
    assert!(matches!(client.hear().await, Reply::Failed { error, .. } if *error == Error::Draining));
}

#[tokio::test]
async fn the_end_of_a_drain_leaves_what_can_be_resumed_elsewhere_and_ends_the_rest() {
    for (on_disconnect, holders) in [(OnDisconnect::Keep, 1), (OnDisconnect::Release, 0)] {
        let slow = Slow::start();
        let (mut client, _) = slow.open(on_disconnect).await;
        client.acquire(1, "x", Wait::No);
        client.hear_acquired().await;
        slow.drain.begin(LONG);
        assert!(matches!(client.hear().await, Reply::Draining { .. }));
        slow.drain.end();
        if on_disconnect == OnDisconnect::Release {
            assert!(matches!(client.hear().await, Reply::Ended { reason: LossReason::ServerLost, .. }));
        }
        assert_eq!(client.hear_or_error().await.unwrap_err(), Error::Draining);
        soon(slow.service.sessions().none_left()).await;
        assert_eq!(slow.counts("x").await, (holders, 0));
    }
}

#[tokio::test]
async fn losses_and_moves_are_counted() {
    let slow = Slow::start();
    let open = async |on_disconnect, names: [&str; 2]| {
        let (mut client, opened) = slow.open(on_disconnect).await;
        let mut holds = Vec::new();
        for (request, name) in (1..).zip(names) {
            client.acquire(request, name, Wait::No);
            holds.push(held(name, &client.hear_acquired().await));
        }
        // A waiter is no hold.
        client.acquire(9, names[0], Wait::Forever);
        client.hear_queued().await;
        (client, opened, holds)
    };
    drop(open(OnDisconnect::Release, ["a", "b"]).await);
    let (closing, ..) = open(OnDisconnect::Release, ["c", "d"]).await;
    closing.say(Message::Close);
    let (moving, opened, holds) = open(OnDisconnect::Keep, ["e", "f"]).await;
    let mut resumed = slow.resume(Resume { holds, ..resume(&opened, 1) }).await;
    resumed.hear_resumed().await;
    slow.engine.tell(Event::Moved { session: opened.session });
    resumed.end().await;
    drop(moving);
    let (_drained, ..) = open(OnDisconnect::Release, ["g", "h"]).await;
    let (_left, ..) = open(OnDisconnect::Keep, ["i", "j"]).await;
    let stranger = Slow::start().open(OnDisconnect::Keep).await.1;
    slow.resume(resume(&stranger, 1)).await.hear_resumed().await;
    slow.drain.end();
    soon(slow.service.sessions().none_left()).await;

    let metrics = slow.service.render_metrics();
    for line in [
        "lockstead_losses_total{scope=\"cluster\",reason=\"disconnected\"} 2",
        "lockstead_losses_total{scope=\"cluster\",reason=\"server_lost\"} 2",
        "lockstead_sessions_ended_total{end=\"closed\"} 1",
        "lockstead_sessions_ended_total{end=\"moved\"} 1",
        "lockstead_session_resumes_total{from=\"here\"} 1",
        "lockstead_session_resumes_total{from=\"elsewhere\"} 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "no {line}: {metrics}");
    }
}
