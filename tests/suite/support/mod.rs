//! What the tests share.

pub mod daemon;
pub mod databases;
pub mod host;
pub mod openapi;
pub mod redis;
pub mod rekeying;
pub mod rows;
pub mod sessions;
pub mod socket;
