//! The public REST contract as a table: a row a fact, asked of the real binary over HTTP, on each
//! database. A row that fails stops no other; rows run side by side and share nothing they change.

mod access;
mod additions;
mod api_keys;
mod audit_log;
mod bounds;
mod browsers;
mod changes;
mod conditions;
mod cookies;
mod deletion;
mod deliveries;
mod encryption_keys;
mod endpoint_rules;
mod endpoints;
mod envelope;
mod events;
mod isolation;
mod issuers;
mod jwk_rules;
mod pages;
mod privacy;
mod request_limits;
mod retention;
mod rights;
mod sessions;
pub mod tokens;
mod urls;
mod vocabulary;
mod world;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::databases::Engine;
use vocabulary::Fact;
use world::World;

/// Rows that run side by side.
const AT_ONCE: usize = 4;
/// Fewer rows are no table of the contract.
const LEAST: usize = 250;

#[test]
fn every_fact_holds_on_sqlite() {
    every_fact_holds(Engine::Sqlite);
}

#[test]
fn every_fact_holds_on_postgres() {
    every_fact_holds(Engine::Postgres);
}

fn every_fact_holds(engine: Engine) {
    let world = World::start(engine);
    let facts = facts(&world);
    let mut names = HashSet::new();
    for fact in &facts {
        assert!(names.insert(fact.name.as_str()), "two rows are named {:?}", fact.name);
    }
    assert!(facts.len() >= LEAST, "only {} rows", facts.len());
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(fact) = facts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(&fact.holds)) {
                        let row = format!("{}\n    {}", fact.name, told(&*panic));
                        broken.lock().unwrap().push(row);
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap();
    broken.sort_unstable();
    let (count, of) = (broken.len(), facts.len());
    assert!(broken.is_empty(), "{count} of {of} facts do not hold:\n{}", broken.join("\n"));
}

fn facts(world: &World) -> Vec<Fact<'_>> {
    let files = [
        access::facts(world),
        additions::facts(world),
        api_keys::facts(world),
        audit_log::facts(world),
        bounds::facts(world),
        browsers::facts(world),
        changes::facts(world),
        conditions::facts(world),
        cookies::facts(world),
        deletion::facts(world),
        deliveries::facts(world),
        encryption_keys::facts(world),
        endpoint_rules::facts(world),
        endpoints::facts(world),
        envelope::facts(world),
        events::facts(world),
        isolation::facts(world),
        issuers::facts(world),
        jwk_rules::facts(world),
        pages::facts(world),
        privacy::facts(world),
        request_limits::facts(world),
        retention::facts(world),
        rights::facts(world),
        sessions::facts(world),
        urls::facts(world),
    ];
    files.into_iter().flatten().collect()
}

/// What a panic said.
fn told(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked")
}
