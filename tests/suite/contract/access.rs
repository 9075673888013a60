//! Section 7.1: API keys, and organizations that are frozen.

use serde_json::json;

use super::vocabulary::{
    DELIVERIES, ENDPOINTS, EVENTS, Fact, ask, fact, get, is_minted, refusals, refused,
};
use super::world::World;
use crate::support::daemon::{Caller, Tenant};

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = credentials(world);
    facts.extend(frozen(world));
    facts
}

/// Asks with this whole `Authorization` header, in which `<key>` is a key that is good.
fn authorized(world: &World, header: &str) -> u16 {
    let header = header.replace("<key>", &world.tenant.caller.key);
    world.nobody.send("GET", ENDPOINTS, &[("authorization", &header)], "").status
}

fn credentials(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let forms = [
        ("a key after bearer and one space is taken",  "Bearer <key>",     200),
        ("spaces around a key are passed over",        "Bearer   <key>  ", 200),
        ("bearer in lower case is no scheme",          "bearer <key>",     401),
        ("bearer in capitals is no scheme",            "BEARER <key>",     401),
        ("basic is no scheme",                         "Basic <key>",      401),
        ("a key without a scheme is refused",          "<key>",            401),
        ("a scheme without a key is refused",          "Bearer ",          401),
        ("a scheme and a key in one word are refused", "Bearer<key>",      401),
        ("a key with a symbol more is refused",        "Bearer <key>x",    401),
        ("a key in another case is refused",           "Bearer KK_x",      401),
        ("two keys are refused",                       "Bearer <key> <key>", 401),
    ];
    let mut facts: Vec<_> = forms
        .map(|(name, header, status)| {
            fact(format!("7.1 {name}"), move || {
                assert_eq!(authorized(world, header), status);
            })
        })
        .into();
    #[rustfmt::skip] // a line a case
    facts.extend(refusals(world, [
        ("7.1 without a header a request is 401",     get(ENDPOINTS).by(&world.nobody),  401, "UNAUTHORIZED", "Unauthorized"),
        ("7.1 a key in the query is none",            get("/v1/webhooks/endpoints?api_key=kk_x").by(&world.nobody), 401, "UNAUTHORIZED", "Unauthorized"),
        ("7.1 a cookie that is not known is none",    get(ENDPOINTS).by(&world.nobody).with(("cookie", "session=x")), 401, "UNAUTHORIZED", "Unauthorized"),
    ]));
    facts.extend([
        fact("7.1 an unknown key of the right form is 401", move || {
            let stranger = Caller::new(&world.daemon.url, "kk_00000000000000000000000000000000");
            refused(&stranger.get(ENDPOINTS), 401, "UNAUTHORIZED", "Unauthorized");
        }),
        fact("7.1 a key is kk_ and 32 symbols", move || {
            assert!(is_minted(&json!(world.tenant.caller.key), "kk_", 32));
        }),
        fact("7.1 a key of another daemon is 401", move || {
            let caller = Caller::new(&world.daemon.url, &world.hasty.tenant().caller.key);
            refused(&caller.get(ENDPOINTS), 401, "UNAUTHORIZED", "Unauthorized");
        }),
        fact("7.1 a platform key reads no webhooks", move || {
            refused(&world.daemon.platform().get(ENDPOINTS), 403, "FORBIDDEN", "Forbidden");
        }),
        fact("7.1 an organization's key is no platform key", move || {
            let answer = world.tenant.caller.get("/v1/platform/organizations");
            refused(&answer, 403, "FORBIDDEN", "Forbidden");
        }),
        fact("7.1 two keys of an organization are good at once", move || {
            let tenant = world.daemon.tenant();
            let second = world.daemon.key(&tenant.organization, &["webhooks:read"]);
            for caller in [&tenant.caller, &second] {
                assert_eq!(caller.get(ENDPOINTS).status, 200);
            }
        }),
    ]);
    facts
}

/// A tenant that is frozen, and a key of it that may read.
fn frozen_tenant(world: &World) -> (Tenant, Caller) {
    let tenant = world.daemon.tenant();
    let reader = world.daemon.key(&tenant.organization, &["webhooks:read"]);
    freeze(&tenant, true);
    (tenant, reader)
}

fn freeze(tenant: &Tenant, frozen: bool) {
    let path = format!("/v1/platform/organizations/{}", tenant.organization);
    tenant.platform.patch(&path, json!({ "frozen": frozen })).ok();
}

fn frozen(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let routes = [
        ("GET",   ENDPOINTS),
        ("POST",  ENDPOINTS),
        ("GET",   "/v1/webhooks/endpoints/whe_x"),
        ("PATCH", "/v1/webhooks/endpoints/whe_x"),
        ("POST",  "/v1/webhooks/endpoints/whe_x/signing-secret/reveal"),
        ("POST",  "/v1/webhooks/endpoints/whe_x/signing-secret/rotate"),
        ("GET",   "/v1/webhooks/endpoints/whe_x/keys"),
        ("POST",  "/v1/webhooks/endpoints/whe_x/keys"),
        ("POST",  "/v1/webhooks/keys/whk_x/deactivate"),
        ("POST",  "/v1/webhooks/keys/whk_x/reactivate"),
        ("GET",   DELIVERIES),
        ("POST",  "/v1/webhooks/deliveries/whd_x/retry"),
        ("GET",   EVENTS),
        ("GET",   "/v1/webhooks/events/evt_x"),
        ("POST",  "/v1/webhooks/events/evt_x/replay"),
        ("GET",   "/v1/events"),
        ("GET",   "/v1/events/evt_x"),
        ("POST",  "/v1/events/evt_x/replay"),
    ];
    let mut facts: Vec<_> = routes
        .map(|(method, path)| {
            let name =
                format!("7.1 {} {path} of a frozen organization is 410", method.to_lowercase());
            fact(name, move || {
                let (tenant, _) = frozen_tenant(world);
                let answer = ask(method, path).by(&tenant.caller).send(world);
                refused(&answer, 410, "ORGANIZATION_FROZEN", "frozen");
            })
        })
        .into();
    facts.extend([
        fact("2.1 frozen comes before the scope", move || {
            let (_, reader) = frozen_tenant(world);
            let answer = ask("POST", ENDPOINTS).by(&reader).send(world);
            refused(&answer, 410, "ORGANIZATION_FROZEN", "frozen");
        }),
        fact("2.1 frozen comes before an unknown path", move || {
            let (_, reader) = frozen_tenant(world);
            assert_eq!(reader.get("/v1/nothing").status, 410);
        }),
        fact("7.1 a key is off at once when its organization is frozen", move || {
            let tenant = world.daemon.tenant();
            assert_eq!(tenant.caller.get(ENDPOINTS).status, 200);
            freeze(&tenant, true);
            assert_eq!(tenant.caller.get(ENDPOINTS).status, 410);
        }),
        fact("7.1 a key is good again when its organization is thawed", move || {
            let (tenant, _) = frozen_tenant(world);
            assert_eq!(tenant.caller.get(ENDPOINTS).status, 410);
            freeze(&tenant, false);
            assert_eq!(tenant.caller.get(ENDPOINTS).status, 200);
        }),
        fact("7.1 an unknown key is 401 whatever is frozen", move || {
            frozen_tenant(world);
            assert_eq!(authorized(world, "Bearer kk_unknown"), 401);
        }),
    ]);
    facts
}
