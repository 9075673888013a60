//! What there is, as GraphQL shows it.

use std::sync::Arc;

use async_graphql::connection::{Connection, Edge};
use async_graphql::dataloader::DataLoader;
use async_graphql::{
    Context, Enum, ID, InputValueError, InputValueResult, Json, Object, OutputType, Result, Scalar,
    ScalarType,
};
use hookseal_core::access::Caller;
use hookseal_core::admin::Admin;
use hookseal_core::error::Error;
use hookseal_core::id::OrganizationId;
use hookseal_core::intake::Intake;
use hookseal_core::page::{Page, PageRequest};
use hookseal_core::statistics::Scope;
use hookseal_core::time::Timestamp;
use hookseal_core::{access, audit, delivery, endpoint, event, key, outcome, privacy, retention};
use serde_json::Value;

use crate::batches::{Batches, KeysOf, LatestOf, StatisticsOf};
use crate::refusal::refused;
use crate::statistics::Statistics;

/// An instant as it is written; one that is given is judged where it is used, so that the error names the
/// argument.
#[derive(Clone, Debug)]
pub(crate) struct DateTime(String);

/// An instant, RFC 3339 in UTC with milliseconds: `2026-05-05T11:00:00.000Z`.
#[Scalar(specified_by_url = "https://www.rfc-editor.org/rfc/rfc3339")]
impl ScalarType for DateTime {
    fn parse(value: async_graphql::Value) -> InputValueResult<Self> {
        match value {
            async_graphql::Value::String(text) => Ok(Self(text)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> async_graphql::Value {
        async_graphql::Value::String(self.0.clone())
    }
}

impl From<Timestamp> for DateTime {
    fn from(at: Timestamp) -> Self {
        Self(at.to_string())
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "delivery::Status")]
pub(crate) enum DeliveryStatus {
    /// Waits for its first or next attempt.
    Pending,
    /// Is being attempted.
    Delivering,
    /// A receiver answered 2xx.
    Succeeded,
    /// Given up.
    Failed,
}

/// Why a payload is kept or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "retention::RetentionReason")]
pub(crate) enum RetentionReason {
    /// Kept: attempts remain.
    PendingDelivery,
    /// Gone: a receiver has it.
    Delivered,
    /// Kept for retry by hand after the final failure.
    TerminalFailureRetention,
    /// Gone: its time was over.
    Expired,
    /// Never there: no key to seal to.
    NoActiveKey,
    /// Never there: sealing failed.
    JweCreationFailed,
    /// Gone: the person withdrew.
    PrivacyRequest,
}

/// Why a delivery failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "delivery::FailureReason")]
pub(crate) enum FailureReason {
    /// The last attempt of the schedule failed.
    Exhausted,
    /// No key to seal to.
    NoActiveKey,
    /// Sealing failed.
    SealFailed,
    /// Something about it kills its attempts.
    Poisoned,
    /// Its payload expired before a receiver took it.
    Expired,
    /// The person withdrew.
    PrivacyRequest,
    /// The endpoint was deleted.
    EndpointDeleted,
}

/// Why an attempt got no HTTP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "outcome::ErrorKind")]
pub(crate) enum ErrorKind {
    /// The deadline over the whole exchange passed.
    Timeout,
    /// No connection.
    Connect,
    /// The connection ended before the answer was whole.
    Reset,
    /// The name did not resolve.
    Dns,
    /// The TLS handshake failed in a way that has no kind of its own.
    Tls,
    /// The TLS handshake did not end in time.
    TlsTimeout,
    /// The receiver speaks versions of TLS before 1.2 only.
    TlsVersion,
    /// No cipher, key exchange or signature in common, or the receiver says so.
    TlsCipher,
    /// The receiver ended the handshake with another alert.
    TlsAlert,
    /// The connection ended during the handshake.
    TlsClosed,
    /// What the receiver said is no TLS.
    TlsNotSpoken,
    /// The certificate's time is over.
    CertificateExpired,
    /// The certificate's time has not begun.
    CertificateNotYetValid,
    /// The certificate is for another host.
    CertificateWrongHost,
    /// Nobody but itself has issued the certificate.
    CertificateSelfSigned,
    /// The certificate is not of an authority that is trusted, or cannot be used for a server.
    CertificateUntrusted,
    /// The URL or the resolved address may not be called.
    TargetBlocked,
    /// The answer was not HTTP.
    Protocol,
    /// There was no active key to seal to.
    NoActiveKey,
    /// Sealing to the active key failed.
    SealFailed,
    /// The signing secret does not open: nothing was sent.
    SecretUnreadable,
    /// A kind that this version does not know: another one recorded it.
    Other,
}

/// How far a withdrawal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "privacy::WithdrawalState")]
pub(crate) enum PrivacyRequestState {
    /// Attempts are in flight, and what comes of them decides.
    Settling,
    /// Nothing arrived: the cancelled event is owed.
    Replacing,
    /// Nothing is left to be done.
    Settled,
}

/// One attempt of a delivery.
pub(crate) struct Attempt(pub(crate) delivery::Attempt);

#[Object]
impl Attempt {
    /// When it was made.
    async fn attempted_at(&self) -> DateTime {
        self.0.at.into()
    }

    /// How long the exchange took, in milliseconds.
    async fn duration_ms(&self) -> u64 {
        u64::try_from(self.0.duration.as_millis()).unwrap_or(u64::MAX)
    }

    /// HTTP status, if an answer came.
    async fn status_code(&self) -> Option<u16> {
        self.0.status_code
    }

    /// What went wrong, if none came.
    async fn error_kind(&self) -> Option<ErrorKind> {
        self.0.error.map(Into::into)
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

/// A tenant.
pub(crate) struct Organization(pub(crate) access::Organization);

#[Object]
impl Organization {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// A name for people.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// How its deliveries went.
    async fn statistics(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "From here; an hour before `to` when left out.")] from: Option<DateTime>,
        #[graphql(desc = "Up to here, at most 7 days; now when left out.")] to: Option<DateTime>,
    ) -> Result<Statistics> {
        statistics(context, &self.0.id, Scope::Organization, from, to).await
    }

    /// When it was frozen.
    async fn frozen_at(&self) -> Option<DateTime> {
        self.0.frozen_at.map(Into::into)
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        self.0.updated_at.into()
    }
}

/// The record of an API key; the key itself is shown once.
pub(crate) struct ApiKey(pub(crate) access::ApiKey);

#[Object]
impl ApiKey {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// A name for people.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is accepted.
    async fn enabled(&self) -> bool {
        self.0.enabled
    }

    /// Its scopes.
    async fn permissions(&self) -> Vec<&str> {
        self.0.scopes.iter().map(|scope| scope.as_str()).collect()
    }

    /// Whatever its owner remembers with it.
    async fn metadata(&self) -> Json<Value> {
        Json(Value::Object(self.0.metadata.clone()))
    }

    /// Requests that it made, but for the latest.
    async fn request_count(&self) -> u64 {
        self.0.request_count
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        self.0.updated_at.into()
    }
}

/// An entry of the audit log.
pub(crate) struct AuditLogEntry(pub(crate) audit::AuditEntry);

#[Object]
impl AuditLogEntry {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// The kind of actor: user, api_key or system.
    async fn actor_type(&self) -> &str {
        self.0.actor.parts().0
    }

    /// Who, where it was not the system.
    async fn actor_id(&self) -> Option<&str> {
        self.0.actor.parts().1
    }

    /// What was done.
    async fn action(&self) -> &str {
        self.0.action.as_str()
    }

    /// The kind of thing it was done to.
    async fn target_type(&self) -> &str {
        self.0.action.target_type()
    }

    /// The id of what it was done to.
    async fn target_id(&self) -> &str {
        &self.0.target_id
    }

    /// What else is worth knowing.
    async fn metadata(&self) -> Json<Value> {
        Json(Value::Object(self.0.metadata.clone()))
    }

    /// When.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
}

/// The withdrawal of a session.
pub(crate) struct PrivacyRequest(pub(crate) privacy::PrivacyRequest);

#[Object]
impl PrivacyRequest {
    /// Its id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// How far it is.
    async fn state(&self) -> PrivacyRequestState {
        self.0.state.into()
    }

    /// Deliveries that failed by it.
    async fn scrubbed(&self) -> u64 {
        self.0.scrubbed
    }

    /// Deliveries whose attempts are in flight.
    async fn in_flight(&self) -> u64 {
        self.0.in_flight
    }

    /// Deliveries that a receiver has, or may have.
    async fn delivered(&self) -> u64 {
        self.0.delivered
    }

    /// The event that replaces what never arrived.
    async fn replacement_event_id(&self) -> Option<ID> {
        self.0.replacement_event_id.as_ref().map(|id| ID(id.to_string()))
    }
}

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

/// An event with its deliveries.
pub(crate) struct Event {
    event: event::Event,
    /// Read when asked for, where they did not come with the event.
    deliveries: Option<Vec<delivery::Delivery>>,
}

impl Event {
    /// An event that was read with its deliveries.
    pub(crate) fn read(
        event::EventWithDeliveries { event, deliveries }: event::EventWithDeliveries,
    ) -> Self {
        Self { event, deliveries: Some(deliveries) }
    }

    /// An event as the feed tells it.
    pub(crate) fn published(event: event::Event) -> Self {
        Self { event, deliveries: None }
    }
}

#[Object]
impl Event {
    /// Its id, the same in every delivery.
    async fn id(&self) -> ID {
        ID(self.event.id.to_string())
    }

    /// Its type.
    #[graphql(name = "type")]
    async fn event_type(&self) -> &str {
        &self.event.event_type
    }

    /// What triggered it.
    async fn trigger_type(&self) -> &str {
        &self.event.trigger_type
    }

    /// The id of the trigger.
    async fn trigger_id(&self) -> &str {
        &self.event.trigger_id
    }

    /// When it was accepted.
    async fn created_at(&self) -> DateTime {
        self.event.created_at.into()
    }

    /// Its deliveries, oldest first.
    #[graphql(complexity = "2 * child_complexity")]
    async fn deliveries(&self, context: &Context<'_>) -> Result<Vec<Delivery>> {
        let deliveries = match &self.deliveries {
            Some(deliveries) => deliveries.clone(),
            None => {
                let id = (self.event.organization_id.clone(), self.event.id.clone());
                let found = context.data::<DataLoader<Batches>>()?.load_one(id).await?;
                found.map(|found| found.deliveries).unwrap_or_default()
            }
        };
        Ok(deliveries.into_iter().map(Delivery).collect())
    }
}

/// One event on its way to one endpoint.
pub(crate) struct Delivery(pub(crate) delivery::Delivery);

#[Object]
impl Delivery {
    /// Its id, the same in every attempt.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// Its event.
    async fn event(&self, context: &Context<'_>) -> Result<Option<Event>> {
        let id = (self.0.organization_id.clone(), self.0.event_id.clone());
        Ok(context.data::<DataLoader<Batches>>()?.load_one(id).await?.map(Event::read))
    }

    /// Its endpoint; null once that is deleted.
    async fn endpoint(&self, context: &Context<'_>) -> Result<Option<Endpoint>> {
        let id = (self.0.organization_id.clone(), self.0.endpoint_id.clone());
        Ok(context.data::<DataLoader<Batches>>()?.load_one(id).await?.map(Endpoint))
    }

    /// All its attempts, oldest first, those before a retry by hand included.
    #[graphql(complexity = "2 * child_complexity")]
    async fn attempts(&self, context: &Context<'_>) -> Result<Vec<Attempt>> {
        let id = (self.0.organization_id.clone(), self.0.id.clone());
        let found = context.data::<DataLoader<Batches>>()?.load_one(id).await?;
        Ok(found.unwrap_or_default().into_iter().map(Attempt).collect())
    }

    /// The id of its event.
    async fn event_id(&self) -> ID {
        ID(self.0.event_id.to_string())
    }

    /// The id of its endpoint.
    async fn endpoint_id(&self) -> ID {
        ID(self.0.endpoint_id.to_string())
    }

    /// The id of the key it is sealed to.
    async fn encryption_key_id(&self) -> Option<ID> {
        self.0.key_id.as_ref().map(|id| ID(id.to_string()))
    }

    /// Where it stands.
    async fn status(&self) -> DeliveryStatus {
        self.0.progress.status.into()
    }

    /// Attempts spent of the current schedule.
    async fn attempt_count(&self) -> u32 {
        self.0.progress.attempt_count
    }

    /// When it was last attempted.
    async fn last_attempt_at(&self) -> Option<DateTime> {
        self.0.progress.last_attempt.map(|attempt| attempt.at.into())
    }

    /// HTTP status of the last attempt, if it got an answer.
    async fn last_status_code(&self) -> Option<u16> {
        self.0.progress.last_attempt.and_then(|attempt| attempt.status_code)
    }

    /// Why it failed for good.
    async fn failure_reason(&self) -> Option<FailureReason> {
        let failed = self.0.progress.status == delivery::Status::Failed;
        self.0.progress.failure_reason.filter(|_| failed).map(Into::into)
    }

    /// When it is due, while pending.
    async fn next_attempt_at(&self) -> Option<DateTime> {
        self.0.progress.next_attempt_at.map(Into::into)
    }

    /// Why its payload is kept or gone.
    async fn payload_retention_reason(&self) -> RetentionReason {
        self.0.progress.retention_reason.into()
    }

    /// When its payload goes.
    async fn payload_expires_at(&self) -> Option<DateTime> {
        self.0.progress.payload_expires_at.map(Into::into)
    }

    /// When its payload went.
    async fn payload_scrubbed_at(&self) -> Option<DateTime> {
        self.0.progress.payload_scrubbed_at.map(Into::into)
    }

    /// When it was accepted.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        self.0.progress.updated_at.into()
    }
}

/// A page of a list, with a cursor for each of its items.
pub(crate) fn connection<T, N: OutputType>(
    page: Page<T>,
    cursor: impl Fn(&T) -> String,
    node: impl Fn(T) -> N,
) -> Connection<String, N> {
    let mut connection = Connection::new(false, page.has_more);
    let edges = page.items.into_iter().map(|item| Edge::new(cursor(&item), node(item)));
    connection.edges.extend(edges);
    connection
}

/// The page asked for: `first` items, `after` a cursor.
pub(crate) fn page(first: Option<i32>, after: Option<String>) -> Result<PageRequest> {
    PageRequest::judge(first.map(i64::from), after).map_err(|error| {
        refused(match error {
            Error::Invalid { field, expected } => {
                let field = if field == "limit" { "first" } else { "after" };
                Error::invalid(field, expected)
            }
            other => other,
        })
    })
}

async fn statistics(
    context: &Context<'_>,
    organization: &OrganizationId,
    scope: Scope,
    from: Option<DateTime>,
    to: Option<DateTime>,
) -> Result<Statistics> {
    let (from, to) = (instant("from", from)?, instant("to", to)?);
    let span = admin(context)?.span(from, to).map_err(refused)?;
    let key = (organization.clone(), StatisticsOf { scope, span });
    let found = context.data::<DataLoader<Batches>>()?.load_one(key).await?;
    Ok(Statistics { span, found: found.unwrap_or_default() })
}

/// What a list of `first` items counts for.
pub(crate) fn several(first: Option<i32>, default: usize) -> usize {
    first.map_or(default, |first| usize::try_from(first).unwrap_or(default)).max(1)
}

/// The use cases.
pub(crate) fn admin<'a>(context: &Context<'a>) -> Result<&'a Admin> {
    Ok(context.data::<Arc<Admin>>()?)
}

/// Publishing, testing and withdrawing.
pub(crate) fn intake<'a>(context: &Context<'a>) -> Result<&'a Intake> {
    Ok(context.data::<Arc<Intake>>()?)
}

/// Who is calling, at work in the organization that is named, or in his own.
pub(crate) fn caller(context: &Context<'_>, organization: Option<ID>) -> Result<Caller> {
    let organization = organization
        .map(|id| OrganizationId::parse_uuid("organizationId", &id))
        .transpose()
        .map_err(refused)?;
    context.data::<Caller>()?.within(organization).map_err(refused)
}

/// Only the platform passes.
pub(crate) fn platform(context: &Context<'_>) -> Result<()> {
    context.data::<Caller>()?.platform().map_err(refused)
}

/// An instant of an argument.
pub(crate) fn instant(field: &str, at: Option<DateTime>) -> Result<Option<Timestamp>> {
    let rule = || refused(Error::invalid(field, "an RFC 3339 date-time that ends in Z"));
    at.map(|DateTime(text)| Timestamp::parse(&text).ok_or_else(rule)).transpose()
}
