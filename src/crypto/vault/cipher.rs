//! Authenticated encryption under a key that has a name: `<key id>.<nonce>.<ciphertext and tag>`, the latter
//! two in base64url. The form of wrapped keys and of locked secrets.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookseal_core::ports::Entropy;
use zeroize::Zeroizing;

use crate::crypto::SystemEntropy;

pub(super) const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// A key of AES-256, wiped when dropped.
pub type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

pub(super) fn random_key() -> KeyBytes {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    SystemEntropy.fill(key.as_mut_slice());
    key
}

/// The id of the key that `locked` was made with.
pub(super) fn key_id(locked: &str) -> &str {
    locked.split('.').next().unwrap_or_default()
}

/// Encrypts; what is locked opens only beside the same `bound_to`.
pub(super) fn lock(key: &KeyBytes, key_id: &str, bound_to: &str, plaintext: &[u8]) -> String {
    let mut nonce = [0; NONCE_BYTES];
    SystemEntropy.fill(&mut nonce);
    let cipher = Aes256Gcm::new_from_slice(key.as_slice()).expect("the key has 32 bytes");
    let payload = Payload { msg: plaintext, aad: bound_to.as_bytes() };
    let ciphertext = cipher
        .encrypt(&Nonce::from(nonce), payload)
        .expect("a secret is far below the cipher's bound");
    format!("{key_id}.{}.{}", URL_SAFE_NO_PAD.encode(nonce), URL_SAFE_NO_PAD.encode(ciphertext))
}

/// Decrypts; none when anything but the key's id differs from what was locked.
pub(super) fn unlock(key: &KeyBytes, bound_to: &str, locked: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut parts = locked.split('.').skip(1);
    let nonce = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
    let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).ok()?;
    let ciphertext = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
    let cipher = Aes256Gcm::new_from_slice(key.as_slice()).expect("the key has 32 bytes");
    let payload = Payload { msg: &ciphertext, aad: bound_to.as_bytes() };
    cipher.decrypt(&Nonce::from(nonce), payload).ok().map(Zeroizing::new)
}
