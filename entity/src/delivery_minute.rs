//! What deliveries came to within one minute.

use sea_orm::entity::prelude::*;

/// A row of `delivery_minutes`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "delivery_minutes")]
pub struct Model {
    /// Tenant.
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    /// Endpoint; empty in the row of the whole organization.
    #[sea_orm(primary_key, auto_increment = false)]
    pub endpoint_id: String,
    /// Minutes since the epoch.
    #[sea_orm(primary_key, auto_increment = false)]
    pub minute: i64,
    /// The life of the process that counted.
    #[sea_orm(primary_key, auto_increment = false)]
    pub part: i64,
    /// Deliveries that a receiver took.
    pub delivered: i64,
    /// Deliveries that were given up.
    pub failed: i64,
    /// Attempts that failed and were followed by another.
    pub retried: i64,
    /// Attempts in buckets of their duration, a JSON array.
    pub durations: String,
}

/// Rows are related by their ids alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
