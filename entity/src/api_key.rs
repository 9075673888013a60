//! An API key, found by its keyed hash.

use sea_orm::entity::prelude::*;

/// A row of `api_keys`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    /// UUID.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Tenant; null for a platform key.
    pub organization_id: Option<String>,
    /// Name for people.
    pub name: String,
    /// Keyed hash of the key.
    pub key_hash: String,
    /// Whether it is accepted.
    pub enabled: bool,
    /// JSON array of scopes.
    pub scopes: String,
    /// JSON object of what its owner remembers with it.
    pub metadata: String,
    /// Requests it made.
    pub request_count: i64,
    /// Creation.
    pub created_at_ms: i64,
    /// Last change.
    pub updated_at_ms: i64,
}

/// Rows are related by their ids alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
