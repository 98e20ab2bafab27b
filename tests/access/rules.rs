//! What those that are let in may do, by every way to ask.

use std::time::Duration;

use lockstead_client::{Error, ErrorReason, OnDisconnect};
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::setup::{ADMIN, GUEST, Guarded, SHOP};

fn is_denied<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Refused { reason: ErrorReason::PermissionDenied, .. }))
}

#[tokio::test]
async fn a_rule_is_about_a_prefix_and_some_actions() {
    let server = Guarded::start();
    let shop = server.client(SHOP).connect().await.unwrap();
    let minute = Duration::from_secs(60);
    for mine in ["shop", "shop/till", "shop/a/b"] {
        let guard = shop.lock(mine).acquire().await.unwrap();
        guard.release().await.unwrap();
        let lease = shop.lock(mine).lease(minute).acquire().await.unwrap();
        lease.release().await.unwrap();
    }
    for others in ["shopping", "till", "a/shop"] {
        assert!(is_denied(&shop.lock(others).acquire().await), "{others}");
        assert!(is_denied(&shop.lock(others).wait(minute).acquire().await), "{others}");
        assert!(is_denied(&shop.semaphore(others, 2).acquire().await), "{others}");
        assert!(is_denied(&shop.lock(others).lease(minute).acquire().await), "{others}");
    }
    // To acquire is not to see.
    assert!(is_denied(&shop.lock("shop/till").get().await));
    assert!(is_denied(&shop.list_locks("shop/").all().await));
    let admin = server.client(ADMIN).connect().await.unwrap();
    assert_eq!(admin.list_locks("").all().await.unwrap().len(), 0, "nothing was acquired by what was refused");
    let sessions = Client::new().get(format!("{}/v1/sessions", server.server.url));
    assert_eq!(sessions.try_clone().unwrap().bearer_auth(SHOP).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(sessions.bearer_auth(ADMIN).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn whoever_does_not_say_who_holds_holds_as_its_principal() {
    let server = Guarded::start();
    let shop = server.client(SHOP).connect().await.unwrap();
    let _guard = shop.lock("shop/a").acquire().await.unwrap();
    let _lease = shop.lock("shop/b").lease(Duration::from_secs(60)).acquire().await.unwrap();
    let admin = server.client(ADMIN).connect().await.unwrap();
    for name in ["shop/a", "shop/b"] {
        let resource = admin.lock(name).get().await.unwrap();
        assert_eq!(resource.holders[0].owner, "shop", "{name}");
    }
}

#[tokio::test]
async fn nobody_repeats_the_request_of_another() {
    let server = Guarded::start_with("[[rule]]\nwho = ['guest']\nmay = ['acquire']\n", &[]);
    let http = Client::new();
    let acquire = async |token: &str| {
        let request = http.post(format!("{}/v1/locks/shop%2Fa/acquire", server.server.url)).bearer_auth(token);
        let response = request.body(r#"{"request_id":"r"}"#).send().await.unwrap();
        let status = response.status();
        (status, response.json::<Value>().await.unwrap())
    };
    let (status, first) = acquire(SHOP).await;
    assert_eq!(status, StatusCode::OK);
    let (status, again) = acquire(SHOP).await;
    assert_eq!((status, &again["hold_id"]), (StatusCode::OK, &first["hold_id"]));
    let (status, other) = acquire(GUEST).await;
    assert_eq!(status, StatusCode::LOCKED);
    assert!(other["hold_id"].is_null());
}

/// A resume secret that got into wrong hands is of no use there.
#[tokio::test]
async fn nobody_resumes_the_session_of_another() {
    let server = Guarded::start_with("[[rule]]\nwho = ['guest']\nmay = ['acquire']\n", &[]);
    let own = crate::tokens::resume_as(&server, SHOP, SHOP).await;
    assert_eq!(own, None);
    let stolen = crate::tokens::resume_as(&server, SHOP, GUEST).await;
    assert_eq!(stolen, Some(ErrorReason::SessionNotFound));
}

#[tokio::test]
async fn a_rule_that_goes_away_ends_what_it_allowed() {
    let server = Guarded::start();
    let shop = server.client(SHOP).on_disconnect(OnDisconnect::Keep).connect().await.unwrap();
    let held = shop.lock("shop/a").acquire().await.unwrap();
    let text = std::fs::read_to_string(server.access_file()).unwrap();
    std::fs::write(server.access_file(), text.replace("may = ['acquire']\nprefix = 'shop'", "may = ['read']")).unwrap();
    lockstead_tests::eventually("the rule is gone", async || match shop.lock("shop/b").try_acquire().await {
        Ok(_) => false,
        denied => is_denied(&denied),
    })
    .await;
    assert!(shop.lock("shop/a").get().await.is_ok(), "and the new one is there");
    held.release().await.unwrap();
}
