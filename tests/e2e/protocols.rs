//! One port for gRPC, gRPC-Web and HTTP/1.1 and HTTP/2, and what the server tells of itself there.

use http::header::{CONTENT_TYPE, TE};
use http_body_util::{BodyExt, Full};
use lockstead_api::v1;
use lockstead_api::v1::acquire_response::Outcome;
use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_tests::Server;
use prost::Message;
use reqwest::{Client, Version};
use tokio::process::Command;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{FileDescriptorResponse, ServerReflectionRequest};
use tower::ServiceExt;

async fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(server.url.clone()).unwrap().connect().await.unwrap()
}

fn acquire(name: &str) -> v1::AcquireRequest {
    let claim = v1::Claim { name: name.to_owned(), ..v1::Claim::default() };
    v1::AcquireRequest { claim: Some(claim), ..v1::AcquireRequest::default() }
}

async fn reflect(server: &Server, asked: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
    let mut client = ServerReflectionClient::new(channel(server).await);
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap().message_response.unwrap()
}

#[tokio::test]
async fn health_says_serving() {
    let server = Server::start();
    let mut health = HealthClient::new(channel(&server).await);
    let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
}

#[tokio::test]
async fn reflection_knows_the_services_and_their_messages() {
    let server = Server::start();
    let MessageResponse::ListServicesResponse(list) =
        reflect(&server, MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list")
    };
    let services: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for expected in ["lockstead.v1.LockService", "grpc.health.v1.Health"] {
        assert!(services.iter().any(|service| service == expected), "no {expected} in {services:?}");
    }
    assert!(!services.iter().any(|service| service.contains("bench")), "{services:?}");
    for symbol in ["lockstead.v1.LockService", "lockstead.v1.SessionRequest", "lockstead.v1.ErrorReason"] {
        let asked = MessageRequest::FileContainingSymbol(symbol.to_owned());
        let answer = reflect(&server, asked).await;
        let MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto }) = answer else {
            panic!("{symbol}: {answer:?}")
        };
        let word = symbol.rsplit('.').next().unwrap().as_bytes();
        assert!(file_descriptor_proto.iter().any(|file| file.windows(word.len()).any(|part| part == word)), "{symbol}");
    }
}

/// A message as it is sent.
fn framed(request: &v1::AcquireRequest) -> Vec<u8> {
    let message = request.encode_to_vec();
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat()
}

/// Its answer could not say how it went: that stands behind the messages, where HTTP/1 has nothing.
#[tokio::test]
async fn plain_grpc_over_http_1_is_refused_and_changes_nothing() {
    let server = Server::start();
    let url = format!("{}/lockstead.v1.LockService/Acquire", server.url);
    let client = Client::builder().http1_only().build().unwrap();
    let request = client.post(url).header("content-type", "application/grpc").body(framed(&acquire("old")));
    assert_eq!(request.send().await.unwrap().status().as_u16(), 400);
    let held = client.get(format!("{}/v1/locks/old", server.url)).send().await.unwrap().text().await.unwrap();
    assert!(held.contains("\"holders\":[]"), "{held}");
}

#[tokio::test]
async fn a_browser_acquires_by_grpc_web_over_http_1() {
    let server = Server::start();
    let frame = framed(&acquire("web"));
    let url = format!("{}/lockstead.v1.LockService/Acquire", server.url);
    let client = Client::builder().http1_only().build().unwrap();
    let request = client.post(url).header("content-type", "application/grpc-web+proto").header("x-grpc-web", "1");
    let answer = request.body(frame).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_11));
    assert_eq!(answer.headers()["content-type"], "application/grpc-web+proto");
    let body = answer.bytes().await.unwrap();
    let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
    assert_eq!(body[0], 0, "a message comes first");
    let answer = v1::AcquireResponse::decode(&body[5..5 + length]).unwrap();
    assert!(matches!(answer.outcome, Some(Outcome::Acquired(_))), "{answer:?}");
    let trailers = &body[5 + length..];
    assert_eq!(trailers[0], 0x80, "trailers come last");
    assert!(String::from_utf8_lossy(&trailers[5..]).contains("grpc-status:0"), "{trailers:?}");
}

#[tokio::test]
async fn http_1_and_http_2_and_grpc_share_the_port() {
    let server = Server::start();
    let client = lockstead_client::Client::connect(&server.url).await.unwrap();
    let guard = client.lock("shared/port").acquire().await.unwrap();
    let url = format!("{}/v1/locks/shared%2Fport", server.url);
    for (flag, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2"), ("--http1.0", "1.1")] {
        let curl = Command::new("curl").args(["-sf", flag, "-w", "\n%{http_version}", &url]).output().await.unwrap();
        let printed = String::from_utf8(curl.stdout).unwrap();
        assert!(printed.contains(&guard.token().to_string()), "{flag}: {printed}");
        let spoken = printed.lines().last().unwrap();
        assert!(spoken == version || flag == "--http1.0" && spoken == "1", "{flag}: {printed}");
    }
}

#[tokio::test]
async fn a_method_that_nobody_knows_is_unimplemented() {
    let server = Server::start();
    for path in ["/lockstead.v1.LockService/Steal", "/lockstead.v2.LockService/Acquire", "/no.such.Service/Method"] {
        let request = http::Request::post(path)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .body(Body::new(Full::from(&[0, 0, 0, 0, 0][..])))
            .unwrap();
        let (head, body) = channel(&server).await.oneshot(request).await.unwrap().into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
        let status = Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers));
        // By gRPC's rules, a client reads a 404 without a status as UNIMPLEMENTED.
        let code = status.map(|status| status.code()).or((head.status == 404).then_some(Code::Unimplemented));
        assert_eq!(code, Some(Code::Unimplemented), "{path}: {head:?}");
    }
    // The connection is good for more.
    LockServiceClient::new(channel(&server).await).acquire(acquire("x")).await.unwrap();
}

#[tokio::test]
async fn the_document_is_the_one_that_is_checked_in() {
    let server = Server::start();
    let answer = reqwest::get(format!("{}/openapi.json", server.url)).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let document: serde_json::Value = answer.json().await.unwrap();
    let checked_in = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json")).unwrap();
    assert_eq!(document, serde_json::from_str::<serde_json::Value>(&checked_in).unwrap());
}

#[tokio::test]
async fn the_documentation_is_a_page() {
    let server = Server::start();
    let page = reqwest::get(format!("{}/docs", server.url)).await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let page = page.text().await.unwrap();
    assert!(page.to_lowercase().starts_with("<!doctype html>"), "{page}");
    for part in ["/v1/locks/{name}/acquire", "id=\"LOCK_HELD\"", "/metrics"] {
        assert!(page.contains(part), "no {part}");
    }
}
