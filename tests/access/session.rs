//! A session stream in the test's own hand.

use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_api::v1::session_request::Message as Ask;
use lockstead_api::v1::session_response::Message;
use lockstead_api::v1::{
    self, Claim, OpenSession, ResumeSession, SessionAcquire, SessionOpened, SessionRequest, SessionResponse, Wait,
};
use lockstead_client::{ErrorReason, OnDisconnect};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Status, Streaming};

use crate::setup::Guarded;

/// Its drop breaks the stream.
pub(crate) struct Session {
    messages: mpsc::UnboundedSender<SessionRequest>,
    replies: Streaming<SessionResponse>,
}

impl Session {
    async fn begin(server: &Guarded, token: &str, first: Ask) -> Self {
        let mut client = LockServiceClient::connect(server.server.url.clone()).await.unwrap();
        let (messages, outgoing) = mpsc::unbounded_channel();
        let mut request = Request::new(UnboundedReceiverStream::new(outgoing));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let replies = client.session(request).await.unwrap().into_inner();
        let session = Self { messages, replies };
        session.say(first);
        session
    }

    pub(crate) async fn open(server: &Guarded, token: &str, on_disconnect: OnDisconnect) -> (Self, SessionOpened) {
        let on_disconnect = match on_disconnect {
            OnDisconnect::Release => v1::OnDisconnect::Release,
            OnDisconnect::Keep => v1::OnDisconnect::Keep,
        };
        let options = OpenSession { on_disconnect: on_disconnect.into(), ..OpenSession::default() };
        let mut session = Self::begin(server, token, Ask::Open(options)).await;
        let Message::Opened(opened) = session.hears().await else { panic!("not opened") };
        (session, opened)
    }

    /// Resumes it, as whoever has this token; or says why not.
    pub(crate) async fn resume(
        server: &Guarded,
        token: &str,
        opened: &SessionOpened,
        pending: &[u64],
    ) -> (Self, Option<ErrorReason>) {
        let resume = ResumeSession {
            session_id: opened.session_id.clone(),
            resume_secret: opened.resume_secret.clone(),
            attempt: 1,
            pending_request_ids: pending.to_vec(),
            ..ResumeSession::default()
        };
        let mut session = Self::begin(server, token, Ask::Resume(resume)).await;
        let refused = session.next().await.err().map(|status| ErrorReason::of(&status));
        (session, refused)
    }

    pub(crate) fn say(&self, message: Ask) {
        self.messages.send(SessionRequest { message: Some(message) }).unwrap();
    }

    async fn next(&mut self) -> Result<Message, Status> {
        Ok(self.replies.message().await?.unwrap().message.unwrap())
    }

    /// What the server says next.
    pub(crate) async fn hears(&mut self) -> Message {
        self.next().await.unwrap()
    }
}

/// An acquire that waits for as long as it takes.
pub(crate) fn acquire(number: u64, name: &str) -> Ask {
    let wait = Some(Wait { how: Some(v1::wait::How::Forever(true)) });
    let claim = Some(Claim { name: name.to_owned(), ..Claim::default() });
    Ask::Acquire(SessionAcquire { request_id: number, claim, wait, ..SessionAcquire::default() })
}
