//! A request that is repeated under its id, over both transports.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use lockstead_client::{Client, Error, ErrorReason};
use lockstead_tests::Server;
use serde_json::{Value, json};

async fn acquire(server: &Server, name: &str, body: &Value) -> (u16, Value) {
    let url = format!("{}/v1/locks/{name}/acquire", server.url);
    let answer = reqwest::Client::new().post(url).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn the_same_request_twice_is_one_hold() {
    let server = Server::start();
    let body = json!({"request_id": "r1", "ttl": "60s", "owner": "a"});
    let (status, first) = acquire(&server, "once", &body).await;
    assert_eq!(status, 200, "{first}");
    let (status, second) = acquire(&server, "once", &body).await;
    assert_eq!((status, &second), (200, &first));
    // How long a repeat is ready to wait makes it no other request.
    let (status, third) =
        acquire(&server, "once", &json!({"request_id": "r1", "ttl": "60s", "owner": "a", "wait": "1s"})).await;
    assert_eq!((status, &third), (200, &first));
}

#[tokio::test]
async fn a_repeat_after_a_lost_answer_finds_its_hold() {
    let server = Server::start();
    let body = r#"{"request_id": "lost", "ttl": "60s"}"#;
    let request = format!(
        "POST /v1/locks/once/acquire HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n{body}",
        server.address(),
        body.len()
    );
    let mut connection = TcpStream::connect(server.address()).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    // The first byte tells that the answer is on its way; the rest is lost with the connection.
    connection.read_exact(&mut [0]).unwrap();
    drop(connection);

    let client = Client::connect(&server.url).await.unwrap();
    let held = client.lock("once").get().await.unwrap();
    let (status, repeated) = acquire(&server, "once", &json!({"request_id": "lost", "ttl": "60s"})).await;
    assert_eq!(status, 200, "{repeated}");
    assert_eq!(repeated["fencing_token"], json!(held.holders[0].token));
    assert_eq!(client.lock("once").get().await.unwrap().holder_count, 1);
}

#[tokio::test]
async fn a_changed_request_under_the_same_id_is_refused() {
    let server = Server::start();
    let (status, first) = acquire(&server, "once", &json!({"request_id": "r", "ttl": "60s"})).await;
    assert_eq!(status, 200, "{first}");
    for (name, body) in [
        ("once", json!({"request_id": "r", "ttl": "61s"})),
        ("once", json!({"request_id": "r", "ttl": "60s", "mode": "shared"})),
        ("once", json!({"request_id": "r", "ttl": "60s", "owner": "somebody"})),
        ("once", json!({"request_id": "r", "ttl": "60s", "metadata": {"a": "b"}})),
        ("other", json!({"request_id": "r", "ttl": "60s"})),
    ] {
        let (status, problem) = acquire(&server, name, &body).await;
        assert_eq!((status, problem["reason"].as_str()), (422, Some("REQUEST_ID_REUSED")), "{name} {body}");
    }
    let client = Client::connect(&server.url).await.unwrap();
    let grpc = client.lock("other").lease(Duration::from_secs(60)).request_id("r").acquire().await;
    assert!(matches!(grpc, Err(Error::Refused { reason: ErrorReason::RequestIdReused, .. })), "{grpc:?}");
    assert_eq!(client.lock("once").get().await.unwrap().holders[0].token, first["fencing_token"].as_u64().unwrap());
    assert_eq!(client.lock("other").get().await.unwrap().holder_count, 0);
}

#[tokio::test]
async fn a_request_is_granted_once_even_after_its_hold_has_ended() {
    let server = Server::start();
    let body = json!({"request_id": "once", "ttl": "60s"});
    let (_, hold) = acquire(&server, "once", &body).await;
    let release = format!("{}/v1/locks/once/release", server.url);
    let released =
        reqwest::Client::new().post(release).json(&json!({"hold_id": hold["hold_id"]})).send().await.unwrap();
    assert_eq!(released.status().as_u16(), 200);
    let (status, problem) = acquire(&server, "once", &body).await;
    assert_eq!((status, problem["reason"].as_str()), (409, Some("NOT_HOLDER")));
}
