//! Nested reads, a batch at a time: whatever a level of a document asks for is read at once, not node by
//! node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::dataloader::{DataLoader, Loader};
use async_graphql::futures_util::future::BoxFuture;
use async_graphql::{Error, Result};
use hookseal_core::access::Caller;
use hookseal_core::admin::Admin;
use hookseal_core::delivery::{Attempt, Delivery, Status};
use hookseal_core::endpoint::Endpoint;
use hookseal_core::event::EventWithDeliveries;
use hookseal_core::id::{DeliveryId, EndpointId, EventId, OrganizationId};
use hookseal_core::key::EncryptionKey;
use hookseal_core::statistics::{Scope, Span, Statistics};

use crate::refusal::refused;

/// Reads batches for one request.
pub struct Batches {
    admin: Arc<Admin>,
    caller: Caller,
}

/// The batches of one request, gathered by tasks that `spawn` starts.
pub fn batches<R>(
    admin: Arc<Admin>,
    caller: Caller,
    spawn: impl Fn(BoxFuture<'static, ()>) -> R + Send + Sync + 'static,
) -> DataLoader<Batches> {
    // A level is resolved at one go: when the task runs, all that it asks for has been asked.
    DataLoader::new(Batches { admin, caller }, spawn).delay(Duration::ZERO)
}

/// A thing of an organization; what it belongs to has been shown to the caller already.
pub(crate) type Of<K> = (OrganizationId, K);

/// The keys of an endpoint, told from the endpoint itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeysOf(pub(crate) EndpointId);

/// The latest deliveries of an endpoint, told from the endpoint itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LatestOf {
    pub(crate) endpoint: EndpointId,
    pub(crate) status: Option<Status>,
    pub(crate) most: usize,
}

/// How it went in a scope of an organization.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StatisticsOf {
    pub(crate) scope: Scope,
    pub(crate) span: Span,
}

/// What is asked of one organization, and who works in it.
struct Asked<K> {
    organization: OrganizationId,
    caller: Caller,
    keys: Vec<K>,
}

impl Batches {
    fn by_organization<K: Clone>(&self, asked: &[Of<K>]) -> Result<Vec<Asked<K>>> {
        let mut grouped: HashMap<&OrganizationId, Vec<K>> = HashMap::new();
        for (organization, key) in asked {
            grouped.entry(organization).or_default().push(key.clone());
        }
        let asked = grouped.into_iter().map(|(organization, keys)| {
            let caller = self.caller.within(Some(organization.clone())).map_err(refused)?;
            Ok(Asked { organization: organization.clone(), caller, keys })
        });
        asked.collect()
    }
}

impl Loader<Of<EventId>> for Batches {
    type Value = EventWithDeliveries;
    type Error = Error;

    async fn load(&self, asked: &[Of<EventId>]) -> Result<HashMap<Of<EventId>, Self::Value>> {
        let mut found = HashMap::with_capacity(asked.len());
        for Asked { organization, caller, keys } in self.by_organization(asked)? {
            let events = self.admin.events_by_id(&caller, &keys).await.map_err(refused)?;
            let named = |event: EventWithDeliveries| {
                ((organization.clone(), event.event.id.clone()), event)
            };
            found.extend(events.into_iter().map(named));
        }
        Ok(found)
    }
}

impl Loader<Of<EndpointId>> for Batches {
    type Value = Endpoint;
    type Error = Error;

    async fn load(&self, asked: &[Of<EndpointId>]) -> Result<HashMap<Of<EndpointId>, Self::Value>> {
        let mut found = HashMap::with_capacity(asked.len());
        for Asked { organization, caller, keys } in self.by_organization(asked)? {
            let endpoints = self.admin.endpoints_by_id(&caller, &keys).await.map_err(refused)?;
            let named =
                |endpoint: Endpoint| ((organization.clone(), endpoint.id.clone()), endpoint);
            found.extend(endpoints.into_iter().map(named));
        }
        Ok(found)
    }
}

impl Loader<Of<DeliveryId>> for Batches {
    type Value = Vec<Attempt>;
    type Error = Error;

    async fn load(&self, asked: &[Of<DeliveryId>]) -> Result<HashMap<Of<DeliveryId>, Self::Value>> {
        let mut found = HashMap::with_capacity(asked.len());
        for Asked { organization, caller, keys } in self.by_organization(asked)? {
            let attempts = self.admin.attempts_of(&caller, &keys).await.map_err(refused)?;
            let named = |(id, attempts)| ((organization.clone(), id), attempts);
            found.extend(attempts.into_iter().map(named));
        }
        Ok(found)
    }
}

impl Loader<Of<KeysOf>> for Batches {
    type Value = Vec<EncryptionKey>;
    type Error = Error;

    async fn load(&self, asked: &[Of<KeysOf>]) -> Result<HashMap<Of<KeysOf>, Self::Value>> {
        let mut found: HashMap<Of<KeysOf>, Self::Value> = HashMap::with_capacity(asked.len());
        for Asked { organization, caller, keys } in self.by_organization(asked)? {
            let ids: Vec<EndpointId> = keys.into_iter().map(|KeysOf(id)| id).collect();
            for key in self.admin.keys_of(&caller, &ids).await.map_err(refused)? {
                let of = (organization.clone(), KeysOf(key.endpoint_id.clone()));
                found.entry(of).or_default().push(key);
            }
        }
        Ok(found)
    }
}

impl Loader<Of<LatestOf>> for Batches {
    type Value = Vec<Delivery>;
    type Error = Error;

    async fn load(&self, asked: &[Of<LatestOf>]) -> Result<HashMap<Of<LatestOf>, Self::Value>> {
        let mut found = HashMap::with_capacity(asked.len());
        for Asked { organization, caller, keys } in self.by_organization(asked)? {
            let mut alike: HashMap<_, Vec<EndpointId>> = HashMap::new();
            for LatestOf { endpoint, status, most } in keys {
                alike.entry((status, most)).or_default().push(endpoint);
            }
            for ((status, most), endpoints) in alike {
                let latest = self.admin.latest_deliveries(&caller, &endpoints, status, most).await;
                for (endpoint, deliveries) in latest.map_err(refused)? {
                    let of = LatestOf { endpoint, status, most };
                    found.insert((organization.clone(), of), deliveries);
                }
            }
        }
        Ok(found)
    }
}

impl Loader<Of<StatisticsOf>> for Batches {
    type Value = Statistics;
    type Error = Error;

    async fn load(
        &self,
        asked: &[Of<StatisticsOf>],
    ) -> Result<HashMap<Of<StatisticsOf>, Self::Value>> {
        let mut found = HashMap::with_capacity(asked.len());
        for Asked { organization, caller, keys } in self.by_organization(asked)? {
            let mut alike: HashMap<Span, Vec<Scope>> = HashMap::new();
            for StatisticsOf { scope, span } in keys {
                alike.entry(span).or_default().push(scope);
            }
            for (span, scopes) in alike {
                let statistics = self.admin.statistics(&caller, &scopes, span).await;
                for (scope, statistics) in statistics.map_err(refused)? {
                    found.insert((organization.clone(), StatisticsOf { scope, span }), statistics);
                }
            }
        }
        Ok(found)
    }
}
