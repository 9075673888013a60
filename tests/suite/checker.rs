//! The checker of runs believes a healthy history, rejects each broken one by the invariant that it breaks
//! and by no other, and says nothing of an empty one.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::judge::history::{
    Answer, Attempt, DeliveryRow, Door, Endpoint, EventRow, Fault, FaultKind, History, LapsedClaim,
    Organization, Outcome, Publish, Receipt, Run, Sample, SessionRow, Sighting, Status,
};
use crate::judge::{Judgement, judge, judge_directory};

/// When the run begins.
const T0: i64 = 1_800_000_000_000;
/// When all is quiet, a minute later.
const END: i64 = T0 + 60_000;
/// A node is killed, and is ready again a second later; felt for three seconds more.
const KILL: i64 = T0 + 20_000;
/// A node is stopped in order, and started again.
const STOP: i64 = T0 + 40_000;
const TYPE: &str = "verification.session.succeeded";
/// Organization `a` has a healthy endpoint and one that fails each first attempt, `b` a healthy one.
const ENDPOINTS: [(&str, &str, bool); 3] =
    [("whe_a", "a", true), ("whe_flaky", "a", false), ("whe_b", "b", true)];

fn hash(organization: &str, n: i64) -> String {
    format!("hash of {organization} {n}")
}

fn canary(organization: &str) -> String {
    format!("canary-{organization}")
}

/// Ten events of each organization over fifty seconds, two of them beside the kill: one was in flight and
/// is taken once more, of the other the publisher did not hear at first.
fn healthy() -> History {
    let mut history = History {
        run: Run {
            attempt_timeout_ms: 2_000,
            claim_slack_ms: 1_000,
            retry_schedule_ms: vec![1_000, 4_000],
            late_p99_ms: 1_000,
            organizations: ["a", "b"]
                .map(|id| Organization { id: id.into(), canary: canary(id) })
                .into(),
            endpoints: ENDPOINTS.map(endpoint).into(),
            terminal_event_types: vec![TYPE.into()],
            limits: BTreeMap::from([("resident_bytes".into(), 1000)]),
            rows_read_at_ms: END,
        },
        publishes: Vec::new(),
        receipts: Vec::new(),
        faults: vec![fault(FaultKind::Kill, KILL, 1), fault(FaultKind::Terminate, STOP, 3)],
        samples: (0..60).map(|second| sample(T0 + second * 1_000, 900)).collect(),
        lapsed_claims: Vec::new(),
        answers: Vec::new(),
        events: Vec::new(),
        deliveries: Vec::new(),
        sessions: Vec::new(),
        sightings: Vec::new(),
    };
    for n in 0..10 {
        for organization in ["a", "b"] {
            publish(&mut history, organization, n, T0 + n * 5_000);
        }
    }
    // In flight at the kill: the second receipt is the one on record.
    let doubled = history.receipts.iter().position(|r| r.delivery_id == "whd_b_4_whe_b").unwrap();
    history.receipts[doubled].arrived_at_ms = KILL - 20;
    let again = Receipt { arrived_at_ms: KILL + 1_200, ..history.receipts[doubled].clone() };
    history.receipts.push(again);
    // Committed, but the answer was lost with the node.
    let unheard = history.publishes.iter().position(|p| p.trigger_id == "vs_a_4").unwrap();
    let heard = history.publishes[unheard].clone();
    history.publishes[unheard] = Publish {
        outcome: Outcome::Unknown,
        event_id: None,
        delivery_ids: Vec::new(),
        ..heard.clone()
    };
    history.publishes.push(Publish {
        sent_at_ms: KILL + 1_500,
        ended_at_ms: KILL + 1_510,
        ..heard
    });
    let early =
        Answer { at_ms: T0 + 5, is_final: false, ..shown(&history.deliveries[1], Door::Rest) };
    history.answers.push(Answer {
        status: Status::Pending,
        attempt_count: 1,
        last_status_code: Some(500),
        ..early
    });
    show_again(&mut history);
    history
}

fn endpoint((id, organization_id, healthy): (&str, &str, bool)) -> Endpoint {
    Endpoint {
        id: id.into(),
        organization_id: organization_id.into(),
        event_types: vec![TYPE.into()],
        healthy,
        from_at_ms: T0 - 1_000,
        until_at_ms: None,
    }
}

fn fault(kind: FaultKind, at_ms: i64, in_flight: u64) -> Fault {
    Fault { kind, node: Some(0), from_at_ms: at_ms, to_at_ms: at_ms + 1_000, in_flight }
}

fn sample(at_ms: i64, resident: u64) -> Sample {
    Sample { at_ms, node: 0, gauges: BTreeMap::from([("resident_bytes".into(), resident)]) }
}

/// An event, accepted 10 ms after it was sent and delivered 10 ms later.
fn publish(history: &mut History, organization: &str, n: i64, at_ms: i64) {
    let event_id = format!("evt_{organization}_{n}");
    let trigger_id = format!("vs_{organization}_{n}");
    let endpoints = ENDPOINTS.into_iter().filter(|(_, owner, _)| *owner == organization);
    let deliveries: Vec<DeliveryRow> = endpoints
        .map(|(endpoint_id, _, healthy)| {
            let codes: &[u16] = if healthy { &[204] } else { &[500, 204] };
            let attempts = codes.iter().zip(0..).map(|(code, nth)| Attempt {
                at_ms: at_ms + 15 + nth * 1_050,
                status_code: Some(*code),
            });
            DeliveryRow {
                id: format!("whd_{organization}_{n}_{endpoint_id}"),
                organization_id: organization.into(),
                event_id: event_id.clone(),
                endpoint_id: endpoint_id.into(),
                status: Status::Succeeded,
                attempt_count: codes.len().try_into().unwrap(),
                attempts: attempts.collect(),
                next_attempt_at_ms: None,
                claim_expires_at_ms: None,
                failure_reason: None,
            }
        })
        .collect();
    for delivery in &deliveries {
        for attempt in &delivery.attempts {
            history.receipts.push(Receipt {
                arrived_at_ms: attempt.at_ms + 5,
                ended_at_ms: Some(attempt.at_ms + 6),
                endpoint_id: delivery.endpoint_id.clone(),
                delivery_id: delivery.id.clone(),
                event_id: Some(event_id.clone()),
                data_sha256: Some(hash(organization, n)),
                canary: Some(canary(organization)),
                body_sha256: format!("body of {}", delivery.id),
                verified: true,
                status: attempt.status_code,
            });
        }
    }
    history.publishes.push(Publish {
        sent_at_ms: at_ms,
        ended_at_ms: at_ms + 10,
        node: 0,
        organization_id: organization.into(),
        event_type: TYPE.into(),
        trigger_id: trigger_id.clone(),
        idempotency_key: Some(format!("key {n}")),
        data_sha256: hash(organization, n),
        outcome: Outcome::Accepted,
        event_id: Some(event_id.clone()),
        delivery_ids: deliveries.iter().map(|delivery| delivery.id.clone()).collect(),
    });
    history.events.push(EventRow {
        id: event_id.clone(),
        organization_id: organization.into(),
        event_type: TYPE.into(),
        trigger_id: trigger_id.clone(),
        session_id: Some(trigger_id.clone()),
        idempotency_key: Some(format!("key {n}")),
    });
    history.sessions.push(SessionRow {
        organization_id: organization.into(),
        session_id: trigger_id,
        terminal_event_id: Some(event_id),
    });
    history.deliveries.extend(deliveries);
}

fn shown(row: &DeliveryRow, door: Door) -> Answer {
    Answer {
        at_ms: END,
        door,
        stream: 0,
        organization_id: row.organization_id.clone(),
        is_final: true,
        delivery_id: row.id.clone(),
        event_id: row.event_id.clone(),
        endpoint_id: row.endpoint_id.clone(),
        status: row.status,
        attempt_count: row.attempt_count,
        last_status_code: row.attempts.last().and_then(|attempt| attempt.status_code),
        failure_reason: row.failure_reason.clone(),
        canary: None,
    }
}

/// Both APIs show, at the end, what the rows have come to.
fn show_again(history: &mut History) {
    history.answers.retain(|answer| !answer.is_final);
    for row in &history.deliveries {
        history.answers.extend([Door::Rest, Door::Graphql].map(|door| shown(row, door)));
    }
}

/// Changes a row, and what the APIs show of it.
fn record(history: &mut History, id: &str, change: impl FnOnce(&mut DeliveryRow)) {
    change(history.deliveries.iter_mut().find(|row| row.id == id).unwrap());
    show_again(history);
}

fn receipt<'h>(history: &'h mut History, id: &str) -> &'h mut Receipt {
    history.receipts.iter_mut().find(|receipt| receipt.delivery_id == id).unwrap()
}

/// Another request for a delivery, as its first one but for `change`.
fn receive(history: &mut History, id: &str, change: impl FnOnce(&mut Receipt)) {
    let mut again = receipt(history, id).clone();
    change(&mut again);
    history.receipts.push(again);
}

fn forget(history: &mut History, id: &str) {
    history.deliveries.retain(|row| row.id != id);
    history.receipts.retain(|receipt| receipt.delivery_id != id);
    history.publishes.iter_mut().for_each(|p| p.delivery_ids.retain(|other| other != id));
    show_again(history);
}

/// The flaky endpoint's delivery of an event failed at first and waits since.
fn left_pending(history: &mut History, id: &str, due_at_ms: Option<i64>) {
    record(history, id, |row| {
        row.status = Status::Pending;
        row.attempts.truncate(1);
        row.attempt_count = 1;
        row.next_attempt_at_ms = due_at_ms;
    });
    let mut kept = 0;
    history.receipts.retain(|receipt| {
        kept += usize::from(receipt.delivery_id == id);
        receipt.delivery_id != id || kept == 1
    });
}

/// One more event of `b`, under a key that may be taken already.
fn publish_under(history: &mut History, key: &str) {
    publish(history, "b", 90, T0 + 10_000);
    history.publishes.last_mut().unwrap().idempotency_key = Some(key.into());
    history.events.last_mut().unwrap().idempotency_key = Some(key.into());
    show_again(history);
}

type Breakage = (&'static str, &'static str, fn(&mut History));

#[rustfmt::skip] // one broken history each
const BROKEN: &[Breakage] = &[
    ("I1", "an accepted event is not there", |h| {
        h.events.retain(|event| event.id != "evt_b_1");
        h.sessions.retain(|session| session.session_id != "vs_b_1");
        forget(h, "whd_b_1_whe_b");
    }),
    ("I1", "a subscriber has no delivery", |h| forget(h, "whd_a_1_whe_flaky")),
    ("I1", "a delivery that succeeded never arrived", |h| {
        h.receipts.retain(|receipt| receipt.delivery_id != "whd_b_1_whe_b");
        // Else it is late, too.
        h.publishes.iter_mut().find(|p| p.trigger_id == "vs_b_1").unwrap().outcome = Outcome::Unknown;
    }),
    ("I1", "a pending delivery is never due", |h| left_pending(h, "whd_a_1_whe_flaky", None)),
    ("I1", "a delivery failed without a reason", |h| {
        left_pending(h, "whd_a_1_whe_flaky", None);
        record(h, "whd_a_1_whe_flaky", |row| row.status = Status::Failed);
    }),
    ("I1", "an event has two deliveries to one endpoint", |h| {
        let twin = DeliveryRow { id: "whd_twin".into(), ..h.deliveries[0].clone() };
        let first = receipt(h, "whd_a_0_whe_a").clone();
        h.receipts.push(Receipt { delivery_id: twin.id.clone(), ..first });
        h.deliveries.push(twin);
        show_again(h);
    }),
    ("I2", "a plaintext was altered", |h| {
        receipt(h, "whd_a_1_whe_a").data_sha256 = Some("hash of nothing".into());
    }),
    ("I2", "a delivery that nobody made", |h| {
        receive(h, "whd_a_1_whe_a", |r| r.delivery_id = "whd_unknown".into());
    }),
    ("I2", "a signature that does not hold", |h| {
        receive(h, "whd_a_1_whe_a", |r| (r.verified, r.status) = (false, Some(400)));
    }),
    ("I2", "a retry was sealed again", |h| {
        h.receipts.iter_mut().rfind(|r| r.delivery_id == "whd_a_1_whe_flaky").unwrap().body_sha256 = "other".into();
    }),
    ("I2", "a refused publish left an event", |h| {
        publish_under(h, "key 90");
        h.publishes.last_mut().unwrap().outcome = Outcome::Refused;
    }),
    ("I3", "a second 2xx without a fault", |h| {
        receive(h, "whd_b_1_whe_b", |r| r.arrived_at_ms += 500);
    }),
    ("I3", "more second 2xx than were in flight", |h| {
        receive(h, "whd_a_4_whe_a", |r| r.arrived_at_ms = KILL + 1_300);
    }),
    ("I3", "a second 2xx through a stop in order", |h| {
        receive(h, "whd_b_8_whe_b", |r| r.arrived_at_ms = STOP + 1_300);
    }),
    ("I3", "a second 2xx long after the first was recorded", |h| {
        h.faults[0].in_flight = 10;
        receive(h, "whd_b_1_whe_b", |r| r.arrived_at_ms = T0 + 30_000);
    }),
    ("I4", "the attempts have a hole", |h| {
        record(h, "whd_a_1_whe_flaky", |row| row.attempts.truncate(0));
        record(h, "whd_a_1_whe_flaky", |row| row.attempts.push(Attempt { at_ms: T0 + 6_000, status_code: Some(204) }));
    }),
    ("I4", "REST shows what the row does not hold", |h| {
        let answer = h.answers.iter_mut().find(|a| a.is_final && a.door == Door::Rest).unwrap();
        answer.last_status_code = Some(200);
    }),
    ("I4", "GraphQL does not show a row", |h| {
        h.answers.retain(|a| a.delivery_id != "whd_b_1_whe_b" || a.door != Door::Graphql);
    }),
    ("I4", "a success was taken back", |h| {
        let early = Answer { at_ms: T0 + 5_900, is_final: false, ..shown(&h.deliveries[4], Door::Subscription) };
        h.answers.push(early.clone());
        h.answers.push(Answer { at_ms: T0 + 5_950, status: Status::Delivering, attempt_count: 1, ..early });
    }),
    ("I4", "an answer on record that was never given", |h| {
        record(h, "whd_a_1_whe_flaky", |row| row.attempts[0].status_code = Some(503));
    }),
    ("I4", "a claim outlives its deadline", |h| {
        h.lapsed_claims.push(LapsedClaim { at_ms: T0 + 15_000, delivery_id: "whd_b_1_whe_b".into(), expires_at_ms: T0 + 9_999 });
    }),
    ("I4", "a session ends twice", |h| {
        publish_under(h, "key 90");
        h.events.last_mut().unwrap().session_id = Some("vs_b_1".into());
        h.sessions.pop();
    }),
    ("I5", "a retry before its pause is over", |h| {
        h.receipts.iter_mut().rfind(|r| r.delivery_id == "whd_a_1_whe_flaky").unwrap().arrived_at_ms -= 200;
    }),
    ("I5", "a request after the last attempt of the schedule", |h| {
        h.run.retry_schedule_ms.truncate(1);
        for later_ms in [2_000, 4_000] {
            receive(h, "whd_a_1_whe_flaky", |r| r.arrived_at_ms -= later_ms);
        }
    }),
    ("I5", "a retry is put off for longer than its pause", |h| {
        left_pending(h, "whd_a_9_whe_flaky", Some(END + 10_000));
    }),
    ("I5", "first attempts come late", |h| {
        receipt(h, "whd_b_1_whe_b").arrived_at_ms += 1_500;
        receipt(h, "whd_b_1_whe_b").ended_at_ms = None;
    }),
    ("I6", "one key was answered two events", |h| publish_under(h, "key 2")),
    ("I6", "one key stands at two events", |h| {
        publish_under(h, "key 2");
        let twin = h.publishes.last_mut().unwrap();
        (twin.outcome, twin.event_id) = (Outcome::Unknown, None);
    }),
    ("I7", "a delivery arrived at another organization", |h| {
        receive(h, "whd_b_1_whe_b", |r| {
            r.endpoint_id = "whe_a".into();
            (r.status, r.verified, r.canary, r.data_sha256) = (Some(400), false, None, None);
        });
    }),
    ("I7", "an answer shows another organization's delivery", |h| {
        let foreign = Answer { organization_id: "a".into(), is_final: false, ..shown(&h.deliveries[2], Door::Rest) };
        h.answers.push(foreign);
    }),
    ("I7", "a foreign canary in a payload", |h| receipt(h, "whd_b_1_whe_b").canary = Some(canary("a"))),
    ("I7", "a payload in an answer", |h| h.answers[3].canary = Some(canary("a"))),
    ("I7", "a payload in a log", |h| {
        h.sightings.push(Sighting { file: "logs/0".into(), line: 7, organization_id: "a".into() });
    }),
    ("I8", "more memory than the limit", |h| h.samples.push(sample(T0 + 5_000, 1_001))),
    ("I8", "something due is left", |h| {
        left_pending(h, "whd_a_1_whe_flaky", Some(T0 + 6_000));
    }),
];

#[test]
fn a_healthy_history_holds() {
    let judgement = judge(&healthy());
    assert_eq!((judgement.exit_code(), judgement.violated()), (0, vec![]), "{judgement}");
}

#[test]
fn a_broken_history_is_rejected_by_the_invariant_that_it_breaks() {
    for (invariant, what, breaks) in BROKEN {
        let mut history = healthy();
        breaks(&mut history);
        let judgement = judge(&history);
        assert_eq!(judgement.violated(), [*invariant], "{what}:\n{judgement}");
        assert_eq!(judgement.exit_code(), 1);
    }
    for invariant in ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8"] {
        let breakages = BROKEN.iter().filter(|(other, _, _)| *other == invariant).count();
        assert!(breakages >= 2, "{invariant} is broken in two ways");
    }
}

#[test]
fn a_fault_explains_what_it_may_and_no_more() {
    let mut history = healthy();
    // Once more at the kill, now that two were in flight, …
    history.faults[0].in_flight = 2;
    receive(&mut history, "whd_a_4_whe_a", |r| r.arrived_at_ms = KILL + 1_300);
    // … a failed attempt that was lost with its node and so came again at once, …
    let retry = history.receipts.iter_mut().rfind(|r| r.delivery_id == "whd_a_4_whe_flaky");
    retry.unwrap().arrived_at_ms -= 900;
    // … and a publish accepted at the kill, that came late.
    receipt(&mut history, "whd_a_4_whe_a").arrived_at_ms += 1_100;
    let judgement = judge(&history);
    assert_eq!(judgement.violated(), Vec::<&str>::new(), "{judgement}");
}

#[test]
fn what_a_subscription_told_before_a_gap_it_may_tell_again() {
    let mut history = healthy();
    let told = Answer { is_final: false, ..shown(&history.deliveries[4], Door::Subscription) };
    history.answers.push(Answer { at_ms: T0 + 5_900, ..told.clone() });
    let again = Answer { at_ms: T0 + 5_950, status: Status::Delivering, attempt_count: 0, ..told };
    history.answers.push(Answer { stream: 1, ..again });
    let judgement = judge(&history);
    assert_eq!(judgement.violated(), Vec::<&str>::new(), "{judgement}");
}

#[test]
fn too_little_to_tell_is_told() {
    let empty: [fn(&mut History); 9] = [
        |h| h.run.organizations.clear(),
        |h| h.publishes.clear(),
        |h| h.receipts.clear(),
        |h| h.events.clear(),
        |h| h.deliveries.clear(),
        |h| h.answers.retain(|answer| answer.door != Door::Rest),
        |h| h.answers.retain(|answer| answer.door != Door::Graphql),
        |h| h.samples.clear(),
        |h| h.faults.push(Fault { to_at_ms: END, ..fault(FaultKind::Cut, T0, 0) }),
    ];
    for empties in empty {
        let mut history = healthy();
        empties(&mut history);
        assert!(matches!(judge(&history), Judgement::Undecided(_)), "{}", judge(&history));
        assert_eq!(judge(&history).exit_code(), 2);
    }
}

#[test]
fn a_directory_is_judged_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let written = |name: &str, lines: Vec<String>| {
        std::fs::write(directory.path().join(name), lines.join("\n")).unwrap();
    };
    assert_eq!(judge_directory(directory.path()).exit_code(), 2, "nothing is there");
    let history = healthy();
    written("run.json", vec![serde_json::to_string(&history.run).unwrap()]);
    written("publishes.jsonl", lines(&history.publishes));
    written("receipts.jsonl", lines(&history.receipts));
    written("faults.jsonl", lines(&history.faults));
    written("samples.jsonl", lines(&history.samples));
    written("claims.jsonl", lines(&history.lapsed_claims));
    written("answers.jsonl", lines(&history.answers));
    written("events.jsonl", lines(&history.events));
    written("deliveries.jsonl", lines(&history.deliveries));
    written("sessions.jsonl", lines(&history.sessions));
    std::fs::create_dir(directory.path().join("logs")).unwrap();
    let judgement = judge_directory(directory.path());
    assert_eq!(judgement.exit_code(), 0, "{judgement}");
    written("logs/0", vec!["all is well".into(), format!("sending {}", canary("b"))]);
    let judgement = judge_directory(directory.path());
    assert_eq!(judgement.violated(), ["I7"], "{judgement}");
    assert!(judgement.to_string().contains("line 2"), "{judgement}");
    written("events.jsonl", vec!["{".into()]);
    let judgement = judge_directory(directory.path());
    let named = judgement.to_string().contains("events.jsonl, line 1");
    assert!(judgement.exit_code() == 2 && named, "{judgement}");
}

fn lines<T: Serialize>(items: &[T]) -> Vec<String> {
    items.iter().map(|item| serde_json::to_string(item).unwrap()).collect()
}
