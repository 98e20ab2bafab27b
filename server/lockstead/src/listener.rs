//! A port, its connections, and the limits that keep them from taking more than their share.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use futures::FutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use lockstead_core::limits::HTTP2_STREAMS_MAX;
use lockstead_tasks::{Starter, Tasks};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::Certificate;
use crate::app::Serve;
use crate::service::Drain;
use crate::telemetry::Metrics;
use crate::tls::Tls;

/// What begins an HTTP/2 connection.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often to look for the rest of it, if it does not come in one piece.
const PREFACE_LOOK_EVERY: Duration = Duration::from_millis(20);
/// A TLS handshake, and then a request's headers, must each be complete within this.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// A connection must bring its first request within this. One that a client has opened in advance is missed by nobody: the client
/// connects again when it has something to say.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(60);
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
/// Connections that may wait to be accepted. With fewer, some of the many that come at once when another server goes away
/// would be dropped, and try again after a second. The system may allow less.
const BACKLOG: u32 = 4096;
/// Pause after a failed accept, which mostly means that there are no file descriptors left.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(50);

/// A port with what it serves.
pub(crate) struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    app: Arc<dyn Serve>,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
    /// One for each connection that there may be.
    places: Arc<Semaphore>,
}

impl Listener {
    /// Takes the first of these addresses that can be had.
    pub(crate) fn bind(addresses: &[SocketAddr], most: usize) -> std::io::Result<Self> {
        let tcp = listen(addresses)?;
        let address = tcp.local_addr()?;
        let places = Arc::new(Semaphore::new(most));
        Ok(Self { tcp, address, app: Arc::new(Router::new()), tls: None, metrics: Arc::default(), places })
    }

    /// Serves this.
    pub(crate) fn with_app(self, app: impl Serve) -> Self {
        Self { app: Arc::new(app), ..self }
    }

    /// Counts its connections there.
    pub(crate) fn counted_by(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// Speaks TLS, if that is given.
    pub(crate) fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections, for as long as it is polled.
    pub(crate) async fn accept(&self, connections: &GracefulShutdown, drain: &Drain) -> Infallible {
        let mut is_full = false;
        loop {
            match self.tcp.accept().await {
                Ok((stream, _)) => match self.places.clone().try_acquire_owned() {
                    Ok(place) => {
                        is_full = false;
                        self.serve(connections.watcher(), stream, place, drain.clone());
                    }
                    Err(_) if is_full => {}
                    Err(_) => {
                        is_full = true;
                        let advice = "new ones are closed at once; raise --max-connections if this is no mistake";
                        tracing::warn!(address = %self.address, "there are as many connections as may be; {advice}");
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY_AFTER).await;
                }
            }
        }
    }

    fn serve(&self, watcher: Watcher, stream: TcpStream, place: OwnedSemaphorePermit, drain: Drain) {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "a connection could not be tuned");
        }
        let (app, tls) = (self.app.clone(), self.tls.clone());
        let open = self.metrics.connection();
        tokio::spawn(async move {
            let (_place, _open) = (place, open);
            let begun = tokio::select! {
                begun = tokio::time::timeout(HEADERS_WITHIN, begin(stream, tls.as_deref())) => begun,
                () = drain.over() => return,
            };
            match begun {
                Ok(Ok(Some(Begun::Plain(stream)))) => converse(stream, app, None, watcher).await,
                Ok(Ok(Some(Begun::Tls(stream)))) => {
                    let certificates = stream.get_ref().1.peer_certificates();
                    let certificate = certificates.and_then(|all| all.first()).map(Certificate::read).map(Arc::new);
                    converse(stream, app, certificate, watcher).await;
                }
                Ok(Ok(None)) | Err(_) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection did not begin well"),
            }
        });
    }
}

/// Listens at the first of these addresses where that is possible.
fn listen(addresses: &[SocketAddr]) -> std::io::Result<TcpListener> {
    let mut failed = std::io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let listening = socket.and_then(|socket| {
            // The port can be had again at once after a restart.
            socket.set_reuseaddr(true)?;
            socket.bind(*address)?;
            socket.listen(BACKLOG)
        });
        match listening {
            Ok(tcp) => return Ok(tcp),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// A connection of which it is clear what it speaks.
enum Begun {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// Waits until that is clear; `None` if the peer said nothing and left. HTTP's own time limits begin behind it.
async fn begin(stream: TcpStream, tls: Option<&Tls>) -> std::io::Result<Option<Begun>> {
    if let Some(tls) = tls {
        return tls.acceptor().accept(stream).await.map(|stream| Some(Begun::Tls(Box::new(stream))));
    }
    let has_begun = has_begun(&stream).await?;
    Ok(has_begun.then_some(Begun::Plain(stream)))
}

/// Serves a connection until it ends. It is one task with all its calls, since most cost less than it costs to wake a task.
async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    app: Arc<dyn Serve>,
    certificate: Option<Arc<Certificate>>,
    watcher: Watcher,
) {
    let tasks = Tasks::default();
    let starter = tasks.starter();
    let conversation = async move {
        let has_asked = Arc::new(AtomicBool::new(false));
        let (asks, tasks) = (has_asked.clone(), starter.clone());
        let answer = service_fn(move |mut request: Request<Incoming>| {
            asks.store(true, Ordering::Relaxed);
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            request.extensions_mut().insert(tasks.clone());
            app.clone().serve(request).map(Ok::<_, Infallible>)
        });
        let connection = connection_settings(starter).serve_connection(TokioIo::new(stream), answer).into_owned();
        let mut conversation = pin!(watcher.watch(connection));
        match tokio::time::timeout(FIRST_REQUEST_WITHIN, conversation.as_mut()).await {
            Err(_) if !has_asked.load(Ordering::Relaxed) => Ok(()),
            Err(_) => conversation.await,
            Ok(ended) => ended,
        }
    }
    .boxed();
    if let Some(Err(error)) = tasks.run_until(conversation).await {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

fn connection_settings(starter: Starter) -> auto::Builder<Starter> {
    let mut http = auto::Builder::new(starter);
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::time::Instant;

    use super::*;

    /// The frames with which every HTTP/2 connection begins: empty settings.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

    /// For how long a connection lives whose client says this and nothing more.
    #[expect(clippy::disallowed_methods, reason = "the test stops this clock")]
    async fn lives_for(said: &[u8], app: Router) -> Duration {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        client.write_all(said).await.unwrap();
        let (connections, begin) = (GracefulShutdown::new(), Instant::now());
        converse(server, Arc::new(app), None, connections.watcher()).await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_closed() {
        for said in [&[][..], &HTTP2_PREFACE[..3], HTTP2_PREFACE, &[HTTP2_PREFACE, SETTINGS].concat(), b"GET / HTTP"] {
            let lived = lives_for(said, Router::new()).await;
            assert!(lived <= FIRST_REQUEST_WITHIN, "{said:?}: {lived:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_for_its_answer_lives_on() {
        let patience = 5 * FIRST_REQUEST_WITHIN;
        let app = Router::new().route("/", axum::routing::get(async move || tokio::time::sleep(patience).await));
        let lived = lives_for(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", app).await;
        assert!(lived >= patience, "{lived:?}");
    }
}
