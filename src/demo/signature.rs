//! `X-Kayle-Signature` as a receiver verifies it (contract 5.2, 5.3). Reads no clock.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How far a signature's time may be from the receiver's.
const TOLERANCE_SECONDS: u64 = 300;

/// Whether `header` holds for `body` under `secret` at `now`, in seconds since the epoch. While a
/// secret is rotated there are two signatures, and either will do.
pub(super) fn verify(secret: &str, header: &str, body: &[u8], now: i64) -> bool {
    let mut parts = header.split(',');
    let Some(t) = parts.next().and_then(|part| part.strip_prefix("t=")) else { return false };
    let Ok(seconds) = t.parse::<i64>() else { return false };
    if now.abs_diff(seconds) > TOLERANCE_SECONDS {
        return false;
    }
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    mac.update(t.as_bytes());
    mac.update(b".");
    mac.update(body);
    parts
        .filter_map(|part| part.strip_prefix("v1=").and_then(bytes_of))
        .any(|bytes| mac.clone().verify_slice(&bytes).is_ok())
}

/// The bytes of lower-case hex digits; none when it is anything else.
fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digit = |symbol: u8| match symbol {
        b'0'..=b'9' => Some(symbol - b'0'),
        b'a'..=b'f' => Some(symbol - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?));
    bytes.collect::<Option<Vec<_>>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn one_signature_that_holds_is_enough_and_nothing_else_is() {
        const T: i64 = 1_742_404_800;
        const V1: &str = "4e4a7ec092b53b027f0b504e4f1c0383af4dc960d2a869d9961d50586f46105b";
        let other = "0".repeat(64);
        for (header, now, holds) in [
            (format!("t={T},v1={V1}"),                      T,        true),
            (format!("t={T},v1={V1}"),                      T + 300,  true),
            (format!("t={T},v1={V1}"),                      T + 301,  false),
            (format!("t={T},v1={V1}"),                      T - 301,  false),
            (format!("t={T},v1={other},v1={V1}"),           T,        true),
            (format!("t={T},v1={V1},v1={other}"),           T,        true),
            (format!("t={T},v1={other},v1={other}"),        T,        false),
            (format!("t={T},v1={}", V1.to_uppercase()),     T,        false),
            (format!("t={T},v1={V1}0"),                     T,        false),
            (format!("t={T},v1={}", &V1[..62]),             T,        false),
            (format!("t={T},v0={V1}"),                      T,        false),
            (format!("v1={V1},t={T}"),                      T,        false),
            (format!("t={T}"),                              T,        false),
            // The distance to now is no number that fits.
            (format!("t={},v1={V1}", i64::MIN),             T,        false),
            (String::new(),                                 T,        false),
        ] {
            let said = verify("whsec_test_secret", &header, b"encrypted-payload", now);
            assert_eq!(said, holds, "{header} at {now}");
        }
    }
}
