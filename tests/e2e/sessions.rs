//! The session protocol, spoken by hand.

use std::time::Duration;

use lockstead_api::v1::session_request::Message as Say;
use lockstead_api::v1::session_response::Message as Hear;
use lockstead_api::v1::{self, ErrorReason};
use lockstead_client::Client;
use lockstead_tests::{RawSession, Server};

fn keep(timeout: Duration) -> v1::OpenSession {
    v1::OpenSession {
        session_timeout: Some(timeout.try_into().unwrap()),
        on_disconnect: v1::OnDisconnect::Keep.into(),
        ..v1::OpenSession::default()
    }
}

fn resume(opened: &v1::SessionOpened, attempt: u32) -> v1::ResumeSession {
    v1::ResumeSession {
        session_id: opened.session_id.clone(),
        resume_secret: opened.resume_secret.clone(),
        attempt,
        ..v1::ResumeSession::default()
    }
}

fn held(name: &str, acquired: &v1::SessionAcquired) -> v1::HeldHold {
    v1::HeldHold {
        hold_id: acquired.hold_id.clone(),
        resource: Some(v1::ResourceId { kind: v1::Kind::Lock.into(), name: name.to_owned(), scope: 0 }),
        fencing_token: acquired.fencing_token,
        entries: 1,
    }
}

async fn holders(client: &Client, name: &str) -> u32 {
    client.lock(name).get().await.unwrap().holder_count
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_resume_keeps_what_is_listed_and_gives_up_the_rest() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let other = client.lock("waited for").acquire().await.unwrap();
    let (mut session, opened) = RawSession::open(&server.url, keep(LONG)).await;
    for (request, name) in [(1, "kept"), (2, "given up")] {
        session.acquire(request, name, false);
    }
    let kept = session.hear_acquired(1).await;
    session.hear_acquired(2).await;
    session.acquire(3, "waited for", true);
    assert!(matches!(session.hear().await, Hear::Queued(v1::SessionQueued { position: 1, .. })));
    drop(session);

    let unknown = v1::HeldHold { hold_id: "0".repeat(32), ..held("kept", &kept) };
    let holds = vec![held("kept", &kept), unknown.clone()];
    let wish = v1::ResumeSession { holds, pending_request_ids: vec![3], ..resume(&opened, 1) };
    let mut session = RawSession::begin(&server.url, Say::Resume(wish)).await;
    let Hear::Resumed(resumed) = session.hear().await else { panic!("not resumed") };
    assert_eq!(resumed.lost.iter().map(|lost| &lost.hold_id).collect::<Vec<_>>(), [&unknown.hold_id]);
    assert_eq!((holders(&client, "kept").await, holders(&client, "given up").await), (1, 0));

    session.acquire(3, "waited for", true);
    assert!(matches!(session.hear().await, Hear::Queued(v1::SessionQueued { position: 1, .. })), "its place was kept");
    other.release().await.unwrap();
    session.hear_acquired(3).await;
}

#[tokio::test]
async fn a_grant_whose_news_was_lost_is_found_by_repeating_the_acquire() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let other = client.lock("news").acquire().await.unwrap();
    let (mut session, opened) = RawSession::open(&server.url, keep(LONG)).await;
    session.acquire(1, "news", true);
    assert!(matches!(session.hear().await, Hear::Queued(_)));
    drop(session);
    other.release().await.unwrap();
    let token = client.lock("news").get().await.unwrap().holders[0].token;

    let wish = v1::ResumeSession { pending_request_ids: vec![1], ..resume(&opened, 1) };
    let mut session = RawSession::begin(&server.url, Say::Resume(wish)).await;
    assert!(matches!(session.hear().await, Hear::Resumed(_)));
    session.acquire(1, "news", true);
    assert_eq!(session.hear_acquired(1).await.fencing_token, token);
}

#[tokio::test]
async fn a_grant_between_a_resume_and_the_repeated_acquire_is_told_once() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let other = client.lock("once").acquire().await.unwrap();
    let (mut session, opened) = RawSession::open(&server.url, keep(LONG)).await;
    session.acquire(1, "once", true);
    assert!(matches!(session.hear().await, Hear::Queued(_)));
    drop(session);

    let wish = v1::ResumeSession { pending_request_ids: vec![1], ..resume(&opened, 1) };
    let mut session = RawSession::begin(&server.url, Say::Resume(wish)).await;
    assert!(matches!(session.hear().await, Hear::Resumed(_)));
    other.release().await.unwrap();
    session.acquire(1, "once", true);
    session.hear_acquired(1).await;
    session.say(Say::Ping(v1::Ping { sequence: 7 }));
    let next = session.hear().await;
    assert!(matches!(next, Hear::Pong(v1::Pong { sequence: 7, .. })), "{next:?}");
}

#[tokio::test]
async fn a_resume_lists_no_more_than_a_session_can_have() {
    const MANY: usize = lockstead_core::limits::HOLDS_PER_SESSION_MAX + 1;
    let server = Server::start();
    let (_session, opened) = RawSession::open(&server.url, keep(LONG)).await;
    let resource = held("x", &v1::SessionAcquired::default()).resource;
    let hold = v1::HeldHold { hold_id: "0".repeat(32), resource, ..v1::HeldHold::default() };
    let acquires = v1::ResumeSession { pending_request_ids: (0..MANY as u64).collect(), ..resume(&opened, 1) };
    let holds = v1::ResumeSession { holds: vec![hold; MANY], ..resume(&opened, 1) };
    for wish in [acquires, holds] {
        let mut session = RawSession::begin(&server.url, Say::Resume(wish)).await;
        assert_eq!(ErrorReason::of(&session.end().await.unwrap()), ErrorReason::InvalidSession);
    }
}

#[tokio::test]
async fn of_two_attaches_the_higher_attempt_wins() {
    let server = Server::start();
    let (mut first, opened) = RawSession::open(&server.url, keep(LONG)).await;
    let mut second = RawSession::begin(&server.url, Say::Resume(resume(&opened, 2))).await;
    assert!(matches!(second.hear().await, Hear::Resumed(_)));
    assert_eq!(ErrorReason::of(&first.end().await.unwrap()), ErrorReason::SessionSuperseded);
    let mut late = RawSession::begin(&server.url, Say::Resume(resume(&opened, 1))).await;
    assert_eq!(ErrorReason::of(&late.end().await.unwrap()), ErrorReason::SessionSuperseded);
    second.say(Say::Ping(v1::Ping { sequence: 7 }));
    assert!(matches!(second.hear().await, Hear::Pong(v1::Pong { sequence: 7, .. })));
}

#[tokio::test]
async fn a_resume_needs_the_secret_and_a_session_that_keeps() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let (mut session, opened) = RawSession::open(&server.url, keep(LONG)).await;
    session.acquire(1, "mine", false);
    session.hear_acquired(1).await;
    let stolen = v1::ResumeSession { resume_secret: "0".repeat(32), ..resume(&opened, 1) };
    let mut thief = RawSession::begin(&server.url, Say::Resume(stolen)).await;
    assert_eq!(ErrorReason::of(&thief.end().await.unwrap()), ErrorReason::SessionNotFound);
    assert_eq!(holders(&client, "mine").await, 1);

    let (_released, opened) = RawSession::open(&server.url, v1::OpenSession::default()).await;
    let mut late = RawSession::begin(&server.url, Say::Resume(resume(&opened, 1))).await;
    assert_eq!(ErrorReason::of(&late.end().await.unwrap()), ErrorReason::SessionNotFound);
}

#[tokio::test]
async fn with_keep_a_broken_stream_frees_nothing_before_the_session_timeout() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let timeout = Duration::from_secs(1);
    let (mut session, _) = RawSession::open(&server.url, keep(timeout)).await;
    session.acquire(1, "kept", false);
    session.hear_acquired(1).await;
    session.say(Say::Ping(v1::Ping { sequence: 1 }));
    let pinged = lockstead_client::now();
    assert!(matches!(session.hear().await, Hear::Pong(_)));
    drop(session);
    let guard = client.lock("kept").acquire().await.unwrap();
    let free_after = lockstead_client::now().since(pinged);
    assert!(free_after >= timeout, "free after {free_after:?} already");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_close_gives_everything_back_at_once_and_ends_with_ok() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let (mut session, _) = RawSession::open(&server.url, keep(LONG)).await;
    session.acquire(1, "closed", false);
    session.hear_acquired(1).await;
    session.say(Say::Close(v1::CloseSession {}));
    assert!(session.end().await.is_none(), "the status is OK");
    assert!(client.lock("closed").try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn after_a_cancel_nothing_is_held_whatever_came_first() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let (mut session, _) = RawSession::open(&server.url, v1::OpenSession::default()).await;
    session.acquire(1, "granted", false);
    session.hear_acquired(1).await;
    let other = client.lock("queued").acquire().await.unwrap();
    session.acquire(2, "queued", true);
    assert!(matches!(session.hear().await, Hear::Queued(_)));
    for request_id in [1, 2, 99] {
        session.say(Say::Cancel(v1::SessionCancel { request_id }));
        let Hear::NotAcquired(last_word) = session.hear().await else { panic!("no last word about {request_id}") };
        assert_eq!(last_word.request_id, request_id);
        assert_eq!(last_word.why.unwrap().reason(), v1::not_acquired::Reason::Cancelled);
    }
    assert_eq!((holders(&client, "granted").await, client.lock("queued").get().await.unwrap().waiter_count), (0, 0));
    other.release().await.unwrap();
    assert_eq!(holders(&client, "queued").await, 0);
}

#[tokio::test]
async fn a_flood_that_is_not_read_is_answered_to_the_last_message() {
    const MESSAGES: u64 = 20_000;
    let server = Server::start();
    let (mut session, _) = RawSession::open(&server.url, v1::OpenSession::default()).await;
    for request_id in 0..MESSAGES {
        session.acquire(request_id, &format!("flood/{request_id}"), false);
    }
    let mut answered = vec![false; usize::try_from(MESSAGES).unwrap()];
    for _ in 0..MESSAGES {
        let Hear::Acquired(acquired) = session.hear().await else { panic!("not acquired") };
        let seen = &mut answered[usize::try_from(acquired.request_id).unwrap()];
        assert!(!std::mem::replace(seen, true), "{} was answered twice", acquired.request_id);
    }
}

#[tokio::test]
async fn a_silent_client_is_nudged_and_then_told_that_its_session_is_over() {
    let server = Server::start();
    let open =
        v1::OpenSession { session_timeout: Some(Duration::from_secs(1).try_into().unwrap()), ..Default::default() };
    let (mut session, _) = RawSession::open(&server.url, open).await;
    assert!(matches!(session.hear().await, Hear::Ping(_)), "it is asked whether it is there");
    let Hear::Ended(ended) = session.hear().await else { panic!("not ended") };
    assert_eq!(ended.reason(), v1::LossReason::Expired);
    assert_eq!(ErrorReason::of(&session.end().await.unwrap()), ErrorReason::SessionExpired);
}

#[tokio::test]
async fn a_request_number_stands_for_one_acquire_while_that_is_alive() {
    let server = Server::start();
    let (mut session, _) = RawSession::open(&server.url, v1::OpenSession::default()).await;
    session.acquire(1, "same", false);
    let first = session.hear_acquired(1).await;
    session.acquire(1, "same", false);
    assert_eq!(session.hear_acquired(1).await, first);
    session.acquire(1, "different", false);
    let Hear::Failed(failed) = session.hear().await else { panic!("not refused") };
    assert_eq!(failed.reason(), ErrorReason::RequestIdReused);
    session.say(Say::Release(v1::SessionRelease { request_id: 2, hold_id: first.hold_id }));
    assert!(matches!(session.hear().await, Hear::Released(v1::SessionReleased { entries: 0, .. })));
    session.acquire(1, "different", false);
    session.hear_acquired(1).await;
}

#[tokio::test]
async fn re_entries_share_a_hold_and_are_released_one_by_one() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let again = || client.lock("nested").owner_key("task").acquire();
    let (outer, inner) = (again().await.unwrap(), again().await.unwrap());
    assert_eq!((outer.token(), outer.hold_id()), (inner.token(), inner.hold_id()));
    assert!(client.lock("nested").try_acquire().await.unwrap().is_none(), "without the key it stands alone");
    inner.release().await.unwrap();
    assert_eq!(holders(&client, "nested").await, 1);
    outer.release().await.unwrap();
    assert_eq!(holders(&client, "nested").await, 0);
}
