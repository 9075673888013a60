//! Black-box and integration tests, in one binary. `tests/run.sh` starts what they need.

#![allow(unreachable_pub, dead_code, reason = "the support is shared with the benches")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod api;
mod bench;
mod checker;
mod cli;
mod clients;
mod cluster;
mod contract;
mod deletion;
mod delivery;
mod demo;
mod faults;
mod feed;
#[path = "../fleet/mod.rs"]
mod fleet;
mod foreign;
mod graphql;
mod hostile;
mod inbound;
#[path = "../checker/mod.rs"]
mod judge;
mod leaks;
mod listed_events;
mod live;
mod logs;
mod metrics;
mod misbehaviour;
mod openapi;
mod outage;
mod ownership;
mod parity;
mod recovery;
mod rekey;
mod restart;
mod rotation;
mod schedule;
mod smuggling;
mod statistics;
mod store;
mod support;
mod targets;
mod tenancy;
mod tenancy_graphql;
mod throttle;
mod tls;
mod withdrawal;
