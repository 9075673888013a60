//! Section 2.5: what the settings of an endpoint may be, when it is made and when it is changed.

use serde_json::{Value, json};

use super::vocabulary::{
    ENDPOINTS, Fact, TARGET, change, endpoint, fact, get, id, patch, post, refusals, refused,
};
use super::world::World;

const SUBSCRIPTION: &str = "subscribed_event_types";
const RETENTION: &str = "undelivered_payload_retention_hours";

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = whole_bodies(world);
    facts.extend(refused_values(world));
    facts.extend(taken_values(world));
    facts
}

fn whole_bodies(world: &World) -> Vec<Fact<'_>> {
    let create = |body: Value| post(ENDPOINTS, body);
    let change = |body: Value| patch("/v1/webhooks/endpoints/{endpoint}", body);
    #[rustfmt::skip] // a line a case
    let refused = [
        ("2.5 an endpoint without url is refused",       create(json!({})),                             400, "BAD_REQUEST", "url"),
        ("2.5 a null name is refused at creation",       create(json!({ "url": TARGET, "name": null })), 400, "BAD_REQUEST", "name"),
        ("2.5 a change of nothing is refused",           change(json!({})),                             400, "BAD_REQUEST", "subscribed_event_types"),
        ("2.5 a change of unknown members is refused",   change(json!({ "id": "x", "created_at": 1 })), 400, "BAD_REQUEST", "at least one"),
        ("2.5 enabled=1 is no filter",                   get("/v1/webhooks/endpoints?enabled=1"),       400, "BAD_REQUEST", "enabled"),
        ("2.5 enabled=TRUE is no filter",                get("/v1/webhooks/endpoints?enabled=TRUE"),    400, "BAD_REQUEST", "enabled"),
        ("2.5 an empty enabled is no filter",            get("/v1/webhooks/endpoints?enabled="),        400, "BAD_REQUEST", "enabled"),
        ("2.5 enabled given twice is no filter",         get("/v1/webhooks/endpoints?enabled=true&enabled=true"), 400, "BAD_REQUEST", "enabled"),
        ("1.1 an id of other symbols is refused",        get("/v1/webhooks/endpoints/a.b"),             400, "BAD_REQUEST", "endpoint_id"),
        ("1.1 an id of 129 characters is refused",       get(format!("{ENDPOINTS}/{}", "a".repeat(129))), 400, "BAD_REQUEST", "endpoint_id"),
        ("1.1 an id of 128 characters is looked up",     get(format!("{ENDPOINTS}/{}", "a".repeat(128))), 404, "NOT_FOUND", "endpoint"),
        ("1.1 the prefix of an id is not checked",       get("/v1/webhooks/endpoints/{key}"),           404, "NOT_FOUND", "endpoint"),
        ("2.5 an unknown endpoint is not found",         get("/v1/webhooks/endpoints/whe_missing"),     404, "NOT_FOUND", "endpoint"),
        ("2.5 an unknown endpoint is not changed",       patch("/v1/webhooks/endpoints/whe_missing", json!({ "enabled": true })), 404, "NOT_FOUND", "endpoint"),
        ("2.5 an unknown endpoint reveals nothing",      post("/v1/webhooks/endpoints/whe_missing/signing-secret/reveal", json!({})), 404, "NOT_FOUND", "endpoint"),
        ("2.5 an unknown endpoint rotates nothing",      post("/v1/webhooks/endpoints/whe_missing/signing-secret/rotate", json!({})), 404, "NOT_FOUND", "endpoint"),
    ];
    refusals(world, refused)
}

/// Values that creation and change refuse alike, each a row for both.
fn refused_values(world: &World) -> Vec<Fact<'_>> {
    let text = |length: usize| Value::from("n".repeat(length));
    #[rustfmt::skip] // a line a case
    let rows = [
        ("a null url",                       "url",        json!(null),                    "url"),
        ("a url that is no text",            "url",        json!(7),                       "url"),
        ("an empty name",                    "name",       json!(""),                      "name"),
        ("a name of spaces",                 "name",       json!("   "),                   "name"),
        ("a name of 121 characters",         "name",       text(121),                      "name"),
        ("a name that is no text",           "name",       json!(7),                       "name"),
        ("labels that are no list",          "labels",     json!("a"),                     "labels"),
        ("null labels",                      "labels",     json!(null),                    "labels"),
        ("nine labels",                      "labels",     json!(["1", "2", "3", "4", "5", "6", "7", "8", "9"]), "labels"),
        ("an empty label",                   "labels",     json!(["a", ""]),               "labels[1]"),
        ("a label of spaces",                "labels",     json!(["  "]),                  "labels[0]"),
        ("a label of 41 characters",         "labels",     json!(["n".repeat(41)]),        "labels[0]"),
        ("a label that is no text",          "labels",     json!(["a", 7]),                "labels[1]"),
        ("a label given twice",              "labels",     json!(["a", "b", "a"]),         "labels[2]"),
        ("a label given in two cases",       "labels",     json!(["Prod", "pROD"]),        "labels[1]"),
        ("a label given twice but spaces",   "labels",     json!(["a", " a "]),            "labels[1]"),
        ("enabled as text",                  "enabled",    json!("true"),                  "enabled"),
        ("enabled as a number",              "enabled",    json!(1),                       "enabled"),
        ("a null enabled",                   "enabled",    json!(null),                    "enabled"),
        ("a subscription that is no list",   SUBSCRIPTION, json!("verification.session.failed"), SUBSCRIPTION),
        ("a null subscription",              SUBSCRIPTION, json!(null),                    SUBSCRIPTION),
        ("an unknown event type",            SUBSCRIPTION, json!(["verification.session.failed", "x"]), "subscribed_event_types[1]"),
        ("an event type in capitals",        SUBSCRIPTION, json!(["VERIFICATION.SESSION.FAILED"]), "subscribed_event_types[0]"),
        ("an event type that is no text",    SUBSCRIPTION, json!([7]),                     "subscribed_event_types[0]"),
        ("a wildcard in a subscription",     SUBSCRIPTION, json!(["*"]),                   "subscribed_event_types[0]"),
        ("a retention of 1 hour",            RETENTION,    json!(1),                       RETENTION),
        ("a retention of 48 hours",          RETENTION,    json!(48),                      RETENTION),
        ("a retention of 169 hours",         RETENTION,    json!(169),                     RETENTION),
        ("a negative retention",             RETENTION,    json!(-24),                     RETENTION),
        ("a retention with a fraction",      RETENTION,    json!(24.5),                    RETENTION),
        ("a retention as text",              RETENTION,    json!("72"),                    RETENTION),
        ("a null retention",                 RETENTION,    json!(null),                    RETENTION),
    ];
    let mut facts = Vec::new();
    for (name, member, value, word) in rows {
        facts.push(fact(format!("2.5 {name} is refused"), move || {
            let mut body = json!({ "url": TARGET });
            body[member] = value.clone();
            refused(&post(ENDPOINTS, body).send(world), 400, "BAD_REQUEST", word);
            let change = json!({ member: value });
            let answer = patch("/v1/webhooks/endpoints/{endpoint}", change).send(world);
            refused(&answer, 400, "BAD_REQUEST", word);
        }));
    }
    facts
}

/// Values that creation and change take alike: member, value, and what is shown then.
fn taken_values(world: &World) -> Vec<Fact<'_>> {
    let eight = json!(["1", "2", "3", "4", "5", "6", "7", "8"]);
    let older = json!(["verification.attempt.succeeded", "verification.attempt.failed"]);
    let long = json!("n".repeat(120));
    let failed = "verification.session.failed";
    #[rustfmt::skip] // a line a case
    let rows = [
        ("a name of 1 character",               "name",       json!("n"),                json!("n")),
        ("a name of 120 characters",            "name",       long.clone(),              long),
        ("a name of 120 letters beyond ascii",  "name",       json!("é".repeat(120)),    json!("é".repeat(120))),
        ("a name with outer spaces, trimmed,",  "name",       json!("  a b  "),          json!("a b")),
        ("no labels",                           "labels",     json!([]),                 json!([])),
        ("eight labels",                        "labels",     eight.clone(),             eight),
        ("a label of 40 characters",            "labels",     json!(["n".repeat(40)]),   json!(["n".repeat(40)])),
        ("labels with outer spaces, trimmed,",  "labels",     json!([" a ", "b "]),      json!(["a", "b"])),
        ("a subscription to one type",          SUBSCRIPTION, json!([failed]),           json!([failed])),
        ("an empty subscription, shown empty,", SUBSCRIPTION, json!([]),                 json!([])),
        ("a type given twice, kept once,",      SUBSCRIPTION, json!([failed, failed]),   json!([failed])),
        ("a subscription to the older types",   SUBSCRIPTION, older.clone(),             older),
        ("a subscription to both generations",  SUBSCRIPTION, json!([failed, "verification.attempt.failed"]), json!([failed, "verification.attempt.failed"])),
        ("a retention of 0 hours",              RETENTION,    json!(0),                  json!(0)),
        ("a retention of 24 hours",             RETENTION,    json!(24),                 json!(24)),
        ("a retention of 72 hours",             RETENTION,    json!(72),                 json!(72)),
        ("a retention of 168 hours",            RETENTION,    json!(168),                json!(168)),
        ("enabled",                             "enabled",    json!(true),               json!(true)),
        ("disabled",                            "enabled",    json!(false),              json!(false)),
        ("another url",                         "url",        json!("https://other.example.invalid/a?b=c"), json!("https://other.example.invalid/a?b=c")),
    ];
    let mut facts = Vec::new();
    for (name, member, value, shown) in rows {
        facts.push(fact(format!("2.5 {name} is taken"), move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({ member: value }));
            assert_eq!(made[member], shown);
            let other = endpoint(&tenant, json!({}));
            assert_eq!(change(&tenant, id(&other), json!({ member: value }))[member], shown);
            let found = tenant.caller.get(&format!("{ENDPOINTS}/{}", id(&other))).ok();
            assert_eq!(found[member], shown);
        }));
    }
    facts
}
