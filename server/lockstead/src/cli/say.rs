//! What a command says to people. Nobody may listen, which is no reason to fail.

use std::fmt::Display;
use std::io::Write;

/// Says it on standard error.
pub(super) fn say(what: impl Display) {
    _ = writeln!(std::io::stderr(), "lockstead: {what}");
}
