//! An endpoint: its settings, the rules they obey, and which events it subscribes to.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::Catalogue;
use crate::id::{EndpointId, OrganizationId};
use crate::limits::{LABEL_CHARS, LABELS, NAME_CHARS, RATE_MAX, SUBSCRIPTIONS, WINDOW, WINDOW_MAX};
use crate::retention::RetentionHours;
use crate::target::TargetRules;
use crate::time::Timestamp;

/// A place that an organization wants its events delivered to (contract 1.3).
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The tenant.
    pub organization_id: OrganizationId,
    /// A name for people.
    pub name: Option<String>,
    /// Labels for people.
    pub labels: Vec<String>,
    /// Where to send, exactly as received.
    pub url: String,
    /// Whether events are fanned out and delivered to it.
    pub enabled: bool,
    /// Types it wants.
    pub subscribed_event_types: Vec<Arc<str>>,
    /// How long an undelivered payload stays after the final failure.
    pub retention: RetentionHours,
    /// Attempts in flight at once, when not the default.
    pub max_in_flight: Option<u32>,
    /// Attempts started per second at most, when limited.
    pub rate_limit_per_second: Option<u32>,
    /// Until when the signing secret before the current one signs, too; none when there is none.
    #[serde(default)]
    pub previous_secret_until: Option<Timestamp>,
    /// Raised by every change, so that a caller can tell whether it is as he knows it.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was disabled; none while enabled.
    pub disabled_at: Option<Timestamp>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("organization_id", &self.organization_id)
            .field("url", &self.shown_url())
            .field("enabled", &self.enabled)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Where to send, without the query: some carry a secret in it.
    pub fn shown_url(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// Whether it wants events of type `event_type`.
    pub fn subscribes_to(&self, event_type: &str) -> bool {
        self.subscribed_event_types.iter().any(|name| &**name == event_type)
    }

    /// Attempts it lets be in flight at once.
    pub fn window(&self) -> usize {
        self.max_in_flight.map_or(WINDOW, |window| window as usize)
    }
}

/// Settings as a caller gives them: each may be left out.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct EndpointFields {
    /// Target URL.
    pub url: Option<String>,
    /// Name; `Some(None)` clears it.
    pub name: Option<Option<String>>,
    /// Labels.
    pub labels: Option<Vec<String>>,
    /// Whether it is enabled.
    pub enabled: Option<bool>,
    /// Subscribed event types.
    pub subscribed_event_types: Option<Vec<String>>,
    /// One of 0, 24, 72, 168.
    pub undelivered_payload_retention_hours: Option<i64>,
    /// 1 to 1024; `Some(None)` returns to the default.
    pub max_in_flight: Option<Option<i64>>,
    /// 1 to 10,000; `Some(None)` lifts the limit.
    pub rate_limit_per_second: Option<Option<i64>>,
}

/// Settings that passed every rule: applying them cannot fail.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    url: Option<String>,
    name: Option<Option<String>>,
    labels: Option<Vec<String>>,
    enabled: Option<bool>,
    subscribed_event_types: Option<Vec<Arc<str>>>,
    retention: Option<RetentionHours>,
    max_in_flight: Option<Option<u32>>,
    rate_limit_per_second: Option<Option<u32>>,
}

impl EndpointFields {
    /// A new endpoint with these settings and the defaults of contract 2.5.
    pub fn create(
        self,
        id: EndpointId,
        organization_id: OrganizationId,
        rules: &TargetRules,
        catalogue: &Catalogue,
        now: Timestamp,
    ) -> Result<Endpoint> {
        if self.url.is_none() {
            return Err(Error::invalid("url", "a URL"));
        }
        if self.name == Some(None) {
            return Err(Error::invalid("name", name_rule()));
        }
        let endpoint = Endpoint {
            id,
            organization_id,
            name: None,
            labels: Vec::new(),
            url: String::new(),
            enabled: true,
            subscribed_event_types: catalogue.default_subscription(),
            retention: RetentionHours::default(),
            max_in_flight: None,
            rate_limit_per_second: None,
            previous_secret_until: None,
            revision: 0,
            created_at: now,
            updated_at: now,
            disabled_at: None,
        };
        Ok(self.judge(rules, catalogue)?.apply(endpoint, now))
    }

    /// Names of the settings that are given.
    pub fn names(&self) -> Vec<&'static str> {
        let given = [
            ("url", self.url.is_some()),
            ("name", self.name.is_some()),
            ("labels", self.labels.is_some()),
            ("enabled", self.enabled.is_some()),
            ("subscribed_event_types", self.subscribed_event_types.is_some()),
            (
                "undelivered_payload_retention_hours",
                self.undelivered_payload_retention_hours.is_some(),
            ),
            ("max_in_flight", self.max_in_flight.is_some()),
            ("rate_limit_per_second", self.rate_limit_per_second.is_some()),
        ];
        given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }

    /// Judges a change of settings; at least one must be given.
    pub fn change(self, rules: &TargetRules, catalogue: &Catalogue) -> Result<EndpointChange> {
        if self.names().is_empty() {
            return Err(Error::invalid(
                "body",
                "at least one of url, name, labels, enabled, subscribed_event_types, \
                 undelivered_payload_retention_hours, max_in_flight, rate_limit_per_second",
            ));
        }
        self.judge(rules, catalogue)
    }

    fn judge(self, rules: &TargetRules, catalogue: &Catalogue) -> Result<EndpointChange> {
        if let Some(url) = &self.url {
            rules.judge_url(url).map_err(Error::UrlRejected)?;
        }
        let subscription = |names: Vec<String>| {
            const FIELD: &str = "subscribed_event_types";
            if names.len() > SUBSCRIPTIONS {
                return Err(Error::invalid(FIELD, format!("at most {SUBSCRIPTIONS} names")));
            }
            catalogue.subscription(FIELD, &names)
        };
        let retention = |hours| {
            RetentionHours::new(hours).ok_or_else(|| {
                Error::invalid("undelivered_payload_retention_hours", "one of 0, 24, 72, 168")
            })
        };
        Ok(EndpointChange {
            url: self.url,
            name: self.name.map(|name| name.map(judge_name).transpose()).transpose()?,
            labels: self.labels.map(judge_labels).transpose()?,
            enabled: self.enabled,
            subscribed_event_types: self.subscribed_event_types.map(subscription).transpose()?,
            retention: self.undelivered_payload_retention_hours.map(retention).transpose()?,
            max_in_flight: self
                .max_in_flight
                .map(|window| within("max_in_flight", window, WINDOW_MAX as u32))
                .transpose()?,
            rate_limit_per_second: self
                .rate_limit_per_second
                .map(|rate| within("rate_limit_per_second", rate, RATE_MAX))
                .transpose()?,
        })
    }
}

impl EndpointChange {
    /// `endpoint` with these settings, changed at `now`.
    pub fn apply(self, before: Endpoint, now: Timestamp) -> Endpoint {
        let enabled = self.enabled.unwrap_or(before.enabled);
        let disabled_at = match self.enabled {
            // Said again, it moves the time (contract 2.5).
            Some(false) => Some(now),
            Some(true) => None,
            None => before.disabled_at,
        };
        Endpoint {
            url: self.url.unwrap_or(before.url),
            name: self.name.unwrap_or(before.name),
            labels: self.labels.unwrap_or(before.labels),
            enabled,
            subscribed_event_types: self
                .subscribed_event_types
                .unwrap_or(before.subscribed_event_types),
            retention: self.retention.unwrap_or(before.retention),
            max_in_flight: self.max_in_flight.unwrap_or(before.max_in_flight),
            rate_limit_per_second: self
                .rate_limit_per_second
                .unwrap_or(before.rate_limit_per_second),
            revision: before.revision + 1,
            updated_at: now,
            disabled_at,
            ..before
        }
    }
}

fn name_rule() -> String {
    format!("1 to {NAME_CHARS} characters")
}

/// Takes the name of anything: 1 to 120 characters after trimming.
pub fn judge_name(name: String) -> Result<String> {
    let name = name.trim();
    if is_text(name, NAME_CHARS) {
        Ok(name.to_owned())
    } else {
        Err(Error::invalid("name", name_rule()))
    }
}

/// 1 to `most` characters without a control character, which no name needs and some databases
/// refuse.
pub(crate) fn is_text(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn judge_labels(labels: Vec<String>) -> Result<Vec<String>> {
    if labels.len() > LABELS {
        return Err(Error::invalid("labels", format!("at most {LABELS} labels")));
    }
    let mut taken: Vec<String> = Vec::with_capacity(labels.len());
    for (i, label) in labels.iter().enumerate() {
        let label = label.trim();
        if !is_text(label, LABEL_CHARS) {
            return Err(Error::invalid(
                format!("labels[{i}]"),
                format!("1 to {LABEL_CHARS} characters"),
            ));
        }
        if taken.iter().any(|other| other.to_lowercase() == label.to_lowercase()) {
            return Err(Error::invalid(format!("labels[{i}]"), "a label used once, ignoring case"));
        }
        taken.push(label.to_owned());
    }
    Ok(taken)
}

fn within(field: &'static str, value: Option<i64>, most: u32) -> Result<Option<u32>> {
    let Some(value) = value else { return Ok(None) };
    match u32::try_from(value) {
        Ok(value) if (1..=most).contains(&value) => Ok(Some(value)),
        Ok(_) | Err(_) => {
            Err(Error::invalid(field, format!("null or an integer from 1 to {most}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000);

    fn create(fields: EndpointFields) -> Result<Endpoint> {
        fields.create(
            EndpointId::from_row("whe_1"),
            OrganizationId::from_row("org"),
            &TargetRules::default(),
            &Catalogue::default(),
            NOW,
        )
    }

    fn with_url() -> EndpointFields {
        EndpointFields { url: Some("https://example.com/hook".into()), ..Default::default() }
    }

    #[test]
    fn a_url_alone_gets_the_defaults() {
        let endpoint = create(with_url()).expect("valid");
        assert!(endpoint.enabled && endpoint.name.is_none() && endpoint.labels.is_empty());
        assert_eq!(endpoint.subscribed_event_types.len(), 4);
        assert_eq!(endpoint.retention.hours(), 72);
        assert_eq!((endpoint.window(), endpoint.rate_limit_per_second), (64, None));
    }

    #[test]
    fn debug_output_shows_no_query() {
        let url = "https://example.com/hook?token=s3cret?s3cret".into();
        let endpoint = create(EndpointFields { url: Some(url), ..Default::default() });
        let shown = format!("{:?}", endpoint.expect("valid"));
        assert!(shown.contains("https://example.com/hook") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn bad_settings_name_their_field() {
        let labels = |labels: &[&str]| Some(labels.iter().map(ToString::to_string).collect());
        let base = with_url;
        for (field, fields) in [
            ("url",       EndpointFields { url: None, ..base() }),
            ("name",      EndpointFields { name: Some(None), ..base() }),
            ("name",      EndpointFields { name: Some(Some("   ".into())), ..base() }),
            ("name",      EndpointFields { name: Some(Some("n".repeat(121))), ..base() }),
            ("labels",    EndpointFields { labels: labels(&["a","b","c","d","e","f","g","h","i"]), ..base() }),
            ("labels[1]", EndpointFields { labels: labels(&["Prod", "prod"]), ..base() }),
            ("labels[0]", EndpointFields { labels: labels(&[""]), ..base() }),
            ("labels[0]", EndpointFields { labels: Some(vec!["l".repeat(41)]), ..base() }),
            ("subscribed_event_types[0]", EndpointFields { subscribed_event_types: labels(&["nope"]), ..base() }),
            ("undelivered_payload_retention_hours", EndpointFields { undelivered_payload_retention_hours: Some(1), ..base() }),
            ("max_in_flight", EndpointFields { max_in_flight: Some(Some(0)), ..base() }),
            ("max_in_flight", EndpointFields { max_in_flight: Some(Some(1025)), ..base() }),
            ("rate_limit_per_second", EndpointFields { rate_limit_per_second: Some(Some(-1)), ..base() }),
        ] {
            match create(fields) {
                Err(Error::Invalid { field: named, .. }) => assert_eq!(named, field),
                other => panic!("expected {field} at fault: {other:?}"),
            }
        }
        let unsafe_url = EndpointFields { url: Some("http://example.com".into()), ..base() };
        assert!(matches!(create(unsafe_url), Err(Error::UrlRejected(_))));
    }

    #[test]
    fn a_change_touches_only_what_it_names() {
        let before = create(with_url()).expect("valid");
        let later = Timestamp::from_ms(2_000);
        let change = |fields: EndpointFields| {
            let change = fields.change(&TargetRules::default(), &Catalogue::default())?;
            Ok::<_, Error>(change.apply(before.clone(), later))
        };
        assert!(matches!(change(EndpointFields::default()), Err(Error::Invalid { .. })));
        let disabled =
            change(EndpointFields { enabled: Some(false), ..Default::default() }).expect("valid");
        assert_eq!((disabled.enabled, disabled.disabled_at), (false, Some(later)));
        assert_eq!((&disabled.url, disabled.updated_at), (&before.url, later));
        let silent = EndpointFields { subscribed_event_types: Some(vec![]), ..Default::default() };
        assert!(!change(silent).expect("valid").subscribes_to("verification.session.failed"));
    }
}
