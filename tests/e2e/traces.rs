//! Traces: each request is a part of its caller's trace, as a real collector receives it.

mod collector;

use std::process::Stdio;

use lockstead_api::v1;
use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_api::v1::session_request::Message as Say;
use lockstead_tests::{PATIENCE, Port, RawSession, Server};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tonic::Request;
use tonic::metadata::MetadataMap;

use collector::Collector;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A caller's word on its trace.
fn traceparent(recorded: bool) -> String {
    format!("00-{TRACE}-{PARENT}-0{}", u8::from(recorded))
}

/// A server that sends its spans soon.
fn serve(flags: &[&str]) -> Server {
    let mut command = lockstead_tests::serve();
    command.args(["--listen", "127.0.0.1:0"]).args(flags).env("OTEL_BSP_SCHEDULE_DELAY", "20");
    Server::start_as(command)
}

fn tracing_to(collector: &Collector) -> Server {
    serve(&["--otlp-endpoint", &collector.url])
}

async fn curl(server: &Server, path: &str, body: &str, recorded: bool) -> Value {
    let mut curl = Command::new("curl");
    let (header, url) = (format!("traceparent: {}", traceparent(recorded)), format!("{}{path}", server.url));
    curl.args(["-sS", "-X", "POST", "-H", &header, "-d", body, &url]);
    serde_json::from_slice(&curl.output().await.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn a_request_by_curl_is_a_part_of_its_callers_trace() {
    let mut collector = Collector::start().await;
    let server = tracing_to(&collector);
    let held = curl(&server, "/v1/locks/jobs%2Fnightly/acquire", "{}", true).await;
    let span = collector.span("POST /v1/locks/{name}/acquire").await;
    assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, PARENT));
    span.says("http.request.method", "POST");
    span.says("http.route", "/v1/locks/{name}/acquire");
    span.says("http.response.status_code", "200");
    span.says("lockstead.name", "jobs/nightly");
    span.says("lockstead.kind", "lock");
    span.says("lockstead.scope", "cluster");
    span.says("lockstead.outcome", "acquired");
    span.says("lockstead.fencing_token", &held["fencing_token"].to_string());
    assert_eq!(collector.resource["service.name"], "lockstead");
    assert_eq!(collector.resource["service.version"], env!("CARGO_PKG_VERSION"));

    curl(&server, "/v1/locks/jobs%2Fnightly/acquire", "{}", true).await;
    let refused = collector.span("POST /v1/locks/{name}/acquire").await;
    refused.says("http.response.status_code", "423");
    refused.says("lockstead.outcome", "held");
    assert!(!refused.failed, "contention is no error");
    let body = json!({ "hold_id": held["hold_id"] }).to_string();
    curl(&server, "/v1/locks/jobs%2Fnightly/renew", &body, true).await;
    collector.span("POST /v1/locks/{name}/renew").await.says("lockstead.outcome", "renewed");
    curl(&server, "/v1/locks/jobs%2Fnightly/release", &body, true).await;
    collector.span("POST /v1/locks/{name}/release").await.says("lockstead.outcome", "released");
    curl(&server, "/nowhere", "", true).await;
    let lost = collector.span("POST").await;
    lost.says("http.response.status_code", "404");

    let secret = held["hold_id"].as_str().unwrap();
    let all = format!("{span:?}{refused:?}{lost:?}{:?}", collector.rest());
    assert!(!all.contains(secret), "a hold id is a secret: {all}");
}

#[tokio::test]
async fn a_unary_call_of_grpc_is_a_part_of_its_callers_trace() {
    let mut collector = Collector::start().await;
    let server = tracing_to(&collector);
    let mut client = LockServiceClient::connect(server.url.clone()).await.unwrap();
    let mut acquire = async |name: &str| {
        let claim = Some(v1::Claim { name: name.to_owned(), ..v1::Claim::default() });
        let mut request = Request::new(v1::AcquireRequest { claim, ..v1::AcquireRequest::default() });
        request.metadata_mut().insert("traceparent", traceparent(true).parse().unwrap());
        client.acquire(request).await
    };
    let answer = acquire("a").await.unwrap().into_inner();
    let span = collector.span("lockstead.v1.LockService/Acquire").await;
    assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, PARENT));
    span.says("rpc.system", "grpc");
    span.says("rpc.method", "lockstead.v1.LockService/Acquire");
    span.says("rpc.grpc.status_code", "0");
    span.says("lockstead.name", "a");
    span.says("lockstead.outcome", "acquired");
    let Some(v1::acquire_response::Outcome::Acquired(hold)) = answer.outcome else { panic!("not acquired") };
    span.says("lockstead.fencing_token", &hold.fencing_token.to_string());
    acquire("").await.unwrap_err();
    collector.span("lockstead.v1.LockService/Acquire").await.says("rpc.grpc.status_code", "3");
}

#[tokio::test]
async fn each_operation_of_a_traced_session_is_a_part_of_its_trace() {
    let mut collector = Collector::start().await;
    let server = tracing_to(&collector);
    let metadata = MetadataMap::from_headers(http::HeaderMap::from_iter([(
        http::HeaderName::from_static("traceparent"),
        traceparent(true).parse().unwrap(),
    )]));
    let open = Say::Open(v1::OpenSession::default());
    let mut session = RawSession::begin_with(&server.url, open, metadata).await;
    session.hear().await;
    session.acquire(1, "s/1", false);
    let acquired = session.hear_acquired(1).await;
    session.acquire(2, "s/1", false);
    session.hear().await;
    let release = v1::SessionRelease { request_id: 3, hold_id: acquired.hold_id.clone() };
    session.say(Say::Release(release));
    session.hear().await;

    let (first, second) = (collector.span("acquire").await, collector.span("acquire").await);
    let (granted, refused) =
        if first.attributes["lockstead.outcome"] == "acquired" { (first, second) } else { (second, first) };
    assert_eq!((granted.trace.as_str(), granted.parent.as_str()), (TRACE, PARENT));
    granted.says("lockstead.name", "s/1");
    granted.says("lockstead.fencing_token", &acquired.fencing_token.to_string());
    refused.says("lockstead.outcome", "held");
    let released = collector.span("release").await;
    released.says("lockstead.outcome", "released");
    assert_eq!((released.trace.as_str(), released.parent.as_str()), (TRACE, PARENT));
    assert_ne!(released.span, granted.span);
    let stream = collector.span("lockstead.v1.LockService/Session").await;
    assert_eq!(stream.trace, TRACE);
    let all = format!("{granted:?}{refused:?}{released:?}{stream:?}");
    assert!(!all.contains(&acquired.hold_id), "a hold id is a secret: {all}");

    // A session whose client does not trace it makes no span for each operation, whatever the ratio.
    let (mut session, _) = RawSession::open(&server.url, v1::OpenSession::default()).await;
    session.acquire(1, "s/2", false);
    session.hear_acquired(1).await;
    curl(&server, "/v1/locks/last/acquire", "{}", true).await;
    collector.span("POST /v1/locks/{name}/acquire").await;
    let rest = collector.rest();
    assert!(rest.iter().all(|span| span.name != "acquire"), "{rest:#?}");
}

#[tokio::test]
async fn a_caller_decides_whether_it_is_traced_and_else_the_ratio() {
    let mut collector = Collector::start().await;
    let server = serve(&["--otlp-endpoint", &collector.url, "--trace-sample-ratio", "0"]);
    curl(&server, "/v1/locks/unrecorded/acquire", "{}", false).await;
    let http = reqwest::Client::new();
    http.post(format!("{}/v1/locks/untold/acquire", server.url)).send().await.unwrap();
    curl(&server, "/v1/locks/recorded/acquire", "{}", true).await;
    collector.span("POST /v1/locks/{name}/acquire").await.says("lockstead.name", "recorded");
    assert_eq!(collector.rest().len(), 0);

    let server = tracing_to(&collector);
    curl(&server, "/v1/locks/unrecorded/acquire", "{}", false).await;
    http.post(format!("{}/v1/locks/untold/acquire", server.url)).send().await.unwrap();
    let span = collector.span("POST /v1/locks/{name}/acquire").await;
    span.says("lockstead.name", "untold");
    assert_eq!(span.parent, "", "it begins a trace of its own");
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_server_ends() {
    let mut collector = Collector::start().await;
    let mut command = lockstead_tests::serve();
    command.args(["--listen", "127.0.0.1:0", "--otlp-endpoint", &collector.url]);
    // Long after the end of this test.
    command.env("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let mut server = Server::start_as(command);
    curl(&server, "/v1/locks/a/acquire", "{}", true).await;
    server.signal(Signal::TERM);
    let status = tokio::task::spawn_blocking(move || server.wait()).await.unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(collector.span("POST /v1/locks/{name}/acquire").await.trace, TRACE);
}

#[tokio::test]
async fn a_collector_that_is_away_is_told_once_holds_up_nobody_and_may_come_back() {
    let port = Port::free();
    let address = format!("127.0.0.1:{}", port.number);
    let mut command = Command::new(lockstead_tests::lockstead());
    command.args(["serve", "--listen", "127.0.0.1:0", "--otlp-endpoint", &format!("http://{address}")]);
    command.env("OTEL_BSP_SCHEDULE_DELAY", "20").env("XDG_RUNTIME_DIR", tempfile::tempdir().unwrap().path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut server = command.spawn().unwrap();
    let mut output = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let url = output.next_line().await.unwrap().unwrap().rsplit(' ').next().unwrap().to_owned();
    let http = reqwest::Client::new();
    let ask = async || http.get(format!("{url}/v1/locks/a")).send().await.unwrap().status();
    let mut next_about_traces = async || {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let line = log.next_line().await.unwrap().expect("a line about traces before the end");
                if line.contains("traces") {
                    return line;
                }
            }
        })
        .await
        .expect("a line about traces in time")
    };
    assert_eq!(ask().await, 200);
    let told = next_about_traces().await;
    assert!(told.contains("WARN") && told.contains("can't be sent"), "{told}");
    for _ in 0..20 {
        assert_eq!(ask().await, 200);
    }
    // The next line about it is that it works again: nothing was said in between.
    let mut collector = Collector::start_at(&address).await;
    let told = tokio::select! {
        told = next_about_traces() => told,
        () = async { loop { ask().await; tokio::task::yield_now().await; } } => unreachable!("it asks for ever"),
    };
    assert!(told.contains("INFO") && told.contains("again"), "{told}");
    collector.span("GET /v1/locks/{name}").await;

    drop(collector);
    ask().await;
    stop(&server);
    let status = tokio::time::timeout(PATIENCE, server.wait()).await.expect("it does not wait for ever").unwrap();
    assert!(status.success(), "{status}");
}

fn stop(server: &tokio::process::Child) {
    let id = server.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(id, Signal::TERM).unwrap();
}
