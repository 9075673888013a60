//! Section 2.11: the audit log, an item an action.

use serde_json::{Value, json};

use super::tokens::{USER, session};
use super::vocabulary::{
    DELIVERIES, ENDPOINTS, EVENTS, Fact, TARGET, change, delivery_of, endpoint, fact, get, id, ids,
    is_instant, key, members_in_order, refusals, refused, replay, retry, seconds_between,
};
use super::world::{SOON, World};
use crate::support::daemon::{Tenant, wait};

const LOG: &str = "/v1/webhooks/audit-log";

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = lists(world);
    facts.extend(of_endpoints(world));
    facts.extend(of_deliveries(world));
    facts.extend(of_the_rest(world));
    facts
}

/// Items of one action, newest first.
fn items(tenant: &Tenant, action: &str) -> Vec<Value> {
    let log = tenant.caller.get(&format!("{LOG}?limit=100")).ok();
    let items = log.as_array().unwrap().iter();
    items.filter(|item| item["action"] == action).cloned().collect()
}

/// The one item of an action, which is about `target`.
fn item(tenant: &Tenant, action: &str, kind: &str, target: &str) -> Value {
    let found = items(tenant, action);
    assert_eq!(found.len(), 1, "{action}: {found:?}");
    assert_eq!((&found[0]["target_type"], &found[0]["target_id"]), (&json!(kind), &json!(target)));
    found[0].clone()
}

fn lists(world: &World) -> Vec<Fact<'_>> {
    let log = |query: &str| get(format!("{LOG}?{query}"));
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.11 nobody may read the log",                   get(LOG).by(&world.nobody),          401, "UNAUTHORIZED", "Unauthorized"),
        ("2.11 no other scope may read the log",           get(LOG).by(&world.elsewhere),       403, "FORBIDDEN", "Forbidden"),
        ("2.11 a limit of zero of the log is refused",     log("limit=0"),                      400, "BAD_REQUEST", "limit"),
        ("2.11 an unknown cursor of the log is refused",   log("starting_after=none"),          400, "INVALID_REQUEST", "starting_after"),
        ("2.11 a date alone is no time of the log",        log("created_from=2026-05-05"),      400, "BAD_REQUEST", "created_from"),
        ("2.11 a time with an offset is none of the log",  log("created_to=2026-05-05T11:00:00%2B00:00"), 400, "BAD_REQUEST", "created_to"),
    ]);
    let three = || {
        let tenant = world.daemon.tenant();
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(3));
            endpoint(&tenant, json!({}));
        }
        tenant
    };
    facts.extend([
        fact("2.11 an item's members stand in order", move || {
            let tenant = three();
            let order = "id organization_id actor_type actor_id action target_type target_id \
                         metadata created_at";
            let answer = tenant.caller.get(LOG);
            members_in_order(&answer.text, &order.split_whitespace().collect::<Vec<_>>());
            let item = &answer.ok()[0];
            assert_eq!(item.as_object().unwrap().len(), 9, "{item}");
            assert_eq!(item["organization_id"], json!(tenant.organization));
            assert!(is_instant(&item["created_at"]), "{item}");
        }),
        fact("2.11 the log is listed newest first", move || {
            let tenant = three();
            let log = tenant.caller.get(LOG).ok();
            let log = log.as_array().unwrap();
            assert!(log.len() >= 3);
            let falls = |pair: &[Value]| {
                seconds_between(&pair[1]["created_at"], &pair[0]["created_at"]) >= 0.0
            };
            assert!(log.windows(2).all(falls), "{log:?}");
        }),
        fact("2.11 pages of the log show everything once", move || {
            let tenant = three();
            let whole = ids(&tenant.caller.get(&format!("{LOG}?limit=100")).ok());
            let (mut paged, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = tenant.caller.get(&format!("{LOG}?limit=2{cursor}")).json();
                paged.extend(ids(&page["data"]));
                let Some(next) = page["pagination"]["next_cursor"].as_str() else { break };
                cursor = format!("&starting_after={next}");
            }
            assert_eq!(paged, whole);
        }),
        fact("2.11 both times cut a part out of the log", move || {
            let tenant = three();
            let made = items(&tenant, "webhook_endpoint.created");
            let at = made[1]["created_at"].as_str().unwrap();
            let path = format!("{LOG}?created_from={at}&created_to={at}");
            assert_eq!(ids(&tenant.caller.get(&path).ok()), [id(&made[1])]);
        }),
        fact("2.11 webhooks:read may read the log", move || {
            assert_eq!(get(LOG).by(&world.reader).send(world).status, 200);
            assert_eq!(get(LOG).by(&world.writer).send(world).status, 200);
        }),
        fact("2.11 a member may read the log", move || {
            let member = session(world, &world.tenant, "member");
            assert_eq!(member.get(LOG).status, 200);
        }),
        fact("2.11 the log of one organization shows nothing of another", move || {
            let (tenant, other) = (three(), three());
            let mine = ids(&tenant.caller.get(&format!("{LOG}?limit=100")).ok());
            let theirs = ids(&other.caller.get(&format!("{LOG}?limit=100")).ok());
            assert!(mine.iter().all(|id| !theirs.contains(id)));
        }),
        fact("2.11 a key acts as its record", move || {
            let tenant = three();
            let made = &items(&tenant, "webhook_endpoint.created")[0];
            assert_eq!(made["actor_type"], "api_key");
            let keys = session(world, &tenant, "admin").get("/v1/auth/api-keys").ok();
            assert_eq!(made["actor_id"], keys[0]["id"]);
        }),
        fact("2.11 a session acts as its user", move || {
            let tenant = world.daemon.tenant();
            let admin = session(world, &tenant, "admin");
            admin.post(ENDPOINTS, json!({ "url": TARGET })).ok();
            let made = &items(&tenant, "webhook_endpoint.created")[0];
            assert_eq!((&made["actor_type"], &made["actor_id"]), (&json!("user"), &json!(USER)));
        }),
        fact("2.11 what is refused is not logged", move || {
            let tenant = world.daemon.tenant();
            let before = tenant.caller.get(LOG).ok();
            tenant.caller.post(ENDPOINTS, json!({}));
            tenant.caller.get(ENDPOINTS);
            assert_eq!(tenant.caller.get(LOG).ok(), before);
        }),
        fact("2.11 the log shows no secret", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            for verb in ["reveal", "rotate"] {
                let path = format!("{ENDPOINTS}/{}/signing-secret/{verb}", id(&made));
                tenant.caller.send("POST", &path, &[], "").ok();
            }
            let log = tenant.caller.get(&format!("{LOG}?limit=100")).text;
            assert!(!log.contains("whsec_") && !log.contains("kk_"), "{log}");
        }),
    ]);
    facts
}

fn of_endpoints(world: &World) -> Vec<Fact<'_>> {
    let mut facts = vec![
        fact("2.11 webhook_endpoint.created tells url and enabled", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({ "enabled": false }));
            let item = item(&tenant, "webhook_endpoint.created", "webhook_endpoint", id(&made));
            assert_eq!(
                (&item["metadata"]["url"], &item["metadata"]["enabled"]),
                (&json!(TARGET), &json!(false))
            );
        }),
        fact("2.11 webhook_endpoint.updated tells the fields", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            change(&tenant, id(&made), json!({ "name": "n", "enabled": false }));
            let item = item(&tenant, "webhook_endpoint.updated", "webhook_endpoint", id(&made));
            let mut fields: Vec<_> =
                item["metadata"]["updated_fields"].as_array().unwrap().iter().collect();
            fields.sort_by_key(|field| field.to_string());
            assert_eq!(fields, [&json!("enabled"), &json!("name")]);
        }),
        fact("2.11 webhook_endpoint.deleted is logged", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            tenant.caller.send("DELETE", &format!("{ENDPOINTS}/{}", id(&made)), &[], "").ok();
            item(&tenant, "webhook_endpoint.deleted", "webhook_endpoint", id(&made));
        }),
        fact("2.11 webhook_encryption_key.created is logged", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            let key = key(&tenant, id(&made), "k1", &world.jwk);
            item(&tenant, "webhook_encryption_key.created", "webhook_encryption_key", id(&key));
        }),
    ];
    #[rustfmt::skip] // a line a case
    let posts = [
        ("signing-secret/reveal", "webhook_endpoint.signing_secret.revealed"),
        ("signing-secret/rotate", "webhook_endpoint.signing_secret.rotated"),
        ("test",                  "webhook_endpoint.tested"),
    ];
    for (path, action) in posts {
        facts.push(fact(format!("2.11 {action} is logged"), move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            let path = format!("{ENDPOINTS}/{}/{path}", id(&made));
            tenant.caller.send("POST", &path, &[], "").ok();
            item(&tenant, action, "webhook_endpoint", id(&made));
        }));
    }
    for (verb, action) in [
        ("deactivate", "webhook_encryption_key.deactivated"),
        ("reactivate", "webhook_encryption_key.reactivated"),
    ] {
        facts.push(fact(format!("2.11 {action} is logged"), move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            let key = key(&tenant, id(&made), "k1", &world.jwk);
            let path = format!("/v1/webhooks/keys/{}/{verb}", id(&key));
            tenant.caller.send("POST", &path, &[], "").ok();
            item(&tenant, action, "webhook_encryption_key", id(&key));
        }));
    }
    facts
}

fn of_deliveries(world: &World) -> Vec<Fact<'_>> {
    use hookseal::demo::receiver::{Behaviour, Receiver};
    let waiting = move || {
        let tenant = world.daemon.tenant();
        let receiver = Receiver::start(Behaviour::Answer(500));
        tenant.register(&receiver, json!({}));
        let event = tenant.publish("vs_1", json!({}));
        wait(SOON, "the first attempt", || delivery_of(&tenant, &event)["attempt_count"] == 1);
        (tenant, receiver, event)
    };
    vec![
        fact("2.11 webhook_delivery.retried is logged", move || {
            let (tenant, _receiver, event) = waiting();
            let delivery = delivery_of(&tenant, &event);
            retry(&tenant, &delivery).ok();
            item(&tenant, "webhook_delivery.retried", "webhook_delivery", id(&delivery));
        }),
        fact("2.11 webhook_event.replayed is logged", move || {
            let (tenant, _receiver, event) = waiting();
            replay(&tenant, &event).ok();
            item(&tenant, "webhook_event.replayed", "webhook_event", id(&event));
        }),
        fact("2.11 a retry that is refused is not logged", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            let path = format!("{DELIVERIES}/{}/retry", id(&event["deliveries"][0]));
            refused(
                &tenant.caller.send("POST", &path, &[], ""),
                409,
                "WEBHOOK_PAYLOAD_EXPIRED",
                "",
            );
            let path = format!("{EVENTS}/{}/replay", id(&event));
            assert_eq!(tenant.caller.send("POST", &path, &[], "").status, 409);
            assert!(items(&tenant, "webhook_delivery.retried").is_empty());
            assert!(items(&tenant, "webhook_event.replayed").is_empty());
        }),
    ]
}

fn of_the_rest(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("2.11 api_key.created, updated and deleted are logged", move || {
            let tenant = world.daemon.tenant();
            let admin = session(world, &tenant, "admin");
            let body = json!({ "name": "n", "permissions": ["webhooks:read"] });
            let key = admin.post("/v1/auth/api-keys", body).ok();
            let path = format!("/v1/auth/api-keys/{}", id(&key));
            admin.patch(&path, json!({ "name": "m" })).ok();
            admin.send("DELETE", &path, &[], "").ok();
            for action in ["api_key.updated", "api_key.deleted"] {
                item(&tenant, action, "api_key", id(&key));
            }
            let made = items(&tenant, "api_key.created");
            assert!(made.iter().any(|item| item["target_id"] == key["id"]), "{made:?}");
        }),
        fact("2.11 organization.created and updated are logged", move || {
            let tenant = world.daemon.tenant();
            let path = format!("/v1/platform/organizations/{}", tenant.organization);
            tenant.platform.patch(&path, json!({ "name": "n" })).ok();
            for action in ["organization.created", "organization.updated"] {
                item(&tenant, action, "organization", &tenant.organization);
            }
        }),
        fact("2.11 organization.frozen and thawed are logged", move || {
            let tenant = world.daemon.tenant();
            let path = format!("/v1/platform/organizations/{}", tenant.organization);
            for frozen in [true, false] {
                tenant.platform.patch(&path, json!({ "frozen": frozen })).ok();
            }
            for action in ["organization.frozen", "organization.thawed"] {
                item(&tenant, action, "organization", &tenant.organization);
            }
        }),
        fact("2.11 session.privacy_request.submitted tells what became of deliveries", move || {
            let tenant = world.daemon.tenant();
            let body = json!({
                "organization_id": tenant.organization, "verification_session_id": "vs_1",
                "outcome": "active",
            });
            tenant.platform.post("/v1/platform/privacy-requests", body).ok();
            let action = "session.privacy_request.submitted";
            let item = item(&tenant, action, "verification_session", "vs_1");
            for count in ["delivered", "scrubbed", "in_flight"] {
                assert_eq!(item["metadata"][count], 0, "{item}");
            }
        }),
    ]
}
