//! What docs/node-locks.md shows works as it stands there.

use std::process::Output;

use lockstead_tests::{PATIENCE, lockstead};
use tokio::process::Command;

use crate::fixture::{Node, text};
use crate::foreign::python_folder;

const PAGE: &str = include_str!("../../docs/node-locks.md");

/// The scripts that follow this line.
fn scripts(marker: &str) -> Vec<&'static str> {
    let rest = PAGE.split(&format!("{marker}\n```sh\n")).skip(1).collect::<Vec<_>>();
    rest.into_iter().map(|rest| rest.split_once("```\n").unwrap().0).collect()
}

/// Runs a script as somebody types it, but for the directory and the port.
async fn run(node: &Node, script: &str) -> Output {
    let programs = lockstead().parent().unwrap().display().to_string();
    let path = format!("{}:{programs}:{}", python_folder().display(), std::env::var("PATH").unwrap_or_default());
    let script = script.replace("/run/lockstead", text(node.directory.path()));
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]).env("PATH", path).env("LOCKSTEAD_SERVER", &node.server.url);
    tokio::time::timeout(PATIENCE, bash.kill_on_drop(true).output()).await.expect("it ends").unwrap()
}

#[tokio::test]
async fn every_script_runs() {
    for (marker, least, flags) in [("<!-- run -->", 5, &[][..]), ("<!-- run both -->", 1, &["--lock-family", "both"])] {
        let node = Node::start_with(flags).await;
        let scripts = scripts(marker);
        assert!(scripts.len() >= least, "only {} blocks have {marker}", scripts.len());
        for script in scripts {
            let ran = run(&node, script).await;
            assert!(ran.status.success() && ran.stdout.ends_with(b"\n"), "{script}\n{ran:?}");
        }
    }
}
