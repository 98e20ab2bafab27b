//! Real servers over a real Redis.

use std::process::Output;
use std::time::Duration;

use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_api::v1::session_response::Message as Hear;
use lockstead_api::v1::{self, ErrorReason, LossReason, OnDisconnect};
use lockstead_tests::{PATIENCE, RedisServer, Server, serve};
use rustix::process::Signal;
use tokio::process::Command;

use crate::readiness::readyz;
use crate::talk::{Holder, LONG, options, parties, until_free};

const LEASE: Duration = Duration::from_secs(3);

/// A server that is ready.
async fn server(redis: &RedisServer, more: &[&str]) -> Server {
    let url = redis.url();
    let server = Server::start_with(&[&["--redis", &url, "--server-lease", "3s"], more].concat());
    until_ready(&server, true).await;
    server
}

async fn until_ready(server: &Server, ready: bool) {
    let changed = async {
        while (readyz(&server.url).await.0 == 200) != ready {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("it is ready, or not, in time");
}

/// Returns when a server that was told to end has ended, with success.
async fn ended(mut server: Server) {
    let ended = tokio::task::spawn_blocking(move || server.wait());
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it ends in time").unwrap();
    assert_eq!(ended.code(), Some(0));
}

/// Whether nobody holds the lock, found out by acquiring it.
async fn is_free(server: &Server, name: &str) -> bool {
    let mut client = LockServiceClient::connect(server.url.clone()).await.unwrap();
    let claim = Some(v1::Claim { name: name.to_owned(), ..v1::Claim::default() });
    let answer = client.acquire(v1::AcquireRequest { claim, ..v1::AcquireRequest::default() }).await.unwrap();
    matches!(answer.into_inner().outcome, Some(v1::acquire_response::Outcome::Acquired(_)))
}

#[tokio::test]
async fn a_session_outlives_its_killed_server_and_what_nobody_resumes_ends() {
    let redis = RedisServer::start().await;
    let (first, second) = (server(&redis, &[]).await, server(&redis, &[]).await);
    let mut resumed = Holder::keep(&first.url, "resumed").await;
    let _abandoned = Holder::keep(&first.url, "abandoned").await;
    let valid_for: Duration = resumed.opened.valid_for.unwrap().try_into().unwrap();
    assert!(valid_for <= LEASE && valid_for > LEASE / 4, "{valid_for:?}");

    drop(first);
    assert!(resumed.resume_on(&second.url, 1).await.is_empty());
    until_free(&second.url, "abandoned").await;
    let (holders, _) = parties(&second.url, "resumed").await;
    assert_eq!(holders[0].fencing_token, resumed.held.fencing_token);
    resumed.ping().await;
    resumed.release().await;
}

#[tokio::test]
async fn a_server_that_drains_lets_sessions_move_and_gives_the_rest_back_at_once() {
    let redis = RedisServer::start().await;
    let (first, second) = (server(&redis, &["--drain-timeout", "60s"]).await, server(&redis, &[]).await);
    let mut keeps = Holder::keep(&first.url, "keeps").await;
    let mut releases = Holder::open(&first.url, "releases", options(OnDisconnect::Release, LONG)).await;
    let mut client = LockServiceClient::connect(first.url.clone()).await.unwrap();
    let claim = Some(v1::Claim { name: "streamed".to_owned(), ..v1::Claim::default() });
    let hold = client.hold(v1::HoldRequest { claim, ..v1::HoldRequest::default() }).await.unwrap();
    let mut hold = hold.into_inner();
    hold.message().await.unwrap().unwrap();

    first.signal(Signal::TERM);
    for holder in [&mut keeps, &mut releases] {
        holder.hear_draining().await;
        assert!(holder.resume_on(&second.url, 1).await.is_empty());
    }
    ended(first).await;
    assert!(is_free(&second, "streamed").await, "before the server's lease is over");
    for holder in [&mut keeps, &mut releases] {
        holder.release().await;
    }
}

#[tokio::test]
async fn what_has_not_moved_by_the_end_of_the_drain_is_left_or_given_back() {
    let redis = RedisServer::start().await;
    let (first, second) = (server(&redis, &["--drain-timeout", "500ms"]).await, server(&redis, &[]).await);
    let mut keeps = Holder::keep(&first.url, "keeps").await;
    let mut releases = Holder::open(&first.url, "releases", options(OnDisconnect::Release, LONG)).await;
    first.signal(Signal::TERM);
    keeps.hear_draining().await;
    releases.hear_draining().await;
    assert_eq!(ErrorReason::of(&keeps.stream.hear_or_end().await.unwrap_err()), ErrorReason::Draining);
    ended(first).await;
    assert!(is_free(&second, "releases").await, "before the server's lease is over");
    assert!(keeps.resume_on(&second.url, 1).await.is_empty());
}

#[tokio::test]
async fn when_redis_is_away_for_too_long_holders_are_told_and_readiness_tells_why() {
    let mut redis = RedisServer::start().await;
    let server = server(&redis, &[]).await;
    let mut holder = Holder::keep(&server.url, "x").await;
    redis.kill();
    let Hear::Lost(lost) = holder.stream.hear().await else { panic!("not told") };
    assert_eq!((lost.reason(), &lost.hold_id), (LossReason::BackendLost, &holder.held.hold_id));
    until_ready(&server, false).await;
    assert_eq!(readyz(&server.url).await.1, "BACKEND_UNAVAILABLE");
    holder.stream.acquire(2, "x", false);
    let Hear::Failed(failed) = holder.stream.hear().await else { panic!("not refused") };
    assert_eq!(failed.reason(), ErrorReason::BackendUnavailable);
    redis.restart().await;
    until_ready(&server, true).await;
    holder.stream.acquire(3, "x", false);
    assert!(holder.stream.hear_acquired(3).await.fencing_token > holder.held.fencing_token);
}

#[tokio::test]
async fn a_wrong_password_ends_the_server_with_64_and_is_not_shown() {
    let redis = RedisServer::start_with(&["--requirepass", "right"]).await;
    let mut command = Command::from(serve());
    command.args(["--listen", "127.0.0.1:0"]).kill_on_drop(true);
    command.env("LOCKSTEAD_REDIS", format!("redis://:hunter2@{}", redis.address()));
    let ended = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends");
    let Output { status, stderr, .. } = ended.unwrap();
    let told = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(64), "{told}");
    assert!(told.contains(&redis.address()) && !told.contains("hunter2"), "{told}");
}
