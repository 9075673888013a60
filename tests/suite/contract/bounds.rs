//! Sections 8.2 and 11: how many and how large.

use serde_json::json;

use super::vocabulary::{ENDPOINTS, Fact, TARGET, endpoint, fact, id, ids, key, key_body, refused};
use super::world::World;
use crate::support::leavings::CANARY;

const PUBLISH: &str = "/v1/platform/events";

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let filled = |with: String| json!({ "canary": CANARY, "x": with });
    let least = filled(String::new()).to_string().len();
    let sized = move |bytes: usize| filled("y".repeat(bytes - least));
    vec![
        fact("11 an organization has 50 endpoints and not one more", move || {
            let tenant = world.daemon.tenant();
            (0..50).for_each(|_| drop(endpoint(&tenant, json!({}))));
            let answer = tenant.caller.post(ENDPOINTS, json!({ "url": TARGET }));
            refused(&answer, 409, "CONFLICT", "endpoints");
            endpoint(&world.daemon.tenant(), json!({}));
        }),
        fact("11 an endpoint has 20 keys and not one more", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            (0..20).for_each(|n| drop(key(&tenant, id(&made), &format!("k{n}"), &world.jwk)));
            let path = format!("{ENDPOINTS}/{}/keys", id(&made));
            refused(&tenant.caller.post(&path, key_body("k", &world.jwk)), 409, "CONFLICT", "keys");
            let active = tenant.caller.get(&format!("{path}?is_active=true")).ok();
            assert_eq!(active[0]["key_id"], "k19");
        }),
        fact("8.2 two endpoints may have one url", move || {
            let tenant = world.daemon.tenant();
            let made = [0; 2].map(|_| endpoint(&tenant, json!({})));
            assert_ne!(made[0]["id"], made[1]["id"]);
            assert_eq!(made[0]["url"], made[1]["url"]);
        }),
        fact("8.2 a page has at most 100 items", move || {
            let tenant = world.daemon.tenant();
            (0..11).for_each(|_| drop(endpoint(&tenant, json!({}))));
            for n in 0..10 {
                tenant.publish(&format!("vs_{n}"), json!({}));
            }
            let page = tenant.caller.get("/v1/webhooks/deliveries?limit=100").json();
            assert_eq!(ids(&page["data"]).len(), 100);
            assert_eq!(page["pagination"]["has_more"], true);
        }),
        fact("11 a payload of 256 kib is taken", move || {
            let tenant = world.daemon.tenant();
            tenant.publish("vs_1", sized(256 * 1024));
        }),
        fact("11 a payload of one byte over 256 kib is 413", move || {
            let tenant = world.daemon.tenant();
            let event = tenant.event("vs_1", sized(256 * 1024 + 1));
            refused(&tenant.platform.post(PUBLISH, event), 413, "PAYLOAD_TOO_LARGE", "data");
        }),
        fact("8.2 an event may have 25 targets", move || {
            let tenant = world.daemon.tenant();
            let targets = [0; 25].map(|_| endpoint(&tenant, json!({}))["id"].clone());
            let mut event = tenant.event("vs_1", json!({}));
            event["webhook_endpoint_ids"] = json!(targets);
            let event = tenant.platform.post(PUBLISH, event).ok();
            assert_eq!(ids(&event["deliveries"]).len(), 25);
        }),
        fact("8.2 26 targets are refused", move || {
            let tenant = world.daemon.tenant();
            let mut event = tenant.event("vs_1", json!({}));
            event["webhook_endpoint_ids"] = json!(vec!["whe_a"; 26]);
            let answer = tenant.platform.post(PUBLISH, event);
            refused(&answer, 400, "BAD_REQUEST", "webhook_endpoint_ids");
        }),
        fact("2.10 a target given twice counts once", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            let mut event = tenant.event("vs_1", json!({}));
            event["webhook_endpoint_ids"] = json!([made["id"], made["id"]]);
            let event = tenant.platform.post(PUBLISH, event).ok();
            assert_eq!(ids(&event["deliveries"]).len(), 1);
        }),
        fact("2.10 a disabled target is not available", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({ "enabled": false }));
            let mut event = tenant.event("vs_1", json!({}));
            event["webhook_endpoint_ids"] = json!([made["id"]]);
            let answer = tenant.platform.post(PUBLISH, event);
            refused(&answer, 400, "WEBHOOK_ENDPOINT_UNAVAILABLE", "webhook_endpoint_ids");
        }),
    ]
}
