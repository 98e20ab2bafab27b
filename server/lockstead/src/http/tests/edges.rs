//! Paths and methods that are none, and handlers that do not come to their end.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::middleware::from_fn;
use axum::routing::get;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::harness::Server;
use crate::http::fallback;

#[tokio::test]
async fn what_is_no_route_is_a_problem_too() {
    let server = Server::start();
    let paths = ["/v2", "/v1/", "/v1/locks/", "/v1/locks/a/b/acquire", "/v1/locks/a/steal"];
    for path in paths.into_iter().chain(["/v1/semaphores/a/b", "/favicon.ico", "/%ff", "//"]) {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let answer = server.call(method, path, "").await;
            assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (404, "ROUTE_NOT_FOUND"), "{path}");
        }
    }
    assert!(server.post("/v1/locks/a/b/acquire", "").await.detail().contains("%2F"));
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::start();
    for (method, path, allow) in [
        (Method::GET, "/v1/locks/a/acquire", "POST"),
        (Method::DELETE, "/v1/locks/a/hold", "POST"),
        (Method::PUT, "/v1/semaphores/a/release", "POST"),
        (Method::POST, "/v1/locks/a", "GET,HEAD"),
        (Method::DELETE, "/v1/semaphores", "GET,HEAD"),
        (Method::OPTIONS, "/v1/info", "GET,HEAD"),
        (Method::POST, "/healthz", "GET,HEAD"),
    ] {
        let answer = server.call(method.clone(), path, "").await;
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (405, "METHOD_NOT_ALLOWED"), "{method} {path}");
        assert_eq!(answer.headers["allow"], allow, "{method} {path}");
    }
}

#[tokio::test]
async fn grpc_shares_the_port_and_leaves_the_rest_to_http() {
    let mut server = Server::start();
    let (grpc, _) = crate::grpc::routes(crate::grpc::Locks::new(server.service.clone())).unwrap();
    server.router = grpc.merge(server.router);
    assert_eq!(server.get("/v1/locks").await.status, 200);
    assert_eq!(server.get("/nowhere").await.reason(), "ROUTE_NOT_FOUND");
    assert_eq!(server.get("/v1/locks/a/acquire").await.reason(), "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn a_panic_is_an_answer_without_details() {
    let handler = get(async || -> String { panic!("a secret") });
    let router: Router = Router::new().route("/", handler).layer(from_fn(fallback::catch_panic));
    let response = router.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&body).unwrap();
    assert!(text.contains("\"INTERNAL\"") && !text.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_not_waited_for() {
    let server = Server::start();
    let body = Body::from_stream(futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>());
    let answer = server.call_with(Method::POST, "/v1/locks/a/acquire", body).await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (400, "INVALID_BODY"));
}
