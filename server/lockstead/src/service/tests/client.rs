//! A service over a slow engine, and clients of it that are in the test's hand.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lockstead_core::{Claim, Get, HoldId, Kind, Metadata, Mode, Name, Owner, ResourceKey, Scope, SessionId, Wait};
use lockstead_engine::{Engine, SharedKey};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::slow_engine::{HeldBack, Method, SlowEngine};
use crate::access::Identity;
use crate::service::session::{
    Granted, HeldHold, Message, OnDisconnect, Opened, OutboundItem, Reply, Resume, SessionAsk, SessionOptions,
    attachment_channel,
};
use crate::service::{Ask, Caller, Drain, Engines, Error, Router, Service};
use crate::telemetry::Metrics;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// A service, its engine, and the calls that the engine holds back.
pub(super) struct Slow {
    pub(super) service: Caller,
    pub(super) engine: Arc<SlowEngine>,
    pub(super) drain: Drain,
    calls: mpsc::UnboundedReceiver<HeldBack>,
}

/// A session stream, from the client's end. Dropping it breaks the stream.
pub(super) struct Client {
    messages: Option<mpsc::UnboundedSender<Result<Message, Error>>>,
    replies: mpsc::Receiver<OutboundItem>,
}

pub(super) fn options(on_disconnect: OnDisconnect, timeout: Duration) -> SessionOptions {
    SessionOptions { timeout, on_disconnect, owner: Owner::default(), metadata: Metadata::default() }
}

/// An exclusive lock.
pub(super) fn ask(name: &str, wait: Wait) -> Ask {
    Ask {
        scope: Scope::Cluster,
        name: Name::parse(name).unwrap(),
        claim: Claim::Lock(Mode::Exclusive),
        wait,
        owner: Owner::default(),
        metadata: Metadata::default(),
    }
}

pub(super) fn lock(name: &str) -> ResourceKey {
    ResourceKey { kind: Kind::Lock, name: Name::parse(name).unwrap() }
}

pub(super) fn held(name: &str, grant: &Granted) -> (HeldHold, u32) {
    (HeldHold { hold: grant.hold, scope: Scope::Cluster, resource: lock(name) }, 1)
}

/// A resume that lists nothing.
pub(super) fn resume(opened: &Opened, attempt: u32) -> Resume {
    let (session, resume_secret) = (opened.session, opened.resume_secret);
    let options = Some(options(OnDisconnect::Keep, opened.timeout));
    Resume { session, resume_secret, attempt, holds: Vec::new(), pending: Vec::new(), options }
}

/// Returns what comes, if it comes at all.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens in time")
}

impl Slow {
    pub(super) fn start() -> Self {
        let metrics = Arc::new(Metrics::new());
        let router = Arc::new(Router::new(metrics.clone()));
        let (engine, calls) = SlowEngine::start(SharedKey::from_bytes([7; 32]), router.clone());
        let drain = Drain::default();
        let service =
            Service::new(Engines::new(engine.clone()), router, metrics, drain.clone()).caller(Identity::anyone());
        Self { service, engine, drain, calls }
    }

    pub(super) async fn open(&self, on_disconnect: OnDisconnect) -> (Client, Opened) {
        self.open_with(options(on_disconnect, LONG)).await
    }

    pub(super) async fn open_with(&self, options: SessionOptions) -> (Client, Opened) {
        let (messages, inbound) = mpsc::unbounded_channel();
        let (outbound, replies) = attachment_channel();
        let session =
            self.service.open_session(options, UnboundedReceiverStream::new(inbound).boxed(), outbound).unwrap();
        tokio::spawn(session.run());
        let mut client = Client { messages: Some(messages), replies };
        match client.hear().await {
            Reply::Opened(opened) => (client, *opened),
            other => panic!("instead of opened: {other:?}"),
        }
    }

    pub(super) async fn resume(&self, resume: Resume) -> Client {
        let (messages, inbound) = mpsc::unbounded_channel();
        let (outbound, replies) = attachment_channel();
        let inbound = UnboundedReceiverStream::new(inbound).boxed();
        if let Err(error) = self.service.resume_session(resume, inbound, outbound.clone()).await {
            _ = outbound.send(Err(error)).await;
        }
        Client { messages: Some(messages), replies }
    }

    /// The next call that the engine holds back, which must be one of these.
    pub(super) async fn held_back(&mut self, method: Method) -> HeldBack {
        let call = soon(self.calls.recv()).await.expect("the engine is there");
        assert_eq!(call.method, method);
        call
    }

    /// That no other call has come so far.
    pub(super) fn no_other_call(&mut self) {
        assert!(self.calls.try_recv().is_err(), "there is a call");
    }

    /// How many hold a lock and how many wait for it.
    pub(super) async fn counts(&self, name: &str) -> (usize, usize) {
        let view = self.engine.get(Get(lock(name))).await.unwrap();
        (view.holder_count, view.waiter_count)
    }

    /// Returns when so many hold a lock and so many wait for it.
    pub(super) async fn until(&self, name: &str, counts: (usize, usize)) {
        let reached = async {
            while self.counts(name).await != counts {
                tokio::task::yield_now().await;
            }
        };
        soon(reached).await;
    }
}

impl Client {
    pub(super) fn say(&self, message: Message) {
        self.messages.as_ref().expect("the stream is whole").send(Ok(message)).expect("somebody listens");
    }

    pub(super) fn acquire(&self, request: u64, name: &str, wait: Wait) {
        self.say(Message::Acquire(SessionAsk { request, ask: ask(name, wait), owner_key: None }));
    }

    pub(super) fn cancel(&self, request: u64) {
        self.say(Message::Cancel { request });
    }

    pub(super) fn release(&self, request: u64, hold: HoldId) {
        self.say(Message::Release { request, hold });
    }

    pub(super) async fn hear(&mut self) -> Reply {
        self.hear_or_error().await.expect("no error")
    }

    pub(super) async fn hear_or_error(&mut self) -> OutboundItem {
        soon(self.replies.recv()).await.expect("the stream goes on")
    }

    pub(super) async fn hear_acquired(&mut self) -> Granted {
        match self.hear().await {
            Reply::Acquired { granted, .. } => granted,
            other => panic!("instead of acquired: {other:?}"),
        }
    }

    pub(super) async fn hear_queued(&mut self) {
        let reply = self.hear().await;
        assert!(matches!(reply, Reply::Queued { .. }), "instead of queued: {reply:?}");
    }

    /// Hears the holds that are lost by the resume.
    pub(super) async fn hear_resumed(&mut self) -> Vec<HoldId> {
        match self.hear().await {
            Reply::Resumed { lost, .. } => lost.into_iter().map(|(held, _)| held.hold).collect(),
            other => panic!("instead of resumed: {other:?}"),
        }
    }

    /// Hears how the stream ends; replies before that are passed over.
    pub(super) async fn end(&mut self) -> Option<Error> {
        loop {
            match soon(self.replies.recv()).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Some(error),
                None => return None,
            }
        }
    }

    /// Hears nothing but the answer to a ping that is said now: all that was said before has been read by then.
    pub(super) async fn ping(&mut self) -> Duration {
        self.say(Message::Ping { sequence: 99 });
        match self.hear().await {
            Reply::Pong { sequence: 99, valid_for } => valid_for,
            other => panic!("instead of a pong: {other:?}"),
        }
    }
}

/// A session that no server knows.
pub(super) fn stranger() -> SessionId {
    SessionId::from_bits(crate::service::random::bits())
}
