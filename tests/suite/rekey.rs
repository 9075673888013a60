//! Keys of secrets at rest: where the master key comes from, how it and the data keys are changed, and what
//! becomes of a secret that does not open.

use std::process::Command;
use std::time::{Duration, Instant};

use hookseal::crypto::vault::{KeySource, MasterWrap, rewrap};
use hookseal::demo::receiver::{Behaviour, Receiver};
use hookseal::store::{
    Connections, SqlStore, StoredDataKey, load_data_keys, replace_data_keys,
    replace_locked_secrets, secrets_under_others,
};
use hookseal_core::audit::{Action, AuditEntry};
use hookseal_core::error::Error;
use hookseal_core::id::{EndpointId, OrganizationId};
use hookseal_core::ports::{Destination, Endpoints as _, SecretColumn};
use sea_orm::{ConnectionTrait as _, Database};
use serde_json::json;

use crate::support::daemon::{Caller, Ended, Home, ended, wait};
use crate::support::databases::{Bench, new_postgres_database};
use crate::support::rekeying::{
    data_keys, endpoint_rows, master_key, rekey_under_load, reveal, write_key,
};
use crate::support::rows::{LOCKED, T0, entry};

const SOON: Duration = Duration::from_secs(30);

fn rekey(home: &Home, arguments: &[&str]) -> Ended {
    ended(home.command().arg("rekey").args(arguments))
}

/// Whether the database opens under the home's settings; what is said when not.
fn opens(command: &mut Command) -> Result<(), String> {
    let ended = ended(command.args(["org", "create", "--name", "Acme"]));
    if ended.success { Ok(()) } else { Err(ended.stderr) }
}

fn sqlite_url(home: &Home) -> String {
    format!("sqlite://{}?mode=rw", home.data_dir().join("hookseal.sqlite3").display())
}

#[test]
fn both_keys_change_under_load_on_sqlite() {
    let seen = rekey_under_load(None, 450);
    assert!(seen.deliveries > 0 && seen.reads > 0 && seen.rotations > 0, "{seen:?}");
}

#[test]
fn both_keys_change_under_load_on_postgres() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(new_postgres_database());
    let seen = rekey_under_load(Some(&url), 450);
    assert!(seen.deliveries > 0 && seen.reads > 0 && seen.rotations > 0, "{seen:?}");
}

#[test]
fn a_master_key_is_given_in_one_of_three_ways_and_changed_in_three() {
    let home = Home::new(&[]);
    let files = tempfile::tempdir().unwrap();
    let file = |byte: u8| {
        let path = files.path().join(byte.to_string());
        write_key(&path, &master_key(byte));
        path.to_str().unwrap().to_owned()
    };
    let with = |name: &str, value: &str| {
        let mut command = home.command();
        command.env(name, value);
        command
    };
    let changed = |command: &mut Command, arguments: &[&str]| {
        let ended = ended(command.arg("rekey").args(arguments));
        assert!(ended.success, "{}", ended.stderr);
        assert!(ended.stdout.contains("before its next start"), "{}", ended.stdout);
    };
    opens(&mut with("HOOKSEAL_MASTER_KEY", &master_key(1))).unwrap();
    changed(
        with("HOOKSEAL_MASTER_KEY", &master_key(1)).env("HOOKSEAL_NEW_MASTER_KEY", master_key(2)),
        &[],
    );
    // Again, as if nobody knew how it had ended.
    changed(
        with("HOOKSEAL_MASTER_KEY", &master_key(1)).env("HOOKSEAL_NEW_MASTER_KEY", master_key(2)),
        &[],
    );
    let refused = opens(&mut with("HOOKSEAL_MASTER_KEY", &master_key(1))).unwrap_err();
    assert!(refused.contains("made with another master key: mk_"), "{refused}");
    opens(&mut with("HOOKSEAL_MASTER_KEY_FILE", &file(2))).unwrap();
    changed(&mut with("HOOKSEAL_MASTER_KEY_FILE", &file(2)), &["--new-key-file", &file(3)]);
    let printing = |byte| format!("cat {}", file(byte));
    opens(&mut with("HOOKSEAL_MASTER_KEY_COMMAND", &printing(3))).unwrap();
    changed(
        &mut with("HOOKSEAL_MASTER_KEY_COMMAND", &printing(3)),
        &["--new-key-command", &printing(4)],
    );
    opens(&mut with("HOOKSEAL_MASTER_KEY_COMMAND", &printing(4))).unwrap();
    // Running daemons would not read a key again that was given them.
    for (name, value, warned) in [
        ("HOOKSEAL_MASTER_KEY", master_key(4), true),
        ("HOOKSEAL_MASTER_KEY_FILE", file(4), false),
        ("HOOKSEAL_MASTER_KEY_COMMAND", printing(4), false),
    ] {
        let ended = ended(with(name, &value).args(["rekey", "--data"]));
        assert!(ended.success, "{}", ended.stderr);
        assert_eq!(ended.stderr.contains("warning: the master key is given"), warned, "{name}");
    }

    #[rustfmt::skip] // the columns carry the meaning
    let refused: [(&str, &str, &[&str], &str); 8] = [
        ("HOOKSEAL_MASTER_KEY_COMMAND", "false",        &["--data"],                   "master_key_command: expected a command"),
        ("HOOKSEAL_MASTER_KEY_COMMAND", "echo canary",  &["--data"],                   "master_key_command: expected base64url"),
        ("HOOKSEAL_MASTER_KEY_FILE",    "/nonexistent", &["--data"],                   "master_key_file: expected a readable file"),
        ("HOOKSEAL_MASTER_KEY_FILE",    &file(4),       &[],                           "new_master_key: expected"),
        ("HOOKSEAL_MASTER_KEY_FILE",    &file(4),       &["--generate"],               "--generate: expected"),
        ("HOOKSEAL_MASTER_KEY_FILE",    &file(4),       &["--new-key-file", &file(4)], "the new master key: expected another"),
        ("HOOKSEAL_MASTER_KEY_FILE",    &file(4),       &["--new-key-command", "true"], "--new-key-command: expected base64url"),
        ("HOOKSEAL_MASTER_KEY_FILE",    &file(1),       &["--new-key-file", &file(5)], "made with another master key"),
    ];
    for (name, value, arguments, rule) in refused {
        let ended = ended(with(name, value).arg("rekey").args(arguments));
        assert!(!ended.success && ended.stderr.contains(rule), "{rule}: {}", ended.stderr);
        assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    }
    opens(&mut with("HOOKSEAL_MASTER_KEY_FILE", &file(4))).unwrap();
}

#[test]
fn a_generated_key_takes_the_former_ones_place_beside_a_running_daemon() {
    let home = Home::new(&[]);
    let receiver = Receiver::start(Behaviour::Accept);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let id = tenant.register(&receiver, json!({}));
    let secret = reveal(&tenant.caller, &id);
    let key = || std::fs::read_to_string(home.data_dir().join("master.key")).unwrap();
    let first = key();
    let made = rekey(&home, &["--generate"]);
    assert!(made.success, "{}", made.stderr);
    assert!(key() != first && !home.data_dir().join("master.key.new").exists());
    // The daemon opens what was made since it started: it reads the file again.
    let moved = rekey(&home, &["--data"]);
    assert!(moved.success, "{}", moved.stderr);
    assert_eq!(reveal(&tenant.caller, &id), secret);
    tenant.publish("vs_1", json!({}));
    tenant.settle(SOON);
    assert_eq!(receiver.accepted(), 1);
    assert!(daemon.terminate().success());
    let daemon = home.start();
    let tenant = Caller::new(&daemon.url, &tenant.caller.key);
    assert_eq!(reveal(&tenant, &id), secret);
}

#[test]
fn a_generated_key_that_was_not_put_in_place_is_found() {
    let home = Home::new(&[]);
    opens(&mut home.command()).unwrap();
    let next = home.data_dir().join("master.key.new");
    // Broken off after the file was written: the former key opens.
    KeySource::next_in_data_dir(&home.data_dir()).unwrap();
    opens(&mut home.command()).unwrap();
    assert!(next.exists());
    // Broken off after the commit: the next one does, and takes its place.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let connections = Connections::connect(None, &home.data_dir()).await.unwrap();
        let old = MasterWrap::open(KeySource::data_dir(home.data_dir())).await.unwrap();
        let new = KeySource::next_in_data_dir(&home.data_dir()).unwrap();
        let new = MasterWrap::open(new).await.unwrap();
        assert_eq!(rewrap(&connections, &old, &new).await.unwrap(), 3);
        assert_eq!(rewrap(&connections, &old, &new).await.unwrap(), 0);
        connections.close().await;
    });
    opens(&mut home.command()).unwrap();
    assert!(!next.exists());
}

#[test]
fn keys_of_the_former_schema_are_taken_over() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(new_postgres_database());
    let postgres =
        Home::new(&[("HOOKSEAL_DATABASE_URL", &url), ("HOOKSEAL_MASTER_KEY", &master_key(1))]);
    let sqlite = Home::new(&[]);
    for (home, url) in [(&sqlite, sqlite_url(&sqlite)), (&postgres, url.clone())] {
        let daemon = home.start();
        let tenant = daemon.tenant();
        let made = json!({ "url": "https://example.com" });
        let made = tenant.caller.post("/v1/webhooks/endpoints", made).ok();
        let id = made["endpoint"]["id"].as_str().unwrap();
        assert!(daemon.terminate().success());
        runtime.block_on(async {
            let db = Database::connect(&url).await.unwrap();
            for sql in [
                "CREATE TABLE data_keys (id text NOT NULL PRIMARY KEY, purpose text NOT NULL UNIQUE, \
                 wrapped text NOT NULL, created_at_ms bigint NOT NULL)",
                // Wrapped keys did not name the master key.
                "INSERT INTO data_keys SELECT id, purpose, 'master' || substr(wrapped, 12), \
                 created_at_ms FROM keyring",
                // As if the step had been killed in its middle.
                "DELETE FROM keyring WHERE purpose <> 'fingerprints'",
                "DELETE FROM seaql_migrations WHERE version = 'm0005_keyring'",
            ] {
                db.execute_unprepared(sql).await.unwrap();
            }
            db.close().await.unwrap();
        });
        let daemon = home.start();
        let caller = Caller::new(&daemon.url, &tenant.caller.key);
        assert_eq!(reveal(&caller, id), made["signing_secret"].as_str().unwrap());
    }
}

#[test]
fn a_rekey_that_is_killed_leaves_keys_that_open_and_is_finished_by_another() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let endpoints: Vec<_> = (0..8)
        .map(|n| {
            let url = format!("https://example.com/{n}");
            let made = tenant.caller.post("/v1/webhooks/endpoints", json!({ "url": url })).ok();
            let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (word(&made["endpoint"]["id"]), word(&made["signing_secret"]))
        })
        .collect();
    let started = Instant::now();
    assert!(rekey(&home, &["--generate"]).success);
    let whole = started.elapsed();
    for round in 0..10_u32 {
        for form in ["--generate", "--data"] {
            let mut child = home
                .command()
                .args(["rekey", form])
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(whole * round / 8);
            let _ = child.kill();
            child.wait().unwrap();
            for (id, secret) in &endpoints {
                assert_eq!(reveal(&tenant.caller, id), *secret, "{form}, round {round}");
            }
        }
        opens(&mut home.command()).unwrap();
    }
    for form in ["--generate", "--data"] {
        let finished = rekey(&home, &[form]);
        assert!(finished.success, "{}", finished.stderr);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(data_keys(&sqlite_url(&home))).len(), 1);
    assert!(daemon.terminate().success());
    let daemon = home.start();
    let caller = Caller::new(&daemon.url, &tenant.caller.key);
    for (id, secret) in &endpoints {
        assert_eq!(reveal(&caller, id), *secret);
    }
}

#[test]
fn secrets_that_changed_places_sign_nothing() {
    // Short enough that the endpoint's actor has gone, and reads the row again.
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "100ms"), ("HOOKSEAL_IDLE_AFTER", "100ms")]);
    let daemon = home.start();
    let tenants = [daemon.tenant(), daemon.tenant()];
    let receivers = [Receiver::start(Behaviour::Accept), Receiver::start(Behaviour::Accept)];
    let ids: Vec<_> = tenants
        .iter()
        .zip(&receivers)
        .map(|(tenant, receiver)| tenant.register(receiver, json!({})))
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = sqlite_url(&home);
    let swap = || {
        runtime.block_on(async {
            let rows = endpoint_rows(&url).await;
            let db = Database::connect(&url).await.unwrap();
            for (row, other) in [(&rows[0], &rows[1]), (&rows[1], &rows[0])] {
                let (locked, id) = (&other.signing_secret, &row.id);
                let sql =
                    format!("UPDATE endpoints SET signing_secret = '{locked}' WHERE id = '{id}'");
                db.execute_unprepared(&sql).await.unwrap();
            }
            db.close().await.unwrap();
        });
    };
    swap();
    for (tenant, id) in tenants.iter().zip(&ids) {
        let path = format!("/v1/webhooks/endpoints/{id}/signing-secret/reveal");
        let refused = tenant.caller.post(&path, json!({}));
        assert_eq!((refused.status, refused.code().as_str()), (500, "INTERNAL_SERVER_ERROR"));
        let event = tenant.publish("vs_1", json!({}));
        tenant.settle(SOON);
        let delivery = event["deliveries"][0]["id"].as_str().unwrap();
        let path = format!("/v1/webhooks/deliveries/{delivery}");
        let ended = tenant.caller.get(&path).ok();
        let how = (&ended["status"], &ended["failure_reason"], &ended["attempt_count"]);
        assert_eq!(how, (&json!("failed"), &json!("exhausted"), &json!(2)), "{ended}");
        let attempts = tenant.caller.get(&format!("{path}/attempts")).ok();
        for attempt in attempts.as_array().unwrap() {
            assert_eq!(attempt["error_kind"], "secret_unreadable", "{attempt}");
        }
    }
    assert!(receivers.iter().all(|receiver| receiver.arrived() == 0), "nothing was sent");
    let log = std::fs::read_to_string(home.path().join("stderr.log")).unwrap();
    assert!(log.contains("a secret cannot sign"), "{log}");
    // Such a secret is named, and keeps its data key.
    let refused = rekey(&home, &["--data"]);
    assert!(!refused.success && refused.stderr.contains("2 do not open"), "{}", refused.stderr);
    assert!(ids.iter().all(|id| refused.stderr.contains(id)), "{}", refused.stderr);
    assert_eq!(runtime.block_on(data_keys(&url)).len(), 2);
    // Put back, they open, under a key that is no longer current.
    swap();
    for (tenant, id) in tenants.iter().zip(&ids) {
        reveal(&tenant.caller, id);
    }
    let moved = rekey(&home, &["--data"]);
    assert!(moved.success, "{}", moved.stderr);
    wait(SOON, "the actors to rest", || {
        let metrics = tenants[0].platform.get("/metrics").text;
        metrics.lines().any(|line| line == "hookseal_endpoint_actors 0")
    });
    for (tenant, receiver) in tenants.iter().zip(&receivers) {
        tenant.publish("vs_2", json!({}));
        wait(SOON, "the delivery", || receiver.accepted() == 1);
    }
}

/// Makes another data key the current one.
async fn switch(bench: &Bench) -> String {
    let before = load_data_keys(&bench.connections).await.unwrap();
    let mut after = before.clone();
    after[0].is_current = false;
    after.push(StoredDataKey { id: "other".into(), is_current: true, ..before[0].clone() });
    assert!(replace_data_keys(&bench.connections, &before, &after).await.unwrap());
    assert!(!replace_data_keys(&bench.connections, &before, &after).await.unwrap(), "it changed");
    "other.".into()
}

/// Puts a ciphertext in the place of the one that stands; answers whether there is such an endpoint.
async fn put_secret(
    store: &SqlStore,
    organization: &OrganizationId,
    id: &EndpointId,
    locked: &str,
    entry: AuditEntry,
) -> Result<bool, Error> {
    let locked_secret = locked.to_owned();
    let change = Box::new(move |found: Destination| Ok(Destination { locked_secret, ..found }));
    store.change_endpoint(organization, id, change, entry).await.map(|found| found.is_some())
}

async fn nobody_writes_under_a_former_key(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let current = switch(&bench).await;
    let rotated = entry(&organization, Action::SecretRotated);
    let replace = |locked: &str| {
        let rotated = rotated.clone();
        let (store, organization, id) = (&bench.store, &organization, &endpoint.id);
        let locked = locked.to_owned();
        async move { put_secret(store, organization, id, &locked, rotated).await }
    };
    for locked in ["unknown.x.y", "", "locked.x.y"] {
        let refused = replace(locked).await;
        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{locked}: {refused:?}");
    }
    assert!(replace(&current).await.unwrap());
    let mut other = endpoint.clone();
    other.id = crate::support::rows::minter().endpoint();
    let new = |locked: &str| Destination {
        endpoint: other.clone(),
        locked_secret: locked.into(),
        locked_previous_secret: None,
    };
    let made = || entry(&organization, Action::EndpointCreated);
    let refused = bench.store.insert_endpoint(new(LOCKED), None, 9, made()).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert!(bench.store.insert_endpoint(new(&current), None, 9, made()).await.is_ok());
}

async fn a_rotation_wins_over_a_rekey(bench: Bench) {
    let organization = bench.organization().await;
    let [moved, rotated] =
        [bench.endpoint(&organization).await, bench.endpoint(&organization).await];
    let current = switch(&bench).await;
    let left = async || {
        let page = secrets_under_others(&bench.connections, "other", None, 10).await;
        page.unwrap().into_iter().map(|stored| stored.endpoint).collect::<Vec<_>>()
    };
    let page = secrets_under_others(&bench.connections, "other", None, 10).await.unwrap();
    assert_eq!(page.len(), 2);
    let entry = entry(&organization, Action::SecretRotated);
    let by_owner = format!("{current}by_owner");
    assert!(put_secret(&bench.store, &organization, &rotated.id, &by_owner, entry).await.unwrap());
    assert_eq!(left().await, std::slice::from_ref(&moved.id));
    let replacements: Vec<_> =
        page.into_iter().map(|stored| (stored, format!("{current}by_rekey"))).collect();
    assert_eq!(replace_locked_secrets(&bench.connections, &replacements).await.unwrap(), 1);
    assert!(left().await.is_empty());
    for (id, secret) in [(&moved.id, "other.by_rekey"), (&rotated.id, "other.by_owner")] {
        let found = bench.store.destination(id).await.unwrap().unwrap();
        assert_eq!(found.locked_secret, secret);
    }
    let same = bench.store.endpoint(&organization, &moved.id).await.unwrap().unwrap();
    assert_eq!((same.revision, same.updated_at), (1, T0));
    // A change of settings leaves the secret alone, too.
    bench.change(&organization, &moved.id, |endpoint| endpoint.enabled = false).await.unwrap();
    let found = bench.store.destination(&moved.id).await.unwrap().unwrap();
    assert_eq!(found.locked_secret, "other.by_rekey");
}

async fn the_secret_before_moves_too(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let rotate = Box::new(|found: Destination| {
        let locked_previous_secret = Some(found.locked_secret);
        let endpoint = found.endpoint.rotated(Some(T0.plus(Duration::from_secs(60))), T0);
        Ok(Destination { endpoint, locked_secret: "locked.new".into(), locked_previous_secret })
    });
    let rotated = entry(&organization, Action::SecretRotated);
    bench.store.change_endpoint(&organization, &endpoint.id, rotate, rotated).await.unwrap();
    let current = switch(&bench).await;
    let page = secrets_under_others(&bench.connections, "other", None, 10).await.unwrap();
    let columns: Vec<_> = page.iter().map(|stored| stored.column).collect();
    assert_eq!(columns, [SecretColumn::Current, SecretColumn::Previous]);
    let replacements: Vec<_> = page
        .into_iter()
        .map(|stored| (stored.clone(), format!("{current}{}", stored.column.as_str())))
        .collect();
    assert_eq!(replace_locked_secrets(&bench.connections, &replacements).await.unwrap(), 2);
    assert!(secrets_under_others(&bench.connections, "other", None, 10).await.unwrap().is_empty());
    let found = bench.store.destination(&endpoint.id).await.unwrap().unwrap();
    assert_eq!(found.locked_secret, "other.signing_secret");
    assert_eq!(found.locked_previous_secret.unwrap(), "other.previous_signing_secret");
}

crate::on_every_database!(
    nobody_writes_under_a_former_key,
    a_rotation_wins_over_a_rekey,
    the_secret_before_moves_too,
);
