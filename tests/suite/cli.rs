//! The commands, as an operator types them.

use serde_json::json;

use crate::support::daemon::{Caller, Home, ended};

fn run(home: &Home, arguments: &[&str]) -> (bool, String, String) {
    let ended = ended(home.command().args(arguments));
    (ended.success, ended.stdout, ended.stderr)
}

#[test]
fn organizations_and_keys_are_made_beside_a_running_daemon() {
    let home = Home::new(&[]);
    assert_eq!(run(&home, &["migrate"]).1, "the schema is up to date");
    let daemon = home.start();
    let (_, organization, _) = run(&home, &["org", "create", "--name", "Acme"]);
    let (_, key, _) = run(&home, &["key", "create", "--organization", &organization]);
    assert_eq!((key.len(), &key[..3]), (35, "kk_"));
    let caller = Caller::new(&daemon.url, &key);
    assert_eq!(caller.get("/v1/webhooks/endpoints").ok(), json!([]));
    let (_, platform, _) = run(&home, &["key", "create", "--platform"]);
    let listed = Caller::new(&daemon.url, &platform).get("/v1/platform/organizations").ok();
    assert_eq!(listed[0]["id"], json!(organization));
}

#[test]
fn bad_arguments_and_settings_are_named() {
    let home = Home::new(&[("HOOKSEAL_ATTEMPT_TIMEOUT", "soon")]);
    let (well, _, message) = run(&home, &["migrate"]);
    assert!(
        !well && message.starts_with("hookseal: attempt_timeout: expected a duration"),
        "{message}"
    );
    let home = Home::new(&[]);
    let (well, _, message) = run(&home, &["key", "create", "--organization", "acme"]);
    assert!(!well && message.contains("organization: expected a UUID"), "{message}");
    for arguments in [
        &["--help"][..],
        &["org", "create", "--help"],
        &["key", "create", "--help"],
        &["demo", "--help"],
        &["bench", "--help"],
    ] {
        let (well, help, _) = run(&home, arguments);
        assert!(well && help.contains("Usage:"), "{help}");
    }
}

#[test]
fn serve_prints_a_first_platform_key_once() {
    let home = Home::new(&[]);
    let serve = || {
        use std::io::BufRead as _;
        let mut child = home.command().stdout(std::process::Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = Vec::new();
        for line in lines.map_while(Result::ok) {
            printed.push(line.clone());
            if line.starts_with("listening on ") {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        printed
    };
    assert!(serve()[0].starts_with("platform key (shown once): kk_"));
    assert!(serve()[0].starts_with("listening on "));
}
