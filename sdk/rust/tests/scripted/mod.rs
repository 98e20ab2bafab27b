//! A server that does what a test tells it, for failures that a real one seldom shows: it falls silent, breaks streams,
//! forgets sessions, answers late.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "for tests, not all of which use all of it")]

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use lockstead_api::v1::lock_service_server::{LockService, LockServiceServer};
use lockstead_api::v1::session_request::Message as ToServer;
use lockstead_api::v1::session_response::Message as FromServer;
use lockstead_api::v1::{self, ErrorReason};
use lockstead_client::{Client, OnDisconnect};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// Longer than anything in these tests takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came: a session's stream, or a unary call.
pub(crate) enum Arrival {
    Session(Peer),
    Acquire(v1::AcquireRequest, oneshot::Sender<Result<v1::AcquireResponse, Status>>),
    Renew(v1::RenewRequest, oneshot::Sender<Result<v1::RenewResponse, Status>>),
    Release(v1::ReleaseRequest, oneshot::Sender<Result<v1::ReleaseResponse, Status>>),
    List(v1::ListRequest, oneshot::Sender<Result<v1::ListResponse, Status>>),
}

/// A server in a runtime of its own, so that its end cuts all its connections.
pub(crate) struct Server {
    pub(crate) address: String,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    runtime: Option<Runtime>,
}

/// Two servers, and a client that has a session with one of them.
pub(crate) struct Pair {
    pub(crate) client: Client,
    /// The session's stream.
    pub(crate) peer: Peer,
    /// The server that has the session.
    pub(crate) home: Server,
    pub(crate) other: Server,
}

/// The server's end of a session's stream.
pub(crate) struct Peer {
    inbound: Streaming<v1::SessionRequest>,
    outbound: mpsc::UnboundedSender<Result<v1::SessionResponse, Status>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, arrivals) = mpsc::unbounded_channel();
        let (bound, address) = oneshot::channel();
        runtime.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            let service = LockServiceServer::new(Script { arrivals: sender });
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { address: format!("http://{}", address.await.unwrap()), arrivals, runtime: Some(runtime) }
    }

    /// A client with an open session, which is valid for so long.
    pub(crate) async fn client(&mut self, on_disconnect: OnDisconnect, valid_for: Duration) -> (Client, Peer) {
        let builder = Client::builder().server(&self.address).on_disconnect(on_disconnect).owner("me");
        let (client, peer) = tokio::join!(builder.connect(), self.opened(valid_for));
        (client.unwrap(), peer)
    }

    pub(crate) async fn arrival(&mut self) -> Arrival {
        soon(self.arrivals.recv()).await.expect("the server runs")
    }

    /// The next session stream.
    pub(crate) async fn session(&mut self) -> Peer {
        match self.arrival().await {
            Arrival::Session(peer) => peer,
            _ => panic!("a unary call instead of a session"),
        }
    }

    /// The next session stream, which opens a session that is valid for so long.
    pub(crate) async fn opened(&mut self, valid_for: Duration) -> Peer {
        let mut peer = self.session().await;
        let message = peer.read().await;
        assert!(matches!(message, ToServer::Open(_)), "{message:?}");
        let (session_id, resume_secret) = ("the-session".to_owned(), "the-secret".to_owned());
        let valid_for = Some(proto(valid_for));
        let opened = v1::SessionOpened { session_id, resume_secret, session_timeout: valid_for, valid_for };
        peer.say(FromServer::Opened(opened));
        peer
    }

    /// The next session stream, which resumes the session.
    pub(crate) async fn resumed(&mut self, valid_for: Duration) -> (Peer, v1::ResumeSession) {
        let mut peer = self.session().await;
        let message = peer.read().await;
        let ToServer::Resume(resume) = message else { panic!("{message:?}") };
        assert_eq!((&*resume.session_id, &*resume.resume_secret), ("the-session", "the-secret"));
        peer.resumed(valid_for);
        (peer, resume)
    }

    /// Cuts all connections and listens no more.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Pair {
    /// Which of the two servers it begins with is up to the client.
    pub(crate) async fn start(on_disconnect: OnDisconnect, valid_for: Duration) -> Self {
        let (mut one, mut two) = (Server::start().await, Server::start().await);
        let builder = Client::builder().server(&one.address).server(&two.address).on_disconnect(on_disconnect);
        let opened = async {
            tokio::select! {
                peer = one.opened(valid_for) => (peer, true),
                peer = two.opened(valid_for) => (peer, false),
            }
        };
        let (client, (peer, is_one)) = tokio::join!(builder.connect(), opened);
        let (home, other) = if is_one { (one, two) } else { (two, one) };
        Self { client: client.unwrap(), peer, home, other }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Peer {
    /// The next message, whatever it is.
    pub(crate) async fn read(&mut self) -> ToServer {
        self.try_read().await.expect("the stream goes on")
    }

    /// The next message; `None` if the stream has ended.
    pub(crate) async fn try_read(&mut self) -> Option<ToServer> {
        let message = soon(self.inbound.message()).await.ok().flatten()?;
        Some(message.message.expect("no empty messages"))
    }

    /// The next message but for pings, which are answered.
    pub(crate) async fn read_operation(&mut self, valid_for: Duration) -> ToServer {
        loop {
            match self.read().await {
                ToServer::Ping(ping) => self.pong(ping.sequence, valid_for),
                message => return message,
            }
        }
    }

    pub(crate) async fn read_acquire(&mut self) -> v1::SessionAcquire {
        let message = self.read().await;
        let ToServer::Acquire(acquire) = message else { panic!("{message:?}") };
        acquire
    }

    pub(crate) async fn read_ping(&mut self) -> u64 {
        let message = self.read().await;
        let ToServer::Ping(ping) = message else { panic!("{message:?}") };
        ping.sequence
    }

    /// Answers a resume.
    pub(crate) fn resumed(&self, valid_for: Duration) {
        let valid_for = Some(proto(valid_for));
        self.say(FromServer::Resumed(v1::SessionResumed { valid_for, lost: Vec::new() }));
    }

    /// Reads an acquire and grants it.
    pub(crate) async fn grant(&mut self, hold: u128, fencing_token: u64) -> v1::SessionAcquire {
        let acquire = self.read_acquire().await;
        self.acquired(acquire.request_id, hold, fencing_token);
        acquire
    }

    pub(crate) fn acquired(&self, request_id: u64, hold: u128, fencing_token: u64) {
        let hold_id = hold_id(hold);
        self.say(FromServer::Acquired(v1::SessionAcquired { request_id, hold_id, fencing_token, entries: 1 }));
    }

    pub(crate) fn released(&self, request_id: u64) {
        self.say(FromServer::Released(v1::SessionReleased { request_id, entries: 0 }));
    }

    pub(crate) fn pong(&self, sequence: u64, valid_for: Duration) {
        self.say(FromServer::Pong(v1::Pong { sequence, valid_for: Some(proto(valid_for)) }));
    }

    pub(crate) fn say(&self, message: FromServer) {
        let _ = self.outbound.send(Ok(v1::SessionResponse { message: Some(message) }));
    }

    /// Ends the stream with an error.
    pub(crate) fn fail(self, reason: ErrorReason) {
        let _ = self.outbound.send(Err(reason.status("as the test wants it")));
    }

    /// Ends the stream as a connection that breaks would.
    pub(crate) fn cut(self) {
        let _ = self.outbound.send(Err(Status::unavailable("cut")));
    }
}

pub(crate) fn hold_id(bits: u128) -> String {
    format!("{bits:032x}")
}

/// On the wire.
pub(crate) fn proto(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap()
}

/// What must happen soon.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened")
}

struct Script {
    arrivals: mpsc::UnboundedSender<Arrival>,
}

impl Script {
    async fn ask<T>(
        &self,
        arrival: impl FnOnce(oneshot::Sender<Result<T, Status>>) -> Arrival,
    ) -> Result<Response<T>, Status> {
        let (sender, answer) = oneshot::channel();
        let _ = self.arrivals.send(arrival(sender));
        answer.await.unwrap_or_else(|_| Err(Status::unavailable("the test does not answer"))).map(Response::new)
    }
}

#[tonic::async_trait]
impl LockService for Script {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;
    type HoldStream = Pin<Box<dyn Stream<Item = Result<v1::HoldResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outbound, mut replies) = mpsc::unbounded_channel();
        let _ = self.arrivals.send(Arrival::Session(Peer { inbound: request.into_inner(), outbound }));
        Ok(Response::new(Box::pin(futures::stream::poll_fn(move |context| replies.poll_recv(context)))))
    }

    async fn hold(&self, _: Request<v1::HoldRequest>) -> Result<Response<Self::HoldStream>, Status> {
        Err(Status::unimplemented("hold"))
    }

    async fn acquire(&self, request: Request<v1::AcquireRequest>) -> Result<Response<v1::AcquireResponse>, Status> {
        self.ask(|answer| Arrival::Acquire(request.into_inner(), answer)).await
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        self.ask(|answer| Arrival::Renew(request.into_inner(), answer)).await
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        self.ask(|answer| Arrival::Release(request.into_inner(), answer)).await
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        Err(Status::unimplemented("get"))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        self.ask(|answer| Arrival::List(request.into_inner(), answer)).await
    }
}
