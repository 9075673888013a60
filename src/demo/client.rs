//! Calls to a daemon of the demo or a bench, over HTTP like anybody's.

use std::time::Duration;

use hookseal_core::error::{Error, Result};
use serde_json::{Value, json};

/// A client of one daemon.
pub(crate) struct Client {
    http: awc::Client,
    base: String,
    platform_key: String,
}

impl Client {
    pub(crate) fn new(base: String, platform_key: String) -> Self {
        let http = awc::Client::builder().timeout(Duration::from_secs(30)).finish();
        Self { http, base, platform_key }
    }

    async fn send(
        &self,
        key: &str,
        method: awc::http::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let fault = |error: String| Error::broken("a call of the daemon", error);
        let request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .insert_header(("authorization", format!("Bearer {key}")));
        let sent = match body {
            Some(body) => request.send_json(body),
            None => request.send(),
        };
        let mut answer = sent.await.map_err(|error| fault(error.to_string()))?;
        let body = answer.body().limit(16 << 20).await.map_err(|error| fault(error.to_string()))?;
        let parsed: Value =
            serde_json::from_slice(&body).map_err(|error| fault(error.to_string()))?;
        if answer.status().is_success() {
            Ok(parsed)
        } else {
            Err(fault(parsed["error"].to_string()))
        }
    }

    pub(crate) async fn post(&self, key: &str, path: &str, body: &Value) -> Result<Value> {
        let mut answer = self.send(key, awc::http::Method::POST, path, Some(body)).await?;
        Ok(answer["data"].take())
    }

    /// Makes an organization and an API key of it.
    pub(crate) async fn tenant(&self, name: &str) -> Result<(String, String)> {
        let key = &self.platform_key;
        let made = self.post(key, "/v1/platform/organizations", &json!({ "name": name })).await?;
        let organization = text(&made, &["id"])?;
        let path = format!("/v1/platform/organizations/{organization}/api-keys");
        let body = json!({ "name": "demo", "permissions": ["webhooks:write"] });
        let made = self.post(key, &path, &body).await?;
        Ok((organization, text(&made, &["key"])?))
    }

    pub(crate) async fn publish(&self, events: &Value) -> Result<Value> {
        self.post(&self.platform_key, "/v1/platform/events/batch", events).await
    }

    /// Whether any delivery is still under way.
    pub(crate) async fn unsettled(&self, key: &str) -> Result<bool> {
        // Twice: one that moves between the two may be missed by both questions.
        for status in ["pending", "delivering", "pending", "delivering"] {
            let path = format!("/v1/webhooks/deliveries?limit=1&status={status}");
            let answer = self.send(key, awc::http::Method::GET, &path, None).await?;
            if answer["data"].as_array().is_some_and(|items| !items.is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All deliveries of one endpoint.
    pub(crate) async fn deliveries(&self, key: &str, endpoint: &str) -> Result<Vec<Value>> {
        let mut deliveries = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/webhooks/deliveries?limit=100&endpoint_id={endpoint}{cursor}");
            let mut answer = self.send(key, awc::http::Method::GET, &path, None).await?;
            if let Some(items) = answer["data"].as_array_mut() {
                deliveries.append(items);
            }
            match answer["pagination"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&starting_after={next}"),
                None => return Ok(deliveries),
            }
        }
    }
}

/// The string at `path` of an answer.
pub(crate) fn text(value: &Value, path: &[&str]) -> Result<String> {
    let found = path.iter().try_fold(value, |value, name| value.get(name));
    let found = found.and_then(Value::as_str).map(ToOwned::to_owned);
    found.ok_or_else(|| Error::broken("an answer of the daemon", value.to_string()))
}
