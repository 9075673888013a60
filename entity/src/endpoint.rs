//! A webhook endpoint.

use sea_orm::entity::prelude::*;

/// A row of `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "endpoints")]
pub struct Model {
    /// `whe_` id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Tenant.
    pub organization_id: String,
    /// Name for people.
    pub name: Option<String>,
    /// JSON array of labels.
    pub labels: String,
    /// Target, as received.
    pub url: String,
    /// Whether it gets events.
    pub enabled: bool,
    /// JSON array of event type names.
    pub subscribed_event_types: String,
    /// 0, 24, 72 or 168.
    pub retention_hours: i64,
    /// Window, when not the default.
    pub max_in_flight: Option<i64>,
    /// Rate, when limited.
    pub rate_limit_per_second: Option<i64>,
    /// Locked by the vault.
    pub signing_secret: String,
    /// The one before it, locked by the vault, while it still signs.
    pub previous_signing_secret: Option<String>,
    /// When that one ends.
    pub previous_secret_until_ms: Option<i64>,
    /// Raised by every change.
    pub revision: i64,
    /// Key against doubling that it was made with.
    pub idempotency_key: Option<String>,
    /// Keyed hash of the settings it was made with.
    pub fingerprint: Option<String>,
    /// When it was deleted.
    pub deleted_at_ms: Option<i64>,
    /// When nothing pending was left of it after that.
    pub cleared_at_ms: Option<i64>,
    /// Creation.
    pub created_at_ms: i64,
    /// Last change.
    pub updated_at_ms: i64,
    /// When it was disabled.
    pub disabled_at_ms: Option<i64>,
}

/// Rows are related by their ids alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
