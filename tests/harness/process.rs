//! A client as a process of its own, whose output a test reads line by line.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::PATIENCE;

/// A process whose standard output is read by the test. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a command.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = child.stdout.take().expect("its output is piped");
        Self { child, lines: BufReader::new(output).lines() }
    }

    /// The next line that it prints; `None` once it has closed its output.
    ///
    /// # Panics
    /// If nothing comes for long.
    pub async fn next_line(&mut self) -> Option<String> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.expect("a line in time").expect("its output can be read")
    }

    /// The next line that holds `part`; lines before it are passed over.
    ///
    /// # Panics
    /// If its output ends before that, or nothing comes for long.
    pub async fn line_with(&mut self, part: &str) -> String {
        loop {
            let line = self.next_line().await.unwrap_or_else(|| panic!("the output ended without {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended and was waited for.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).expect("the process is there");
    }

    /// Sends a signal to all of its group, which it leads.
    ///
    /// # Panics
    /// If it has ended and was waited for.
    pub fn signal_group(&self, signal: Signal) {
        kill_process_group(self.id(), signal).expect("the group is there");
    }

    fn id(&self) -> Pid {
        self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).expect("it still runs")
    }

    /// Returns when it has ended.
    ///
    /// # Panics
    /// If it does not end for long.
    pub async fn wait(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("an end in time").expect("it can be waited for")
    }
}
