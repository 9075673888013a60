//! Encryption keys: which JWKs are accepted, and why not (contract 6.3, hardened).
//!
//! Judged before any cryptographic library sees it: a library that imports an exponent of 1 would
//! seal payloads that anybody can read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::endpoint::is_text;
use crate::error::{Error, Result};
use crate::id::{EndpointId, KeyId};
use crate::limits::KEY_ID_CHARS;
use crate::time::Timestamp;

/// The one algorithm for content keys.
pub const ALGORITHM: &str = "RSA-OAEP-256";
/// The one key type.
pub const KEY_TYPE: &str = "RSA";
/// Smallest modulus, in significant bits.
pub const MODULUS_BITS_MIN: usize = 2048;
/// Largest modulus, in significant bits: beyond it one seal costs too much.
pub const MODULUS_BITS_MAX: usize = 4096;

/// What a modulus is divided by to find what was never a key: every odd number below.
const DIVISORS_BELOW: u32 = 1000;

/// Members that only a private or symmetric key has.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "dp", "dq", "oth", "p", "q", "qi", "k"];
/// Members that bring a certificate, or fetch one.
const CERTIFICATE_MEMBERS: [&str; 4] = ["x5u", "x5c", "x5t", "x5t#S256"];
/// Operations that only a private key does.
const PRIVATE_OPERATIONS: [&str; 5] = ["decrypt", "deriveBits", "deriveKey", "sign", "unwrapKey"];

/// An RSA public key that passed every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicJwk {
    /// Modulus, base64url without leading zero bytes.
    pub n: String,
    /// Exponent, base64url without leading zero bytes.
    pub e: String,
}

impl PublicJwk {
    /// Judges a JWK as it was received. Messages name the member and never repeat its value, since
    /// it may be a private key sent by mistake.
    pub fn judge(jwk: &Map<String, Value>) -> Result<Self> {
        if let Some(member) = PRIVATE_MEMBERS.iter().find(|member| jwk.contains_key(**member)) {
            return Err(fault(member, "no private member: register the public key only"));
        }
        if let Some(member) = CERTIFICATE_MEMBERS.iter().find(|member| jwk.contains_key(**member)) {
            return Err(fault(member, "no certificate member"));
        }
        for (member, value) in jwk {
            judge_shape(member, value)?;
        }
        for (member, required, only) in
            [("kty", true, KEY_TYPE), ("alg", false, ALGORITHM), ("use", false, "enc")]
        {
            match jwk.get(member) {
                None if !required => {}
                Some(Value::String(text)) if text == only => {}
                None | Some(_) => return Err(fault(member, &format!("the string {only}"))),
            }
        }
        judge_operations(jwk.get("key_ops"))?;
        let n = unsigned(jwk, "n")?;
        let e = unsigned(jwk, "e")?;
        let bits = significant_bits(&n);
        if !(MODULUS_BITS_MIN..=MODULUS_BITS_MAX).contains(&bits) || !is_odd(&n) {
            return Err(fault(
                "n",
                &format!(
                    "an odd modulus of {MODULUS_BITS_MIN} to {MODULUS_BITS_MAX} significant bits"
                ),
            ));
        }
        if has_small_divisor(&n) {
            let rule =
                format!("a product of two large primes, without a divisor below {DIVISORS_BELOW}");
            return Err(fault("n", &rule));
        }
        if !(17..=64).contains(&significant_bits(&e)) || !is_odd(&e) {
            return Err(fault("e", "an odd exponent of at least 65537 and at most 64 bits"));
        }
        Ok(Self { n: URL_SAFE_NO_PAD.encode(n), e: URL_SAFE_NO_PAD.encode(e) })
    }

    /// The five members that are stored and shown (contract 1.4).
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "alg": ALGORITHM,
            "e": self.e,
            "key_ops": ["encrypt"],
            "kty": KEY_TYPE,
            "n": self.n,
        })
    }

    /// Takes a key that a row carries.
    pub fn from_row(jwk: &Value) -> Result<Self> {
        match (jwk.get("n").and_then(Value::as_str), jwk.get("e").and_then(Value::as_str)) {
            (Some(n), Some(e)) => Ok(Self { n: n.to_owned(), e: e.to_owned() }),
            _ => Err(Error::Broken { what: "a stored encryption key", source: None }),
        }
    }
}

fn fault(member: &str, expected: &str) -> Error {
    Error::invalid(format!("jwk.{member}"), expected)
}

/// Bounds on members, known or not (contract 2.6).
fn judge_shape(member: &str, value: &Value) -> Result<()> {
    let most = match member {
        "e" | "alg" => 64,
        "use" => 32,
        _ => 8192,
    };
    let bounded = match value {
        Value::String(text) => text.len() <= most,
        Value::Bool(_) | Value::Number(_) => true,
        Value::Array(items) => {
            items.len() <= 8
                && items.iter().all(|item| item.as_str().is_some_and(|text| text.len() <= 64))
        }
        Value::Null | Value::Object(_) => false,
    };
    if bounded {
        return Ok(());
    }
    // A name of the caller's own may be anything, so it is repeated only where it is a plain word.
    let plain =
        member.len() <= 64 && member.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let named = if plain { member } else { "*" };
    Err(fault(named, "text, a number, a boolean or a few short texts"))
}

fn judge_operations(operations: Option<&Value>) -> Result<()> {
    const RULE: &str = "an array that holds encrypt and no private operation";
    let Some(operations) = operations else { return Ok(()) };
    let operations = operations.as_array().ok_or_else(|| fault("key_ops", RULE))?;
    let named = |name: &str| operations.iter().any(|operation| operation.as_str() == Some(name));
    if operations.iter().all(Value::is_string)
        && named("encrypt")
        && !PRIVATE_OPERATIONS.into_iter().any(named)
    {
        Ok(())
    } else {
        Err(fault("key_ops", RULE))
    }
}

/// Decodes a base64url member and drops its leading zero bytes.
fn unsigned(jwk: &Map<String, Value>, member: &str) -> Result<Vec<u8>> {
    const RULE: &str = "unpadded base64url of a positive number";
    let text = jwk.get(member).and_then(Value::as_str).ok_or_else(|| fault(member, RULE))?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| fault(member, RULE))?;
    let significant = bytes.iter().position(|&b| b != 0).ok_or_else(|| fault(member, RULE))?;
    Ok(bytes[significant..].to_vec())
}

fn significant_bits(bytes: &[u8]) -> usize {
    bytes.len() * 8 - bytes.first().map_or(0, |b| b.leading_zeros() as usize)
}

fn is_odd(bytes: &[u8]) -> bool {
    bytes.last().is_some_and(|b| b & 1 == 1)
}

fn has_small_divisor(odd: &[u8]) -> bool {
    let rest = |divisor| odd.iter().fold(0, |rest, &byte| (rest << 8 | u32::from(byte)) % divisor);
    (3..DIVISORS_BELOW).step_by(2).any(|divisor| rest(divisor) == 0)
}

/// A registered key (contract 1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionKey {
    /// Its record id, not the `key_id`.
    pub id: KeyId,
    /// The endpoint it belongs to.
    pub endpoint_id: EndpointId,
    /// The name its owner chose; becomes `kid`.
    pub key_id: String,
    /// The key.
    pub jwk: PublicJwk,
    /// Whether new payloads are sealed to it.
    pub is_active: bool,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was deactivated; none while active.
    pub disabled_at: Option<Timestamp>,
}

/// A key as a caller gives it. No debug output shows the JWK, which may be a private one.
#[derive(Clone)]
pub struct KeyFields {
    /// 1 to 128 characters.
    pub key_id: String,
    /// [`ALGORITHM`].
    pub algorithm: String,
    /// [`KEY_TYPE`].
    pub key_type: String,
    /// The JWK.
    pub jwk: Map<String, Value>,
}

impl std::fmt::Debug for KeyFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFields").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl KeyFields {
    /// A new active key of `endpoint_id`.
    pub fn create(
        self,
        id: KeyId,
        endpoint_id: EndpointId,
        now: Timestamp,
    ) -> Result<EncryptionKey> {
        if !is_text(&self.key_id, KEY_ID_CHARS) {
            return Err(Error::invalid("key_id", format!("1 to {KEY_ID_CHARS} characters")));
        }
        if self.algorithm != ALGORITHM {
            return Err(Error::invalid("algorithm", ALGORITHM));
        }
        if self.key_type != KEY_TYPE {
            return Err(Error::invalid("key_type", KEY_TYPE));
        }
        Ok(EncryptionKey {
            id,
            endpoint_id,
            key_id: self.key_id,
            jwk: PublicJwk::judge(&self.jwk)?,
            is_active: true,
            created_at: now,
            updated_at: now,
            disabled_at: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest of so many bits that passes.
    fn modulus(bits: usize) -> Vec<u8> {
        let mut bytes = vec![0xffu8; bits.div_ceil(8)];
        bytes[0] >>= bytes.len() * 8 - bits;
        while has_small_divisor(&bytes) {
            *bytes.last_mut().expect("bytes") -= 2;
        }
        bytes
    }

    fn jwk(n: &[u8], e: &[u8]) -> Map<String, Value> {
        let json = serde_json::json!({
            "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e),
            "use": "enc", "alg": "RSA-OAEP-256", "kid": "k1", "ext": true,
        });
        json.as_object().expect("an object").clone()
    }

    const F4: &[u8] = &[1, 0, 1];

    #[test]
    fn a_good_key_is_kept_as_five_members() {
        let kept = PublicJwk::judge(&jwk(&modulus(2048), F4)).expect("accepted").to_json();
        let members: Vec<_> = kept.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(members, ["alg", "e", "key_ops", "kty", "n"]);
        assert_eq!(PublicJwk::from_row(&kept).expect("stored").to_json(), kept);
    }

    #[test]
    fn leading_zero_bytes_neither_count_nor_stay() {
        let padded: Vec<u8> = [vec![0; 64], modulus(1600)].concat();
        assert!(PublicJwk::judge(&jwk(&padded, F4)).is_err());
        let padded: Vec<u8> = [vec![0; 3], modulus(2048)].concat();
        let kept = PublicJwk::judge(&jwk(&padded, F4)).expect("accepted");
        assert_eq!(URL_SAFE_NO_PAD.decode(kept.n).expect("base64url").len(), 256);
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn bad_keys_are_refused_with_the_member_named() {
        let good = || jwk(&modulus(2048), F4);
        let with = |member: &str, value: Value| {
            let mut jwk = good();
            jwk.insert(member.into(), value);
            jwk
        };
        let mut even = modulus(2048);
        *even.last_mut().expect("bytes") = 0xfe;
        let with_standard = |n: &[u8]| base64::engine::general_purpose::STANDARD_NO_PAD.encode(n);
        let with_padding = |n: &[u8]| base64::engine::general_purpose::URL_SAFE.encode(n);
        let mut without_kty = good();
        without_kty.remove("kty");
        for (member, jwk) in [
            ("n",       jwk(&modulus(2047), F4)),
            ("n",       jwk(&modulus(4097), F4)),
            ("n",       jwk(&even, F4)),
            ("n",       jwk(&[0; 256], F4)),
            ("n",       jwk(&[0xff; 256], F4)),
            ("n",       with("n", with_standard(&modulus(2048)).into())),
            ("n",       with("n", with_padding(&modulus(2048)).into())),
            ("n",       with("n", format!(" {}", URL_SAFE_NO_PAD.encode(modulus(2048))).into())),
            ("n",       with("n", "not base64url!".into())),
            ("n",       with("n", 7.into())),
            ("e",       jwk(&modulus(2048), &[1])),
            ("e",       jwk(&modulus(2048), &[3])),
            ("e",       jwk(&modulus(2048), &[1, 0, 0])),
            ("e",       jwk(&modulus(2048), &[1; 9])),
            ("e",       with("e", "".into())),
            ("kty",     with("kty", "EC".into())),
            ("kty",     without_kty),
            ("alg",     with("alg", "RSA-OAEP".into())),
            ("alg",     with("alg", Value::Null)),
            ("use",     with("use", "sig".into())),
            ("d",       with("d", "x".into())),
            ("p",       with("p", "x".into())),
            ("oth",     with("oth", Value::Null)),
            ("foo",     with("foo", Value::Null)),
            ("foo",     with("foo", serde_json::json!({}))),
            ("n",       with("n", "A".repeat(9000).into())),
            ("key_ops", with("key_ops", vec!["encrypt"; 9].into())),
            ("k",       with("k", "x".into())),
            ("x5u",     with("x5u", "https://example.com".into())),
            ("x5c",     with("x5c", serde_json::json!([]))),
            ("x5t",     with("x5t", "x".into())),
            ("x5t#S256", with("x5t#S256", "x".into())),
            ("dp",      with("dp", "x".into())),
            ("dq",      with("dq", "x".into())),
            ("q",       with("q", "x".into())),
            ("qi",      with("qi", "x".into())),
            ("kty",     with("kty", "oct".into())),
            ("alg",     with("alg", "RSA1_5".into())),
            ("key_ops", with("key_ops", serde_json::json!(["encrypt", "unwrapKey"]))),
            ("foo",     with("foo", serde_json::json!([["nested"]]))),
            ("*",       with("a name with spaces", Value::Null)),
            ("e",       with("e", "A".repeat(65).into())),
            ("e",       with("e", "AQAB=".into())),
            ("key_ops", with("key_ops", serde_json::json!(["decrypt", "encrypt"]))),
            ("key_ops", with("key_ops", serde_json::json!(["wrapKey"]))),
            ("key_ops", with("key_ops", "encrypt".into())),
            ("key_ops", with("key_ops", serde_json::json!(["encrypt", 7]))),
        ] {
            match PublicJwk::judge(&jwk) {
                Err(Error::Invalid { field, .. }) => assert_eq!(field, format!("jwk.{member}")),
                other => panic!("expected jwk.{member} at fault: {other:?}"),
            }
        }
    }

    #[test]
    fn a_refusal_never_repeats_the_private_part() {
        let mut private = jwk(&modulus(2048), F4);
        private.insert("d".into(), "c2VjcmV0".into());
        let message = PublicJwk::judge(&private).expect_err("refused").to_string();
        assert!(!message.contains("c2VjcmV0"), "{message}");
    }

    #[test]
    fn exponents_from_65537_are_taken() {
        for e in [F4, &[1, 0, 3], &[0xff; 8]] {
            assert!(PublicJwk::judge(&jwk(&modulus(4096), e)).is_ok(), "{e:?}");
        }
    }
}
