//! Changing keys on a live database: data keys come under another master key, and signing secrets under
//! another data key.

use std::time::Instant;

use hookseal_core::error::{Error, Result};
use hookseal_core::ports::{Clock, Vault as _};

use super::{
    KeyVault, KeyWrap, SIGNING_SECRETS, StoredDataKey, binding, current, lock, new_data_key,
    secret_binding,
};
use crate::store::{
    Connections, load_data_keys, replace_data_keys, replace_locked_secrets, secrets_under_others,
};

/// Secrets that are encrypted anew in one transaction: few enough that nobody waits for it.
const BATCH: u64 = 200;
/// How often the ring may change under a run before it gives up.
const TRIES: usize = 5;

fn restless() -> Error {
    Error::full("the data keys, which others change at the same time")
}

/// Wraps every data key by `new` instead of `old`, in one transaction; answers how many were. Those that
/// are wrapped by `new` already are left as they are, so that a run whose end is unknown can be repeated.
///
/// # Errors
/// [`Error::Broken`] when neither is the key that wrapped them.
pub async fn rewrap(
    connections: &Connections,
    old: &dyn KeyWrap,
    new: &dyn KeyWrap,
) -> Result<usize> {
    let prefix = format!("{}.", new.id());
    for _ in 0..TRIES {
        let before = load_data_keys(connections).await?;
        let mut after = before.clone();
        for stored in &mut after {
            let context = binding(&stored.id, &stored.purpose);
            if stored.wrapped.starts_with(&prefix) {
                new.unwrap(&stored.wrapped, &context).await?;
            } else {
                let key = old.unwrap(&stored.wrapped, &context).await?;
                stored.wrapped = new.wrap(&key, &context).await?;
            }
        }
        if replace_data_keys(connections, &before, &after).await? {
            return Ok(before.iter().zip(&after).filter(|(before, after)| before != after).count());
        }
    }
    Err(restless())
}

/// How far [`rekey_secrets`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Secrets that were encrypted anew.
    pub moved: u64,
    /// Secrets that do not open, and were left alone.
    pub unreadable: u64,
}

/// Makes another data key for signing secrets, or goes on with one that a broken-off run has made, brings all
/// secrets under it, and deletes the keys that none is under any more. `progress` hears of every batch.
///
/// Others may read and write secrets meanwhile. Once the new key is the current one, nobody commits a secret
/// under another: the transaction that writes one looks. So what is left under the old keys only gets less,
/// and a key that nothing is under is needed by nobody. A process that had it open keeps it in memory.
///
/// # Errors
/// [`Error::Unavailable`] when the database is away; running it again goes on.
pub async fn rekey_secrets(
    connections: &Connections,
    vault: &KeyVault,
    clock: &dyn Clock,
    mut progress: impl FnMut(Moved),
) -> Result<Moved> {
    let new = begin(connections, &*vault.wrap, clock).await?;
    let key = vault.secret_key(&new).await?;
    let mut so_far = Moved::default();
    let mut after = None;
    loop {
        let page = secrets_under_others(connections, &new.id, after.as_ref(), BATCH).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.endpoint.clone());
        let mut replacements = Vec::with_capacity(page.len());
        for stored in page {
            let (organization, endpoint, column) =
                (&stored.organization, &stored.endpoint, stored.column);
            match vault.unlock(organization, endpoint, column, &stored.locked).await {
                Ok(secret) => {
                    let bound_to = secret_binding(organization, endpoint, column);
                    let locked = lock(&key, &new.id, &bound_to, secret.expose().as_bytes());
                    replacements.push((stored, locked));
                }
                Err(error @ Error::Broken { .. }) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%endpoint, error, "a signing secret does not open");
                    so_far.unreadable += 1;
                }
                Err(error) => return Err(error),
            }
        }
        // One that was rotated or deleted meanwhile stays as its owner left it.
        let began = Instant::now();
        so_far.moved += replace_locked_secrets(connections, &replacements).await?;
        progress(so_far);
        // SQLite has one writer, and who waits for it asks now and then: half of the time is theirs.
        tokio::time::sleep(began.elapsed()).await;
    }
    if so_far.unreadable == 0 {
        forget_former(connections, &new.id).await?;
    }
    Ok(so_far)
}

fn is_former(key: &StoredDataKey) -> bool {
    key.purpose == SIGNING_SECRETS && !key.is_current
}

/// The key that secrets are to come under; a new one unless a run was broken off.
async fn begin(
    connections: &Connections,
    wrap: &dyn KeyWrap,
    clock: &dyn Clock,
) -> Result<StoredDataKey> {
    for _ in 0..TRIES {
        let before = load_data_keys(connections).await?;
        if before.iter().any(is_former) {
            return current(&before, SIGNING_SECRETS).cloned();
        }
        let new = new_data_key(wrap, SIGNING_SECRETS, clock).await?;
        let mut after = before.clone();
        for key in after.iter_mut().filter(|key| key.purpose == SIGNING_SECRETS) {
            key.is_current = false;
        }
        after.push(new.clone());
        if replace_data_keys(connections, &before, &after).await? {
            return Ok(new);
        }
    }
    Err(restless())
}

/// Deletes the keys of signing secrets that are not current, once no secret is under them.
async fn forget_former(connections: &Connections, current: &str) -> Result<()> {
    for _ in 0..TRIES {
        let before = load_data_keys(connections).await?;
        if !secrets_under_others(connections, current, None, 1).await?.is_empty() {
            break;
        }
        let mut after = before.clone();
        after.retain(|key| !is_former(key));
        if replace_data_keys(connections, &before, &after).await? {
            return Ok(());
        }
    }
    Err(restless())
}
