//! No IV and no content key comes twice in a million sealings. Content keys are seen as the receiver sees
//! them, by his private key; of most only what encrypts them is compared, since opening costs far more than
//! sealing. `cargo bench --bench sealing`

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookseal::crypto::seal::JoseSealer;
use hookseal::demo::receiver::Keys;
use hookseal_core::id::{EndpointId, KeyId};
use hookseal_core::key::{EncryptionKey, PublicJwk};
use hookseal_core::ports::Sealer as _;
use hookseal_core::time::Timestamp;
use josekit::jwe::enc::A256GCM;
use josekit::jwe::{JweDecrypter as _, JweHeader, RSA_OAEP_256};
use josekit::jwk::Jwk;

const SEALINGS: usize = 1_000_000;
const OPENED: usize = 20_000;
const THREADS: usize = 2;

/// What of one sealing must be like that of no other.
struct Fresh {
    iv: Vec<u8>,
    encrypted_key: Vec<u8>,
    content_key: Option<Vec<u8>>,
}

fn main() {
    let started = Instant::now();
    let keys = Keys::generate();
    let sealer = JoseSealer::default();
    let all: Vec<Fresh> = std::thread::scope(|scope| {
        let seal = || sealed(&sealer, &keys, SEALINGS / THREADS, OPENED / THREADS);
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(seal)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let ivs = repeats(all.iter().map(|fresh| &fresh.iv));
    let encrypted_keys = repeats(all.iter().map(|fresh| &fresh.encrypted_key));
    let content_keys = repeats(all.iter().filter_map(|fresh| fresh.content_key.as_ref()));
    println!("{:>22} {:>10} {:>8}", "", "compared", "repeats");
    println!("{:>22} {:>10} {ivs:>8}", "IVs", all.len());
    println!("{:>22} {:>10} {encrypted_keys:>8}", "encrypted content keys", all.len());
    println!("{:>22} {OPENED:>10} {content_keys:>8}", "content keys");
    println!("{:.0} s", started.elapsed().as_secs_f64());
    assert_eq!((ivs, encrypted_keys, content_keys), (0, 0, 0));
}

fn repeats<'a>(values: impl Iterator<Item = &'a Vec<u8>>) -> usize {
    let mut values: Vec<_> = values.collect();
    let count = values.len();
    values.sort_unstable();
    values.dedup();
    count - values.len()
}

fn sealed(sealer: &JoseSealer, keys: &Keys, count: usize, opened: usize) -> Vec<Fresh> {
    let members = |jwk: &serde_json::Value| jwk.as_object().unwrap().clone();
    let key = EncryptionKey {
        id: KeyId::from_row("whk_1"),
        endpoint_id: EndpointId::from_row("whe_1"),
        key_id: "k1".into(),
        jwk: PublicJwk::judge(&members(&keys.public_jwk)).unwrap(),
        is_active: true,
        created_at: Timestamp::from_ms(0),
        updated_at: Timestamp::from_ms(0),
        disabled_at: None,
    };
    let private = Jwk::from_map(members(&keys.private_jwk)).unwrap();
    let decrypter = RSA_OAEP_256.decrypter_from_jwk(&private).unwrap();
    let fresh = |n| {
        let sealed = sealer.seal(&key, b"{}").unwrap();
        let mut parts = sealed.split(|&symbol| symbol == b'.');
        let mut part = || URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap();
        let header = JweHeader::from_bytes(&part()).unwrap();
        let mut encrypted_key = part();
        let content_key = (n < opened).then(|| {
            decrypter.decrypt(Some(&encrypted_key), &A256GCM, &header).unwrap().into_owned()
        });
        // Two that are the same begin alike.
        encrypted_key.truncate(16);
        Fresh { encrypted_key, iv: part(), content_key }
    };
    (0..count).map(fresh).collect()
}
