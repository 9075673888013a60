//! Request bodies: bounded in size and time, JSON, with every fault named by its field and never
//! by its value, since a value may be a payload or a private key.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use hookseal_core::access::Caller;
use hookseal_core::commons::{Commons, Portion};
use hookseal_core::error::Error;
use hookseal_core::id::OrganizationId;
use hookseal_core::limits::BATCH_EVENTS;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Api;
use super::envelope::{ApiError, Fault};
use super::unambiguous::Unambiguous;

/// How long a body may take to arrive, in all …
const ARRIVES_WITHIN: Duration = Duration::from_secs(15);
/// … and how long nothing of it may come.
const GOES_ON_WITHIN: Duration = Duration::from_secs(5);

/// A body of at most `LIMIT` bytes and its sender. A stranger's is not read.
pub(super) struct Body<const LIMIT: usize> {
    /// Who sent it.
    pub(super) caller: Caller,
    bytes: Bytes,
    is_json: bool,
    _held: Option<Portion>,
}

impl<const LIMIT: usize> FromRequest for Body<LIMIT> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is_json(request);
        let announced = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            if announced.is_some_and(|length| length > LIMIT) {
                return Err(ApiError::too_large(LIMIT));
            }
            let api = Api::of(&request);
            let caller = api.caller(&request).await?;
            let reading = read::<LIMIT>(payload, &api.bodies, caller.organization());
            let read = tokio::time::timeout(ARRIVES_WITHIN, reading).await;
            let (bytes, _held) = read.map_err(|_| Fault::SlowBody)??;
            Ok(Self { caller, bytes, is_json, _held })
        })
    }
}

/// Reads a body, and holds its part of what all bodies may take: as it arrives, so that one that is only announced
/// takes nothing from others.
async fn read<const LIMIT: usize>(
    mut payload: Payload,
    bodies: &Arc<Commons>,
    holder: Option<&OrganizationId>,
) -> Result<(Bytes, Option<Portion>), ApiError> {
    let within =
        |length: usize| if length > LIMIT { Err(ApiError::too_large(LIMIT)) } else { Ok(()) };
    let full = || Error::full("the memory for bodies");
    let Some(first) = next(&mut payload).await? else { return Ok((Bytes::new(), None)) };
    within(first.len())?;
    // Most come whole: nothing is copied, and nothing kept that the connection does not hold anyway.
    let mut seen = payload.next().now_or_never();
    if matches!(seen, Some(None)) {
        return Ok((first, None));
    }
    let mut held = bodies.take(holder, first.len()).ok_or_else(full)?;
    let mut bytes = BytesMut::from(first);
    loop {
        let chunk = match seen.take() {
            Some(chunk) => whole(chunk)?,
            None => next(&mut payload).await?,
        };
        let Some(chunk) = chunk else { break };
        within(bytes.len() + chunk.len())?;
        if !held.grow(chunk.len()) {
            return Err(full().into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.freeze(), Some(held)))
}

/// The next piece of a body, unless it has ended.
async fn next(payload: &mut Payload) -> Result<Option<Bytes>, ApiError> {
    let chunk = tokio::time::timeout(GOES_ON_WITHIN, payload.next()).await;
    whole(chunk.map_err(|_| Fault::SlowBody)?)
}

fn whole(chunk: Option<Result<Bytes, PayloadError>>) -> Result<Option<Bytes>, ApiError> {
    let chunk = chunk.transpose();
    Ok(chunk.map_err(|_| Error::invalid("body", "a whole body"))?)
}

/// `application/json` or `application/*+json`, with any parameters.
fn is_json(request: &HttpRequest) -> bool {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else { return false };
    let Ok(value) = value.to_str() else { return false };
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

impl<const LIMIT: usize> Body<LIMIT> {
    /// The body as a JSON object of type `T`.
    pub(super) fn object<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        self.must_be_json()?;
        Ok(object(&self.bytes)?)
    }

    /// The same where every object, however deep it stands, names each member once.
    pub(super) fn unambiguous_object<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        self.must_be_json()?;
        Ok(unambiguous_object(&self.bytes)?)
    }

    /// The same where no body at all stands for the defaults.
    pub(super) fn object_if_any<T: DeserializeOwned + Default>(&self) -> Result<T, ApiError> {
        if self.bytes.is_empty() { Ok(T::default()) } else { self.object() }
    }

    /// The body as a JSON array of at most `most` items, each still to be read.
    pub(super) fn array(&self, most: usize) -> Result<Vec<Box<RawValue>>, ApiError> {
        self.must_be_json()?;
        let items: AtMost = parse(&self.bytes)?;
        if (1..=most).contains(&items.0.len()) {
            return Ok(items.0);
        }
        Err(Error::invalid("body", format!("an array of 1 to {most} items")).into())
    }

    fn must_be_json(&self) -> Result<(), ApiError> {
        if self.is_json { Ok(()) } else { Err(Fault::NotJson.into()) }
    }
}

/// Items of an array, one more than a batch may have at the most: the rest is passed over unread.
struct AtMost(Vec<Box<RawValue>>);

impl<'de> serde::Deserialize<'de> for AtMost {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> serde::de::Visitor<'de> for Items {
            type Value = AtMost;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> Result<AtMost, A::Error> {
                let mut taken = Vec::new();
                while taken.len() <= BATCH_EVENTS {
                    match items.next_element()? {
                        Some(item) => taken.push(item),
                        None => return Ok(AtMost(taken)),
                    }
                }
                while items.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(AtMost(taken))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

/// A JSON object of type `T`; the error names the field and what was expected of it.
pub(super) fn object<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    match json.iter().find(|symbol| !symbol.is_ascii_whitespace()) {
        // A derived type would take an array, too, member by member.
        Some(b'[') => Err(Error::invalid("body", "an object")),
        Some(_) | None => parse(json),
    }
}

/// The same where every object names each member once.
pub(super) fn unambiguous_object<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    parse::<Unambiguous>(json)?;
    object(json)
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() { fault(&path, &inner.to_string()) } else { malformed() }
    })?;
    deserializer.end().map_err(|_| malformed())?;
    Ok(value)
}

fn malformed() -> Error {
    Error::invalid("body", "well-formed JSON")
}

/// Keeps of serde's message only what tells the rule: the rest repeats what was sent.
fn fault(path: &str, message: &str) -> Error {
    let here = if path == "." { "body" } else { path };
    if let Some(name) = message.strip_prefix("missing field `").and_then(|m| m.split('`').next()) {
        let field = if path == "." { name.to_owned() } else { format!("{path}.{name}") };
        return Error::invalid(field, "a value");
    }
    let expected = message.rsplit_once("expected ").map_or("another value", |(_, rule)| rule);
    let expected = expected.split(" at line ").next().unwrap_or(expected);
    let expected = match expected {
        "a sequence" => "an array",
        "a map" => "an object",
        "i64" | "u32" => "an integer",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    Error::invalid(here, expected)
}

/// A member that may be absent but not null.
pub(super) fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A whole number; written with a fraction of zero it is one, too (JSON Schema has it so).
pub(super) struct Whole(i64);

impl From<Whole> for i64 {
    fn from(Whole(number): Whole) -> Self {
        number
    }
}

impl<'de> serde::Deserialize<'de> for Whole {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl serde::de::Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an integer")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Whole, E> {
                // Beyond every bound, and refused for that.
                Ok(Whole(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Whole, E> {
                if number.fract() == 0.0 && number.abs() < 1e15 {
                    Ok(Whole(number as i64))
                } else {
                    Err(E::invalid_type(serde::de::Unexpected::Float(number), &self))
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A member that tells null from absent: `None` when absent, `Some(None)` when null.
pub(super) fn nullable<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arriving(chunks: Vec<Bytes>) -> Payload {
        let chunks = futures_util::stream::iter(chunks.into_iter().map(Ok));
        Payload::Stream { payload: Box::pin(chunks) }
    }

    #[tokio::test]
    async fn a_body_that_comes_whole_is_not_copied_and_takes_nothing() {
        let bodies = Commons::new(0, 0);
        let sent = Bytes::from_static(b"{}");
        let came = read::<2>(arriving(vec![sent.clone()]), &bodies, None).await;
        let (bytes, held) = came.expect("it fits");
        assert!(held.is_none());
        assert_eq!((bytes.as_ptr(), bytes.len()), (sent.as_ptr(), 2));
        let none = read::<2>(arriving(Vec::new()), &bodies, None).await.expect("empty");
        assert!(none.0.is_empty() && none.1.is_none());
    }

    #[tokio::test]
    async fn bodies_in_pieces_share_what_there_is_and_an_organization_has_a_part() {
        let bodies = Commons::new(8, 5);
        let own = OrganizationId::from_row("a");
        let pieces = |sizes: &[usize]| {
            arriving(sizes.iter().map(|size| Bytes::from(vec![b'x'; *size])).collect())
        };
        let arrive = async |sizes: &[usize], holder| {
            let read = read::<6>(pieces(sizes), &bodies, holder).await;
            read.map_err(|error| error.to_string())
        };
        let full = Err("The memory for bodies is unavailable.".to_owned());
        let (bytes, held) = arrive(&[2, 2, 1], Some(&own)).await.expect("as much as one may have");
        assert_eq!((bytes.len(), bodies.left()), (5, 3));
        assert_eq!(arrive(&[1, 1], Some(&own)).await.map(drop), full, "no more of this one");
        assert_eq!(arrive(&[2, 2], None).await.map(drop), full, "no more than there is");
        assert_eq!(bodies.left(), 3, "what was refused holds nothing");
        drop(held);
        assert_eq!(bodies.left(), 8);
        let large = arrive(&[4, 3], None).await.map(drop);
        assert_eq!(large, Err("body: expected at most 6 bytes.".to_owned()));
    }

    #[derive(serde::Deserialize)]
    #[allow(dead_code, reason = "only its parsing is tested")]
    struct Sample {
        url: String,
        #[serde(default)]
        labels: Vec<String>,
        #[serde(default, deserialize_with = "present")]
        enabled: Option<bool>,
        #[serde(default, deserialize_with = "nullable")]
        size: Option<Option<Whole>>,
    }

    #[test]
    fn a_whole_number_may_have_a_fraction_of_zero() {
        for (json, size) in [("7", 7), ("7.0", 7), ("7e1", 70), ("-1", -1)] {
            let sample = object::<Sample>(format!(r#"{{"url":"u","size":{json}}}"#).as_bytes());
            let size_read = sample.expect(json).size.flatten().map(i64::from);
            assert_eq!(size_read, Some(size), "{json}");
        }
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn faults_name_the_field_and_the_rule_but_never_the_value() {
        for (json, message) in [
            (r#"{"url":"u","labels":["a",7]}"#,      "labels[1]: expected a string"),
            (r#"{"url":"u","enabled":"s3cret"}"#,    "enabled: expected a boolean"),
            (r#"{"url":"u","enabled":null}"#,        "enabled: expected a boolean"),
            (r#"["u",[],null]"#,                     "body: expected an object"),
            (r#"{"url":{"a":1}}"#,                   "url: expected a string"),
            (r#"{}"#,                                "url: expected a value"),
            (r#"[]"#,                                "body: expected an object"),
            (r#""s3cret, expected more""#,           "body: expected an object"),
            (r#"{"url":"u""#,                        "body: expected well-formed JSON"),
            (r#"{"url":"u","size":7.5}"#,            "size: expected an integer"),
            (r#"{"url":"u","size":"7"}"#,            "size: expected an integer"),
            (r#"{"url":"u"} x"#,                     "body: expected well-formed JSON"),
            ("",                                     "body: expected well-formed JSON"),
        ] {
            let error = object::<Sample>(json.as_bytes()).err().expect(json);
            assert_eq!(error.to_string(), message, "{json}");
        }
    }
}
