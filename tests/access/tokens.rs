//! Tokens of the file, and what becomes of streams that were opened with them.

use lockstead_api::v1::session_response::Message;
use lockstead_client::{Error, ErrorReason, OnDisconnect};
use lockstead_tests::eventually;
use reqwest::{Client, StatusCode};

use crate::session::{Session, acquire};
use crate::setup::{ADMIN, Guarded, SHOP, entry};

/// Opens a session as one, and resumes it as another; with what that is refused.
pub(crate) async fn resume_as(server: &Guarded, first: &str, second: &str) -> Option<ErrorReason> {
    let (_first, opened) = Session::open(server, first, OnDisconnect::Keep).await;
    Session::resume(server, second, &opened, &[]).await.1
}

/// Else a client that brings the new token in time would be locked out by the old one.
#[tokio::test]
async fn a_resumed_session_goes_on_with_the_credentials_that_resumed_it() {
    let server = Guarded::start();
    let (_first, opened) = Session::open(&server, SHOP, OnDisconnect::Keep).await;
    let text = std::fs::read_to_string(server.access_file()).unwrap();
    let old = entry(SHOP, "shop", "groups = ['sellers']\n");
    std::fs::write(server.access_file(), text.replace(&old, &entry("new", "shop", "groups = ['sellers']\n"))).unwrap();
    eventually("the new token is known", async || server.client("new").connect().await.is_ok()).await;
    let (mut second, refused) = Session::resume(&server, "new", &opened, &[]).await;
    assert_eq!(refused, None);
    second.say(acquire(1, "shop/a"));
    assert!(matches!(second.hears().await, Message::Acquired(_)));
}

#[tokio::test]
async fn a_token_that_is_taken_away_is_good_no_more() {
    let server = Guarded::start();
    let shop = server.client(SHOP).connect().await.unwrap();
    let held = shop.lock("shop/a").acquire().await.unwrap();
    let text = std::fs::read_to_string(server.access_file()).unwrap();
    let with_another = text
        .replace(&entry(SHOP, "shop", "groups = ['sellers']\n"), &entry("another", "shop", "groups = ['sellers']\n"));
    assert_ne!(text, with_another);
    std::fs::write(server.access_file(), with_another).unwrap();
    eventually("the token is not known any more", async || {
        let outcome = shop.lock("shop/b").try_acquire().await;
        matches!(outcome, Err(Error::Refused { reason: ErrorReason::Unauthenticated, .. }))
    })
    .await;
    let refused = server.client(SHOP).connect().await;
    assert!(matches!(refused, Err(Error::Refused { reason: ErrorReason::Unauthenticated, .. })));
    // What it has it may give back.
    held.release().await.unwrap();
    server.client("another").connect().await.unwrap();
}

#[tokio::test]
async fn an_access_file_that_can_not_be_used_changes_nothing() {
    let server = Guarded::start();
    let admin = server.client(ADMIN).connect().await.unwrap();
    let text = std::fs::read_to_string(server.access_file()).unwrap();
    std::fs::write(server.access_file(), "[[token]]\nprincipal = 1").unwrap();
    eventually("the operator hears of it", async || server.log().contains("is wrong")).await;
    drop(admin.lock("a").acquire().await.unwrap());
    std::fs::write(server.access_file(), format!("{text}{}", entry("late", "admin", ""))).unwrap();
    eventually("the new token is known", async || server.client("late").connect().await.is_ok()).await;
    drop(admin.lock("a").acquire().await.unwrap());
}

#[tokio::test]
async fn a_client_without_a_good_token_is_told_so() {
    let server = Guarded::start();
    let url = format!("{}/v1/info", server.server.url);
    let none = Client::new().get(&url).send().await.unwrap();
    assert_eq!(none.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(none.headers()["www-authenticate"], "Bearer");
    let wrong = Client::new().get(&url).bearer_auth("hunter2").send().await.unwrap();
    assert_eq!(wrong.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
    let told = wrong.text().await.unwrap();
    assert!(told.contains("is not known") && !told.contains("hunter2"), "{told}");
    let error = server.client("hunter2").connect().await.unwrap_err().to_string();
    assert!(error.contains("UNAUTHENTICATED") && error.contains("is not known"), "{error}");
    let error = lockstead_client::Client::connect(&server.server.url).await.unwrap_err().to_string();
    assert!(error.contains("Authorization: Bearer"), "{error}");
}

/// Pages of other sites can't use a reader's browser to get at a server that asks nobody.
#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let server = lockstead_tests::Server::start();
    let acquire = |origin: String| {
        let request = Client::new().post(format!("{}/v1/locks/a/acquire", server.url)).header("origin", origin);
        request.header("content-type", "text/plain").body("{}")
    };
    let refused = acquire("https://evil.example".to_owned()).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(refused.text().await.unwrap().contains("PERMISSION_DENIED"));
    let own = acquire(server.url.clone()).send().await.unwrap();
    assert_eq!(own.status(), StatusCode::OK, "nobody had it");
}

/// A page can let its own name lead to this machine, and then be of the same site.
#[tokio::test]
async fn a_server_for_this_machine_is_not_asked_by_other_names() {
    let server = lockstead_tests::Server::start();
    let get = |host: &str| Client::new().get(format!("{}/v1/locks", server.url)).header("host", host).send();
    let refused = get("evil.example:7420").await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(refused.text().await.unwrap().contains("127.0.0.1"));
    assert_eq!(get("localhost:7420").await.unwrap().status(), StatusCode::OK);
}
