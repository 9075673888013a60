//! The OpenAPI document: it is what is committed, clients made from it work, and what is generated from
//! it finds no answer that it does not describe.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::daemon::{Caller, Home, ended};

#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let served = Caller::new(&daemon.url, "").get("/openapi");
    let committed: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    assert_eq!(served.header("content-type"), Some("application/json"));
    assert!(served.json() == committed, "write it anew: hookseal openapi > docs/openapi.json");
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let mut names: Vec<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

/// A script of tests/foreign; what it printed.
fn foreign(script: &str, arguments: &[&str]) -> String {
    let script = format!("{}/tests/foreign/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = match script.ends_with(".mjs") {
        true => Command::new("node"),
        false => Command::new("bash"),
    };
    let ended = ended(command.arg(script).args(arguments));
    assert!(ended.success, "{}\n{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[test]
fn a_generated_typescript_client_lives_the_life_of_an_endpoint() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let out = home.path().join("client").display().to_string();
    let printed = foreign("client.sh", &[&daemon.url, &tenant.caller.key, document, &out]);
    assert_eq!(printed.lines().last(), Some("ok"));
}

#[test]
fn generated_requests_find_no_answer_beside_the_document() {
    let secret = "a secret of dashboards, thirty-two characters long";
    let home = Home::new(&[("HOOKSEAL_SESSION_SECRET", secret)]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let session = crate::support::sessions::token(
        secret,
        &json!({ "organization_id": tenant.organization, "role": "owner" }),
    );
    let venv = concat!(env!("CARGO_MANIFEST_DIR"), "/target/foreign");
    let keys = [&tenant.caller.key, &tenant.platform.key, &session].map(String::as_str);
    let [organization, platform, session] = keys;
    let arguments = [venv, &daemon.url, organization, platform, session, "1", "1000"];
    let printed = foreign("schemathesis.sh", &arguments);
    assert!(printed.contains("no difference"), "{printed}");
}

#[test]
fn the_reference_page_shows_every_operation_and_asks_nobody_else() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let profile = home.path().join("profile").display().to_string();
    let printed = foreign("reference.mjs", &[&daemon.url, &profile]);
    assert!(printed.contains("operations"), "{printed}");
}
