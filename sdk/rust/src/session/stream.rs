//! The session's stream as it comes, lives and goes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_api::v1::{SessionRequest, SessionResponse};
use lockstead_core::limits::GRPC_MESSAGE_MAX_BYTES;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};
use tonic::Streaming;

use super::wire::{Failure, FromServer};
use crate::transport::{Route, Transport};

/// How long a server that is being connected to is ahead of the next one.
const HEAD_START: Duration = Duration::from_millis(250);
/// How long a server may take to end a session that was left, before the stream is cut.
const LINGER: Duration = Duration::from_secs(5);

/// A stream of the session.
pub(super) enum SessionStream {
    /// There is none.
    Closed,
    /// A connection is being made.
    Connecting(Race),
    /// The call is under way: what is sent goes out, but the server has not answered yet.
    Calling { outbox: Outbox, call: BoxFuture<'static, Result<Streaming<SessionResponse>, Failure>> },
    /// Both directions are open; without an outbox, ours is closed.
    Open { outbox: Option<Outbox>, inbound: Box<Streaming<SessionResponse>> },
}

/// What the stream has to say.
pub(super) enum Event {
    /// A connection to a server, by its index, is made. [`SessionStream::call`] comes next.
    Connected(usize, Transport),
    /// One of the servers can't be reached; others may be.
    Unreachable(usize, Failure),
    /// There are messages.
    Messages,
    /// It is over, or came to nothing.
    Ended(Failure),
}

/// Our direction. Closes when dropped, after what is in it was sent.
type Outbox = mpsc::UnboundedSender<Vec<SessionRequest>>;

/// The other end of an [`Outbox`]: batches, one message at a time. The transport writes what is ready as one.
struct Outgoing {
    batches: mpsc::UnboundedReceiver<Vec<SessionRequest>>,
    batch: std::vec::IntoIter<SessionRequest>,
}

impl SessionStream {
    /// Starts to connect to one of these servers.
    pub(super) fn connect(servers: impl IntoIterator<Item = (usize, Route)>) -> Self {
        Self::Connecting(Race::new(servers.into_iter().collect()))
    }

    /// Starts the call on a connection; `first` is what it begins with.
    pub(super) fn call(channel: Transport, first: Vec<SessionRequest>) -> Self {
        let (outbox, batches) = mpsc::unbounded_channel();
        let outgoing = Outgoing { batches, batch: first.into_iter() };
        let call = async move {
            let mut service = LockServiceClient::new(channel).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES);
            let answer = service.session(outgoing).await;
            answer.map(tonic::Response::into_inner).map_err(|status| Failure::of(&status))
        };
        Self::Calling { outbox, call: Box::pin(call) }
    }

    /// Sends messages, if there is a stream to send them on.
    pub(super) fn send(&self, batch: Vec<SessionRequest>) {
        if let Self::Calling { outbox, .. } | Self::Open { outbox: Some(outbox), .. } = self {
            // If the other end is gone, the stream's own end tells us why.
            let _ = outbox.send(batch);
        }
    }

    /// Closes our direction, and goes on listening.
    pub(super) fn close_outbox(&mut self) {
        match self {
            Self::Open { outbox, .. } => *outbox = None,
            Self::Closed | Self::Connecting(_) | Self::Calling { .. } => *self = Self::Closed,
        }
    }

    /// Closes our direction, and lets the server end the other in its own time. If both were cut at once, what was sent
    /// last might be cut off.
    pub(super) fn leave(&mut self) {
        if let Self::Open { outbox, mut inbound } = std::mem::replace(self, Self::Closed) {
            drop(outbox);
            tokio::spawn(tokio::time::timeout(
                LINGER,
                async move { while let Ok(Some(_)) = inbound.message().await {} },
            ));
        }
    }

    /// Leaves both directions open until the server ends its own. It may not have heard yet that the session has moved, and
    /// could take a break for the session's end.
    pub(super) fn retire(&mut self) {
        if let Self::Open { outbox, mut inbound } = std::mem::replace(self, Self::Closed) {
            tokio::spawn(tokio::time::timeout(LINGER, async move {
                while let Ok(Some(_)) = inbound.message().await {}
                drop(outbox);
            }));
        }
    }

    /// Waits for what comes next; messages are put into `messages`, until there are `most`. Nothing is lost if the future is
    /// dropped.
    pub(super) async fn next(&mut self, messages: &mut VecDeque<FromServer>, most: usize) -> Event {
        match self {
            Self::Closed => std::future::pending().await,
            Self::Connecting(race) => match race.next().await {
                (server, Ok(channel)) => {
                    *self = Self::Closed;
                    Event::Connected(server, channel)
                }
                (server, Err(failure)) => Event::Unreachable(server, failure),
            },
            Self::Calling { outbox, call } => match call.await {
                Ok(inbound) => {
                    *self = Self::Open { outbox: Some(outbox.clone()), inbound: Box::new(inbound) };
                    Event::Messages
                }
                Err(failure) => self.ended(failure),
            },
            Self::Open { inbound, .. } => match poll_fn(|context| poll_batch(inbound, messages, most, context)).await {
                None => Event::Messages,
                Some(failure) => self.ended(failure),
            },
        }
    }

    fn ended(&mut self, failure: Failure) -> Event {
        *self = Self::Closed;
        Event::Ended(failure)
    }
}

/// Connections to several servers, of which the first one that is made is taken. Each is begun when the one before has
/// failed, or is late: a server that swallows everything costs little time, and one that answers is not disturbed.
pub(super) struct Race {
    waiting: VecDeque<(usize, Route)>,
    running: FuturesUnordered<BoxFuture<'static, (usize, Result<Transport, Failure>)>>,
    head_start: Pin<Box<Sleep>>,
}

impl Race {
    fn new(waiting: VecDeque<(usize, Route)>) -> Self {
        Self { waiting, running: FuturesUnordered::new(), head_start: Box::pin(sleep(HEAD_START)) }
    }

    /// How it went with one of them; never ready once all have failed.
    async fn next(&mut self) -> (usize, Result<Transport, Failure>) {
        loop {
            if self.running.is_empty() {
                self.start_one();
            }
            tokio::select! {
                Some((server, outcome)) = self.running.next() => {
                    if outcome.is_err() {
                        self.start_one();
                    }
                    return (server, outcome);
                }
                () = &mut self.head_start, if !self.waiting.is_empty() => self.start_one(),
                else => std::future::pending().await,
            }
        }
    }

    fn start_one(&mut self) {
        if let Some((server, route)) = self.waiting.pop_front() {
            self.running.push(async move { (server, connect(route).await) }.boxed());
            self.head_start = Box::pin(sleep(HEAD_START));
        }
    }
}

async fn connect(route: Route) -> Result<Transport, Failure> {
    route.connect().await.map_err(|error| {
        let cause = std::error::Error::source(&error);
        Failure::Broken(cause.map_or_else(|| error.to_string(), |cause| innermost(cause).to_string()))
    })
}

/// Takes the messages that are there. `Some` once the stream has ended; after the messages before its end.
fn poll_batch(
    inbound: &mut Streaming<SessionResponse>,
    messages: &mut VecDeque<FromServer>,
    most: usize,
    context: &mut Context<'_>,
) -> Poll<Option<Failure>> {
    while messages.len() < most {
        match Pin::new(&mut *inbound).poll_next(context) {
            Poll::Ready(Some(Ok(SessionResponse { message }))) => messages.extend(message),
            Poll::Ready(ended) => {
                let failure = match ended {
                    Some(Err(status)) => Failure::of(&status),
                    _ => Failure::Broken("the server ended the stream".to_owned()),
                };
                return Poll::Ready(Some(failure));
            }
            Poll::Pending if messages.is_empty() => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(None)
}

/// The cause that says what happened: tonic and hyper wrap it in sentences such as "transport error".
fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    error.source().map_or(error, innermost)
}

impl Stream for Outgoing {
    type Item = SessionRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SessionRequest>> {
        loop {
            if let Some(message) = self.batch.next() {
                return Poll::Ready(Some(message));
            }
            match self.batches.poll_recv(context) {
                Poll::Ready(Some(batch)) => self.batch = batch.into_iter(),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
