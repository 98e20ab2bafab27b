//! A server says whether it can serve, and why not.

use lockstead_tests::PATIENCE;
use serde_json::Value;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::engine::Store;
use crate::servers::One;

const WHY: &str = "Redis can't be reached; see to it";

/// The status of `/readyz` over a new connection, and the reason for it.
pub(crate) async fn readyz(url: &str) -> (u16, String) {
    let (status, problem) = problem(url).await;
    (status, problem["reason"].as_str().unwrap_or_default().to_owned())
}

async fn problem(url: &str) -> (u16, Value) {
    let answer = reqwest::Client::new().get(format!("{url}/readyz")).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// Whether the server says by gRPC that it serves, over a new connection.
pub(crate) async fn health(url: &str) -> bool {
    let mut client = health_client(url).await;
    let answer = client.check(HealthCheckRequest::default()).await.unwrap();
    answer.into_inner().status() == ServingStatus::Serving
}

async fn health_client(url: &str) -> HealthClient<tonic::transport::Channel> {
    HealthClient::new(Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap())
}

#[tokio::test]
async fn it_is_ready_while_its_engine_is() {
    let store = Store::new();
    store.set_not_ready(Some(WHY));
    let server = One::start(&store).await;
    let mut client = health_client(&server.url).await;
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let mut next = async || {
        let next = tokio::time::timeout(PATIENCE, watch.message()).await.expect("news in time");
        next.unwrap().unwrap().status()
    };
    assert_eq!(next().await, ServingStatus::NotServing);
    let (status, problem) = problem(&server.url).await;
    assert_eq!((status, problem["reason"].as_str()), (503, Some("BACKEND_UNAVAILABLE")));
    assert_eq!(problem["detail"], WHY);
    store.set_not_ready(None);
    assert_eq!(readyz(&server.url).await.0, 200);
    assert_eq!(next().await, ServingStatus::Serving);
    store.set_not_ready(Some(WHY));
    assert_eq!(next().await, ServingStatus::NotServing);
}

#[tokio::test]
async fn it_says_which_engine_it_has() {
    let server = One::start(&Store::new()).await;
    let answer = reqwest::get(format!("{}/v1/info", server.url)).await.unwrap().text().await.unwrap();
    let info: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(info["scopes"]["cluster"]["engine"], "shared", "{info}");
    assert_eq!(info["scopes"]["cluster"]["capabilities"]["outlives_server"], true, "{info}");
}

#[tokio::test]
async fn an_engine_that_can_not_work_as_it_is_set_up_ends_the_server() {
    let mut server = One::start(&Store::new()).await;
    server.misconfigure(WHY);
    assert_eq!(server.ended().await.unwrap_err().to_string(), WHY);
}
