//! Session streams: how they begin, and what is said on them.

use lockstead_api::v1::session_request::Message as ToServer;
use lockstead_api::v1::session_response::Message as FromServer;
use lockstead_api::v1::{self, ErrorReason, not_acquired::Reason};
use lockstead_tests::PATIENCE;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::asks::{self, Ask};
use super::{Client, assert_unharmed, connect, millis, resource, seconds};
use crate::logged::Logged;

/// With either lowest bit, which tells the scope.
const UNKNOWN_HOLDS: [&str; 2] = ["0123456789abcdef0123456789abcdee", "0123456789abcdef0123456789abcdef"];

/// A session whose messages the test writes.
struct Session {
    sender: mpsc::Sender<v1::SessionRequest>,
    replies: Streaming<v1::SessionResponse>,
}

impl Session {
    async fn begin(client: &mut Client) -> Self {
        let (sender, receiver) = mpsc::channel(16);
        let replies = client.session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { sender, replies }
    }

    async fn open(client: &mut Client, on_disconnect: v1::OnDisconnect) -> (Self, v1::SessionOpened) {
        let mut session = Self::begin(client).await;
        session.say(ToServer::Open(v1::OpenSession { on_disconnect: on_disconnect.into(), ..open() })).await;
        let Some(FromServer::Opened(opened)) = session.hear().await.unwrap() else { panic!("not opened") };
        (session, opened)
    }

    async fn say(&self, message: impl Into<Option<ToServer>>) {
        self.sender.send(v1::SessionRequest { message: message.into() }).await.unwrap();
    }

    async fn hear(&mut self) -> Result<Option<FromServer>, Status> {
        let reply = tokio::time::timeout(PATIENCE, self.replies.message()).await.expect("a reply in time")?;
        Ok(reply.expect("the stream goes on, or ends with a status").message)
    }

    async fn assert_refused(&mut self, what: &str, reason: ErrorReason) {
        let status = self.hear().await.expect_err(what);
        assert_eq!(ErrorReason::of(&status), reason, "{what}: {status:?}");
        let code = if reason == ErrorReason::SessionNotFound { Code::NotFound } else { Code::InvalidArgument };
        assert_eq!(status.code(), code, "{what}");
    }

    async fn assert_failed(&mut self, what: &str, request_id: u64, reason: ErrorReason) {
        let reply = self.hear().await.unwrap();
        let Some(FromServer::Failed(failed)) = reply else { panic!("{what}: {reply:?}") };
        assert_eq!((failed.request_id, failed.reason()), (request_id, reason), "{what}: {}", failed.message);
    }
}

fn open() -> v1::OpenSession {
    v1::OpenSession { session_timeout: Some(seconds(5)), ..v1::OpenSession::default() }
}

fn resume(opened: &v1::SessionOpened) -> v1::ResumeSession {
    let (session_id, resume_secret) = (opened.session_id.clone(), opened.resume_secret.clone());
    v1::ResumeSession { session_id, resume_secret, attempt: 1, ..v1::ResumeSession::default() }
}

fn acquire(request_id: u64, ask: Ask) -> v1::SessionAcquire {
    let Ask { claim, wait, owner, metadata } = ask;
    v1::SessionAcquire { request_id, claim, wait, owner_key: String::new(), owner, metadata }
}

fn wrong_opens() -> Vec<(&'static str, v1::OpenSession, ErrorReason)> {
    let timeout = |timeout| v1::OpenSession { session_timeout: Some(timeout), ..open() };
    let metadata = [("k".repeat(65), String::new())].into();
    vec![
        ("a negative timeout", timeout(seconds(-1)), ErrorReason::InvalidSessionTimeout),
        ("no timeout at all", timeout(seconds(0)), ErrorReason::InvalidSessionTimeout),
        ("a timeout too short", timeout(millis(999)), ErrorReason::InvalidSessionTimeout),
        ("a timeout too long", timeout(seconds(301)), ErrorReason::InvalidSessionTimeout),
        ("a huge timeout", timeout(seconds(i64::MAX)), ErrorReason::InvalidSessionTimeout),
        ("an unknown on_disconnect", v1::OpenSession { on_disconnect: 9, ..open() }, ErrorReason::InvalidOnDisconnect),
        ("a long owner", v1::OpenSession { owner: "o".repeat(256), ..open() }, ErrorReason::InvalidOwner),
        ("a long metadata key", v1::OpenSession { metadata, ..open() }, ErrorReason::InvalidMetadata),
    ]
}

fn wrong_resumes(opened: &v1::SessionOpened) -> Vec<(&'static str, v1::ResumeSession, ErrorReason)> {
    let session = |id: &str| v1::ResumeSession { session_id: id.to_owned(), ..resume(opened) };
    let secret = |secret: &str| v1::ResumeSession { resume_secret: secret.to_owned(), ..resume(opened) };
    let held = |hold_id: &str, resource| {
        let held = v1::HeldHold { hold_id: hold_id.to_owned(), resource, fencing_token: 1, entries: 1 };
        v1::ResumeSession { holds: vec![held], ..resume(opened) }
    };
    let no_kind = Some(v1::ResourceId { kind: 0, ..resource("bad/input") });
    let [unknown, _] = UNKNOWN_HOLDS;
    vec![
        ("an empty message", v1::ResumeSession::default(), ErrorReason::SessionNotFound),
        ("no session id", session(""), ErrorReason::SessionNotFound),
        ("a long session id", session(&"a".repeat(1 << 20)), ErrorReason::SessionNotFound),
        ("an unknown session", session(unknown), ErrorReason::SessionNotFound),
        ("no secret", secret(""), ErrorReason::SessionNotFound),
        ("a wrong secret", secret(unknown), ErrorReason::SessionNotFound),
        ("a hold without an id", held("", Some(resource("bad/input"))), ErrorReason::InvalidHoldId),
        ("a hold of nothing", held(unknown, None), ErrorReason::InvalidName),
        ("a hold of a bad name", held(unknown, Some(resource("a//b"))), ErrorReason::InvalidName),
        ("a hold without a kind", held(unknown, no_kind), ErrorReason::InvalidKind),
    ]
}

#[tokio::test]
async fn a_session_that_begins_wrong_is_told_why() {
    let mut server = Logged::start_without_node_scope();
    let mut client = connect(&server).await;
    for (what, wrong) in [
        ("nothing in the message", None),
        ("a ping", Some(ToServer::Ping(v1::Ping { sequence: 1 }))),
        ("a pong", Some(ToServer::Pong(v1::Pong::default()))),
        ("an acquire", Some(ToServer::Acquire(acquire(1, Ask::good())))),
        ("a release", Some(ToServer::Release(v1::SessionRelease::default()))),
        ("a cancel", Some(ToServer::Cancel(v1::SessionCancel { request_id: 1 }))),
        ("a close", Some(ToServer::Close(v1::CloseSession {}))),
    ] {
        let mut session = Session::begin(&mut client).await;
        session.say(wrong).await;
        session.assert_refused(what, ErrorReason::InvalidSession).await;
    }
    let (_, receiver) = mpsc::channel(1);
    let replies = client.session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let mut silent = Session { sender: mpsc::channel(1).0, replies };
    silent.assert_refused("nothing at all", ErrorReason::InvalidSession).await;
    for (what, wrong, reason) in wrong_opens() {
        let mut session = Session::begin(&mut client).await;
        session.say(ToServer::Open(wrong)).await;
        session.assert_refused(what, reason).await;
    }
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_wrong_resume_does_not_touch_the_session() {
    let mut server = Logged::start_without_node_scope();
    let mut client = connect(&server).await;
    let (mut good, opened) = Session::open(&mut client, v1::OnDisconnect::Keep).await;
    for (what, wrong, reason) in wrong_resumes(&opened) {
        let mut session = Session::begin(&mut client).await;
        session.say(ToServer::Resume(wrong)).await;
        session.assert_refused(what, reason).await;
    }
    good.say(ToServer::Ping(v1::Ping { sequence: 7 })).await;
    let reply = good.hear().await.unwrap();
    assert!(matches!(&reply, Some(FromServer::Pong(pong)) if pong.sequence == 7), "{reply:?}");
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_resume_is_told_of_every_hold_that_it_only_imagines() {
    let mut server = Logged::start_without_node_scope();
    let mut client = connect(&server).await;
    let (_good, opened) = Session::open(&mut client, v1::OnDisconnect::Keep).await;
    let imagined = |hold_id: &&str| v1::HeldHold {
        hold_id: (*hold_id).to_owned(),
        resource: Some(resource("bad/input")),
        fencing_token: 1,
        entries: 1,
    };
    let holds = UNKNOWN_HOLDS.iter().map(imagined).collect();
    let mut session = Session::begin(&mut client).await;
    session.say(ToServer::Resume(v1::ResumeSession { holds, ..resume(&opened) })).await;
    let reply = session.hear().await.unwrap();
    let Some(FromServer::Resumed(resumed)) = reply else { panic!("{reply:?}") };
    let lost: Vec<_> = resumed.lost.iter().map(|lost| lost.hold_id.as_str()).collect();
    assert_eq!(lost, UNKNOWN_HOLDS);
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_wrong_operation_spoils_itself_only() {
    let mut server = Logged::start_without_node_scope();
    let mut client = connect(&server).await;
    let (mut session, _) = Session::open(&mut client, v1::OnDisconnect::Release).await;
    for (number, (what, spoil, reason)) in (1..).zip(asks::WRONG) {
        session.say(ToServer::Acquire(acquire(number, Ask::spoilt(*spoil)))).await;
        session.assert_failed(what, number, *reason).await;
    }
    let owner_key = "k".repeat(129);
    session.say(ToServer::Acquire(v1::SessionAcquire { owner_key, ..acquire(100, Ask::good()) })).await;
    session.assert_failed("a long owner key", 100, ErrorReason::InvalidOwnerKey).await;
    session.say(ToServer::Acquire(v1::SessionAcquire::default())).await;
    session.assert_failed("an empty acquire", 0, ErrorReason::InvalidName).await;

    let release = |hold_id: &str| v1::SessionRelease { request_id: 101, hold_id: hold_id.to_owned() };
    for wrong in ["", "abc", "g123456789abcdef0123456789abcdef", &"a".repeat(1 << 15)] {
        session.say(ToServer::Release(release(wrong))).await;
        session.assert_failed("a wrong hold id", 101, ErrorReason::InvalidHoldId).await;
    }
    for unknown in UNKNOWN_HOLDS {
        session.say(ToServer::Release(release(unknown))).await;
        session.assert_failed("an unknown hold", 101, ErrorReason::HoldNotFound).await;
    }

    session.say(ToServer::Cancel(v1::SessionCancel { request_id: u64::MAX })).await;
    let reply = session.hear().await.unwrap();
    let Some(FromServer::NotAcquired(answer)) = reply else { panic!("{reply:?}") };
    let why = answer.why.unwrap_or_default().reason();
    assert_eq!((answer.request_id, why), (u64::MAX, Reason::Cancelled), "a cancel of nothing");
    session.say(ToServer::Ping(v1::Ping { sequence: 3 })).await;
    assert!(matches!(session.hear().await.unwrap(), Some(FromServer::Pong(_))));
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_message_that_is_no_operation_ends_the_session() {
    let mut server = Logged::start_without_node_scope();
    let mut client = connect(&server).await;
    for wrong in [None, Some(ToServer::Open(open())), Some(ToServer::Resume(v1::ResumeSession::default()))] {
        let (mut session, _) = Session::open(&mut client, v1::OnDisconnect::Release).await;
        session.say(ToServer::Acquire(acquire(1, Ask::good()))).await;
        let reply = session.hear().await.unwrap();
        assert!(matches!(reply, Some(FromServer::Acquired(_))), "{reply:?}");
        let what = format!("{wrong:?}");
        session.say(wrong).await;
        session.assert_refused(&what, ErrorReason::InvalidSession).await;
    }
    assert_unharmed(&mut server).await;
}
