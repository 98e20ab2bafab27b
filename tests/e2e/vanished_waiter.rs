//! A waiter whose caller is gone never holds, whatever it came by.

use std::time::Duration;

use lockstead_api::v1;
use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_client::Client;
use lockstead_tests::{PATIENCE, Process, Server};
use rustix::process::Signal;
use tokio::process::Command;

/// Holds the lock, lets `vanish` queue up and go away, and checks that the one behind it is next.
async fn next_in_line_skips<V: Future<Output = ()>>(server: &Server, vanish: impl FnOnce(LockWatch) -> V) {
    let client = Client::connect(&server.url).await.unwrap();
    let holder = client.lock("gone").acquire().await.unwrap();
    vanish(LockWatch(client.clone())).await;
    LockWatch(client.clone()).until_waiting(0).await;
    holder.release().await.unwrap();
    let next = tokio::time::timeout(PATIENCE, client.lock("gone").acquire()).await.unwrap().unwrap();
    next.release().await.unwrap();
}

/// Sees how many wait.
struct LockWatch(Client);

impl LockWatch {
    async fn until_waiting(&self, count: u32) {
        let reached = async {
            while self.0.lock("gone").get().await.unwrap().waiter_count != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }
}

#[tokio::test]
async fn a_killed_curl_that_waited_for_a_lease() {
    let server = Server::start();
    let url = format!("{}/v1/locks/gone/acquire", server.url);
    next_in_line_skips(&server, |lock| async move {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-d", r#"{"wait": "forever", "ttl": "24h"}"#, &url]);
        let mut curl = Process::start(curl);
        lock.until_waiting(1).await;
        curl.signal(Signal::KILL);
        curl.wait().await;
        lock.until_waiting(0).await;
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_unary_call() {
    let server = Server::start();
    let mut grpc = LockServiceClient::connect(server.url.clone()).await.unwrap();
    next_in_line_skips(&server, |lock| async move {
        let call = tokio::spawn(async move { grpc.acquire(forever()).await });
        lock.until_waiting(1).await;
        call.abort();
        lock.until_waiting(0).await;
    })
    .await;
}

#[tokio::test]
async fn of_two_callers_with_one_request_id_the_one_who_stays_is_granted() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let holder = client.lock("gone").acquire().await.unwrap();
    let request = v1::AcquireRequest { request_id: "shared".to_owned(), ..forever() };
    let call = |request: v1::AcquireRequest| {
        let url = server.url.clone();
        tokio::spawn(async move { LockServiceClient::connect(url).await.unwrap().acquire(request).await })
    };
    let stays = call(request.clone());
    let goes = call(request);
    LockWatch(client.clone()).until_waiting(1).await;
    goes.abort();
    assert!(goes.await.unwrap_err().is_cancelled());
    holder.release().await.unwrap();
    let granted = tokio::time::timeout(PATIENCE, stays).await.unwrap().unwrap().unwrap().into_inner();
    assert!(matches!(granted.outcome, Some(v1::acquire_response::Outcome::Acquired(_))), "{granted:?}");
    assert_eq!(client.lock("gone").get().await.unwrap().holder_count, 1);
}

#[tokio::test]
async fn callers_that_go_away_at_the_very_moment_of_the_grant() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let grpc = LockServiceClient::connect(server.url.clone()).await.unwrap();
    for round in 0..200 {
        let holder = client.lock("gone").acquire().await.unwrap();
        let request = v1::AcquireRequest { request_id: format!("round {round}"), ..forever() };
        let mut caller = grpc.clone();
        let call = tokio::spawn({
            let request = request.clone();
            async move { caller.acquire(request).await }
        });
        LockWatch(client.clone()).until_waiting(1).await;
        // Both at once: either the waiter leaves first, or its grant is given back, or its answer is on the way already.
        let (released, ()) = tokio::join!(holder.release(), async { call.abort() });
        released.unwrap();
        _ = call.await;
        // An answer that nobody read is found again by repeating the request; in any other case this is a new one.
        let again = grpc.clone().acquire(request).await.unwrap().into_inner().outcome;
        let Some(v1::acquire_response::Outcome::Acquired(hold)) = again else { panic!("round {round}: {again:?}") };
        client.lock("gone").release(lockstead_client::HoldId::parse(&hold.hold_id).unwrap()).await.unwrap();
        assert_eq!(client.lock("gone").get().await.unwrap().holder_count, 0, "round {round}");
    }
}

/// A lease that would be noticed if it stayed behind.
fn forever() -> v1::AcquireRequest {
    v1::AcquireRequest {
        claim: Some(v1::Claim { name: "gone".to_owned(), ..v1::Claim::default() }),
        wait: Some(v1::Wait { how: Some(v1::wait::How::Forever(true)) }),
        ttl: Some(Duration::from_secs(24 * 3600).try_into().unwrap()),
        ..v1::AcquireRequest::default()
    }
}
