//! Quotas: one principal's haste is not the others' waste.

use std::time::Duration;

use lockstead_api::v1::SessionRelease;
use lockstead_api::v1::session_request::Message as Ask;
use lockstead_api::v1::session_response::Message;
use lockstead_client::{Client, Error, ErrorReason, OnDisconnect};
use reqwest::StatusCode;
use serde_json::Value;

use crate::session::{Session, acquire};
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
    for number in 0..100 {
        match client.lock(format!("shop/{number}")).acquire().await {
            Ok(guard) => guards.push(guard),
            refused => {
                assert!(is_over(&refused), "{refused:?}");
                break;
            }
        }
    }
    // The session itself was one.
    assert!((4..100).contains(&guards.len()), "{}", guards.len());
    for guard in guards {
        guard.release().await.unwrap();
    }
}

/// Also of whoever has nothing at the server between two requests.
#[tokio::test]
async fn requests_without_a_session_are_counted() {
    let server = Guarded::start_with("[[quota]]\nwho = ['shop']\nrequests_per_second = 5\n", &[]);
    let http = reqwest::Client::new();
    let mut refused = None;
    for _ in 0..100 {
        let request = http.post(format!("{}/v1/locks/shop/acquire", server.server.url)).bearer_auth(SHOP);
        let response = request.body(r#"{"ttl":"100ms"}"#).send().await.unwrap();
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("it was never too much");
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["reason"], "QUOTA_EXCEEDED");
    assert!((1..=200).contains(&problem["retry_after_ms"].as_u64().unwrap()), "{problem}");
}

/// Whatever else a client says under the number of an acquire, that is counted.
#[tokio::test]
async fn a_number_that_is_used_twice_is_no_way_around() {
    let server = Guarded::start_with("[[quota]]\nwho = ['shop']\nholds = 2\n", &[]);
    let (mut session, _) = Session::open(&server, SHOP, OnDisconnect::Release).await;
    let mut held = 0;
    for number in 1..=5 {
        session.say(acquire(number, &format!("shop/{number}")));
        match session.hears().await {
            Message::Acquired(_) => held += 1,
            Message::Failed(failed) => assert_eq!(failed.reason(), ErrorReason::QuotaExceeded),
            other => panic!("{other:?}"),
        }
        session.say(Ask::Release(SessionRelease { request_id: number, hold_id: "none".to_owned() }));
        assert!(matches!(session.hears().await, Message::Failed(_)));
        session.say(acquire(number, &format!("shop/other/{number}")));
        assert!(matches!(session.hears().await, Message::Failed(_)));
    }
    assert_eq!(held, 2);
}

/// What waited before the session was resumed goes on waiting, or is taken back for good: it is never held by nobody.
#[tokio::test]
async fn a_wait_that_may_not_go_on_is_taken_back() {
    let server = Guarded::start();
    let admin = server.client(ADMIN).connect().await.unwrap();
    let held = admin.lock("shop/a").acquire().await.unwrap();
    let (mut first, opened) = Session::open(&server, SHOP, OnDisconnect::Keep).await;
    first.say(acquire(1, "shop/a"));
    assert!(matches!(first.hears().await, Message::Queued(_)));
    let (mut second, _) = Session::resume(&server, SHOP, &opened, &[1]).await;
    let text = std::fs::read_to_string(server.access_file()).unwrap();
    std::fs::write(server.access_file(), text.replace("may = ['acquire']\nprefix = 'shop'", "may = ['read']")).unwrap();
    let other = shop(&server).await;
    let is_gone = async || other.lock("shop/b").try_acquire().await.is_err();
    lockstead_tests::eventually("the rule is gone", is_gone).await;
    second.say(acquire(1, "shop/a"));
    let Message::Failed(failed) = second.hears().await else { panic!("not refused") };
    assert_eq!(failed.reason(), ErrorReason::PermissionDenied);
    assert!(admin.lock("shop/a").get().await.unwrap().waiters.is_empty());
    held.release().await.unwrap();
    assert!(admin.lock("shop/a").try_acquire().await.unwrap().is_some());
}

/// A lease whose answer was lost is had by asking again, also with the last place.
#[tokio::test]
async fn a_request_that_is_repeated_counts_once() {
    let server = Guarded::start_with("[[quota]]\nwho = ['shop']\nholds = 1\n", &[]);
    let http = reqwest::Client::new();
    let ask = async |id: &str| {
        let request = http.post(format!("{}/v1/locks/shop%2F{id}/acquire", server.server.url)).bearer_auth(SHOP);
        request.body(format!(r#"{{"request_id":"{id}"}}"#)).send().await.unwrap().status()
    };
    assert_eq!(ask("a").await, StatusCode::OK);
    assert_eq!(ask("a").await, StatusCode::OK);
    assert_eq!(ask("b").await, StatusCode::TOO_MANY_REQUESTS);
}
