//! What a run plays on: the daemon, and organizations, endpoints and keys made over its REST API.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hookseal_core::error::Result;
use serde_json::{Value, json};

use super::child::Child;
use super::scenario::{Crowd, Layout};
use crate::demo::client::{Client, text};

const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Organizations that are made at once.
const AT_ONCE: usize = 16;

/// A running daemon.
pub(super) struct Daemon {
    pub(super) child: Child,
    pub(super) base: String,
    pub(super) platform_key: String,
}

impl Daemon {
    /// Starts one with its data where `environment` says, and all settings that bear on durability as they are.
    pub(super) async fn start(
        directory: &Path,
        mut environment: Vec<(&'static str, String)>,
        layout: &Layout,
    ) -> Result<Self> {
        let platform_key = format!("bench-{:032x}", rand::random::<u128>());
        environment.extend([
            ("HOOKSEAL_LISTEN", "127.0.0.1:0".to_owned()),
            ("HOOKSEAL_DEV", "1".to_owned()),
            ("HOOKSEAL_PLATFORM_KEY", platform_key.clone()),
            ("HOOKSEAL_MASTER_KEY", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())),
            ("HOOKSEAL_REQUESTS_PER_MINUTE", "1000000".to_owned()),
            ("HOOKSEAL_ENDPOINTS_PER_ORGANIZATION", layout.per_organization.max(50).to_string()),
        ]);
        let mut child = Child::start("the daemon", "bench-daemon", directory, &environment)?;
        let base = child.hear("listening on ", STARTS_WITHIN).await?;
        Ok(Self { child, base, platform_key })
    }
}

/// An organization and its endpoints.
#[derive(Clone, Debug)]
pub(super) struct Organization {
    pub(super) id: String,
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) fickle: bool,
}

/// The organizations that have endpoints of `crowd`, with these alone.
pub(super) fn only(crowd: Crowd, organizations: &[Organization]) -> Vec<Organization> {
    let narrowed = organizations.iter().map(|organization| {
        let endpoints = organization.endpoints.iter();
        let endpoints = endpoints.filter(|endpoint| crowd.holds(endpoint.fickle));
        Organization { id: organization.id.clone(), endpoints: endpoints.cloned().collect() }
    });
    narrowed.filter(|organization| !organization.endpoints.is_empty()).collect()
}

/// Makes what `layout` asks for. Endpoints are numbered in the order of the answer.
pub(super) async fn furnish(
    daemon: &Daemon,
    layout: &Layout,
    url: impl Fn(usize, bool) -> String,
    public_jwk: &Value,
) -> Result<Vec<Organization>> {
    let client = Client::new(daemon.base.clone(), daemon.platform_key.clone());
    let numbers: Vec<usize> = (0..layout.endpoints).collect();
    let organizations = numbers.chunks(layout.per_organization).map(|numbers| {
        let (client, url) = (&client, &url);
        async move {
            let (id, key) = client.tenant("Bench").await?;
            let mut endpoints = Vec::with_capacity(numbers.len());
            for number in numbers {
                let fickle = layout.is_fickle(*number);
                let registered = register(client, &key, url(*number, fickle), layout, public_jwk);
                let (id, secret) = registered.await?;
                endpoints.push(Endpoint { id, secret, fickle });
            }
            Ok(Organization { id, endpoints })
        }
    });
    stream::iter(organizations).buffered(AT_ONCE).try_collect().await
}

/// Answers the endpoint's id and signing secret.
async fn register(
    client: &Client,
    key: &str,
    url: String,
    layout: &Layout,
    public_jwk: &Value,
) -> Result<(String, String)> {
    let mut body = json!({ "url": url });
    if let Some(window) = layout.window {
        body["max_in_flight"] = window.into();
    }
    let made = client.post(key, "/v1/webhooks/endpoints", &body).await?;
    let id = text(&made, &["endpoint", "id"])?;
    let encryption = json!({
        "key_id": "bench", "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": public_jwk,
    });
    client.post(key, &format!("/v1/webhooks/endpoints/{id}/keys"), &encryption).await?;
    Ok((id, text(&made, &["signing_secret"])?))
}
