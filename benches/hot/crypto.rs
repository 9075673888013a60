//! Sealing a payload and signing a request.

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookseal::crypto::seal::JoseSealer;
use hookseal::crypto::sign::Signer;
use hookseal_core::id::EndpointId;
use hookseal_core::key::{EncryptionKey, PublicJwk};
use hookseal_core::ports::{Sealer as _, Secret};

use crate::piece::{Entry, Piece};
use crate::support::rows::{T0, key};

pub fn entries() -> Vec<Entry> {
    let seal = [300, 16_384]
        .map(|size| Entry::new("seal", size.to_string(), 1, move || Seal::of(size)).counted(5, 55));
    let sign = [1024, 16_384].map(|size| {
        Entry::new("sign", size.to_string(), 1, move || Sign::of(size)).counted(10, 510)
    });
    seal.into_iter().chain(sign).collect()
}

/// A payload to one receiver's key, which is parsed already.
struct Seal {
    sealer: JoseSealer,
    key: EncryptionKey,
    payload: Vec<u8>,
}

impl Seal {
    fn of(size: usize) -> Self {
        let key = EncryptionKey { jwk: public_jwk(), ..key(&EndpointId::from_row("whe_1"), "k1") };
        let sealer = JoseSealer::default();
        sealer.try_key(&key.jwk).unwrap();
        sealer.seal(&key, b"{}").unwrap();
        Self { sealer, key, payload: vec![b'x'; size] }
    }
}

impl Piece for Seal {
    type Input = ();

    fn input(&mut self) {}

    fn run(&mut self, (): ()) {
        black_box(self.sealer.seal(&self.key, black_box(&self.payload)).unwrap());
    }
}

/// A key of 2048 bits that nobody can decrypt with. Always the same, for looking for primes takes another
/// number of instructions each time.
fn public_jwk() -> PublicJwk {
    let mut modulus: Vec<u8> = (0..=255u8).map(|n| n.wrapping_mul(37) ^ 0xa5).collect();
    modulus[0] |= 0x80;
    modulus[255] |= 1;
    PublicJwk { n: URL_SAFE_NO_PAD.encode(modulus), e: "AQAB".into() }
}

/// A sealed body under one secret.
struct Sign {
    signer: Signer,
    body: Vec<u8>,
}

impl Sign {
    fn of(size: usize) -> Self {
        let signer = Signer::new(&Secret::new("whsec_ODk2YjQ0ZDUtZTQ1Ni00ZDFlLWJiZDQtM2Q5"));
        Self { signer, body: vec![b'x'; size] }
    }
}

impl Piece for Sign {
    type Input = ();

    fn input(&mut self) {}

    fn run(&mut self, (): ()) {
        black_box(self.signer.sign(T0.as_secs(), black_box(&self.body)));
    }
}
