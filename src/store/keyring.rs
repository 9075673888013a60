//! The wrapped data keys: how they are loaded and replaced, and how signing secrets move from one to
//! another while others write them.

use hookseal_core::error::{Error, Result};
use hookseal_core::id::{EndpointId, OrganizationId};
use hookseal_core::ports::SecretColumn;
use hookseal_core::time::Timestamp;
use hookseal_entity::{data_key, endpoint};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait,
    IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};

use super::{Connections, Failure, unavailable};

/// A data key that only the master key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDataKey {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub purpose: String,
    /// Whether it is the one of its purpose that is written under.
    pub is_current: bool,
    /// Wrapped by the master key.
    pub wrapped: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl StoredDataKey {
    fn row(&self) -> data_key::Model {
        data_key::Model {
            id: self.id.clone(),
            purpose: self.purpose.clone(),
            is_current: self.is_current,
            wrapped: self.wrapped.clone(),
            created_at_ms: self.created_at.as_ms(),
        }
    }
}

/// A signing secret as its row holds it.
#[derive(Clone, Debug)]
pub struct StoredSecret {
    /// The tenant.
    pub organization: OrganizationId,
    /// The row.
    pub endpoint: EndpointId,
    /// Its column.
    pub column: SecretColumn,
    /// What [`hookseal_core::ports::Vault::lock`] made.
    pub locked: String,
}

/// All data keys, in the order of their ids.
pub async fn load_data_keys(connections: &Connections) -> Result<Vec<StoredDataKey>> {
    load(&connections.readers()).await.map_err(unavailable)
}

async fn load(db: &impl ConnectionTrait) -> Result<Vec<StoredDataKey>, sea_orm::DbErr> {
    let rows = data_key::Entity::find().order_by_asc(data_key::Column::Id).all(db).await?;
    let keys = rows.into_iter().map(|row| StoredDataKey {
        id: row.id,
        purpose: row.purpose,
        is_current: row.is_current,
        wrapped: row.wrapped,
        created_at: Timestamp::from_ms(row.created_at_ms),
    });
    Ok(keys.collect())
}

/// Adds the first data key of a purpose unless one stands.
pub async fn store_data_key(connections: &Connections, key: &StoredDataKey) -> Result<()> {
    data_key::Entity::insert(key.row().into_active_model())
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(&connections.writer())
        .await
        .map_err(unavailable)?;
    Ok(())
}

/// Makes the ring `before`, as it was loaded, into `after`; answers whether `before` is what stood.
/// After it no signing secret is committed under a key that is not current any more.
///
/// # Errors
/// [`Error::Unavailable`]; then either stands.
pub async fn replace_data_keys(
    connections: &Connections,
    before: &[StoredDataKey],
    after: &[StoredDataKey],
) -> Result<bool> {
    let work = async {
        let tx = connections.writer().begin().await?;
        if tx.get_database_backend() == DbBackend::Postgres {
            tx.execute_unprepared("LOCK TABLE keyring IN SHARE ROW EXCLUSIVE MODE").await?;
        }
        if load(&tx).await? != before {
            return Ok(false);
        }
        let gone = before.iter().filter(|key| after.iter().all(|other| other.id != key.id));
        for key in gone {
            data_key::Entity::delete_by_id(&key.id).exec(&tx).await?;
        }
        let (kept, new): (Vec<_>, Vec<_>) =
            after.iter().partition(|key| before.iter().any(|other| other.id == key.id));
        for key in kept.into_iter().filter(|key| !before.contains(key)) {
            let row = key.row().into_active_model().reset_all();
            data_key::Entity::update(row).exec(&tx).await?;
        }
        // Last, since a purpose has one current key at any time.
        for key in new {
            data_key::Entity::insert(key.row().into_active_model())
                .exec_without_returning(&tx)
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    };
    work.await.map_err(unavailable)
}

/// Holds a secret's writer to the current key: the one that `locked` names is current, and stays so until
/// `tx` has ended.
///
/// # Errors
/// [`Error::Unavailable`] when it is not.
pub(super) async fn hold_current_key(
    tx: &DatabaseTransaction,
    locked: &str,
) -> Result<(), Failure> {
    let id = locked.split('.').next().unwrap_or_default();
    let mut query = data_key::Entity::find_by_id(id).filter(data_key::Column::IsCurrent.eq(true));
    if tx.get_database_backend() == DbBackend::Postgres {
        query = query.lock_shared();
    }
    match query.one(tx).await? {
        Some(_) => Ok(()),
        // It was replaced between the encryption and now.
        None => Err(Error::full("the data key").into()),
    }
}

/// Signing secrets that are not under the data key `current`, in the order of their endpoints' ids and
/// beginning after `after`.
pub async fn secrets_under_others(
    connections: &Connections,
    current: &str,
    after: Option<&EndpointId>,
    limit: u64,
) -> Result<Vec<StoredSecret>> {
    use endpoint::Column::{Id, OrganizationId as Organization};
    // `/` is what follows `.`: all that begins with the id and a dot lies between. A deleted endpoint has
    // none, and few have a previous one.
    let (from, to) = (format!("{current}."), format!("{current}/"));
    let is_other = |column: SecretColumn| {
        let column = column_of(column);
        column.ne("").and(column.gte(&from).and(column.lt(&to)).not())
    };
    let [now, before] = [SecretColumn::Current, SecretColumn::Previous];
    let mut query = endpoint::Entity::find()
        .select_only()
        .columns([Organization, Id, column_of(now), column_of(before)])
        .filter(is_other(now).or(is_other(before)))
        .order_by_asc(Id)
        .limit(limit);
    if let Some(after) = after {
        query = query.filter(Id.gt(after.as_str()));
    }
    let rows: Vec<(String, String, String, Option<String>)> =
        query.into_tuple().all(&connections.readers()).await.map_err(unavailable)?;
    let secrets = rows.into_iter().flat_map(|(organization, endpoint, locked, previous)| {
        let organization = OrganizationId::from_row(organization);
        let endpoint = EndpointId::from_row(endpoint);
        let both = [Some((now, locked)), previous.map(|locked| (before, locked))];
        both.into_iter().flatten().map(move |(column, locked)| StoredSecret {
            organization: organization.clone(),
            endpoint: endpoint.clone(),
            column,
            locked,
        })
    });
    let is_other = |stored: &StoredSecret| {
        !stored.locked.is_empty() && !(from.as_str()..to.as_str()).contains(&stored.locked.as_str())
    };
    Ok(secrets.filter(is_other).collect())
}

fn column_of(secret: SecretColumn) -> endpoint::Column {
    match secret {
        SecretColumn::Current => endpoint::Column::SigningSecret,
        SecretColumn::Previous => endpoint::Column::PreviousSigningSecret,
    }
}

/// Puts other ciphertexts of the same secrets in their place, all under one data key, each where what was
/// read still stands; answers how many. Nothing else of the rows changes, and nobody is told.
///
/// # Errors
/// [`Error::Unavailable`], also when that key is not the current one any more.
pub async fn replace_locked_secrets(
    connections: &Connections,
    replacements: &[(StoredSecret, String)],
) -> Result<u64> {
    use endpoint::Column::Id;
    let work = async {
        let tx = connections.writer().begin().await?;
        let mut replaced = 0;
        if let Some((_, locked)) = replacements.first() {
            hold_current_key(&tx, locked).await?;
        }
        for (stored, locked) in replacements {
            let done = endpoint::Entity::update_many()
                .col_expr(column_of(stored.column), Expr::value(locked))
                .filter(Id.eq(stored.endpoint.as_str()))
                .filter(column_of(stored.column).eq(&stored.locked))
                .exec(&tx)
                .await?;
            replaced += done.rows_affected;
        }
        tx.commit().await?;
        Ok::<_, Failure>(replaced)
    };
    work.await.map_err(Error::from)
}
