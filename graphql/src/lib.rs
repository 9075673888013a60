//! The GraphQL schema over `core`'s use cases; knows nothing of rows or HTTP. It reads endpoints,
//! events and deliveries; what changes them is REST's so far.

mod objects;
mod query;
mod refusal;

use std::sync::Arc;

use async_graphql::{EmptyMutation, EmptySubscription};
use hookseal_core::admin::Admin;

pub use async_graphql::{Request, Response};
pub use query::Query;
pub use refusal::response_of;

/// Deepest nesting of a document.
const DEPTH: usize = 10;
/// Most fields that a document may ask for, each counted once.
const COMPLEXITY: usize = 500;
/// Most directives on one field.
const DIRECTIVES: usize = 5;

/// The schema.
pub type Schema = async_graphql::Schema<Query, EmptyMutation, EmptySubscription>;

/// The schema over `admin`. Each request carries its [`hookseal_core::access::Caller`] as data.
pub fn schema(admin: Arc<Admin>) -> Schema {
    Schema::build(Query, EmptyMutation, EmptySubscription)
        .data(admin)
        .limit_depth(DEPTH)
        .limit_recursive_depth(DEPTH)
        .limit_complexity(COMPLEXITY)
        .limit_directives(DIRECTIVES)
        .disable_suggestions()
        .finish()
}

/// The schema in its definition language.
pub fn sdl() -> String {
    Schema::build(Query, EmptyMutation, EmptySubscription).finish().sdl()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_definition_is_the_schema() {
        let committed = include_str!("../schema.graphql");
        assert_eq!(super::sdl(), committed, "write the definition anew: see graphql/README.md");
    }
}
