//! Sessions, and the holds that are lost with them.

use std::time::Duration;

use lockstead_api::v1;
use lockstead_api::v1::session_request::Message as Say;
use lockstead_api::v1::session_response::Message as Hear;
use lockstead_client::Client;
use lockstead_tests::{Process, RawSession, Server, test_client};
use rustix::process::Signal;
use tokio::process::Command;

use super::scrape::Scrape;

#[tokio::test]
async fn a_killed_client_loses_each_of_its_holds() {
    let server = Server::start();
    let mut command = Command::new(test_client());
    command.args(["hold", &server.url, "3"]);
    let mut holder = Process::start(command);
    holder.line_with("holding").await;
    let client = Client::connect(&server.url).await.unwrap();
    let waiting = tokio::spawn(client.lock("kill/0").acquire());
    Scrape::until(&server, &[("lockstead_waiters{scope=\"cluster\"}", 1), ("lockstead_sessions", 2)]).await;

    holder.signal(Signal::KILL);
    let _next = waiting.await.unwrap().unwrap();
    let expected = [
        ("lockstead_losses_total{scope=\"cluster\",reason=\"disconnected\"}", 3),
        ("lockstead_hold_seconds_count{scope=\"cluster\"}", 3),
        ("lockstead_hand_over_seconds_count{scope=\"cluster\"}", 1),
        ("lockstead_sessions_ended_total{end=\"disconnected\"}", 1),
        ("lockstead_sessions_opened_total", 2),
        ("lockstead_sessions", 1),
        ("lockstead_holds{scope=\"cluster\"}", 1),
    ];
    let scrape = Scrape::until(&server, &expected).await;
    assert_eq!((scrape.total("lockstead_losses_total"), scrape.total("lockstead_releases_total")), (3, 0));
}

#[tokio::test]
async fn a_silent_client_loses_what_it_has_by_expiry() {
    let server = Server::start();
    let session_timeout = Some(Duration::from_secs(1).try_into().unwrap());
    let open = v1::OpenSession { session_timeout, ..v1::OpenSession::default() };
    let (mut session, _) = RawSession::open(&server.url, open).await;
    session.acquire(1, "mine", false);
    session.hear_acquired(1).await;
    session.acquire(2, "mine", true);
    assert!(matches!(session.hear().await, Hear::Queued(_)));
    session.end().await;
    let expected = [
        ("lockstead_losses_total{scope=\"cluster\",reason=\"expired\"}", 1),
        ("lockstead_sessions_ended_total{end=\"expired\"}", 1),
        ("lockstead_hold_seconds_bucket{scope=\"cluster\",le=\"0.5\"}", 0),
        ("lockstead_hold_seconds_count{scope=\"cluster\"}", 1),
        ("lockstead_waiters{scope=\"cluster\"}", 0),
    ];
    let scrape = Scrape::until(&server, &expected).await;
    assert_eq!(scrape.total("lockstead_losses_total"), 1, "a waiter is no hold");
}

#[tokio::test]
async fn a_hold_that_somebody_else_ends_is_a_loss_of_its_session() {
    let server = Server::start();
    let client = Client::connect(&server.url).await.unwrap();
    let guard = client.lock("m").acquire().await.unwrap();
    client.lock("m").release(guard.hold_id()).await.unwrap();
    guard.lost().await;
    let expected = [
        ("lockstead_losses_total{scope=\"cluster\",reason=\"broken\"}", 1),
        ("lockstead_releases_total{scope=\"cluster\",by=\"bearer\"}", 1),
        ("lockstead_hold_seconds_count{scope=\"cluster\"}", 1),
    ];
    Scrape::until(&server, &expected).await;
}

#[tokio::test]
async fn a_resume_is_counted_and_ends_what_is_not_listed() {
    let server = Server::start();
    let keep = v1::OpenSession { on_disconnect: v1::OnDisconnect::Keep.into(), ..v1::OpenSession::default() };
    let (mut session, opened) = RawSession::open(&server.url, keep).await;
    for (request, name) in [(1, "kept"), (2, "given up")] {
        session.acquire(request, name, false);
    }
    let kept = session.hear_acquired(1).await;
    session.hear_acquired(2).await;
    drop(session);
    let resource = v1::ResourceId { kind: v1::Kind::Lock.into(), name: "kept".to_owned(), scope: 0 };
    let held = v1::HeldHold {
        hold_id: kept.hold_id.clone(),
        resource: Some(resource),
        fencing_token: kept.fencing_token,
        entries: 1,
    };
    let resume = v1::ResumeSession {
        session_id: opened.session_id,
        resume_secret: opened.resume_secret,
        attempt: 1,
        holds: vec![held],
        ..v1::ResumeSession::default()
    };
    let mut session = RawSession::begin(&server.url, Say::Resume(resume)).await;
    assert!(matches!(session.hear().await, Hear::Resumed(_)));
    let expected = [
        ("lockstead_session_resumes_total{from=\"here\"}", 1),
        ("lockstead_session_resumes_total{from=\"elsewhere\"}", 0),
        ("lockstead_sessions", 1),
        ("lockstead_sessions_opened_total", 1),
        ("lockstead_holds{scope=\"cluster\"}", 1),
        ("lockstead_hold_seconds_count{scope=\"cluster\"}", 1),
        ("lockstead_engine_call_seconds_count{engine=\"memory\",operation=\"resume_session\"}", 1),
    ];
    let scrape = Scrape::until(&server, &expected).await;
    assert_eq!((scrape.total("lockstead_losses_total"), scrape.total("lockstead_sessions_ended_total")), (0, 0));

    session.say(Say::Release(v1::SessionRelease { request_id: 3, hold_id: kept.hold_id }));
    assert!(matches!(session.hear().await, Hear::Released(_)));
    let expected = [
        ("lockstead_hold_seconds_count{scope=\"cluster\"}", 2),
        ("lockstead_releases_total{scope=\"cluster\",by=\"session\"}", 1),
    ];
    Scrape::until(&server, &expected).await;
}
