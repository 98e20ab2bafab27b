//! The process that stops a command in time, whatever happens to the `lockstead run` above it.
//!
//! It leads the command's process group. On its standard input it reads, line by line, which process the command is and until
//! when the hold is certain (a time on the clock that also runs during suspension, which all processes of a machine share).
//! When that moment comes, or its input ends because `lockstead run` is no more, it kills the command with its descendants,
//! the group, and itself with it.

use std::io::Write;
use std::process::{ExitCode, Stdio};

use lockstead_core::Time;
use rustix::process::{Pid, Signal, kill_current_process_group};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::descendants::Process;

/// The hidden command by which this program becomes a watchdog.
pub(super) const COMMAND: &str = "run-watchdog";

/// Signals that `lockstead run` passes on to the group. The watchdog, which is in the group, must survive them.
pub(super) const PASSED_ON: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// What a line begins with that says which process the command is.
const COMMAND_IS: &str = "command ";

/// The watchdog, seen from `lockstead run`.
pub(super) struct Watchdog {
    child: Child,
    input: ChildStdin,
    group: Pid,
    told: Option<Time>,
}

impl Watchdog {
    /// Starts one, at the head of a process group of its own, and returns once it is on guard.
    pub(super) async fn start() -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let gone = || std::io::Error::other("it ended at once");
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).ok_or_else(gone)?;
        let input = child.stdin.take().ok_or_else(gone)?;
        let output = child.stdout.take().ok_or_else(gone)?;
        BufReader::new(output).lines().next_line().await?.ok_or_else(gone)?;
        Ok(Self { child, input, group, told: None })
    }

    /// The group that it leads.
    pub(super) fn group(&self) -> Pid {
        self.group
    }

    /// Tells it which process the command is.
    pub(super) async fn guard(&mut self, command: Process) -> std::io::Result<()> {
        self.input.write_all(format!("{COMMAND_IS}{command}\n").as_bytes()).await
    }

    /// Tells it that the hold is certain until then. An error means that it is no more.
    pub(super) async fn guard_until(&mut self, kill_at: Time) -> std::io::Result<()> {
        if self.told == Some(kill_at) {
            return Ok(());
        }
        self.told = Some(kill_at);
        self.input.write_all(format!("{}\n", kill_at.as_micros()).as_bytes()).await
    }

    /// Returns when it has ended.
    pub(super) async fn wait(&mut self) {
        // Reaping it is all there is to do.
        _ = self.child.wait().await;
    }
}

/// The watchdog itself. It does not return unless the clock or the signals of this machine are broken.
pub(super) async fn watch() -> ExitCode {
    for survived in PASSED_ON.into_iter().chain([Signal::TSTP, Signal::TTIN, Signal::TTOU]) {
        if let Ok(mut stream) = signal(SignalKind::from_raw(survived.as_raw())) {
            tokio::spawn(async move { while stream.recv().await.is_some() {} });
        }
    }
    _ = writeln!(std::io::stdout(), "on guard");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let (mut command, mut kill_at) = (None, None);
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line.ok().flatten() else { break };
                if let Some(process) = line.strip_prefix(COMMAND_IS) {
                    command = process.parse::<Process>().ok();
                } else if let Ok(micros) = line.parse() {
                    kill_at = Some(Time::from_micros(micros));
                }
            }
            () = lockstead_clock::sleep_until_some(kill_at) => break,
        }
    }
    if let Some(command) = command {
        command.kill_tree();
    }
    _ = kill_current_process_group(Signal::KILL);
    ExitCode::FAILURE
}
