//! Help, completions, and what is said to wrong usage.

use lockstead_tests::Server;
use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, getsockname, socket};

use super::{ask, assert_code, command, output, text};

#[tokio::test]
async fn wrong_usage_is_64_and_changes_nothing() {
    let server = Server::start();
    for arguments in [
        &["no-such-command"][..],
        &["--no-such-flag"],
        &["run"],
        &["run", "x"],
        &["run", "x", "true"],
        &["run", "--", "true"],
        &["run", "--permits", "1", "x", "--", "true"],
        &["run", "--shared", "--limit", "2", "x", "--", "true"],
        &["run", "--limit", "0", "x", "--", "true"],
        &["run", "--limit", "two", "x", "--", "true"],
        &["run", "--limit", "2", "--permits", "3", "x", "--", "true"],
        &["run", "--wait", "5", "x", "--", "true"],
        &["run", "--wait", "366d", "x", "--", "true"],
        &["run", "--session-timeout", "999ms", "x", "--", "true"],
        &["run", "a//b", "--", "true"],
        &["run", "--owner", "a\nb", "x", "--", "true"],
        &["acquire"],
        &["acquire", "a//b"],
        &["acquire", "x", "--ttl", "99ms"],
        &["acquire", "x", "--ttl", "25h"],
        &["acquire", "x", "--wait", "soon"],
        &["release", "x"],
        &["release", "x", "abc"],
        &["get"],
        &["get", "a//b"],
        &["ls", "--server", "localhost:7420"],
        &["ls", "--tls-ca", "/nowhere/ca.pem"],
        &["ls", "--server", ""],
        &["ready", "--server", ""],
        &["ready", "--server", "localhost:7420"],
        &["ready", "--server", "https://localhost:7420"],
        &["ready", "now"],
        &["bench", "--time", "soon"],
        &["bench", "--in-flight", "0"],
        &["bench", "--waiters", "1"],
        &["completions", "no-such-shell"],
    ] {
        let told = ask(&server.url, arguments).await;
        assert_eq!(told.status.code(), Some(64), "{arguments:?}: {told:?}");
        assert!(told.stdout.is_empty() && !told.stderr.is_empty(), "{arguments:?}: {told:?}");
    }
    assert_eq!(text(&ask(&server.url, &["ls", "--json"]).await.stdout), "");
}

#[tokio::test]
async fn no_server_is_69() {
    // A port that is taken, and on which nobody listens.
    let nobody = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&nobody, &SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = SocketAddrV4::try_from(getsockname(&nobody).unwrap()).unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let told = futures::future::join_all([
        ask(&url, &["run", "x", "--", "true"]),
        ask(&url, &["acquire", "x"]),
        ask(&url, &["release", "x", "0123456789abcdef0123456789abcdef"]),
        ask(&url, &["ls"]),
        ask(&url, &["get", "x"]),
        ask(&url, &["ready"]),
    ]);
    for told in told.await {
        assert_code(&told, 69);
        assert!(text(&told.stderr).contains(&url), "{told:?}");
    }
}

#[tokio::test]
async fn every_command_explains_its_flags() {
    let nowhere = "http://127.0.0.1:1";
    for (command, flags) in [
        (
            &[][..],
            &["serve", "run", "acquire", "release", "ls", "get", "ready", "bench", "completions", "--listen"][..],
        ),
        (&["serve"], &["--config", "--listen", "--drain-timeout", "--log-format", "LOCKSTEAD_LISTEN"]),
        (&["run"], &["--shared", "--permits", "--limit", "--wait", "--session-timeout", "--owner", "--server", "126"]),
        (&["acquire"], &["--shared", "--permits", "--limit", "--wait", "--ttl", "--json", "--owner", "--server"]),
        (&["release"], &["--semaphore", "LOCKSTEAD_HOLD_ID", "--server"]),
        (&["ls"], &["--json", "--server", "LOCKSTEAD_SERVER"]),
        (&["get"], &["--semaphore", "--json", "--server"]),
        (&["ready"], &["--server", "--connect-timeout", "LOCKSTEAD_SERVER", "69"]),
        (&["bench"], &["--time", "--in-flight", "--waiters", "--json", "--server"]),
        (&["completions"], &["bash", "zsh", "fish"]),
    ] {
        let help = ask(nowhere, &[command, &["--help"]].concat()).await;
        assert_code(&help, 0);
        let help = text(&help.stdout);
        for flag in flags {
            assert!(help.contains(flag), "{command:?} does not mention {flag}: {help}");
        }
        assert!(!help.contains("watchdog") && !help.contains("bench-"), "{help}");
    }
    let version = ask(nowhere, &["--version"]).await;
    assert_eq!(text(&version.stdout), format!("lockstead {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn bash_understands_its_completions() {
    let completions = ask("", &["completions", "bash"]).await;
    assert_code(&completions, 0);
    let script = text(&completions.stdout);
    assert!(script.contains("--session-timeout"), "{script}");
    let mut bash = tokio::process::Command::new("bash");
    let checked = output(bash.args(["-n", "-c", &script])).await;
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(!output(&mut command("", &["completions", shell])).await.stdout.is_empty(), "{shell}");
    }
}
