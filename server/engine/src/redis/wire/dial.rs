//! From an address to a connection that is logged in.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::{self, WireError};
use super::target::{Address, Target};

/// Calls have a time limit of their own; these notice a cut network while nothing is asked.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const UNACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);

/// What listens at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Node,
    Sentinel,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects and logs in. The connection lives as long as the returned future is polled.
pub(super) async fn dial(
    target: &Target,
    peer: Peer,
    node: &Address,
    config: AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, BoxFuture<'static, ()>), WireError> {
    let unreachable = |error: std::io::Error| WireError::Broken(format!("{node} can't be reached: {error}"));
    let tcp = TcpStream::connect((node.host.as_str(), node.port)).await.map_err(unreachable)?;
    tune(&tcp).map_err(unreachable)?;
    let stream: Box<dyn Stream> = match &target.tls {
        Some(connector) => Box::new(secure(connector, tcp, node).await?),
        None => Box::new(tcp),
    };
    let (login, database) = match peer {
        Peer::Node => (&target.login, target.database),
        Peer::Sentinel => (&target.sentinel_login, 0),
    };
    let mut settings =
        RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(database).set_skip_set_lib_name();
    if let Some(user) = &login.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &login.password {
        settings = settings.set_password(password);
    }
    let greeted = MultiplexedConnection::new_with_config(&settings, stream, config).await;
    let (connection, driver) = greeted.map_err(|error| error::of_greeting(&error, target, peer, node))?;
    Ok((connection, driver.boxed()))
}

fn tune(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(2))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_WITHIN))?;
    Ok(())
}

async fn secure(connector: &TlsConnector, tcp: TcpStream, node: &Address) -> Result<impl Stream + use<>, WireError> {
    let name = ServerName::try_from(node.host.clone())
        .map_err(|_| WireError::Misconfigured(format!("the host of {node} can't stand in a certificate")))?;
    connector.connect(name, tcp).await.map_err(|error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::InvalidCertificate(_)) => WireError::Misconfigured(format!(
                "the certificate of {node} is not to be trusted ({error}); name its CA with --redis-ca, and write the host \
                 in --redis as it stands in the certificate"
            )),
            Some(rustls::Error::InvalidMessage(_)) => {
                WireError::Misconfigured(format!("{node} does not speak TLS; write redis:// for rediss://, or its TLS port"))
            }
            _ => WireError::Broken(format!("TLS with {node} failed: {error}")),
        }
    })
}
