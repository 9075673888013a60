//! Sections 1.3 and 2.5: what endpoints show, what a change changes, and their signing secrets.

use std::time::Duration;

use serde_json::{Value, json};

use super::vocabulary::{
    ENDPOINTS, Fact, TARGET, change, endpoint, fact, id, ids, is_instant, is_minted,
    members_in_order, refused, seconds_between,
};
use super::world::World;
use crate::support::daemon::Tenant;

const DEFAULTS: [&str; 4] = [
    "verification.session.succeeded",
    "verification.session.failed",
    "verification.session.expired",
    "verification.session.cancelled",
];

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = shown(world);
    facts.extend(defaults(world));
    facts.extend(changes(world));
    facts.extend(disabling(world));
    facts.extend(lists(world));
    facts.extend(secrets(world));
    facts
}

fn found(tenant: &Tenant, id: &str) -> Value {
    tenant.caller.get(&format!("{ENDPOINTS}/{id}")).ok()
}

fn shown(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("1.3 an endpoint's members stand in wire order", move || {
            let tenant = world.daemon.tenant();
            let answer = tenant.caller.post(ENDPOINTS, json!({ "url": TARGET }));
            let order = "endpoint id organization_id name labels url enabled subscribed_event_types \
                         undelivered_payload_retention_hours created_at updated_at disabled_at \
                         signing_secret";
            members_in_order(&answer.text, &order.split_whitespace().collect::<Vec<_>>());
        }),
        fact("1.1 an endpoint's id is whe_ and 32 symbols", move || {
            let made = endpoint(&world.daemon.tenant(), json!({}));
            assert!(is_minted(&made["id"], "whe_", 32), "{made}");
        }),
        fact("1.1 a signing secret is whsec_ and 32 symbols", move || {
            let tenant = world.daemon.tenant();
            let made = tenant.caller.post(ENDPOINTS, json!({ "url": TARGET })).ok();
            assert!(is_minted(&made["signing_secret"], "whsec_", 32), "{made}");
        }),
        fact("1.3 an endpoint names its organization", move || {
            let tenant = world.daemon.tenant();
            assert_eq!(endpoint(&tenant, json!({}))["organization_id"], json!(tenant.organization));
        }),
        fact("1.2 times are utc with three digits of a second", move || {
            let made = endpoint(&world.daemon.tenant(), json!({ "enabled": false }));
            for member in ["created_at", "updated_at", "disabled_at"] {
                assert!(is_instant(&made[member]), "{made}");
            }
        }),
        fact("1.3 a new endpoint was updated when it was created", move || {
            let made = endpoint(&world.daemon.tenant(), json!({}));
            assert_eq!(made["created_at"], made["updated_at"]);
        }),
        fact("1.3 a url is shown as it was received", move || {
            let url = "HTTPS://Hooks.Example.INVALID:8443/A/../b?c=%41&d";
            assert_eq!(endpoint(&world.daemon.tenant(), json!({ "url": url }))["url"], url);
        }),
        fact("2.5 get shows what creation showed", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({ "name": "n", "labels": ["a"] }));
            assert_eq!(found(&tenant, id(&made)), made);
        }),
        fact("1.3 no endpoint answer but creation carries the secret", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            let path = format!("{ENDPOINTS}/{}", id(&made));
            let answers = [
                tenant.caller.get(ENDPOINTS),
                tenant.caller.get(&path),
                tenant.caller.patch(&path, json!({ "name": "n" })),
            ];
            assert!(answers.iter().all(|answer| !answer.text.contains("whsec_")), "{answers:?}");
        }),
    ]
}

fn defaults(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let rows = [
        ("an endpoint has no name by default",              "name",                                json!(null)),
        ("an endpoint has no labels by default",            "labels",                              json!([])),
        ("an endpoint is enabled by default",               "enabled",                             json!(true)),
        ("an endpoint subscribes to all four by default",   "subscribed_event_types",              json!(DEFAULTS)),
        ("undelivered payloads stay 72 hours by default",   "undelivered_payload_retention_hours", json!(72)),
        ("an enabled endpoint was not disabled",            "disabled_at",                         json!(null)),
    ];
    let rows = rows.map(|(name, member, value)| {
        fact(format!("2.5 {name}"), move || {
            assert_eq!(endpoint(&world.daemon.tenant(), json!({}))[member], value);
        })
    });
    rows.into()
}

fn changes(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let rows = [
        ("name",                                json!("new")),
        ("labels",                              json!(["new"])),
        ("url",                                 json!("https://new.example.invalid/")),
        ("enabled",                             json!(false)),
        ("subscribed_event_types",              json!([])),
        ("undelivered_payload_retention_hours", json!(0)),
    ];
    let mut facts = Vec::new();
    for (member, value) in rows {
        facts.push(fact(format!("2.5 a change of {member} leaves the rest"), move || {
            let tenant = world.daemon.tenant();
            let mut before = endpoint(&tenant, json!({ "name": "old", "labels": ["old"] }));
            let mut after = change(&tenant, id(&before), json!({ member: value }));
            assert_eq!((&after[member], &found(&tenant, id(&before))), (&value, &after));
            for moved in [member, "updated_at", "disabled_at"] {
                before[moved] = after[moved].take();
                after[moved] = before[moved].clone();
            }
            assert_eq!(before, after);
        }));
    }
    facts.extend([
        fact("2.5 a null name clears it", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({ "name": "n" }));
            assert_eq!(change(&tenant, id(&made), json!({ "name": null }))["name"], Value::Null);
        }),
        fact("1.2 a change moves updated_at and leaves created_at", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            std::thread::sleep(Duration::from_millis(5));
            let after = change(&tenant, id(&made), json!({ "name": "n" }));
            assert_eq!(after["created_at"], made["created_at"]);
            assert!(seconds_between(&made["updated_at"], &after["updated_at"]) > 0.0);
        }),
        fact("2.5 a change that is refused changes nothing", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            let body = json!({ "name": "new", "enabled": false, "labels": [""] });
            let answer = tenant.caller.patch(&format!("{ENDPOINTS}/{}", id(&made)), body);
            refused(&answer, 400, "BAD_REQUEST", "labels[0]");
            assert_eq!(found(&tenant, id(&made)), made);
        }),
        fact("2.5 several members change at once", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            let body = json!({ "name": "new", "enabled": false, "labels": ["a"] });
            let after = change(&tenant, id(&made), body.clone());
            for member in ["name", "enabled", "labels"] {
                assert_eq!(after[member], body[member]);
            }
        }),
        fact("2.5 creation that is refused makes nothing", move || {
            let tenant = world.daemon.tenant();
            tenant.caller.post(ENDPOINTS, json!({ "url": TARGET, "labels": [""] }));
            assert_eq!(tenant.caller.get(ENDPOINTS).ok(), json!([]));
        }),
    ]);
    facts
}

fn disabling(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("2.5 an endpoint made disabled was disabled when it was created", move || {
            let made = endpoint(&world.daemon.tenant(), json!({ "enabled": false }));
            assert_eq!(
                (&made["enabled"], &made["disabled_at"]),
                (&json!(false), &made["created_at"])
            );
        }),
        fact("2.5 disabling tells when", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            let after = change(&tenant, id(&made), json!({ "enabled": false }));
            assert_eq!(after["disabled_at"], after["updated_at"]);
        }),
        fact("2.5 disabling again moves the time", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({ "enabled": false }));
            std::thread::sleep(Duration::from_millis(5));
            let after = change(&tenant, id(&made), json!({ "enabled": false }));
            assert!(seconds_between(&made["disabled_at"], &after["disabled_at"]) > 0.0);
        }),
        fact("2.5 another change leaves the time of disabling", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({ "enabled": false }));
            let after = change(&tenant, id(&made), json!({ "name": "n" }));
            assert_eq!(after["disabled_at"], made["disabled_at"]);
        }),
        fact("2.5 enabling clears the time", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({ "enabled": false }));
            let after = change(&tenant, id(&made), json!({ "enabled": true }));
            assert_eq!((&after["enabled"], &after["disabled_at"]), (&json!(true), &Value::Null));
        }),
    ]
}

fn lists(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("2.5 a list shows endpoints as get does", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({ "name": "n" }));
            assert_eq!(tenant.caller.get(ENDPOINTS).ok(), json!([made]));
        }),
        fact("2.5 enabled=true lists the enabled ones", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            endpoint(&tenant, json!({ "enabled": false }));
            let listed = tenant.caller.get("/v1/webhooks/endpoints?enabled=true").ok();
            assert_eq!(ids(&listed), [id(&made)]);
        }),
        fact("2.5 enabled=false lists the disabled ones", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({}));
            let made = endpoint(&tenant, json!({ "enabled": false }));
            let listed = tenant.caller.get("/v1/webhooks/endpoints?enabled=false").ok();
            assert_eq!(ids(&listed), [id(&made)]);
        }),
        fact("2.5 without enabled both are listed", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({}));
            endpoint(&tenant, json!({ "enabled": false }));
            assert_eq!(ids(&tenant.caller.get(ENDPOINTS).ok()).len(), 2);
        }),
    ]
}

fn secrets(world: &World) -> Vec<Fact<'_>> {
    let created = |tenant: &Tenant| {
        let made = tenant.caller.post(ENDPOINTS, json!({ "url": TARGET })).ok();
        (id(&made["endpoint"]).to_owned(), made["signing_secret"].clone())
    };
    let asked = |tenant: &Tenant, id: &str, verb: &str| {
        tenant.caller.send("POST", &format!("{ENDPOINTS}/{id}/signing-secret/{verb}"), &[], "")
    };
    vec![
        fact("2.5 reveal shows the secret of creation", move || {
            let tenant = world.daemon.tenant();
            let (id, secret) = created(&tenant);
            let shown = json!({ "endpoint_id": id, "signing_secret": secret });
            assert_eq!(asked(&tenant, &id, "reveal").ok(), shown);
        }),
        fact("2.5 reveal may be asked for again", move || {
            let tenant = world.daemon.tenant();
            let (id, secret) = created(&tenant);
            for _ in 0..2 {
                assert_eq!(asked(&tenant, &id, "reveal").ok()["signing_secret"], secret);
            }
        }),
        fact("2.5 reveal and rotate answer 200", move || {
            let tenant = world.daemon.tenant();
            let (id, _) = created(&tenant);
            for verb in ["reveal", "rotate"] {
                assert_eq!(asked(&tenant, &id, verb).status, 200);
            }
        }),
        fact("2.5 rotate makes another secret of the same form", move || {
            let tenant = world.daemon.tenant();
            let (id, secret) = created(&tenant);
            let rotated = asked(&tenant, &id, "rotate").ok();
            assert_eq!(rotated["endpoint_id"], json!(id));
            assert!(is_minted(&rotated["signing_secret"], "whsec_", 32));
            assert_ne!(rotated["signing_secret"], secret);
        }),
        fact("2.5 reveal shows the rotated secret", move || {
            let tenant = world.daemon.tenant();
            let (id, _) = created(&tenant);
            let rotated = asked(&tenant, &id, "rotate").ok();
            assert_eq!(asked(&tenant, &id, "reveal").ok(), rotated);
        }),
        fact("2.5 the secret of a disabled endpoint rotates", move || {
            let tenant = world.daemon.tenant();
            let (id, _) = created(&tenant);
            change(&tenant, &id, json!({ "enabled": false }));
            assert_eq!(asked(&tenant, &id, "rotate").status, 200);
        }),
        fact("2.5 two endpoints have two secrets", move || {
            let tenant = world.daemon.tenant();
            assert_ne!(created(&tenant).1, created(&tenant).1);
        }),
    ]
}
