//! What a document may be before it is run: bounds that the library has none of, and one code for whatever
//! is refused there.

use std::sync::Arc;

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextParseQuery, NextRequest, NextSubscribe,
};
use async_graphql::futures_util::stream::{BoxStream, StreamExt as _};
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{
    ErrorExtensions as _, Positioned, Response, ServerError, ServerResult, Variables,
};

/// Longest document, in bytes.
pub(crate) const DOCUMENT_BYTES: usize = 32 * 1024;
/// Most aliases of one document: each lets a field be asked for once more.
const ALIASES: usize = 30;
/// Most fields side by side, more than any type has.
const FIELDS: usize = 60;

/// Refuses documents that are too much, as soon as they are parsed.
pub(crate) struct Hardening;

impl ExtensionFactory for Hardening {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

/// Whatever is refused before a use case is asked has the code that REST gives to a bad request.
fn coded(mut response: Response) -> Response {
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", "BAD_REQUEST");
        }
    }
    response
}

#[async_trait]
impl Extension for Hardening {
    async fn request(&self, context: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        coded(next.run(context).await)
    }

    fn subscribe<'s>(
        &self,
        context: &ExtensionContext<'_>,
        stream: BoxStream<'s, Response>,
        next: NextSubscribe<'_>,
    ) -> BoxStream<'s, Response> {
        next.run(context, stream).map(coded).boxed()
    }

    async fn parse_query(
        &self,
        context: &ExtensionContext<'_>,
        query: &str,
        variables: &Variables,
        next: NextParseQuery<'_>,
    ) -> ServerResult<ExecutableDocument> {
        if query.len() > DOCUMENT_BYTES {
            return Err(refused(format!("query: expected at most {DOCUMENT_BYTES} bytes")));
        }
        let document = next.run(context, query, variables).await?;
        let operations =
            document.operations.iter().map(|(_, operation)| &operation.node.selection_set);
        let fragments = document.fragments.values().map(|fragment| &fragment.node.selection_set);
        let sets: Vec<_> = operations.chain(fragments).collect();
        if sets.iter().map(|set| aliases(set)).sum::<usize>() > ALIASES {
            return Err(refused(format!("query: expected at most {ALIASES} aliases")));
        }
        if sets.iter().any(|set| widest(set) > FIELDS) {
            return Err(refused(format!("query: expected at most {FIELDS} fields side by side")));
        }
        Ok(document)
    }
}

fn aliases(set: &Positioned<SelectionSet>) -> usize {
    let of = |selection: &Positioned<Selection>| match &selection.node {
        Selection::Field(field) => {
            usize::from(field.node.alias.is_some()) + aliases(&field.node.selection_set)
        }
        Selection::InlineFragment(fragment) => aliases(&fragment.node.selection_set),
        Selection::FragmentSpread(_) => 0,
    };
    set.node.items.iter().map(of).sum()
}

fn widest(set: &Positioned<SelectionSet>) -> usize {
    let of = |selection: &Positioned<Selection>| match &selection.node {
        Selection::Field(field) => widest(&field.node.selection_set),
        Selection::InlineFragment(fragment) => widest(&fragment.node.selection_set),
        Selection::FragmentSpread(_) => 0,
    };
    set.node.items.iter().map(of).max().unwrap_or(0).max(set.node.items.len())
}

fn refused(message: String) -> ServerError {
    async_graphql::Error::new(message)
        .extend_with(|_, extensions| extensions.set("code", "BAD_REQUEST"))
        .into_server_error(async_graphql::Pos::default())
}
