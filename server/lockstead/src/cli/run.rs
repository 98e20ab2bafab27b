//! `lockstead run`: a command that runs while a lock is held, and never longer.
//!
//! The command runs in a process group that the [watchdog](super::watchdog) leads. Whatever happens to this process, the
//! group is stopped before the lock can go to somebody else: this process tells the watchdog until when the hold is
//! certain, and the watchdog stops the group at that moment, or at once when this process dies.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use lockstead_client::{Client, Guard, OnDisconnect};
use lockstead_core::{Time, Wait, bounds, duration};
use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Exit;
use super::client::{ClaimArgs, ClientArgs, WaitArg, fail};
use super::descendants::Process;
use super::say::say;
use super::watchdog::Watchdog;

/// A command that can't be run, as shells have it.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Run CMD while holding NAME
///
/// Waits for the lock, runs CMD, and releases the lock when CMD ends; the exit code is CMD's. Signals are passed on to
/// CMD, which finds the fencing token in LOCKSTEAD_FENCING_TOKEN. If the hold can no longer be confirmed, CMD and all
/// processes that it started are told to end (SIGTERM) and then stopped (SIGKILL) before anybody else can get the lock.
/// What CMD leaves running in its group is stopped when it ends; a daemon that has cut all ties with CMD is not.
///
/// CMD runs in a process group of its own; from a terminal its standard input is empty.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: CMD's own; 64 wrong usage; 69 no server that can serve; 75 not acquired;
76 the lock was lost; 77 refused; 126 CMD can't be run; 127 CMD not found;
128+N CMD was ended by signal N.

  lockstead run nightly/report -- ./report.sh
  lockstead run --wait 0s deploy/web -- make deploy      # give up if somebody else deploys
  lockstead run --limit 4 gpu -- ./train.sh              # one of four at a time")]
pub(super) struct RunArgs {
    #[command(flatten)]
    claim: ClaimArgs,

    /// How long to wait for it, such as 30s; 0s tries once
    #[arg(long, value_name = "D", default_value = "forever")]
    wait: WaitArg,

    /// How long the hold survives without a connection; CMD is told to end after two thirds of it
    #[arg(long, value_name = "D", default_value = "10s", value_parser = session_timeout)]
    session_timeout: Duration,

    #[command(flatten)]
    client: ClientArgs,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

fn session_timeout(text: &str) -> Result<Duration, String> {
    bounds::session_timeout(Some(duration::parse(text)?)).map_err(|invalid| invalid.to_string())
}

/// When what happens to a command whose hold is no longer confirmed, counted back from the moment at which it ends.
#[derive(Clone, Copy)]
struct Margins {
    terminate: Duration,
    kill: Duration,
    /// How often the hold's end is looked at.
    look_every: Duration,
}

impl Margins {
    fn of(session_timeout: Duration) -> Self {
        Self { terminate: session_timeout / 3, kill: session_timeout / 20, look_every: session_timeout / 40 }
    }
}

pub(super) async fn run(args: RunArgs) -> ExitCode {
    let mut signals = listen_to_signals();
    let builder = args.client.builder(args.claim.owner.as_deref());
    let builder = builder.session_timeout(args.session_timeout).on_disconnect(OnDisconnect::Keep);
    let connected = tokio::select! {
        connected = builder.connect() => connected,
        Some(signal) = signals.recv() => return ended_by(signal.as_raw()).into(),
    };
    let client = match connected {
        Ok(client) => client,
        Err(error) => return fail(&error),
    };
    let acquired = tokio::select! {
        acquired = acquire(&client, &args.claim, args.wait.0) => acquired,
        Some(signal) = signals.recv() => {
            // Its session would stay, and with it the place in the queue, if nobody closed it.
            _ = client.close().await;
            return ended_by(signal.as_raw()).into();
        }
    };
    let guard = match acquired {
        Ok(guard) => guard,
        Err(error) => return fail(&error),
    };
    let code = hold_and_run(&args, &guard, signals).await;
    if let Err(error) = guard.release().await {
        tracing::debug!(%error, "the lock was gone before it was released");
    }
    // The session's end is only a courtesy now: the lock is free.
    _ = client.close().await;
    code
}

/// Waits for the lock, and says so where a person might wonder.
async fn acquire(client: &Client, claim: &ClaimArgs, wait: Wait) -> lockstead_client::Result<Guard> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let acquire = claim.acquire(client, wait);
    tokio::pin!(acquire);
    tokio::select! {
        acquired = &mut acquire => return acquired,
        () = tokio::time::sleep(PATIENCE) => say(format_args!("waiting for {}", claim.name)),
    }
    acquire.await
}

async fn hold_and_run(args: &RunArgs, guard: &Guard, signals: mpsc::Receiver<Signal>) -> ExitCode {
    let margins = Margins::of(args.session_timeout);
    let mut watchdog = match Watchdog::start().await {
        Ok(watchdog) => watchdog,
        Err(error) => {
            say(format_args!("the watchdog can't be started: {error}"));
            return NOT_EXECUTABLE.into();
        }
    };
    let group = watchdog.group();
    if watchdog.guard_until(kill_at(guard, margins)).await.is_err() {
        say("the watchdog has ended before the command began");
        return NOT_EXECUTABLE.into();
    }
    let code = match spawn(&args.command, guard, group) {
        Ok(child) => {
            let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
            let process = pid.and_then(Process::of);
            if let Some(process) = process {
                // If it is no more, `attend` finds out.
                _ = watchdog.guard(process).await;
            }
            let running = Running { child, pid, process, group, guard, margins, signals, watchdog: &mut watchdog };
            running.attend().await
        }
        Err(error) => {
            say(format_args!("{}: {error}", args.command.first().map_or("", String::as_str)));
            let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
            code.into()
        }
    };
    // Whatever is left of the group, before the lock is released. The watchdog is one of them.
    _ = kill_process_group(group, Signal::KILL);
    watchdog.wait().await;
    until_gone(group).await;
    code
}

/// Waits for the processes of a group that was killed to be gone: the kernel takes its time, and a process that is not
/// this one's child does not tell it of its end. Not for ever, since some wait for a parent who never asks for them.
async fn until_gone(group: Pid) {
    const LOOK_EVERY: Duration = Duration::from_millis(1);
    const PATIENCE: Duration = Duration::from_millis(500);
    let given_up_at = lockstead_clock::time().saturating_add(PATIENCE);
    while test_kill_process_group(group).is_ok() && lockstead_clock::time() < given_up_at {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn spawn(command: &[String], guard: &Guard, group: Pid) -> std::io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LOCKSTEAD_FENCING_TOKEN", guard.token().to_string())
        .process_group(group.as_raw_nonzero().get());
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        // A background group that reads from its terminal is stopped by the kernel, without a word.
        command.stdin(Stdio::null());
    }
    command.spawn()
}

fn kill_at(guard: &Guard, margins: Margins) -> Time {
    guard.valid_until().saturating_sub(margins.kill)
}

/// A command that runs while the lock is held.
struct Running<'a> {
    child: Child,
    pid: Option<Pid>,
    process: Option<Process>,
    group: Pid,
    guard: &'a Guard,
    margins: Margins,
    signals: mpsc::Receiver<Signal>,
    watchdog: &'a mut Watchdog,
}

impl Running<'_> {
    /// Returns when the command has ended, by itself or because the lock is lost.
    async fn attend(mut self) -> ExitCode {
        let loss = self.guard.lost();
        tokio::pin!(loss);
        let mut told_to_end = false;
        loop {
            let terminate_at = self.guard.valid_until().saturating_sub(self.margins.terminate);
            tokio::select! {
                status = self.child.wait() => return exit_code(&status, told_to_end),
                Some(signal) = self.signals.recv() => self.pass_on(signal),
                loss = &mut loss => {
                    say(format_args!("{loss}; stopping the command"));
                    return self.kill().await;
                }
                () = lockstead_clock::sleep_until(terminate_at), if !told_to_end => {
                    if self.guard.valid_until().saturating_sub(self.margins.terminate) <= lockstead_clock::time() {
                        say("the hold can't be confirmed; telling the command to end");
                        self.pass_on(Signal::TERM);
                        told_to_end = true;
                    }
                }
                () = tokio::time::sleep(self.margins.look_every) => {
                    let kill_at = kill_at(self.guard, self.margins);
                    if kill_at <= lockstead_clock::time() || self.watchdog.guard_until(kill_at).await.is_err() {
                        say("the hold can't be confirmed; stopping the command");
                        return self.kill().await;
                    }
                }
            }
        }
    }

    /// To the group, and to the command itself if it has made a group of its own, as `timeout` does.
    fn pass_on(&self, signal: Signal) {
        _ = kill_process_group(self.group, signal);
        if let Some(pid) = self.pid.filter(|pid| getpgid(Some(*pid)).is_ok_and(|group| group != self.group)) {
            _ = kill_process(pid, signal);
        }
    }

    async fn kill(&mut self) -> ExitCode {
        if let Some(process) = self.process {
            process.kill_tree();
        }
        _ = kill_process_group(self.group, Signal::KILL);
        _ = self.child.wait().await;
        Exit::Lost.into()
    }
}

fn exit_code(status: &std::io::Result<ExitStatus>, told_to_end: bool) -> ExitCode {
    let Ok(status) = status else { return Exit::Unavailable.into() };
    if told_to_end {
        return Exit::Lost.into();
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.or_else(|| status.signal().map(ended_by)).unwrap_or(1).into()
}

/// How shells say that a signal ended a command.
fn ended_by(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

/// The signals that people and supervisors send, to be passed on. From here on they end this process no more.
fn listen_to_signals() -> mpsc::Receiver<Signal> {
    let (sender, signals) = mpsc::channel(16);
    for passed_on in super::watchdog::PASSED_ON {
        let Ok(mut stream) = signal(SignalKind::from_raw(passed_on.as_raw())) else { continue };
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(passed_on).await.is_err() {
                    return;
                }
            }
        });
    }
    signals
}
