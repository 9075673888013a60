//! The compact JWE of a delivery; scrubbing deletes the row.

use sea_orm::entity::prelude::*;

/// A row of `sealed_payloads`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sealed_payloads")]
pub struct Model {
    /// Delivery.
    #[sea_orm(primary_key, auto_increment = false)]
    pub delivery_id: String,
    /// Compact JWE.
    pub jwe: Vec<u8>,
}

/// Rows are related by their ids alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
