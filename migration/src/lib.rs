//! The schema, as frozen steps that run on SQLite and on PostgreSQL alike.
//!
//! A step that has been released never changes; every statement can be run again, so that a
//! migration killed halfway is finished by the next start.

use sea_orm_migration::prelude::*;

mod m0001_initial;
mod m0002_contract;
mod m0003_statistics;
mod m0004_cluster;
mod m0005_keyring;
mod m0006_rotation;
mod m0007_fewer_indexes;
mod text;

/// All steps, in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_initial::Migration),
            Box::new(m0002_contract::Migration),
            Box::new(m0003_statistics::Migration),
            Box::new(m0004_cluster::Migration),
            Box::new(m0005_keyring::Migration),
            Box::new(m0006_rotation::Migration),
            Box::new(m0007_fewer_indexes::Migration),
        ]
    }
}
