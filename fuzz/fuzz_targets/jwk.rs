//! A JWK that is accepted is a public key within the bounds, and is accepted as it is stored.

#![no_main]

use hookseal_core::key::{MODULUS_BITS_MAX, MODULUS_BITS_MIN, PublicJwk};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|json: &[u8]| {
    let Ok(jwk) = serde_json::from_slice::<Map<String, Value>>(json) else { return };
    let Ok(key) = PublicJwk::judge(&jwk) else { return };
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert!(!jwk.contains_key(private), "{private} was let in");
    }
    // Four digits of base64 are three bytes, and a leading zero byte is no digit of a number.
    assert!((MODULUS_BITS_MIN / 6..=MODULUS_BITS_MAX / 6 + 1).contains(&key.n.len()), "{}", key.n);
    assert!(key.e.len() >= 4 && !key.e.starts_with("AA"), "{}", key.e);
    let stored = key.to_json();
    assert_eq!(PublicJwk::from_row(&stored).as_ref().ok(), Some(&key), "read from its row");
    let shown = stored.as_object().expect("an object");
    assert_eq!(PublicJwk::judge(shown).as_ref().ok(), Some(&key), "judged again");
});
