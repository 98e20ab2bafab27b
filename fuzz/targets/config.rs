//! The server's settings, as a TOML file has them.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| lockstead::fuzzing::read_config(text));
