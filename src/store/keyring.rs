//! The wrapped data keys, as the vault stores and loads them at start.

use hookseal_core::error::Result;
use hookseal_core::time::Timestamp;
use hookseal_entity::data_key;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, EntityTrait};

use super::{Connections, unavailable};

/// A data key that only the master key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDataKey {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub purpose: String,
    /// Wrapped by the master key.
    pub wrapped: String,
}

/// All data keys.
pub async fn load_data_keys(connections: &Connections) -> Result<Vec<StoredDataKey>> {
    let rows = data_key::Entity::find().all(&connections.readers()).await.map_err(unavailable)?;
    let keys = rows.into_iter().map(|row| StoredDataKey {
        id: row.id,
        purpose: row.purpose,
        wrapped: row.wrapped,
    });
    Ok(keys.collect())
}

/// Adds a data key unless one for its purpose stands.
pub async fn store_data_key(
    connections: &Connections,
    key: &StoredDataKey,
    now: Timestamp,
) -> Result<()> {
    let row = data_key::ActiveModel {
        id: Set(key.id.clone()),
        purpose: Set(key.purpose.clone()),
        wrapped: Set(key.wrapped.clone()),
        created_at_ms: Set(now.as_ms()),
    };
    data_key::Entity::insert(row)
        .on_conflict(OnConflict::column(data_key::Column::Purpose).do_nothing().to_owned())
        .exec_without_returning(&connections.writer())
        .await
        .map_err(unavailable)?;
    Ok(())
}
