//! Our description of the event list, against what is documented of it elsewhere: it accepts every
//! request that is accepted there, and promises every member that is promised there.

use serde_json::{Map, Value};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
const FACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/list_events.json");
/// What a schema may say without refusing a value.
const HARMLESS: [&str; 6] =
    ["default", "deprecated", "description", "example", "examples", "title"];

fn read(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.clone(),
        single => vec![single.clone()],
    }
}

/// What a `$ref` points to, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(name) => resolved(document, document.pointer(&name[1..]).unwrap()),
        None => value,
    }
}

/// A schema as plain alternatives, without `$ref`, `anyOf`, `oneOf` and `allOf`.
fn alternatives(document: &Value, schema: &Value) -> Vec<Value> {
    let schema = resolved(document, schema);
    for either in ["anyOf", "oneOf"] {
        if let Some(schemas) = schema[either].as_array() {
            return schemas.iter().flat_map(|one| alternatives(document, one)).collect();
        }
    }
    let Some(parts) = schema["allOf"].as_array() else { return vec![schema.clone()] };
    let mut whole = schema.as_object().unwrap().clone();
    whole.remove("allOf");
    for part in parts.iter().flat_map(|part| alternatives(document, part)) {
        for (name, value) in part.as_object().unwrap() {
            match (whole.get_mut(name), value) {
                (Some(Value::Object(into)), Value::Object(more)) => into.extend(more.clone()),
                (Some(Value::Array(into)), Value::Array(more)) => into.extend(more.clone()),
                _ => drop(whole.insert(name.clone(), value.clone())),
            }
        }
    }
    vec![Value::Object(whole)]
}

/// Whether everything that the fact accepts is accepted by the schema too.
fn accepts(schema: &Map<String, Value>, fact: &Value) -> bool {
    let holds = |limit: fn(f64, f64) -> bool, ours: &Value, name: &str| {
        fact[name].as_f64().is_some_and(|theirs| limit(ours.as_f64().unwrap(), theirs))
    };
    schema.iter().all(|(name, ours)| match name.as_str() {
        "type" => {
            list(ours).iter().any(|ours| *ours == fact["type"] || is_wider(ours, &fact["type"]))
        }
        "enum" => {
            fact["enum"].is_array()
                && list(&fact["enum"]).iter().all(|one| list(ours).contains(one))
        }
        "minimum" | "minLength" => holds(|ours, theirs| ours <= theirs, ours, name),
        "maximum" | "maxLength" => holds(|ours, theirs| ours >= theirs, ours, name),
        // The format of a number says how wide it is.
        "format" => *ours == fact["format"] || fact["type"] == "integer",
        "pattern" => *ours == fact["pattern"],
        other => HARMLESS.contains(&other),
    })
}

fn is_wider(wide: &Value, narrow: &Value) -> bool {
    wide == "number" && narrow == "integer"
}

/// The alternatives of the member at a path such as `data[].deliveries[].id`, and whether it is always there.
fn member(document: &Value, schema: &Value, path: &str) -> Option<(Vec<Value>, bool)> {
    let (mut found, mut required) = (alternatives(document, schema), true);
    for step in path.split('.') {
        let name = step.trim_end_matches("[]");
        let objects = found.iter().filter(|one| one["properties"].is_object());
        let (mut members, mut always) = (Vec::new(), true);
        for object in objects {
            always &= list(&object["required"]).contains(&name.into());
            members.extend(alternatives(document, object["properties"].get(name)?));
        }
        if step.ends_with("[]") {
            members =
                members.iter().flat_map(|one| alternatives(document, &one["items"])).collect();
        }
        (found, required) = (members, always);
    }
    (!found.is_empty()).then_some((found, required))
}

#[test]
fn the_event_list_accepts_and_promises_what_is_documented() {
    let (document, facts) = (read(DOCUMENT), read(FACTS));
    let operation =
        &document["paths"][facts["path"].as_str().unwrap()][facts["method"].as_str().unwrap()];
    let ours: Vec<_> =
        list(&operation["parameters"]).iter().map(|one| resolved(&document, one).clone()).collect();
    let known = list(&facts["parameters"]);
    for one in &ours {
        let known =
            known.iter().any(|fact| fact["name"] == one["name"] && fact["required"] == true);
        assert!(known || one["required"] != true, "has to be given: {one}");
    }
    for fact in &known {
        let one = ours.iter().find(|one| one["name"] == fact["name"] && one["in"] == fact["in"]);
        let one = one.unwrap_or_else(|| panic!("is not taken: {fact}"));
        let schemas = alternatives(&document, &one["schema"]);
        let taken = schemas.iter().any(|schema| accepts(schema.as_object().unwrap(), fact));
        assert!(taken, "takes less: {one} than {fact}");
    }
    for (status, members) in facts["responses"].as_object().unwrap() {
        let answer = resolved(&document, &operation["responses"][status]);
        let schema = &answer["content"]["application/json"]["schema"];
        for fact in list(members) {
            let path = fact["path"].as_str().unwrap();
            let found = member(&document, schema, path);
            let (found, required) = found.unwrap_or_else(|| panic!("{status}: no member {path}"));
            assert!(required || fact["required"] == false, "{status}: {path} may be absent");
            for one in found {
                let types = list(&one["type"]);
                let known = |ours: &Value| {
                    list(&fact["types"])
                        .iter()
                        .any(|theirs| ours == theirs || is_wider(theirs, ours))
                };
                assert!(
                    !types.is_empty() && types.iter().all(known),
                    "{status}: {path} may be {one}"
                );
                let values = list(&one["enum"]).into_iter().chain(one.get("const").cloned());
                let (values, null): (Vec<_>, bool) = (values.collect(), types == ["null"]);
                let among = |value: &Value| value.is_null() || list(&fact["enum"]).contains(value);
                let narrow = fact["enum"].is_null()
                    || null
                    || !values.is_empty() && values.iter().all(among);
                assert!(narrow, "{status}: {path} may be {one}");
            }
        }
    }
}
