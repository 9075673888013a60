//! Cursors and instants have one spelling: what is read prints back to itself, and what is printed is read.

#![no_main]

use hookseal_core::feed::Position;
use hookseal_core::page::PageRequest;
use hookseal_core::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|given: (&str, u64, u64, u32, i64)| {
    let (text, epoch, batch, index, ms) = given;
    if let Some(position) = Position::parse(text) {
        assert_eq!(position.to_string(), text);
    }
    let position = Position { epoch, batch, index };
    assert_eq!(Position::parse(&position.to_string()), Some(position));
    if let Ok(page) = PageRequest::judge(None, Some(text.to_owned())) {
        assert_eq!(page.starting_after.as_deref(), Some(text));
        assert!(text.len() <= 128 && !text.contains(['.', '/', '%', '\'']), "{text}");
    }
    for instant in Timestamp::parse(text).into_iter().chain([Timestamp::from_ms(ms)]) {
        assert_eq!(Timestamp::parse(&instant.to_string()), Some(instant), "{instant}");
    }
});
