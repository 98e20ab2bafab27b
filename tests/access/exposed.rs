//! A server that asks nobody who it is listens on loopback only; and what else is refused at the start.

use std::process::{Command, Output};

use lockstead_tests::{Server, serve};

const USAGE: i32 = 64;

fn start(flags: &[&str]) -> Output {
    serve().args(flags).output().unwrap()
}

fn is_refused(flags: &[&str], told: &str) {
    let output = start(flags);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(USAGE), "{flags:?}: {said}");
    assert!(said.contains(told), "{flags:?}: {said}");
    assert!(output.stdout.is_empty(), "it never listened");
}

fn listen_everywhere(flags: &[&str]) -> Server {
    let mut command = serve();
    command.args(["--listen", "0.0.0.0:0"]).args(flags);
    Server::start_as(command)
}

#[test]
fn nobody_is_exposed_by_mistake() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        is_refused(&["--listen", listen], "--insecure");
    }
    let server = listen_everywhere(&["--insecure"]);
    assert!(server.url.starts_with("http://0.0.0.0:"));
}

#[test]
fn access_control_is_enough_to_be_exposed() {
    let folder = tempfile::tempdir().unwrap();
    let access = folder.path().join("access.toml");
    std::fs::write(&access, crate::setup::entry("token", "somebody", "")).unwrap();
    listen_everywhere(&["--access", access.to_str().unwrap()]);
}

#[test]
fn files_that_can_not_be_used_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (empty, wrong) = (path("empty", ""), path("wrong.toml", "[[token]]\nprincipal = 'ci'\nsha256 = 'hunter2'"));
    is_refused(&["--access", "/nowhere/access.toml"], "/nowhere/access.toml");
    is_refused(&["--access", &empty], "nobody could be let in");
    is_refused(&["--access", &wrong], "token of `ci`");
    is_refused(&["--tls-cert", &empty], "--tls-cert needs --tls-key");
    is_refused(&["--tls-client-ca", &empty], "--tls-client-ca needs");
    is_refused(&["--tls-cert", &empty, "--tls-key", &empty], "no certificate");
}

/// As people do it by hand.
#[test]
fn a_new_token_opens_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let made =
        Command::new(lockstead_tests::lockstead()).args(["token", "ci", "--group", "builders"]).output().unwrap();
    let rule = "[[rule]]\nwho = ['group:builders']\nmay = ['acquire', 'read']\n";
    std::fs::write(path("access.toml"), [&made.stderr, rule.as_bytes()].concat()).unwrap();
    std::fs::write(path("token"), &made.stdout).unwrap();
    let server = Server::start_with(&["--access", path("access.toml").to_str().unwrap()]);
    let run = |more: &[&str]| {
        let mut command = Command::new(lockstead_tests::lockstead());
        command.args(["run", "jobs/nightly", "--server", &server.url]).args(more).args(["--", "echo", "mine"]);
        command.output().unwrap()
    };
    let refused = run(&[]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("UNAUTHENTICATED"), "{refused:?}");
    let token_file = path("token");
    let let_in = run(&["--token-file", token_file.to_str().unwrap()]);
    assert_eq!(String::from_utf8_lossy(&let_in.stdout), "mine\n", "{let_in:?}");
}
