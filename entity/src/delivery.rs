//! A delivery and its latest attempt.

use sea_orm::entity::prelude::*;

/// A row of `deliveries`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deliveries")]
pub struct Model {
    /// `whd_` id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Tenant.
    pub organization_id: String,
    /// Event.
    pub event_id: String,
    /// Type of the event.
    pub event_type: String,
    /// Endpoint.
    pub endpoint_id: String,
    /// Key it is sealed to.
    pub encryption_key_id: Option<String>,
    /// Status word.
    pub status: String,
    /// Attempts spent.
    pub attempt_count: i64,
    /// Latest attempt.
    pub last_attempt_at_ms: Option<i64>,
    /// How long it took.
    pub last_duration_ms: Option<i64>,
    /// Its HTTP status.
    pub last_status_code: Option<i64>,
    /// Its error kind.
    pub last_error: Option<String>,
    /// Due time while pending.
    pub next_attempt_at_ms: Option<i64>,
    /// When the payload goes.
    pub payload_expires_at_ms: Option<i64>,
    /// Why it is kept or gone.
    pub retention_reason: String,
    /// When it went.
    pub payload_scrubbed_at_ms: Option<i64>,
    /// Who attempts it.
    pub claim_token: Option<i64>,
    /// When the claim lapses.
    pub claim_expires_at_ms: Option<i64>,
    /// Claims lost in a row.
    pub lost_claims: i64,
    /// Whether an attempt may have arrived though no answer tells.
    pub maybe_delivered: bool,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// Acceptance.
    pub created_at_ms: i64,
    /// Last change.
    pub updated_at_ms: i64,
}

/// Related by their ids, without a foreign key.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The event it carries.
    #[sea_orm(
        belongs_to = "super::event::Entity",
        from = "(Column::OrganizationId, Column::EventId)",
        to = "(super::event::Column::OrganizationId, super::event::Column::Id)"
    )]
    Event,
}

impl ActiveModelBehavior for ActiveModel {}
