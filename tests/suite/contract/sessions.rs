//! Section 7.3: sessions of dashboard users, their tokens and their roles.

use hookseal::clock::wall_seconds;
use serde_json::{Value, json};

use super::tokens::{SECRET, claims, session, signed, token};
use super::vocabulary::{
    DELIVERIES, ENDPOINTS, EVENTS, Fact, TARGET, ask, endpoint, fact, get, id, key, key_body,
    refused,
};
use super::world::World;
use crate::support::daemon::{Answer, Caller};

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = broken_tokens(world);
    facts.extend(roles(world));
    facts.extend(routes(world));
    facts.extend(organizations(world));
    facts
}

/// Reads with a token over the shelf's claims, changed.
fn read_with(world: &World, change: impl FnOnce(&mut Value)) -> Answer {
    let mut claims = claims(&world.tenant.organization, "member");
    change(&mut claims);
    Caller::new(&world.daemon.url, &token(&claims)).get(ENDPOINTS)
}

fn broken_tokens(world: &World) -> Vec<Fact<'_>> {
    let now = wall_seconds();
    #[rustfmt::skip] // a line a case
    let rows = [
        ("a session without end is 401",                "exp",             json!(null),        401),
        ("a session whose end is past is 401",          "exp",             json!(now - 3600),  401),
        ("a session whose end is no number is 401",     "exp",             json!("tomorrow"),  401),
        ("a session that begins later is 401",          "nbf",             json!(now + 3600),  401),
        ("a session that has begun is good",            "nbf",             json!(now - 3600),  200),
        ("a session of nobody is 401",                  "sub",             json!(null),        401),
        ("a session of an empty user is 401",           "sub",             json!(""),          401),
        ("a session of a user of 129 characters is 401", "sub",            json!("u".repeat(129)), 401),
        ("a session of a user of 128 characters is good", "sub",           json!("u".repeat(128)), 200),
        ("a session without an organization is 403",    "organization_id", json!(null),        403),
        ("a session of an unknown organization is 401", "organization_id", json!("00000000-0000-4000-8000-000000000000"), 401),
        ("a suspended member is 403",                   "suspended",       json!(true),        403),
        ("a member who is not suspended is good",       "suspended",       json!(false),       200),
        ("other claims are passed over",                "ours",            json!({ "a": 1 }),  200),
    ];
    let mut facts = Vec::new();
    for (name, claim, value, status) in rows {
        facts.push(fact(format!("7.3 {name}"), move || {
            let answer = read_with(world, |claims| {
                if value.is_null() {
                    claims.as_object_mut().unwrap().remove(claim);
                } else {
                    claims[claim] = value.clone();
                }
            });
            match status {
                200 => drop(answer.ok()),
                401 => refused(&answer, 401, "UNAUTHORIZED", "Unauthorized"),
                _ => refused(&answer, 403, "FORBIDDEN", "Forbidden"),
            }
        }));
    }
    let good = move || claims(&world.tenant.organization, "owner");
    let read = |token: &str| Caller::new(&world.daemon.url, token).get(ENDPOINTS).status;
    facts.extend([
        fact("7.3 a session signed with another secret is 401", move || {
            let header = json!({ "alg": "HS256", "typ": "JWT" });
            assert_eq!(read(&signed(&header, &good(), &SECRET.to_uppercase())), 401);
        }),
        fact("7.3 a session without a signature is 401", move || {
            let whole = signed(&json!({ "alg": "none" }), &good(), SECRET);
            let (unsigned, _) = whole.rsplit_once('.').unwrap();
            assert_eq!((read(&whole), read(&format!("{unsigned}."))), (401, 401));
            assert_eq!(read(unsigned), 401);
        }),
        fact("7.3 a session that names another algorithm is 401", move || {
            for algorithm in ["HS384", "HS512", "RS256", "hs256"] {
                let whole = signed(&json!({ "alg": algorithm, "typ": "JWT" }), &good(), SECRET);
                assert_eq!(read(&whole), 401, "{algorithm}");
            }
        }),
        fact("7.3 a session whose claims were changed is 401", move || {
            let (member, owner) = (
                token(&claims(&world.tenant.organization, "member")),
                token(&claims(&world.tenant.organization, "owner")),
            );
            let part = |token: &str, n: usize| token.split('.').nth(n).unwrap().to_owned();
            let forged = [part(&member, 0), part(&owner, 1), part(&member, 2)].join(".");
            assert_eq!((read(&member), read(&forged)), (200, 401));
        }),
        fact("7.3 what has two dots but is no token is 401", move || {
            for text in ["a.b.c", "..", "e30.e30.e30"] {
                assert_eq!(read(text), 401, "{text}");
            }
        }),
    ]);
    facts
}

fn roles(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let rows = [
        // role                 read  write reveal
        ("member",              200,  403,  403),
        ("admin",               200,  200,  403),
        ("owner",               200,  200,  200),
        ("member,admin",        200,  200,  403),
        ("admin,owner",         200,  200,  200),
        ("owner,member",        200,  200,  200),
        ("owner,admin,member",  200,  200,  200),
        ("admin, owner",        403,  403,  403),
        (" owner",              403,  403,  403),
        ("owner,owner",         403,  403,  403),
        ("admin,root",          403,  403,  403),
        ("owner,",              403,  403,  403),
        ("Owner",               403,  403,  403),
        ("root",                403,  403,  403),
        ("",                    403,  403,  403),
    ];
    let mut facts = Vec::new();
    for (role, read, write, reveal) in rows {
        facts.push(fact(
            format!("7.3 the role {role:?} reads {read}, writes {write}, reveals {reveal}"),
            move || {
                let tenant = world.daemon.tenant();
                let made = endpoint(&tenant, json!({}));
                let caller = session(world, &tenant, role);
                let path = format!("{ENDPOINTS}/{}", id(&made));
                assert_eq!(caller.get(&path).status, read);
                assert_eq!(caller.patch(&path, json!({ "name": "n" })).status, write);
                let path = format!("{path}/signing-secret/reveal");
                assert_eq!(caller.send("POST", &path, &[], "").status, reveal);
            },
        ));
    }
    facts.push(fact("7.3 a session without a role has no rights", move || {
        let answer = read_with(world, |claims| {
            claims.as_object_mut().unwrap().remove("role");
        });
        refused(&answer, 403, "FORBIDDEN", "Forbidden");
    }));
    facts
}

fn routes(world: &World) -> Vec<Fact<'_>> {
    let reads = [
        ENDPOINTS,
        "/v1/webhooks/endpoints/{endpoint}",
        "/v1/webhooks/endpoints/{endpoint}/keys",
        DELIVERIES,
        EVENTS,
        "/v1/webhooks/events/{event}",
        "/v1/events",
        "/v1/events/{event}",
    ];
    #[rustfmt::skip] // a line a case
    let writes = [
        ("POST",   ENDPOINTS),
        ("PATCH",  "/v1/webhooks/endpoints/{endpoint}"),
        ("DELETE", "/v1/webhooks/endpoints/{endpoint}"),
        ("POST",   "/v1/webhooks/endpoints/{endpoint}/signing-secret/rotate"),
        ("POST",   "/v1/webhooks/endpoints/{endpoint}/keys"),
        ("POST",   "/v1/webhooks/keys/{key}/deactivate"),
        ("POST",   "/v1/webhooks/keys/{key}/reactivate"),
        ("POST",   "/v1/webhooks/deliveries/{delivery}/retry"),
        ("POST",   "/v1/webhooks/events/{event}/replay"),
        ("POST",   "/v1/events/{event}/replay"),
    ];
    let mut facts = Vec::new();
    for path in reads {
        facts.push(fact(format!("7.3 a member may get {path}"), move || {
            let member = session(world, &world.tenant, "member");
            assert_eq!(get(path).by(&member).send(world).status, 200);
        }));
    }
    for (method, path) in writes {
        let name = format!("7.3 a member may not {} {path}", method.to_lowercase());
        facts.push(fact(name, move || {
            let member = session(world, &world.tenant, "member");
            refused(&ask(method, path).by(&member).send(world), 403, "FORBIDDEN", "Forbidden");
        }));
    }
    let admin = move || {
        let mut tenant = world.daemon.tenant();
        tenant.caller = session(world, &tenant, "admin");
        tenant
    };
    facts.extend([
        fact("7.3 an admin makes an endpoint and a key", move || {
            let tenant = admin();
            let made = tenant.caller.post(ENDPOINTS, json!({ "url": TARGET })).ok();
            let path = format!("{ENDPOINTS}/{}/keys", id(&made["endpoint"]));
            assert_eq!(tenant.caller.post(&path, key_body("k1", &world.jwk)).status, 200);
        }),
        fact("7.3 an admin switches keys and rotates secrets", move || {
            let tenant = admin();
            let made = endpoint(&tenant, json!({}));
            let key = key(&tenant, id(&made), "k1", &world.jwk);
            for path in [
                format!("/v1/webhooks/keys/{}/deactivate", id(&key)),
                format!("/v1/webhooks/keys/{}/reactivate", id(&key)),
                format!("{ENDPOINTS}/{}/signing-secret/rotate", id(&made)),
            ] {
                assert_eq!(tenant.caller.send("POST", &path, &[], "").status, 200, "{path}");
            }
        }),
        fact("7.3 an admin comes as far as the state of a retry", move || {
            let tenant = admin();
            endpoint(&tenant, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            let path = format!("{DELIVERIES}/{}/retry", id(&event["deliveries"][0]));
            assert_eq!(tenant.caller.send("POST", &path, &[], "").status, 409);
        }),
        fact("7.3 an admin deletes an endpoint", move || {
            let tenant = admin();
            let path = format!("{ENDPOINTS}/{}", id(&endpoint(&tenant, json!({}))));
            assert_eq!(tenant.caller.send("DELETE", &path, &[], "").status, 200);
        }),
        fact("7.3 no session is a platform key", move || {
            let owner = session(world, &world.tenant, "owner");
            refused(&owner.get("/v1/platform/organizations"), 403, "FORBIDDEN", "Forbidden");
        }),
    ]);
    facts
}

fn organizations(world: &World) -> Vec<Fact<'_>> {
    let mut facts = vec![
        fact("7.4 a session finds nothing of another organization", move || {
            let owner = session(world, &world.daemon.tenant(), "owner");
            let answer = get("/v1/webhooks/endpoints/{endpoint}").by(&owner).send(world);
            refused(&answer, 404, "NOT_FOUND", "endpoint");
            assert_eq!(owner.get(ENDPOINTS).ok(), json!([]));
        }),
        fact("7.3 a session sees what its organization's key sees", move || {
            let member = session(world, &world.tenant, "member");
            assert_eq!(member.get(EVENTS).text, world.tenant.caller.get(EVENTS).text);
        }),
    ];
    #[rustfmt::skip] // a line a case
    let routes = [
        ("GET",  ENDPOINTS),
        ("POST", ENDPOINTS),
        ("GET",  DELIVERIES),
        ("GET",  EVENTS),
        ("GET",  "/v1/events"),
        ("POST", "/v1/events/evt_x/replay"),
        ("GET",  "/v1/auth/api-keys"),
    ];
    for (method, path) in routes {
        let name = format!(
            "7.3 {} {path} by a session of a frozen organization is 410",
            method.to_lowercase()
        );
        facts.push(fact(name, move || {
            let tenant = world.daemon.tenant();
            let organization = format!("/v1/platform/organizations/{}", tenant.organization);
            tenant.platform.patch(&organization, json!({ "frozen": true })).ok();
            let owner = session(world, &tenant, "owner");
            let answer = ask(method, path).by(&owner).send(world);
            refused(&answer, 410, "ORGANIZATION_FROZEN", "frozen");
        }));
    }
    facts
}
