//! Use case: accept an event. Judge, find who wants it, seal for each, commit; never before is it
//! accepted, and never is the plaintext anywhere but in memory. What tests an endpoint and what
//! replaces a withdrawn event comes in the same way.

use std::sync::{Arc, Mutex};

use crate::access::Caller;
use crate::audit::{Action, Actor, AuditEntry};
use crate::budget::{Budget, Share};
use crate::delivery::{Delivery, Progress};
use crate::error::{Conflict, Error, Result, Thing};
use crate::event::{Catalogue, Event, EventWithDeliveries, Publication, PublishFields};
use crate::id::{EndpointId, EventId, Minter, OrganizationId, PrivacyRequestId};
use crate::limits::{MEMBERS_CACHED, PLACE_PATIENCE, PUBLISHES_AT_ONCE, SEALED_BYTES_UNCOMMITTED};
use crate::ports::{
    Acceptance, Accepted, Audience, Clock, DeliveryRules, Dispatch, Idempotency, Member,
    NewDelivery, Sealer, SessionPart, Store, Vault,
};
use crate::privacy::{Owed, PrivacyRequest, WithdrawalFields, WithdrawalState};
use crate::recent::Recent;
use crate::time::Timestamp;

/// How often a publish begins anew because something changed under it, mostly the audience that it was sealed for.
const ACCEPT_ROUNDS: usize = 5;
/// How often a patient publish tries again what was full.
const PATIENCE_ROUNDS: usize = 300;
/// What sealing adds to a payload beside base64: frame, header, wrapped key, IV and tag.
const SEALED_OVERHEAD: usize = 1536;

/// Replacing events that are looked up at once.
const OWED_BATCH: usize = 100;

/// What an event is accepted for.
#[derive(Clone, Copy, Debug)]
enum Purpose<'a> {
    /// The platform publishes it.
    Publish,
    /// It tests its one target, whatever that subscribes to; the entry tells of it.
    Test(&'a AuditEntry),
    /// It replaces what a withdrawal took back; a target that is gone is none any more.
    Replace,
}

/// Accepts events.
pub struct Intake {
    store: Arc<dyn Store>,
    sealer: Arc<dyn Sealer>,
    vault: Arc<dyn Vault>,
    dispatch: Arc<dyn Dispatch>,
    clock: Arc<dyn Clock>,
    minter: Arc<Minter>,
    catalogue: Arc<Catalogue>,
    rules: DeliveryRules,
    audiences: Mutex<Recent<OrganizationId, Arc<Audience>>>,
    memory: Arc<Budget>,
    publishes: Arc<Budget>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}

/// What [`Intake`] works with.
#[derive(Clone)]
pub struct IntakeParts {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Encryption.
    pub sealer: Arc<dyn Sealer>,
    /// Keyed hashes.
    pub vault: Arc<dyn Vault>,
    /// Places in endpoints' windows.
    pub dispatch: Arc<dyn Dispatch>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub minter: Arc<Minter>,
    /// Event types.
    pub catalogue: Arc<Catalogue>,
    /// Pauses and deadlines.
    pub rules: DeliveryRules,
}

/// A place for one publish among those that are under way; comes back when dropped.
#[derive(Debug)]
pub struct PublishPlace {
    _share: Share,
    crowded: bool,
}

impl PublishPlace {
    /// Whether half of all places were taken.
    pub fn is_crowded(&self) -> bool {
        self.crowded
    }
}

impl Intake {
    /// An intake over its ports.
    pub fn new(parts: IntakeParts) -> Self {
        Self {
            store: parts.store,
            sealer: parts.sealer,
            vault: parts.vault,
            dispatch: parts.dispatch,
            clock: parts.clock,
            minter: parts.minter,
            catalogue: parts.catalogue,
            rules: parts.rules,
            audiences: Mutex::new(Recent::weighing(MEMBERS_CACHED, |audience| {
                1 + audience.members.len()
            })),
            memory: Budget::new(SEALED_BYTES_UNCOMMITTED),
            publishes: Budget::new(PUBLISHES_AT_ONCE),
        }
    }

    /// Forgets what it keeps at hand of organizations and keys that had no event since this was done last: memory
    /// follows who is active, not who there is.
    pub fn forget_unused(&self) {
        self.audiences.lock().expect("no panic under this lock").age();
        self.sealer.forget_unused();
    }

    /// Accepts one event. The answer is the event with its deliveries as they were committed; the
    /// same idempotency key and body answer with the first event again.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::TooLarge`] for a field that breaks a rule,
    /// [`Error::NotFound`] for an unknown organization, [`Error::Frozen`],
    /// [`Error::EndpointUnavailable`] for a target, [`Error::Conflict`] for a reused key or a
    /// second terminal event, [`Error::Unavailable`] when full. None of them left a trace.
    pub async fn publish(
        &self,
        _place: PublishPlace,
        fields: PublishFields,
    ) -> Result<EventWithDeliveries> {
        self.accept(&fields.judge(&self.catalogue)?, Purpose::Publish).await
    }

    /// A place for one publish, before it is parsed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when so many are under way that it would only wait.
    pub fn place(&self) -> Result<PublishPlace> {
        let place = self.publishes.take(1).ok_or_else(|| Error::full("capacity for publishes"))?;
        Ok(PublishPlace { _share: place, crowded: self.publishes.left() < PUBLISHES_AT_ONCE / 2 })
    }

    /// As [`Intake::publish`], but where something is full it pauses and tries again a few hundred
    /// times before it gives up.
    pub async fn publish_patiently<P: Future<Output = ()>>(
        &self,
        fields: PublishFields,
        pause: impl Fn() -> P,
    ) -> Result<EventWithDeliveries> {
        let publication = fields.judge(&self.catalogue)?;
        for _ in 0..PATIENCE_ROUNDS {
            match self.accept(&publication, Purpose::Publish).await {
                Err(Error::Unavailable { source: None, .. }) => pause().await,
                result => return result,
            }
        }
        self.accept(&publication, Purpose::Publish).await
    }

    /// Sends an endpoint an event that tells of nothing but that it arrived.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Conflict::EndpointDisabled`].
    pub async fn test(&self, caller: &Caller, id: &EndpointId) -> Result<EventWithDeliveries> {
        let organization = caller.writer()?;
        let missing = Error::NotFound(Thing::Endpoint);
        if !self.store.endpoint(organization, id).await?.ok_or(missing)?.enabled {
            return Err(Error::Conflict(Conflict::EndpointDisabled));
        }
        let now = self.clock.now();
        let session = self.minter.test_session(now);
        let publication = Publication::test(organization.clone(), session, id.clone());
        let entry = AuditEntry {
            id: self.minter.audit(now),
            organization_id: organization.clone(),
            actor: Actor::from(caller),
            action: Action::EndpointTested,
            target_id: id.to_string(),
            metadata: serde_json::Map::new(),
            created_at: now,
        };
        match self.accept(&publication, Purpose::Test(&entry)).await {
            // Since it was looked at.
            Err(Error::EndpointUnavailable { .. }) => {
                Err(Error::Conflict(Conflict::EndpointDisabled))
            }
            result => result,
        }
    }

    /// Withdraws a session (contract 4.11); a session that was withdrawn answers as it stands.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a field that breaks a rule, [`Error::NotFound`] for an unknown
    /// organization.
    pub async fn withdraw(&self, fields: WithdrawalFields) -> Result<PrivacyRequest> {
        let now = self.clock.now();
        let withdrawal = fields.judge(self.minter.privacy_request(now), now)?;
        let entry = AuditEntry {
            id: self.minter.audit(now),
            organization_id: withdrawal.organization_id.clone(),
            actor: Actor::System,
            action: Action::PrivacyRequestSubmitted,
            target_id: withdrawal.session_id.to_string(),
            metadata: serde_json::Map::new(),
            created_at: now,
        };
        let request = self.store.withdraw(withdrawal, entry).await?;
        let request = request.ok_or(Error::NotFound(Thing::Organization))?;
        if request.state != WithdrawalState::Replacing {
            return Ok(request);
        }
        // Whoever waits for it makes it; were it not to succeed, it stays owed.
        self.replace_owed(Some(&request.id)).await?;
        self.privacy_request(&request.id).await
    }

    /// One withdrawal as it stands.
    pub async fn privacy_request(&self, id: &PrivacyRequestId) -> Result<PrivacyRequest> {
        let found = self.store.privacy_request(id).await?;
        found.ok_or(Error::NotFound(Thing::PrivacyRequest))
    }

    /// Makes the replacing events that are owed, by one withdrawal or by any; one that cannot be
    /// made stands in no other's way.
    pub async fn replace_owed(&self, only: Option<&PrivacyRequestId>) -> Result<()> {
        let mut result = Ok(());
        for owed in &self.store.owed(only, OWED_BATCH).await? {
            result = result.and(self.replace(owed).await);
        }
        result
    }

    async fn replace(&self, owed: &Owed) -> Result<()> {
        let Some(publication) = owed.publication(&self.catalogue) else {
            return self.store.forgo_replacement(&owed.withdrawal.id).await;
        };
        match self.accept(&publication, Purpose::Replace).await {
            Ok(_) => Ok(()),
            // Somebody else made it meanwhile, or it stays owed until the organization is thawed.
            Err(Error::Conflict(_) | Error::Frozen | Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn accept(
        &self,
        publication: &Publication,
        purpose: Purpose<'_>,
    ) -> Result<EventWithDeliveries> {
        let organization = &publication.organization_id;
        let mut audience = self.cached_audience(organization).await?;
        for _ in 0..ACCEPT_ROUNDS {
            if audience.frozen {
                return Err(Error::Frozen);
            }
            let Some(recipients) = recipients(publication, purpose, &audience) else {
                let known = audience.version;
                audience = self.fresh_audience(organization).await?;
                if audience.version == known {
                    return self.refuse_targets(publication, &audience).await;
                }
                continue;
            };
            let memory = self.memory_for(publication, recipients.len())?;
            let (acceptance, answer) =
                self.prepare(publication, purpose, &audience, &recipients, memory).await;
            match self.store.accept(acceptance).await? {
                Accepted::Committed => return Ok(answer),
                Accepted::Stale => audience = self.fresh_audience(organization).await?,
                Accepted::Frozen => return Err(Error::Frozen),
                Accepted::NoOrganization => return Err(Error::NotFound(Thing::Organization)),
                Accepted::TerminalExists => {
                    return Err(Error::Conflict(Conflict::TerminalEventExists));
                }
                Accepted::Withdrawn { replacement, owed } => {
                    match self.in_place_of_withdrawn(publication, replacement).await? {
                        Some(event) => return Ok(event),
                        None => {
                            let mine = owed.filter(|_| matches!(purpose, Purpose::Publish));
                            let withdrawn = Error::Conflict(Conflict::SessionWithdrawn);
                            Box::pin(self.replace_owed(Some(&mine.ok_or(withdrawn)?))).await?;
                        }
                    }
                }
                Accepted::Repeated { event_id, fingerprint } => {
                    // It may have been refused in the same transaction: then this one is the first.
                    match self.first_event(publication, &event_id, &fingerprint).await? {
                        Some(first) => return Ok(first),
                        None => audience = self.fresh_audience(organization).await?,
                    }
                }
            }
        }
        Err(Error::full("a settled configuration"))
    }

    /// What a terminal event of a withdrawn session is answered with: the one that replaced it.
    async fn in_place_of_withdrawn(
        &self,
        publication: &Publication,
        replacement: Option<EventId>,
    ) -> Result<Option<EventWithDeliveries>> {
        match replacement {
            Some(id) if publication.event_type.terminal => {
                self.store.event(&publication.organization_id, &id).await
            }
            Some(_) | None => Ok(None),
        }
    }

    /// The event that the idempotency key stands for, if it was used with the same body.
    async fn first_event(
        &self,
        publication: &Publication,
        event_id: &EventId,
        fingerprint: &str,
    ) -> Result<Option<EventWithDeliveries>> {
        let first = self.store.event(&publication.organization_id, event_id).await?;
        if first.is_some() && fingerprint != self.vault.fingerprint(&publication.canonical()) {
            return Err(Error::Conflict(Conflict::IdempotencyKeyReused));
        }
        Ok(first)
    }

    /// Room for the sealed payloads, or a refusal: what waits for its commit is bounded in bytes.
    fn memory_for(&self, publication: &Publication, recipients: usize) -> Result<Share> {
        let bytes = recipients * (publication.data.expose().len() * 4 / 3 + SEALED_OVERHEAD);
        // One publish alone may be larger than the bound; it then takes all of it.
        self.memory
            .take(bytes.min(SEALED_BYTES_UNCOMMITTED))
            .ok_or_else(|| Error::full("memory for sealed payloads"))
    }

    /// A target is missing or disabled. A repetition is still answered: the first publish was
    /// accepted when the target was there.
    async fn refuse_targets(
        &self,
        publication: &Publication,
        audience: &Audience,
    ) -> Result<EventWithDeliveries> {
        if let Some(key) = &publication.idempotency_key
            && let Some((event_id, fingerprint)) =
                self.store.idempotent(&publication.organization_id, key).await?
            && let Some(first) = self.first_event(publication, &event_id, &fingerprint).await?
        {
            return Ok(first);
        }
        let here = |id: &EndpointId| audience.members.iter().any(|m| m.endpoint.id == *id);
        let missing = publication.targets.iter().flatten().find(|id| !here(id));
        Err(Error::EndpointUnavailable {
            endpoint: missing.map(ToString::to_string).unwrap_or_default(),
        })
    }

    async fn cached_audience(&self, organization: &OrganizationId) -> Result<Arc<Audience>> {
        let cached = self.audiences.lock().expect("no panic under this lock").get(organization);
        match cached {
            // The accept transaction compares the version, so that a stale one costs a round.
            Some(audience) if !audience.frozen => Ok(audience),
            Some(_) | None => self.fresh_audience(organization).await,
        }
    }

    async fn fresh_audience(&self, organization: &OrganizationId) -> Result<Arc<Audience>> {
        let audience = self.store.audience(organization).await?;
        let mut cache = self.audiences.lock().expect("no panic under this lock");
        match audience {
            Some(audience) => {
                let audience = Arc::new(audience);
                cache.put(organization.clone(), audience.clone());
                Ok(audience)
            }
            None => {
                cache.remove(organization);
                Err(Error::NotFound(Thing::Organization))
            }
        }
    }

    async fn prepare(
        &self,
        publication: &Publication,
        purpose: Purpose<'_>,
        audience: &Audience,
        recipients: &[&Member],
        memory: Share,
    ) -> (Acceptance, EventWithDeliveries) {
        let now = self.clock.now();
        let event = Event {
            id: self.minter.event(now),
            organization_id: publication.organization_id.clone(),
            event_type: publication.event_type.name.clone(),
            trigger_type: publication.trigger_type.clone(),
            trigger_id: publication.trigger_id.clone(),
            created_at: now,
        };
        let plaintext = publication.plaintext(&event.id);
        let until = now.plus(PLACE_PATIENCE);
        let mut deliveries = Vec::with_capacity(recipients.len());
        for member in recipients {
            deliveries.push(self.seal_for(member, &event, &plaintext, until).await);
        }
        let answer = EventWithDeliveries {
            event: event.clone(),
            deliveries: deliveries.iter().map(|new| new.delivery.clone()).collect(),
        };
        let idempotency = publication.idempotency_key.as_ref().map(|key| Idempotency {
            key: key.clone(),
            fingerprint: self.vault.fingerprint(&publication.canonical()),
        });
        let part = match purpose {
            Purpose::Publish if publication.event_type.terminal => Some(SessionPart::Ends),
            Purpose::Publish => Some(SessionPart::Tells),
            Purpose::Replace => Some(SessionPart::Replaces),
            Purpose::Test(_) => None,
        };
        let acceptance = Acceptance {
            event,
            session: publication.session_id.clone().zip(part),
            targets: publication.targets.clone(),
            audience_version: audience.version,
            idempotency,
            entry: match purpose {
                Purpose::Test(entry) => Some(entry.clone()),
                Purpose::Publish | Purpose::Replace => None,
            },
            deliveries,
            memory: Some(memory),
        };
        (acceptance, answer)
    }

    async fn seal_for(
        &self,
        member: &Member,
        event: &Event,
        plaintext: &[u8],
        until: Timestamp,
    ) -> NewDelivery {
        let now = event.created_at;
        let endpoint = &member.endpoint;
        let (progress, sealed) = match &member.key {
            None => (Progress::no_active_key(now), None),
            Some(key) => match self.sealer.seal(key, plaintext) {
                Err(_) => (Progress::unsealable(now), None),
                Ok(sealed) => (
                    Progress::accepted(&self.rules.schedule, endpoint.retention, now),
                    Some(sealed),
                ),
            },
        };
        let reservation = match &sealed {
            Some(sealed) => self.dispatch.reserve(&endpoint.id, sealed.len(), until).await,
            None => None,
        };
        let progress = match &reservation {
            Some(place) => {
                progress.claim(place.claim(), now).expect("a delivery just accepted is pending")
            }
            None => progress,
        };
        let delivery = Delivery {
            id: self.minter.delivery(now),
            organization_id: event.organization_id.clone(),
            event_id: event.id.clone(),
            event_type: event.event_type.clone(),
            endpoint_id: endpoint.id.clone(),
            key_id: member.key.as_ref().map(|key| key.id.clone()),
            created_at: now,
            progress,
        };
        NewDelivery { delivery, sealed, reservation }
    }
}

/// The enabled endpoints that get the event: those targeted, or all; of these, the subscribed ones
/// (contract 4.2). `None` when a target is not among them.
fn recipients<'a>(
    publication: &Publication,
    purpose: Purpose<'_>,
    audience: &'a Audience,
) -> Option<Vec<&'a Member>> {
    let members = audience.members.iter();
    let mut recipients: Vec<&Member> = match &publication.targets {
        None => members.collect(),
        Some(targets) => {
            let named = targets
                .iter()
                .map(|target| audience.members.iter().find(|member| member.endpoint.id == *target));
            match purpose {
                Purpose::Replace => named.flatten().collect(),
                Purpose::Publish | Purpose::Test(_) => named.collect::<Option<_>>()?,
            }
        }
    };
    if !matches!(purpose, Purpose::Test(_)) {
        recipients.retain(|member| member.endpoint.subscribes_to(&publication.event_type.name));
    }
    Some(recipients)
}
