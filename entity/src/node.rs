//! One life of a node of the cluster.

use sea_orm::entity::prelude::*;

/// A row of `nodes`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "nodes")]
pub struct Model {
    /// Never given twice.
    #[sea_orm(primary_key)]
    pub number: i64,
    /// Name for people.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Where its API listens.
    pub address: String,
    /// What it is called in the feed.
    pub feed_writer: Option<String>,
    /// When it joined.
    pub started_at_ms: i64,
    /// When its lease runs out.
    pub lease_until_ms: i64,
    /// Whether it stops.
    pub leaving: bool,
    /// When it ended, or was said to.
    pub ended_at_ms: Option<i64>,
    /// Endpoints that it is at work for.
    pub endpoints: i64,
    /// Deliveries that wait in its memory.
    pub waiting: i64,
    /// Attempts in flight.
    pub in_flight: i64,
    /// Endpoints whose breaker holds attempts back.
    pub breakers_open: i64,
    /// How late it passed on the latest due times.
    pub lag_ms: i64,
}

/// Rows are related by their numbers alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
