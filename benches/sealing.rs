//! No IV and no content key comes twice in a million sealings. Content keys are seen as the receiver sees
//! them, by his private key: opening takes most of the time. `cargo bench --bench sealing`

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};
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
const THREADS: usize = 2;
/// After how many sealings a line tells how far it is.
const PROGRESS: usize = 50_000;

fn main() {
    let started = Instant::now();
    let keys = Keys::generate();
    let sealer = JoseSealer::default();
    let done = AtomicUsize::new(0);
    let tell = || {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(PROGRESS) {
            println!("{done} of {SEALINGS}, {:.0} s", started.elapsed().as_secs_f64());
        }
    };
    let fresh: Vec<_> = std::thread::scope(|scope| {
        let seal = || sealed(&sealer, &keys, SEALINGS / THREADS, tell);
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(seal)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let (ivs, content_keys): (Vec<_>, Vec<_>) = fresh.into_iter().unzip();
    println!("{:>12} {:>10} {:>8}", "", "compared", "repeats");
    let repeats = [("IVs", ivs), ("content keys", content_keys)].map(|(name, values)| {
        let (compared, repeats) = (values.len(), repeats(values));
        println!("{name:>12} {compared:>10} {repeats:>8}");
        repeats
    });
    println!("{:.0} s", started.elapsed().as_secs_f64());
    assert_eq!(repeats, [0, 0]);
}

fn repeats(mut values: Vec<Vec<u8>>) -> usize {
    let count = values.len();
    values.sort_unstable();
    values.dedup();
    count - values.len()
}

/// IV and content key of each of `count` sealings.
fn sealed(
    sealer: &JoseSealer,
    keys: &Keys,
    count: usize,
    tell: impl Fn(),
) -> Vec<(Vec<u8>, Vec<u8>)> {
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
    let fresh = |_| {
        let sealed = sealer.seal(&key, b"{}").unwrap();
        let mut parts = sealed.split(|&symbol| symbol == b'.');
        let mut part = || URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap();
        let header = JweHeader::from_bytes(&part()).unwrap();
        let content_key = decrypter.decrypt(Some(&part()), &A256GCM, &header).unwrap();
        tell();
        (part(), content_key.into_owned())
    };
    (0..count).map(fresh).collect()
}
