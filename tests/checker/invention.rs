//! I2, no invention: whatever a receiver got was published for its organization, unaltered, sealed once and
//! signed; and nothing that was refused left a trace.

use super::findings::Findings;
use super::history::{DeliveryRow, Receipt};
use super::index::Index;

pub fn check(index: &Index<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut plaintexts = 0;
    for receipt in &index.history.receipts {
        plaintexts += usize::from(receipt.data_sha256.is_some());
        if let Some(why) = invented(index, receipt) {
            findings.violated(receipt.arrived_at_ms, || {
                format!(
                    "endpoint {} got delivery {}, {why}",
                    receipt.endpoint_id, receipt.delivery_id
                )
            });
        }
    }
    for event in &index.history.events {
        if index.origins(event).is_empty() {
            findings.violated(None, || format!("event {} was never published", event.id));
        }
    }
    findings.looked_at = format!(
        "{} requests, {plaintexts} of them decrypted, {} events",
        index.history.receipts.len(),
        index.history.events.len(),
    );
    findings
}

fn invented(index: &Index<'_>, receipt: &Receipt) -> Option<&'static str> {
    let Some(delivery) = index.deliveries.get(receipt.delivery_id.as_str()) else {
        return Some("which nobody made");
    };
    if is_foreign(index, receipt, delivery) {
        // For `isolation` to tell.
        return None;
    }
    let Some(event) = index.events.get(delivery.event_id.as_str()) else {
        return Some("whose event nobody published");
    };
    if receipt.endpoint_id != delivery.endpoint_id {
        return Some("which is for another endpoint");
    }
    if !receipt.verified {
        return Some("whose signature does not hold");
    }
    if receipt.event_id.as_ref().is_some_and(|id| *id != event.id) {
        return Some("which carries another event");
    }
    let published =
        |hash: &String| index.origins(event).iter().any(|publish| publish.data_sha256 == *hash);
    if receipt.data_sha256.as_ref().is_some_and(|hash| !published(hash)) {
        return Some("whose data was not published");
    }
    let first = index.receipts(&delivery.id).first();
    if first.is_some_and(|first| first.body_sha256 != receipt.body_sha256) {
        return Some("which was sealed again");
    }
    None
}

fn is_foreign(index: &Index<'_>, receipt: &Receipt, delivery: &DeliveryRow) -> bool {
    let endpoint = index.endpoints.get(receipt.endpoint_id.as_str());
    endpoint.is_some_and(|endpoint| endpoint.organization_id != delivery.organization_id)
}
