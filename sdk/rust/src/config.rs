//! How a client is set up.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lockstead_core::{Metadata, Owner, bounds};
use tonic::transport::{Endpoint, Uri};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::session;
use crate::transport::{Route, TlsFiles, Token};

/// How long to look for a server before giving up.
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// How much the server may send on a stream, and on a connection, before it must wait for this client. The defaults of
/// HTTP/2 (64 KiB) hold up a stream that carries hundreds of thousands of messages a second.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// What happens to the holds of a client whose stream breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDisconnect {
    /// They end at once, and the next waiter is served within milliseconds. The break itself is this holder's notice.
    #[default]
    Release,
    /// They live until the session timeout, so that a short network cut is harmless: the client attaches to the session
    /// again, at the same or another server.
    Keep,
}

/// Describes a client before it connects. Made by [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `connect` is called"]
pub struct Builder {
    servers: Vec<String>,
    session_timeout: Option<Duration>,
    on_disconnect: OnDisconnect,
    owner: String,
    metadata: BTreeMap<String, String>,
    connect_timeout: Duration,
    token: Option<Token>,
    tls: TlsFiles,
}

/// A client's settings, checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) servers: Vec<Server>,
    pub(crate) session_timeout: Option<Duration>,
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) owner: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) connect_timeout: Duration,
}

/// Where a server is.
#[derive(Debug)]
pub(crate) struct Server {
    /// As the user wrote it.
    pub(crate) address: String,
    pub(crate) route: Route,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            session_timeout: None,
            on_disconnect: OnDisconnect::default(),
            owner: String::new(),
            metadata: BTreeMap::new(),
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            token: None,
            tls: TlsFiles::default(),
        }
    }
}

impl Builder {
    /// Adds a server, such as `http://127.0.0.1:7420` or `https://locks.example:7420`, or several separated by commas: servers of one cluster, which share
    /// their sessions. The client uses one at a time and moves on when that one can't be reached, falls silent, or is about
    /// to stop. Each client goes through them in a random order of its own, so that many clients spread over them. A DNS
    /// name counts as one server, however many addresses it has.
    pub fn server(mut self, addresses: impl AsRef<str>) -> Self {
        let addresses = addresses.as_ref().split(',').map(str::trim).filter(|address| !address.is_empty());
        self.servers.extend(addresses.map(str::to_owned));
        self
    }

    /// How long the session survives silence, and so how long a holder that was cut off may believe in its holds:
    /// 1 s to 5 min, 10 s unless set.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = Some(timeout);
        self
    }

    /// What happens to the holds when the stream breaks; [`OnDisconnect::Release`] unless set.
    pub fn on_disconnect(mut self, on_disconnect: OnDisconnect) -> Self {
        self.on_disconnect = on_disconnect;
        self
    }

    /// Who holds, for people to read; up to 255 bytes. A request can say otherwise.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }

    /// What others may know about the holds of this client; up to 16 entries. A request can say otherwise.
    pub fn metadata<K: Into<String>, V: Into<String>>(mut self, entries: impl IntoIterator<Item = (K, V)>) -> Self {
        self.metadata = entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self
    }

    /// Proves who the client is, to servers with access control.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token::Text(token.into()));
        self
    }

    /// The same, with a file that has the token. It is read again for every connection and call, so that a token which
    /// expires, such as that of a Kubernetes service account, may be renewed there.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Some(Token::File(path.into()));
        self
    }

    /// A PEM file with the authorities that sign the certificates of `https://` servers; those that the system trusts
    /// unless set.
    pub fn tls_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca = Some(path.into());
        self
    }

    /// PEM files with a certificate of the client itself, for servers that want one, and with the key to it.
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls.identity = Some((certificate.into(), key.into()));
        self
    }

    /// How long to look for a server before [`Builder::connect`], or a later try-acquire while no server can be reached,
    /// gives up; 5 s unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connects and opens the session. Must be called within a tokio runtime, in which the client then lives.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] before anything is tried; [`Error::Unavailable`] after the connect timeout, with every
    /// address and its error; [`Error::Refused`] if a server does not want this client.
    pub async fn connect(self) -> Result<Client> {
        session::connect(self.check()?).await.map(Client::new)
    }

    pub(crate) fn check(self) -> Result<Config> {
        let wrong = |invalid: lockstead_core::Invalid| Error::InvalidConfig(invalid.message);
        if self.servers.is_empty() {
            return Err(Error::InvalidConfig("no server is named; name one, such as http://127.0.0.1:7420".to_owned()));
        }
        if self.connect_timeout.is_zero() {
            return Err(Error::InvalidConfig("the connect timeout is zero; nothing could be reached in it".to_owned()));
        }
        bounds::session_timeout(self.session_timeout).map_err(wrong)?;
        Owner::parse(&self.owner).map_err(wrong)?;
        Metadata::parse(self.metadata.clone()).map_err(wrong)?;
        self.token.as_ref().map_or(Ok(()), Token::check)?;
        let is_in_vain = !self.tls.is_empty() && self.servers.iter().all(|server| !server.starts_with("https:"));
        if is_in_vain {
            let why = "there are certificates for TLS, but no server address that begins with https://";
            return Err(Error::InvalidConfig(why.to_owned()));
        }
        let servers = self.servers.into_iter().map(|address| Server::parse(address, &self.tls, self.token.as_ref()));
        Ok(Config {
            servers: servers.collect::<Result<_>>()?,
            session_timeout: self.session_timeout,
            on_disconnect: self.on_disconnect,
            owner: self.owner,
            metadata: self.metadata,
            connect_timeout: self.connect_timeout,
        })
    }
}

impl Config {
    /// How long one server may take to answer, so that one which swallows everything does not use up the time of the
    /// others.
    pub(crate) fn attempt_timeout(&self) -> Duration {
        let servers = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        self.connect_timeout / servers.max(1)
    }
}

impl Server {
    fn parse(address: String, tls: &TlsFiles, token: Option<&Token>) -> Result<Self> {
        let wrong = |why: &str| {
            let advice = "write it as http://HOST:PORT, such as http://127.0.0.1:7420";
            Err(Error::InvalidConfig(format!("the server address `{address}` {why}; {advice}")))
        };
        let Ok(uri) = address.parse::<Uri>() else { return wrong("is not an address") };
        let is_secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return wrong("is of a kind that this client does not know"),
            None => return wrong("does not begin with http:// or https://"),
        };
        let Some(authority) = uri.authority() else { return wrong("names no host") };
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return wrong("must name a host and nothing else before it");
        }
        if uri.path_and_query().is_some_and(|rest| rest.as_str() != "/") {
            return wrong("has something after the port");
        }
        let mut endpoint = Endpoint::from(uri)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .user_agent(concat!("lockstead-rust/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| Error::InvalidConfig(error.to_string()))?;
        if is_secure {
            let wrong = |error: tonic::transport::Error| {
                let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                Error::InvalidConfig(format!("the certificates for TLS can't be used: {cause}"))
            };
            endpoint = endpoint.tls_config(tls.config()?).map_err(wrong)?;
        }
        Ok(Self { address, route: Route { endpoint, token: token.cloned() } })
    }
}

impl fmt::Display for OnDisconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Release => "release",
            Self::Keep => "keep",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Result<Vec<String>> {
        let config = Client::builder().server(text).check()?;
        Ok(config.servers.into_iter().map(|server| server.address).collect())
    }

    #[test]
    fn addresses_are_separated_by_commas() {
        assert_eq!(addresses("http://a:1, http://b:2,").unwrap(), ["http://a:1", "http://b:2"]);
        assert_eq!(addresses("http://[::1]:7420/").unwrap(), ["http://[::1]:7420/"]);
    }

    #[test]
    fn a_wrong_address_is_explained() {
        for (address, expected) in [
            ("", "no server is named"),
            ("localhost:7420", "does not begin with http://"),
            ("127.0.0.1:7420", "does not begin with http://"),
            ("redis://a:1", "kind"),
            ("http://a:1/path", "after the port"),
            ("http://user@a:1", "nothing else"),
            ("http://", "is not an address"),
            ("http://a b", "is not an address"),
        ] {
            let error = addresses(address).unwrap_err();
            assert!(matches!(error, Error::InvalidConfig(_)), "{address}: {error:?}");
            assert!(error.to_string().contains(expected), "{address}: {error}");
        }
    }

    #[test]
    fn settings_have_limits() {
        let client = || Client::builder().server("http://a:1");
        assert!(client().check().is_ok());
        for wrong in [
            client().session_timeout(Duration::from_millis(999)),
            client().session_timeout(Duration::from_secs(301)),
            client().owner("a\nb"),
            client().metadata([("", "v")]),
            client().connect_timeout(Duration::ZERO),
        ] {
            assert!(matches!(wrong.check(), Err(Error::InvalidConfig(_))));
        }
    }
}
