//! See [`crate::fuzzing`].

use super::{File, ServeArgs, Settings};

/// Reads a file with settings, and puts the settings together.
pub fn read_config(text: &str) {
    _ = File::parse(text).map(|file| Settings::of(ServeArgs::default(), file));
}
