//! The daemon.

pub mod actors;
pub mod clock;
pub mod courier;
pub mod crypto;
pub mod metrics;
pub mod schedule;
pub mod store;
