//! The bodies of every HTTP call, from their bytes to what the service is asked.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lockstead::fuzzing::read_bodies(bytes));
