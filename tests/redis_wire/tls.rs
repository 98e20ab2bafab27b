//! Redis behind TLS.

use lockstead_engine::wire::{Target, Wire, WireError};
use lockstead_tests::{TlsFiles, TlsServer};

use crate::reach::{ANSWER_WITHIN, refused, swap, wire};

fn trusting(url: &str, files: &TlsFiles) -> Wire {
    Wire::new(Target::parse(url, Some(&files.ca())).unwrap(), 0, ANSWER_WITHIN)
}

#[tokio::test]
async fn a_certificate_of_the_named_ca_is_trusted() {
    let server = TlsServer::start_with(&["--tls-auth-clients", "no"]).await;
    for url in [server.url(), server.url().replace("127.0.0.1", "localhost")] {
        let link = trusting(&url, &server.files).link(3).await.unwrap();
        swap(&link, 3, "a").await.unwrap();
    }
}

#[tokio::test]
async fn what_does_not_fit_is_told() {
    let server = TlsServer::start_with(&["--tls-auth-clients", "no", "--bind", "127.0.0.1", "127.0.0.2"]).await;
    let strict = TlsServer::start_with(&["--tls-auth-clients", "yes"]).await;
    for (wire, told) in [
        (trusting(&server.url(), &strict.files), "is not to be trusted"),
        (wire(&server.url()), "is not to be trusted"),
        (trusting(&server.url().replace("127.0.0.1", "127.0.0.2"), &server.files), "not valid for"),
        (trusting(&server.redis.url().replace("redis", "rediss"), &server.files), "speak TLS"),
        (trusting(&strict.url(), &strict.files), "tls-auth-clients"),
        (wire(&server.url().replace("rediss", "redis")), "rediss://"),
    ] {
        let error = refused(&wire).await;
        assert!(error.to_string().contains(told), "{told}: {error:?}");
        // Waiting mends no certificate.
        let is_hopeless = matches!(error, WireError::Misconfigured(_));
        assert!(
            is_hopeless || !["is not to be trusted", "not valid for", "tls-auth-clients"].contains(&told),
            "{error:?}"
        );
    }
}
