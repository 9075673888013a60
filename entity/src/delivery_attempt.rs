//! An attempt that a later one replaced.

use sea_orm::entity::prelude::*;

/// A row of `delivery_attempts`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "delivery_attempts")]
pub struct Model {
    /// `wha_` id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Delivery.
    pub delivery_id: String,
    /// When.
    pub attempted_at_ms: i64,
    /// How long it took.
    pub duration_ms: i64,
    /// HTTP status.
    pub status_code: Option<i64>,
    /// Error kind.
    pub error: Option<String>,
}

/// Rows are related by their ids alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
