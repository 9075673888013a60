//! On PostgreSQL, and through its absence: publishers hear 503 and never a false 2xx, readiness says
//! why, and everything goes on by itself when it is back.

use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, Statement};
use serde_json::json;

use crate::support::daemon::{Caller, Home, ended, wait};
use crate::support::databases::{new_postgres_database, postgres_server};

const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

async fn administrator() -> DatabaseConnection {
    Database::connect(format!("{}/postgres", postgres_server())).await.unwrap()
}

/// Cuts everybody off one database, or lets them in again.
async fn allow(url: &str, allowed: bool) {
    let name = url.rsplit('/').next().unwrap();
    let db = administrator().await;
    db.execute_unprepared(&format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allowed}"))
        .await
        .unwrap();
    if !allowed {
        let cut = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        );
        db.execute_unprepared(&cut).await.unwrap();
    }
    db.close().await.unwrap();
}

/// Whether some session holds an advisory lock on a database.
async fn node_locked(url: &str) -> bool {
    let db = Database::connect(url).await.unwrap();
    let sql = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = \
               (SELECT oid FROM pg_database WHERE datname = current_database())";
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let held = db.query_one_raw(statement).await.unwrap().is_some();
    db.close().await.unwrap();
    held
}

#[test]
fn publishers_hear_503_while_the_database_is_away_and_nothing_is_lost() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(new_postgres_database());
    let home = Home::new(&[
        ("HOOKSEAL_DATABASE_URL", &url),
        ("HOOKSEAL_MASTER_KEY", MASTER_KEY),
        ("HOOKSEAL_RETRY_SCHEDULE", "100ms,100ms"),
    ]);
    let mut daemon = home.start();
    let tenant = daemon.tenant();
    let (healthy, flaky) =
        (Receiver::start(Behaviour::Accept), Receiver::start(Behaviour::FailFirst(1)));
    tenant.register(&healthy, json!({}));
    tenant.register(&flaky, json!({}));
    for n in 0..20 {
        tenant.publish(&format!("vs_{n}"), json!({}));
    }
    runtime.block_on(allow(&url, false));
    let event = tenant.event("vs_away", json!({})).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "away")];
    let refused = tenant.platform.send("POST", "/v1/platform/events", &headers, &event);
    assert_eq!((refused.status, refused.code().as_str()), (503, "UNAVAILABLE"), "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    let nobody = Caller::new(&daemon.url, "");
    assert_eq!(nobody.get("/healthz").status, 200);
    let ready = nobody.get("/readyz");
    assert_eq!(
        (ready.status, ready.json()["reasons"][0].as_str()),
        (503, Some("database unavailable"))
    );
    assert!(daemon.is_running());
    runtime.block_on(allow(&url, true));
    wait(Duration::from_secs(10), "readiness", || nobody.get("/readyz").status == 200);
    let again = tenant.platform.send("POST", "/v1/platform/events", &headers, &event);
    assert_eq!(again.status, 202, "{again:?}");
    tenant.settle(Duration::from_secs(40));
    let deliveries = tenant.deliveries("");
    assert_eq!(deliveries.len(), 42);
    assert!(deliveries.iter().all(|delivery| delivery["status"] == "succeeded"));
    assert!(healthy.accepted() >= 21 && flaky.accepted() >= 21);
    wait(Duration::from_secs(10), "the node lock", || runtime.block_on(node_locked(&url)));
    let second = ended(&mut home.command());
    assert!(second.stderr.contains("another node is running on it"), "{}", second.stderr);
    assert!(daemon.terminate().success());
}

#[test]
fn a_wrong_or_missing_master_key_is_told() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(new_postgres_database());
    let home = Home::new(&[("HOOKSEAL_DATABASE_URL", &url)]);
    let told = |key: Option<&str>| {
        let mut command = home.command();
        if let Some(key) = key {
            command.env("HOOKSEAL_MASTER_KEY", key);
        }
        let ended = ended(command.args(["org", "create", "--name", "Acme"]));
        (ended.success, ended.stderr)
    };
    let (well, message) = told(None);
    assert!(!well && message.contains("master_key: expected base64url of 32 bytes"), "{message}");
    assert!(told(Some(MASTER_KEY)).0);
    let (well, message) = told(Some("HxECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"));
    assert!(!well && message.contains("the master key is broken"), "{message}");
}
