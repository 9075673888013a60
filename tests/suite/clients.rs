//! Clients of GraphQL that are not ours ask, change and watch; a typed one is generated and compiles.

use std::fs::{File, write};
use std::process::Command;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use crate::support::daemon::{Home, ended};

const FOREIGN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign");
const VENV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/foreign");

/// What a program of tests/foreign printed; it must succeed.
fn printed(program: &str, script: &str, arguments: &[&str], given: &Value) -> String {
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("given.json");
    write(&input, given.to_string()).unwrap();
    let mut command = Command::new(program);
    command.arg(format!("{FOREIGN}/{script}")).args(arguments);
    let ended = ended(command.stdin(File::open(input).unwrap()).env("NO_PROXY", "*"));
    assert!(
        ended.success,
        "{script}: {}\n{}\ntests/run.sh installs what it needs",
        ended.stdout, ended.stderr
    );
    ended.stdout
}

/// What the program saw of a daemon that it renamed an endpoint of and published events to.
fn watched(program: &str, script: &str) -> Value {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    let given = json!({
        "url": daemon.url,
        "organization": tenant.organization,
        "endpoint": tenant.register(&receiver, json!({})),
        "key": tenant.caller.key,
        "platform_key": tenant.platform.key,
    });
    let printed = printed(program, script, &[], &given);
    serde_json::from_str(&printed).unwrap_or_else(|_| panic!("not JSON: {printed}"))
}

/// `items` show the one delivery of `event` from its creation to its success.
fn must_show(items: &Value, event: &Value) {
    let items = items.as_array().unwrap();
    let changes: Vec<_> = items.iter().map(|item| item["change"].as_str().unwrap()).collect();
    assert!(
        changes == ["CREATED", "SETTLED"] || changes == ["CREATED", "CLAIMED", "SETTLED"],
        "{changes:?}"
    );
    for item in items {
        assert_eq!((&item["gap"], &item["delivery"]["event"]["id"]), (&json!(false), event));
        assert_eq!(item["delivery"]["id"], items[0]["delivery"]["id"]);
    }
    let last = &items.last().unwrap()["delivery"];
    assert_eq!((&last["status"], &last["attemptCount"]), (&json!("SUCCEEDED"), &json!(1)));
}

/// What every client must have seen, however it connects.
fn must_have_seen(saw: &Value) {
    let names = saw["names"].as_array().unwrap();
    assert!(names.len() == 3 && names.iter().all(|name| name == "watched"), "{names:?}");
    must_show(&saw["seen"], &saw["published"][0]);
    assert_eq!(saw["resumed"].as_array().unwrap()[..], saw["seen"].as_array().unwrap()[1..]);
    assert_eq!(saw["code"], 4403);
}

#[test]
fn node_asks_and_watches_over_sockets_and_streams() {
    let saw = watched("node", "watch.mjs");
    must_have_seen(&saw);
    must_show(&saw["heard"], &saw["published"][1]);
    assert!(saw["refused"].as_str().unwrap().contains("nothing"), "{}", saw["refused"]);
}

#[test]
fn python_asks_and_watches_over_sockets() {
    printed("bash", "venv.sh", &[VENV], &Value::Null);
    let saw = watched(&format!("{VENV}/bin/python"), "watch.py");
    must_have_seen(&saw);
    assert_eq!(
        (&saw["gap"]["gap"], &saw["gap"]["delivery"]),
        (&json!(true), &Value::Null),
        "{}",
        saw["gap"]
    );
    assert!(saw["refused"].as_str().unwrap().contains("name"), "{}", saw["refused"]);
}

#[test]
fn a_typed_client_is_generated_from_the_schema_and_compiles() {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/graphql/schema.graphql");
    let out = tempfile::tempdir().unwrap();
    let out = out.path().display().to_string();
    assert_eq!(printed("bash", "typed.sh", &[schema, &out], &Value::Null), "ok");
}
