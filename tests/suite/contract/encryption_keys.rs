//! Sections 1.4 and 2.6: encryption keys, and which of an endpoint's is the active one.

use std::time::Duration;

use serde_json::{Value, json};

use super::vocabulary::{
    ENDPOINTS, Fact, ask, endpoint, fact, get, grants, id, ids, is_instant, is_minted, key,
    key_body, members_in_order, post, refusals, seconds_between,
};
use super::world::World;
use crate::support::daemon::{Answer, Tenant};

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = lists(world);
    facts.extend(creation(world));
    facts.extend(one_active(world));
    facts.extend(switching(world));
    facts
}

/// A tenant with an endpoint.
fn fresh(world: &World) -> (Tenant, String) {
    let tenant = world.daemon.tenant();
    let made = endpoint(&tenant, json!({}));
    let id = id(&made).to_owned();
    (tenant, id)
}

fn listed(tenant: &Tenant, endpoint: &str, query: &str) -> Value {
    tenant.caller.get(&format!("{ENDPOINTS}/{endpoint}/keys{query}")).ok()
}

fn switch(tenant: &Tenant, key: &Value, verb: &str) -> Answer {
    tenant.caller.send("POST", &format!("/v1/webhooks/keys/{}/{verb}", id(key)), &[], "")
}

fn by_id(keys: &Value, key: &Value) -> Value {
    let mut found = keys.as_array().unwrap().iter();
    found.find(|other| other["id"] == key["id"]).unwrap().clone()
}

fn lists(world: &World) -> Vec<Fact<'_>> {
    let keys = |query: &str| get(format!("/v1/webhooks/endpoints/{{endpoint}}/keys{query}"));
    let of = |endpoint: &str| get(format!("{ENDPOINTS}/{endpoint}/keys"));
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.6 is_active=1 is no filter",           keys("?is_active=1"),     400, "BAD_REQUEST", "is_active"),
        ("2.6 an empty is_active is no filter",    keys("?is_active="),      400, "BAD_REQUEST", "is_active"),
        ("2.6 is_active=False is no filter",       keys("?is_active=False"), 400, "BAD_REQUEST", "is_active"),
        ("2.6 is_active given twice is no filter", keys("?is_active=true&is_active=false"), 400, "BAD_REQUEST", "is_active"),
        ("2.6 keys of a malformed id are refused", of("a.b"),                400, "BAD_REQUEST", "endpoint_id"),
        ("2.6 a key of an unknown endpoint is not made", post("/v1/webhooks/endpoints/whe_missing/keys", key_body("k", &world.jwk)), 404, "NOT_FOUND", "endpoint"),
        ("2.6 an unknown key is not deactivated",  ask("POST", "/v1/webhooks/keys/whk_missing/deactivate"), 404, "NOT_FOUND", "key"),
        ("2.6 an unknown key is not reactivated",  ask("POST", "/v1/webhooks/keys/whk_missing/reactivate"), 404, "NOT_FOUND", "key"),
        ("2.4 a key is not found by its caller's name", ask("POST", "/v1/webhooks/keys/k1/deactivate"), 404, "NOT_FOUND", "key"),
        ("2.6 a malformed key id is refused",      ask("POST", "/v1/webhooks/keys/a.b/deactivate"), 400, "BAD_REQUEST", "key_id"),
    ]);
    facts.extend(grants(
        world,
        [(
            "2.6 an unknown endpoint has an empty list of keys",
            of("whe_missing"),
            "/data",
            json!([]),
        )],
    ));
    facts.extend([
        fact("2.6 a new endpoint has no keys", move || {
            let (tenant, endpoint) = fresh(world);
            assert_eq!(listed(&tenant, &endpoint, ""), json!([]));
        }),
        fact("2.6 is_active=true lists the active key", move || {
            let (tenant, endpoint) = fresh(world);
            key(&tenant, &endpoint, "k1", &world.jwk);
            let active = key(&tenant, &endpoint, "k2", &world.jwk);
            assert_eq!(ids(&listed(&tenant, &endpoint, "?is_active=true")), [id(&active)]);
        }),
        fact("2.6 is_active=false lists the others", move || {
            let (tenant, endpoint) = fresh(world);
            let first = key(&tenant, &endpoint, "k1", &world.jwk);
            key(&tenant, &endpoint, "k2", &world.jwk);
            assert_eq!(ids(&listed(&tenant, &endpoint, "?is_active=false")), [id(&first)]);
        }),
        fact("2.6 a list shows a key as creation did", move || {
            let (tenant, endpoint) = fresh(world);
            let made = key(&tenant, &endpoint, "k1", &world.jwk);
            assert_eq!(listed(&tenant, &endpoint, ""), json!([made]));
        }),
        fact("2.6 the keys of another endpoint are not listed", move || {
            let (tenant, first) = fresh(world);
            let second = endpoint(&tenant, json!({}));
            key(&tenant, &first, "k1", &world.jwk);
            assert_eq!(listed(&tenant, id(&second), ""), json!([]));
        }),
    ]);
    facts
}

fn creation(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("1.4 a key's members stand in wire order", move || {
            let (tenant, endpoint) = fresh(world);
            let path = format!("{ENDPOINTS}/{endpoint}/keys");
            let answer = tenant.caller.post(&path, key_body("k1", &world.jwk));
            assert_eq!(answer.status, 200);
            let order = "id webhook_endpoint_id key_id algorithm key_type jwk is_active created_at \
                         updated_at disabled_at";
            members_in_order(&answer.text, &order.split_whitespace().collect::<Vec<_>>());
        }),
        fact("1.1 a key's id is whk_ and 32 symbols", move || {
            let (tenant, endpoint) = fresh(world);
            assert!(is_minted(&key(&tenant, &endpoint, "k1", &world.jwk)["id"], "whk_", 32));
        }),
        fact("1.4 a key tells its endpoint, name, algorithm and type", move || {
            let (tenant, endpoint) = fresh(world);
            let made = key(&tenant, &endpoint, "my key", &world.jwk);
            assert_eq!(made["webhook_endpoint_id"], json!(endpoint));
            assert_eq!(
                (&made["key_id"], &made["algorithm"]),
                (&json!("my key"), &json!("RSA-OAEP-256"))
            );
            assert_eq!(made["key_type"], "RSA");
        }),
        fact("1.4 a jwk is shown with exactly five members", move || {
            let (tenant, endpoint) = fresh(world);
            let made = key(&tenant, &endpoint, "k1", &world.jwk);
            let five = json!({
                "alg": "RSA-OAEP-256", "e": world.jwk["e"], "key_ops": ["encrypt"], "kty": "RSA",
                "n": world.jwk["n"],
            });
            assert_eq!(made["jwk"], five);
        }),
        fact("1.4 other members of a jwk are dropped", move || {
            let (tenant, endpoint) = fresh(world);
            let mut jwk = world.jwk.clone();
            for (name, value) in [
                ("use", json!("enc")),
                ("kid", json!("x")),
                ("ext", json!(true)),
                ("ours", json!(7)),
            ] {
                jwk[name] = value;
            }
            let made = key(&tenant, &endpoint, "k1", &jwk);
            assert_eq!(made["jwk"].as_object().unwrap().len(), 5, "{made}");
        }),
        fact("1.4 a key id may be used again", move || {
            let (tenant, endpoint) = fresh(world);
            key(&tenant, &endpoint, "k1", &world.jwk);
            key(&tenant, &endpoint, "k1", &world.jwk);
            assert_eq!(ids(&listed(&tenant, &endpoint, "")).len(), 2);
        }),
        fact("2.6 a key id of 128 characters is taken", move || {
            let (tenant, endpoint) = fresh(world);
            let name = "k".repeat(128);
            assert_eq!(key(&tenant, &endpoint, &name, &world.jwk)["key_id"], json!(name));
        }),
        fact("2.6 a key of a disabled endpoint is made", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({ "enabled": false }));
            assert_eq!(key(&tenant, id(&made), "k1", &world.jwk)["is_active"], true);
        }),
        fact("2.6 is_active in a body is passed over", move || {
            let (tenant, endpoint) = fresh(world);
            let mut body = key_body("k1", &world.jwk);
            body["is_active"] = json!(false);
            let made = tenant.caller.post(&format!("{ENDPOINTS}/{endpoint}/keys"), body).ok();
            assert_eq!(made["is_active"], true);
        }),
        fact("1.2 times of a key are utc with three digits of a second", move || {
            let (tenant, endpoint) = fresh(world);
            let made = key(&tenant, &endpoint, "k1", &world.jwk);
            assert!(is_instant(&made["created_at"]) && is_instant(&made["updated_at"]), "{made}");
        }),
    ]
}

fn one_active(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("2.6 a new key is active", move || {
            let (tenant, endpoint) = fresh(world);
            let made = key(&tenant, &endpoint, "k1", &world.jwk);
            assert_eq!((&made["is_active"], &made["disabled_at"]), (&json!(true), &Value::Null));
        }),
        fact("2.6 a new key replaces the one before", move || {
            let (tenant, endpoint) = fresh(world);
            let first = key(&tenant, &endpoint, "k1", &world.jwk);
            key(&tenant, &endpoint, "k2", &world.jwk);
            let before = by_id(&listed(&tenant, &endpoint, ""), &first);
            assert_eq!(before["is_active"], false);
            assert!(is_instant(&before["disabled_at"]), "{before}");
        }),
        fact("2.6 a key of one endpoint leaves another's", move || {
            let (tenant, first) = fresh(world);
            let second = endpoint(&tenant, json!({}));
            let made = key(&tenant, &first, "k1", &world.jwk);
            key(&tenant, id(&second), "k1", &world.jwk);
            assert_eq!(listed(&tenant, &first, ""), json!([made]));
        }),
        fact("1.4 of keys made at once one is active", move || {
            let (tenant, endpoint) = fresh(world);
            std::thread::scope(|scope| {
                for n in 0..4 {
                    let (tenant, endpoint) = (&tenant, &endpoint);
                    scope.spawn(move || key(tenant, endpoint, &format!("k{n}"), &world.jwk));
                }
            });
            assert_eq!(ids(&listed(&tenant, &endpoint, "?is_active=true")).len(), 1);
            assert_eq!(ids(&listed(&tenant, &endpoint, "")).len(), 4);
        }),
    ]
}

fn switching(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("2.6 deactivate answers the inactive key", move || {
            let (tenant, endpoint) = fresh(world);
            let made = key(&tenant, &endpoint, "k1", &world.jwk);
            let answer = switch(&tenant, &made, "deactivate");
            assert_eq!(answer.status, 200);
            let after = answer.ok();
            assert_eq!((&after["id"], &after["is_active"]), (&made["id"], &json!(false)));
            assert!(is_instant(&after["disabled_at"]), "{after}");
        }),
        fact("2.6 deactivate leaves an endpoint without an active key", move || {
            let (tenant, endpoint) = fresh(world);
            let first = key(&tenant, &endpoint, "k1", &world.jwk);
            let second = key(&tenant, &endpoint, "k2", &world.jwk);
            switch(&tenant, &second, "deactivate").ok();
            assert_eq!(by_id(&listed(&tenant, &endpoint, ""), &first)["is_active"], false);
            assert_eq!(listed(&tenant, &endpoint, "?is_active=true"), json!([]));
        }),
        fact("2.6 deactivate again moves the time", move || {
            let (tenant, endpoint) = fresh(world);
            let made = key(&tenant, &endpoint, "k1", &world.jwk);
            let first = switch(&tenant, &made, "deactivate").ok();
            std::thread::sleep(Duration::from_millis(5));
            let second = switch(&tenant, &made, "deactivate").ok();
            assert!(seconds_between(&first["disabled_at"], &second["disabled_at"]) > 0.0);
        }),
        fact("2.6 reactivate answers the active key", move || {
            let (tenant, endpoint) = fresh(world);
            let made = key(&tenant, &endpoint, "k1", &world.jwk);
            switch(&tenant, &made, "deactivate").ok();
            let answer = switch(&tenant, &made, "reactivate");
            assert_eq!(answer.status, 200);
            let after = answer.ok();
            assert_eq!((&after["is_active"], &after["disabled_at"]), (&json!(true), &Value::Null));
        }),
        fact("2.6 reactivate makes every other key inactive", move || {
            let (tenant, endpoint) = fresh(world);
            let first = key(&tenant, &endpoint, "k1", &world.jwk);
            let second = key(&tenant, &endpoint, "k2", &world.jwk);
            switch(&tenant, &first, "reactivate").ok();
            assert_eq!(ids(&listed(&tenant, &endpoint, "?is_active=true")), [id(&first)]);
            let other = by_id(&listed(&tenant, &endpoint, ""), &second);
            assert!(is_instant(&other["disabled_at"]), "{other}");
        }),
        fact("2.6 reactivate of the active key is harmless", move || {
            let (tenant, endpoint) = fresh(world);
            let made = key(&tenant, &endpoint, "k1", &world.jwk);
            let after = switch(&tenant, &made, "reactivate").ok();
            assert_eq!((&after["is_active"], &after["disabled_at"]), (&json!(true), &Value::Null));
            assert_eq!(ids(&listed(&tenant, &endpoint, "?is_active=true")), [id(&made)]);
        }),
        fact("2.6 reactivate leaves the keys of another endpoint", move || {
            let (tenant, first) = fresh(world);
            let second = endpoint(&tenant, json!({}));
            let made = key(&tenant, &first, "k1", &world.jwk);
            let other = key(&tenant, id(&second), "k1", &world.jwk);
            switch(&tenant, &made, "reactivate").ok();
            assert_eq!(listed(&tenant, id(&second), ""), json!([other]));
        }),
    ]
}
