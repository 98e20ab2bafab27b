//! What the tests say on a session, by hand.

use std::time::Duration;

use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_api::v1::session_request::Message as Say;
use lockstead_api::v1::session_response::Message as Hear;
use lockstead_api::v1::{self, ErrorReason, OnDisconnect};
use lockstead_tests::{PATIENCE, RawSession};

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn options(on_disconnect: OnDisconnect, timeout: Duration) -> v1::OpenSession {
    v1::OpenSession {
        session_timeout: Some(timeout.try_into().unwrap()),
        on_disconnect: on_disconnect.into(),
        owner: "mover".to_owned(),
        ..v1::OpenSession::default()
    }
}

/// A session with one hold and what it takes to resume it.
pub(crate) struct Holder {
    pub(crate) stream: RawSession,
    pub(crate) opened: v1::SessionOpened,
    pub(crate) options: v1::OpenSession,
    pub(crate) held: v1::HeldHold,
}

impl Holder {
    /// Opens a session, and acquires a lock as its request 1.
    pub(crate) async fn open(url: &str, name: &str, options: v1::OpenSession) -> Self {
        let (mut stream, opened) = RawSession::open(url, options.clone()).await;
        stream.acquire(1, name, false);
        let held = held(name, &stream.hear_acquired(1).await);
        Self { stream, opened, options, held }
    }

    pub(crate) async fn keep(url: &str, name: &str) -> Self {
        Self::open(url, name, options(OnDisconnect::Keep, LONG)).await
    }

    /// A resume that lists the hold.
    pub(crate) fn resume(&self, attempt: u32) -> v1::ResumeSession {
        v1::ResumeSession {
            session_id: self.opened.session_id.clone(),
            resume_secret: self.opened.resume_secret.clone(),
            attempt,
            holds: vec![self.held.clone()],
            pending_request_ids: Vec::new(),
            options: Some(self.options.clone()),
        }
    }

    /// Resumes it on a server; which of its holds are lost.
    pub(crate) async fn resume_on(&mut self, url: &str, attempt: u32) -> Vec<v1::HoldLost> {
        let (stream, lost) = resumed(url, self.resume(attempt)).await;
        self.stream = stream;
        lost
    }

    /// Gives the hold back.
    pub(crate) async fn release(&mut self) {
        self.stream.say(Say::Release(v1::SessionRelease { request_id: 77, hold_id: self.held.hold_id.clone() }));
        let heard = self.stream.hear().await;
        assert!(matches!(heard, Hear::Released(v1::SessionReleased { request_id: 77, entries: 0 })), "{heard:?}");
    }

    /// The server answers, so the session is there.
    pub(crate) async fn ping(&mut self) {
        self.stream.say(Say::Ping(v1::Ping { sequence: 9 }));
        let heard = self.stream.hear().await;
        assert!(matches!(heard, Hear::Pong(v1::Pong { sequence: 9, .. })), "{heard:?}");
    }

    /// Hears that the server drains.
    pub(crate) async fn hear_draining(&mut self) -> Duration {
        match self.stream.hear().await {
            Hear::Draining(draining) => draining.within.unwrap().try_into().unwrap(),
            other => panic!("instead of draining: {other:?}"),
        }
    }
}

pub(crate) fn held(name: &str, acquired: &v1::SessionAcquired) -> v1::HeldHold {
    v1::HeldHold {
        hold_id: acquired.hold_id.clone(),
        resource: Some(v1::ResourceId { kind: v1::Kind::Lock.into(), name: name.to_owned(), scope: 0 }),
        fencing_token: acquired.fencing_token,
        entries: 1,
    }
}

/// Resumes a session; which of the listed holds are lost.
pub(crate) async fn resumed(url: &str, resume: v1::ResumeSession) -> (RawSession, Vec<v1::HoldLost>) {
    let mut stream = RawSession::begin(url, Say::Resume(resume)).await;
    match stream.hear().await {
        Hear::Resumed(resumed) => (stream, resumed.lost),
        other => panic!("instead of resumed: {other:?}"),
    }
}

/// Tries to begin with this, and hears why not.
pub(crate) async fn refused(url: &str, first: Say) -> ErrorReason {
    reason(&mut RawSession::begin(url, first).await).await
}

/// Why the server ends the stream.
pub(crate) async fn reason(stream: &mut RawSession) -> ErrorReason {
    ErrorReason::of(&stream.end().await.expect("an error at the end"))
}

/// The holders of a lock, and how many wait for it.
pub(crate) async fn parties(url: &str, name: &str) -> (Vec<v1::Holder>, u32) {
    let mut client = LockServiceClient::connect(url.to_owned()).await.unwrap();
    let id = v1::ResourceId { kind: v1::Kind::Lock.into(), name: name.to_owned(), scope: 0 };
    let answer = client.get(v1::GetRequest { resource: Some(id) }).await.unwrap();
    let resource = answer.into_inner().resource.unwrap();
    (resource.holders, resource.waiter_count)
}

/// Returns when nobody holds a lock.
pub(crate) async fn until_free(url: &str, name: &str) {
    let free = async { while !parties(url, name).await.0.is_empty() {} };
    tokio::time::timeout(PATIENCE, free).await.expect("it is freed in time");
}
