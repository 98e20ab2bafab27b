//! Keys of an issuer that are fetched, and change.

use std::sync::{Arc, Mutex};

use lockstead_client::{Client, Error, ErrorReason};
use lockstead_tests::{Server, eventually};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;
use crate::issuer::Issuer;

/// Where keys are published: over TLS, for whoever shows a token, as Kubernetes does it.
struct Publisher {
    url: String,
    keys: Arc<Mutex<String>>,
}

impl Publisher {
    async fn start(authority: &Authority) -> Self {
        let pair = authority.server();
        let chain = CertificateDer::pem_file_iter(pair.certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(pair.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/keys", listener.local_addr().unwrap());
        let keys = Arc::new(Mutex::new(String::new()));
        let (acceptor, published) = (TlsAcceptor::from(Arc::new(config)), keys.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let is_welcome =
                    String::from_utf8_lossy(&request[..length]).contains("authorization: Bearer own-token");
                let body = published.lock().unwrap().clone();
                let status = if is_welcome && !body.is_empty() { "200 OK" } else { "403 Forbidden" };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
                _ = stream.shutdown().await;
            }
        });
        Self { url, keys }
    }

    fn publish(&self, keys: String) {
        *self.keys.lock().unwrap() = keys;
    }
}

#[tokio::test]
async fn keys_are_fetched_when_they_are_needed_and_again_when_they_change() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let publisher = Publisher::start(&authority).await;
    let (access, own_token) = (folder.path().join("access.toml"), folder.path().join("token"));
    std::fs::write(&own_token, "own-token\n").unwrap();
    let text = format!(
        "[[jwt]]\nissuer = 'i'\naudience = ['lockstead']\njwks_url = '{}'\njwks_ca = '{}'\njwks_token_file = '{}'\n\
         [[rule]]\nwho = ['*']\nmay = ['acquire']\n",
        publisher.url,
        authority.path().display(),
        own_token.display(),
    );
    std::fs::write(&access, text).unwrap();
    let server = Server::start_with(&["--access", access.to_str().unwrap()]);
    let (first, second) = (Issuer::with_key_id("i", "1"), Issuer::with_key_id("i", "2"));
    let connect = async |issuer: &Issuer| {
        let client = Client::builder().server(&server.url).token(issuer.token("somebody"));
        client.connect_timeout(std::time::Duration::from_millis(200)).connect().await
    };
    // Nobody can tell yet whether it is good: that is no reason to send the caller away for good.
    let error = connect(&first).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    publisher.publish(first.key_set());
    eventually("the keys are there", async || connect(&first).await.is_ok()).await;
    let error = connect(&second).await.unwrap_err();
    let is_refused = matches!(error, Error::Refused { reason: ErrorReason::Unauthenticated, .. });
    assert!(is_refused || matches!(error, Error::Unavailable(_)), "{error:?}");
    publisher.publish(second.key_set());
    eventually("the new key is there", async || connect(&second).await.is_ok()).await;
    assert!(connect(&first).await.is_err(), "and the old one is not");
}
