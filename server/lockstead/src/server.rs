//! One port for gRPC and HTTP: accepts connections until the shutdown, then drains within a bound.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use lockstead_core::limits::HTTP2_STREAMS_MAX;
use lockstead_engine::MemoryEngine;
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::config::Settings;
use crate::service::{Engines, Router, Service};
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

/// A server that has its port but serves nobody yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: axum::Router,
    health: HealthReporter,
    draining: CancellationToken,
    drain_timeout: Duration,
}

/// Why a server can't start.
#[derive(Debug, Error)]
pub enum StartError {
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

impl Server {
    /// Takes the port and puts everything together. Connections queue up from here on.
    pub async fn bind(settings: &Settings) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen { address: settings.listen.clone(), source };
        let listener = TcpListener::bind(&settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let draining = CancellationToken::new();
        let service = start_service(draining.clone());
        let (grpc, health) = grpc::routes(service.clone())?;
        let app = grpc.merge(http::routes(service, http::Info::new(env!("CARGO_PKG_VERSION"))));
        Ok(Self { listener, address, app, health, draining, drain_timeout: settings.drain_timeout })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// With more routes on the same port.
    #[must_use]
    pub fn with_routes(mut self, routes: axum::Router) -> Self {
        self.app = self.app.merge(routes);
        self
    }

    /// Serves until `shutdown`, then ends sessions and streams, and waits for requests in progress, but not for ever.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        self.health.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let connections = GracefulShutdown::new();
        let http = Arc::new(connection_settings());
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        serve(&connections, http.clone(), stream, self.app.clone(), self.draining.clone());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_RETRY_AFTER).await;
                    }
                },
            }
        }
        drop(self.listener);
        tracing::info!("draining: sessions and streams end, no new requests");
        self.health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        self.draining.cancel();
        if tokio::time::timeout(self.drain_timeout, connections.shutdown()).await.is_err() {
            tracing::warn!(after = ?self.drain_timeout, "some connections were still open at the end of the drain");
        }
    }
}

fn start_service(draining: CancellationToken) -> Service {
    let metrics = Arc::new(Metrics::new());
    let router = Arc::new(Router::new(metrics.clone()));
    let engine = MemoryEngine::start(crate::service::random::key(), router.clone());
    Service::new(Engines::new(Arc::new(engine)), router, metrics, draining)
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
    draining: CancellationToken,
) {
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "a connection could not be tuned");
    }
    let watcher = connections.watcher();
    tokio::spawn(async move {
        // The connection's own time limits begin when it is clear which HTTP it speaks.
        let begun = tokio::select! {
            begun = tokio::time::timeout(HEADERS_WITHIN, has_begun(&stream)) => matches!(begun, Ok(Ok(true))),
            () = draining.cancelled() => false,
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
