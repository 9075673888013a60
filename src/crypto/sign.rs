//! The signature header: HMAC-SHA256 over time and sealed bytes (contract 5.2).

use hmac::{Hmac, KeyInit, Mac};
use hookseal_core::ports::Secret;
use sha2::Sha256;

const HEX: &[u8; 16] = b"0123456789abcdef";

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn push_hex(text: &mut String, mac: Hmac<Sha256>) {
    for byte in mac.finalize().into_bytes() {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

/// Lower-case hex of HMAC-SHA256 of `bytes` under `key`.
pub(crate) fn hmac_hex(key: &[u8], bytes: &[u8]) -> String {
    let mut mac = keyed(key);
    mac.update(bytes);
    let mut hex = String::with_capacity(64);
    push_hex(&mut hex, mac);
    hex
}

/// Signs under one secret, whose key schedule is made once.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// A signer under `secret`: the key is the whole of it as text, `whsec_` included.
    pub fn new(secret: &Secret) -> Self {
        Self(keyed(secret.expose().as_bytes()))
    }

    /// The value of `X-Kayle-Signature`: `t=<unix seconds>,v1=<64 hex digits>`.
    pub fn sign(&self, unix_seconds: i64, body: &[u8]) -> String {
        self.sign_beside(None, unix_seconds, body)
    }

    /// The same with one `v1` more, of the secret before this one, while that still signs.
    pub(crate) fn sign_beside(
        &self,
        previous: Option<&Self>,
        unix_seconds: i64,
        body: &[u8],
    ) -> String {
        let t = unix_seconds.to_string();
        let mut signature = String::with_capacity(t.len() + 140);
        signature.push_str("t=");
        signature.push_str(&t);
        for Self(keyed) in [Some(self), previous].into_iter().flatten() {
            let mut mac = keyed.clone();
            mac.update(t.as_bytes());
            mac.update(b".");
            mac.update(body);
            signature.push_str(",v1=");
            push_hex(&mut signature, mac);
        }
        signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_contract_holds() {
        assert_eq!(
            Signer::new(&Secret::new("whsec_test_secret"))
                .sign(1_742_404_800, b"encrypted-payload"),
            "t=1742404800,v1=4e4a7ec092b53b027f0b504e4f1c0383af4dc960d2a869d9961d50586f46105b"
        );
    }

    #[test]
    fn both_secrets_sign_the_same_bytes_the_newer_first() {
        let signer = |secret| Signer::new(&Secret::new(secret));
        let (new, old) = (signer("whsec_new"), signer("whsec_old"));
        let alone = |signer: &Signer| signer.sign(1_742_404_800, b"sealed");
        let old_v1 = alone(&old).split_once(",").expect("t first").1.to_owned();
        let both = new.sign_beside(Some(&old), 1_742_404_800, b"sealed");
        assert_eq!(both, format!("{},{old_v1}", alone(&new)));
    }
}
