//! The commands of `lockstead`, as scripts see them.

mod bench;
mod leases;
mod ready;
mod run;
mod stop;
mod usage;

use std::process::{Output, Stdio};

use lockstead_tests::{PATIENCE, lockstead};
use rustix::process::{Pid, test_kill_process};
use tokio::process::Command;

/// `lockstead` with these arguments, for this server.
fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(lockstead());
    command.args(arguments).env("LOCKSTEAD_SERVER", url).env_remove("LOCKSTEAD_HOLD_ID").stdin(Stdio::null());
    command
}

/// Runs it to its end.
async fn output(command: &mut Command) -> Output {
    command.kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    output.unwrap_or_else(|_| panic!("{command:?} does not end")).unwrap()
}

/// Runs `lockstead` to its end.
async fn ask(url: &str, arguments: &[&str]) -> Output {
    output(&mut command(url, arguments)).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

/// Whether a process runs. One that has ended and that nobody has asked after does not.
fn is_running(pid: &str) -> bool {
    let known = test_kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap()).is_ok();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    known && !matches!(state, None | Some('Z' | 'X'))
}
