//! I6, idempotency: to one key of an organization belongs one event, as told and as recorded.

use std::collections::HashMap;

use super::findings::Findings;
use super::index::Index;

pub fn check(index: &Index<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut events: HashMap<(&str, &str), &str> = HashMap::new();
    let told = index.history.publishes.iter().filter_map(|publish| {
        let key = publish.idempotency_key.as_deref()?;
        let id = publish.event_id.as_deref()?;
        Some((publish.organization_id.as_str(), key, id, Some(publish.ended_at_ms)))
    });
    let recorded = index.history.events.iter().filter_map(|event| {
        let key = event.idempotency_key.as_deref()?;
        Some((event.organization_id.as_str(), key, event.id.as_str(), None))
    });
    let mut repeated = 0;
    for (organization_id, key, id, at_ms) in told.chain(recorded) {
        let first = *events.entry((organization_id, key)).or_insert(id);
        if first != id {
            findings.violated(at_ms, || format!("key {key} has event {first} and event {id}"));
        } else if at_ms.is_some() {
            repeated += 1;
        }
    }
    repeated -= events.len().min(repeated);
    findings.looked_at = format!("{} keys, {repeated} answers repeated", events.len());
    findings
}
