//! Identifiers: their prefixes, alphabet and lengths, how they are parsed and how they are minted.
//!
//! Event, delivery and attempt ids lead with time, so that every index grows at its right edge and
//! id order is creation order; what follows is secure random, so that nobody guesses one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::Error;
use crate::limits::ID_CHARS;
use crate::ports::Entropy;
use crate::time::Timestamp;

/// The 36 symbols that ids and secrets are made of, in the order of their value.
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Base-36 digits of the leading millisecond timestamp: enough until the year 5188.
const TIME_DIGITS: usize = 9;
/// Base-36 digits of the counter that orders ids of one millisecond.
const COUNTER_DIGITS: usize = 4;
const COUNTER_RANGE: u32 = 36u32.pow(COUNTER_DIGITS as u32);
/// Symbols after the prefix of ids that clients list often.
const SHORT: usize = 32;
/// Symbols after the prefix of ids that lead with time.
const LONG: usize = 64;

const _: () = assert!(TIME_DIGITS + COUNTER_DIGITS + 25 <= LONG, "at least 128 random bits");

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes an id as it came in a path, query or body: 1 to 128 of `A-Z a-z 0-9 _ -`.
            /// The prefix is not judged, since an id of another kind is simply not found.
            pub fn parse(field: &'static str, text: &str) -> Result<Self, Error> {
                if well_formed(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(Error::invalid(field, "1 to 128 of the characters A-Z a-z 0-9 _ -"))
                }
            }

            /// Takes an id that a row carries.
            pub fn from_row(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                serde::Deserialize::deserialize(deserializer).map(Self)
            }
        }
    )+};
}

ids! {
    /// An organization, a UUID: the tenant that everything else belongs to.
    OrganizationId,
    /// The record of an API key, a UUID; the key itself is never stored.
    ApiKeyId,
    /// `whe_…`: a webhook endpoint.
    EndpointId,
    /// `whk_…`: the record of an encryption key, not the `key_id` that its owner chose.
    KeyId,
    /// `evt_…`: an event.
    EventId,
    /// `whd_…`: a delivery.
    DeliveryId,
    /// `wha_…`: one attempt of a delivery.
    AttemptId,
    /// `aud_…`: one entry of the audit log.
    AuditId,
    /// `prv_…`: a privacy request.
    PrivacyRequestId,
    /// `vs_…`: the verification session that an event tells of; chosen by the platform.
    SessionId,
}

fn well_formed(text: &str) -> bool {
    (1..=ID_CHARS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl OrganizationId {
    /// Takes a UUID in its hyphenated form, as a body gives it; stored in lower case.
    pub fn parse_uuid(field: &'static str, text: &str) -> Result<Self, Error> {
        match uuid::Uuid::try_parse(text) {
            Ok(id) if text.len() == 36 => Ok(Self(id.to_string().into())),
            Ok(_) | Err(_) => Err(Error::invalid(field, "a UUID in its hyphenated form")),
        }
    }
}

/// Makes new ids and secrets from injected randomness.
pub struct Minter {
    entropy: Arc<dyn Entropy>,
    counter: AtomicU32,
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").finish_non_exhaustive()
    }
}

impl Minter {
    /// A minter over `entropy`.
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, counter: AtomicU32::new(0) }
    }

    /// A new `evt_` id of something created at `at`.
    pub fn event(&self, at: Timestamp) -> EventId {
        EventId(self.leading_with_time("evt_", at))
    }

    /// A new `whd_` id of something created at `at`.
    pub fn delivery(&self, at: Timestamp) -> DeliveryId {
        DeliveryId(self.leading_with_time("whd_", at))
    }

    /// A new `wha_` id of something recorded at `at`.
    pub fn attempt(&self, at: Timestamp) -> AttemptId {
        AttemptId(self.leading_with_time("wha_", at))
    }

    /// A new `aud_` id of something done at `at`.
    pub fn audit(&self, at: Timestamp) -> AuditId {
        AuditId(self.leading_with_time("aud_", at))
    }

    /// A new `prv_` id of a withdrawal at `at`.
    pub fn privacy_request(&self, at: Timestamp) -> PrivacyRequestId {
        PrivacyRequestId(self.leading_with_time("prv_", at))
    }

    /// A new `vs_` id, of a session that there is not: what a test event tells of.
    pub fn test_session(&self, at: Timestamp) -> SessionId {
        SessionId(self.leading_with_time("vs_", at))
    }

    /// A new `whe_` id.
    pub fn endpoint(&self) -> EndpointId {
        EndpointId(self.random("whe_").into())
    }

    /// A new `whk_` id.
    pub fn key(&self) -> KeyId {
        KeyId(self.random("whk_").into())
    }

    /// A new organization id.
    pub fn organization(&self) -> OrganizationId {
        OrganizationId(self.uuid().into())
    }

    /// A new API key record id.
    pub fn api_key_id(&self) -> ApiKeyId {
        ApiKeyId(self.uuid().into())
    }

    /// A new endpoint signing secret: `whsec_` and 32 symbols, 38 characters in all.
    pub fn signing_secret(&self) -> String {
        self.random("whsec_")
    }

    /// A new API key: `kk_` and 32 symbols, 35 characters in all.
    pub fn api_key(&self) -> String {
        self.random("kk_")
    }

    fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    fn random(&self, prefix: &str) -> String {
        let mut id = String::with_capacity(prefix.len() + SHORT);
        id.push_str(prefix);
        self.append_random(&mut id, SHORT);
        id
    }

    fn leading_with_time(&self, prefix: &str, at: Timestamp) -> Arc<str> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) % COUNTER_RANGE;
        let mut id = String::with_capacity(prefix.len() + LONG);
        id.push_str(prefix);
        append_digits(&mut id, at.as_ms().unsigned_abs(), TIME_DIGITS);
        append_digits(&mut id, u64::from(counter), COUNTER_DIGITS);
        self.append_random(&mut id, LONG - TIME_DIGITS - COUNTER_DIGITS);
        id.into()
    }

    fn append_random(&self, id: &mut String, mut wanted: usize) {
        let mut bytes = [0u8; LONG];
        while wanted > 0 {
            let drawn = &mut bytes[..wanted];
            self.entropy.fill(drawn);
            // 252 is the largest multiple of 36 in a byte: beyond it the remainder would be biased.
            for &mut byte in drawn {
                if byte < 252 {
                    id.push(char::from(ALPHABET[usize::from(byte % 36)]));
                    wanted -= 1;
                }
            }
        }
    }
}

fn append_digits(id: &mut String, mut value: u64, digits: usize) {
    let mut buffer = [b'0'; TIME_DIGITS];
    for slot in buffer[..digits].iter_mut().rev() {
        *slot = ALPHABET[(value % 36) as usize];
        value /= 36;
    }
    id.extend(buffer[..digits].iter().map(|&b| char::from(b)));
}

/// The earliest id of any kind that leads with time and `prefix` could have at `at`: what to
/// compare with for a range of time.
pub fn floor_id(prefix: &str, at: Timestamp) -> String {
    let mut id = String::from(prefix);
    // A time beyond what the digits hold is later than every id, and one before the epoch earlier.
    let at_ms = at.as_ms().clamp(0, 36i64.pow(TIME_DIGITS as u32) - 1);
    append_digits(&mut id, at_ms.unsigned_abs(), TIME_DIGITS);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededEntropy;

    const AT: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    fn minter() -> Minter {
        Minter::new(SeededEntropy::new(7))
    }

    #[test]
    fn lengths_prefixes_and_alphabet_follow_the_contract() {
        let mint = minter();
        for (id, prefix, length) in [
            (mint.endpoint().to_string(), "whe_", 36),
            (mint.key().to_string(), "whk_", 36),
            (mint.event(AT).to_string(), "evt_", 68),
            (mint.delivery(AT).to_string(), "whd_", 68),
            (mint.attempt(AT).to_string(), "wha_", 68),
            (mint.signing_secret(), "whsec_", 38),
            (mint.api_key(), "kk_", 35),
        ] {
            assert!(id.starts_with(prefix), "{id}");
            assert_eq!(id.len(), length, "{id}");
            assert!(id[prefix.len()..].bytes().all(|b| ALPHABET.contains(&b)), "{id}");
        }
    }

    #[test]
    fn id_order_is_creation_order() {
        let mint = minter();
        let first = mint.event(AT);
        let second = mint.event(AT);
        let later = mint.event(Timestamp::from_ms(AT.as_ms() + 1));
        assert!(first < second && second < later);
        assert!(floor_id("evt_", Timestamp::from_ms(1_700_000_000_001)).as_str() <= later.as_str());
        assert!(floor_id("evt_", Timestamp::from_ms(1_700_000_000_001)).as_str() > second.as_str());
    }

    #[test]
    fn random_symbols_are_unbiased() {
        let mint = minter();
        let mut seen = [0u32; 256];
        for _ in 0..3_000 {
            for symbol in mint.signing_secret()["whsec_".len()..].bytes() {
                seen[usize::from(symbol)] += 1;
            }
        }
        let expected = 3_000.0 * 32.0 / 36.0;
        let chi_squared: f64 = ALPHABET
            .iter()
            .map(|&b| (f64::from(seen[usize::from(b)]) - expected).powi(2) / expected)
            .sum();
        assert!(chi_squared < 80.0, "{chi_squared}");
    }

    #[test]
    #[rustfmt::skip]
    fn received_ids_are_judged_by_shape_only() {
        for (text, taken) in [
            ("whe_abc",           true),
            ("whk_of_other_kind", true),
            ("A-9_z",             true),
            ("",                  false),
            ("has space",         false),
            ("dot.dot",           false),
            ("é",                 false),
        ] {
            assert_eq!(EndpointId::parse("endpoint_id", text).is_ok(), taken, "{text}");
        }
        assert!(EventId::parse("event_id", &"a".repeat(128)).is_ok());
        assert!(EventId::parse("event_id", &"a".repeat(129)).is_err());
    }

    #[test]
    fn organization_ids_are_uuids() {
        assert!(OrganizationId::parse_uuid("id", "6F9619FF-8B86-D011-B42D-00CF4FC964FF").is_ok());
        assert!(OrganizationId::parse_uuid("id", "6f9619ff8b86d011b42d00cf4fc964ff").is_err());
        assert!(OrganizationId::parse_uuid("id", "acme").is_err());
    }
}
