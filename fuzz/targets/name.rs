//! Names: whatever is accepted keeps what names promise.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockstead_core::Name;
use lockstead_core::limits::NAME_MAX_BYTES;

fuzz_target!(|text: &str| {
    let Ok(name) = Name::parse(text) else { return };
    assert_eq!(name.as_str(), text);
    assert!((1..=NAME_MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control));
    assert!(text.split('/').all(|level| !matches!(level, "" | "." | "..")));
});
