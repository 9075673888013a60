//! Settings of an endpoint that are accepted keep every bound, and are accepted again as they are stored.

#![no_main]

use hookseal_core::endpoint::{Endpoint, EndpointFields};
use hookseal_core::event::Catalogue;
use hookseal_core::id::{EndpointId, OrganizationId};
use hookseal_core::limits::{LABEL_CHARS, LABELS, NAME_CHARS, RATE_MAX, SUBSCRIPTIONS, WINDOW_MAX};
use hookseal_core::target::TargetRules;
use hookseal_core::time::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

const NOW: Timestamp = Timestamp::from_ms(1_742_404_800_000);

fn text(value: &Value) -> Option<String> {
    value.as_str().map(ToOwned::to_owned)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

fn fields(body: &Map<String, Value>) -> EndpointFields {
    let number = |name: &str| body.get(name).map(Value::as_i64);
    EndpointFields {
        url: body.get("url").and_then(text),
        name: body.get("name").map(text),
        labels: body.get("labels").and_then(texts),
        enabled: body.get("enabled").and_then(Value::as_bool),
        subscribed_event_types: body.get("subscribed_event_types").and_then(texts),
        undelivered_payload_retention_hours: number("undelivered_payload_retention_hours")
            .flatten(),
        max_in_flight: number("max_in_flight"),
        rate_limit_per_second: number("rate_limit_per_second"),
    }
}

fn create(fields: EndpointFields) -> Option<Endpoint> {
    let (id, organization) = (EndpointId::from_row("whe_1"), OrganizationId::from_row("o"));
    let (rules, catalogue) = (TargetRules::default(), Catalogue::default());
    fields.create(id, organization, &rules, &catalogue, NOW).ok()
}

fn stored(endpoint: &Endpoint) -> EndpointFields {
    EndpointFields {
        url: Some(endpoint.url.clone()),
        name: endpoint.name.clone().map(Some),
        labels: Some(endpoint.labels.clone()),
        enabled: Some(endpoint.enabled),
        subscribed_event_types: Some(
            endpoint.subscribed_event_types.iter().map(ToString::to_string).collect(),
        ),
        undelivered_payload_retention_hours: Some(endpoint.retention.hours().into()),
        max_in_flight: Some(endpoint.max_in_flight.map(Into::into)),
        rate_limit_per_second: Some(endpoint.rate_limit_per_second.map(Into::into)),
    }
}

fuzz_target!(|json: &[u8]| {
    let Ok(body) = serde_json::from_slice::<Map<String, Value>>(json) else { return };
    let Some(endpoint) = create(fields(&body)) else { return };
    let bounded = |text: &str, most| {
        (1..=most).contains(&text.chars().count())
            && text == text.trim()
            && !text.chars().any(char::is_control)
    };
    assert!(endpoint.name.as_ref().is_none_or(|name| bounded(name, NAME_CHARS)));
    assert!(endpoint.labels.len() <= LABELS);
    assert!(endpoint.labels.iter().all(|label| bounded(label, LABEL_CHARS)));
    let mut labels: Vec<_> = endpoint.labels.iter().map(|label| label.to_lowercase()).collect();
    labels.sort();
    labels.dedup();
    assert_eq!(labels.len(), endpoint.labels.len(), "labels differ, ignoring case");
    assert!(endpoint.subscribed_event_types.len() <= SUBSCRIPTIONS);
    assert!((1..=WINDOW_MAX).contains(&endpoint.window()));
    assert!(endpoint.rate_limit_per_second.is_none_or(|rate| (1..=RATE_MAX).contains(&rate)));
    assert_eq!(endpoint.enabled, endpoint.disabled_at.is_none());
    assert_eq!(create(stored(&endpoint)), Some(endpoint), "as it is stored");
});
