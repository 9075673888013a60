//! The daemon: everything that touches the world. The domain is in `hookseal-core`; what happens to
//! an event, and where, is drawn in `docs/architecture.md`.

pub mod actors;
pub mod api;
pub mod app;
pub(crate) mod bench;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod courier;
pub mod crypto;
pub mod demo;
pub mod feed;
pub mod listener;
pub mod metrics;
pub mod ownership;
mod private_file;
pub mod redis_link;
pub mod schedule;
pub mod store;
pub mod telemetry;
pub mod throttle;
