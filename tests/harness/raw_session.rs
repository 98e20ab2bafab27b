//! A session spoken by hand, message by message, for what no well-behaved client would do.

use lockstead_api::v1;
use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_api::v1::session_request::Message as Say;
use lockstead_api::v1::session_response::Message as Hear;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status, Streaming};

use crate::PATIENCE;

/// One session stream. Dropping it breaks the stream without a close.
pub struct RawSession {
    sender: mpsc::UnboundedSender<v1::SessionRequest>,
    answers: Streaming<v1::SessionResponse>,
}

impl RawSession {
    /// Opens a stream and says the first message on it.
    ///
    /// # Panics
    /// If there is no server.
    pub async fn begin(url: &str, first: Say) -> Self {
        Self::begin_with(url, first, MetadataMap::new()).await
    }

    /// The same, with more in the headers of the stream.
    ///
    /// # Panics
    /// If there is no server.
    pub async fn begin_with(url: &str, first: Say, metadata: MetadataMap) -> Self {
        let (sender, messages) = mpsc::unbounded_channel();
        let mut client = LockServiceClient::connect(url.to_owned()).await.expect("a server");
        let raw = |answers| Self { sender: sender.clone(), answers };
        let messages = UnboundedReceiverStream::new(messages);
        let request = Request::from_parts(metadata, Extensions::default(), messages);
        let session = client.session(request).await.expect("a stream");
        let session = raw(session.into_inner());
        session.say(first);
        session
    }

    /// Opens a session.
    ///
    /// # Panics
    /// If the server does not open it.
    pub async fn open(url: &str, open: v1::OpenSession) -> (Self, v1::SessionOpened) {
        let mut session = Self::begin(url, Say::Open(open)).await;
        match session.hear().await {
            Hear::Opened(opened) => (session, opened),
            other => panic!("instead of opened: {other:?}"),
        }
    }

    /// Says a message.
    pub fn say(&self, message: Say) {
        // If the server ended the stream, the test hears of it.
        _ = self.sender.send(v1::SessionRequest { message: Some(message) });
    }

    /// Asks for an exclusive lock, for as long as it takes if `wait`.
    pub fn acquire(&self, request_id: u64, name: &str, wait: bool) {
        self.say(Say::Acquire(v1::SessionAcquire {
            request_id,
            claim: Some(v1::Claim { name: name.to_owned(), ..v1::Claim::default() }),
            wait: wait.then_some(v1::Wait { how: Some(v1::wait::How::Forever(true)) }),
            ..v1::SessionAcquire::default()
        }));
    }

    /// The next message of the server.
    ///
    /// # Panics
    /// If there is none for long, or the stream ended.
    pub async fn hear(&mut self) -> Hear {
        match self.hear_or_end().await {
            Ok(Some(message)) => message,
            other => panic!("the stream ended: {other:?}"),
        }
    }

    /// The next message, or how the stream ended.
    ///
    /// # Errors
    /// The status with which the server ended the stream.
    ///
    /// # Panics
    /// If nothing happens for long.
    pub async fn hear_or_end(&mut self) -> Result<Option<Hear>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("a message in time");
        Ok(next?.and_then(|response| response.message))
    }

    /// Waits for the grant of an acquire; a `queued` before it is passed over.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn hear_acquired(&mut self, request_id: u64) -> v1::SessionAcquired {
        loop {
            match self.hear().await {
                Hear::Acquired(acquired) if acquired.request_id == request_id => return acquired,
                Hear::Queued(_) => {}
                other => panic!("instead of acquired: {other:?}"),
            }
        }
    }

    /// How the server ends the stream; messages before that are passed over.
    pub async fn end(&mut self) -> Option<Status> {
        loop {
            match self.hear_or_end().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }
}
