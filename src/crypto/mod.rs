//! Sealing payloads, signing requests, keeping secrets, verifying sessions.

pub mod seal;
pub mod session;
pub mod sign;
pub mod vault;

use hookseal_core::ports::Entropy;
use rand::Rng;
use subtle::ConstantTimeEq as _;

/// Whether two keyed hashes are the same; takes as long wherever they differ.
pub fn is_same_hash(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// The thread's generator: seeded from the system, reseeded as it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}
