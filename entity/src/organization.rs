//! An organization: the tenant.

use sea_orm::entity::prelude::*;

/// A row of `organizations`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "organizations")]
pub struct Model {
    /// UUID.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Raised by every change of endpoints, keys or subscriptions.
    pub audience_version: i64,
    /// When it was frozen.
    pub frozen_at_ms: Option<i64>,
    /// When it was deleted: its rows are on their way out.
    pub deleted_at_ms: Option<i64>,
    /// Creation.
    pub created_at_ms: i64,
    /// Last change.
    pub updated_at_ms: i64,
}

/// Rows are related by their ids alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
