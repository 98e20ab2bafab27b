//! What the OpenAPI document promises is tried out by schemathesis: with good and bad requests to every route, and with chains of
//! them.

use std::path::Path;

use lockstead_tests::{Logged, Server};
use tokio::process::Command;

const SECONDS: &str = "15";
const SCHEMATHESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/schemathesis");
const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/hostile/schemathesis");
const TOKEN: &str = "fuzzer";

/// Runs all checks but those named against a server. Any finding fails.
async fn try_out(server: &Server, flags: &[&str]) {
    assert!(Path::new(SCHEMATHESIS).exists(), "schemathesis is missing; install it with: tests/setup");
    // It leaves notes where it runs.
    let folder = tempfile::tempdir().unwrap();
    for file in ["schemathesis.toml", "hooks.py"] {
        std::fs::copy(Path::new(SETTINGS).join(file), folder.path().join(file)).unwrap();
    }
    let mut command = Command::new(SCHEMATHESIS);
    command.args(["--config-file", "schemathesis.toml", "run", &format!("{}/openapi.json", server.url)]);
    command.args(["--checks", "all", "--max-time", SECONDS]).args(flags);
    let run = command.current_dir(folder.path()).env("NO_COLOR", "1").kill_on_drop(true).output().await.unwrap();
    let (found, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    println!("{found}");
    assert!(run.status.success(), "{found}\n{errors}");
}

#[tokio::test]
async fn the_document_is_true_for_a_server_without_access_control() {
    let mut server = Logged::start();
    // It asks nobody who it is.
    try_out(&server, &["--exclude-checks", "ignored_auth"]).await;
    server.assert_well();
}

#[tokio::test]
async fn the_document_is_true_for_a_server_with_access_control() {
    let access = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(access.path(), access_file()).unwrap();
    let mut server = Logged::start_with(|command| _ = command.arg("--access").arg(access.path()));
    let header = format!("Authorization: Bearer {TOKEN}");
    try_out(&server, &["--header", &header]).await;
    server.assert_well();
}

/// The caller may do all to names that begin like the document's examples, and nothing to others.
fn access_file() -> String {
    let digest = "425b824e2cf09c3870112ecea73fbb50f568d8f7d9ef8d45ef54caf6d3c71c24";
    format!(
        "[[token]]\nprincipal = 'fuzzer'\nsha256 = '{digest}'\n\
         [[rule]]\nwho = ['fuzzer']\nmay = ['acquire', 'read', 'administer']\nprefix = 'jobs/'\n"
    )
}
