//! The GraphQL schema over `core`'s use cases; knows nothing of rows or HTTP. It reads and changes what
//! REST reads and changes, for the same callers and with the same codes.

mod batches;
mod inputs;
mod mutation;
mod objects;
mod query;
mod refusal;

use std::sync::Arc;

use async_graphql::EmptySubscription;
use hookseal_core::admin::Admin;
use hookseal_core::intake::Intake;

pub use async_graphql::{Request, Response};
pub use batches::{Batches, batches};
pub use mutation::Mutation;
pub use query::Query;

/// Deepest nesting of a document.
const DEPTH: usize = 10;
/// Most fields that a document may ask for, each counted once.
const COMPLEXITY: usize = 500;
/// Most directives on one field.
const DIRECTIVES: usize = 5;

/// The schema.
pub type Schema = async_graphql::Schema<Query, Mutation, EmptySubscription>;

/// The schema over the use cases. Each request carries its [`hookseal_core::access::Caller`] and its
/// [`batches`] as data.
pub fn schema(admin: Arc<Admin>, intake: Arc<Intake>) -> Schema {
    Schema::build(Query, Mutation, EmptySubscription)
        .data(admin)
        .data(intake)
        .limit_depth(DEPTH)
        .limit_recursive_depth(DEPTH)
        .limit_complexity(COMPLEXITY)
        .limit_directives(DIRECTIVES)
        .disable_suggestions()
        .finish()
}

/// The schema in its definition language.
pub fn sdl() -> String {
    Schema::build(Query, Mutation, EmptySubscription).finish().sdl()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_definition_is_the_schema() {
        let committed = include_str!("../schema.graphql");
        assert_eq!(super::sdl(), committed, "write the definition anew: see graphql/README.md");
    }
}
