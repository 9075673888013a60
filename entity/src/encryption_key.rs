//! A public key that payloads are sealed to.

use sea_orm::entity::prelude::*;

/// A row of `encryption_keys`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "encryption_keys")]
pub struct Model {
    /// `whk_` id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Endpoint.
    pub endpoint_id: String,
    /// Name its owner chose.
    pub key_id: String,
    /// The five kept members, as JSON.
    pub jwk: String,
    /// Whether payloads are sealed to it.
    pub is_active: bool,
    /// Creation.
    pub created_at_ms: i64,
    /// Last change.
    pub updated_at_ms: i64,
    /// When it was deactivated.
    pub disabled_at_ms: Option<i64>,
}

/// Rows are related by their ids alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
