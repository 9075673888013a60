//! Secrets at rest: a master key wraps random data keys, a data key for each purpose. Every
//! ciphertext is authenticated and bound to the row it stands in.
//!
//! A wrapped key or locked secret reads `<key id>.<nonce>.<ciphertext and tag>`, the latter two in
//! base64url.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookseal_core::error::{Error, Result};
use hookseal_core::id::{EndpointId, OrganizationId};
use hookseal_core::ports::{Clock, Entropy, Secret, SecretColumn, Vault};
use zeroize::Zeroizing;

use super::SystemEntropy;
use super::sign::hmac_hex;
use crate::store::{Connections, StoredDataKey, load_data_keys, store_data_key};

/// Name of the master key file that is made in the data directory when none is configured.
const MASTER_KEY_FILE: &str = "master.key";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

fn broken(what: &'static str) -> Error {
    Error::Broken { what, source: None }
}

/// The key that wraps all others.
pub struct MasterKey(KeyBytes);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey([secret])")
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

    /// Reads the key file in `data_dir`, or makes one that only its owner can read.
    pub fn in_data_dir(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(MASTER_KEY_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(MASTER_KEY_FILE, &Zeroizing::new(text)),
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
                let key = random_key();
                let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(key.as_slice()));
                write_new(&path, &text)
                    .map_err(|error| Error::unavailable("the data directory", error))?;
                Ok(Self(key))
            }
            Err(error) => Err(Error::unavailable("the master key file", error)),
        }
    }
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    // Whatever it wraps is lost with it: it must be on disk before the first wrapped key is.
    file.sync_all()?;
    match path.parent() {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn random_key() -> KeyBytes {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    SystemEntropy.fill(key.as_mut_slice());
    key
}

fn lock(key: &[u8; KEY_BYTES], key_id: &str, bound_to: &str, plaintext: &[u8]) -> String {
    let mut nonce = [0; NONCE_BYTES];
    SystemEntropy.fill(&mut nonce);
    let cipher = Aes256Gcm::new_from_slice(key).expect("the key has 32 bytes");
    let payload = Payload { msg: plaintext, aad: bound_to.as_bytes() };
    let ciphertext = cipher
        .encrypt(&Nonce::from(nonce), payload)
        .expect("a secret is far below the cipher's bound");
    format!("{key_id}.{}.{}", URL_SAFE_NO_PAD.encode(nonce), URL_SAFE_NO_PAD.encode(ciphertext))
}

fn unlock(key: &[u8; KEY_BYTES], bound_to: &str, locked: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut parts = locked.split('.').skip(1);
    let nonce = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
    let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).ok()?;
    let ciphertext = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
    let cipher = Aes256Gcm::new_from_slice(key).expect("the key has 32 bytes");
    let payload = Payload { msg: &ciphertext, aad: bound_to.as_bytes() };
    cipher.decrypt(&Nonce::from(nonce), payload).ok().map(Zeroizing::new)
}

struct DataKey {
    id: String,
    bytes: KeyBytes,
}

/// The open data keys.
pub struct KeyVault {
    secrets: DataKey,
    api_keys: DataKey,
    fingerprints: DataKey,
}

impl std::fmt::Debug for KeyVault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyVault").finish_non_exhaustive()
    }
}

impl KeyVault {
    /// Opens the data keys of the database under `master`, making those that are missing.
    ///
    /// # Errors
    /// [`Error::Broken`] when `master` is not the key that wrapped them.
    pub async fn open(
        connections: &Connections,
        master: &MasterKey,
        clock: &dyn Clock,
    ) -> Result<Self> {
        Ok(Self {
            secrets: data_key(connections, master, "signing_secrets", clock).await?,
            api_keys: data_key(connections, master, "api_key_hashes", clock).await?,
            fingerprints: data_key(connections, master, "fingerprints", clock).await?,
        })
    }
}

async fn data_key(
    connections: &Connections,
    master: &MasterKey,
    purpose: &str,
    clock: &dyn Clock,
) -> Result<DataKey> {
    let find = async || {
        let keys = load_data_keys(connections).await?;
        Ok::<_, Error>(keys.into_iter().find(|key| key.purpose == purpose))
    };
    let stored = match find().await? {
        Some(stored) => stored,
        None => {
            let mut suffix = [0; 6];
            SystemEntropy.fill(&mut suffix);
            let id = format!("dk_{}", URL_SAFE_NO_PAD.encode(suffix));
            let wrapped =
                lock(&master.0, "master", &binding(&id, purpose), random_key().as_slice());
            let new = StoredDataKey { id, purpose: purpose.to_owned(), wrapped };
            store_data_key(connections, &new, clock.now()).await?;
            // Another process may have been first.
            find().await?.ok_or(broken("the data keys"))?
        }
    };
    let bytes = unlock(&master.0, &binding(&stored.id, purpose), &stored.wrapped)
        .and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok())
        .ok_or_else(|| {
            Error::broken("the master key", "it is not the one that this database was made with")
        })?;
    Ok(DataKey { id: stored.id, bytes: Zeroizing::new(bytes) })
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

impl Vault for KeyVault {
    fn lock(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        column: SecretColumn,
        secret: &Secret,
    ) -> String {
        let bound_to = secret_binding(organization, endpoint, column);
        lock(&self.secrets.bytes, &self.secrets.id, &bound_to, secret.expose().as_bytes())
    }

    fn unlock(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        column: SecretColumn,
        locked: &str,
    ) -> Result<Secret> {
        let bound_to = secret_binding(organization, endpoint, column);
        let plaintext = unlock(&self.secrets.bytes, &bound_to, locked)
            .ok_or(broken("a stored signing secret"))?;
        let text =
            std::str::from_utf8(&plaintext).map_err(|_| broken("a stored signing secret"))?;
        Ok(Secret::new(text))
    }

    fn hash_api_key(&self, key: &str) -> String {
        hmac_hex(self.api_keys.bytes.as_slice(), key.as_bytes())
    }

    fn fingerprint(&self, canonical: &str) -> String {
        hmac_hex(self.fingerprints.bytes.as_slice(), canonical.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> KeyVault {
        let key = |id: &str| DataKey { id: id.into(), bytes: random_key() };
        KeyVault { secrets: key("dk_s"), api_keys: key("dk_a"), fingerprints: key("dk_f") }
    }

    fn owner(n: u8) -> (OrganizationId, EndpointId) {
        (OrganizationId::from_row(format!("org{n}")), EndpointId::from_row(format!("whe_{n}")))
    }

    #[test]
    fn a_secret_opens_only_in_its_own_place() {
        let vault = vault();
        let ((org, endpoint), (other_org, other_endpoint)) = (owner(1), owner(2));
        let current = SecretColumn::Current;
        let locked = vault.lock(&org, &endpoint, current, &Secret::new("whsec_x"));
        assert!(locked.starts_with("dk_s.") && !locked.contains("whsec"));
        let opened = vault.unlock(&org, &endpoint, current, &locked);
        assert_eq!(opened.expect("opens").expose(), "whsec_x");
        assert!(vault.unlock(&other_org, &endpoint, current, &locked).is_err());
        assert!(vault.unlock(&org, &other_endpoint, current, &locked).is_err());
        assert!(vault.unlock(&org, &endpoint, SecretColumn::Previous, &locked).is_err());
        let mut forged = locked.clone();
        forged.replace_range(
            locked.len() - 2..locked.len() - 1,
            if locked.ends_with("AA") { "B" } else { "A" },
        );
        assert!(forged == locked || vault.unlock(&org, &endpoint, current, &forged).is_err());
        assert!(vault.unlock(&org, &endpoint, current, "garbage").is_err());
    }

    #[test]
    fn hashes_depend_on_their_own_key() {
        let vault = vault();
        assert_eq!(vault.hash_api_key("kk_1"), vault.hash_api_key("kk_1"));
        assert_ne!(vault.hash_api_key("kk_1"), vault.hash_api_key("kk_2"));
        assert_ne!(vault.hash_api_key("x"), vault.fingerprint("x"));
        assert_eq!(vault.hash_api_key("kk_1").len(), 64);
    }

    #[test]
    fn a_master_key_is_32_bytes_of_base64url() {
        assert!(MasterKey::parse("master_key", &URL_SAFE_NO_PAD.encode([7; 32])).is_ok());
        for bad in ["", "short", &URL_SAFE_NO_PAD.encode([7; 31]), "!"] {
            assert!(matches!(
                MasterKey::parse("master_key", bad),
                Err(Error::Invalid { field, .. }) if field == "master_key"
            ));
        }
    }

    #[test]
    fn the_key_file_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let first = MasterKey::in_data_dir(directory.path()).expect("made");
        let again = MasterKey::in_data_dir(directory.path()).expect("read");
        assert_eq!(first.0, again.0);
        let mode = std::fs::metadata(directory.path().join(MASTER_KEY_FILE))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
