//! Sections 1.7 and 2.8: events, their filters, and sending all of one again.

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use super::vocabulary::{
    EVENTS, Fact, JSON, ask, change, delivery_of, endpoint, fact, get, grants, id, ids, is_instant,
    is_minted, members_in_order, refusals, refused, replay,
};
use super::world::{SOON, World};
use crate::support::daemon::{Tenant, wait};

const SUMMARY: &str = "attempt_count id last_attempt_at last_status_code payload_expires_at \
                       payload_retention_reason payload_scrubbed_at status webhook_endpoint_id";

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = shown(world);
    facts.extend(types(world));
    facts.extend(times(world));
    facts.extend(replays(world));
    facts.extend(replay_refusals(world));
    facts
}

fn listed(tenant: &Tenant, query: &str) -> Vec<String> {
    ids(&tenant.caller.get(&format!("{EVENTS}?{query}")).ok())
}

fn shown(world: &World) -> Vec<Fact<'_>> {
    let words = |text: &'static str| text.split_whitespace().collect::<Vec<_>>();
    vec![
        fact("1.7 a listed event's members stand in the list's order", move || {
            let order = "id type trigger_type trigger_id created_at deliveries id \
                         webhook_endpoint_id status last_status_code attempt_count last_attempt_at \
                         payload_expires_at payload_retention_reason payload_scrubbed_at";
            members_in_order(&get(EVENTS).send(world).text, &words(order));
        }),
        fact("1.7 an event's members stand in the order of the alphabet", move || {
            let answer = get("/v1/webhooks/events/{event}").send(world);
            members_in_order(&answer.text, &words("created_at deliveries"));
            members_in_order(&answer.text, &words(SUMMARY));
            members_in_order(
                &answer.text,
                &words("webhook_endpoint_id id trigger_id trigger_type type"),
            );
        }),
        fact("1.7 an event shows six members and a delivery of it nine", move || {
            for event in [
                &get("/v1/webhooks/events/{event}").send(world).ok(),
                &get(EVENTS).send(world).ok()[0],
            ] {
                assert_eq!(event.as_object().unwrap().len(), 6, "{event}");
                assert_eq!(event["deliveries"][0].as_object().unwrap().len(), 9, "{event}");
            }
        }),
        fact("1.7 an event tells its type and trigger", move || {
            let event = get("/v1/webhooks/events/{event}").send(world).ok();
            assert_eq!(event["type"], "verification.session.succeeded");
            assert_eq!(
                (&event["trigger_type"], &event["trigger_id"]),
                (&json!("verification_session"), &json!("vs_shelf"))
            );
            assert!(is_instant(&event["created_at"]), "{event}");
        }),
        fact("1.1 an event's id is evt_ and 64 symbols", move || {
            assert!(is_minted(&get(EVENTS).send(world).ok()[0]["id"], "evt_", 64));
        }),
        fact("1.7 a list and get show the same event", move || {
            let got = get("/v1/webhooks/events/{event}").send(world).ok();
            assert_eq!(get(EVENTS).send(world).ok()[0], got);
        }),
        fact("1.7 the deliveries of an event stand in the order they were made", move || {
            let tenant = world.daemon.tenant();
            (0..5).for_each(|_| drop(endpoint(&tenant, json!({}))));
            let event = tenant.publish("vs_1", json!({}));
            let made = ids(&event["deliveries"]);
            assert!(made.len() == 5 && made.is_sorted(), "{event}");
            let got = tenant.caller.get(&format!("{EVENTS}/{}", id(&event))).ok();
            assert_eq!(ids(&got["deliveries"]), made);
            assert_eq!(ids(&tenant.caller.get(EVENTS).ok()[0]["deliveries"]), made);
        }),
        fact("3.6 an event that nobody wants is kept without deliveries", move || {
            let tenant = world.daemon.tenant();
            let event = tenant.publish("vs_1", json!({}));
            assert_eq!(event["deliveries"], json!([]));
            assert_eq!(listed(&tenant, ""), [id(&event)]);
        }),
        fact("2.4 the alias lists the same events", move || {
            assert_eq!(get("/v1/events").send(world).text, get(EVENTS).send(world).text);
        }),
        fact("2.4 the alias shows the same event", move || {
            let [one, other] = ["/v1/events/{event}", "/v1/webhooks/events/{event}"]
                .map(|path| get(path).send(world).text);
            assert_eq!(one, other);
        }),
    ]
}

fn types(world: &World) -> Vec<Fact<'_>> {
    let list = |query: &str| get(format!("{EVENTS}?{query}"));
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.8 an unknown type is no filter",     list("type=x"),                             400, "BAD_REQUEST", "type"),
        ("2.8 an empty type is no filter",       list("type="),                              400, "BAD_REQUEST", "type"),
        ("2.8 a type in capitals is no filter",  list("type=VERIFICATION.SESSION.FAILED"),   400, "BAD_REQUEST", "type"),
        ("2.8 a part of a type is no filter",    list("type=verification.session"),          400, "BAD_REQUEST", "type"),
        ("2.8 two types are no filter",          list("type=verification.session.failed&type=verification.session.failed"), 400, "BAD_REQUEST", "type"),
        ("2.8 an unknown type is refused by the alias", get("/v1/events?type=x"),            400, "BAD_REQUEST", "type"),
        ("2.8 an unknown event is not found",    get("/v1/webhooks/events/evt_missing"),     404, "NOT_FOUND", "event"),
        ("2.8 an unknown event is not found by the alias", get("/v1/events/evt_missing"),    404, "NOT_FOUND", "event"),
        ("2.8 a malformed event id is refused",  get("/v1/webhooks/events/a.b"),             400, "BAD_REQUEST", "event_id"),
        ("2.8 an event is not found by its delivery's id", get("/v1/webhooks/events/{delivery}"), 404, "NOT_FOUND", "event"),
    ]);
    let names = ["session.succeeded", "session.failed", "session.expired", "session.cancelled"];
    for name in names.into_iter().chain(["attempt.succeeded", "attempt.failed"]) {
        facts.push(fact(format!("2.8 type=verification.{name} lists those alone"), move || {
            let tenant = world.daemon.tenant();
            let mut asked = tenant.event("vs_1", json!({}));
            asked["type"] = json!(format!("verification.{name}"));
            if name.starts_with("attempt") {
                asked["trigger_type"] = json!("verification_attempt");
                asked["verification_session_id"] = json!("vs_1");
            }
            let mut other = tenant.event("vs_2", json!({}));
            if name == "session.succeeded" {
                other["type"] = json!("verification.session.failed");
            }
            let event = tenant.platform.post("/v1/platform/events", asked).ok();
            tenant.platform.post("/v1/platform/events", other).ok();
            assert_eq!(listed(&tenant, &format!("type=verification.{name}")), [id(&event)]);
        }));
    }
    facts
}

fn times(world: &World) -> Vec<Fact<'_>> {
    let list = |query: &str| get(format!("{EVENTS}?{query}"));
    let from = |time: &str| list(&format!("created_from={time}"));
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.8 a time with an offset is refused",          from("2026-05-05T11:00:00%2B00:00"), 400, "BAD_REQUEST", "created_from"),
        ("2.8 a time with another offset is refused",     from("2026-05-05T11:00:00-02:00"),   400, "BAD_REQUEST", "created_from"),
        ("2.8 a date alone is refused",                   from("2026-05-05"),                  400, "BAD_REQUEST", "created_from"),
        ("2.8 a time without a zone is refused",          from("2026-05-05T11:00:00"),         400, "BAD_REQUEST", "created_from"),
        ("2.8 a time in words is refused",                from("yesterday"),                   400, "BAD_REQUEST", "created_from"),
        ("2.8 seconds since the epoch are refused",       from("1777978800"),                  400, "BAD_REQUEST", "created_from"),
        ("2.8 an empty time is refused",                  from(""),                            400, "BAD_REQUEST", "created_from"),
        ("2.8 a month that is none is refused",           from("2026-13-05T11:00:00Z"),        400, "BAD_REQUEST", "created_from"),
        ("2.8 a day that is none is refused",             from("2026-02-30T11:00:00Z"),        400, "BAD_REQUEST", "created_from"),
        ("2.8 a time with a space for its t is refused",  from("2026-05-05%2011:00:00Z"),      400, "BAD_REQUEST", "created_from"),
        ("2.8 a time given twice is refused",             from("2026-05-05T11:00:00Z&created_from=2026-05-05T11:00:00Z"), 400, "BAD_REQUEST", "created_from"),
        ("2.8 created_to has the same form",              list("created_to=2026-05-05"),       400, "BAD_REQUEST", "created_to"),
    ]);
    let empty = || json!([]);
    #[rustfmt::skip] // a line a case
    facts.extend(grants(world, [
        ("2.8 a time in whole seconds is taken",      from("2100-05-05T11:00:00Z"),         "/data", empty()),
        ("2.8 a time with a fraction is taken",       from("2100-05-05T11:00:00.5Z"),       "/data", empty()),
        ("2.8 a time in microseconds is taken",       from("2100-05-05T11:00:00.123456Z"),  "/data", empty()),
        ("2.8 a time without seconds is taken",       from("2100-05-05T11:00Z"),            "/data", empty()),
        ("2.8 from after to lists nothing",           list("created_from=2100-01-01T00:00:00Z&created_to=2000-01-01T00:00:00Z"), "/data", empty()),
        ("2.8 a time before the first event lists nothing", list("created_to=2000-01-01T00:00:00Z"), "/data", empty()),
        ("2.8 a time far back lists everything",      list("created_from=2000-01-01T00:00:00Z"), "/pagination/has_more", json!(false)),
    ]));
    for edge in ["created_from", "created_to"] {
        facts.push(fact(format!("2.8 {edge} includes its own instant"), move || {
            let tenant = world.daemon.tenant();
            let event = tenant.publish("vs_1", json!({}));
            let at = event["created_at"].as_str().unwrap();
            assert_eq!(listed(&tenant, &format!("{edge}={at}")), [id(&event)]);
        }));
    }
    facts.push(fact("2.8 both times cut a part out", move || {
        let tenant = world.daemon.tenant();
        let events = ["vs_1", "vs_2", "vs_3"].map(|session| {
            std::thread::sleep(std::time::Duration::from_millis(3));
            tenant.publish(session, json!({}))
        });
        let at = events[1]["created_at"].as_str().unwrap();
        assert_eq!(
            listed(&tenant, &format!("created_from={at}&created_to={at}")),
            [id(&events[1])]
        );
    }));
    facts
}

/// An event with a delivery that failed once and waits.
fn waiting(world: &World) -> (Tenant, Receiver, Value) {
    let tenant = world.daemon.tenant();
    let receiver = Receiver::start(Behaviour::Answer(500));
    tenant.register(&receiver, json!({}));
    let event = tenant.publish("vs_1", json!({}));
    wait(SOON, "the first attempt", || delivery_of(&tenant, &event)["attempt_count"] == 1);
    (tenant, receiver, event)
}

fn replays(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("2.8 replay answers 202 with the event", move || {
            let (tenant, _receiver, event) = waiting(world);
            let answer = replay(&tenant, &event);
            assert_eq!(answer.status, 202);
            members_in_order(&answer.text, &["created_at", "deliveries"]);
            let after = answer.ok();
            assert_eq!((&after["id"], ids(&after["deliveries"]).len()), (&event["id"], 1));
        }),
        fact("2.8 replay sends again", move || {
            let (tenant, receiver, event) = waiting(world);
            receiver.behave(Behaviour::Accept);
            replay(&tenant, &event).ok();
            wait(SOON, "the replay", || delivery_of(&tenant, &event)["status"] == "succeeded");
            assert_eq!(receiver.arrived(), 2);
        }),
        fact("2.4 the alias replays", move || {
            let (tenant, receiver, event) = waiting(world);
            let path = format!("/v1/events/{}/replay", id(&event));
            assert_eq!(tenant.caller.send("POST", &path, &[], "").status, 202);
            wait(SOON, "the replay", || receiver.arrived() == 2);
        }),
        fact("2.8 replay passes over what cannot be sent again", move || {
            let tenant = world.daemon.tenant();
            let healthy = Receiver::start(Behaviour::Accept);
            let refusing = Receiver::start(Behaviour::Answer(500));
            tenant.register(&healthy, json!({}));
            tenant.register(&refusing, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            wait(SOON, "the attempts", || healthy.arrived() + refusing.arrived() == 2);
            wait(SOON, "their end", || {
                tenant.deliveries("&status=succeeded").len() == 1
                    && tenant.deliveries("&status=pending").iter().any(|d| d["attempt_count"] == 1)
            });
            assert_eq!(replay(&tenant, &event).status, 202);
            wait(SOON, "the replay", || refusing.arrived() == 2);
            assert_eq!(healthy.arrived(), 1);
        }),
        fact("2.8 replay makes no delivery for a later endpoint", move || {
            let (tenant, _receiver, event) = waiting(world);
            endpoint(&tenant, json!({}));
            assert_eq!(ids(&replay(&tenant, &event).ok()["deliveries"]).len(), 1);
        }),
        fact("2.8 a body of a replay is passed over", move || {
            let (tenant, _receiver, event) = waiting(world);
            let path = format!("{EVENTS}/{}/replay", id(&event));
            assert_eq!(tenant.caller.send("POST", &path, &[JSON], "{}").status, 202);
        }),
    ]
}

fn replay_refusals(world: &World) -> Vec<Fact<'_>> {
    let again = |id: &str| ask("POST", format!("{EVENTS}/{id}/replay"));
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.8 an unknown event is not replayed",           again("evt_missing"), 404, "NOT_FOUND", "event"),
        ("2.8 an unknown event is not replayed by the alias", ask("POST", "/v1/events/evt_missing/replay"), 404, "NOT_FOUND", "event"),
        ("2.8 the malformed id of a replay is refused",    again("a.b"),         400, "BAD_REQUEST", "event_id"),
    ]);
    facts.extend([
        fact("2.8 an event whose payloads are all gone is not replayed", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Accept);
            tenant.register(&receiver, json!({}));
            endpoint(&tenant, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            tenant.settle(SOON);
            let answer = replay(&tenant, &event);
            refused(
                &answer,
                409,
                "WEBHOOK_PAYLOAD_EXPIRED",
                "Webhook payload is no longer retained.",
            );
        }),
        fact("2.8 an event without deliveries is not replayed", move || {
            let tenant = world.daemon.tenant();
            let event = tenant.publish("vs_1", json!({}));
            refused(&replay(&tenant, &event), 409, "CONFLICT", "Webhook event cannot be replayed.");
        }),
        fact("2.8 an event under way is not replayed", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Hang);
            tenant.register(&receiver, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            wait(SOON, "the attempt", || delivery_of(&tenant, &event)["status"] == "delivering");
            refused(&replay(&tenant, &event), 409, "CONFLICT", "Webhook event cannot be replayed.");
        }),
        fact("2.8 an event under way or gone is not replayed", move || {
            let tenant = world.daemon.tenant();
            let receiver = Receiver::start(Behaviour::Hang);
            tenant.register(&receiver, json!({}));
            endpoint(&tenant, json!({}));
            let event = tenant.publish("vs_1", json!({}));
            wait(SOON, "the attempt", || tenant.deliveries("&status=delivering").len() == 1);
            refused(&replay(&tenant, &event), 409, "CONFLICT", "Webhook event cannot be replayed.");
        }),
        fact("4.9 an event of a disabled endpoint may be replayed", move || {
            let (tenant, _receiver, event) = waiting(world);
            let endpoint = delivery_of(&tenant, &event)["webhook_endpoint_id"].clone();
            change(&tenant, endpoint.as_str().unwrap(), json!({ "enabled": false }));
            assert_eq!(replay(&tenant, &event).status, 202);
        }),
    ]);
    facts
}
