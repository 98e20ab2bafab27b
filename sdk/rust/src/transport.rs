//! How a server is reached: over which connection, and with which credentials.

use std::fmt;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Either, Ready, ready};
use hyper::rt::Executor;
use lockstead_api::v1::ErrorReason;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::error::{Error, Result};

/// A token that proves who the client is. Its `Debug` does not show it.
#[derive(Clone)]
pub(crate) enum Token {
    Text(String),
    /// Read again for every call, since whoever keeps it there may renew it.
    File(PathBuf),
}

/// Files for TLS, beside what the system trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    /// Of the client itself: its certificate and the key to that.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// How to reach one server.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    pub(crate) token: Option<Token>,
}

/// A connection to a server, that shows the client's token with every call.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    channel: Channel,
    token: Option<Token>,
}

impl Route {
    /// Runs the tasks of its connections there.
    pub(crate) fn executor<E>(self, executor: E) -> Self
    where
        E: Executor<BoxFuture<'static, ()>> + Send + Sync + 'static,
    {
        Self { endpoint: self.endpoint.executor(executor), ..self }
    }

    pub(crate) async fn connect(self) -> std::result::Result<Transport, tonic::transport::Error> {
        let channel = self.endpoint.connect().await?;
        Ok(Transport { channel, token: self.token })
    }

    /// Connects when the first call is made.
    pub(crate) fn connect_lazy(self) -> Transport {
        Transport { channel: self.endpoint.connect_lazy(), token: self.token }
    }
}

impl TlsFiles {
    /// What tonic makes of them.
    pub(crate) fn config(&self) -> Result<ClientTlsConfig> {
        let mut config = ClientTlsConfig::new();
        config = match &self.ca {
            Some(path) => config.ca_certificate(Certificate::from_pem(read(path)?)),
            None => config.with_native_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        Ok(config)
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::InvalidConfig(format!("{} can't be read: {error}", path.display())))
}

impl Token {
    /// The header that shows it.
    fn header(&self) -> std::result::Result<http::HeaderValue, Status> {
        let header = match self {
            Self::Text(token) => http::HeaderValue::from_str(&format!("Bearer {}", token.trim())),
            Self::File(path) => {
                let unreadable = |error| bad(&format!("the token file {} can't be read: {error}", path.display()));
                let token = std::fs::read_to_string(path).map_err(unreadable)?;
                http::HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            }
        };
        let mut header = header.map_err(|_| bad("the token has characters that no token can have"))?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Whether it can be shown at all.
    pub(crate) fn check(&self) -> Result<()> {
        self.header().map(drop).map_err(|status| Error::InvalidConfig(status.message().to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Token"),
            Self::File(path) => f.debug_tuple("Token").field(path).finish(),
        }
    }
}

/// As a server would say it.
fn bad(why: &str) -> Status {
    ErrorReason::Unauthenticated.status(why)
}

type Answer = std::result::Result<http::Response<Body>, tonic::transport::Error>;

impl Service<http::Request<Body>> for Transport {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Either<Ready<Answer>, <Channel as Service<http::Request<Body>>>::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<std::result::Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some(token) = &self.token {
            match token.header() {
                Ok(header) => _ = request.headers_mut().insert(http::header::AUTHORIZATION, header),
                Err(status) => return Either::Left(ready(Ok(status.into_http()))),
            }
        }
        Either::Right(self.channel.call(request))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_token_is_shown_to_the_server_alone() {
        let token = Token::Text("hunter2\n".to_owned());
        assert_eq!(token.header().unwrap(), "Bearer hunter2");
        assert!(!format!("{token:?} {:?}", token.header()).contains("hunter2"));
        assert!(Token::Text("a\nb".to_owned()).check().is_err());
    }

    #[test]
    fn a_token_file_is_read_again() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let token = Token::File(file.path().to_owned());
        file.write_all(b"one\n").unwrap();
        assert_eq!(token.header().unwrap(), "Bearer one");
        std::fs::write(file.path(), "two").unwrap();
        assert_eq!(token.header().unwrap(), "Bearer two");
        let nowhere = Token::File("/nowhere/token".into());
        assert!(nowhere.check().unwrap_err().to_string().contains("/nowhere/token"));
    }
}
