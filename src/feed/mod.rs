//! Adapters of the feed.

mod window;

pub mod memory;
pub mod redis;
