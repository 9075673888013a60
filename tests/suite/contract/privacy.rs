//! Section 4.11: a person withdraws, and what is undelivered of them goes.

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use super::vocabulary::{
    EVENTS, Fact, ask, delivery_of, fact, get, id, ids, is_instant, post, refusals, refused, retry,
};
use super::world::{SOON, World};
use crate::support::daemon::{Answer, Tenant, wait};

const REQUESTS: &str = "/v1/platform/privacy-requests";
const PUBLISH: &str = "/v1/platform/events";

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = refused_requests(world);
    facts.extend(scrubbing(world));
    facts.extend(replacements(world));
    facts.extend(repetitions(world));
    facts.extend(later_events(world));
    facts
}

fn body(tenant: &Tenant, outcome: &str) -> Value {
    json!({
        "organization_id": tenant.organization, "verification_session_id": "vs_1",
        "outcome": outcome,
    })
}

fn withdrawn(tenant: &Tenant, outcome: &str) -> Value {
    tenant.platform.post(REQUESTS, body(tenant, outcome)).ok()
}

/// A request once it is settled.
fn settled(tenant: &Tenant, request: &Value) -> Value {
    let path = format!("{REQUESTS}/{}", id(request));
    wait(SOON, "the request", || tenant.platform.get(&path).ok()["state"] == "settled");
    tenant.platform.get(&path).ok()
}

/// A tenant whose event of the session has come as far as `status`.
fn published(world: &World, behaviour: Behaviour, status: &str) -> (Tenant, Receiver, Value) {
    let tenant = world.daemon.tenant();
    let receiver = Receiver::start(behaviour);
    tenant.register(&receiver, json!({}));
    let event = tenant.publish("vs_1", json!({ "claims": { "family_name": "Lovelace" } }));
    wait(SOON, status, || {
        receiver.arrived() == 1 && delivery_of(&tenant, &event)["status"] == status
    });
    (tenant, receiver, event)
}

fn refused_requests(world: &World) -> Vec<Fact<'_>> {
    let platform = world.daemon.platform();
    #[rustfmt::skip] // a line a case
    let rows = [
        ("a request without an organization",          "organization_id",         json!(null)),
        ("an organization id that is no uuid",         "organization_id",         json!("acme")),
        ("a request without a session",                "verification_session_id", json!(null)),
        ("a session id of other symbols",              "verification_session_id", json!("a.b")),
        ("an empty session id",                        "verification_session_id", json!("")),
        ("a session id of 129 characters",             "verification_session_id", json!("v".repeat(129))),
        ("a request without an outcome",               "outcome",                 json!(null)),
        ("an unknown outcome",                         "outcome",                 json!("expired")),
        ("an outcome that is no text",                 "outcome",                 json!(7)),
        ("a negative count of nfc tries",              "nfc_tries_used",          json!(-1)),
        ("1001 nfc tries",                             "nfc_tries_used",          json!(1001)),
        ("nfc tries as text",                          "nfc_tries_used",          json!("1")),
        ("a negative count of liveness tries",         "liveness_tries_used",     json!(-1)),
        ("1001 liveness tries",                        "liveness_tries_used",     json!(1001)),
        ("no target",                                  "webhook_endpoint_ids",    json!([])),
        ("26 targets",                                 "webhook_endpoint_ids",    json!(vec!["whe_a"; 26])),
    ];
    let mut facts = Vec::new();
    for (name, member, value) in rows {
        facts.push(fact(format!("4.11 {name} is refused"), move || {
            let mut request = body(&world.tenant, "succeeded");
            if value.is_null() {
                request.as_object_mut().unwrap().remove(member);
            } else {
                request[member] = value.clone();
            }
            let answer = world.tenant.platform.post(REQUESTS, request);
            refused(&answer, 400, "BAD_REQUEST", member);
        }));
    }
    let unknown = json!({
        "organization_id": "00000000-0000-4000-8000-000000000000",
        "verification_session_id": "vs_1", "outcome": "active",
    });
    #[rustfmt::skip] // a line a case
    facts.extend(refusals(world, [
        ("4.11 an organization's key may not withdraw",   post(REQUESTS, body(&world.tenant, "active")),            403, "FORBIDDEN", "Forbidden"),
        ("4.11 nobody may withdraw",                      ask("POST", REQUESTS).by(&world.nobody),                  401, "UNAUTHORIZED", "Unauthorized"),
        ("4.11 an organization's key reads no requests",  get("/v1/platform/privacy-requests/x"),                   403, "FORBIDDEN", "Forbidden"),
    ]));
    facts.extend([
        fact("4.11 a request for nobody is 404", move || {
            refused(
                &world.tenant.platform.post(REQUESTS, unknown.clone()),
                404,
                "NOT_FOUND",
                "rganization",
            );
        }),
        fact("4.11 an unknown request is 404", move || {
            refused(&platform.get(&format!("{REQUESTS}/none")), 404, "NOT_FOUND", "");
        }),
    ]);
    facts
}

fn scrubbing(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("4.11 a request answers 202 with its state and counts", move || {
            let tenant = world.daemon.tenant();
            let answer = tenant.platform.post(REQUESTS, body(&tenant, "succeeded"));
            assert_eq!(answer.status, 202);
            let request = answer.ok();
            let mut names: Vec<_> =
                request.as_object().unwrap().keys().map(String::as_str).collect();
            names.sort_unstable();
            let all = ["delivered", "id", "in_flight", "replacement_event_id", "scrubbed", "state"];
            assert_eq!(names, all);
            let state = request["state"].as_str().unwrap();
            assert!(["settling", "replacing", "settled"].contains(&state), "{request}");
        }),
        fact("4.11 a request settles and is found", move || {
            let tenant = world.daemon.tenant();
            let request = withdrawn(&tenant, "succeeded");
            assert_eq!(settled(&tenant, &request)["id"], request["id"]);
        }),
        fact("4.11 a pending delivery loses its payload at once", move || {
            let (tenant, _receiver, event) = published(world, Behaviour::Answer(500), "pending");
            assert_eq!(withdrawn(&tenant, "succeeded")["scrubbed"], 1);
            let delivery = delivery_of(&tenant, &event);
            assert_eq!(
                (&delivery["status"], &delivery["payload_retention_reason"]),
                (&json!("failed"), &json!("privacy_request"))
            );
            assert_eq!(
                (&delivery["payload_expires_at"], &delivery["next_attempt_at"]),
                (&Value::Null, &Value::Null)
            );
            assert!(is_instant(&delivery["payload_scrubbed_at"]), "{delivery}");
        }),
        fact("4.11 a delivery that was scrubbed is not sent again", move || {
            let (tenant, _receiver, event) = published(world, Behaviour::Answer(500), "pending");
            withdrawn(&tenant, "succeeded");
            let answer = retry(&tenant, &delivery_of(&tenant, &event));
            refused(&answer, 409, "WEBHOOK_PAYLOAD_EXPIRED", "payload");
        }),
        fact("4.11 a delivery that succeeded stays so", move || {
            let (tenant, _receiver, event) = published(world, Behaviour::Accept, "succeeded");
            let before = delivery_of(&tenant, &event);
            let request = withdrawn(&tenant, "succeeded");
            assert_eq!((&request["delivered"], &request["scrubbed"]), (&json!(1), &json!(0)));
            assert_eq!(delivery_of(&tenant, &event), before);
        }),
        fact("4.11 a delivery under way counts as in flight", move || {
            let (tenant, _receiver, _) = published(world, Behaviour::Hang, "delivering");
            let request = withdrawn(&tenant, "succeeded");
            assert_eq!((&request["in_flight"], &request["state"]), (&json!(1), &json!("settling")));
        }),
        fact("4.11 other sessions stay as they were", move || {
            let (tenant, _receiver, event) = published(world, Behaviour::Answer(500), "pending");
            let mut other = body(&tenant, "succeeded");
            other["verification_session_id"] = json!("vs_2");
            tenant.platform.post(REQUESTS, other).ok();
            assert_eq!(delivery_of(&tenant, &event)["status"], "pending");
        }),
        fact("4.11 the same session of another organization stays as it was", move || {
            let (tenant, _receiver, event) = published(world, Behaviour::Answer(500), "pending");
            withdrawn(&world.daemon.tenant(), "succeeded");
            assert_eq!(delivery_of(&tenant, &event)["status"], "pending");
        }),
    ]
}

fn replacements(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let rows = [
        ("succeeded", 0, 0, "privacy_cancelled_after_terminal_success"),
        ("failed",    3, 1, "privacy_cancelled_after_terminal_failure"),
        ("active",    0, 0, "cancelled"),
        ("active",    1, 0, "cancelled_after_failed_check"),
        ("active",    0, 2, "cancelled_after_failed_check"),
    ];
    let mut facts = Vec::new();
    for (outcome, nfc, liveness, reason) in rows {
        let name =
            format!("4.11 withdrawal of {outcome} after {nfc} and {liveness} tries tells {reason}");
        facts.push(fact(name, move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Accept);
            tenant.register(&receiver, json!({}));
            let mut request = body(&tenant, outcome);
            request["nfc_tries_used"] = json!(nfc);
            request["liveness_tries_used"] = json!(liveness);
            let request = tenant.platform.post(REQUESTS, request).ok();
            let event_id = settled(&tenant, &request)["replacement_event_id"].clone();
            wait(SOON, "the replacement", || receiver.accepted() == 1);
            let plaintext = receiver.arrivals()[0].plaintext.clone().unwrap();
            assert_eq!(plaintext["type"], "verification.session.cancelled");
            let data = json!({
                "outcome": "not_verified", "reason": reason, "nfc_tries_used": nfc,
                "liveness_tries_used": liveness,
            });
            assert_eq!(plaintext["data"], data);
            assert_eq!(plaintext["metadata"]["event_id"], event_id);
            assert_eq!(plaintext["metadata"]["verification_session_id"], "vs_1");
        }));
    }
    facts.extend([
        fact("4.11 an undelivered event is replaced by a cancelled one", move || {
            let (tenant, _receiver, event) = published(world, Behaviour::Answer(500), "pending");
            let request = settled(&tenant, &withdrawn(&tenant, "succeeded"));
            let replacing = request["replacement_event_id"].as_str().unwrap();
            assert_ne!(replacing, id(&event));
            let found = tenant.caller.get(&format!("{EVENTS}/{replacing}")).ok();
            assert_eq!(
                (&found["type"], &found["trigger_id"]),
                (&json!("verification.session.cancelled"), &json!("vs_1"))
            );
        }),
        fact("4.11 a delivered event is not replaced", move || {
            let (tenant, receiver, event) = published(world, Behaviour::Accept, "succeeded");
            let request = settled(&tenant, &withdrawn(&tenant, "succeeded"));
            assert_eq!(request["replacement_event_id"], Value::Null);
            assert_eq!(ids(&tenant.caller.get(EVENTS).ok()), [id(&event)]);
            assert_eq!(receiver.arrived(), 1);
        }),
        fact("4.11 a replacement goes to its targets alone", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Accept);
            let target = tenant.register(&receiver, json!({}));
            super::vocabulary::endpoint(&tenant, json!({}));
            let mut request = body(&tenant, "succeeded");
            request["webhook_endpoint_ids"] = json!([target]);
            let request = settled(&tenant, &tenant.platform.post(REQUESTS, request).ok());
            let replacing = request["replacement_event_id"].as_str().unwrap();
            let event = tenant.caller.get(&format!("{EVENTS}/{replacing}")).ok();
            assert_eq!(ids(&event["deliveries"]).len(), 1);
            assert_eq!(event["deliveries"][0]["webhook_endpoint_id"], json!(target));
        }),
    ]);
    facts
}

fn repetitions(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("4.11 the same session again is the same request, whatever the body", move || {
            let tenant = world.daemon.tenant();
            let first = settled(&tenant, &withdrawn(&tenant, "succeeded"));
            let answer = tenant.platform.post(REQUESTS, body(&tenant, "failed"));
            assert_eq!((answer.status, answer.ok()), (202, first));
        }),
        fact("4.11 a session withdrawn twice is replaced once", move || {
            let (tenant, _receiver, _) = published(world, Behaviour::Answer(500), "pending");
            settled(&tenant, &withdrawn(&tenant, "succeeded"));
            settled(&tenant, &withdrawn(&tenant, "succeeded"));
            assert_eq!(ids(&tenant.caller.get(EVENTS).ok()).len(), 2);
        }),
        fact("4.11 withdrawals at once are one request", move || {
            let tenant = world.daemon.tenant();
            let made: Vec<_> = std::thread::scope(|scope| {
                let requests: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| withdrawn(&tenant, "active"))).collect();
                requests.into_iter().map(|request| request.join().unwrap()).collect()
            });
            assert!(made.iter().all(|other| other["id"] == made[0]["id"]), "{made:?}");
        }),
    ]
}

fn later_events(world: &World) -> Vec<Fact<'_>> {
    let published_later = |tenant: &Tenant, name: &str| -> Answer {
        let mut event = tenant.event("vs_1", json!({}));
        event["type"] = json!(format!("verification.{name}"));
        if name.starts_with("attempt") {
            event["trigger_type"] = json!("verification_attempt");
            event["trigger_id"] = json!("va_1");
            event["verification_session_id"] = json!("vs_1");
        }
        tenant.platform.post(PUBLISH, event)
    };
    vec![
        fact("4.11 a terminal event after the withdrawal is the replacing one", move || {
            let tenant = world.daemon.tenant();
            let request = settled(&tenant, &withdrawn(&tenant, "active"));
            let answer = published_later(&tenant, "session.succeeded");
            assert_eq!(answer.status, 202);
            let event = answer.ok();
            assert_eq!(event["id"], request["replacement_event_id"]);
            assert_eq!(event["type"], "verification.session.cancelled");
        }),
        fact("4.11 a terminal event after a delivered one is withdrawn", move || {
            let (tenant, _receiver, _) = published(world, Behaviour::Accept, "succeeded");
            settled(&tenant, &withdrawn(&tenant, "succeeded"));
            let answer = published_later(&tenant, "session.failed");
            refused(&answer, 409, "SESSION_WITHDRAWN", "");
        }),
        fact("4.11 another event after the withdrawal is refused", move || {
            let tenant = world.daemon.tenant();
            settled(&tenant, &withdrawn(&tenant, "active"));
            let answer = published_later(&tenant, "attempt.failed");
            refused(&answer, 409, "SESSION_WITHDRAWN", "");
        }),
    ]
}
