//! I7, isolation: nothing of one organization is seen by another, and nobody but its receivers sees a
//! payload.

use std::collections::{HashMap, HashSet};

use super::findings::Findings;
use super::index::Index;

pub fn check(index: &Index<'_>) -> Findings {
    let mut findings = Findings::default();
    at_receivers(index, &mut findings);
    in_answers(index, &mut findings);
    for sighting in &index.history.sightings {
        findings.violated(None, || {
            let (file, line) = (sighting.file.display(), sighting.line);
            format!("a payload of {} stands in {file}, line {line}", sighting.organization_id)
        });
    }
    findings.looked_at = format!(
        "{} organizations, {} requests, {} answers, the logs",
        index.history.run.organizations.len(),
        index.history.receipts.len(),
        index.history.answers.len(),
    );
    findings
}

fn at_receivers(index: &Index<'_>, findings: &mut Findings) {
    let mut publishers: HashMap<&str, HashSet<&str>> = HashMap::new();
    for publish in &index.history.publishes {
        let of = publishers.entry(&publish.data_sha256).or_default();
        of.insert(&publish.organization_id);
    }
    for receipt in &index.history.receipts {
        let Some(endpoint) = index.endpoints.get(receipt.endpoint_id.as_str()) else { continue };
        let own = endpoint.organization_id.as_str();
        let delivery = index.deliveries.get(receipt.delivery_id.as_str());
        let foreign_id = delivery.is_some_and(|delivery| delivery.organization_id != own);
        let publishers = receipt.data_sha256.as_deref().and_then(|hash| publishers.get(hash));
        let foreign_data = publishers.is_some_and(|publishers| !publishers.contains(own));
        let organization = index.organizations.get(own);
        let own_canary = organization.map(|organization| &organization.canary);
        let foreign_canary = receipt.canary.is_some() && receipt.canary.as_ref() != own_canary;
        if foreign_id || foreign_data || foreign_canary {
            findings.violated(receipt.arrived_at_ms, || {
                let id = &receipt.delivery_id;
                format!("endpoint {} of {own} got delivery {id} of another", endpoint.id)
            });
        }
    }
}

fn in_answers(index: &Index<'_>, findings: &mut Findings) {
    for answer in &index.history.answers {
        let own = &answer.organization_id;
        let delivery = index.deliveries.get(answer.delivery_id.as_str());
        let event = index.events.get(answer.event_id.as_str());
        let endpoint = index.endpoints.get(answer.endpoint_id.as_str());
        let owners = [
            delivery.map(|delivery| &delivery.organization_id),
            event.map(|event| &event.organization_id),
            endpoint.map(|endpoint| &endpoint.organization_id),
        ];
        if owners.into_iter().flatten().any(|owner| owner != own) {
            findings.violated(answer.at_ms, || {
                format!("{own} was shown delivery {} of another", answer.delivery_id)
            });
        }
        if answer.canary.is_some() {
            findings.violated(answer.at_ms, || {
                format!("{own} was shown a payload beside delivery {}", answer.delivery_id)
            });
        }
    }
}
