//! Exit codes, those of `sysexits.h` where one fits.

use std::process::ExitCode;

/// How a command can end, apart from success and the exit code of a command that it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command line or the configuration is wrong.
    Usage = 64,
    /// The server can't be reached or can't serve now, or the port can't be had.
    Unavailable = 69,
    /// Nobody reads what was to be said, so it was undone.
    Output = 74,
    /// The lock is held by others, or the wait is over.
    NotAcquired = 75,
    /// The lock was lost while it was held.
    Lost = 76,
    /// The server refused.
    Refused = 77,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
