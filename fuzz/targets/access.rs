//! The access file.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| lockstead::fuzzing::read_access(text));
