//! Secrets at rest: a master key wraps random data keys, and these encrypt. Each purpose has a ring of data
//! keys, of which one is current; what the others locked still opens. Every ciphertext is authenticated,
//! names its key, and is bound to the row it stands in.

mod cipher;
mod key_file;
mod master;
mod rekey;
mod source;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookseal_core::error::{Error, Result};
use hookseal_core::id::{EndpointId, OrganizationId};
use hookseal_core::ports::{Clock, Entropy, Secret, SecretColumn, Vault};
use parking_lot::RwLock;

use self::cipher::{key_id, lock, random_key, unlock};
use super::SystemEntropy;
use super::sign::hmac_hex;
use crate::store::{Connections, StoredDataKey, load_data_keys, store_data_key};

pub use self::cipher::KeyBytes;
pub use self::key_file::settle_next;
pub use self::master::{KeyWrap, MasterKey, MasterWrap};
pub use self::rekey::{Moved, rekey_secrets, rewrap};
pub use self::source::KeySource;

const SIGNING_SECRETS: &str = "signing_secrets";
const API_KEY_HASHES: &str = "api_key_hashes";
const FINGERPRINTS: &str = "fingerprints";

fn broken(what: &'static str) -> Error {
    Error::Broken { what, source: None }
}

/// The open data keys.
pub struct KeyVault {
    connections: Connections,
    runtime: tokio::runtime::Handle,
    wrap: Arc<dyn KeyWrap>,
    /// By id. Kept for as long as the process lives: a ciphertext that was read may be opened after its row
    /// and key have been replaced.
    secrets: RwLock<HashMap<String, KeyBytes>>,
    api_keys: KeyBytes,
    fingerprints: KeyBytes,
}

impl std::fmt::Debug for KeyVault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyVault").finish_non_exhaustive()
    }
}

impl KeyVault {
    /// Opens the data keys of the database under `wrap`, making those that are missing. Later ones are read
    /// on the current runtime.
    ///
    /// # Errors
    /// [`Error::Broken`] when another master key wrapped them.
    pub async fn open(
        connections: &Connections,
        wrap: Arc<dyn KeyWrap>,
        clock: &dyn Clock,
    ) -> Result<Self> {
        let ring = ring(connections, &*wrap, clock).await?;
        let mut secrets = HashMap::new();
        for stored in ring.iter().filter(|key| key.purpose == SIGNING_SECRETS) {
            secrets.insert(stored.id.clone(), opened(&*wrap, stored).await?);
        }
        let current = async |purpose| opened(&*wrap, current(&ring, purpose)?).await;
        Ok(Self {
            api_keys: current(API_KEY_HASHES).await?,
            fingerprints: current(FINGERPRINTS).await?,
            secrets: RwLock::new(secrets),
            connections: connections.clone(),
            runtime: tokio::runtime::Handle::current(),
            wrap,
        })
    }

    /// The ring as the rows have it now.
    async fn ring(&self) -> Result<Vec<StoredDataKey>> {
        let connections = self.connections.clone();
        let load = async move { load_data_keys(&connections).await };
        let loading = self.runtime.spawn(load).await;
        loading.unwrap_or_else(|panic| Err(Error::broken("the data keys", panic)))
    }

    fn held(&self, id: &str) -> Option<KeyBytes> {
        self.secrets.read().get(id).cloned()
    }

    /// A data key of signing secrets, unwrapped where this process has not seen it yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this process has not the master key that wrapped it.
    async fn secret_key(&self, stored: &StoredDataKey) -> Result<KeyBytes> {
        if let Some(key) = self.held(&stored.id) {
            return Ok(key);
        }
        let key = opened(&*self.wrap, stored)
            .await
            .map_err(|error| Error::unavailable("the data key", error))?;
        self.secrets.write().insert(stored.id.clone(), key.clone());
        Ok(key)
    }
}

/// All data keys, each purpose with a current one.
async fn ring(
    connections: &Connections,
    wrap: &dyn KeyWrap,
    clock: &dyn Clock,
) -> Result<Vec<StoredDataKey>> {
    let ring = load_data_keys(connections).await?;
    let purposes = [SIGNING_SECRETS, API_KEY_HASHES, FINGERPRINTS];
    let missing: Vec<_> =
        purposes.into_iter().filter(|purpose| current(&ring, purpose).is_err()).collect();
    if missing.is_empty() {
        return Ok(ring);
    }
    for purpose in missing {
        let new = new_data_key(wrap, purpose, clock).await?;
        store_data_key(connections, &new).await?;
    }
    // Another process may have been first.
    load_data_keys(connections).await
}

fn current<'a>(ring: &'a [StoredDataKey], purpose: &str) -> Result<&'a StoredDataKey> {
    let mut found = ring.iter().filter(|key| key.purpose == purpose && key.is_current);
    found.next().ok_or(broken("the data keys"))
}

async fn new_data_key(
    wrap: &dyn KeyWrap,
    purpose: &str,
    clock: &dyn Clock,
) -> Result<StoredDataKey> {
    let mut suffix = [0; 6];
    SystemEntropy.fill(&mut suffix);
    let id = format!("dk_{}", URL_SAFE_NO_PAD.encode(suffix));
    let wrapped = wrap.wrap(&random_key(), &binding(&id, purpose)).await?;
    let created_at = clock.now();
    Ok(StoredDataKey { id, purpose: purpose.to_owned(), is_current: true, wrapped, created_at })
}

async fn opened(wrap: &dyn KeyWrap, stored: &StoredDataKey) -> Result<KeyBytes> {
    wrap.unwrap(&stored.wrapped, &binding(&stored.id, &stored.purpose)).await
}

fn binding(id: &str, purpose: &str) -> String {
    format!("data_keys/{id}/{purpose}")
}

fn secret_binding(
    organization: &OrganizationId,
    endpoint: &EndpointId,
    column: SecretColumn,
) -> String {
    format!("{organization}/endpoints/{endpoint}/{}", column.as_str())
}

fn open_secret(
    key: &KeyBytes,
    organization: &OrganizationId,
    endpoint: &EndpointId,
    column: SecretColumn,
    locked: &str,
) -> Option<Secret> {
    let plaintext = unlock(key, &secret_binding(organization, endpoint, column), locked)?;
    Some(Secret::new(std::str::from_utf8(&plaintext).ok()?))
}

#[async_trait]
impl Vault for KeyVault {
    async fn lock(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        column: SecretColumn,
        secret: &Secret,
    ) -> Result<String> {
        // The rows are asked each time: another process may have made another key the current one.
        let ring = self.ring().await?;
        let stored = current(&ring, SIGNING_SECRETS)?;
        let key = self.secret_key(stored).await?;
        let bound_to = secret_binding(organization, endpoint, column);
        Ok(lock(&key, &stored.id, &bound_to, secret.expose().as_bytes()))
    }

    async fn unlock(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        column: SecretColumn,
        locked: &str,
    ) -> Result<Secret> {
        let id = key_id(locked);
        let key = match self.held(id) {
            Some(key) => key,
            None => {
                let ring = self.ring().await?;
                let mut found =
                    ring.iter().filter(|key| key.purpose == SIGNING_SECRETS && key.id == id);
                let stored = found.next().ok_or(broken("a stored signing secret"))?;
                self.secret_key(stored).await?
            }
        };
        open_secret(&key, organization, endpoint, column, locked)
            .ok_or(broken("a stored signing secret"))
    }

    fn hash_api_key(&self, key: &str) -> String {
        hmac_hex(self.api_keys.as_slice(), key.as_bytes())
    }

    fn fingerprint(&self, canonical: &str) -> String {
        hmac_hex(self.fingerprints.as_slice(), canonical.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::AnchoredClock;

    /// A vault over an empty database under the master key of these bytes.
    async fn vault(byte: u8) -> (KeyVault, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let connections = Connections::open(None, directory.path()).await.expect("a database");
        let source = KeySource::given("master_key", &URL_SAFE_NO_PAD.encode([byte; 32]));
        let wrap = Arc::new(MasterWrap::open(source).await.expect("a key"));
        let vault = KeyVault::open(&connections, wrap, &AnchoredClock::start()).await;
        (vault.expect("opened"), directory)
    }

    fn owner(n: u8) -> (OrganizationId, EndpointId) {
        (OrganizationId::from_row(format!("org{n}")), EndpointId::from_row(format!("whe_{n}")))
    }

    #[tokio::test]
    async fn a_secret_opens_only_in_its_own_place() {
        let (vault, _directory) = vault(1).await;
        let ((org, endpoint), (other_org, other_endpoint)) = (owner(1), owner(2));
        let (current, previous) = (SecretColumn::Current, SecretColumn::Previous);
        let locked =
            vault.lock(&org, &endpoint, current, &Secret::new("whsec_x")).await.expect("locked");
        assert!(locked.starts_with("dk_") && !locked.contains("whsec"));
        let opened = vault.unlock(&org, &endpoint, current, &locked).await.expect("opens");
        assert_eq!(opened.expose(), "whsec_x");
        let at = locked.len() - 10;
        let flipped = if &locked[at..=at] == "A" { "B" } else { "A" };
        let forged = format!("{}{flipped}{}", &locked[..at], &locked[at + 1..]);
        for (org, endpoint, column, locked) in [
            (&other_org, &endpoint, current, locked.as_str()),
            (&org, &other_endpoint, current, locked.as_str()),
            (&org, &endpoint, previous, locked.as_str()),
            (&org, &endpoint, current, forged.as_str()),
            (&org, &endpoint, current, "garbage"),
            (&org, &endpoint, current, ""),
        ] {
            let refused = vault.unlock(org, endpoint, column, locked).await;
            assert!(matches!(refused, Err(Error::Broken { .. })), "{locked}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn hashes_depend_on_their_own_key() {
        let (vault, _directory) = vault(1).await;
        assert_eq!(vault.hash_api_key("kk_1"), vault.hash_api_key("kk_1"));
        assert_ne!(vault.hash_api_key("kk_1"), vault.hash_api_key("kk_2"));
        assert_ne!(vault.hash_api_key("x"), vault.fingerprint("x"));
        assert_eq!(vault.hash_api_key("kk_1").len(), 64);
    }
}
