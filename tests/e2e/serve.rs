//! `lockstead serve`: how it starts, and what it says.

mod drain;
mod secrets;

use std::io::Write;
use std::process::{Output, Stdio};

use lockstead_tests::{PATIENCE, Process, Server, serve};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::logged::Logged;

/// `lockstead serve` that is expected to end by itself.
async fn refused(flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::from(serve());
    command.args(flags).envs(variables.iter().copied()).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap()
}

fn config(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// An address at which a server would be heard of, and that nobody uses now. The listener keeps it from others.
async fn address() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn it_says_where_it_listens_and_nothing_else_and_serves_at_once() {
    let mut command = Command::from(serve());
    command.args(["--listen", "127.0.0.1:0"]).stderr(Stdio::null());
    let mut server = Process::start(command);
    let line = server.next_line().await.unwrap();
    let url = line.strip_prefix("lockstead is listening on ").unwrap();
    let port: u16 = url.strip_prefix("http://127.0.0.1:").unwrap().parse().unwrap();
    assert_ne!(port, 0);
    let curl = Command::new("curl").args(["-sf", &format!("{url}/readyz")]).output().await.unwrap();
    let answer: Value = serde_json::from_slice(&curl.stdout).unwrap();
    assert_eq!(answer["status"], "ready");
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.next_line().await, None, "nothing else is printed");
    assert_eq!(server.wait().await.code(), Some(0));
}

#[tokio::test]
async fn it_is_the_default_command() {
    let mut command = std::process::Command::new(lockstead_tests::lockstead());
    command.args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "warn").stdin(Stdio::null());
    let server = Server::start_as(command);
    assert!(reqwest::get(format!("{}/healthz", server.url)).await.unwrap().status().is_success());
}

#[tokio::test]
async fn a_bad_setting_stops_the_start_and_is_named() {
    // If a port were opened in spite of the bad setting, it would be this one, which is taken: then the code would be 69.
    let (_taken, address) = address().await;
    let listen = ("LOCKSTEAD_LISTEN", address.as_str());
    for (flags, variables, named) in [
        (&["--drain-timeout", "5"][..], &[listen][..], "--drain-timeout"),
        (&["--drain-timeout", "-5s"], &[listen], "-5"),
        (&["--log-format", "xml"], &[listen], "--log-format"),
        (&["--no-such-flag"], &[listen], "--no-such-flag"),
        (&["surplus"], &[listen], "surplus"),
        (&["--listen", "7420"], &[], "7420"),
        (&["--listen", "localhost"], &[], "localhost"),
        (&["--listen", "127.0.0.1:70000"], &[], "127.0.0.1:70000"),
        (&[], &[("LOCKSTEAD_LISTEN", ":7420")], ":7420"),
        (&[], &[listen, ("LOCKSTEAD_DRAIN_TIMEOUT", "soon")], "--drain-timeout"),
        (&[], &[listen, ("LOCKSTEAD_LOG_FORMAT", "xml")], "--log-format"),
        (&[], &[listen, ("LOCKSTEAD_CONFIG", "/nowhere/at/all.toml")], "/nowhere/at/all.toml"),
        (&["--config", "/"], &[listen], "configuration file /"),
        (&["--redis", "localhost"], &[listen], "--redis"),
        (&[], &[listen, ("LOCKSTEAD_REDIS", "http://h")], "--redis"),
        (&["--redis", "redis://h", "--redis-ca", "/x"], &[listen], "rediss://"),
        (&["--redis", "rediss://h", "--redis-ca", "/nowhere.pem"], &[listen], "/nowhere.pem"),
        (&["--redis-ca", "/x"], &[listen], "--redis-ca"),
        (&["--redis-min-acks", "1"], &[listen], "--redis-min-acks"),
        (&["--server-lease", "10s"], &[listen], "--server-lease says how to use Redis"),
        (&[], &[listen, ("LOCKSTEAD_SERVER_LEASE", "10s")], "no --redis"),
        (&["--redis", "redis://h", "--redis-min-acks", "-1"], &[listen], "-1"),
        (&["--redis", "redis://h", "--server-lease", "10"], &[listen], "--server-lease"),
        (&["--redis", "redis://h"], &[listen, ("LOCKSTEAD_SERVER_LEASE", "6m")], "1s to 5m"),
    ] {
        let told = refused(flags, variables).await;
        let message = String::from_utf8(told.stderr).unwrap();
        assert_eq!(told.status.code(), Some(64), "{flags:?} {variables:?}: {message}");
        assert!(message.contains(named) && told.stdout.is_empty(), "{flags:?} {variables:?}: {message}");
    }
    for (text, named) in [
        ("lisen = '127.0.0.1:0'", "lisen"),
        ("drain_timeout = 'soon'", "drain_timeout"),
        ("drain_timeout = 5", "drain_timeout"),
        ("log_format = 'xml'", "xml"),
        ("listen = 7420", "listen"),
        ("listen", "line 1"),
        ("listen = 'nowhere'", "nowhere"),
        ("server_lease = '10s'", "no --redis"),
    ] {
        let file = config(text);
        let path = file.path().to_str().unwrap();
        let told = refused(&["--config", path], &[]).await;
        let message = String::from_utf8(told.stderr).unwrap();
        assert_eq!(told.status.code(), Some(64), "{text}: {message}");
        assert!(message.contains(named) && told.stdout.is_empty(), "{text}: {message}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_69() {
    let (_taken, address) = address().await;
    let told = refused(&["--listen", &address], &[]).await;
    assert_eq!(told.status.code(), Some(69), "{told:?}");
    assert!(String::from_utf8(told.stderr).unwrap().contains(&address));
    let told = refused(&["--listen", "no-such-host.invalid:0"], &[]).await;
    assert_eq!(told.status.code(), Some(69), "{told:?}");
}

#[tokio::test]
async fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
    // Who wins tells by its address not being usable: that of a port that is taken.
    let (_file_port, of_file) = address().await;
    let (_variable_port, of_variable) = address().await;
    let (_flag_port, of_flag) = address().await;
    let file = config(&format!("listen = '{of_file}'"));
    let config = ["--config", file.path().to_str().unwrap()];
    let variable = [("LOCKSTEAD_LISTEN", of_variable.as_str())];
    for (flags, variables, used) in [
        (&[][..], &[][..], &of_file),
        (&[], &variable, &of_variable),
        (&["--listen", &of_flag], &variable, &of_flag),
        (&["--listen", &of_flag], &[], &of_flag),
    ] {
        let told = refused(&[&config, flags].concat(), variables).await;
        let message = String::from_utf8(told.stderr).unwrap();
        assert!(message.contains(used.as_str()), "{used}: {message}");
    }
}

#[tokio::test]
async fn its_log_is_json_if_asked_for() {
    let file = config("log_format = 'json'");
    let mut server = Logged::start_with(|command| {
        command.env("RUST_LOG", "info").arg("--config").arg(file.path());
    });
    server.signal(rustix::process::Signal::TERM);
    server.wait();
    let log = server.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()), "{log}");
    let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!((messages.first(), messages.last()), (Some(&"ready"), Some(&"stopped")), "{log}");
    assert_eq!(lines[0]["address"], server.address(), "{log}");
}

#[tokio::test]
async fn its_log_is_text_otherwise() {
    let mut server = Logged::start_with(|command| {
        command.env("RUST_LOG", "info").env("LOCKSTEAD_LOG_FORMAT", "text");
    });
    server.signal(rustix::process::Signal::INT);
    assert_eq!(server.wait().code(), Some(0));
    let log = server.log();
    assert!(log.contains(" INFO ready address=127.0.0.1:") && !log.contains('\u{1b}'), "{log}");
}
