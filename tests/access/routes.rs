//! Every route and every RPC there is, with every kind of credentials that are not good enough.

use lockstead_api::FILE_DESCRIPTOR_SET;
use lockstead_client::ErrorReason;
use prost::Message;
use prost_types::FileDescriptorSet;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::issuer::{Issuer, seconds_from_now};
use crate::setup::{ADMIN, EXPIRED, GUEST, Guarded};

/// What is asked of everybody, and who may ask it.
#[derive(Debug)]
struct Route {
    method: Method,
    path: String,
    /// Whoever watches over a server has no credentials.
    is_open: bool,
}

/// All of HTTP, as its document has it.
async fn http_routes(server: &Guarded) -> Vec<Route> {
    let http = Client::new();
    let document = http.get(format!("{}/openapi.json", server.server.url)).bearer_auth(ADMIN).send().await.unwrap();
    let document: Value = document.json().await.unwrap();
    let paths = document["paths"].as_object().unwrap();
    let routes = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, about)| Route {
            method: method.to_uppercase().parse().unwrap(),
            path: path.replace("{name}", "held"),
            is_open: about["security"].as_array().is_some_and(|wanted| wanted.iter().all(|one| one == &json!({}))),
        })
    });
    routes.collect()
}

/// All of gRPC, as the proto files have it, and what a server adds to them.
fn grpc_routes() -> Vec<Route> {
    let of = |bytes: &[u8]| FileDescriptorSet::decode(bytes).unwrap().file;
    let files =
        [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET];
    let mut routes = Vec::new();
    for file in files.into_iter().flat_map(of) {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                routes.push(Route { method: Method::POST, is_open: file.package() == "grpc.health.v1", path });
            }
        }
    }
    routes
}

/// All there are, and whether they are gRPC's.
async fn all_routes(server: &Guarded) -> Vec<(Route, bool)> {
    let http = http_routes(server).await.into_iter().map(|route| (route, false));
    http.chain(grpc_routes().into_iter().map(|route| (route, true))).collect()
}

/// Sends a request that would do something, if it were let in.
async fn call(server: &Guarded, route: &Route, is_grpc: bool, token: Option<&str>) -> Response {
    let http = if is_grpc { Client::builder().http2_prior_knowledge().build().unwrap() } else { Client::new() };
    let mut request = http.request(route.method.clone(), format!("{}{}", server.server.url, route.path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if is_grpc {
        // An empty message in its frame.
        request = request.header("content-type", "application/grpc").header("te", "trailers").body(vec![0; 5]);
    } else if route.method == Method::POST {
        request = request.body(if route.path.contains("semaphores") { r#"{"limit":1}"# } else { "{}" });
    }
    request.send().await.unwrap()
}

/// What a refusal says, in the words of its transport.
async fn refusal(response: Response) -> (String, String) {
    let grpc = response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
    if let Some(code) = grpc {
        return (code, response.headers()["grpc-message"].to_str().unwrap_or_default().to_owned());
    }
    let status = response.status().as_u16().to_string();
    if response.status().is_success() {
        // It may be a stream, which does not end.
        return (status, String::new());
    }
    let problem: Value = response.json().await.unwrap_or_default();
    (status, problem["reason"].as_str().unwrap_or_default().to_owned())
}

/// Everything that a stranger might have changed.
async fn state(server: &Guarded) -> Value {
    let http = Client::new();
    let mut all = json!({});
    for path in ["/v1/locks", "/v1/semaphores", "/v1/sessions"] {
        let response = http.get(format!("{}{path}", server.server.url)).bearer_auth(ADMIN).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        all[path] = response.json().await.unwrap();
    }
    all
}

#[tokio::test]
async fn no_route_lets_in_whom_it_should_not() {
    let server = Guarded::start();
    let client = server.client(ADMIN).connect().await.unwrap();
    let _held = client.lock("held").acquire().await.unwrap();
    let stranger = Issuer::new("https://issuer.example");
    let issuer = &server.issuer;
    let refused = [
        ("none", None, true),
        ("unknown", Some("hunter2".to_owned()), true),
        ("expired token", Some(EXPIRED.to_owned()), true),
        ("expired", Some(issuer.token_with(&json!({ "sub": "admin", "exp": seconds_from_now(-60) }))), true),
        ("not yet good", Some(issuer.token_with(&json!({ "sub": "admin", "nbf": seconds_from_now(600) }))), true),
        ("foreign audience", Some(issuer.token_with(&json!({ "sub": "admin", "aud": "others" }))), true),
        ("foreign issuer", Some(issuer.token_with(&json!({ "sub": "admin", "iss": "https://others.example" }))), true),
        ("foreign signature", Some(stranger.token("admin")), true),
        ("nameless", Some(issuer.token_with(&json!({}))), true),
        ("no rule", Some(GUEST.to_owned()), false),
        ("no rule for the JWT's owner", Some(issuer.token("guest")), false),
    ];
    let before = state(&server).await;
    let routes = all_routes(&server).await;
    assert!(routes.len() > 25, "{routes:?}");
    for (route, is_grpc) in routes {
        for (kind, token, is_unknown) in &refused {
            let (code, said) = refusal(call(&server, &route, is_grpc, token.as_deref()).await).await;
            let (expected, reason) = match (is_grpc, is_unknown) {
                (false, true) => ("401", ErrorReason::Unauthenticated.as_word()),
                (false, false) => ("403", ErrorReason::PermissionDenied.as_word()),
                (true, true) => ("16", ""),
                (true, false) => ("7", ""),
            };
            if route.is_open {
                assert!(!["401", "403", "16", "7"].contains(&code.as_str()), "{route:?} with {kind}: {code} {said}");
            } else {
                assert_eq!(code, expected, "{route:?} with {kind}: {said}");
                assert!(is_grpc || said == reason, "{route:?} with {kind}: {said}");
            }
        }
    }
    assert_eq!(state(&server).await, before, "and nothing changed");
}

/// Else the other test would show nothing.
#[tokio::test]
async fn every_route_lets_in_whom_it_should() {
    let server = Guarded::start();
    for (route, is_grpc) in all_routes(&server).await {
        for good in [ADMIN, &server.issuer.token("admin")] {
            let response = call(&server, &route, is_grpc, Some(good)).await;
            assert!(![401, 403].contains(&response.status().as_u16()), "{route:?}: {response:?}");
            let code = response.headers().get("grpc-status");
            assert!(code.is_none_or(|code| code != "16" && code != "7"), "{route:?}: {response:?}");
        }
    }
}
