//! Whatever an object is sent as, what is accepted of it keeps its bounds, and what is refused is told in few
//! words. Publishes and settings of endpoints have targets of their own.

#![no_main]

use hookseal_core::access::{
    ApiKey, ApiKeyChangeFields, ApiKeyFields, Organization, OrganizationChange,
};
use hookseal_core::endpoint::judge_name;
use hookseal_core::error::Result;
use hookseal_core::id::{ApiKeyId, EndpointId, KeyId, OrganizationId, PrivacyRequestId};
use hookseal_core::key::KeyFields;
use hookseal_core::limits::{GRACE_PERIOD_MAX, NAME_CHARS, TARGETS, TRIES};
use hookseal_core::privacy::WithdrawalFields;
use hookseal_core::rotation::GracePeriod;
use hookseal_core::time::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::{Map, Value};

const NOW: Timestamp = Timestamp::from_ms(1_742_404_800_000);

/// What the bodies may hold, each member of its right type or as if it were left out.
struct Body(Map<String, Value>);

impl Body {
    fn get<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Option<T> {
        T::deserialize(self.0.get(name)?).ok()
    }
}

/// What was accepted, if it was.
fn told<T>(judged: Result<T>) -> Option<T> {
    let refused = judged.as_ref().err().map(ToString::to_string);
    assert!(refused.is_none_or(|text| text.chars().count() <= 500));
    judged.ok()
}

fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

fn bounded(key: &ApiKey) {
    assert!(is_name(&key.name));
    assert!((1..=5).contains(&key.scopes.len()));
    assert!(key.metadata.len() <= 20);
    assert!(key.metadata.iter().all(|(name, value)| name.len() <= 64 && !value.is_object()));
}

fn api_keys(body: &Body) {
    let (id, organization) = (ApiKeyId::from_row("k"), OrganizationId::from_row("o"));
    let fields = ApiKeyFields {
        name: body.get("name").unwrap_or_default(),
        permissions: body.get("permissions").unwrap_or_default(),
        metadata: body.get("metadata").unwrap_or_default(),
    };
    let change = told(ApiKeyChangeFields::judge(ApiKeyChangeFields {
        name: body.get("name"),
        enabled: body.get("enabled"),
        permissions: body.get("permissions"),
        metadata: body.get("metadata"),
    }));
    let Some(key) = told(fields.create(id, organization, NOW)) else { return };
    bounded(&key);
    let change = change.expect("what a new key may hold, an old one may");
    let changed = change.apply(key.clone(), NOW);
    bounded(&changed);
    assert_eq!((&changed.name, &changed.scopes), (&key.name, &key.scopes));
}

fn organizations(body: &Body) {
    let id = body.get::<String>("id").and_then(|id| told(OrganizationId::parse_uuid("id", &id)));
    let before = Organization {
        id: id.unwrap_or_else(|| OrganizationId::from_row("o")),
        name: body.get("name").and_then(|name| told(judge_name(name))).unwrap_or("name".into()),
        frozen_at: None,
        created_at: NOW,
        updated_at: NOW,
    };
    assert!(is_name(&before.name));
    assert!(before.id.as_str().len() == 36 || before.id.as_str() == "o");
    let change = OrganizationChange::judge(body.get("name"), body.get("frozen"));
    let Some(change) = told(change) else { return };
    let changed = change.apply(before, NOW);
    assert!(is_name(&changed.name));
    assert_eq!(changed.frozen_at.is_some(), body.get("frozen") == Some(true));
}

fn encryption_keys(body: &Body) {
    let fields = KeyFields {
        key_id: body.get("key_id").unwrap_or_default(),
        algorithm: body.get("algorithm").unwrap_or_default(),
        key_type: body.get("key_type").unwrap_or_default(),
        jwk: body.get("jwk").unwrap_or_default(),
    };
    let (id, endpoint) = (KeyId::from_row("whk_1"), EndpointId::from_row("whe_1"));
    let Some(key) = told(fields.create(id, endpoint, NOW)) else { return };
    assert!((1..=128).contains(&key.key_id.chars().count()) && key.is_active);
}

fn withdrawals(json: &[u8]) {
    let Ok(fields) = serde_json::from_slice::<WithdrawalFields>(json) else { return };
    let id = PrivacyRequestId::from_row("prv_1");
    let Some(withdrawal) = told(fields.judge(id, NOW)) else { return };
    assert!(withdrawal.nfc_tries_used <= TRIES && withdrawal.liveness_tries_used <= TRIES);
    assert!(withdrawal.targets.is_none_or(|targets| (1..=TARGETS).contains(&targets.len())));
}

fn rotations(body: &Body) {
    let seconds = body.get("grace_period_seconds");
    let Some(grace) = told(GracePeriod::judge(seconds)) else { return };
    assert!(grace.seconds() <= GRACE_PERIOD_MAX.as_secs());
    assert_eq!(grace.until(NOW).is_some(), grace.seconds() > 0);
}

fuzz_target!(|json: &[u8]| {
    let Ok(body) = serde_json::from_slice(json).map(Body) else { return };
    api_keys(&body);
    organizations(&body);
    encryption_keys(&body);
    withdrawals(json);
    rotations(&body);
});
