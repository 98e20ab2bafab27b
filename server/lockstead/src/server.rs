//! One port for gRPC and HTTP: accepts connections until the shutdown, then drains within a bound.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use lockstead_core::limits::HTTP2_STREAMS_MAX;
use lockstead_engine::Readiness;
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::Settings;
use crate::engine::{EngineSettingsError, Started, start_engine};
use crate::service::{Drain, Engines, Router, Service};
use crate::telemetry::Metrics;
use crate::{grpc, http};

/// What begins an HTTP/2 connection.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often to look for the rest of it, if it does not come in one piece.
const PREFACE_LOOK_EVERY: Duration = Duration::from_millis(20);
/// A request's headers must be complete within this.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// Most bytes of an HTTP/1 request's line and headers. (HTTP/2 has 16 KiB by itself.)
const HTTP1_HEADERS_MAX_BYTES: usize = 64 << 10;
/// An HTTP/2 connection is asked for a sign of life this often; one that gives none is dropped.
const HTTP2_PING_EVERY: Duration = Duration::from_secs(10);
const HTTP2_PING_ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Flow control windows: large enough that a session's stream is not held up by it.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// What was sent to a peer and not acknowledged for so long tells that the peer is gone. It frees the hold streams of a
/// machine that lost its power or network.
const UNACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which mostly means that there are no file descriptors left.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(50);

/// How often to ask the engines whether they are ready.
const READINESS_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Whoever is still there when the time for moving is up has at least so long to read what became of it.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

/// A server that has its port but serves nobody yet.
pub struct Server {
    port: Port,
    misconfigured: BoxFuture<'static, String>,
    drain_timeout: Duration,
}

/// What comes in by the port, and what it comes to.
struct Port {
    listener: TcpListener,
    address: SocketAddr,
    app: axum::Router,
    service: Service,
    health: HealthReporter,
}

/// Why a server can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The engine can't be had with these settings.
    #[error(transparent)]
    Engine(#[from] EngineSettingsError),
    /// The port can't be had.
    #[error("can't listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The build is broken.
    #[error("the gRPC descriptors can't be read: {0}")]
    Descriptors(#[from] tonic_reflection::server::Error),
}

/// The engine is set up in a way that waiting can't mend.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Misconfigured(String);

impl Server {
    /// Takes the port and puts everything together. Connections queue up from here on.
    pub async fn bind(settings: &Settings) -> Result<Self, StartError> {
        Self::bind_over(settings, |router| start_engine(settings, router)).await
    }

    /// The same, over another engine than that of the settings: the one that `start` makes for this listener.
    pub async fn bind_over(
        settings: &Settings,
        start: impl FnOnce(Arc<Router>) -> Result<Started, EngineSettingsError>,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new());
        let router = Arc::new(Router::new(metrics.clone()));
        let Started { engine, node, misconfigured } = start(router.clone())?;
        let failed = |source| StartError::Listen { address: settings.listen.clone(), source };
        let listener = TcpListener::bind(&settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let service = Service::new(Engines::new(engine).with_node(node), router, metrics, Drain::default());
        let (grpc, health) = grpc::routes(service.clone())?;
        let app = grpc.merge(http::routes(service.clone(), http::Info::new(env!("CARGO_PKG_VERSION"))));
        let port = Port { listener, address, app, service, health };
        Ok(Self { port, misconfigured, drain_timeout: settings.drain_timeout })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// With more routes on the same port.
    #[must_use]
    pub fn with_routes(mut self, routes: axum::Router) -> Self {
        self.port.app = self.port.app.merge(routes);
        self
    }

    /// Serves until `shutdown`. Then sessions move to other servers, if their engine outlives this one, and what is left
    /// ends; requests in progress are waited for, but not for ever.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Misconfigured> {
        let Self { port, misconfigured, drain_timeout } = self;
        let connections = GracefulShutdown::new();
        tokio::select! {
            biased;
            never = port.watch_readiness() => match never {},
            () = shutdown => {}
            why = misconfigured => return Err(Misconfigured(why)),
            never = port.accept(&connections) => match never {},
        }
        port.health.set_service_status("", ServingStatus::NotServing).await;
        port.service.drain().begin(drain_timeout);
        let mut last_words_within = Duration::ZERO;
        if port.service.engines().outlive_server() {
            port.let_sessions_move(drain_timeout, &connections).await;
            last_words_within = LAST_WORDS_WITHIN;
        }
        let Port { listener, service, .. } = port;
        drop(listener);
        tracing::info!("draining: sessions and streams end, no new requests");
        service.drain().end();
        let ended = async {
            service.sessions().none_left().await;
            connections.shutdown().await;
            service.engines().settled().await;
        };
        if tokio::time::timeout(service.drain().left().max(last_words_within), ended).await.is_err() {
            tracing::warn!(after = ?drain_timeout, "some connections were still open at the end of the drain");
        }
        Ok(())
    }
}

impl Port {
    /// Accepts connections, for as long as it is polled.
    async fn accept(&self, connections: &GracefulShutdown) -> Infallible {
        let http = Arc::new(connection_settings());
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let drain = self.service.drain().clone();
                    serve(connections, http.clone(), stream, self.app.clone(), drain);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY_AFTER).await;
                }
            }
        }
    }

    /// Tells whoever asks for the server's health whether the engines can serve, and the log whenever that changes.
    async fn watch_readiness(&self) -> Infallible {
        let mut told = None;
        loop {
            let readiness = self.service.engines().readiness();
            if told.as_ref() != Some(&readiness) {
                self.tell_readiness(&readiness).await;
                told = Some(readiness);
            }
            tokio::time::sleep(READINESS_LOOK_EVERY).await;
        }
    }

    async fn tell_readiness(&self, readiness: &Readiness) {
        let status = match readiness {
            Readiness::Ready => ServingStatus::Serving,
            Readiness::NotReady(_) => ServingStatus::NotServing,
        };
        self.health.set_service_status("", status).await;
        let (address, engine) = (self.address, self.service.engines().names());
        match readiness {
            Readiness::Ready => tracing::info!(%address, engine, version = env!("CARGO_PKG_VERSION"), "ready"),
            Readiness::NotReady(why) => tracing::warn!(%address, engine, why, "not ready"),
        }
    }

    /// Goes on serving until all sessions have moved to other servers, but not for ever.
    async fn let_sessions_move(&self, within: Duration, connections: &GracefulShutdown) {
        let sessions = self.service.sessions();
        tracing::info!(sessions = sessions.count(), "draining: sessions move to other servers, nothing new begins");
        tokio::select! {
            () = sessions.none_left() => {}
            () = tokio::time::sleep(within) => {
                tracing::warn!(sessions = sessions.count(), "some sessions were still here at the end of the drain");
            }
            // Sessions need no new connections, but whoever asks whether the server is ready does.
            never = self.accept(connections) => match never {},
        }
    }
}

fn connection_settings() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_buf_size(HTTP1_HEADERS_MAX_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(HTTP2_PING_ANSWER_WITHIN)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES);
    http
}

fn serve(
    connections: &GracefulShutdown,
    http: Arc<auto::Builder<TokioExecutor>>,
    stream: TcpStream,
    app: axum::Router,
    drain: Drain,
) {
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "a connection could not be tuned");
    }
    let watcher = connections.watcher();
    tokio::spawn(async move {
        // The connection's own time limits begin when it is clear which HTTP it speaks.
        let begun = tokio::select! {
            begun = tokio::time::timeout(HEADERS_WITHIN, has_begun(&stream)) => matches!(begun, Ok(Ok(true))),
            () = drain.over() => false,
        };
        if !begun {
            return;
        }
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
        if let Err(error) = watcher.watch(connection.into_owned()).await {
            tracing::debug!(%error, "a connection ended with an error");
        }
    });
}

/// Returns once it is clear which HTTP the peer speaks; false if it said nothing and left.
async fn has_begun(stream: &TcpStream) -> std::io::Result<bool> {
    let mut begin = [0; HTTP2_PREFACE.len()];
    loop {
        let length = stream.peek(&mut begin).await?;
        if length == 0 || length == begin.len() || !HTTP2_PREFACE.starts_with(&begin[..length]) {
            return Ok(length > 0);
        }
        tokio::time::sleep(PREFACE_LOOK_EVERY).await;
    }
}

fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(TCP_KEEPALIVE_AFTER).with_interval(TCP_KEEPALIVE_AFTER / 2);
    socket.set_tcp_keepalive(&keepalive.with_retries(2))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_WITHIN))?;
    Ok(())
}
