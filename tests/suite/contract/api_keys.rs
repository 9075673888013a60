//! Section 2.10: API keys, as admins and owners manage them.

use serde_json::{Value, json};

use super::tokens::session;
use super::vocabulary::{
    ENDPOINTS, Fact, ask, fact, id, ids, is_instant, is_minted, members_in_order, refused,
};
use super::world::{SOON, World};
use crate::support::daemon::{Answer, Caller, Tenant, wait};

const KEYS: &str = "/v1/auth/api-keys";

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = callers(world);
    facts.extend(lists(world));
    facts.extend(refused_bodies(world));
    facts.extend(creation(world));
    facts.extend(changes(world));
    facts.extend(deletion(world));
    facts
}

/// A tenant without keys of its own making, and a session of its admin.
fn fresh(world: &World) -> (Tenant, Caller) {
    let tenant = world.daemon.tenant();
    let admin = session(world, &tenant, "admin");
    (tenant, admin)
}

fn body(permissions: &[&str]) -> Value {
    json!({ "name": "mine", "permissions": permissions })
}

/// A new key: its record and somebody who holds it.
fn made(world: &World, admin: &Caller, permissions: &[&str]) -> (String, Caller) {
    let made = admin.post(KEYS, body(permissions)).ok();
    (id(&made).to_owned(), Caller::new(&world.daemon.url, made["key"].as_str().unwrap()))
}

fn change(admin: &Caller, id: &str, body: Value) -> Answer {
    admin.patch(&format!("{KEYS}/{id}"), body)
}

fn delete(admin: &Caller, id: &str) -> Answer {
    admin.send("DELETE", &format!("{KEYS}/{id}"), &[], "")
}

/// How the list shows one of its keys.
fn listed(admin: &Caller, id: &str) -> Value {
    let list = admin.get(&format!("{KEYS}?limit=100")).ok();
    let mut found = list.as_array().unwrap().iter();
    found.find(|key| key["id"] == id).unwrap_or_else(|| panic!("{id} is not in {list}")).clone()
}

fn callers(world: &World) -> Vec<Fact<'_>> {
    let mut facts = Vec::new();
    for (method, path) in [
        ("GET", KEYS),
        ("POST", KEYS),
        ("PATCH", "/v1/auth/api-keys/00000000-0000-4000-8000-000000000000"),
        ("DELETE", "/v1/auth/api-keys/00000000-0000-4000-8000-000000000000"),
    ] {
        let route = format!("{} {path}", method.to_lowercase());
        facts.push(fact(format!("2.10 {route} is for sessions of admins"), move || {
            let member = session(world, &world.tenant, "member");
            for caller in [&world.tenant.caller, &world.daemon.platform(), &member] {
                let answer = ask(method, path).by(caller).send(world);
                refused(&answer, 403, "FORBIDDEN", "Forbidden");
            }
        }));
        facts.push(fact(format!("2.10 {route} by nobody is 401"), move || {
            let answer = ask(method, path).by(&world.nobody).send(world);
            refused(&answer, 401, "UNAUTHORIZED", "Unauthorized");
        }));
        facts.push(fact(format!("2.10 {route} of a frozen organization is 410"), move || {
            let (tenant, admin) = fresh(world);
            let organization = format!("/v1/platform/organizations/{}", tenant.organization);
            tenant.platform.patch(&organization, json!({ "frozen": true })).ok();
            let answer = ask(method, path).by(&admin).send(world);
            refused(&answer, 410, "ORGANIZATION_FROZEN", "frozen");
        }));
    }
    for role in ["admin", "owner"] {
        facts.push(fact(format!("2.10 an {role} manages keys"), move || {
            let caller = session(world, &world.daemon.tenant(), role);
            let (id, _) = made(world, &caller, &["webhooks:read"]);
            assert_eq!(caller.get(KEYS).status, 200);
            assert_eq!(change(&caller, &id, json!({ "name": "n" })).status, 200);
            assert_eq!(delete(&caller, &id).status, 200);
        }));
    }
    facts
}

fn lists(world: &World) -> Vec<Fact<'_>> {
    let several = |admin: &Caller| {
        (0..4).for_each(|_| drop(made(world, admin, &["webhooks:read"])));
    };
    vec![
        fact("2.10 a listed key's members are in camel case and in order", move || {
            let (_, admin) = fresh(world);
            let order = "id name enabled permissions metadata createdAt updatedAt requestCount";
            let answer = admin.get(KEYS);
            members_in_order(&answer.text, &order.split_whitespace().collect::<Vec<_>>());
            assert_eq!(answer.ok()[0].as_object().unwrap().len(), 8);
        }),
        fact("2.10 the list holds the keys that the platform made", move || {
            let (_, admin) = fresh(world);
            let list = admin.get(KEYS).ok();
            assert_eq!(list[0]["permissions"], json!(["webhooks:read", "webhooks:write"]));
            assert_eq!((&list[0]["name"], &list[0]["metadata"]), (&json!("tests"), &json!({})));
        }),
        fact("2.10 no list shows a key itself", move || {
            let (tenant, admin) = fresh(world);
            let text = admin.get(KEYS).text;
            assert!(!text.contains("kk_") && !text.contains(&tenant.caller.key[3..]), "{text}");
        }),
        fact("2.10 keys are listed by id", move || {
            let (_, admin) = fresh(world);
            several(&admin);
            let list = ids(&admin.get(KEYS).ok());
            assert!(list.len() == 5 && list.is_sorted(), "{list:?}");
        }),
        fact("2.10 pages of api keys show everything once", move || {
            let (_, admin) = fresh(world);
            several(&admin);
            let whole = ids(&admin.get(KEYS).ok());
            let first = admin.get(&format!("{KEYS}?limit=3")).json();
            let next = first["pagination"]["next_cursor"].as_str().unwrap();
            let second = admin.get(&format!("{KEYS}?limit=3&starting_after={next}")).json();
            assert_eq!([ids(&first["data"]), ids(&second["data"])].concat(), whole);
            assert_eq!(first["pagination"]["has_more"], true);
            let end = json!({ "limit": 3, "has_more": false, "next_cursor": null });
            assert_eq!(second["pagination"], end);
        }),
        fact("2.10 limits of the list are those of other lists", move || {
            let (_, admin) = fresh(world);
            for limit in ["0", "101", "abc", ""] {
                let answer = admin.get(&format!("{KEYS}?limit={limit}"));
                refused(&answer, 400, "BAD_REQUEST", "limit");
            }
            assert_eq!(admin.get(KEYS).json()["pagination"]["limit"], 10);
        }),
        fact("2.10 an unknown cursor of the list is 400", move || {
            let (_, admin) = fresh(world);
            let path = format!("{KEYS}?starting_after=00000000-0000-4000-8000-000000000000");
            refused(&admin.get(&path), 400, "INVALID_REQUEST", "starting_after");
        }),
        fact("2.10 the list holds one's own keys alone", move || {
            let (_, admin) = fresh(world);
            let (_, other) = fresh(world);
            let (id, _) = made(world, &other, &["webhooks:read"]);
            assert!(!ids(&admin.get(KEYS).ok()).contains(&id));
        }),
        fact("2.10 a key counts its requests", move || {
            let (_, admin) = fresh(world);
            let (id, caller) = made(world, &admin, &["webhooks:read"]);
            assert_eq!(listed(&admin, &id)["requestCount"], 0);
            (0..3).for_each(|_| drop(caller.get(ENDPOINTS)));
            wait(SOON, "the count", || listed(&admin, &id)["requestCount"] == 3);
        }),
    ]
}

/// Values of members that creation and change refuse alike.
fn refused_bodies(world: &World) -> Vec<Fact<'_>> {
    let entries: serde_json::Map<_, _> = (0..21).map(|n| (format!("k{n}"), json!(n))).collect();
    #[rustfmt::skip] // a line a case
    let rows = [
        ("an empty name",                     "name",        json!("")),
        ("a name of spaces",                  "name",        json!("  ")),
        ("a name of 121 characters",          "name",        json!("n".repeat(121))),
        ("a name that is no text",            "name",        json!(7)),
        ("no permission",                     "permissions", json!([])),
        ("an unknown permission",             "permissions", json!(["webhooks:read", "root"])),
        ("permissions as text",               "permissions", json!("webhooks:read")),
        ("a permission that is no text",      "permissions", json!([7])),
        ("metadata of 21 entries",            "metadata",    json!(entries)),
        ("metadata as a list",                "metadata",    json!([])),
        ("an empty name in metadata",         "metadata",    json!({ "": 1 })),
        ("a name of 65 in metadata",          "metadata",    json!({ "n".repeat(65): 1 })),
        ("a name with a space in metadata",   "metadata",    json!({ "a b": 1 })),
        ("null in metadata",                  "metadata",    json!({ "a": null })),
        ("an object in metadata",             "metadata",    json!({ "a": {} })),
        ("a list in metadata",                "metadata",    json!({ "a": [1] })),
        ("a text of 513 in metadata",         "metadata",    json!({ "a": "x".repeat(513) })),
    ];
    let mut facts = Vec::new();
    for (name, member, value) in rows {
        facts.push(fact(format!("2.10 {name} is refused"), move || {
            let (_, admin) = fresh(world);
            let mut whole = body(&["webhooks:read"]);
            whole[member] = value.clone();
            refused(&admin.post(KEYS, whole), 400, "BAD_REQUEST", member);
            let id = id(&admin.get(KEYS).ok()[0]).to_owned();
            let answer = change(&admin, &id, json!({ member: value }));
            refused(&answer, 400, "BAD_REQUEST", member);
        }));
    }
    for member in ["name", "permissions"] {
        facts.push(fact(format!("2.10 a key without {member} is refused"), move || {
            let (_, admin) = fresh(world);
            let mut whole = body(&["webhooks:read"]);
            whole.as_object_mut().unwrap().remove(member);
            refused(&admin.post(KEYS, whole), 400, "BAD_REQUEST", member);
        }));
    }
    facts
}

fn creation(world: &World) -> Vec<Fact<'_>> {
    let mut facts = vec![
        fact("2.10 creation answers the record's id and the key", move || {
            let (_, admin) = fresh(world);
            let answer = admin.post(KEYS, body(&["webhooks:read"]));
            assert_eq!(answer.status, 200);
            let made = answer.ok();
            assert_eq!(made.as_object().unwrap().len(), 2, "{made}");
            assert!(is_minted(&made["key"], "kk_", 32) && id(&made).len() == 36, "{made}");
        }),
        fact("2.10 a new key is enabled, without requests and metadata", move || {
            let (_, admin) = fresh(world);
            let (id, _) = made(world, &admin, &["webhooks:read"]);
            let key = listed(&admin, &id);
            assert_eq!((&key["enabled"], &key["requestCount"]), (&json!(true), &json!(0)));
            assert_eq!(key["metadata"], json!({}));
            assert!(is_instant(&key["createdAt"]) && key["createdAt"] == key["updatedAt"], "{key}");
        }),
        fact("2.10 the name of a key is trimmed", move || {
            let (_, admin) = fresh(world);
            let mut whole = body(&["webhooks:read"]);
            whole["name"] = json!("  mine  ");
            let made = admin.post(KEYS, whole).ok();
            assert_eq!(listed(&admin, id(&made))["name"], "mine");
        }),
        fact("2.10 metadata of texts, numbers and booleans is kept", move || {
            let (_, admin) = fresh(world);
            let metadata = json!({ "a.b_c:d-1": "x".repeat(512), "n": 1.5, "b": true });
            let mut whole = body(&["webhooks:read"]);
            whole["metadata"] = metadata.clone();
            let made = admin.post(KEYS, whole).ok();
            assert_eq!(listed(&admin, id(&made))["metadata"], metadata);
        }),
        fact("2.10 a new key is good at once, within its permissions", move || {
            let (_, admin) = fresh(world);
            let (_, caller) = made(world, &admin, &["webhooks:read"]);
            assert_eq!(caller.get(ENDPOINTS).status, 200);
            assert_eq!(caller.post(ENDPOINTS, json!({})).status, 403);
        }),
    ];
    for scope in
        ["webhooks:read", "webhooks:write", "sessions:read", "sessions:write", "analytics:read"]
    {
        facts.push(fact(format!("2.10 {scope} is a permission"), move || {
            let (_, admin) = fresh(world);
            let (id, _) = made(world, &admin, &[scope]);
            assert_eq!(listed(&admin, &id)["permissions"], json!([scope]));
        }));
    }
    facts
}

fn changes(world: &World) -> Vec<Fact<'_>> {
    let unknown = "00000000-0000-4000-8000-000000000000";
    #[rustfmt::skip] // a line a case
    let members = [
        ("name",        json!("new")),
        ("enabled",     json!(false)),
        ("permissions", json!(["analytics:read"])),
        ("metadata",    json!({ "new": 1 })),
    ];
    let mut facts = Vec::new();
    for (member, value) in members {
        facts.push(fact(format!("2.10 a change of {member} leaves the rest"), move || {
            let (_, admin) = fresh(world);
            let (id, _) = made(world, &admin, &["webhooks:read"]);
            let mut before = listed(&admin, &id);
            let answer = change(&admin, &id, json!({ member: value }));
            assert_eq!((answer.status, &answer.ok()["status"]), (200, &json!("success")));
            let after = listed(&admin, &id);
            assert_eq!(after[member], value);
            before[member] = value.clone();
            before["updatedAt"] = after["updatedAt"].clone();
            assert_eq!(after, before);
        }));
    }
    facts.extend([
        fact("2.10 a change of nothing is refused", move || {
            let (_, admin) = fresh(world);
            let (id, _) = made(world, &admin, &["webhooks:read"]);
            refused(&change(&admin, &id, json!({})), 400, "BAD_REQUEST", "");
            refused(&change(&admin, &id, json!({ "ours": 1 })), 400, "BAD_REQUEST", "");
        }),
        fact("2.10 a change of an unknown key is 400", move || {
            let (_, admin) = fresh(world);
            let answer = change(&admin, unknown, json!({ "name": "n" }));
            refused(&answer, 400, "API_KEY_NOT_FOUND", "");
        }),
        fact("2.10 a change of a foreign key is the same as of an unknown one", move || {
            let ((_, admin), (_, other)) = (fresh(world), fresh(world));
            let (id, caller) = made(world, &other, &["webhooks:read"]);
            let answer = change(&admin, &id, json!({ "enabled": false }));
            refused(&answer, 400, "API_KEY_NOT_FOUND", "");
            assert_eq!(answer.text, change(&admin, unknown, json!({ "enabled": false })).text);
            assert_eq!(caller.get(ENDPOINTS).status, 200);
        }),
        fact("2.10 a disabled key is 401 at once", move || {
            let (_, admin) = fresh(world);
            let (id, caller) = made(world, &admin, &["webhooks:read"]);
            assert_eq!(caller.get(ENDPOINTS).status, 200);
            change(&admin, &id, json!({ "enabled": false })).ok();
            refused(&caller.get(ENDPOINTS), 401, "UNAUTHORIZED", "Unauthorized");
        }),
        fact("2.10 a key that is enabled again is good", move || {
            let (_, admin) = fresh(world);
            let (id, caller) = made(world, &admin, &["webhooks:read"]);
            for (enabled, status) in [(false, 401), (true, 200)] {
                change(&admin, &id, json!({ "enabled": enabled })).ok();
                assert_eq!(caller.get(ENDPOINTS).status, status);
            }
        }),
        fact("2.10 changed permissions hold at once", move || {
            let (_, admin) = fresh(world);
            let (id, caller) = made(world, &admin, &["webhooks:read"]);
            assert_eq!(caller.get(ENDPOINTS).status, 200);
            change(&admin, &id, json!({ "permissions": ["analytics:read"] })).ok();
            assert_eq!(caller.get(ENDPOINTS).status, 403);
        }),
    ]);
    facts
}

fn deletion(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("2.10 deletion answers 200 and success", move || {
            let (_, admin) = fresh(world);
            let (id, _) = made(world, &admin, &["webhooks:read"]);
            let answer = delete(&admin, &id);
            assert_eq!(answer.status, 200);
            let said = answer.ok();
            assert_eq!(said["status"], "success");
            assert!(said["message"].is_string(), "{said}");
        }),
        fact("2.10 a deleted key is 401 at once", move || {
            let (_, admin) = fresh(world);
            let (id, caller) = made(world, &admin, &["webhooks:read"]);
            assert_eq!(caller.get(ENDPOINTS).status, 200);
            delete(&admin, &id).ok();
            refused(&caller.get(ENDPOINTS), 401, "UNAUTHORIZED", "Unauthorized");
        }),
        fact("2.10 a deleted key is listed no more", move || {
            let (_, admin) = fresh(world);
            let (id, _) = made(world, &admin, &["webhooks:read"]);
            delete(&admin, &id).ok();
            assert!(!ids(&admin.get(KEYS).ok()).contains(&id));
        }),
        fact("2.10 a key is deleted once", move || {
            let (_, admin) = fresh(world);
            let (id, _) = made(world, &admin, &["webhooks:read"]);
            delete(&admin, &id).ok();
            refused(&delete(&admin, &id), 400, "API_KEY_NOT_DELETED", "");
        }),
        fact("2.10 a deleted key is not changed", move || {
            let (_, admin) = fresh(world);
            let (id, _) = made(world, &admin, &["webhooks:read"]);
            delete(&admin, &id).ok();
            let answer = change(&admin, &id, json!({ "enabled": true }));
            refused(&answer, 400, "API_KEY_NOT_FOUND", "");
        }),
        fact("2.10 a foreign key is not deleted", move || {
            let ((_, admin), (_, other)) = (fresh(world), fresh(world));
            let (id, caller) = made(world, &other, &["webhooks:read"]);
            refused(&delete(&admin, &id), 400, "API_KEY_NOT_DELETED", "");
            assert_eq!(caller.get(ENDPOINTS).status, 200);
        }),
    ]
}
