//! The signature header: HMAC-SHA256 over time and sealed bytes (contract 5.2).

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use hookseal_core::ports::Secret;
use sha2::Sha256;

/// Lower-case hex of HMAC-SHA256 of `parts`, one after the other, under `key`.
pub(crate) fn hmac_hex(key: &[u8], parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    let digest = mac.finalize().into_bytes();
    let mut hex = String::with_capacity(64);
    for byte in digest {
        write!(hex, "{byte:02x}").expect("writing to a string does not fail");
    }
    hex
}

/// The value of `X-Kayle-Signature`: `t=<unix seconds>,v1=<64 hex digits>`. The key is the whole
/// secret as text, `whsec_` included.
pub fn signature(secret: &Secret, unix_seconds: i64, body: &[u8]) -> String {
    let t = unix_seconds.to_string();
    let v1 = hmac_hex(secret.expose().as_bytes(), &[t.as_bytes(), b".", body]);
    format!("t={t},v1={v1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_contract_holds() {
        assert_eq!(
            signature(&Secret::new("whsec_test_secret"), 1_742_404_800, b"encrypted-payload"),
            "t=1742404800,v1=4e4a7ec092b53b027f0b504e4f1c0383af4dc960d2a869d9961d50586f46105b"
        );
    }
}
