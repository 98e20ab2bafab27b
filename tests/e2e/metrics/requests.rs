//! Requests by their answers, and the process.

use lockstead_api::v1;
use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_tests::{Port, RawSession, Server};
use tonic::Code;

use super::scrape::Scrape;

#[tokio::test]
async fn requests_are_counted_by_transport_and_code() {
    let server = Server::start();
    let http = reqwest::Client::new();
    let post = async |path: &str, body: &'static str| {
        let answer = http.post(format!("{}{path}", server.url)).body(body).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(post("/v1/locks/a/acquire", "").await, 200);
    assert_eq!(post("/v1/locks/a/acquire", "").await, 423);
    assert_eq!(post("/v1/locks/a/acquire", "{").await, 400);
    assert_eq!(post("/v1/locks", "").await, 405);
    for _ in 0..2 {
        assert_eq!(post("/nowhere", "").await, 404);
    }
    let mut grpc = LockServiceClient::connect(server.url.clone()).await.unwrap();
    let claim = |name: &str| Some(v1::Claim { name: name.to_owned(), ..v1::Claim::default() });
    let acquire = |name: &str| v1::AcquireRequest { claim: claim(name), ..v1::AcquireRequest::default() };
    grpc.acquire(acquire("a")).await.unwrap();
    grpc.acquire(acquire("b")).await.unwrap();
    assert_eq!(grpc.acquire(acquire("")).await.unwrap_err().code(), Code::InvalidArgument);
    let (_session, _) = RawSession::open(&server.url, v1::OpenSession::default()).await;

    let scrape = Scrape::of(&server).await;
    for (series, count) in [
        ("lockstead_requests_total{transport=\"http\",code=\"200\"}", 1),
        ("lockstead_requests_total{transport=\"http\",code=\"423\"}", 1),
        ("lockstead_requests_total{transport=\"http\",code=\"400\"}", 1),
        ("lockstead_requests_total{transport=\"http\",code=\"405\"}", 1),
        ("lockstead_requests_total{transport=\"http\",code=\"404\"}", 2),
        ("lockstead_requests_total{transport=\"grpc\",code=\"OK\"}", 3),
        ("lockstead_requests_total{transport=\"grpc\",code=\"INVALID_ARGUMENT\"}", 1),
    ] {
        assert_eq!(scrape.count(series), count, "{series} in {}", scrape.text);
    }
    assert_eq!(scrape.total("lockstead_requests_total"), 10, "{}", scrape.text);
}

#[tokio::test]
async fn what_access_control_turns_away_is_counted_by_why() {
    const ACCESS: &str = "
        [[token]]
        principal = 'ci'
        # Of `abc`.
        sha256 = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
        [[rule]]
        who = ['ci']
        may = ['acquire']
        prefix = 'ci/'
        [[quota]]
        who = ['ci']
        holds = 1";
    let access = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(access.path(), ACCESS).unwrap();
    let port = Port::free();
    let monitor = format!("127.0.0.1:{}", port.number);
    let server = Server::start_with(&["--access", access.path().to_str().unwrap(), "--monitor-listen", &monitor]);
    let http = reqwest::Client::new();
    let acquire = async |name: &str, token: &str| {
        let request = http.post(format!("{}/v1/locks/{name}/acquire", server.url));
        request.bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!(acquire("ci%2F1", "abc").await, 200);
    assert_eq!(acquire("ci%2F2", "abc").await, 429);
    assert_eq!(acquire("other", "abc").await, 403);
    for _ in 0..2 {
        assert_eq!(acquire("ci%2F1", "abd").await, 401);
    }
    let scrape = Scrape::at(&format!("http://{monitor}")).await;
    for (series, count) in [
        ("lockstead_refused_requests_total{reason=\"quota\"}", 1),
        ("lockstead_refused_requests_total{reason=\"forbidden\"}", 1),
        ("lockstead_refused_requests_total{reason=\"unauthenticated\"}", 2),
        ("lockstead_requests_total{transport=\"http\",code=\"200\"}", 1),
        ("lockstead_requests_total{transport=\"http\",code=\"429\"}", 1),
        ("lockstead_requests_total{transport=\"http\",code=\"403\"}", 1),
        ("lockstead_requests_total{transport=\"http\",code=\"401\"}", 2),
        ("lockstead_acquires_total{scope=\"cluster\",outcome=\"acquired\"}", 1),
    ] {
        assert_eq!(scrape.count(series), count, "{series} in {}", scrape.text);
    }
    assert_eq!(scrape.total("lockstead_requests_total"), 5, "{}", scrape.text);
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open() {
    let server = Server::start();
    let (session, _) = RawSession::open(&server.url, v1::OpenSession::default()).await;
    // The other one is that by which this is asked.
    let scrape = Scrape::until(&server, &[("lockstead_connections", 2)]).await;
    let opened = scrape.count("lockstead_connections_opened_total");
    drop(session);
    let scrape = Scrape::until(&server, &[("lockstead_connections", 1)]).await;
    assert!(scrape.count("lockstead_connections_opened_total") > opened);
}

#[tokio::test]
async fn the_server_and_its_process_are_described() {
    let server = Server::start();
    let scrape = Scrape::of(&server).await;
    let version = format!("lockstead_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(scrape.count(&version), 1);
    assert_eq!((scrape.count("lockstead_ready"), scrape.count("lockstead_draining")), (1, 0));
    let resident = scrape.count("process_resident_memory_bytes");
    assert!(resident > 1 << 20 && resident < scrape.count("process_virtual_memory_bytes"), "{}", scrape.text);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap().trim();
    assert_eq!(scrape.count("process_threads").to_string(), threads);
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count() as u64;
    // The connection of the scrape may still be open, or not.
    assert!(scrape.count("process_open_fds").abs_diff(open) <= 1, "{open} in {}", scrape.text);
    assert!(scrape.count("process_max_fds") > open);
    let started = scrape.number("process_start_time_seconds");
    let now = std::time::Duration::from_micros(lockstead_clock::wall_time().as_micros()).as_secs_f64();
    assert!((now - 600.0..now + 1.0).contains(&started), "started at {started}, now it is {now}");
    assert!(scrape.number("process_cpu_seconds_total") >= 0.0);
}
