//! HTTP at its edges: bodies, paths and headers that are too large or no such thing. Sent by curl, which does not tidy up.

use std::process::Stdio;

use lockstead_tests::{PATIENCE, Process};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::assert_unharmed;
use crate::logged::Logged;

/// curl, which prints the body of the answer, and the status on a line of its own.
fn curl(server: &Logged, path: &str, arguments: &[&str]) -> Command {
    let mut curl = Command::new("curl");
    let patience = PATIENCE.as_secs().to_string();
    curl.args(["-s", "--path-as-is", "--max-time", &patience, "-w", "\n%{http_code}\n"]).args(arguments);
    curl.arg(format!("{}{path}", server.url)).stdin(Stdio::null());
    curl
}

/// The status and the reason of the answer.
async fn ask(what: &str, curl: Command) -> (String, String) {
    let mut curl = Process::start(curl);
    let mut lines = Vec::new();
    while let Some(line) = curl.next_line().await {
        lines.push(line);
    }
    let ended = curl.wait().await;
    assert!(ended.success(), "{what}: curl {ended}, {lines:?}");
    let status = lines.pop().unwrap();
    let problem: Value = serde_json::from_str(&lines.join("\n")).unwrap_or_default();
    (status, problem["reason"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_body_of_100_mb_is_refused_with_a_clean_answer() {
    let mut server = Logged::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(100_000_000).unwrap();
    let (plain, put) = (format!("@{}", file.path().display()), file.path().display().to_string());
    for arguments in [
        vec!["--data-binary", &plain],
        vec!["--data-binary", &plain, "-H", "expect:"],
        vec!["-X", "POST", "-T", &put, "-H", "transfer-encoding: chunked", "-H", "expect:"],
        vec!["--http2-prior-knowledge", "--data-binary", &plain],
    ] {
        for path in ["/v1/locks/x/acquire", "/v1/locks/x/hold", "/v1/locks/x/release"] {
            let what = format!("{path} {arguments:?}");
            let answer = ask(&what, curl(&server, path, &arguments)).await;
            assert_eq!(answer, ("413".to_owned(), "INVALID_BODY".to_owned()), "{what}");
        }
    }
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_path_that_is_no_name_is_refused() {
    let mut server = Logged::start();
    let (long, long_in_bytes) = ("x".repeat(256), "%C3%A9".repeat(128));
    for name in [
        long.as_str(),
        &long_in_bytes,
        "%FF%FE",
        "%C3",
        "%00",
        "a%0Ab",
        "a%2F",
        "%2Fa",
        "a%2F%2Fb",
        "%2E%2E",
        "a%2F..%2Fb",
        ".",
        "..",
        "%zz",
        "%",
        "a%2",
        "a%2x",
        "%%41",
    ] {
        for (path, arguments) in [
            (format!("/v1/locks/{name}"), &[][..]),
            (format!("/v1/locks/{name}/acquire"), &["-d", "{}"]),
            (format!("/v1/semaphores/{name}/acquire"), &["-d", r#"{"limit": 1}"#]),
            (format!("/v1/locks/{name}/hold"), &["-d", ""]),
        ] {
            let answer = ask(&path, curl(&server, &path, arguments)).await;
            assert_eq!(answer, ("400".to_owned(), "INVALID_NAME".to_owned()), "{path}");
        }
    }
    for path in ["/v1/locks/a/b", "/v1/locks/a/b/acquire", "/v1/nothing", "/v1/locks/"] {
        let answer = ask(path, curl(&server, path, &[])).await;
        assert_eq!(answer, ("404".to_owned(), "ROUTE_NOT_FOUND".to_owned()), "{path}");
    }
    for (path, method) in [("/v1/locks/x", "DELETE"), ("/v1/locks/x/acquire", "GET"), ("/healthz", "POST")] {
        let answer = ask(path, curl(&server, path, &["-X", method])).await;
        assert_eq!(answer, ("405".to_owned(), "METHOD_NOT_ALLOWED".to_owned()), "{method} {path}");
    }
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn a_header_of_100_kb_is_refused() {
    let mut server = Logged::start();
    let header = format!("x-large: {}", "x".repeat(100_000));
    let answer = ask("HTTP/1.1", curl(&server, "/healthz", &["--http1.1", "-H", &header])).await;
    assert_eq!(answer.0, "431");
    // HTTP/2 may end the connection instead.
    let mut curl = Process::start(curl(&server, "/healthz", &["--http2-prior-knowledge", "-H", &header]));
    curl.next_line().await;
    assert_ne!(curl.next_line().await.unwrap(), "200");
    assert_unharmed(&mut server).await;
}

#[tokio::test]
async fn what_is_not_http_is_answered_or_dropped() {
    let mut server = Logged::start();
    for bytes in [
        &b"hello\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/locks/x/acquire HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/locks/x/acquire HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nnot hex\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
        // A reset is an end, too.
        _ = tokio::time::timeout(PATIENCE, read).await.expect("the connection ends");
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains(" 200 ") && !answer.contains(" 500 "), "{answer}");
    }
    assert_unharmed(&mut server).await;
}
