//! Other programs that lock files.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use lockstead_tests::Process;
use rustix::process::Signal;
use tokio::process::Command;

use crate::fixture::text;

/// A program that holds, or wants to hold, the lock of a file.
pub(crate) struct Foreign {
    process: Process,
    is_python: bool,
}

/// How a program locks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// flock(1).
    Flock,
    /// A library of `foreign.py`.
    Python(&'static str),
}

impl Foreign {
    /// Starts it; it waits for the lock if it must.
    pub(crate) fn start(program: Program, path: &Path, mode: &str) -> Self {
        match program {
            Program::Flock => {
                let mut flock = Command::new("flock");
                // In its own process, so that killing it lets go.
                flock.args(["--no-fork", &format!("--{mode}"), text(path)]);
                flock.args(["sh", "-c", "echo holding; exec sleep 1000"]);
                Self { process: Process::start(flock), is_python: false }
            }
            Program::Python(library) => Self::python(&[library, text(path), mode]),
        }
    }

    fn python(args: &[&str]) -> Self {
        Self { process: Process::start(python(args)), is_python: true }
    }

    /// Waits until it says that it holds.
    pub(crate) async fn holding(mut self) -> Self {
        self.process.line_with("holding").await;
        self
    }

    /// Waits until it says so, and returns what else it says of it.
    pub(crate) async fn holding_what(&mut self) -> String {
        let line = self.process.line_with("holding").await;
        line.trim_start_matches("holding").trim().to_owned()
    }

    /// Lets go as the program does, and ends.
    pub(crate) async fn release(mut self) {
        self.process.signal(if self.is_python { Signal::USR1 } else { Signal::KILL });
        if self.is_python {
            self.process.line_with("released").await;
        }
        self.process.wait().await;
    }

    /// Lets go by dying.
    pub(crate) async fn kill(mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait().await;
    }
}

/// Whether a program gets the lock if it does not wait; if so, it lets go again.
pub(crate) async fn can_lock(program: Program, path: &Path, mode: &str) -> bool {
    match program {
        Program::Flock => {
            let mut flock = Command::new("flock");
            flock.args(["--nonblock", &format!("--{mode}"), text(path), "true"]);
            flock.status().await.expect("flock(1) is there: apt-get install util-linux").success()
        }
        Program::Python(library) => {
            let mut foreign = Process::start(python(&[library, text(path), mode, "0.1"]));
            foreign.line_with("waiting").await;
            let answer = foreign.next_line().await.unwrap();
            if answer == "refused" {
                return false;
            }
            assert!(answer.starts_with("holding"), "{answer}");
            foreign.signal(Signal::USR1);
            foreign.wait().await;
            true
        }
    }
}

/// Where the Python is that has the libraries.
pub(crate) fn python_folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin");
    assert!(folder.join("python3").exists(), "the libraries to test with are missing; run tests/setup");
    folder
}

fn python(args: &[&str]) -> Command {
    let mut command = Command::new(python_folder().join("python3"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("node/foreign.py");
    command.arg(script).args(args).stdin(Stdio::null());
    command
}
