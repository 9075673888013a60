//! Ours beside section 2.5: entity tags of endpoints, and creation under an idempotency key.

use serde_json::{Value, json};

use super::vocabulary::{ENDPOINTS, Fact, JSON, TARGET, endpoint, fact, id, ids, refused};
use super::world::World;
use crate::support::daemon::{Answer, Tenant};

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = entity_tags(world);
    facts.extend(idempotency(world));
    facts
}

fn tag(answer: &Answer) -> String {
    let tag = answer.header("etag").unwrap_or_else(|| panic!("without an etag: {answer:?}"));
    assert!(tag.ends_with('"') && tag.contains('"'), "{tag}");
    tag.to_owned()
}

/// Renames an endpoint if it still has this tag.
fn renamed(tenant: &Tenant, path: &str, tag: &str) -> Answer {
    let body = json!({ "name": "new" }).to_string();
    tenant.caller.send("PATCH", path, &[JSON, ("if-match", tag)], &body)
}

fn entity_tags(world: &World) -> Vec<Fact<'_>> {
    let fresh = move || {
        let tenant = world.daemon.tenant();
        let path = format!("{ENDPOINTS}/{}", id(&endpoint(&tenant, json!({}))));
        (tenant, path)
    };
    vec![
        fact("2.5 get, creation and change of an endpoint carry an etag", move || {
            let (tenant, path) = fresh();
            tag(&tenant.caller.post(ENDPOINTS, json!({ "url": TARGET })));
            tag(&tenant.caller.get(&path));
            tag(&tenant.caller.patch(&path, json!({ "name": "n" })));
        }),
        fact("2.5 the etag stays while the endpoint does", move || {
            let (tenant, path) = fresh();
            assert_eq!(tag(&tenant.caller.get(&path)), tag(&tenant.caller.get(&path)));
        }),
        fact("2.5 get carries the etag of creation and of change", move || {
            let tenant = world.daemon.tenant();
            let created = tenant.caller.post(ENDPOINTS, json!({ "url": TARGET }));
            let path = format!("{ENDPOINTS}/{}", id(&created.ok()["endpoint"]));
            assert_eq!(tag(&created), tag(&tenant.caller.get(&path)));
            let changed = tenant.caller.patch(&path, json!({ "name": "n" }));
            assert_eq!(tag(&changed), tag(&tenant.caller.get(&path)));
        }),
        fact("2.5 a change moves the etag", move || {
            let (tenant, path) = fresh();
            let before = tag(&tenant.caller.get(&path));
            assert_ne!(tag(&tenant.caller.patch(&path, json!({ "name": "n" }))), before);
        }),
        fact("2.5 a change under the etag in force is made", move || {
            let (tenant, path) = fresh();
            let tag = tag(&tenant.caller.get(&path));
            assert_eq!(renamed(&tenant, &path, &tag).ok()["name"], "new");
        }),
        fact("2.5 a change under an etag of before is 412", move || {
            let (tenant, path) = fresh();
            let tag = tag(&tenant.caller.get(&path));
            tenant.caller.patch(&path, json!({ "name": "other" })).ok();
            refused(&renamed(&tenant, &path, &tag), 412, "PRECONDITION_FAILED", "");
            assert_eq!(tenant.caller.get(&path).ok()["name"], "other");
        }),
        fact("2.5 a change under an etag that never was is 412", move || {
            let (tenant, path) = fresh();
            refused(&renamed(&tenant, &path, "\"never\""), 412, "PRECONDITION_FAILED", "");
        }),
        fact("2.5 of two changes under one etag one is made", move || {
            let (tenant, path) = fresh();
            let tag = tag(&tenant.caller.get(&path));
            let mut statuses: Vec<_> = std::thread::scope(|scope| {
                let changes: Vec<_> =
                    (0..2).map(|_| scope.spawn(|| renamed(&tenant, &path, &tag).status)).collect();
                changes.into_iter().map(|change| change.join().unwrap()).collect()
            });
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 412]);
        }),
        fact("2.5 a change without an etag is made", move || {
            let (tenant, path) = fresh();
            assert_eq!(tenant.caller.patch(&path, json!({ "name": "n" })).status, 200);
        }),
        fact("2.5 what is missing is 404 whatever the etag", move || {
            let (tenant, _) = fresh();
            let answer = renamed(&tenant, "/v1/webhooks/endpoints/whe_missing", "\"never\"");
            refused(&answer, 404, "NOT_FOUND", "endpoint");
        }),
    ]
}

fn created(tenant: &Tenant, key: &str, body: &Value) -> Answer {
    let headers = [JSON, ("idempotency-key", key)];
    tenant.caller.send("POST", ENDPOINTS, &headers, &body.to_string())
}

fn idempotency(world: &World) -> Vec<Fact<'_>> {
    let body = || json!({ "url": TARGET, "name": "n" });
    vec![
        fact("2.5 creation again under its key is the same endpoint and secret", move || {
            let tenant = world.daemon.tenant();
            let first = created(&tenant, "k", &body()).ok();
            assert_eq!(created(&tenant, "k", &body()).ok(), first);
            assert_eq!(ids(&tenant.caller.get(ENDPOINTS).ok()), [id(&first["endpoint"])]);
        }),
        fact("2.5 creation under a used key with another body is 409", move || {
            let tenant = world.daemon.tenant();
            created(&tenant, "k", &body()).ok();
            let answer = created(&tenant, "k", &json!({ "url": TARGET, "name": "other" }));
            refused(&answer, 409, "IDEMPOTENCY_CONFLICT", "");
            assert_eq!(ids(&tenant.caller.get(ENDPOINTS).ok()).len(), 1);
        }),
        fact("2.5 creations at once under one key are one endpoint", move || {
            let tenant = world.daemon.tenant();
            let made: Vec<_> = std::thread::scope(|scope| {
                let creations: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| created(&tenant, "k", &body()).ok())).collect();
                creations.into_iter().map(|creation| creation.join().unwrap()).collect()
            });
            assert!(made.iter().all(|other| *other == made[0]), "{made:?}");
            assert_eq!(ids(&tenant.caller.get(ENDPOINTS).ok()).len(), 1);
        }),
        fact("2.5 two keys are two endpoints", move || {
            let tenant = world.daemon.tenant();
            let made = ["k1", "k2"].map(|key| created(&tenant, key, &body()).ok());
            assert_ne!(made[0]["endpoint"]["id"], made[1]["endpoint"]["id"]);
        }),
        fact("7.4 a key of another organization is another key", move || {
            let made = [0; 2].map(|_| created(&world.daemon.tenant(), "k", &body()).ok());
            assert_ne!(made[0]["endpoint"]["id"], made[1]["endpoint"]["id"]);
        }),
        fact("2.5 a refused creation leaves its key free", move || {
            let tenant = world.daemon.tenant();
            assert_eq!(created(&tenant, "k", &json!({ "url": "x" })).status, 400);
            created(&tenant, "k", &body()).ok();
        }),
        fact("2.5 an idempotency key of 255 characters is taken", move || {
            created(&world.daemon.tenant(), &"k".repeat(255), &body()).ok();
        }),
        fact("2.5 an idempotency key of 256 characters is refused", move || {
            let answer = created(&world.daemon.tenant(), &"k".repeat(256), &body());
            refused(&answer, 400, "BAD_REQUEST", "");
        }),
        fact("2.5 an empty idempotency key is refused", move || {
            let answer = created(&world.daemon.tenant(), "", &body());
            refused(&answer, 400, "BAD_REQUEST", "");
        }),
    ]
}
