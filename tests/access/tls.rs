//! TLS, with and without certificates of clients.

use lockstead_client::{Builder, Client, Error, ErrorReason};
use lockstead_tests::{Server, eventually};

use crate::certificates::{Authority, Pair};
use crate::setup::{SHOP, entry};

fn start(authority: &Authority, more: &[&str]) -> Server {
    let pair = authority.server();
    let (certificate, key) = (pair.certificate.to_str().unwrap(), pair.key.to_str().unwrap());
    Server::start_with(&[&["--tls-cert", certificate, "--tls-key", key], more].concat())
}

fn client(server: &Server, authority: &Authority) -> Builder {
    Client::builder().server(&server.url).tls_ca(authority.path())
}

fn with(builder: Builder, Pair { certificate, key }: Pair) -> Builder {
    builder.client_certificate(certificate, key)
}

/// Runs curl, and returns the status of the answer.
async fn curl(arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new("curl");
    command.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code} %{http_version}"]).args(arguments);
    String::from_utf8(command.output().await.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn both_transports_are_served_over_tls() {
    let authority = Authority::new();
    let server = start(&authority, &[]);
    assert!(server.url.starts_with("https://"), "{}", server.url);
    drop(client(&server, &authority).connect().await.unwrap().lock("a").acquire().await.unwrap());
    let (ca, url) = (authority.path(), format!("{}/v1/info", server.url));
    let ca = ca.to_str().unwrap();
    assert_eq!(curl(&["--cacert", ca, &url]).await, "200 2");
    assert_eq!(curl(&["--cacert", ca, "--http1.1", &url]).await, "200 1.1");
    assert_eq!(curl(&[&url.replace("https", "http")]).await, "000 0", "no plain HTTP");
    let stranger = Authority::new();
    let error = client(&server, &stranger).connect().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_client_certificate_is_enough_and_wanted() {
    let authority = Authority::new();
    let ca = authority.path();
    let server = start(&authority, &["--tls-client-ca", ca.to_str().unwrap()]);
    let none = client(&server, &authority).connect().await;
    assert!(matches!(none, Err(Error::Refused { reason: ErrorReason::Unauthenticated, .. })), "{none:?}");
    let till = with(client(&server, &authority), authority.client("till")).connect().await.unwrap();
    let _held = till.lock("a").acquire().await.unwrap();
    assert_eq!(till.lock("a").get().await.unwrap().holders[0].owner, "till");
    let stranger = Authority::new();
    assert!(with(client(&server, &authority), stranger.client("till")).connect().await.is_err());
    let health = format!("{}/healthz", server.url);
    assert_eq!(curl(&["--cacert", ca.to_str().unwrap(), &health]).await, "200 2", "probes have none");
}

#[tokio::test]
async fn certificates_and_tokens_have_rules() {
    let authority = Authority::new();
    let (ca, folder) = (authority.path(), tempfile::tempdir().unwrap());
    let access = folder.path().join("access.toml");
    let rules = "[certificate]\nprefix = 'cert:'\n[[rule]]\nwho = ['group:sellers', 'group:cert:sellers']\nmay = ['acquire']\nprefix = 'shop'\n\
                 [[rule]]\nwho = ['cert:boss']\nmay = ['read']\n";
    std::fs::write(&access, format!("{}{rules}", entry(SHOP, "shop", "groups = ['sellers']\n"))).unwrap();
    let server = start(&authority, &["--tls-client-ca", ca.to_str().unwrap(), "--access", access.to_str().unwrap()]);
    let till = with(client(&server, &authority), authority.client("till")).connect().await.unwrap();
    let token = client(&server, &authority).token(SHOP).connect().await.unwrap();
    let boss = with(client(&server, &authority), authority.client("boss")).connect().await.unwrap();
    let _held = till.lock("shop/a").acquire().await.unwrap();
    let _other = token.lock("shop/b").acquire().await.unwrap();
    assert!(till.lock("shop/a").get().await.is_err());
    assert_eq!(boss.lock("shop/a").get().await.unwrap().holders[0].owner, "cert:till");
    // A token goes before a certificate, also if it is bad.
    let bad = with(client(&server, &authority), authority.client("till")).token("hunter2").connect().await;
    assert!(matches!(bad, Err(Error::Refused { reason: ErrorReason::Unauthenticated, .. })), "{bad:?}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let (first, second) = (Authority::new(), Authority::new());
    let server = start(&first, &[]);
    let held = client(&server, &first).connect().await.unwrap().lock("a").acquire().await.unwrap();
    assert!(client(&server, &second).connect().await.is_err());
    let (old, new) = (first.server(), second.server());
    std::fs::copy(new.key, old.key).unwrap();
    std::fs::copy(new.certificate, old.certificate).unwrap();
    eventually("the new certificate is shown", async || client(&server, &second).connect().await.is_ok()).await;
    held.ensure_held().unwrap();
}
