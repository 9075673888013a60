//! Pages of lists.

use async_graphql::connection::{Connection, Edge};
use async_graphql::{OutputType, Result};
use hookseal_core::error::Error;
use hookseal_core::page::{Page, PageRequest};

use crate::refusal::refused;

/// A page of a list, with a cursor for each of its items.
pub(crate) fn connection<T, N: OutputType>(
    page: Page<T>,
    cursor: impl Fn(&T) -> String,
    node: impl Fn(T) -> N,
) -> Connection<String, N> {
    let mut connection = Connection::new(false, page.has_more);
    let edges = page.items.into_iter().map(|item| Edge::new(cursor(&item), node(item)));
    connection.edges.extend(edges);
    connection
}

/// The page asked for: `first` items, `after` a cursor.
pub(crate) fn page(first: Option<i32>, after: Option<String>) -> Result<PageRequest> {
    PageRequest::judge(first.map(i64::from), after).map_err(|error| {
        refused(match error {
            Error::Invalid { field, expected } => {
                let field = if field == "limit" { "first" } else { "after" };
                Error::invalid(field, expected)
            }
            other => other,
        })
    })
}

/// What a list of `first` items counts for.
pub(crate) fn several(first: Option<i32>, default: usize) -> usize {
    first.map_or(default, |first| usize::try_from(first).unwrap_or(default)).max(1)
}
