//! What is secret stays out of the log, however much is logged.

use std::time::Duration;

use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_api::v1::session_request::Message as ToServer;
use lockstead_api::v1::session_response::Message as FromServer;
use lockstead_api::v1::{self, OnDisconnect};
use lockstead_client::Client;
use lockstead_tests::Process;
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Command;
use tokio_stream::wrappers::ReceiverStream;

use crate::logged::Logged;

const EVERYTHING: &str =
    "lockstead=trace,lockstead_core=trace,lockstead_engine=trace,lockstead_api=trace,lockstead_clock=trace";

// A thread of their own lets connections end while this one waits for the server.
#[tokio::test(flavor = "multi_thread")]
async fn no_hold_id_and_no_resume_secret_is_ever_logged() {
    let mut server = Logged::start_with(|command| {
        command.env("RUST_LOG", EVERYTHING);
    });
    let mut secrets = leases(&server).await;
    secrets.push(hold_stream(&server).await);
    secrets.extend(session(&server).await);
    server.signal(Signal::TERM);
    server.wait();
    let log = server.log();
    assert!(!log.is_empty());
    assert!(secrets.iter().all(|secret| secret.len() == 32), "{secrets:?}");
    for secret in &secrets {
        assert!(!log.to_lowercase().contains(secret), "{secret} is in the log: {log}");
        let number = u128::from_str_radix(secret, 16).unwrap();
        assert!(!log.contains(&number.to_string()), "{number} is in the log: {log}");
    }
}

/// Leases that are renewed, released, left to expire, and asked for wrongly.
async fn leases(server: &Logged) -> Vec<String> {
    let client = Client::connect(&server.url).await.unwrap();
    let mut lease = client.lock("a").lease(Duration::from_secs(5)).acquire().await.unwrap();
    let short = client.lock("b").lease(Duration::from_millis(100)).acquire().await.unwrap();
    let waited = client.lock("b").lease(Duration::from_secs(5)).acquire().await.unwrap();
    let secrets = [&lease, &short, &waited].map(|lease| lease.hold_id().reveal());
    lease.renew(None).await.unwrap();
    let id = lease.hold_id();
    client.lock("other").release(id).await.unwrap_err();
    lease.release().await.unwrap();
    client.lock("a").release(id).await.unwrap_err();
    short.release().await.unwrap_err();
    let url = format!("{}/v1/locks/a/release", server.url);
    let wrong = format!(r#"{{"hold_id": "{}", "surplus": 1}}"#, secrets[0]);
    assert_eq!(reqwest::Client::new().post(url).body(wrong).send().await.unwrap().status(), 400);
    secrets.to_vec()
}

async fn hold_stream(server: &Logged) -> String {
    let mut curl = Command::new("curl");
    let url = format!("{}/v1/locks/c/hold", server.url);
    curl.args(["-sN", "-X", "POST", "-H", "accept: application/x-ndjson", &url]);
    let mut holder = Process::start(curl);
    let acquired: Value = serde_json::from_str(&holder.line_with("acquired").await).unwrap();
    acquired["hold_id"].as_str().unwrap().to_owned()
}

/// A session that holds, breaks, is resumed with a wrong secret and then the right one, and ends with the server.
async fn session(server: &Logged) -> Vec<String> {
    let mut client = LockServiceClient::connect(server.url.clone()).await.unwrap();
    let claim = v1::Claim { name: "d".to_owned(), ..v1::Claim::default() };
    let open = v1::OpenSession { on_disconnect: OnDisconnect::Keep.into(), ..v1::OpenSession::default() };
    let acquire = v1::SessionAcquire { request_id: 1, claim: Some(claim), ..v1::SessionAcquire::default() };
    let heard = say(&mut client, vec![ToServer::Open(open), ToServer::Acquire(acquire)], 2).await;
    let [FromServer::Opened(opened), FromServer::Acquired(acquired)] = &heard[..] else { panic!("{heard:?}") };
    let wrong = "0123456789abcdef0123456789abcdef".to_owned();
    for (attempt, resume_secret) in (1..).zip([wrong, opened.resume_secret.clone()]) {
        let session_id = opened.session_id.clone();
        let resume = v1::ResumeSession { session_id, resume_secret, attempt, ..v1::ResumeSession::default() };
        say(&mut client, vec![ToServer::Resume(resume)], 1).await;
    }
    vec![opened.resume_secret.clone(), acquired.hold_id.clone()]
}

/// Says all of it on a new stream, hears so many answers, or an error, and breaks the stream.
async fn say(
    client: &mut LockServiceClient<tonic::transport::Channel>,
    messages: Vec<ToServer>,
    answers: usize,
) -> Vec<FromServer> {
    let (sender, receiver) = tokio::sync::mpsc::channel(messages.len());
    let mut replies = client.session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    for message in messages {
        sender.send(v1::SessionRequest { message: Some(message) }).await.unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < answers
        && let Ok(Some(reply)) = replies.message().await
    {
        heard.extend(reply.message);
    }
    heard
}
