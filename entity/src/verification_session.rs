//! A verification session: its end, and its withdrawal.

use sea_orm::entity::prelude::*;

/// A row of `verification_sessions`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "verification_sessions")]
pub struct Model {
    /// Tenant.
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization_id: String,
    /// Session.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: String,
    /// The event that ended it.
    pub terminal_event_id: Option<String>,
    /// Whether that event's row is gone.
    pub outlives_event: bool,
    /// JSON array of the endpoints that its events are for; null for all.
    pub targets: Option<String>,
    /// `prv_` id of its withdrawal; what follows is null without one.
    pub privacy_request_id: Option<String>,
    /// How the platform said it stood.
    pub outcome: Option<String>,
    /// Failures of the NFC check.
    pub nfc_tries_used: Option<i64>,
    /// Failures of the liveness check.
    pub liveness_tries_used: Option<i64>,
    /// When it was withdrawn.
    pub withdrawn_at_ms: Option<i64>,
    /// How far the withdrawal is.
    pub state: Option<String>,
    /// The event that replaced its end.
    pub replacement_event_id: Option<String>,
}

/// Rows are related by their ids alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
