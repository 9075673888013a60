//! The rows, a table each. No behaviour: what they mean is in `core`, how they move in `store`.
//!
//! Instants are milliseconds since the epoch.

pub mod api_key;
pub mod audit_log;
pub mod data_key;
pub mod delivery;
pub mod delivery_attempt;
pub mod delivery_minute;
pub mod encryption_key;
pub mod endpoint;
pub mod event;
pub mod node;
pub mod organization;
pub mod sealed_payload;
pub mod shard;
pub mod verification_session;
