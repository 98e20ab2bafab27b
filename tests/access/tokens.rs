//! Tokens of the file, and what becomes of streams that were opened with them.

use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_api::v1::{
    OnDisconnect as WireOnDisconnect, OpenSession, ResumeSession, SessionRequest, session_request, session_response,
};
use lockstead_client::{Error, ErrorReason};
use lockstead_tests::eventually;
use reqwest::{Client, StatusCode};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Request;

use crate::setup::{ADMIN, Guarded, SHOP, entry};

type Stream = (mpsc::UnboundedSender<SessionRequest>, tonic::Streaming<lockstead_api::v1::SessionResponse>);

async fn stream(server: &Guarded, token: &str, first: session_request::Message) -> Stream {
    let mut client = LockServiceClient::connect(server.server.url.clone()).await.unwrap();
    let (messages, outgoing) = mpsc::unbounded_channel();
    messages.send(SessionRequest { message: Some(first) }).unwrap();
    let mut request = Request::new(UnboundedReceiverStream::new(outgoing));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    (messages, client.session(request).await.unwrap().into_inner())
}

/// Opens a session as one, and resumes it as another; with what that is refused.
pub(crate) async fn resume_as(server: &Guarded, first: &str, second: &str) -> Option<ErrorReason> {
    let options = OpenSession { on_disconnect: WireOnDisconnect::Keep.into(), ..OpenSession::default() };
    let (_first, mut replies) = stream(server, first, session_request::Message::Open(options)).await;
    let Some(session_response::Message::Opened(opened)) = replies.message().await.unwrap().unwrap().message else {
        panic!("not opened");
    };
    let resume = ResumeSession {
        session_id: opened.session_id,
        resume_secret: opened.resume_secret,
        attempt: 1,
        ..ResumeSession::default()
    };
    let (_second, mut replies) = stream(server, second, session_request::Message::Resume(resume)).await;
    match replies.message().await {
        Ok(_) => None,
        Err(status) => Some(ErrorReason::of(&status)),
    }
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
