//! An event: the catalogue of types, what a publisher hands in, and the plaintext that is sealed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::delivery::Delivery;
use crate::endpoint::is_text;
use crate::error::{Error, Result};
use crate::id::{EndpointId, EventId, OrganizationId, SessionId};
use crate::limits::{DATA_BYTES, DATA_DEPTH, IDEMPOTENCY_KEY_CHARS, TARGETS, TRIGGER_ID_CHARS};
use crate::payload::Payload;
use crate::time::Timestamp;

/// One type of event and the rules that come with it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventType {
    /// Name on the wire, such as `verification.session.succeeded`.
    pub name: Arc<str>,
    /// What may trigger it.
    pub trigger_types: Vec<Arc<str>>,
    /// Whether it ends its session: a session has one such event.
    #[serde(default)]
    pub terminal: bool,
    /// Whether endpoints subscribe to it unless they say otherwise.
    #[serde(default)]
    pub default_subscribed: bool,
    /// Name of the metadata member that carries the trigger's id, when it is not the session.
    #[serde(default)]
    pub trigger_member: Option<Arc<str>>,
    /// Name of the metadata member that carries the session's id.
    #[serde(default)]
    pub session_member: Option<Arc<str>>,
}

/// The types of event that this installation knows, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue(Vec<EventType>);

/// Type of the event that tests an endpoint; of no catalogue, so that nobody mistakes it.
pub(crate) const TEST_TYPE: &str = "webhook.test";
/// Trigger whose id is the session's own.
pub(crate) const SESSION_TRIGGER: &str = "verification_session";

impl Catalogue {
    /// A catalogue of the given types; names must differ.
    pub fn new(types: Vec<EventType>) -> Result<Self> {
        for (i, event_type) in types.iter().enumerate() {
            if types[..i].iter().any(|other| other.name == event_type.name) {
                return Err(Error::invalid(format!("event_types[{i}].name"), "a name used once"));
            }
            if event_type.trigger_types.is_empty() {
                return Err(Error::invalid(
                    format!("event_types[{i}].trigger_types"),
                    "at least one trigger type",
                ));
            }
        }
        if types.is_empty() {
            return Err(Error::invalid("event_types", "at least one event type"));
        }
        Ok(Self(types))
    }

    /// The type called `name`.
    pub fn get(&self, name: &str) -> Option<&EventType> {
        self.0.iter().find(|event_type| &*event_type.name == name)
    }

    /// All names, in catalogue order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|event_type| &event_type.name)
    }

    /// What may trigger any of the types, each once.
    pub fn trigger_types(&self) -> Vec<&Arc<str>> {
        let mut found = Vec::new();
        for name in self.0.iter().flat_map(|event_type| &event_type.trigger_types) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
        found
    }

    /// The names that an endpoint subscribes to by default, in catalogue order.
    pub fn default_subscription(&self) -> Vec<Arc<str>> {
        let subscribed = self.0.iter().filter(|event_type| event_type.default_subscribed);
        subscribed.map(|event_type| event_type.name.clone()).collect()
    }

    /// Takes a list of names that must all be known; duplicates are kept once.
    pub fn subscription(&self, field: &str, names: &[String]) -> Result<Vec<Arc<str>>> {
        let mut taken: Vec<Arc<str>> = Vec::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            let known = self
                .get(name)
                .ok_or_else(|| Error::invalid(format!("{field}[{i}]"), self.one_of()))?;
            if !taken.contains(&known.name) {
                taken.push(known.name.clone());
            }
        }
        Ok(taken)
    }

    /// The rule that a type must be known, for error messages.
    pub fn one_of(&self) -> String {
        let names: Vec<_> = self.names().map(|name| &**name).collect();
        format!("one of {}", names.join(", "))
    }
}

/// Both generations of contract section 3.1; the second is subscribed by default.
impl Default for Catalogue {
    fn default() -> Self {
        let event_type = |name: &str, trigger: &str, terminal, default_subscribed| EventType {
            name: name.into(),
            trigger_types: vec![trigger.into()],
            terminal,
            default_subscribed,
            trigger_member: (trigger != SESSION_TRIGGER).then(|| "verification_attempt_id".into()),
            session_member: Some("verification_session_id".into()),
        };
        Self(vec![
            event_type("verification.session.succeeded", SESSION_TRIGGER, true, true),
            event_type("verification.session.failed", SESSION_TRIGGER, true, true),
            event_type("verification.session.expired", SESSION_TRIGGER, true, true),
            event_type("verification.session.cancelled", SESSION_TRIGGER, true, true),
            event_type("verification.attempt.succeeded", "verification_attempt", false, false),
            event_type("verification.attempt.failed", "verification_attempt", false, false),
        ])
    }
}

/// What a publisher hands in, as it came.
#[derive(Deserialize)]
pub struct PublishFields {
    /// The tenant, a UUID.
    pub organization_id: String,
    /// A name of the catalogue.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What triggered it.
    pub trigger_type: String,
    /// The id of the trigger.
    pub trigger_id: String,
    /// Opaque object, at most 256 KiB.
    pub data: Box<RawValue>,
    /// The session, where the trigger is not the session itself.
    pub verification_session_id: Option<String>,
    /// Version of `data`'s shape; 1 when left out.
    pub contract_version: Option<u32>,
    /// Only these endpoints, 1 to 25; all that subscribe when left out.
    pub webhook_endpoint_ids: Option<Vec<String>>,
    /// Makes a repetition of the same body answer with the same event. A single publish may carry it in a
    /// header instead.
    pub idempotency_key: Option<String>,
}

impl std::fmt::Debug for PublishFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishFields")
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}

/// A publish that passed every rule.
pub struct Publication {
    /// The tenant.
    pub organization_id: OrganizationId,
    /// A type of the catalogue.
    pub event_type: EventType,
    /// What triggered it.
    pub trigger_type: Arc<str>,
    /// The id of the trigger.
    pub trigger_id: String,
    /// The session it tells of.
    pub session_id: Option<SessionId>,
    /// Version of `data`'s shape.
    pub contract_version: u32,
    /// The opaque object.
    pub data: Payload,
    /// Only these endpoints.
    pub targets: Option<Vec<EndpointId>>,
    /// The caller's key against doubling.
    pub idempotency_key: Option<String>,
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publication").field("event_type", &self.event_type).finish_non_exhaustive()
    }
}

impl PublishFields {
    /// Judges every field against the rules.
    pub fn judge(self, catalogue: &Catalogue) -> Result<Publication> {
        let organization_id = OrganizationId::parse_uuid("organization_id", &self.organization_id)?;
        let event_type = catalogue
            .get(&self.event_type)
            .ok_or_else(|| Error::invalid("type", catalogue.one_of()))?
            .clone();
        let trigger_type = event_type
            .trigger_types
            .iter()
            .find(|known| ***known == *self.trigger_type)
            .cloned()
            .ok_or_else(|| {
                let known: Vec<_> = event_type.trigger_types.iter().map(|t| &**t).collect();
                Error::invalid("trigger_type", format!("one of {}", known.join(", ")))
            })?;
        bounded("trigger_id", &self.trigger_id, TRIGGER_ID_CHARS)?;
        let session_id = match self.verification_session_id {
            // Two names for one session would give it two terminal events.
            Some(id) if &*trigger_type == SESSION_TRIGGER && id != self.trigger_id => {
                return Err(Error::invalid("verification_session_id", "the same as trigger_id"));
            }
            Some(id) => Some(SessionId::parse("verification_session_id", &id)?),
            None if &*trigger_type == SESSION_TRIGGER => {
                Some(SessionId::parse("trigger_id", &self.trigger_id)?)
            }
            None if event_type.session_member.is_some() => {
                return Err(Error::invalid(
                    "verification_session_id",
                    format!("the session's id, since trigger_type is {trigger_type}"),
                ));
            }
            None => None,
        };
        if let Some(key) = &self.idempotency_key {
            judge_idempotency_key("idempotency_key", key)?;
        }
        let targets = self.webhook_endpoint_ids.map(judge_targets).transpose()?;
        let (data, depth) = compact(self.data.get());
        if !data.starts_with('{') {
            return Err(Error::invalid("data", "a JSON object"));
        }
        if depth > DATA_DEPTH {
            return Err(Error::invalid("data", format!("at most {DATA_DEPTH} levels")));
        }
        if !is_unicode(&data) {
            return Err(Error::invalid("data", "well-formed Unicode: no half of a surrogate pair"));
        }
        if data.len() > DATA_BYTES {
            return Err(Error::TooLarge { field: "data", limit: DATA_BYTES });
        }
        Ok(Publication {
            organization_id,
            event_type,
            trigger_type,
            trigger_id: self.trigger_id,
            session_id,
            contract_version: self.contract_version.unwrap_or(1),
            data: Payload::new(data),
            targets,
            idempotency_key: self.idempotency_key,
        })
    }
}

/// Takes a caller's key against doubling.
pub(crate) fn judge_idempotency_key(field: &'static str, key: &str) -> Result<()> {
    bounded(field, key, IDEMPOTENCY_KEY_CHARS)
}

fn bounded(field: &'static str, text: &str, most: usize) -> Result<()> {
    if is_text(text, most) {
        Ok(())
    } else {
        Err(Error::invalid(
            field,
            format!("1 to {most} characters, none of them a control character"),
        ))
    }
}

pub(crate) fn judge_targets(ids: Vec<String>) -> Result<Vec<EndpointId>> {
    if !(1..=TARGETS).contains(&ids.len()) {
        return Err(Error::invalid("webhook_endpoint_ids", format!("1 to {TARGETS} ids")));
    }
    let mut targets = Vec::with_capacity(ids.len());
    for id in ids {
        let id = EndpointId::parse("webhook_endpoint_ids", &id)?;
        if !targets.contains(&id) {
            targets.push(id);
        }
    }
    Ok(targets)
}

impl Publication {
    /// An event that tells of nothing but that it arrived.
    pub(crate) fn test(
        organization_id: OrganizationId,
        session: SessionId,
        to: EndpointId,
    ) -> Self {
        let event_type = EventType {
            name: TEST_TYPE.into(),
            trigger_types: vec![SESSION_TRIGGER.into()],
            terminal: false,
            default_subscribed: false,
            trigger_member: None,
            session_member: Some("verification_session_id".into()),
        };
        Self {
            organization_id,
            event_type,
            trigger_type: SESSION_TRIGGER.into(),
            trigger_id: session.to_string(),
            session_id: Some(session),
            contract_version: 1,
            data: Payload::new(r#"{"test":true}"#),
            targets: Some(vec![to]),
            idempotency_key: None,
        }
    }

    /// The plaintext of contract 3.2: one compact JSON object.
    pub fn plaintext(&self, event_id: &EventId) -> Vec<u8> {
        let data = self.data.expose();
        let mut json = String::with_capacity(data.len() + 320);
        json.push_str("{\"data\":");
        json.push_str(data);
        json.push_str(",\"metadata\":{\"contract_version\":");
        json.push_str(&self.contract_version.to_string());
        push_member(&mut json, "event_id", event_id.as_str());
        if let Some(name) = &self.event_type.trigger_member {
            push_member(&mut json, name, &self.trigger_id);
        }
        if let (Some(name), Some(id)) = (&self.event_type.session_member, &self.session_id) {
            push_member(&mut json, name, id.as_str());
        }
        json.push('}');
        push_member(&mut json, "type", &self.event_type.name);
        json.push('}');
        json.into_bytes()
    }

    /// Canonical JSON of all that makes two publishes the same; what an idempotency fingerprint
    /// is taken over. White space and the order of members make no difference; how a number or a
    /// string is written does.
    pub fn canonical(&self) -> String {
        let parts = serde_json::json!([
            &*self.event_type.name,
            &*self.trigger_type,
            self.trigger_id,
            self.session_id,
            self.contract_version,
            self.targets,
        ]);
        let mut json = parts.to_string();
        push_canonical(&mut json, self.data.expose());
        json
    }
}

fn push_member(json: &mut String, name: &str, value: &str) {
    json.push(',');
    json.push_str(&serde_json::Value::from(name).to_string());
    json.push(':');
    json.push_str(&serde_json::Value::from(value).to_string());
}

/// Writes compact, well-formed `json` with the members of every object in the order of their names;
/// answers what follows it.
fn push_canonical<'a>(canonical: &mut String, json: &'a str) -> &'a str {
    let close = match json.as_bytes().first() {
        Some(b'{') => '}',
        Some(b'[') => ']',
        Some(b'"') => {
            let (string, rest) = split_string(json);
            canonical.push_str(string);
            return rest;
        }
        Some(_) | None => {
            let end = json.find([',', '}', ']']).unwrap_or(json.len());
            canonical.push_str(&json[..end]);
            return &json[end..];
        }
    };
    let mut members: Vec<(&str, String)> = Vec::new();
    let mut rest = &json[1..];
    while !rest.starts_with(close) {
        rest = rest.strip_prefix(',').unwrap_or(rest);
        let mut name = "";
        if close == '}' {
            (name, rest) = split_string(rest);
            rest = &rest[1..];
        }
        let mut value = String::new();
        rest = push_canonical(&mut value, rest);
        members.push((name, value));
    }
    if close == '}' {
        members.sort_by_key(|(name, _)| *name);
    }
    canonical.push_str(&json[..1]);
    for (i, (name, value)) in members.iter().enumerate() {
        canonical.push_str(if i > 0 { "," } else { "" });
        canonical.push_str(name);
        canonical.push_str(if close == '}' { ":" } else { "" });
        canonical.push_str(value);
    }
    canonical.push(close);
    &rest[1..]
}

/// The string that `json` begins with, quotes included, and what follows it.
fn split_string(json: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|symbol| {
        let closes = symbol == b'"' && !escaped;
        escaped = symbol == b'\\' && !escaped;
        closes
    });
    json.split_at(end.map_or(json.len(), |end| end + 2))
}

/// Drops the white space between the tokens of well-formed JSON; members keep their order and
/// numbers their form. Answers how deep it is nested, too.
fn compact(json: &str) -> (String, usize) {
    let mut compacted = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    let (mut depth, mut deepest) = (0usize, 0);
    // What is not copied yet begins here: most payloads have no white space at all.
    let mut kept_from = 0;
    for (at, symbol) in json.bytes().enumerate() {
        if in_string {
            in_string = escaped || symbol != b'"';
            escaped = !escaped && symbol == b'\\';
        } else {
            match symbol {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    compacted.push_str(&json[kept_from..at]);
                    kept_from = at + 1;
                }
                b'{' | b'[' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                b'"' => in_string = true,
                _ => {}
            }
        }
    }
    compacted.push_str(&json[kept_from..]);
    (compacted, deepest)
}

/// Whether the escapes of well-formed JSON name surrogates in pairs only: strict parsers, a receiver's
/// maybe, refuse half of one.
fn is_unicode(json: &str) -> bool {
    let (mut rest, mut after_high) = (json, false);
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at + 1..];
        let hex = escape.strip_prefix('u').and_then(|hex| hex.get(..4));
        let unit = hex.and_then(|hex| u16::from_str_radix(hex, 16).ok()).unwrap_or_default();
        let pairs = after_high && at == 0;
        if pairs != matches!(unit, 0xDC00..=0xDFFF) || after_high != pairs {
            return false;
        }
        after_high = matches!(unit, 0xD800..=0xDBFF);
        rest = &escape[1 + hex.map_or(0, str::len)..];
    }
    !after_high
}

/// An event as it is stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its id, the same in every delivery.
    pub id: EventId,
    /// The tenant.
    pub organization_id: OrganizationId,
    /// Its type's name.
    pub event_type: Arc<str>,
    /// What triggered it.
    pub trigger_type: Arc<str>,
    /// The id of the trigger.
    pub trigger_id: String,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// An event with its deliveries, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventWithDeliveries {
    /// The event.
    pub event: Event,
    /// One delivery an endpoint that subscribed when it was accepted.
    pub deliveries: Vec<Delivery>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(event_type: &str, trigger_type: &str, data: &str) -> PublishFields {
        PublishFields {
            organization_id: "6f9619ff-8b86-d011-b42d-00cf4fc964ff".into(),
            event_type: event_type.into(),
            trigger_type: trigger_type.into(),
            trigger_id: "vs_1".into(),
            data: RawValue::from_string(data.into()).expect("JSON"),
            verification_session_id: None,
            contract_version: None,
            webhook_endpoint_ids: None,
            idempotency_key: None,
        }
    }

    fn session_event(data: &str) -> Publication {
        fields("verification.session.expired", "verification_session", data)
            .judge(&Catalogue::default())
            .expect("a valid publish")
    }

    fn field_at_fault(fields: PublishFields) -> String {
        match fields.judge(&Catalogue::default()) {
            Err(Error::Invalid { field, .. }) => field,
            other => panic!("expected a field at fault: {other:?}"),
        }
    }

    #[test]
    fn the_plaintext_is_the_frame_of_the_contract() {
        let event_id = EventId::from_row("evt_1");
        let plaintext =
            session_event(" { \"b\" : [1.0, \"x \\\" y\"] , \"a\":null } ").plaintext(&event_id);
        assert_eq!(
            String::from_utf8(plaintext).expect("UTF-8"),
            r#"{"data":{"b":[1.0,"x \" y"],"a":null},"metadata":{"contract_version":1,"event_id":"evt_1","verification_session_id":"vs_1"},"type":"verification.session.expired"}"#
        );
    }

    #[test]
    fn the_older_generation_names_its_attempt() {
        let mut publish = fields("verification.attempt.failed", "verification_attempt", "{}");
        publish.trigger_id = "va_7".into();
        publish.verification_session_id = Some("vs_7".into());
        let publication = publish.judge(&Catalogue::default()).expect("a valid publish");
        assert_eq!(
            String::from_utf8(publication.plaintext(&EventId::from_row("evt_7"))).expect("UTF-8"),
            r#"{"data":{},"metadata":{"contract_version":1,"event_id":"evt_7","verification_attempt_id":"va_7","verification_session_id":"vs_7"},"type":"verification.attempt.failed"}"#
        );
    }

    #[test]
    fn bad_fields_are_named() {
        let good = || fields("verification.session.expired", "verification_session", "{}");
        assert_eq!(
            field_at_fault(PublishFields { organization_id: "acme".into(), ..good() }),
            "organization_id"
        );
        assert_eq!(field_at_fault(PublishFields { event_type: "nope".into(), ..good() }), "type");
        assert_eq!(
            field_at_fault(PublishFields { trigger_type: "nope".into(), ..good() }),
            "trigger_type"
        );
        assert_eq!(
            field_at_fault(PublishFields { trigger_id: String::new(), ..good() }),
            "trigger_id"
        );
        assert_eq!(
            field_at_fault(fields("verification.session.expired", "verification_session", "[]")),
            "data"
        );
        assert_eq!(
            field_at_fault(fields("verification.attempt.failed", "verification_attempt", "{}")),
            "verification_session_id"
        );
        assert_eq!(
            field_at_fault(PublishFields { webhook_endpoint_ids: Some(vec![]), ..good() }),
            "webhook_endpoint_ids"
        );
        assert_eq!(
            field_at_fault(PublishFields { idempotency_key: Some("k".repeat(256)), ..good() }),
            "idempotency_key"
        );
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(DATA_BYTES));
        assert!(matches!(
            fields("verification.session.expired", "verification_session", &large)
                .judge(&Catalogue::default()),
            Err(Error::TooLarge { field: "data", .. })
        ));
    }

    #[test]
    fn half_of_a_surrogate_pair_is_refused() {
        for half in [
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00"}"#,
            r#"{"a":"\uD83D \uDE00"}"#,
            r#"{"a":"\ud83d\n\ude00"}"#,
            r#"{"a":"\ud800\ud83d\ude00"}"#,
            r#"{"a":"\ude00\ud83d"}"#,
            r#"{"a":["\ud83d","\ude00"]}"#,
            r#"{"\ud800":1}"#,
        ] {
            let publish = fields("verification.session.expired", "verification_session", half);
            assert_eq!(field_at_fault(publish), "data", "{half}");
        }
        for whole in [
            r#"{"a":"\uD83D\ude00"}"#,
            r#"{"a":"\\ud800"}"#,
            r#"{"a":"\ud83d\ude00\ud83d\ude00\u0041\n"}"#,
            r#"{"a":"\ud7ff\ue000"}"#,
            "{\"a\":\"\u{1F600}\"}",
        ] {
            assert_eq!(session_event(whole).data.expose(), whole);
        }
    }

    #[test]
    fn canonical_form_ignores_white_space_and_order_but_not_values() {
        let canonical = |data: &str| session_event(data).canonical();
        assert_eq!(
            canonical(r#"{"a":1,"b":{"d":2,"c":[3]}}"#),
            canonical(r#"{ "b":{"c":[3],"d":2}, "a":1 }"#)
        );
        assert_ne!(canonical(r#"{"a":1}"#), canonical(r#"{"a":2}"#));
        assert_ne!(canonical(r#"{"a":"1"}"#), canonical(r#"{"a":1}"#));
        assert_ne!(
            canonical(r#"{"a":100000000000000000001}"#),
            canonical(r#"{"a":100000000000000000002}"#)
        );
        assert_ne!(canonical(r#"{"a":1,"a":2}"#), canonical(r#"{"a":2}"#));
        assert_eq!(canonical(r#"{"b":"}\\","a":"x\"y"}"#), canonical(r#"{"a":"x\"y","b":"}\\"}"#));
        // What a JSON tree could not hold has a canonical form all the same.
        for odd in [r#"{"a":1e999}"#, "{}", r#"{"a":[]}"#, r#"{"a":[[],{}]}"#] {
            assert!(canonical(odd).ends_with(odd), "{odd}");
        }
    }

    #[test]
    fn the_second_generation_is_subscribed_by_default() {
        let catalogue = Catalogue::default();
        let subscribed = catalogue.default_subscription();
        assert_eq!(subscribed.len(), 4);
        assert!(subscribed.iter().all(|name| name.starts_with("verification.session.")));
        assert!(catalogue.get("verification.attempt.succeeded").is_some());
        assert!(catalogue.subscription("subscribed_event_types", &["nope".into()]).is_err());
    }
}
