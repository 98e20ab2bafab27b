//! TLS: the server's certificate, and the authorities of its clients', read again when their files change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// What the two HTTPs are called in TLS, the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// How many clients may come back without a full handshake.
const SESSIONS_REMEMBERED: usize = 10_000;

/// Where the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's, with those between it and its authority.
    pub cert: PathBuf,
    /// The key of the first of them.
    pub key: PathBuf,
    /// The authorities of clients' certificates; without it, no client is asked for one.
    pub client_ca: Option<PathBuf>,
}

/// A file that can't be used.
#[derive(Debug, Error)]
#[error("{path}: {what}", path = .path.display())]
pub struct TlsFileError {
    path: PathBuf,
    what: String,
}

/// TLS as the files say now.
pub(crate) struct Tls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsFileError> {
        let config = RwLock::new(Arc::new(read(&files)?));
        Ok(Self { files, config })
    }

    /// Goes on with what the files say now, for new connections. If they can't be used, nothing changes.
    pub(crate) fn reload(&self) -> Result<(), TlsFileError> {
        let config = Arc::new(read(&self.files)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl TlsFiles {
    /// All of them.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten().cloned().collect()
    }
}

fn read(files: &TlsFiles) -> Result<ServerConfig, TlsFileError> {
    let chain = read_certificates(&files.cert)?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, no_pem(&error, "private key")))?;
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| wrong(&files.cert, error))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(read_authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            // Whoever has no certificate may have a token, and whoever watches over the server has neither. It is the door
            // that refuses.
            let verifier = verifier.allow_unauthenticated().build().map_err(|error| wrong(path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| wrong(&files.key, error))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_REMEMBERED);
    Ok(config)
}

/// The certificates of authorities in a PEM file.
pub(crate) fn read_authorities(path: &Path) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|error| wrong(path, error))?;
    }
    Ok(roots)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|error| wrong(path, no_pem(&error, "certificate")))?;
    if certificates.is_empty() {
        return Err(wrong(path, "there is no certificate in it; it must be a PEM file"));
    }
    Ok(certificates)
}

/// Nothing of a file is repeated, since it may be a key.
fn no_pem(error: &rustls::pki_types::pem::Error, what: &str) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => format!("it can't be read: {error}"),
        _ => format!("there is no {what} in it that can be read; it must be a PEM file"),
    }
}

fn wrong(path: &Path, what: impl fmt::Display) -> TlsFileError {
    TlsFileError { path: path.to_owned(), what: what.to_string() }
}

/// What does the cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
