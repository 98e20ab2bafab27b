//! Sessions that go on at another server.

use std::time::Duration;

use lockstead_api::v1::session_request::Message as Say;
use lockstead_api::v1::session_response::Message as Hear;
use lockstead_api::v1::{self, ErrorReason, LossReason, OnDisconnect};
use lockstead_tests::RawSession;

use crate::engine::Store;
use crate::servers::One;
use crate::talk::{Holder, LONG, options, parties, reason, refused, resumed, until_free};

#[tokio::test]
async fn a_session_outlives_its_server_with_holds_and_places_in_queues() {
    let store = Store::new();
    let (mut first, second) = (One::start(&store).await, One::start(&store).await);
    let mut other = Holder::keep(&second.url, "busy").await;
    let mut holder = Holder::keep(&first.url, "x").await;
    holder.stream.acquire(2, "busy", true);
    assert!(matches!(holder.stream.hear().await, Hear::Queued(_)));
    let mut behind = RawSession::open(&second.url, v1::OpenSession::default()).await.0;
    behind.acquire(1, "busy", true);
    assert!(matches!(behind.hear().await, Hear::Queued(v1::SessionQueued { position: 2, .. })));

    let dead = first.kill();
    assert!(holder.stream.end().await.is_some(), "the stream breaks");
    let resume = v1::ResumeSession { pending_request_ids: vec![2], ..holder.resume(1) };
    let (stream, lost) = resumed(&second.url, resume).await;
    assert!(lost.is_empty(), "{lost:?}");
    holder.stream = stream;
    // What the dead server had, it has no more.
    store.sweep(dead).await;
    let (holders, _) = parties(&second.url, "x").await;
    assert_eq!(holders[0].fencing_token, holder.held.fencing_token);

    holder.stream.acquire(2, "busy", true);
    assert!(matches!(holder.stream.hear().await, Hear::Queued(v1::SessionQueued { position: 1, .. })));
    other.release().await;
    holder.stream.hear_acquired(2).await;
    holder.release().await;
    holder.ping().await;
}

#[tokio::test]
async fn a_session_that_nobody_resumes_ends_with_its_servers_lease() {
    let store = Store::new();
    let (mut first, second) = (One::start(&store).await, One::start(&store).await);
    let mut holder = Holder::keep(&first.url, "x").await;
    let dead = first.kill();
    store.sweep(dead).await;
    let lost = holder.resume_on(&second.url, 1).await;
    assert_eq!(lost.len(), 1);
    assert_eq!((&lost[0].hold_id, lost[0].reason()), (&holder.held.hold_id, LossReason::ServerLost));
    // The session itself goes on.
    holder.stream.acquire(2, "x", false);
    holder.stream.hear_acquired(2).await;
}

#[tokio::test]
async fn the_server_that_had_it_hears_of_the_move_and_lets_go() {
    for on_disconnect in [OnDisconnect::Keep, OnDisconnect::Release] {
        let store = Store::new();
        let (first, second) = (One::start(&store).await, One::start(&store).await);
        let holder = Holder::open(&first.url, "x", options(on_disconnect, LONG)).await;
        let (mut stream, lost) = resumed(&second.url, holder.resume(1)).await;
        assert!(lost.is_empty(), "{lost:?}");
        let Holder { stream: mut old, .. } = holder;
        assert_eq!(reason(&mut old).await, ErrorReason::SessionSuperseded);
        assert_eq!(parties(&first.url, "x").await.0.len(), 1, "{on_disconnect:?}");
        stream.say(Say::Close(v1::CloseSession {}));
        assert!(stream.end().await.is_none());
        until_free(&first.url, "x").await;
    }
}

#[tokio::test]
async fn it_can_come_back_and_of_two_attempts_the_higher_wins_wherever_it_is_made() {
    let store = Store::new();
    let (first, second) = (One::start(&store).await, One::start(&store).await);
    let mut holder = Holder::keep(&first.url, "x").await;
    for (attempt, url) in (1..).zip([&second.url, &first.url, &second.url]) {
        assert!(holder.resume_on(url, attempt).await.is_empty(), "attempt {attempt}");
        holder.ping().await;
    }
    // Late: one that was sent before, to the server that has it and to one that had it.
    assert_eq!(refused(&second.url, Say::Resume(holder.resume(3))).await, ErrorReason::SessionSuperseded);
    let (_stream, lost) = resumed(&first.url, holder.resume(1)).await;
    assert_eq!(lost.len(), 1, "it has nothing there");
    holder.ping().await;
    assert_eq!(parties(&first.url, "x").await.0.len(), 1);
}

#[tokio::test]
async fn it_takes_the_secret_and_the_options() {
    let store = Store::new();
    let (first, second) = (One::start(&store).await, One::start(&store).await);
    let mut holder = Holder::keep(&first.url, "x").await;
    let refused = async |resume| refused(&second.url, Say::Resume(resume)).await;
    for resume_secret in ["0".repeat(32), String::new(), "é".repeat(16)] {
        let resume = v1::ResumeSession { resume_secret, ..holder.resume(1) };
        assert_eq!(refused(resume).await, ErrorReason::SessionNotFound);
    }
    let stranger = v1::ResumeSession { session_id: "0".repeat(32), ..holder.resume(1) };
    assert_eq!(refused(stranger).await, ErrorReason::SessionNotFound);
    assert_eq!(refused(v1::ResumeSession { options: None, ..holder.resume(1) }).await, ErrorReason::SessionNotFound);
    let wrong = Some(options(OnDisconnect::Keep, Duration::from_millis(1)));
    let wrong = refused(v1::ResumeSession { options: wrong, ..holder.resume(1) }).await;
    assert_eq!(wrong, ErrorReason::InvalidSessionTimeout);
    holder.ping().await;
}

#[tokio::test]
async fn it_goes_on_as_it_was_opened() {
    let store = Store::new();
    let (first, second) = (One::start(&store).await, One::start(&store).await);
    let short = Duration::from_secs(1);
    let mut holder = Holder::open(&first.url, "x", options(OnDisconnect::Keep, short)).await;
    assert!(holder.resume_on(&second.url, 1).await.is_empty());
    holder.stream.acquire(2, "y", false);
    holder.stream.hear_acquired(2).await;
    assert_eq!(parties(&first.url, "y").await.0[0].owner, "mover");
    // With its client away, it lives for its timeout and no longer.
    let Holder { stream, .. } = holder;
    drop(stream);
    assert_eq!(parties(&first.url, "x").await.0.len(), 1);
    until_free(&first.url, "x").await;
}

#[tokio::test]
async fn a_session_that_goes_with_its_stream_finds_nothing_elsewhere_once_that_broke() {
    let store = Store::new();
    let (first, second) = (One::start(&store).await, One::start(&store).await);
    let mut holder = Holder::open(&first.url, "x", options(OnDisconnect::Release, LONG)).await;
    let broken = RawSession::open(&first.url, v1::OpenSession::default()).await.0;
    drop(std::mem::replace(&mut holder.stream, broken));
    until_free(&first.url, "x").await;
    assert_eq!(holder.resume_on(&second.url, 1).await.len(), 1);
}
