//! Those who look on while a fleet is under load, and once it is quiet: what each node uses, which claims are
//! past their deadline, and how REST, GraphQL and subscriptions show deliveries.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::Member;
use super::journal::{Journal, now_ms};
use super::node::Node;
use super::rows::{Rows, word};
use crate::judge::history::{Answer, Door, Organization, Sample};
use crate::support::daemon::Caller;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one look may take: a node that is stopped or cut off does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The gauges of `/metrics` that are kept.
const GAUGES: [&str; 3] =
    ["hookseal_attempts_in_flight", "hookseal_endpoint_actors", "hookseal_live_connections"];

const FIELDS: &str = "id eventId endpointId status attemptCount lastStatusCode failureReason";

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE));
    config.max_idle_age(Duration::from_secs(2)).build().new_agent()
}

/// Writes down what the nodes use, until it is stopped.
pub fn sample(nodes: &[Node], samples: &Journal, stopped: &AtomicBool) {
    let agent = agent();
    while !stopped.load(Ordering::Relaxed) {
        for (n, node) in nodes.iter().enumerate() {
            if let Some(gauges) = gauges(&agent, node) {
                samples.write(&Sample { at_ms: now_ms(), node: n, gauges });
            }
        }
        std::thread::sleep(PAUSE);
    }
}

fn gauges(agent: &ureq::Agent, node: &Node) -> Option<BTreeMap<String, u64>> {
    let process = format!("/proc/{}", node.process()?);
    let status = std::fs::read_to_string(format!("{process}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let resident_kib: u64 = resident.trim().trim_end_matches(" kB").parse().ok()?;
    let descriptors = std::fs::read_dir(format!("{process}/fd")).ok()?.count();
    let mut gauges = BTreeMap::from([
        ("resident_bytes".to_owned(), resident_kib * 1024),
        ("descriptors".to_owned(), descriptors as u64),
    ]);
    let metrics = agent.get(format!("{}/metrics", node.url())).call();
    let metrics = metrics.and_then(|mut answer| answer.body_mut().read_to_string());
    for line in metrics.unwrap_or_default().lines() {
        let Some((name, value)) = line.split_once(' ') else { continue };
        if GAUGES.contains(&name) {
            gauges.insert(name.to_owned(), value.parse().ok()?);
        }
    }
    Some(gauges)
}

/// Writes down the claims that are past their deadline, until it is stopped.
pub fn watch_claims(rows: &Rows, claims: &Journal, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        rows.lapsed_claims().iter().for_each(|claim| claims.write(claim));
        std::thread::sleep(PAUSE);
    }
}

/// Asks as an organization, and writes down what it is shown.
#[derive(Clone, Copy)]
pub struct Witness<'f> {
    pub member: &'f Member,
    pub organizations: &'f [Organization],
    pub answers: &'f Journal,
}

impl Witness<'_> {
    /// Reads the newest deliveries of one node after the other, until it is stopped.
    pub fn poll(&self, nodes: &[Node], stopped: &AtomicBool) {
        let agent = agent();
        for node in nodes.iter().cycle() {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let at_ms = now_ms();
            let page = agent
                .get(format!("{}/v1/webhooks/deliveries?limit=100", node.url()))
                .header("authorization", format!("Bearer {}", self.member.key))
                .call()
                .and_then(|mut answer| answer.body_mut().read_to_string());
            if let Ok(page) = page {
                let shown: Value = serde_json::from_str(&page).unwrap();
                let deliveries = shown["data"].as_array().unwrap();
                self.saw(at_ms, (Door::Rest, 0), false, deliveries, &page);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Follows what changes, of one node after the other as they come and go, until it is stopped.
    pub fn follow(&self, nodes: &[Node], stopped: &AtomicBool) {
        let document = format!(
            "subscription($after: String) {{ deliveryChanged(after: $after) {{
                cursor gap delivery {{ {FIELDS} }} }} }}"
        );
        let agent = ureq::Agent::config_builder()
            // Then it asks again for what came after what it has seen.
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        let (mut cursor, mut stream) = (Value::Null, 0);
        for node in nodes.iter().cycle() {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let body = json!({ "query": document, "variables": { "after": cursor } });
            let opened = agent
                .post(format!("{}/graphql", node.url()))
                .header("authorization", format!("Bearer {}", self.member.key))
                .header("content-type", "application/json")
                .header("accept", "text/event-stream")
                .send(body.to_string());
            let Ok(opened) = opened else {
                std::thread::sleep(PAUSE);
                continue;
            };
            for line in BufReader::new(opened.into_body().into_reader()).lines() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(line) = line else { break };
                let Some(data) = line.strip_prefix("data:") else { continue };
                let item: Value = serde_json::from_str(data).unwrap_or_default();
                let change = &item["data"]["deliveryChanged"];
                if change["cursor"].is_string() {
                    cursor.clone_from(&change["cursor"]);
                }
                stream += u32::from(change["gap"] == true);
                if change["delivery"].is_object() {
                    let delivery = std::slice::from_ref(&change["delivery"]);
                    self.saw(now_ms(), (Door::Subscription, stream), false, delivery, &line);
                }
            }
        }
    }

    /// Reads all deliveries of both APIs.
    pub fn read_all(&self, node: &Node) {
        let caller = Caller::new(&node.url(), &self.member.key);
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/webhooks/deliveries?limit=100{cursor}");
            let answer = caller.get(&path);
            let page = answer.json();
            self.saw(
                now_ms(),
                (Door::Rest, 0),
                true,
                page["data"].as_array().unwrap(),
                &answer.text,
            );
            match page["pagination"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&starting_after={next}"),
                None => break,
            }
        }
        let document = format!(
            "query($after: String) {{ deliveries(first: 100, after: $after) {{
                nodes {{ {FIELDS} }} pageInfo {{ hasNextPage endCursor }} }} }}"
        );
        let mut after = Value::Null;
        loop {
            let body = json!({ "query": document, "variables": { "after": after } });
            let answer = caller.post("/graphql", body);
            let mut page = answer.json()["data"]["deliveries"].take();
            let nodes = page["nodes"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
            self.saw(now_ms(), (Door::Graphql, 0), true, nodes, &answer.text);
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
            after = page["pageInfo"]["endCursor"].take();
        }
        self.answers.flush();
    }

    /// `raw` is the whole answer, in which no payload may be.
    fn saw(
        &self,
        at_ms: i64,
        (door, stream): (Door, u32),
        is_final: bool,
        deliveries: &[Value],
        raw: &str,
    ) {
        let mut canaries = self.organizations.iter().map(|organization| &organization.canary);
        let canary = canaries.find(|canary| raw.contains(&**canary)).cloned();
        for delivery in deliveries {
            let text = |rest: &str, graphql: &str| {
                let name = if door == Door::Rest { rest } else { graphql };
                delivery[name].as_str().map(str::to_owned)
            };
            let number = |rest: &str, graphql: &str| {
                let name = if door == Door::Rest { rest } else { graphql };
                delivery[name].as_u64()
            };
            let reason = text("failure_reason", "failureReason");
            self.answers.write(&Answer {
                at_ms,
                door,
                stream,
                organization_id: self.member.id.clone(),
                is_final,
                delivery_id: text("id", "id").unwrap(),
                event_id: text("event_id", "eventId").unwrap(),
                endpoint_id: text("webhook_endpoint_id", "endpointId").unwrap(),
                status: word(&text("status", "status").unwrap()),
                attempt_count: number("attempt_count", "attemptCount").unwrap() as u32,
                last_status_code: number("last_status_code", "lastStatusCode")
                    .map(|code| code as u16),
                failure_reason: reason.map(|reason| reason.to_lowercase()),
                canary: canary.clone(),
            });
        }
    }
}
