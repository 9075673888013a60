//! A document that asks for more than the bounds allow is not run, and every refusal is short, has a code, and
//! repeats no value of a variable. What follows a zero byte is the variables, as JSON.

#![no_main]

use std::sync::LazyLock;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Request, Response, Value, Variables};
use hookseal_graphql::Schema;
use libfuzzer_sys::fuzz_target;

/// Most selections of a document, fragments followed.
const SELECTIONS: usize = 2000;
/// Deepest that selections stand within each other, fragments followed.
const DEPTH: usize = 20;

/// What every text in a variable begins with: a value that is repeated shows it.
const CANARY: &str = "canary-4711 ";

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| hookseal_graphql::bounded().finish());

/// Counts as slowly as can be, until it is too much either way; a fragment within itself is.
fn within(
    document: &ExecutableDocument,
    set: &SelectionSet,
    depth: usize,
    left: &mut usize,
) -> bool {
    set.items.iter().all(|selection| {
        if *left == 0 || depth == 0 {
            return false;
        }
        *left -= 1;
        let below = match &selection.node {
            Selection::Field(field) => &field.node.selection_set,
            Selection::InlineFragment(fragment) => &fragment.node.selection_set,
            Selection::FragmentSpread(spread) => {
                let name = &spread.node.fragment_name.node;
                let Some(fragment) = document.fragments.get(name) else { return true };
                &fragment.node.selection_set
            }
        };
        // Every step is counted as one, so that spreads within spreads end, too.
        within(document, &below.node, depth - 1, left)
    })
}

fn marked(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => text.insert_str(0, CANARY),
        serde_json::Value::Array(items) => items.iter_mut().for_each(marked),
        serde_json::Value::Object(members) => members.values_mut().for_each(marked),
        _ => {}
    }
}

fn answer(query: &str, variables: &serde_json::Value) -> Response {
    let variables = Variables::from_json(variables.clone());
    futures_executor::block_on(SCHEMA.execute(Request::new(query).variables(variables)))
}

fuzz_target!(|input: &str| {
    let (query, variables) = input.split_once('\0').unwrap_or((input, "{}"));
    let mut variables = serde_json::from_str(variables).unwrap_or_default();
    let response = answer(query, &variables);
    marked(&mut variables);
    for error in &answer(query, &variables).errors {
        assert!(!error.message.contains(CANARY), "{}", error.message);
    }
    let ran =
        response.data != Value::Null || response.errors.iter().any(|error| !error.path.is_empty());
    if ran {
        let document = parse_query(query).expect("it ran");
        let mut left = SELECTIONS;
        // Inline fragments and spreads are steps of ours that the schema does not count as depth.
        for (_, operation) in document.operations.iter() {
            let set = &operation.node.selection_set.node;
            assert!(within(&document, set, DEPTH * 8, &mut left), "too much was run: {query}");
        }
        assert!(query.len() <= 32 * 1024, "too long a document was run");
    }
    for error in &response.errors {
        assert!(error.message.chars().count() <= 501, "{}", error.message);
        let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
        assert!(code.is_some(), "no code: {}", error.message);
    }
    assert!(response.data != Value::Null || response.errors.len() <= 20);
});
