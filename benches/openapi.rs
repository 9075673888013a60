//! Five thousand generated requests and more, each answer compared with the OpenAPI document: no 5xx,
//! no status, header or body that it does not describe. `cargo bench --bench openapi`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests, which use all of it")]

#[path = "../tests/suite/support/daemon.rs"]
mod daemon;
#[path = "../tests/suite/support/leavings.rs"]
mod leavings;
#[path = "../tests/suite/support/openapi.rs"]
mod openapi;
#[path = "../tests/suite/support/sessions.rs"]
mod sessions;

use std::process::Command;

use daemon::Home;
use serde_json::json;

const SECRET: &str = "a secret of dashboards, thirty-two characters long";
const EXAMPLES: &str = "100";
const LEAST: &str = "5000";

fn main() {
    let home = Home::new(&[("HOOKSEAL_SESSION_SECRET", SECRET)]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let claims = json!({ "organization_id": tenant.organization, "role": "owner" });
    let session = sessions::token(SECRET, &claims);
    let root = env!("CARGO_MANIFEST_DIR");
    let status = Command::new("bash")
        .arg(format!("{root}/tests/foreign/schemathesis.sh"))
        .arg(format!("{root}/target/foreign"))
        .args([&daemon.url, &tenant.caller.key, &tenant.platform.key, &session])
        .args([EXAMPLES, LEAST])
        .status()
        .unwrap();
    assert!(status.success(), "the daemon's log is in {}", home.path().display());
}
