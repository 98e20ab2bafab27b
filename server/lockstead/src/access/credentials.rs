//! What a request brings to show who sent it.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::{Certificate, Unauthenticated};

const SCHEME: &str = "bearer";

/// What is to be proved.
pub(crate) enum Credentials {
    /// Of the header `Authorization`. Its `Debug` would show it, so there is none.
    Bearer(String),
    /// Of the connection; its signature has been checked.
    Certificate(Arc<Certificate>),
}

impl Credentials {
    /// Those of a request; a token, if there is one, goes before the connection's certificate.
    pub(crate) fn of(headers: &HeaderMap, certificate: Option<&Arc<Certificate>>) -> Result<Self, Unauthenticated> {
        let mut headers = headers.get_all(AUTHORIZATION).iter();
        let Some(header) = headers.next() else {
            let certificate = certificate.ok_or(Unauthenticated::NoCredentials)?;
            return Ok(Self::Certificate(certificate.clone()));
        };
        if headers.next().is_some() {
            return Err(Unauthenticated::BadCredentials("the header `Authorization` came more than once"));
        }
        let token = header.to_str().ok().and_then(|text| text.split_once(' ')).and_then(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim()).filter(|token| !token.is_empty())
        });
        match token {
            Some(token) => Ok(Self::Bearer(token.to_owned())),
            None => Err(Unauthenticated::BadCredentials("the header must say `Bearer`, a space, and a token")),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(values: &[&'static str]) -> Result<Credentials, Unauthenticated> {
        let headers = values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_static(value))).collect();
        Credentials::of(&headers, None)
    }

    #[test]
    fn a_token_is_read_from_the_header() {
        for header in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert!(matches!(of(&[header]), Ok(Credentials::Bearer(token)) if token == "abc"), "{header}");
        }
        for headers in [&["abc"][..], &["Basic abc"], &["Bearer "], &["Bearer"], &[""], &["Bearer a", "Bearer a"]] {
            assert!(matches!(of(headers), Err(Unauthenticated::BadCredentials(_))), "{headers:?}");
        }
        assert!(matches!(of(&[]), Err(Unauthenticated::NoCredentials)));
    }
}
