//! Compact JWE to the receiver's key: RSA-OAEP-256 and A256GCM (contract 6.1), over josekit.

use std::sync::Arc;

use bytes::Bytes;
use hookseal_core::id::KeyId;
use hookseal_core::key::{ALGORITHM, EncryptionKey, PublicJwk};
use hookseal_core::ports::{SealFault, Sealer};
use hookseal_core::recent::Recent;
use josekit::jwe::alg::rsaes::RsaesJweEncrypter;
use josekit::jwe::{JweHeader, RSA_OAEP_256, serialize_compact};
use josekit::jwk::Jwk;
use parking_lot::Mutex;

/// Parsed keys that are kept: parsing costs as much as sealing.
const ENCRYPTERS_CACHED: usize = 16_384;

struct Encrypter {
    inner: RsaesJweEncrypter,
    header: JweHeader,
}

/// Seals payloads, with parsed keys kept.
pub struct JoseSealer {
    encrypters: Mutex<Recent<KeyId, Arc<Encrypter>>>,
}

impl std::fmt::Debug for JoseSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoseSealer").finish_non_exhaustive()
    }
}

impl Default for JoseSealer {
    fn default() -> Self {
        Self { encrypters: Mutex::new(Recent::new(ENCRYPTERS_CACHED)) }
    }
}

impl JoseSealer {
    fn encrypter(&self, key: &EncryptionKey) -> Result<Arc<Encrypter>, SealFault> {
        if let Some(encrypter) = self.encrypters.lock().get(&key.id) {
            return Ok(encrypter);
        }
        let encrypter = Arc::new(parse(&key.jwk, &key.key_id)?);
        self.encrypters.lock().put(key.id.clone(), encrypter.clone());
        Ok(encrypter)
    }
}

fn fault(error: impl std::fmt::Display) -> SealFault {
    SealFault(error.to_string())
}

fn parse(jwk: &PublicJwk, key_id: &str) -> Result<Encrypter, SealFault> {
    let members = jwk.to_json();
    let members = members.as_object().ok_or_else(|| fault("the key is not an object"))?;
    let jwk = Jwk::from_map(members.clone()).map_err(fault)?;
    let inner = RSA_OAEP_256.encrypter_from_jwk(&jwk).map_err(fault)?;
    let mut header = JweHeader::new();
    // Set first, so that the members stand in the contract's order.
    header.set_algorithm(ALGORITHM);
    header.set_content_encryption("A256GCM");
    header.set_key_id(key_id);
    Ok(Encrypter { inner, header })
}

fn encrypt(encrypter: &Encrypter, plaintext: &[u8]) -> Result<Bytes, SealFault> {
    let compact =
        serialize_compact(plaintext, &encrypter.header, &encrypter.inner).map_err(fault)?;
    Ok(Bytes::from(compact.into_bytes()))
}

impl Sealer for JoseSealer {
    fn try_key(&self, jwk: &PublicJwk) -> Result<(), SealFault> {
        encrypt(&parse(jwk, "trial")?, b"{}").map(drop)
    }

    fn seal(&self, key: &EncryptionKey, plaintext: &[u8]) -> Result<Bytes, SealFault> {
        encrypt(&*self.encrypter(key)?, plaintext)
    }

    fn forget_unused(&self) {
        self.encrypters.lock().age();
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use hookseal_core::id::EndpointId;
    use hookseal_core::time::Timestamp;
    use josekit::jwe::enc::A256GCM;
    use josekit::jwe::{JweDecrypter as _, deserialize_compact};
    use josekit::jwk::KeyPair;

    use super::*;

    fn key_of(pair: &impl KeyPair, key_id: &str) -> EncryptionKey {
        let jwk: &serde_json::Map<_, _> = &pair.to_jwk_public_key().as_ref().clone();
        let mut jwk = jwk.clone();
        jwk.remove("use");
        jwk.remove("key_ops");
        jwk.remove("alg");
        EncryptionKey {
            id: KeyId::from_row(format!("whk_{key_id}")),
            endpoint_id: EndpointId::from_row("whe_1"),
            key_id: key_id.into(),
            jwk: PublicJwk::judge(&jwk).expect("a public key"),
            is_active: true,
            created_at: Timestamp::from_ms(0),
            updated_at: Timestamp::from_ms(0),
            disabled_at: None,
        }
    }

    #[test]
    fn a_payload_is_sealed_in_the_form_of_the_contract() {
        let pair = RSA_OAEP_256.generate_key_pair(2048).expect("a key pair");
        let sealer = JoseSealer::default();
        let key = key_of(&pair, "k1");
        sealer.try_key(&key.jwk).expect("it encrypts");
        let sealed = sealer.seal(&key, b"{\"a\":1}").expect("sealed");
        let compact = std::str::from_utf8(&sealed).expect("ASCII");
        let parts: Vec<_> = compact.split('.').collect();
        let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
        assert_eq!([lengths[0], lengths[1], lengths[2], lengths[4]], [66, 342, 16, 22]);
        assert_eq!(
            URL_SAFE_NO_PAD.decode(parts[0]).expect("base64url"),
            br#"{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"k1"}"#
        );
        let decrypter = RSA_OAEP_256.decrypter_from_jwk(&pair.to_jwk_private_key()).expect("a key");
        let (plaintext, _) = deserialize_compact(compact, &decrypter).expect("decrypted");
        assert_eq!(plaintext, b"{\"a\":1}");
    }

    #[test]
    fn content_keys_and_ivs_are_fresh_for_every_payload() {
        let pair = RSA_OAEP_256.generate_key_pair(2048).expect("a key pair");
        let sealer = JoseSealer::default();
        let key = key_of(&pair, "k\"1");
        let mut seen = std::collections::HashSet::new();
        let decrypter = RSA_OAEP_256.decrypter_from_jwk(&pair.to_jwk_private_key()).expect("a key");
        for _ in 0..200 {
            let sealed = sealer.seal(&key, b"{}").expect("sealed");
            let compact = String::from_utf8(sealed.to_vec()).expect("ASCII");
            let parts: Vec<_> = compact
                .split('.')
                .map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url"))
                .collect();
            let header = JweHeader::from_bytes(&parts[0]).expect("a header");
            let content_key =
                decrypter.decrypt(Some(&parts[1]), &A256GCM, &header).expect("opened");
            for fresh in [content_key.into_owned(), parts[1].clone(), parts[2].clone()] {
                assert!(seen.insert(fresh));
            }
        }
    }
}
