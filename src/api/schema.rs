//! Schemas of what is the same in many bodies: instants, words, ids.

use std::borrow::Cow;

use hookseal_core::access::Scope;
use hookseal_core::audit::Action;
use hookseal_core::delivery::{FailureReason as Failure, Status};
use hookseal_core::limits::{
    GRACE_PERIOD_MAX, ID_CHARS, LABEL_CHARS, LABELS, NAME_CHARS, RATE_MAX, SUBSCRIPTIONS, TARGETS,
    TRIES, URL_CHARS, WINDOW_MAX,
};
use hookseal_core::outcome::ErrorKind as Fault;
use hookseal_core::privacy::{SessionOutcome as Outcome, WithdrawalState};
use hookseal_core::retention::{RetentionHours, RetentionReason};
use hookseal_core::shard::Standing;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// Where the names of the catalogue stand in the document.
pub(super) const EVENT_TYPE_NAME: &str = "EventTypeName";

/// Where its trigger types stand.
pub(super) const TRIGGER_TYPE: &str = "TriggerType";

macro_rules! schemas {
    ($($(#[$doc:meta])* $name:ident => $schema:expr),+ $(,)?) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                Schema::try_from($schema).expect("an object")
            }
        }
    )+};
}

fn one_of<const N: usize>(words: [&'static str; N]) -> Value {
    json!({ "type": "string", "enum": words.as_slice() })
}

schemas! {
    /// An instant.
    DateTime => json!({ "type": "string", "format": "date-time" }),
    /// An id of ours.
    Id => json!({ "type": "string", "minLength": 1, "maxLength": ID_CHARS, "pattern": "^[A-Za-z0-9_-]+$" }),
    /// A UUID.
    Uuid => json!({ "type": "string", "format": "uuid" }),
    /// A name for people.
    Name => json!({ "type": "string", "minLength": 1, "maxLength": NAME_CHARS }),
    /// Where to send.
    Url => json!({
        "type": "string", "maxLength": URL_CHARS,
        "description": "A public https address without user information or fragment.",
        "examples": ["https://example.com/webhooks"],
    }),
    /// Labels for people.
    Labels => json!({
        "type": "array", "maxItems": LABELS,
        "items": { "type": "string", "minLength": 1, "maxLength": LABEL_CHARS },
        "description": "Unique, ignoring case.",
    }),
    /// Subscribed event types.
    Subscription => json!({
        "type": "array", "maxItems": SUBSCRIPTIONS,
        "items": { "$ref": format!("#/components/schemas/{EVENT_TYPE_NAME}") },
        "description": "Types that the endpoint wants; the second generation when left out.",
    }),
    /// A name of the catalogue.
    TypeName => json!({ "$ref": format!("#/components/schemas/{EVENT_TYPE_NAME}") }),
    /// Hours that an undelivered payload is kept.
    Retention => json!({
        "type": "integer", "enum": RetentionHours::CHOICES,
        "description": "Hours that an undelivered payload is kept after the final failure.",
    }),
    /// A window.
    Window => json!({
        "type": ["integer", "null"], "minimum": 1, "maximum": WINDOW_MAX,
        "description": "Attempts in flight at once; null for the default.",
    }),
    /// A rate.
    Rate => json!({
        "type": ["integer", "null"], "minimum": 1, "maximum": RATE_MAX,
        "description": "Attempts started per second; null for no limit.",
    }),
    /// How long a replaced secret signs.
    GracePeriod => json!({
        "type": "integer", "minimum": 0, "maximum": GRACE_PERIOD_MAX.as_secs(),
        "description": "Seconds that the secret before goes on signing beside the new one; 0 when left out.",
    }),
    /// Where a delivery stands.
    StatusWord => one_of(Status::ALL.map(Status::as_str)),
    /// Why a payload is kept or gone.
    RetentionWord => one_of(RetentionReason::ALL.map(RetentionReason::as_str)),
    /// Why a delivery failed.
    FailureWord => one_of(Failure::ALL.map(Failure::as_str)),
    /// Why an attempt got no answer.
    FaultWord => one_of(Fault::ALL.map(Fault::as_str)),
    /// What triggers an event.
    TriggerWord => json!({ "$ref": format!("#/components/schemas/{TRIGGER_TYPE}") }),
    /// How a session stands.
    OutcomeWord => one_of(Outcome::ALL.map(Outcome::as_str)),
    /// How far a withdrawal is.
    StateWord => one_of(WithdrawalState::ALL.map(WithdrawalState::as_str)),
    /// How a node of the cluster stands.
    StandingWord => one_of(Standing::ALL.map(Standing::as_str)),
    /// Failed checks.
    Tries => json!({ "type": "integer", "minimum": 0, "maximum": TRIES }),
    /// Scopes of an API key.
    Scopes => json!({
        "type": "array", "items": one_of(Scope::ALL.map(Scope::as_str)),
    }),
    /// Scopes that an API key is given.
    NewScopes => json!({
        "type": "array", "minItems": 1, "items": one_of(Scope::ALL.map(Scope::as_str)),
    }),
    /// What an owner remembers with an API key.
    Metadata => json!({
        "type": "object", "maxProperties": 20,
        "propertyNames": { "pattern": "^[A-Za-z0-9_.:-]{1,64}$" },
        "additionalProperties": {
            "anyOf": [
                { "type": "string", "maxLength": 512 }, { "type": "number" }, { "type": "boolean" },
            ],
        },
    }),
    /// What was done.
    ActionWord => json!({
        "type": "string",
        "enum": Action::ALL.iter().map(|action| action.as_str()).collect::<Vec<_>>(),
    }),
    /// Who did it.
    ActorWord => one_of(["user", "api_key", "system"]),
    /// The payload of an event.
    Data => json!({
        "type": "object",
        "description": "At most 256 KiB of JSON, sealed for each receiver and never stored.",
    }),
    /// Endpoints that an event is for.
    Targets => json!({
        "type": "array", "minItems": 1, "maxItems": TARGETS,
        "items": { "type": "string", "minLength": 1, "maxLength": ID_CHARS, "pattern": "^[A-Za-z0-9_-]+$" },
        "description": "Only these endpoints, which must be enabled; all that subscribe when left out.",
    }),
    /// Ids of endpoints.
    Ids => json!({
        "type": "array", "minItems": 1, "maxItems": TARGETS,
        "items": { "type": "string", "minLength": 1, "maxLength": ID_CHARS, "pattern": "^[A-Za-z0-9_-]+$" },
    }),
    /// What else an audit entry tells.
    Details => json!({ "type": "object" }),
    /// An RSA public key as it is kept.
    StoredJwk => json!({
        "type": "object",
        "required": ["alg", "e", "key_ops", "kty", "n"],
        "properties": {
            "alg": { "const": "RSA-OAEP-256" }, "e": { "type": "string" },
            "key_ops": { "type": "array", "items": { "const": "encrypt" } },
            "kty": { "const": "RSA" }, "n": { "type": "string" },
        },
    }),
    /// An RSA public key as it is registered.
    NewJwk => json!({
        "type": "object",
        "required": ["kty", "n", "e"],
        "properties": {
            "kty": { "const": "RSA" },
            "n": { "type": "string", "minLength": 1, "maxLength": 8192 },
            "e": { "type": "string", "minLength": 1, "maxLength": 64 },
            "alg": { "const": "RSA-OAEP-256" }, "use": { "const": "enc" },
            "key_ops": { "type": "array", "maxItems": 8, "items": { "type": "string", "maxLength": 64 } },
        },
        "description": "A public RSA key of 2048 to 4096 bits, e = 65537 or a larger odd number, without private members.",
    }),
    /// `success`.
    Success => json!({ "const": "success" }),
}
