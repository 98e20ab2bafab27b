//! What end-to-end tests share: real servers as processes of their own, on free ports.

#![expect(clippy::expect_used, reason = "a test that can't go on has failed")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

mod process;
mod raw_session;

pub use process::Process;
pub use raw_session::RawSession;

/// How long a test waits for what must happen, before it gives up. It is no bound on speed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server, killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

impl Server {
    /// Starts a server on a free port, and returns once it listens.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more flags.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with(flags: &[&str]) -> Self {
        let mut command = Command::new(lockstead());
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(flags);
        command.env("RUST_LOG", "warn").env_remove("LOCKSTEAD_LISTEN").stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server can be started");
        let output = child.stdout.take().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        let url = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(url.starts_with("http://"), "the server said {line:?}");
        Self { child, url }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("its state can be asked for").is_none()
    }

    /// Returns when it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it can be waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The `lockstead` program under test.
///
/// # Panics
/// If it was not built.
pub fn lockstead() -> PathBuf {
    program("lockstead", "cargo build --package lockstead")
}

/// The program that plays a client which a test kills or stops.
///
/// # Panics
/// If it was not built.
pub fn test_client() -> PathBuf {
    program("lockstead-test-client", "cargo build --package lockstead-tests")
}

/// A program in the same target folder as the test that runs.
///
/// # Panics
/// If it was not built.
pub fn program(name: &str, build: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("a target folder");
    let program = folder.join(name);
    assert!(program.exists(), "{} is missing; build it with: {build}", program.display());
    program
}

/// Sends a signal to a child process.
///
/// # Panics
/// If there is no such process.
pub fn send_signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
    kill_process(pid, signal).expect("the process is there");
}
