//! What clients get wrong: each mistake has its own reason, changes nothing, and harms nobody else.

mod asks;
mod frames;
mod grpc;
mod http;
mod http_edges;
mod session;

use lockstead_api::v1;
use lockstead_api::v1::lock_service_client::LockServiceClient;
use prost_types::Duration;
use tonic::transport::Channel;

use crate::logged::Logged;

/// A client that sends whatever it is told to.
type Client = LockServiceClient<Channel>;

async fn connect(server: &Logged) -> Client {
    LockServiceClient::connect(server.url.clone()).await.unwrap()
}

fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

fn millis(millis: i32) -> Duration {
    Duration { seconds: 0, nanos: millis * 1_000_000 }
}

fn resource(name: &str) -> v1::ResourceId {
    v1::ResourceId { kind: v1::Kind::Lock.into(), name: name.to_owned(), scope: 0 }
}

/// That nothing is held or waited for, that the server still serves, and that it has not panicked.
async fn assert_unharmed(server: &mut Logged) {
    let mut client = connect(server).await;
    for kind in [v1::Kind::Lock, v1::Kind::Semaphore] {
        let list = v1::ListRequest { kind: kind.into(), ..v1::ListRequest::default() };
        let listed = client.list(list).await.unwrap().into_inner();
        assert_eq!(listed.resources, [], "something was changed");
    }
    let claim = v1::Claim { name: "fine".to_owned(), ..v1::Claim::default() };
    let acquire = v1::AcquireRequest { claim: Some(claim), ..v1::AcquireRequest::default() };
    let answer = client.acquire(acquire).await.unwrap().into_inner();
    let Some(v1::acquire_response::Outcome::Acquired(hold)) = answer.outcome else { panic!("{answer:?}") };
    client.release(v1::ReleaseRequest { resource: hold.resource, hold_id: hold.hold_id }).await.unwrap();
    server.assert_well();
}
