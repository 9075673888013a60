//! The master key, which wraps the data keys. The daemon knows it as a [`KeyWrap`] alone, which a key management
//! service could stand behind as well.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookseal_core::error::{Error, Result};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::cipher::{KEY_BYTES, KeyBytes, key_id, lock, random_key, unlock};
use super::source::KeySource;
use crate::crypto::sign::hmac_hex;

/// How long the source is left alone after it did not give the key that was wanted.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// What wrapped keys named before master keys had ids.
const NAMELESS: &str = "master";

/// Wraps data keys, as a key management service does: the key that wraps never leaves it.
#[async_trait]
pub trait KeyWrap: Send + Sync {
    /// Names the wrapping key. Whatever it wraps begins with this id and a dot.
    fn id(&self) -> String;

    /// Wraps `key`; it unwraps only in the same `context`.
    async fn wrap(&self, key: &KeyBytes, context: &str) -> Result<String>;

    /// Unwraps.
    ///
    /// # Errors
    /// [`Error::Broken`] when another key wrapped it, or it was changed since.
    async fn unwrap(&self, wrapped: &str, context: &str) -> Result<KeyBytes>;
}

/// A master key in memory.
#[derive(Clone)]
pub struct MasterKey(KeyBytes);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

impl MasterKey {
    /// Reads the base64url of 32 bytes; `field` names where it came from.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let bytes = Zeroizing::new(
            URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('=')).unwrap_or_default(),
        );
        let bytes = <[u8; KEY_BYTES]>::try_from(bytes.as_slice())
            .map_err(|_| Error::invalid(field, "base64url of 32 bytes"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// `mk_` and 8 hex digits that say nothing of the key.
    pub fn id(&self) -> String {
        let hex = hmac_hex(self.0.as_slice(), b"hookseal master key");
        format!("mk_{}", &hex[..8])
    }

    /// A new one.
    pub(super) fn random() -> Self {
        Self(random_key())
    }

    /// As [`Self::parse`] reads it.
    pub(super) fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.as_slice()))
    }
}

/// A master key that this process holds.
#[derive(Debug)]
pub struct MasterWrap {
    source: KeySource,
    held: Mutex<MasterKey>,
    /// When the source was last asked again in vain. Whoever asks holds it.
    in_vain: tokio::sync::Mutex<Option<Instant>>,
}

impl MasterWrap {
    /// Reads the key from `source`.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the setting that gave none.
    pub async fn open(source: KeySource) -> Result<Self> {
        let key = read(source.clone(), None).await?;
        Ok(Self { source, held: Mutex::new(key), in_vain: tokio::sync::Mutex::default() })
    }

    /// Asks the source again, where the key was changed while this process ran.
    async fn read_again(&self, wanted: &str) {
        let mut in_vain = self.in_vain.lock().await;
        if self.id() == wanted || in_vain.is_some_and(|at| at.elapsed() < READ_AGAIN_AFTER) {
            return;
        }
        *in_vain = Some(Instant::now());
        match read(self.source.clone(), Some(wanted.to_owned())).await {
            Ok(key) if key.id() == wanted => {
                *self.held.lock() = key;
                *in_vain = None;
            }
            // What is held is compared next, and found to be another.
            Ok(_) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the master key was not read again");
            }
        }
    }
}

async fn read(source: KeySource, wanted: Option<String>) -> Result<MasterKey> {
    let read = move || source.read(wanted.as_deref());
    let reading = tokio::task::spawn_blocking(read).await;
    reading.unwrap_or_else(|panic| Err(Error::broken("the master key", panic)))
}

#[async_trait]
impl KeyWrap for MasterWrap {
    fn id(&self) -> String {
        self.held.lock().id()
    }

    async fn wrap(&self, key: &KeyBytes, context: &str) -> Result<String> {
        let master = self.held.lock().clone();
        Ok(lock(&master.0, &master.id(), context, key.as_slice()))
    }

    async fn unwrap(&self, wrapped: &str, context: &str) -> Result<KeyBytes> {
        let named = key_id(wrapped);
        if named != NAMELESS && named != self.id() {
            self.read_again(named).await;
        }
        let master = self.held.lock().clone();
        let opened = unlock(&master.0, context, wrapped)
            .and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok());
        opened.map(Zeroizing::new).ok_or_else(|| {
            let held = master.id();
            let cause = match named {
                NAMELESS => format!("the database was made with another one than {held}"),
                _ if named == held => format!("{held} does not open a data key that names it"),
                _ => format!("the database was made with another master key: {named}, not {held}"),
            };
            Error::broken("the master key", cause)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(byte: u8) -> String {
        URL_SAFE_NO_PAD.encode([byte; 32])
    }

    #[test]
    fn a_master_key_is_32_bytes_of_base64url() {
        assert!(MasterKey::parse("master_key", &text(7)).is_ok());
        for bad in ["", "short", &URL_SAFE_NO_PAD.encode([7; 31]), "!"] {
            assert!(matches!(
                MasterKey::parse("master_key", bad),
                Err(Error::Invalid { field, .. }) if field == "master_key"
            ));
        }
    }

    #[test]
    fn an_id_tells_keys_apart_and_shows_none() {
        let [one, other] = [1, 2].map(|n| MasterKey::parse("k", &text(n)).expect("a key"));
        assert_ne!(one.id(), other.id());
        assert_eq!((one.id().len(), one.id()), (11, one.clone().id()));
        assert_eq!(format!("{one:?}"), format!("MasterKey({})", one.id()));
    }

    #[tokio::test]
    async fn a_wrapped_key_opens_in_its_context_under_its_own_key() {
        let wrap = async |byte| {
            let source = KeySource::given("master_key", &text(byte));
            MasterWrap::open(source).await.expect("a key")
        };
        let (one, other) = (wrap(1).await, wrap(2).await);
        let key = random_key();
        let wrapped = one.wrap(&key, "here").await.expect("wrapped");
        assert!(wrapped.starts_with(&format!("{}.", one.id())));
        assert_eq!(*one.unwrap(&wrapped, "here").await.expect("opens"), *key);
        assert!(one.unwrap(&wrapped, "there").await.is_err());
        let refused = other.unwrap(&wrapped, "here").await.expect_err("another key");
        let cause = std::error::Error::source(&refused).expect("a cause").to_string();
        assert!(cause.contains(&one.id()) && cause.contains(&other.id()), "{cause}");
        // As it was wrapped before keys had ids.
        let nameless = wrapped.replacen(&one.id(), NAMELESS, 1);
        assert_eq!(*one.unwrap(&nameless, "here").await.expect("opens"), *key);
        assert!(other.unwrap(&nameless, "here").await.is_err());
    }

    #[tokio::test]
    async fn a_file_whose_key_was_changed_is_read_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text(1)).expect("written");
        let source = KeySource::file("master_key_file", file.path());
        let running = MasterWrap::open(source.clone()).await.expect("a key");
        std::fs::write(file.path(), text(2)).expect("written");
        let changed = MasterWrap::open(source).await.expect("a key");
        let wrapped = changed.wrap(&random_key(), "here").await.expect("wrapped");
        assert!(running.unwrap(&wrapped, "here").await.is_ok());
        assert_eq!(running.id(), changed.id());
    }
}
