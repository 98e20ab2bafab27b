//! A server whose log the test reads.

use std::ops::{Deref, DerefMut};
use std::process::Command;

use tempfile::NamedTempFile;

use crate::{Server, serve};

/// A server on a free port, with its standard error in a file.
#[derive(Debug)]
pub struct Logged {
    server: Server,
    log: NamedTempFile,
}

impl Logged {
    /// With the usual settings, and without the node scope: its lock directory can't be made.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_without_node_scope() -> Self {
        Self::start_with(|command| _ = command.env("XDG_RUNTIME_DIR", "/proc/none"))
    }

    /// With the usual settings.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// With more flags and variables.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with(prepare: impl FnOnce(&mut Command)) -> Self {
        let log = NamedTempFile::new().expect("a file");
        let mut command = serve();
        command.args(["--listen", "127.0.0.1:0"]).stderr(log.reopen().expect("the same file"));
        prepare(&mut command);
        Self { server: Server::start_as(command), log }
    }

    /// What it has logged so far.
    ///
    /// # Panics
    /// If the log can't be read.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log.path()).expect("the file is there")).into_owned()
    }

    /// That it runs, and that none of its tasks has panicked.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_well(&mut self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(self.is_alive(), "the server has ended: {log}");
    }
}

impl Deref for Logged {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Logged {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
