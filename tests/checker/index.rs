//! The history, found by id.

use std::collections::HashMap;

use super::faults::Faults;
use super::history::{
    DeliveryRow, Endpoint, EventRow, History, Organization, Outcome, Publish, Receipt,
};

/// A history and the ways into it.
pub struct Index<'h> {
    pub history: &'h History,
    pub faults: Faults<'h>,
    pub endpoints: HashMap<&'h str, &'h Endpoint>,
    pub organizations: HashMap<&'h str, &'h Organization>,
    pub events: HashMap<&'h str, &'h EventRow>,
    pub deliveries: HashMap<&'h str, &'h DeliveryRow>,
    /// The requests of each delivery, by arrival.
    receipts: HashMap<&'h str, Vec<&'h Receipt>>,
    /// The publishes of each organization and trigger that were not refused, by when they were sent.
    origins: HashMap<(&'h str, &'h str), Vec<&'h Publish>>,
}

impl<'h> Index<'h> {
    pub fn new(history: &'h History) -> Self {
        let mut receipts: HashMap<_, Vec<_>> = HashMap::new();
        for receipt in &history.receipts {
            receipts.entry(receipt.delivery_id.as_str()).or_default().push(receipt);
        }
        for receipts in receipts.values_mut() {
            receipts.sort_by_key(|receipt| receipt.arrived_at_ms);
        }
        let mut origins: HashMap<_, Vec<_>> = HashMap::new();
        for publish in &history.publishes {
            if publish.outcome == Outcome::Refused {
                continue;
            }
            let of = (publish.organization_id.as_str(), publish.trigger_id.as_str());
            origins.entry(of).or_default().push(publish);
        }
        for origins in origins.values_mut() {
            origins.sort_by_key(|publish| publish.sent_at_ms);
        }
        let run = &history.run;
        Self {
            history,
            faults: Faults::new(history),
            endpoints: run.endpoints.iter().map(|row| (row.id.as_str(), row)).collect(),
            organizations: run.organizations.iter().map(|row| (row.id.as_str(), row)).collect(),
            events: history.events.iter().map(|row| (row.id.as_str(), row)).collect(),
            deliveries: history.deliveries.iter().map(|row| (row.id.as_str(), row)).collect(),
            receipts,
            origins,
        }
    }

    /// The requests of a delivery, by arrival.
    pub fn receipts(&self, delivery_id: &str) -> &[&'h Receipt] {
        self.receipts.get(delivery_id).map_or(&[], Vec::as_slice)
    }

    /// The publishes that may have made an event, by when they were sent.
    pub fn origins(&self, event: &'h EventRow) -> &[&'h Publish] {
        let of = (event.organization_id.as_str(), event.trigger_id.as_str());
        self.origins.get(&of).map_or(&[], Vec::as_slice)
    }
}
