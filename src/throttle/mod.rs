//! Adapters of the throttle; the one within a process is `hookseal_core::throttle`.

pub mod redis;
