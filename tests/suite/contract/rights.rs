//! Sections 2.4 and 7.2: which scope opens which route.

use serde_json::json;

use super::vocabulary::{
    DELIVERIES, ENDPOINTS, EVENTS, Fact, JSON, ask, endpoint, fact, get, id, key, refused,
};
use super::world::World;

/// Every route that reads.
const READS: [&str; 9] = [
    ENDPOINTS,
    "/v1/webhooks/endpoints/{endpoint}",
    "/v1/webhooks/endpoints/{endpoint}/keys",
    DELIVERIES,
    "/v1/webhooks/deliveries/{delivery}",
    EVENTS,
    "/v1/webhooks/events/{event}",
    "/v1/events",
    "/v1/events/{event}",
];

/// Every route that changes something.
const WRITES: [(&str, &str); 11] = [
    ("POST", ENDPOINTS),
    ("PATCH", "/v1/webhooks/endpoints/{endpoint}"),
    ("POST", "/v1/webhooks/endpoints/{endpoint}/signing-secret/reveal"),
    ("POST", "/v1/webhooks/endpoints/{endpoint}/signing-secret/rotate"),
    ("POST", "/v1/webhooks/endpoints/{endpoint}/keys"),
    ("POST", "/v1/webhooks/keys/{key}/deactivate"),
    ("POST", "/v1/webhooks/keys/{key}/reactivate"),
    ("POST", "/v1/webhooks/deliveries/{delivery}/retry"),
    ("POST", "/v1/webhooks/events/{event}/replay"),
    ("POST", "/v1/events/{event}/replay"),
    ("POST", "/v1/events/evt_missing/replay"),
];

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = Vec::new();
    for path in READS {
        facts.push(fact(format!("7.2 webhooks:read may get {path}"), move || {
            assert_eq!(get(path).by(&world.reader).send(world).status, 200);
            assert_eq!(ask("HEAD", path).by(&world.reader).send(world).status, 200);
        }));
        facts.push(fact(format!("7.2 webhooks:write may get {path}"), move || {
            assert_eq!(get(path).by(&world.writer).send(world).status, 200);
        }));
        facts.push(fact(format!("7.2 no other scope may get {path}"), move || {
            refused(&get(path).by(&world.elsewhere).send(world), 403, "FORBIDDEN", "Forbidden");
        }));
        facts.push(fact(format!("7.1 nobody may get {path}"), move || {
            let answer = get(path).by(&world.nobody).send(world);
            refused(&answer, 401, "UNAUTHORIZED", "Unauthorized");
        }));
    }
    for (method, path) in WRITES {
        let route = format!("{} {path}", method.to_lowercase());
        facts.push(fact(format!("7.2 webhooks:read may not {route}"), move || {
            for caller in [&world.reader, &world.elsewhere] {
                let answer = ask(method, path).by(caller).with(JSON).text("{}").send(world);
                refused(&answer, 403, "FORBIDDEN", "Forbidden");
            }
        }));
        facts.push(fact(format!("7.1 nobody may {route}"), move || {
            let answer = ask(method, path).by(&world.nobody).with(JSON).text("{}").send(world);
            refused(&answer, 401, "UNAUTHORIZED", "Unauthorized");
        }));
    }
    facts.extend(writing(world));
    facts
}

/// What the write scope alone opens.
fn writing(world: &World) -> Vec<Fact<'_>> {
    let writer = move || {
        let mut tenant = world.daemon.tenant();
        tenant.caller = world.daemon.key(&tenant.organization, &["webhooks:write"]);
        tenant
    };
    vec![
        fact("7.2 webhooks:write makes and changes endpoints", move || {
            let tenant = writer();
            let made = endpoint(&tenant, json!({}));
            let path = format!("{ENDPOINTS}/{}", id(&made));
            assert_eq!(tenant.caller.patch(&path, json!({ "name": "n" })).status, 200);
        }),
        fact("7.2 webhooks:write reveals and rotates secrets", move || {
            let tenant = writer();
            let made = endpoint(&tenant, json!({}));
            for verb in ["reveal", "rotate"] {
                let path = format!("{ENDPOINTS}/{}/signing-secret/{verb}", id(&made));
                assert_eq!(tenant.caller.send("POST", &path, &[], "").status, 200);
            }
        }),
        fact("7.2 webhooks:write makes and switches keys", move || {
            let tenant = writer();
            let made = endpoint(&tenant, json!({}));
            let key = key(&tenant, id(&made), "k1", &world.jwk);
            for verb in ["deactivate", "reactivate"] {
                let path = format!("/v1/webhooks/keys/{}/{verb}", id(&key));
                assert_eq!(tenant.caller.send("POST", &path, &[], "").status, 200);
            }
        }),
        fact("7.2 webhooks:write comes as far as the state of a retry", move || {
            let tenant = writer();
            endpoint(&tenant, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            let path = format!("{DELIVERIES}/{}/retry", id(&event["deliveries"][0]));
            assert_eq!(tenant.caller.send("POST", &path, &[], "").status, 409);
        }),
        fact("7.2 scopes of other areas add nothing to webhooks:read", move || {
            let scopes = ["webhooks:read", "sessions:write", "sessions:read", "analytics:read"];
            let caller = world.daemon.key(&world.tenant.organization, &scopes);
            assert_eq!(caller.get(ENDPOINTS).status, 200);
            refused(&caller.post(ENDPOINTS, json!({})), 403, "FORBIDDEN", "Forbidden");
        }),
    ]
}
