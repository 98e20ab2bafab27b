//! A server that is no part of Lockstead, as a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::Signal;
use tokio::sync::{oneshot, watch};

use crate::{PATIENCE, send_signal};

/// A process, killed when dropped, and by the kernel when this process ends in any other way.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: watch::Receiver<String>,
}

impl Daemon {
    /// Starts a program, and returns once it has written a line with `ready`.
    ///
    /// # Panics
    /// If it ends before that, or takes long.
    pub async fn start(program: &str, arguments: &[&str], ready: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", program]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let (started, child) = oneshot::channel();
        let (writer, log) = watch::channel(String::new());
        // The kernel kills it when the thread that started it ends; this one lives as long as its output does.
        thread::spawn(move || {
            let mut child = command.spawn().expect("setpriv is there; tests/setup installs it");
            let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
            // If the test has gone meanwhile, the process goes with this thread.
            let Ok(()) = started.send(child) else { return };
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                writer.send_modify(|log| log.push_str(&String::from_utf8_lossy(&line)));
                line.clear();
            }
        });
        let daemon = Self { child: child.await.expect("a process"), log };
        daemon.logged(ready, 1).await;
        daemon
    }

    /// Returns once it has written `text` so often.
    ///
    /// # Panics
    /// If it ends before that, or takes long.
    pub async fn logged(&self, text: &str, times: usize) {
        let mut log = self.log.clone();
        let seen = tokio::time::timeout(PATIENCE, log.wait_for(|log| log.matches(text).count() >= times)).await;
        let has_seen = seen.is_ok_and(|seen| seen.is_ok());
        assert!(has_seen, "no {text:?} in time (is it installed? tests/setup does that). It says:\n{}", self.log());
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
