//! The domain of Hookseal: pure. No runtime, no database, no socket, no clock of its own.
//!
//! The life of a delivery is drawn in [`delivery`]. In reading order:
//!
//! 1. Words: [`time`], [`id`], [`event`] with its [`payload`], [`endpoint`], [`key`], [`access`], [`page`], [`limits`],
//!    [`error`].
//! 2. Policy: [`delivery`] (the machine), [`outcome`], [`retry`], [`retention`], [`lane`] with its
//!    [`breaker`], [`pace`], [`gate`], [`budget`] and [`commons`], [`shard`], [`target`], [`rotation`].
//! 3. What is told to those who watch: [`feed`], kept in [`order`] by tickets; [`watch`]; and what it comes to, [`statistics`],
//!    [`cluster`].
//! 4. Use cases over [`ports`]: [`intake`], [`admin`].

pub mod access;
pub mod admin;
pub mod audit;
pub mod breaker;
pub mod budget;
pub mod cluster;
pub mod commons;
pub mod delivery;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod feed;
mod flow;
pub mod gate;
pub mod id;
pub mod intake;
pub mod key;
pub mod lane;
pub mod limits;
pub mod order;
pub mod outcome;
pub mod pace;
pub mod page;
pub mod payload;
pub mod ports;
pub mod privacy;
pub mod recent;
pub mod retention;
pub mod retry;
pub mod rotation;
pub mod shard;
pub mod statistics;
pub mod target;
#[cfg(test)]
mod testing;
pub mod throttle;
pub mod time;
pub mod watch;
