//! A Redis that speaks TLS, with certificates made for the test.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::RedisServer;
use crate::port::Port;

/// A `redis-server` that also listens for TLS.
#[derive(Debug)]
pub struct TlsServer {
    /// The server, which speaks plainly on another port.
    pub redis: RedisServer,
    /// What it shows.
    pub files: TlsFiles,
    port: Port,
}

/// A CA, and a certificate for 127.0.0.1 and `localhost` that it has signed.
#[derive(Debug)]
pub struct TlsFiles {
    folder: TempDir,
}

impl TlsServer {
    /// Starts one with more arguments.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let (port, files) = (Port::free(), TlsFiles::make());
        let [certificate, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| files.path(name));
        let [certificate, key, ca] = [&certificate, &key, &ca].map(|path| path.to_str().expect("a readable path"));
        let number = port.number.to_string();
        let tls =
            ["--tls-port", &number, "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", ca];
        let redis = RedisServer::start_with(&[&tls, arguments].concat()).await;
        Self { redis, files, port }
    }

    /// `rediss://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.port.number)
    }
}

impl TlsFiles {
    /// Makes them.
    ///
    /// # Panics
    /// If they can't be written.
    pub fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder for certificates");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("a CA");
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let server = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = server.signed_by(&key, &authority).expect("a certificate");
        let files = Self { folder };
        for (name, pem) in
            [("ca.pem", authority.pem()), ("server.pem", certificate.pem()), ("server.key", key.serialize_pem())]
        {
            std::fs::write(files.path(name), pem).expect("a file");
        }
        files
    }

    /// The CA's certificate.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.path("server.pem")
    }

    /// The certificate's private key.
    pub fn key(&self) -> PathBuf {
        self.path("server.key")
    }

    /// One of `ca.pem`, `server.pem` and `server.key`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
