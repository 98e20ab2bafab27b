//! The process that stops a command in time, whatever happens to the `lockstead run` above it.
//!
//! It leads the command's process group. On its standard input it reads, line by line, until when the hold is certain (a
//! time on the clock that also runs during suspension, which all processes of a machine share). When that moment comes, or
//! its input ends because `lockstead run` is no more, it kills the group and itself with it.

use std::process::{ExitCode, Stdio};

use lockstead_core::Time;
use rustix::process::{Pid, Signal, kill_current_process_group};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};

/// The hidden command by which this program becomes a watchdog.
pub(super) const COMMAND: &str = "run-watchdog";

/// Signals that `lockstead run` passes on to the group. The watchdog, which is in the group, must survive them.
pub(super) const PASSED_ON: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// The watchdog, seen from `lockstead run`.
pub(super) struct Watchdog {
    child: Child,
    input: ChildStdin,
    group: Pid,
    told: Option<Time>,
}

impl Watchdog {
    /// Starts one, at the head of a process group of its own.
    pub(super) fn start() -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let gone = || std::io::Error::other("it ended at once");
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).ok_or_else(gone)?;
        let input = child.stdin.take().ok_or_else(gone)?;
        Ok(Self { child, input, group, told: None })
    }

    /// The group that it leads.
    pub(super) fn group(&self) -> Pid {
        self.group
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
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut kill_at = None;
    loop {
        tokio::select! {
            line = lines.next_line() => match line.ok().flatten().and_then(|line| line.parse().ok()) {
                Some(micros) => kill_at = Some(Time::from_micros(micros)),
                None => break,
            },
            () = lockstead_clock::sleep_until_some(kill_at) => break,
        }
    }
    _ = kill_current_process_group(Signal::KILL);
    ExitCode::FAILURE
}
