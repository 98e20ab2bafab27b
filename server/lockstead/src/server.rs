//! One port for gRPC and HTTP: accepts connections until the shutdown, then drains within a bound.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn;
use futures::future::BoxFuture;
use hyper_util::server::graceful::GracefulShutdown;
use lockstead_engine::Readiness;
use thiserror::Error;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::access::{Access, AccessFileError, Door};
use crate::app::App;
use crate::config::Settings;
use crate::engine::{EngineSettingsError, Started, start_engine};
use crate::listener::Listener;
use crate::reload::{self, Watched};
use crate::service::{Drain, Engines, Router, Service};
use crate::telemetry::Metrics;
use crate::telemetry::traces;
use crate::tls::{Tls, TlsFileError};
use crate::{grpc, http};

/// How often to ask the engines whether they are ready.
const READINESS_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Whoever is still there when the time for moving is up has at least so long to read what became of it.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);
/// Most connections of the port for probes and metrics.
const MONITOR_CONNECTIONS_MAX: usize = 256;

/// A server that has its port but serves nobody yet.
pub struct Server {
    port: Port,
    misconfigured: BoxFuture<'static, String>,
    drain_timeout: Duration,
}

/// What comes in by the ports, and what it comes to.
struct Port {
    listener: Listener,
    /// For those who watch over the server and have no credentials.
    monitor: Option<Listener>,
    files: Vec<Watched>,
    service: Service,
    health: HealthReporter,
}

/// Why a server can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The engine can't be had with these settings.
    #[error(transparent)]
    Engine(#[from] EngineSettingsError),
    /// The access file can't be used.
    #[error("--access: {0}")]
    Access(#[from] AccessFileError),
    /// A file for TLS can't be used.
    #[error("--tls-cert, --tls-key or --tls-client-ca: {0}")]
    Tls(#[from] TlsFileError),
    /// Everybody in the network could take and release every lock.
    #[error(
        "{0} can be reached from elsewhere, and nobody would be asked who it is. Say who may do what with --access FILE, \
         or want client certificates with --tls-client-ca; or say --insecure if the network lets in only those who may do \
         everything"
    )]
    Exposed(SocketAddr),
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

impl StartError {
    /// Whether it takes other settings to start.
    pub fn is_of_settings(&self) -> bool {
        matches!(self, Self::Engine(_) | Self::Access(_) | Self::Tls(_) | Self::Exposed(_))
    }
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
        let addresses = resolve(&settings.listen).await?;
        let access = load_access(settings)?;
        let is_exposed = |address: &&SocketAddr| !is_loopback(address.ip());
        if let Some(exposed) = addresses.iter().find(is_exposed).filter(|_| access.is_none() && !settings.insecure) {
            return Err(StartError::Exposed(*exposed));
        }
        let tls = settings.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
        let metrics = Arc::new(Metrics::new());
        let router = Arc::new(Router::new(metrics.clone()));
        let Started { engine, node, misconfigured } = start(router.clone())?;
        let listener = bind(&settings.listen, &addresses, settings.max_connections)?;
        let is_local = addresses.iter().all(|address| is_loopback(address.ip()));
        let door = Door::new(access.clone(), is_local, metrics.clone());
        let engines = Engines::new(engine).with_node(node);
        let service = Service::new(engines, router, metrics.clone(), Drain::default());
        let locks = grpc::Locks::new(service.clone());
        let (grpc, health) = grpc::routes(locks.clone())?;
        let info = http::Info::new(env!("CARGO_PKG_VERSION"));
        let paths = grpc.merge(http::routes(service.clone(), info.clone()));
        let paths = if traces::is_on() { paths.layer(from_fn(traces::trace_requests)) } else { paths };
        let app = App::new(door, metrics.clone(), locks, paths);
        let listener = listener.counted_by(metrics.clone()).with_app(app).with_tls(tls.clone());
        let monitor = match &settings.monitor_listen {
            Some(listen) => {
                let monitor = bind(listen, &resolve(listen).await?, MONITOR_CONNECTIONS_MAX)?;
                Some(monitor.counted_by(metrics).with_app(http::monitor_routes(service.clone(), info)))
            }
            None => None,
        };
        let files = watched(settings, access, tls);
        let port = Port { listener, monitor, files, service, health };
        Ok(Self { port, misconfigured, drain_timeout: settings.drain_timeout })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.listener.address()
    }

    /// Where probes and metrics are to be had without credentials.
    pub fn monitor_address(&self) -> Option<SocketAddr> {
        self.port.monitor.as_ref().map(Listener::address)
    }

    /// Serves until `shutdown`. Then sessions move to other servers, if their engine outlives this one, and what is left
    /// ends; requests in progress are waited for, but not for ever.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Misconfigured> {
        let Self { mut port, misconfigured, drain_timeout } = self;
        let connections = GracefulShutdown::new();
        let files = std::mem::take(&mut port.files);
        tokio::select! {
            biased;
            never = port.watch_readiness() => match never {},
            () = shutdown => {}
            why = misconfigured => return Err(Misconfigured(why)),
            never = port.accept(&connections) => match never {},
            never = reload::watch(files) => match never {},
        }
        port.health.set_service_status("", ServingStatus::NotServing).await;
        port.service.drain().begin(drain_timeout);
        let mut last_words_within = Duration::ZERO;
        if port.service.engines().outlive_server() {
            port.let_sessions_move(drain_timeout, &connections).await;
            last_words_within = LAST_WORDS_WITHIN;
        }
        let Port { listener, monitor, service, .. } = port;
        drop((listener, monitor));
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
        let drain = self.service.drain();
        match &self.monitor {
            None => self.listener.accept(connections, drain).await,
            Some(monitor) => tokio::select! {
                never = self.listener.accept(connections, drain) => never,
                never = monitor.accept(connections, drain) => never,
            },
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
        let (address, engine) = (self.listener.address(), self.service.engines().names());
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

/// The addresses that a host and a port stand for.
async fn resolve(listen: &str) -> Result<Vec<SocketAddr>, StartError> {
    let failed = |source| StartError::Listen { address: listen.to_owned(), source };
    Ok(tokio::net::lookup_host(listen).await.map_err(failed)?.collect())
}

fn bind(listen: &str, addresses: &[SocketAddr], most: usize) -> Result<Listener, StartError> {
    let failed = |source| StartError::Listen { address: listen.to_owned(), source };
    Listener::bind(addresses, most).map_err(failed)
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Who is let in, if anybody is asked at all.
fn load_access(settings: &Settings) -> Result<Option<Arc<Access>>, StartError> {
    let wants_certificates = settings.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    Ok(match &settings.access {
        Some(path) => Some(Arc::new(Access::load(path)?)),
        None => wants_certificates.then(|| Arc::new(Access::for_certificates())),
    })
}

/// The files that may change while the server runs.
fn watched(settings: &Settings, access: Option<Arc<Access>>, tls: Option<Arc<Tls>>) -> Vec<Watched> {
    let mut files = Vec::new();
    if let (Some(path), Some(access)) = (settings.access.clone(), access) {
        let reload = {
            let path = path.clone();
            move || access.reload(&path).map_err(|error| error.to_string())
        };
        files.push(Watched::new("the access file", vec![path], reload));
    }
    if let (Some(tls_files), Some(tls)) = (&settings.tls, tls) {
        let reload = move || tls.reload().map_err(|error| error.to_string());
        files.push(Watched::new("a file for TLS", tls_files.paths(), reload));
    }
    files
}
