//! An event; its payload is never here.

use sea_orm::entity::prelude::*;

/// A row of `events`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    /// `evt_` id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Tenant.
    pub organization_id: String,
    /// Type.
    pub event_type: String,
    /// What triggered it.
    pub trigger_type: String,
    /// Id of the trigger.
    pub trigger_id: String,
    /// Session it tells of.
    pub session_id: Option<String>,
    /// Whether it ends it, as the session's row says, too.
    pub ends_session: bool,
    /// Caller's key against doubling.
    pub idempotency_key: Option<String>,
    /// Keyed hash of the publish.
    pub fingerprint: Option<String>,
    /// Acceptance.
    pub created_at_ms: i64,
}

/// Rows are related by their ids alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
