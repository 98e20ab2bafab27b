//! The door before all routes, of gRPC and HTTP alike: who is not let in goes no further.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Request, Uri};
use axum::response::{IntoResponse, Response};
use tonic::Status;

use super::credentials::Credentials;
use super::{Access, Certificate, Identity, Unauthenticated, log_refusal};
use crate::http::problem;
use crate::service::Error;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::is_grpc;

/// Paths that everybody may ask for: whatever watches over the server has no credentials, and learns nothing but that.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];
const OPEN_SERVICE: &str = "/grpc.health.v1.Health/";

/// What the door needs to know.
#[derive(Clone, Debug)]
pub struct Door {
    /// `None`: everybody is let in.
    access: Option<Arc<Access>>,
    /// Only this machine can reach the server, so that is what its address must say.
    is_local: bool,
    metrics: Arc<Metrics>,
}

impl Door {
    /// A door that lets in whom this knows, or, without it, everybody.
    pub fn new(access: Option<Arc<Access>>, is_local: bool, metrics: Arc<Metrics>) -> Self {
        Self { access, is_local, metrics }
    }

    /// What is to be proved before a request may go on; `None` if nobody is asked.
    fn wanted<B>(&self, request: &Request<B>) -> Result<Option<(&Arc<Access>, Credentials)>, Error> {
        if !request.method().is_safe() && comes_from_elsewhere(request.uri(), request.headers()) {
            return Err(Error::ForeignPage);
        }
        let path = request.uri().path();
        let is_open = OPEN.contains(&path) || path.starts_with(OPEN_SERVICE);
        if !is_open && self.access.is_none() && self.is_local && !names_this_machine(request.uri(), request.headers()) {
            return Err(Error::ForeignHost);
        }
        let Some(access) = self.access.as_ref().filter(|_| !is_open) else { return Ok(None) };
        let certificate = request.extensions().get::<Arc<Certificate>>();
        Ok(Some((access, Credentials::of(request.headers(), certificate)?)))
    }

    /// Lets a request through to its route, with the identity of who sent it; the error is its answer.
    pub async fn let_in<B>(&self, request: &mut Request<B>) -> Result<(), Response> {
        let identity = match self.wanted(request) {
            Ok(None) => Ok(Identity::anyone()),
            Ok(Some((access, credentials))) => identify(access, credentials).await,
            Err(error) => Err(error),
        };
        let identity = identity.map_err(|error| refuse(&self.metrics, request.headers(), error))?;
        // Nobody behind the door needs it, and what is not there can't be told on.
        request.headers_mut().remove(AUTHORIZATION);
        request.extensions_mut().insert(identity);
        Ok(())
    }
}

async fn identify(access: &Arc<Access>, credentials: Credentials) -> Result<Identity, Error> {
    let identity = access.identify(credentials).await?;
    identity.check_any()?;
    Ok(identity)
}

fn refuse(metrics: &Metrics, headers: &HeaderMap, error: Error) -> Response {
    metrics.refused(&error);
    log_refusal(None, &error);
    if is_grpc(headers) {
        return Status::from(error).into_http();
    }
    let challenge = match &error {
        Error::Unauthenticated(Unauthenticated::NoCredentials) => Some("Bearer"),
        Error::Unauthenticated(Unauthenticated::BadCredentials(_)) => Some("Bearer error=\"invalid_token\""),
        _ => None,
    };
    let mut response = problem::response(error);
    if let Some(challenge) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response.into_response()
}

/// Whether a browser sends it for a page of another site. Such a page can send requests to wherever its reader's browser
/// can reach, a server on loopback too. It can't read the answers, so only requests that change something matter.
fn comes_from_elsewhere(uri: &Uri, headers: &HeaderMap) -> bool {
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let host = host_of(uri, headers);
    let of_origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    of_origin.is_none() || of_origin != host
}

/// Whether a request was sent to an address that is this machine's whatever DNS says. A web page can let its own name lead here,
/// and its reader's browser takes the server for a part of that page then.
fn names_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let Some(host) = host_of(uri, headers) else { return true };
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_localhost = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    address.map_or(is_localhost, |address| address.to_canonical().is_loopback())
}

/// The host that a request is for; HTTP/1 has it in a header, HTTP/2 in the address.
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
    host.or(uri.authority().map(axum::http::uri::Authority::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_told_from_others() {
        for (headers, elsewhere) in [
            (&[][..], false),
            (&[("host", "a:7420"), ("origin", "http://a:7420")], false),
            (&[("host", "a:7420"), ("origin", "http://a:7421")], true),
            (&[("host", "a:7420"), ("origin", "https://evil.example")], true),
            (&[("host", "a:7420"), ("origin", "null")], true),
            (&[("origin", "http://a:7420")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-origin"), ("host", "a"), ("origin", "http://a")], false),
            (&[("sec-fetch-site", "none")], false),
        ] {
            let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            let map: HeaderMap = map.collect::<Vec<(axum::http::HeaderName, _)>>().into_iter().collect();
            assert_eq!(comes_from_elsewhere(&Uri::from_static("/v1/info"), &map), elsewhere, "{headers:?}");
        }
        let map = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("http://a:7420"))]);
        assert!(!comes_from_elsewhere(&Uri::from_static("http://a:7420/x"), &map), "HTTP/2 has no Host");
    }

    #[test]
    fn a_name_that_leads_here_is_not_this_machine() {
        for (host, is_here) in [
            ("127.0.0.1:7420", true),
            ("127.3.2.1", true),
            ("[::1]:7420", true),
            ("[::1]", true),
            ("localhost:7420", true),
            ("LOCALHOST", true),
            ("a.localhost:1", true),
            ("evil.example:7420", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("10.0.0.1:7420", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            assert_eq!(names_this_machine(&Uri::from_static("/v1/info"), &headers), is_here, "{host}");
        }
        assert!(names_this_machine(&Uri::from_static("/"), &HeaderMap::new()), "HTTP/1.0");
        assert!(!names_this_machine(&Uri::from_static("http://evil.example/"), &HeaderMap::new()));
    }
}
