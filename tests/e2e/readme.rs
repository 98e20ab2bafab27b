//! What README shows works as it stands there.

use std::process::Output;

use lockstead_tests::{PATIENCE, Process, Server, lockstead, program};
use tokio::process::Command;

const README: &str = include_str!("../../README.md");
const QUICKSTART: &str = include_str!("../../sdk/rust/examples/quickstart.rs");

/// The code blocks that follow this line, in order.
fn blocks_after<'a>(marker: &'a str, language: &'a str) -> impl Iterator<Item = &'static str> + 'a {
    README.split(&format!("{marker}\n")).skip(1).map(|rest| block(rest, language)).collect::<Vec<_>>().into_iter()
}

/// The code block with which this text begins.
fn block(text: &'static str, language: &str) -> &'static str {
    let code = text.strip_prefix(&format!("```{language}\n")).unwrap_or_else(|| panic!("no {language} block: {text}"));
    code.split_once("```\n").expect("the block ends").0
}

/// A script as somebody types it, but for the port.
fn bash(server: &Server, script: &str) -> Command {
    let folder = lockstead().parent().unwrap().display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script.replace("localhost:7420", server.address())]);
    bash.env("PATH", path).env("LOCKSTEAD_SERVER", &server.url).kill_on_drop(true);
    bash
}

async fn output(mut command: Command) -> Output {
    tokio::time::timeout(PATIENCE, command.output())
        .await
        .unwrap_or_else(|_| panic!("{command:?} does not end"))
        .unwrap()
}

#[tokio::test]
async fn every_script_runs() {
    let server = Server::start();
    let scripts: Vec<_> = blocks_after("<!-- run -->", "sh").collect();
    assert!(scripts.len() >= 3, "only {} blocks are marked to be run", scripts.len());
    for script in scripts {
        let ran = output(bash(&server, script)).await;
        assert!(ran.status.success(), "{script}\n{ran:?}");
        assert!(!ran.stdout.is_empty(), "{script}\n{ran:?}");
    }
}

#[tokio::test]
async fn run_shows_the_fencing_token() {
    let server = Server::start();
    let script = blocks_after("<!-- run -->", "sh").find(|script| script.contains("lockstead run")).unwrap();
    let ran = output(bash(&server, script)).await;
    let printed = String::from_utf8(ran.stdout).unwrap();
    let token = printed.trim_end().rsplit(' ').next().and_then(|token| token.parse::<u64>().ok());
    assert!(token.is_some_and(|token| token < 1 << 53), "{printed}");
}

#[tokio::test]
async fn the_curl_that_holds_does() {
    let server = Server::start();
    let script = README.split("```sh\n").skip(1).find(|script| script.starts_with("curl -N")).unwrap();
    let script = script.split_once("```").unwrap().0;
    let mut holder = Process::start(bash(&server, &format!("exec {script}")));
    holder.line_with("event: acquired").await;
    let client = lockstead_client::Client::connect(&server.url).await.unwrap();
    assert!(client.lock("deploy").try_acquire().await.unwrap().is_none());
}

#[tokio::test]
async fn the_rust_program_is_the_example_and_runs() {
    let shown: Vec<_> = blocks_after("<!-- sdk/rust/examples/quickstart.rs -->", "rust").collect();
    assert_eq!(shown, [QUICKSTART], "copy the example into README");
    let server = Server::start();
    let mut quickstart = Command::new(program("examples/quickstart"));
    quickstart.env("LOCKSTEAD_SERVER", &server.url).kill_on_drop(true);
    let ran = output(quickstart).await;
    assert!(ran.status.success(), "{ran:?}");
    let printed = String::from_utf8(ran.stdout).unwrap();
    for part in ["holding reports/daily", "writing the report, with fencing token", "one of four"] {
        assert!(printed.contains(part), "no {part:?} in {printed}");
    }
}
