//! Endpoints and the keys that payloads for them are sealed to.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, ID, Json, Object, Result};
use hookseal_core::statistics::Scope;
use hookseal_core::{endpoint, key};
use serde_json::Value;

use crate::batches::{Batches, KeysOf, LatestOf};
use crate::instant::DateTime;
use crate::paging::{page, several};
use crate::statistics::{Statistics, statistics};

use super::event::Delivery;
use super::terms::DeliveryStatus;

/// A place that events are delivered to.
pub(crate) struct Endpoint(pub(crate) endpoint::Endpoint);

#[Object]
impl Endpoint {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// All its encryption keys, by id.
    #[graphql(complexity = "2 * child_complexity")]
    async fn encryption_keys(&self, context: &Context<'_>) -> Result<Vec<EncryptionKey>> {
        let keys = (self.0.organization_id.clone(), KeysOf(self.0.id.clone()));
        let found = context.data::<DataLoader<Batches>>()?.load_one(keys).await?;
        Ok(found.unwrap_or_default().into_iter().map(EncryptionKey).collect())
    }

    /// Its latest deliveries, newest first; the query `deliveries` pages through all.
    #[graphql(complexity = "several(first, 10) * child_complexity")]
    async fn deliveries(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only this status.")] status: Option<DeliveryStatus>,
        #[graphql(desc = "How many, 1 to 100; 10 when left out.")] first: Option<i32>,
    ) -> Result<Vec<Delivery>> {
        let most = page(first, None)?.limit;
        let of = LatestOf { endpoint: self.0.id.clone(), status: status.map(Into::into), most };
        let key = (self.0.organization_id.clone(), of);
        let found = context.data::<DataLoader<Batches>>()?.load_one(key).await?;
        Ok(found.unwrap_or_default().into_iter().map(Delivery).collect())
    }

    /// How its deliveries went.
    async fn statistics(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "From here; an hour before `to` when left out.")] from: Option<DateTime>,
        #[graphql(desc = "Up to here, at most 7 days; now when left out.")] to: Option<DateTime>,
    ) -> Result<Statistics> {
        let scope = Scope::Endpoint(self.0.id.clone());
        statistics(context, &self.0.organization_id, scope, from, to).await
    }

    /// Raised by every change; REST shows it as the ETag.
    async fn revision(&self) -> i64 {
        self.0.revision
    }

    /// A name for people.
    async fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Labels for people.
    async fn labels(&self) -> &[String] {
        &self.0.labels
    }

    /// Where to send, as registered.
    async fn url(&self) -> &str {
        &self.0.url
    }

    /// Whether events are delivered to it.
    async fn enabled(&self) -> bool {
        self.0.enabled
    }

    /// Types it wants.
    async fn subscribed_event_types(&self) -> Vec<&str> {
        self.0.subscribed_event_types.iter().map(|name| &**name).collect()
    }

    /// Hours an undelivered payload stays after the final failure.
    async fn undelivered_payload_retention_hours(&self) -> u16 {
        self.0.retention.hours()
    }

    /// Attempts in flight at once.
    async fn max_in_flight(&self) -> usize {
        self.0.window()
    }

    /// Attempts started per second at most, when limited.
    async fn rate_limit_per_second(&self) -> Option<u32> {
        self.0.rate_limit_per_second
    }

    /// Until when the signing secret before the current one signs, too.
    async fn previous_secret_until(&self) -> Option<DateTime> {
        self.0.previous_secret_until.map(Into::into)
    }

    /// When it was made, RFC 3339 in UTC.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        self.0.updated_at.into()
    }

    /// When it was disabled.
    async fn disabled_at(&self) -> Option<DateTime> {
        self.0.disabled_at.map(Into::into)
    }
}

/// A key that payloads are sealed to.
pub(crate) struct EncryptionKey(pub(crate) key::EncryptionKey);

#[Object]
impl EncryptionKey {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// The id of its endpoint.
    async fn endpoint_id(&self) -> ID {
        ID(self.0.endpoint_id.to_string())
    }

    /// The name that its owner gave it; the `kid` of what is sealed to it.
    async fn key_id(&self) -> &str {
        &self.0.key_id
    }

    /// Always RSA-OAEP-256.
    async fn algorithm(&self) -> &str {
        key::ALGORITHM
    }

    /// Always RSA.
    async fn key_type(&self) -> &str {
        key::KEY_TYPE
    }

    /// The public key.
    async fn jwk(&self) -> Json<Value> {
        Json(self.0.jwk.to_json())
    }

    /// Whether new payloads are sealed to it.
    async fn is_active(&self) -> bool {
        self.0.is_active
    }

    /// When it was registered.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        self.0.updated_at.into()
    }

    /// When it was made inactive.
    async fn disabled_at(&self) -> Option<DateTime> {
        self.0.disabled_at.map(Into::into)
    }
}
