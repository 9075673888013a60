//! A share of the endpoints.

use sea_orm::entity::prelude::*;

/// A row of `shards`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "shards")]
pub struct Model {
    /// Which, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub shard: i64,
    /// Number of the node that speaks for its endpoints.
    pub owner: Option<i64>,
    /// Raised whenever it changes hands.
    pub epoch: i64,
}

/// Rows are related by their numbers alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
