//! Durations: what is read and written can be read again, and is the same to the millisecond.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockstead_core::duration;

fuzz_target!(|text: &str| {
    let Ok(read) = duration::parse(text) else { return };
    let again = duration::parse(&duration::format(read)).expect("what is written can be read");
    assert_eq!(again.as_millis(), read.as_millis(), "{text}");
});
