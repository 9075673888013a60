//! I1, no loss: every event that was accepted is there, with exactly one delivery for each endpoint that
//! was subscribed; each delivery arrived, or is still scheduled, or failed with a reason.

use std::collections::HashMap;

use super::findings::Findings;
use super::history::{DeliveryRow, Endpoint, EventRow, Outcome, Status};
use super::index::Index;

pub fn check(index: &Index<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut accepted = 0;
    for publish in &index.history.publishes {
        if publish.outcome != Outcome::Accepted {
            continue;
        }
        accepted += 1;
        let event = publish.event_id.as_deref().and_then(|id| index.events.get(id));
        if event.is_none() {
            findings.violated(publish.ended_at_ms, || {
                format!("event {:?} was accepted and is not there", publish.event_id)
            });
        }
        for id in &publish.delivery_ids {
            if !index.deliveries.contains_key(id.as_str()) {
                findings.violated(publish.ended_at_ms, || {
                    format!("delivery {id} was accepted and is not there")
                });
            }
        }
    }
    every_subscriber_has_one(index, &mut findings);
    let mut succeeded = 0;
    for delivery in &index.history.deliveries {
        succeeded += usize::from(delivery.status == Status::Succeeded);
        if let Some(why) = lost(index, delivery) {
            findings.violated(None, || format!("delivery {} {why}", delivery.id));
        }
    }
    let deliveries = index.history.deliveries.len();
    findings.looked_at = format!(
        "{accepted} accepted publishes, {deliveries} deliveries, {succeeded} of them succeeded"
    );
    findings
}

/// Events whose publish is unknown are there whole or not at all, too: so this goes by the rows.
fn every_subscriber_has_one(index: &Index<'_>, findings: &mut Findings) {
    let mut made: HashMap<(&str, &str), usize> = HashMap::new();
    for delivery in &index.history.deliveries {
        *made.entry((&delivery.event_id, &delivery.endpoint_id)).or_default() += 1;
    }
    for event in &index.history.events {
        for endpoint in &index.history.run.endpoints {
            let made = made.get(&(&event.id, &endpoint.id)).copied().unwrap_or(0);
            let wanted = match subscribed(index, event, endpoint) {
                Some(subscribed) => made == usize::from(subscribed),
                None => made <= 1,
            };
            if !wanted {
                findings.violated(None, || {
                    format!("event {} has {made} deliveries to endpoint {}", event.id, endpoint.id)
                });
            }
        }
    }
}

/// Whether an endpoint was subscribed when an event was committed; none when the two came too close.
fn subscribed(index: &Index<'_>, event: &EventRow, endpoint: &Endpoint) -> Option<bool> {
    let of_its = endpoint.organization_id == event.organization_id
        && endpoint.event_types.contains(&event.event_type);
    if !of_its {
        return Some(false);
    }
    let certain = index.origins(event).iter().all(|publish| {
        endpoint.from_at_ms <= publish.sent_at_ms
            && endpoint.until_at_ms.is_none_or(|until_at_ms| publish.ended_at_ms < until_at_ms)
    });
    certain.then_some(true)
}

fn lost(index: &Index<'_>, delivery: &DeliveryRow) -> Option<&'static str> {
    match delivery.status {
        Status::Succeeded => {
            let taken = |endpoint_id: &str| endpoint_id == delivery.endpoint_id;
            let arrived = index.receipts(&delivery.id).iter().any(|receipt| {
                receipt.is_success() && receipt.verified && taken(&receipt.endpoint_id)
            });
            (!arrived).then_some("succeeded, and its receiver never took it")
        }
        Status::Pending => {
            delivery.next_attempt_at_ms.is_none().then_some("is pending, and never due")
        }
        Status::Delivering => {
            delivery.claim_expires_at_ms.is_none().then_some("is claimed, and by nobody")
        }
        Status::Failed => delivery.failure_reason.is_none().then_some("failed without a reason"),
    }
}
