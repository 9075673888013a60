//! Domain values to fill a store with.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use hookseal::crypto::SystemEntropy;
use hookseal_core::access::Organization;
use hookseal_core::audit::{Action, Actor, AuditEntry};
use hookseal_core::delivery::{Claim, ClaimToken, Delivery, Progress};
use hookseal_core::endpoint::Endpoint;
use hookseal_core::error::Result;
use hookseal_core::event::{Catalogue, Event};
use hookseal_core::id::{EndpointId, Minter, OrganizationId, SessionId};
use hookseal_core::key::{EncryptionKey, PublicJwk};
use hookseal_core::ports::{
    Acceptance, Destination, Endpoints, Idempotency, Inserted, Keys, NewDelivery, Organizations,
    SessionPart,
};
use hookseal_core::retention::RetentionHours;
use hookseal_core::retry::RetrySchedule;
use hookseal_core::time::Timestamp;

use super::databases::Bench;

/// A locked secret, which names the data key of the same id.
pub const LOCKED: &str = "locked";
/// A moment that tests count from.
pub const T0: Timestamp = Timestamp::from_ms(1_800_000_000_000);
pub const TIMEOUT: Duration = Duration::from_secs(15);

pub fn after(secs: u64) -> Timestamp {
    T0.plus(Duration::from_secs(secs))
}

/// One for all, so that ids of one moment keep their order.
pub fn minter() -> Arc<Minter> {
    static MINTER: LazyLock<Arc<Minter>> =
        LazyLock::new(|| Arc::new(Minter::new(Arc::new(SystemEntropy))));
    MINTER.clone()
}

pub fn claim(token: i64, now: Timestamp) -> Claim {
    Claim::new(ClaimToken(token), now, TIMEOUT)
}

impl Bench {
    pub async fn organization(&self) -> OrganizationId {
        let organization = Organization {
            id: minter().organization(),
            name: "Acme".into(),
            frozen_at: None,
            created_at: T0,
            updated_at: T0,
        };
        let made = entry(&organization.id, Action::OrganizationCreated);
        self.store.insert_organization(&organization, made).await.unwrap();
        organization.id
    }

    pub async fn endpoint(&self, organization: &OrganizationId) -> Endpoint {
        let endpoint = Endpoint {
            id: minter().endpoint(),
            organization_id: organization.clone(),
            name: None,
            labels: vec!["a".into()],
            url: "https://example.com/hook".into(),
            enabled: true,
            subscribed_event_types: Catalogue::default().default_subscription(),
            retention: RetentionHours::default(),
            max_in_flight: None,
            rate_limit_per_second: Some(7),
            previous_secret_until: None,
            revision: 1,
            created_at: T0,
            updated_at: T0,
            disabled_at: None,
        };
        self.insert(endpoint.clone(), None, 1000).await.unwrap();
        endpoint
    }

    pub async fn insert(
        &self,
        endpoint: Endpoint,
        idempotency: Option<Idempotency>,
        most: usize,
    ) -> Result<Inserted> {
        let made = entry(&endpoint.organization_id, Action::EndpointCreated);
        let locked_secret = LOCKED.into();
        let new = Destination { endpoint, locked_secret, locked_previous_secret: None };
        self.store.insert_endpoint(new, idempotency, most, made).await
    }

    pub async fn register(
        &self,
        organization: &OrganizationId,
        key: &EncryptionKey,
        most: usize,
    ) -> Result<()> {
        let made = entry(organization, Action::KeyCreated);
        self.store.insert_key(organization, key, most, made).await
    }

    pub async fn change(
        &self,
        organization: &OrganizationId,
        endpoint: &EndpointId,
        change: impl FnOnce(&mut Endpoint) + Send + 'static,
    ) -> Option<Endpoint> {
        let change = |mut found: Destination| {
            change(&mut found.endpoint);
            Ok(found)
        };
        let made = entry(organization, Action::EndpointUpdated);
        self.store.change_endpoint(organization, endpoint, Box::new(change), made).await.unwrap()
    }

    pub async fn version(&self, organization: &OrganizationId) -> i64 {
        self.store.audience(organization).await.unwrap().unwrap().version
    }

    /// An acceptance of one event with one pending delivery to `endpoint`.
    pub async fn acceptance(&self, endpoint: &Endpoint) -> Acceptance {
        let mint = minter();
        let event = Event {
            id: mint.event(T0),
            organization_id: endpoint.organization_id.clone(),
            event_type: "verification.session.expired".into(),
            trigger_type: "verification_session".into(),
            trigger_id: "vs_1".into(),
            created_at: T0,
        };
        let delivery = delivery(&event, &endpoint.id);
        Acceptance {
            event,
            session: None,
            targets: None,
            audience_version: self.version(&endpoint.organization_id).await,
            idempotency: None,
            entry: None,
            deliveries: vec![NewDelivery {
                delivery,
                sealed: Some(Bytes::from_static(b"jwe")),
                reservation: None,
            }],
            memory: None,
        }
    }
}

pub fn delivery(event: &Event, endpoint: &EndpointId) -> Delivery {
    Delivery {
        id: minter().delivery(T0),
        organization_id: event.organization_id.clone(),
        event_id: event.id.clone(),
        event_type: event.event_type.clone(),
        endpoint_id: endpoint.clone(),
        key_id: None,
        created_at: event.created_at,
        progress: Progress::accepted(
            &RetrySchedule::default(),
            RetentionHours::default(),
            event.created_at,
        ),
    }
}

pub fn keyed(acceptance: Acceptance, key: &str, fingerprint: &str) -> Acceptance {
    let idempotency = Some(Idempotency { key: key.into(), fingerprint: fingerprint.into() });
    Acceptance { idempotency, ..acceptance }
}

pub fn ending(acceptance: Acceptance, session: &str) -> Acceptance {
    of_session(acceptance, session, SessionPart::Ends)
}

pub fn of_session(mut acceptance: Acceptance, session: &str, part: SessionPart) -> Acceptance {
    let session = SessionId::parse("session", session).unwrap();
    acceptance.event.trigger_id = session.to_string();
    Acceptance { session: Some((session, part)), ..acceptance }
}

pub fn entry(organization: &OrganizationId, action: Action) -> AuditEntry {
    AuditEntry {
        id: minter().audit(T0),
        organization_id: organization.clone(),
        actor: Actor::System,
        action,
        target_id: "target".into(),
        metadata: Default::default(),
        created_at: T0,
    }
}

pub fn key(endpoint: &EndpointId, key_id: &str) -> EncryptionKey {
    EncryptionKey {
        id: minter().key(),
        endpoint_id: endpoint.clone(),
        key_id: key_id.into(),
        jwk: PublicJwk { n: "AQAB".into(), e: "AQAB".into() },
        is_active: true,
        created_at: T0,
        updated_at: T0,
        disabled_at: None,
    }
}
