//! Quotas: one principal's haste is not the others' waste.

use std::time::Duration;

use lockstead_client::{Client, Error, ErrorReason, OnDisconnect};
use reqwest::StatusCode;
use serde_json::Value;

use crate::setup::{ADMIN, Guarded, SHOP};

fn is_over<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Refused { reason: ErrorReason::QuotaExceeded, .. }))
}

async fn shop(server: &Guarded) -> Client {
    server.client(SHOP).connect().await.unwrap()
}

#[tokio::test]
async fn holds_and_waiters_are_counted_until_they_end() {
    let server = Guarded::start_with("[[quota]]\nwho = ['shop']\nholds = 3\n", &[]);
    let (one, other) = (shop(&server).await, shop(&server).await);
    let minute = Duration::from_secs(60);
    let first = one.lock("shop/1").acquire().await.unwrap();
    let second = other.lock("shop/2").acquire().await.unwrap();
    let lease = one.lock("shop/3").lease(minute).acquire().await.unwrap();
    assert!(is_over(&one.lock("shop/4").acquire().await));
    assert!(is_over(&one.lock("shop/4").lease(minute).acquire().await));
    let admin = server.client(ADMIN).connect().await.unwrap();
    let _others = admin.lock("shop/4").acquire().await.unwrap();
    // Whatever ends makes room: a release, a session's end, a lease's release or its deadline.
    first.release().await.unwrap();
    let short = one.lock("shop/1").lease(Duration::from_millis(100)).acquire().await.unwrap();
    assert!(is_over(&other.lock("shop/5").acquire().await));
    lockstead_tests::eventually("its deadline has passed", async || {
        match one.lock("shop/5").lease(minute).acquire().await {
            Ok(lease) => lease.release().await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
    drop(short);
    lease.release().await.unwrap();
    other.close().await.unwrap();
    assert!(second.release().await.is_err());
    let all: Vec<_> = futures::future::join_all((1..=3).map(|n| one.lock(format!("shop/{n}")).acquire())).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
}

/// A place in a queue is a claim as well, and a refused or cancelled acquire is none.
#[tokio::test]
async fn what_comes_to_nothing_is_not_counted() {
    let server = Guarded::start_with("[[quota]]\nwho = ['*']\nholds = 2\nwaiters_per_name = 1\n", &[]);
    let admin = server.client(ADMIN).connect().await.unwrap();
    let held = admin.lock("shop/a").acquire().await.unwrap();
    let client = shop(&server).await;
    for _ in 0..5 {
        assert!(client.lock("shop/a").try_acquire().await.unwrap().is_none());
        assert!(client.lock("shop/a").wait(Duration::from_millis(1)).acquire().await.is_err());
    }
    let waiting = client.lock("shop/a");
    let waiting = tokio::spawn(async move { waiting.acquire().await });
    lockstead_tests::eventually("it waits", async || admin.lock("shop/a").get().await.unwrap().waiters.len() == 1)
        .await;
    assert!(is_over(&client.lock("shop/a").acquire().await), "one waiter for a name");
    let other = client.lock("shop/b").acquire().await.unwrap();
    assert!(is_over(&client.lock("shop/c").acquire().await), "two in all");
    held.release().await.unwrap();
    let granted = waiting.await.unwrap().unwrap();
    assert!(is_over(&client.lock("shop/c").acquire().await), "a grant counts as much as a wait");
    granted.release().await.unwrap();
    other.release().await.unwrap();
}

#[tokio::test]
async fn sessions_are_counted() {
    let server = Guarded::start_with("[[quota]]\nwho = ['group:sellers']\nsessions = 1\n", &[]);
    let first = server.client(SHOP).on_disconnect(OnDisconnect::Keep).connect().await.unwrap();
    assert!(is_over(&server.client(SHOP).connect().await));
    first.close().await.unwrap();
    shop(&server).await;
}

#[tokio::test]
async fn requests_are_counted_but_never_those_that_give_back() {
    let server = Guarded::start_with("[[quota]]\nwho = ['shop']\nrequests_per_second = 5\n", &[]);
    let client = shop(&server).await;
    let mut guards = Vec::new();
    let too_fast = loop {
        match client.lock(format!("shop/{}", guards.len())).acquire().await {
            Ok(guard) => guards.push(guard),
            Err(error) => break error,
        }
    };
    assert!(is_over::<()>(&Err(too_fast)));
    for guard in guards {
        guard.release().await.unwrap();
    }
    let http = reqwest::Client::new();
    let refused = loop {
        let request = http.post(format!("{}/v1/locks/shop/acquire", server.server.url)).bearer_auth(SHOP);
        let response = request.send().await.unwrap();
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            break response;
        }
    };
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["reason"], "QUOTA_EXCEEDED");
    assert!((1..=200).contains(&problem["retry_after_ms"].as_u64().unwrap()), "{problem}");
}
