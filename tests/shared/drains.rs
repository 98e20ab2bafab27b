//! A server that drains while others share its engine.

use std::time::Duration;

use lockstead_api::v1::hold_response::Event;
use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_api::v1::session_request::Message as Say;
use lockstead_api::v1::session_response::Message as Hear;
use lockstead_api::v1::{self, ErrorReason, LossReason, OnDisconnect};
use lockstead_tests::PATIENCE;

use crate::engine::Store;
use crate::readiness::{health, readyz};
use crate::servers::One;
use crate::talk::{Holder, LONG, options, parties, reason, refused, resumed, until_free};

/// Long enough to look at a server that drains; not so long that a test takes long that waits for its end.
const BRIEF: Duration = Duration::from_secs(1);

#[tokio::test]
async fn sessions_move_with_all_they_have_and_the_server_ends_when_the_last_has_gone() {
    let store = Store::new();
    let (mut first, second) = (One::start(&store).await, One::start(&store).await);
    let mut busy = Holder::keep(&second.url, "busy").await;
    let mut keeps = Holder::keep(&first.url, "x").await;
    keeps.stream.acquire(2, "busy", true);
    assert!(matches!(keeps.stream.hear().await, Hear::Queued(_)));
    let mut releases = Holder::open(&first.url, "y", options(OnDisconnect::Release, LONG)).await;

    first.drain();
    for holder in [&mut keeps, &mut releases] {
        let within = holder.hear_draining().await;
        assert!(within > LONG / 2 && within <= LONG, "{within:?}");
        holder.ping().await;
        holder.stream.acquire(3, "z", true);
        let Hear::Failed(failed) = holder.stream.hear().await else { panic!("not refused") };
        assert_eq!((failed.request_id, failed.reason()), (3, ErrorReason::Draining));
    }
    let resume = v1::ResumeSession { pending_request_ids: vec![2], ..keeps.resume(1) };
    let (stream, lost) = resumed(&second.url, resume).await;
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(reason(&mut keeps.stream).await, ErrorReason::SessionSuperseded);
    keeps.stream = stream;
    keeps.stream.acquire(2, "busy", true);
    assert!(matches!(keeps.stream.hear().await, Hear::Queued(v1::SessionQueued { position: 1, .. })));
    assert!(!first.has_ended(), "one session is still there");
    assert!(releases.resume_on(&second.url, 1).await.is_empty());
    first.ended().await.unwrap();

    busy.release().await;
    keeps.stream.hear_acquired(2).await;
    for mut holder in [keeps, releases] {
        holder.release().await;
    }
}

#[tokio::test]
async fn what_was_there_goes_on_and_nothing_new_begins() {
    let store = Store::new();
    let (mut first, second) = (One::start(&store).await, One::start(&store).await);
    let mut holder = Holder::keep(&first.url, "x").await;
    let elsewhere = Holder::keep(&second.url, "y").await;
    holder.stream.acquire(2, "y", true);
    assert!(matches!(holder.stream.hear().await, Hear::Queued(_)));
    first.drain();
    holder.hear_draining().await;

    assert_eq!(readyz(&first.url).await, (503, "DRAINING".to_owned()));
    assert_eq!(readyz(&second.url).await.0, 200);
    assert!(!health(&first.url).await);
    let open = || Say::Open(v1::OpenSession::default());
    assert_eq!(refused(&first.url, open()).await, ErrorReason::Draining);
    assert_eq!(refused(&first.url, Say::Resume(elsewhere.resume(1))).await, ErrorReason::Draining);
    let mut client = LockServiceClient::connect(first.url.clone()).await.unwrap();
    let claim = || Some(v1::Claim { name: "z".to_owned(), ..v1::Claim::default() });
    let acquire = v1::AcquireRequest { claim: claim(), ..v1::AcquireRequest::default() };
    assert_eq!(ErrorReason::of(&client.acquire(acquire).await.unwrap_err()), ErrorReason::Draining);
    let hold = v1::HoldRequest { claim: claim(), ..v1::HoldRequest::default() };
    assert_eq!(ErrorReason::of(&client.hold(hold).await.unwrap_err()), ErrorReason::Draining);

    // A cancel, and an end that its client wishes.
    holder.stream.say(Say::Cancel(v1::SessionCancel { request_id: 2 }));
    assert!(matches!(holder.stream.hear().await, Hear::NotAcquired(_)));
    assert_eq!(parties(&first.url, "y").await.1, 0);
    holder.release().await;
    holder.stream.say(Say::Close(v1::CloseSession {}));
    assert!(holder.stream.end().await.is_none());
    first.ended().await.unwrap();
}

#[tokio::test]
async fn when_its_time_is_up_what_can_be_resumed_is_left_and_the_rest_ends() {
    let store = Store::new();
    let (mut first, second) = (One::start_with(&store, BRIEF).await, One::start(&store).await);
    let mut keeps = Holder::keep(&first.url, "x").await;
    let mut releases = Holder::open(&first.url, "y", options(OnDisconnect::Release, LONG)).await;
    // Its client is away when the server drains.
    let Holder { stream, .. } = Holder::keep(&first.url, "z").await;
    drop(stream);
    first.drain();
    assert!(keeps.hear_draining().await <= BRIEF);
    releases.hear_draining().await;
    // No word that its holds are gone.
    assert_eq!(ErrorReason::of(&keeps.stream.hear_or_end().await.unwrap_err()), ErrorReason::Draining);
    let Hear::Ended(ended) = releases.stream.hear().await else { panic!("not told") };
    assert_eq!(ended.reason(), LossReason::ServerLost);
    assert_eq!(reason(&mut releases.stream).await, ErrorReason::Draining);
    first.ended().await.unwrap();
    until_free(&second.url, "y").await;
    assert!(keeps.resume_on(&second.url, 1).await.is_empty());
    assert_eq!(parties(&second.url, "z").await.0.len(), 1);
}

#[tokio::test]
async fn hold_streams_and_callers_who_wait_are_told_at_once() {
    let store = Store::new();
    let (mut first, second) = (One::start(&store).await, One::start(&store).await);
    let mut stays = Holder::keep(&first.url, "s").await;
    let mut client = LockServiceClient::connect(first.url.clone()).await.unwrap();
    let claim = || Some(v1::Claim { name: "x".to_owned(), ..v1::Claim::default() });
    let wait = || Some(v1::Wait { how: Some(v1::wait::How::Forever(true)) });
    let hold = v1::HoldRequest { claim: claim(), ..v1::HoldRequest::default() };
    let mut holding = client.hold(hold).await.unwrap().into_inner();
    let acquired = holding.message().await.unwrap().unwrap().event;
    assert!(matches!(acquired, Some(Event::Acquired(_))), "{acquired:?}");
    let mut caller = client.clone();
    let acquire = v1::AcquireRequest { claim: claim(), wait: wait(), ..v1::AcquireRequest::default() };
    let waiting = tokio::spawn(async move { caller.acquire(acquire).await });
    let queued = async { while parties(&second.url, "x").await.1 == 0 {} };
    tokio::time::timeout(PATIENCE, queued).await.unwrap();

    first.drain();
    let Some(Event::Lost(lost)) = holding.message().await.unwrap().unwrap().event else { panic!("not told") };
    assert_eq!(lost.reason(), LossReason::ServerLost);
    assert_eq!(ErrorReason::of(&waiting.await.unwrap().unwrap_err()), ErrorReason::Draining);
    until_free(&second.url, "x").await;
    assert_eq!(parties(&second.url, "x").await.1, 0);
    // The session has time yet.
    stays.hear_draining().await;
    stays.ping().await;
    assert!(stays.resume_on(&second.url, 1).await.is_empty());
    first.ended().await.unwrap();
}

#[tokio::test]
async fn a_server_without_sessions_ends_at_once() {
    let mut first = One::start(&Store::new()).await;
    // One that has said nothing yet is none.
    let mut silent = LockServiceClient::connect(first.url.clone()).await.unwrap();
    let mut answers = silent.session(tokio_stream::pending()).await.unwrap().into_inner();
    first.drain();
    assert_eq!(ErrorReason::of(&answers.message().await.unwrap_err()), ErrorReason::Draining);
    first.ended().await.unwrap();
}
