//! The requests that are published, as bytes with gaps for what has to be fresh.

use serde_json::{Value, json};

use super::layout::Audience;
use super::load::Load;
use super::payload;
use super::stage::Organization;

/// Stands where a session's id comes: as long as one.
const GAP: &str = "vs_bench________________";
/// Digits of a session's id.
const DIGITS: usize = 16;
/// Most requests of several events that are prepared.
const BATCHES: usize = 64;

/// One request, over and over with other sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    bytes: Vec<u8>,
    /// Where the digits of sessions' ids begin.
    gaps: Vec<usize>,
    /// How often each session's id comes.
    gaps_a_session: usize,
}

impl Request {
    fn new(path: &str, host: &str, key: &str, body: &str) -> Self {
        let bytes = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let digits = GAP.len() - DIGITS;
        let gaps = bytes.match_indices(GAP).map(|(at, _)| at + digits).collect();
        Self { bytes: bytes.into_bytes(), gaps, gaps_a_session: 1 }
    }

    /// How many events it publishes.
    pub(super) fn events(&self) -> usize {
        self.gaps.len() / self.gaps_a_session.max(1)
    }

    /// Writes it to `buffer`, its sessions numbered from `first`.
    pub(super) fn write(&self, buffer: &mut Vec<u8>, first: u64) {
        buffer.clear();
        buffer.extend(&self.bytes);
        for (number, gap) in self.gaps.iter().enumerate() {
            let mut rest = first + (number / self.gaps_a_session) as u64;
            for digit in buffer[*gap..gap + DIGITS].iter_mut().rev() {
                *digit = b"0123456789abcdef"[(rest % 16) as usize];
                rest /= 16;
            }
        }
    }
}

/// The requests of a load, which goes to all endpoints of `organizations` in turn.
pub(super) fn requests(
    load: Load,
    audience: Audience,
    organizations: &[Organization],
    (host, key): (&str, &str),
    payload: usize,
) -> Vec<Request> {
    let data = payload::data(payload);
    let event = |organization: &Organization, only: Option<&str>| {
        let data: Value = serde_json::from_str(&data).unwrap_or_default();
        let mut event = json!({
            "organization_id": organization.id, "type": super::EVENT_TYPE,
            "trigger_type": super::TRIGGER_TYPE, "trigger_id": GAP, "data": data,
        });
        if let Some(endpoint) = only {
            event["webhook_endpoint_ids"] = json!([endpoint]);
        }
        event
    };
    let events: Vec<Value> = match audience {
        Audience::Organization => organizations.iter().map(|of| event(of, None)).collect(),
        Audience::Endpoint => {
            // Neighbours in the turn belong to different organizations.
            let most = organizations.iter().map(|of| of.endpoints.len()).max().unwrap_or_default();
            let turns = (0..most).flat_map(|turn| {
                organizations.iter().filter_map(move |of| Some((of, of.endpoints.get(turn)?)))
            });
            turns.map(|(of, endpoint)| event(of, Some(&endpoint.id))).collect()
        }
    };
    let size = match load {
        Load::Closed { events_a_request, .. } => events_a_request,
        Load::Open { .. } | Load::Insistent { .. } => 1,
    };
    let one = |event: &Value| Request::new("/v1/platform/events", host, key, &event.to_string());
    if let Load::Insistent { .. } = load {
        let keyed = events.into_iter().map(|mut event| {
            event["idempotency_key"] = GAP.into();
            Request { gaps_a_session: 2, ..one(&event) }
        });
        return keyed.collect();
    }
    if size == 1 {
        return events.iter().map(one).collect();
    }
    let batch = |number: usize| {
        let batch: Vec<_> =
            events.iter().cycle().skip(number * size % events.len()).take(size).collect();
        Request::new("/v1/platform/events/batch", host, key, &json!(batch).to_string())
    };
    (0..events.len().div_ceil(size).min(BATCHES)).map(batch).collect()
}

#[cfg(test)]
mod tests {
    use super::super::stage::Endpoint;
    use super::*;

    fn organizations() -> Vec<Organization> {
        let endpoint =
            |id: &str| Endpoint { id: id.to_owned(), secret: String::new(), fickle: false };
        let of = |id: &str, endpoints: &[&str]| Organization {
            id: id.to_owned(),
            endpoints: endpoints.iter().map(|id| endpoint(id)).collect(),
        };
        vec![of("a", &["a1", "a2"]), of("b", &["b1"])]
    }

    fn bodies(load: Load, audience: Audience) -> Vec<Value> {
        let made = requests(load, audience, &organizations(), ("host", "key"), 300);
        let body = |request: &Request| {
            let mut buffer = Vec::new();
            request.write(&mut buffer, 0xabc);
            let text = String::from_utf8(buffer).expect("text");
            serde_json::from_str(text.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
        };
        made.iter().map(body).collect()
    }

    #[test]
    fn endpoints_take_turns_across_organizations() {
        let bodies = bodies(
            Load::Open { connections: 1, rate: super::super::load::Rate::Fixed(1.0) },
            Audience::Endpoint,
        );
        let ids: Vec<_> = bodies.iter().map(|body| &body["webhook_endpoint_ids"][0]).collect();
        assert_eq!(ids, ["a1", "b1", "a2"]);
        assert_eq!(bodies[0]["trigger_id"], "vs_bench0000000000000abc");
    }

    #[test]
    fn an_organization_as_a_whole_is_not_narrowed_down() {
        let load = Load::Closed { connections: 1, events_a_request: 1 };
        let bodies = bodies(load, Audience::Organization);
        assert_eq!(bodies.len(), 2);
        assert!(bodies[0].get("webhook_endpoint_ids").is_none());
    }

    #[test]
    fn what_is_sent_again_carries_its_session_as_a_key() {
        let load = Load::Insistent { connections: 1, rate: 1.0 };
        let made = requests(load, Audience::Endpoint, &organizations(), ("host", "key"), 300);
        assert_eq!(made[0].events(), 1);
        let bodies = bodies(load, Audience::Endpoint);
        assert_eq!(bodies[0]["idempotency_key"], "vs_bench0000000000000abc");
        assert_eq!(bodies[0]["idempotency_key"], bodies[0]["trigger_id"]);
    }

    #[test]
    fn every_event_of_a_batch_has_a_session_of_its_own() {
        let load = Load::Closed { connections: 1, events_a_request: 4 };
        let bodies = bodies(load, Audience::Endpoint);
        let ids = bodies[0].as_array().expect("a batch").iter().map(|event| &event["trigger_id"]);
        let ids: std::collections::HashSet<_> = ids.collect();
        assert_eq!(ids.len(), 4);
    }
}
