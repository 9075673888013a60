//! The words that rows are written in.

use serde_json::{Value, json};

use super::world::World;
use crate::support::daemon::{Answer, Caller, Tenant};

pub const ENDPOINTS: &str = "/v1/webhooks/endpoints";
pub const DELIVERIES: &str = "/v1/webhooks/deliveries";
pub const EVENTS: &str = "/v1/webhooks/events";
/// A target that is well-formed and never resolves.
pub const TARGET: &str = "https://hooks.example.invalid/in";
pub const JSON: (&str, &str) = ("content-type", "application/json");

/// One fact of the contract: what it is, and a check that panics where it is not so.
pub struct Fact<'w> {
    pub name: String,
    pub holds: Box<dyn Fn() + Send + Sync + 'w>,
}

pub fn fact<'w>(name: impl Into<String>, holds: impl Fn() + Send + Sync + 'w) -> Fact<'w> {
    Fact { name: name.into(), holds: Box::new(holds) }
}

/// A request; `{name}` in its path and text stands for an id of the world's shelf.
#[derive(Clone)]
pub struct Ask<'w> {
    caller: Option<&'w Caller>,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

pub fn ask<'w>(method: &str, path: impl Into<String>) -> Ask<'w> {
    Ask {
        caller: None,
        method: method.to_owned(),
        path: path.into(),
        headers: Vec::new(),
        body: String::new(),
    }
}

pub fn get<'w>(path: impl Into<String>) -> Ask<'w> {
    ask("GET", path)
}

pub fn post<'w>(path: impl Into<String>, body: Value) -> Ask<'w> {
    ask("POST", path).text(body.to_string()).with(JSON)
}

pub fn patch<'w>(path: impl Into<String>, body: Value) -> Ask<'w> {
    ask("PATCH", path).text(body.to_string()).with(JSON)
}

impl<'w> Ask<'w> {
    /// Another caller than the one who may do everything to the shelf.
    pub fn by(mut self, caller: &'w Caller) -> Self {
        self.caller = Some(caller);
        self
    }

    pub fn with(mut self, (name, value): (&str, &str)) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn text(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    pub fn send(&self, world: &World) -> Answer {
        let headers: Vec<_> = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let caller = self.caller.unwrap_or(&world.tenant.caller);
        caller.send(&self.method, &world.shelved(&self.path), &headers, &self.body)
    }
}

/// A row that is refused: name, request, status, code, and a word that the message must hold.
pub type Refusal<'w> = (&'w str, Ask<'w>, u16, &'w str, &'w str);

pub fn refusals<'w>(
    world: &'w World,
    rows: impl IntoIterator<Item = Refusal<'w>>,
) -> Vec<Fact<'w>> {
    let row = |(name, request, status, code, word): Refusal<'w>| {
        fact(name, move || refused(&request.send(world), status, code, word))
    };
    rows.into_iter().map(row).collect()
}

/// A row that is granted: name, request, and what stands at a place of the answer.
pub type Grant<'w> = (&'w str, Ask<'w>, &'w str, Value);

pub fn grants<'w>(world: &'w World, rows: impl IntoIterator<Item = Grant<'w>>) -> Vec<Fact<'w>> {
    let row = |(name, request, place, value): Grant<'w>| {
        fact(name, move || shows(&request.send(world), place, &value))
    };
    rows.into_iter().map(row).collect()
}

/// The whole envelope of a refusal.
pub fn refused(answer: &Answer, status: u16, code: &str, word: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    let body = answer.json();
    assert!(body["data"].is_null() && answer.text.starts_with("{\"data\":null,"), "{answer:?}");
    let error = &body["error"];
    assert_eq!(error["code"], code, "{answer:?}");
    let member = |name: &str| error[name].as_str().unwrap_or_default();
    assert!(member("message").contains(word), "the message says {word:?}: {answer:?}");
    assert!(!member("hint").is_empty() && !member("docs").is_empty(), "{answer:?}");
    assert_eq!(error.as_object().map(serde_json::Map::len), Some(4), "{answer:?}");
    if let Some(pagination) = body.get("pagination") {
        let rest = json!({
            "limit": pagination["limit"], "has_more": false, "next_cursor": null,
        });
        assert_eq!(*pagination, rest, "{answer:?}");
    }
}

/// A success with `value` at `place`, a JSON pointer.
pub fn shows(answer: &Answer, place: &str, value: &Value) {
    assert!((200..300).contains(&answer.status), "{answer:?}");
    assert_eq!(answer.json().pointer(place), Some(value), "{place}: {answer:?}");
}

/// Members of an object as they stand in a text, which keeps their order.
pub fn members_in_order(text: &str, names: &[&str]) {
    let mut from = 0;
    for name in names {
        let member = format!("\"{name}\":");
        let found = text[from..].find(&member);
        from += found.unwrap_or_else(|| panic!("{name} is not in its place: {text}"));
        from += member.len();
    }
}

/// Seconds that an ISO text is after another.
pub fn seconds_between(earlier: &Value, later: &Value) -> f64 {
    let at = |value: &Value| {
        let text = value.as_str().unwrap_or_else(|| panic!("not a time: {value}"));
        let instant = hookseal_core::time::Timestamp::parse(text);
        instant.unwrap_or_else(|| panic!("not a time: {text}")).as_ms()
    };
    (at(later) - at(earlier)) as f64 / 1000.0
}

/// `2026-05-05T11:00:00.000Z` and nothing else.
pub fn is_instant(value: &Value) -> bool {
    let shape = |symbol: u8| if symbol.is_ascii_digit() { b'0' } else { symbol };
    let text = value.as_str().unwrap_or_default();
    text.bytes().map(shape).eq(*b"0000-00-00T00:00:00.000Z")
}

/// An id or secret: its prefix and so many of lower-case letters and digits.
pub fn is_minted(value: &Value, prefix: &str, symbols: usize) -> bool {
    let rest = value.as_str().and_then(|text| text.strip_prefix(prefix)).unwrap_or_default();
    rest.len() == symbols
        && rest.bytes().all(|symbol| symbol.is_ascii_lowercase() || symbol.is_ascii_digit())
}

pub fn id(thing: &Value) -> &str {
    thing["id"].as_str().unwrap_or_else(|| panic!("without an id: {thing}"))
}

pub fn ids(list: &Value) -> Vec<String> {
    let items = list.as_array().unwrap_or_else(|| panic!("not a list: {list}"));
    items.iter().map(|item| id(item).to_owned()).collect()
}

/// A new endpoint of `tenant` with `settings` over a target that is never reached.
pub fn endpoint(tenant: &Tenant, mut settings: Value) -> Value {
    if settings.get("url").is_none() {
        settings["url"] = TARGET.into();
    }
    tenant.caller.post(ENDPOINTS, settings).ok()["endpoint"].take()
}

pub fn key_body(key_id: &str, jwk: &Value) -> Value {
    json!({ "key_id": key_id, "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": jwk })
}

/// A new key of an endpoint.
pub fn key(tenant: &Tenant, endpoint: &str, key_id: &str, jwk: &Value) -> Value {
    tenant.caller.post(&format!("{ENDPOINTS}/{endpoint}/keys"), key_body(key_id, jwk)).ok()
}

pub fn change(tenant: &Tenant, endpoint: &str, settings: Value) -> Value {
    tenant.caller.patch(&format!("{ENDPOINTS}/{endpoint}"), settings).ok()
}

/// The one delivery that an event has.
pub fn delivery_of(tenant: &Tenant, event: &Value) -> Value {
    let found = tenant.caller.get(&format!("{DELIVERIES}?event_id={}", id(event))).ok();
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    found[0].clone()
}

pub fn retry(tenant: &Tenant, delivery: &Value) -> Answer {
    tenant.caller.send("POST", &format!("{DELIVERIES}/{}/retry", id(delivery)), &[], "")
}

pub fn replay(tenant: &Tenant, event: &Value) -> Answer {
    tenant.caller.send("POST", &format!("{EVENTS}/{}/replay", id(event)), &[], "")
}
