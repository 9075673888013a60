//! What the tests share.

pub mod daemon;
pub mod databases;
pub mod rows;
pub mod sessions;
