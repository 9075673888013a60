//! A data key, wrapped by the master key.

use sea_orm::entity::prelude::*;

/// A row of `keyring`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "keyring")]
pub struct Model {
    /// Key id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// What it is for.
    pub purpose: String,
    /// Whether it is the one of its purpose that is written under.
    pub is_current: bool,
    /// Wrapped key.
    pub wrapped: String,
    /// Creation.
    pub created_at_ms: i64,
}

/// Rows are related by their ids alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
