//! Sections 2.1, 2.2 and 2.9: the one envelope, bodies, methods, headers, the order of checks.

use serde_json::json;

use super::vocabulary::{
    DELIVERIES, ENDPOINTS, EVENTS, Fact, JSON, TARGET, ask, fact, get, grants, patch, post,
    refusals,
};
use super::world::World;

/// The largest body, in bytes.
const LARGEST: usize = 2 * 1024 * 1024;

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = successes(world);
    facts.extend(headers(world));
    facts.extend(methods(world));
    facts.extend(bodies(world));
    facts.extend(order_of_checks(world));
    facts.extend(messages(world));
    facts
}

fn successes(world: &World) -> Vec<Fact<'_>> {
    let one = || get("/v1/webhooks/endpoints/{endpoint}").send(world);
    let list = || get(ENDPOINTS).send(world);
    vec![
        fact("2.1 a success is data and then a null error", move || {
            let text = one().text;
            assert!(
                text.starts_with("{\"data\":{") && text.ends_with("},\"error\":null}"),
                "{text}"
            );
        }),
        fact("2.1 a list ends in its pagination", move || {
            let text = list().text;
            let end = "],\"error\":null,\"pagination\":{\"limit\":10,\"has_more\":false,\"next_cursor\":null}}";
            assert!(text.starts_with("{\"data\":[") && text.ends_with(end), "{text}");
        }),
        fact("2.1 a body is compact json", move || {
            let answer = list();
            assert_eq!(answer.text.len(), answer.json().to_string().len(), "{answer:?}");
        }),
        fact("2.1 the content type has no charset", move || {
            assert_eq!(list().header("content-type"), Some("application/json"));
        }),
        fact("2.1 a creation answers 200", move || {
            let tenant = world.daemon.tenant();
            assert_eq!(tenant.caller.post(ENDPOINTS, json!({ "url": TARGET })).status, 200);
        }),
        fact("2.1 the root is healthy and needs no key", move || {
            let root = get("/").by(&world.nobody).send(world).ok();
            assert_eq!(root["status"], "healthy");
            assert!(root["message"].is_string() && root["docs"].is_string(), "{root}");
        }),
        fact("2.1 head answers as get does, without a body", move || {
            let answer = ask("HEAD", ENDPOINTS).send(world);
            assert_eq!((answer.status, answer.text.as_str()), (200, ""));
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }),
        fact("2.1 head of what is missing is 404", move || {
            assert_eq!(ask("HEAD", "/v1/webhooks/events/evt_missing").send(world).status, 404);
        }),
        fact("2.1 head needs a right as get does", move || {
            assert_eq!(ask("HEAD", ENDPOINTS).by(&world.elsewhere).send(world).status, 403);
        }),
    ]
}

fn headers(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let headers = [
        ("content-security-policy", "base-uri 'self'; frame-ancestors 'none'; object-src 'none'"),
        ("permissions-policy",      "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        ("referrer-policy",         "strict-origin-when-cross-origin"),
        ("x-content-type-options",  "nosniff"),
        ("x-frame-options",         "DENY"),
    ];
    let mut facts = Vec::new();
    for (name, value) in headers {
        facts.push(fact(format!("2.1 every answer carries {name}"), move || {
            let asks = [
                get(ENDPOINTS),
                get(ENDPOINTS).by(&world.nobody),
                get("/nothing").by(&world.nobody),
                ask("PUT", ENDPOINTS),
                get("/").by(&world.nobody),
            ];
            for answer in asks.map(|ask| ask.send(world)) {
                assert_eq!(answer.header(name), Some(value), "{answer:?}");
            }
        }));
    }
    facts.push(fact("2.1 plain http carries no strict-transport-security", move || {
        assert_eq!(get(ENDPOINTS).send(world).header("strict-transport-security"), None);
    }));
    facts
}

fn methods(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let others = [
        ("PUT",    "/v1/webhooks/endpoints",                                  "GET, HEAD, POST"),
        ("PUT",    "/v1/webhooks/endpoints/{endpoint}",                       "GET, HEAD, PATCH"),
        ("GET",    "/v1/webhooks/endpoints/{endpoint}/signing-secret/reveal", "POST"),
        ("GET",    "/v1/webhooks/endpoints/{endpoint}/signing-secret/rotate", "POST"),
        ("PATCH",  "/v1/webhooks/endpoints/{endpoint}/keys",                  "GET, HEAD, POST"),
        ("GET",    "/v1/webhooks/keys/{key}/deactivate",                      "POST"),
        ("GET",    "/v1/webhooks/keys/{key}/reactivate",                      "POST"),
        ("POST",   "/v1/webhooks/deliveries",                                 "GET, HEAD"),
        ("GET",    "/v1/webhooks/deliveries/{delivery}/retry",                "POST"),
        ("POST",   "/v1/webhooks/events",                                     "GET, HEAD"),
        ("PATCH",  "/v1/webhooks/events/{event}",                             "GET, HEAD"),
        ("GET",    "/v1/webhooks/events/{event}/replay",                      "POST"),
        ("POST",   "/v1/events",                                              "GET, HEAD"),
    ];
    let mut facts: Vec<_> = others
        .map(|(method, path, allowed)| {
            fact(format!("2.1 {} {path} is 405 with allow", method.to_lowercase()), move || {
                let answer = ask(method, path).with(JSON).send(world);
                super::vocabulary::refused(&answer, 405, "METHOD_NOT_ALLOWED", "ethod");
                let allow: Vec<_> = answer.header("allow").unwrap().split(", ").collect();
                assert!(allowed.split(", ").all(|name| allow.contains(&name)), "{allow:?}");
                assert!(!allow.contains(&method), "{allow:?}");
            })
        })
        .into();
    #[rustfmt::skip] // a line a case
    let refused = [
        ("2.1 an unknown path is 404",                     get("/v1/nothing"),                                404, "NOT_FOUND", "Path"),
        ("2.1 an unknown path outside v1 is 404",          get("/nothing").by(&world.nobody),                 404, "NOT_FOUND", "Path"),
        ("2.1 a trailing slash is another path",           get("/v1/webhooks/endpoints/"),                    404, "NOT_FOUND", "Path"),
        ("2.1 a doubled slash is another path",            get("/v1//webhooks/endpoints"),                    404, "NOT_FOUND", "Path"),
        ("2.1 paths tell cases apart",                     get("/v1/Webhooks/endpoints"),                     404, "NOT_FOUND", "Path"),
        ("2.1 a stranger's unknown path is 401",           get("/v1/nothing").by(&world.nobody),              401, "UNAUTHORIZED", "Unauthorized"),
        ("2.1 a stranger's wrong method is 401",           ask("PUT", ENDPOINTS).by(&world.nobody),           401, "UNAUTHORIZED", "Unauthorized"),
        ("2.4 there is no route for a single key",         get("/v1/webhooks/keys/{key}"),                    404, "NOT_FOUND", "Path"),
        ("2.4 there is no route for a delivery's payload", get("/v1/webhooks/deliveries/{delivery}/payload"), 404, "NOT_FOUND", "Path"),
        ("2.4 there is no alias for deliveries",           get("/v1/deliveries"),                             404, "NOT_FOUND", "Path"),
    ];
    facts.extend(refusals(world, refused));
    facts
}

fn bodies(world: &World) -> Vec<Fact<'_>> {
    let named = |kind: &'static str| {
        ask("POST", ENDPOINTS).with(("content-type", kind)).text(json!({}).to_string())
    };
    let raw = |text: &str| ask("POST", ENDPOINTS).with(JSON).text(text);
    let one = "/v1/webhooks/endpoints/{endpoint}";
    let padded = |bytes: usize| {
        let frame = json!({ "url": TARGET, "ours": "" }).to_string().len();
        json!({ "url": TARGET, "ours": "x".repeat(bytes - frame) }).to_string()
    };
    #[rustfmt::skip] // a line a case
    let refused = [
        ("2.2 malformed json is refused",                 raw("{\"url\":"),                                        400, "BAD_REQUEST", "body"),
        ("2.2 an empty body announced as json is refused", raw(""),                                                400, "BAD_REQUEST", "body"),
        ("2.2 text behind the json is refused",           raw("{} x"),                                             400, "BAD_REQUEST", "body"),
        ("2.2 a list in place of an object is refused",   raw("[]"),                                               400, "BAD_REQUEST", "body"),
        ("2.2 a number in place of an object is refused", raw("7"),                                                400, "BAD_REQUEST", "body"),
        ("2.2 null in place of an object is refused",     raw("null"),                                             400, "BAD_REQUEST", "body"),
        ("2.2 malformed json of a change is refused",     ask("PATCH", one).with(JSON).text("{"),                  400, "BAD_REQUEST", "body"),
        ("2.2 malformed json of a key is refused",        ask("POST", format!("{one}/keys")).with(JSON).text("{"), 400, "BAD_REQUEST", "body"),
        ("2.2 a body without a content type is 415",      ask("POST", ENDPOINTS).text("{}"),                       415, "UNSUPPORTED_MEDIA_TYPE", "application/json"),
        ("2.2 a body as plain text is 415",               named("text/plain"),                                     415, "UNSUPPORTED_MEDIA_TYPE", "application/json"),
        ("2.2 a body as a form is 415",                   named("application/x-www-form-urlencoded"),              415, "UNSUPPORTED_MEDIA_TYPE", "application/json"),
        ("2.2 a body as text/json is 415",                named("text/json"),                                      415, "UNSUPPORTED_MEDIA_TYPE", "application/json"),
        ("2.2 a change without a content type is 415",    ask("PATCH", one).text("{\"enabled\":true}"),            415, "UNSUPPORTED_MEDIA_TYPE", "application/json"),
        ("2.2 a key without a content type is 415",       ask("POST", format!("{one}/keys")).text("{}"),           415, "UNSUPPORTED_MEDIA_TYPE", "application/json"),
        ("2.1 a body of one byte over 2 mib is 413",      ask("POST", ENDPOINTS).with(JSON).text(padded(LARGEST + 1)), 413, "PAYLOAD_TOO_LARGE", "body"),
    ];
    let mut facts = refusals(world, refused);
    let kinds = [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/merge-patch+json",
        "application/problem+json;v=1",
    ];
    facts.extend(kinds.map(|kind| {
        fact(format!("2.2 a body as {} is taken", kind.to_lowercase()), move || {
            let tenant = world.daemon.tenant();
            let body = json!({ "url": TARGET }).to_string();
            tenant.caller.send("POST", ENDPOINTS, &[("content-type", kind)], &body).ok();
        })
    }));
    facts.push(fact("2.1 a body of 2 mib is taken", move || {
        world.daemon.tenant().caller.send("POST", ENDPOINTS, &[JSON], &padded(LARGEST)).ok();
    }));
    facts.push(fact("2.2 unknown members are passed over", move || {
        let body = json!({ "url": TARGET, "ours": { "a": [1] }, "id": "whe_mine" });
        let made = world.daemon.tenant().caller.post(ENDPOINTS, body).ok();
        assert!(made["endpoint"].get("ours").is_none() && made["endpoint"]["id"] != "whe_mine");
    }));
    facts
}

fn order_of_checks(world: &World) -> Vec<Fact<'_>> {
    let large = format!("\"{}\"", "x".repeat(LARGEST));
    let bad = |method: &str, path: &str| ask(method, path).with(JSON).text("{bad");
    #[rustfmt::skip] // a line a case
    let refused = [
        ("2.1 size comes before authentication",      ask("POST", ENDPOINTS).by(&world.nobody).with(JSON).text(large), 413, "PAYLOAD_TOO_LARGE", "body"),
        ("2.1 authentication comes before the scope", bad("POST", ENDPOINTS).by(&world.nobody),                       401, "UNAUTHORIZED", "Unauthorized"),
        ("2.1 the scope comes before the body",       bad("POST", ENDPOINTS).by(&world.reader),                       403, "FORBIDDEN", "Forbidden"),
        ("2.1 the scope comes before the media type", ask("POST", ENDPOINTS).by(&world.reader).text("x"),             403, "FORBIDDEN", "Forbidden"),
        ("2.1 the scope comes before the query",      get("/v1/webhooks/events?limit=0").by(&world.elsewhere),        403, "FORBIDDEN", "Forbidden"),
        ("2.1 the scope comes before existence",      patch("/v1/webhooks/endpoints/whe_missing", json!({ "enabled": true })).by(&world.reader), 403, "FORBIDDEN", "Forbidden"),
        ("2.1 the query comes before the path",       get("/v1/webhooks/endpoints/a.b/keys?limit=0"),                 400, "BAD_REQUEST", "limit"),
        ("2.1 the path comes before the body",        bad("PATCH", "/v1/webhooks/endpoints/a.b"),                     400, "BAD_REQUEST", "endpoint_id"),
        ("2.1 the body of a change comes before existence", patch("/v1/webhooks/endpoints/whe_missing", json!({ "enabled": 7 })), 400, "BAD_REQUEST", "enabled"),
        ("2.1 the body of a key comes before existence", post("/v1/webhooks/endpoints/whe_missing/keys", json!({})),  400, "BAD_REQUEST", "key_id"),
    ];
    refusals(world, refused)
}

fn messages(world: &World) -> Vec<Fact<'_>> {
    let missing = |path: &str| ask("POST", path);
    #[rustfmt::skip] // a line a case
    let refused = [
        ("2.9 a missing endpoint is named so", get("/v1/webhooks/endpoints/whe_missing"),                404, "NOT_FOUND", "Webhook endpoint not found."),
        ("2.9 a missing key is named so",      missing("/v1/webhooks/keys/whk_missing/deactivate"),      404, "NOT_FOUND", "Webhook encryption key not found."),
        ("2.9 a missing delivery is named so", missing("/v1/webhooks/deliveries/whd_missing/retry"),     404, "NOT_FOUND", "Webhook delivery not found."),
        ("2.9 a missing event is named so",    get("/v1/webhooks/events/evt_missing"),                   404, "NOT_FOUND", "Webhook event not found."),
        ("2.9 401 says unauthorized",          get(ENDPOINTS).by(&world.nobody),                         401, "UNAUTHORIZED", "Unauthorized"),
        ("2.9 403 says forbidden",             get(ENDPOINTS).by(&world.elsewhere),                      403, "FORBIDDEN", "Forbidden"),
    ];
    let mut facts = refusals(world, refused);
    let empty = json!({ "limit": 7, "has_more": false, "next_cursor": null });
    for list in [ENDPOINTS, "/v1/webhooks/endpoints/{endpoint}/keys", DELIVERIES, EVENTS] {
        let empty = empty.clone();
        facts.push(fact(
            format!("2.1 an error of {list} carries an empty pagination"),
            move || {
                for answer in [
                    get(format!("{list}?limit=7&starting_after=")).send(world),
                    get(format!("{list}?limit=7")).by(&world.nobody).send(world),
                    get(format!("{list}?limit=7")).by(&world.elsewhere).send(world),
                ] {
                    assert!(answer.status >= 400, "{answer:?}");
                    assert_eq!(answer.json()["pagination"], empty, "{answer:?}");
                }
            },
        ));
    }
    facts.extend(grants(
        world,
        [("2.1 the error of a success is null", get(EVENTS), "/error", json!(null))],
    ));
    facts
}
