//! Every answer that a test gets is compared with the OpenAPI document: its status must be one that the
//! operation has, and its body must be as the schema of that status says.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::daemon::Answer;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap());
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Fails unless the document describes `answer`.
pub fn must_describe(method: &str, path: &str, answer: &Answer) {
    let path = path.split('?').next().unwrap_or_default();
    let Some((template, methods)) = described(path) else {
        // Nothing else is there but refusals, all of one shape.
        assert!(
            matches!(answer.status, 401 | 403 | 404 | 410 | 429),
            "{method} {path}: {answer:?}"
        );
        return;
    };
    let Some(operation) = methods.get(method.to_lowercase()) else {
        return;
    };
    let Some(response) = operation["responses"].get(answer.status.to_string()) else {
        panic!("{method} {template} has no {}: {answer:?}", answer.status);
    };
    let Some(schema) = response["content"]["application/json"].get("schema") else { return };
    let name = format!("{method} {template} {}", answer.status);
    let faults: Vec<_> = validator(&name, schema)
        .iter_errors(&answer.json())
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{name}: {faults:?}\n{}", answer.text);
}

fn described(path: &str) -> Option<(&'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let (mut named, mut given) = (template.split('/'), path.split('/'));
        loop {
            match (named.next(), given.next()) {
                (None, None) => return true,
                (Some(named), Some(given)) if named == given => {}
                (Some(named), Some(given)) if named.starts_with('{') && !given.is_empty() => {}
                (_, _) => return false,
            }
        }
    };
    // A path that is spelt out comes before one with a parameter.
    let mut found: Vec<_> = paths.iter().filter(|(template, _)| fits(template)).collect();
    found.sort_by_key(|(template, _)| template.matches('{').count());
    found.first().map(|(template, methods)| (template.as_str(), *methods))
}

fn validator(name: &str, schema: &Value) -> Arc<Validator> {
    let mut validators = VALIDATORS.lock().unwrap();
    let made = validators.entry(name.to_owned()).or_insert_with(|| {
        let whole = json!({ "allOf": [schema], "components": DOCUMENT["components"] });
        Arc::new(jsonschema::validator_for(&whole).unwrap())
    });
    made.clone()
}
