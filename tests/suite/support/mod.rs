//! What the tests share.

pub mod bomb;
pub mod certificates;
pub mod daemon;
pub mod databases;
pub mod host;
pub mod leavings;
pub mod names;
pub mod namespace;
pub mod openapi;
pub mod redis;
pub mod rekeying;
pub mod rows;
pub mod sessions;
pub mod socket;
pub mod tcp_server;
pub mod wire;
