//! The folders of servers that all tests of a process share. Nobody drops those at its end: they are static.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Removes folders once this process has ended, in whatever way. To be kept until then.
#[derive(Debug)]
pub(crate) struct Sweeper {
    _shell: Child,
}

impl Sweeper {
    /// # Panics
    /// If there is no shell.
    pub(crate) fn of<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut shell = Command::new("sh");
        // Its input ends with this process. What ends this process from the keyboard goes to the shell as well.
        shell.args(["-c", r#"trap '' HUP INT TERM; read -r _; rm -rf -- "$@""#, "sh"]).args(folders);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { _shell: shell.spawn().expect("sh is everywhere") }
    }
}
