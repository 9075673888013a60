//! The GraphQL schema over `core`'s use cases; knows nothing of rows or HTTP. It reads and changes what
//! REST reads and changes, for the same callers and with the same codes, and what changes can be watched.

mod asking;
mod batches;
mod cluster;
mod hardening;
mod inputs;
mod instant;
mod mutation;
mod objects;
mod paging;
mod query;
mod refusal;
mod statistics;
mod subscription;

use std::sync::Arc;

use async_graphql::SchemaBuilder;
use async_graphql::http::GraphiQLSource;
use hookseal_core::admin::Admin;
use hookseal_core::intake::Intake;

use hardening::Hardening;

pub use async_graphql::{Request, Response, ServerError, Value};
pub use batches::{Batches, batches};
pub use mutation::Mutation;
pub use query::Query;
pub use refusal::refused;
pub use subscription::Subscription;

/// Deepest nesting of a document; tools that ask for the schema nest deeply.
const DEPTH: usize = 20;
/// Most fields that an answer may have, a field of a list counted for each of its items, of a list of unknown
/// length for two.
const COMPLEXITY: usize = 10_000;

/// The schema.
pub type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

/// The schema over the use cases. Each request carries its [`hookseal_core::access::Caller`] and its
/// [`batches()`] as data; `introspection` lets it ask for the schema itself.
pub fn schema(admin: Arc<Admin>, intake: Arc<Intake>, introspection: bool) -> Schema {
    let builder = bounded().data(admin).data(intake);
    if introspection { builder.finish() } else { builder.disable_introspection().finish() }
}

/// The schema with all its bounds and no use case: it judges any document, and answers nothing but what
/// the schema itself is.
pub fn bounded() -> SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query, Mutation, Subscription)
        .limit_depth(DEPTH)
        .limit_recursive_depth(DEPTH)
        .limit_complexity(COMPLEXITY)
        .disable_suggestions()
        .extension(Hardening)
}

/// A page to try the schema at `path` on. It loads its scripts from a public host.
pub fn graphiql(path: &str) -> String {
    GraphiQLSource::build().endpoint(path).subscription_endpoint(path).finish()
}

/// The schema in its definition language.
pub fn sdl() -> String {
    Schema::build(Query, Mutation, Subscription).finish().sdl()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_definition_is_the_schema() {
        let committed = include_str!("../schema.graphql");
        assert_eq!(super::sdl(), committed, "write the definition anew: see graphql/README.md");
    }
}
