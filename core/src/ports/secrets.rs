//! Sealing, and secrets at rest.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::id::{EndpointId, OrganizationId};
use crate::key::{EncryptionKey, PublicJwk};

/// Cryptographically secure randomness.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// Sealing failed; the cause says nothing about the payload.
#[derive(Debug, thiserror::Error)]
#[error("sealing failed: {0}")]
pub struct SealFault(pub String);

/// Encrypts payloads to receivers' keys (contract 6.1).
pub trait Sealer: Send + Sync {
    /// Whether `jwk` really encrypts: a trial.
    fn try_key(&self, jwk: &PublicJwk) -> Result<(), SealFault>;

    /// The compact JWE of `plaintext` for `key`.
    fn seal(&self, key: &EncryptionKey, plaintext: &[u8]) -> Result<Bytes, SealFault>;

    /// Forgets what it keeps of keys that were not sealed to since this was done last.
    fn forget_unused(&self);
}

/// A secret in memory, which no debug output shows.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself: for the wire or a key schedule, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// Which of an endpoint's secrets: each is bound to its own column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretColumn {
    /// The one that signs and is shown.
    Current,
    /// The one before it, while it signs, too.
    Previous,
}

impl SecretColumn {
    /// The column as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "signing_secret",
            Self::Previous => "previous_signing_secret",
        }
    }
}

/// Secrets at rest, and keyed hashes.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Encrypts an endpoint's signing secret, bound to its organization, row and column.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::error::Error::Unavailable) while the key to do it with is not to be had.
    async fn lock(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        column: SecretColumn,
        secret: &Secret,
    ) -> Result<String>;

    /// Decrypts what [`Vault::lock`] made for the same place.
    ///
    /// # Errors
    /// [`Error::Broken`](crate::error::Error::Broken) for anything else, which will never open;
    /// [`Error::Unavailable`](crate::error::Error::Unavailable) while the key to do it with is not to be had.
    async fn unlock(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        column: SecretColumn,
        locked: &str,
    ) -> Result<Secret>;

    /// Keyed hash that an API key is stored and found by.
    fn hash_api_key(&self, key: &str) -> String;

    /// Keyed hash of a publish, so that what is stored can't be used to guess payloads.
    fn fingerprint(&self, canonical: &str) -> String;
}
