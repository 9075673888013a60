//! A header verifies only if it carries the one signature of this body and time; the right one always does,
//! whatever stands beside it.

#![no_main]

#[path = "../../src/demo/signature.rs"]
mod signature;

use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;

const SECRET: &str = "whsec_0123456789abcdefghijklmnopqrstuv";
const NOW: i64 = 1_742_404_800;

fn v1(t: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(&[t.as_bytes(), b".", body].concat());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fuzz_target!(|given: (&str, &[u8])| {
    let (header, body) = given;
    if signature::verify(SECRET, header, body, NOW) {
        let (t, rest) = header.strip_prefix("t=").and_then(|h| h.split_once(',')).expect("a time");
        assert!((NOW - t.parse::<i64>().expect("seconds")).abs() <= 300, "{header}");
        let expected = format!("v1={}", v1(t, body));
        assert!(rest.split(',').any(|part| part == expected), "{header}");
    }
    let t = NOW.to_string();
    let right = format!("t={t},v1={}", v1(&t, body));
    assert!(signature::verify(SECRET, &right, body, NOW));
    assert!(signature::verify(SECRET, &format!("{right},{header}"), body, NOW));
    assert!(signature::verify(SECRET, &right.replacen(',', &format!(",{header},"), 1), body, NOW));
    assert!(!signature::verify("whsec_another", &right, body, NOW));
});
