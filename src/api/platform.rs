//! The platform's own way in: organizations, their API keys, and publishing.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::{StreamExt as _, stream};
use hookseal_core::error::{Error, Result as CoreResult};
use hookseal_core::event::PublishFields;
use hookseal_core::id::{OrganizationId, PrivacyRequestId};
use hookseal_core::limits::{
    BATCH_BODY_BYTES, BATCH_EVENTS, BODY_BYTES, IDEMPOTENCY_KEY_CHARS, TRIGGER_ID_CHARS,
};
use hookseal_core::privacy::WithdrawalFields;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::api_keys::{CreatedApiKey, NewApiKey};
use super::auth::Platform;
use super::body::{Body, object, present};
use super::envelope::{ApiError, ErrorView, list as listed, success};
use super::query::{Query, header_text, on_list};
use super::{Api, schema, views};
use crate::metrics;

/// Publishes that one thread begins between two looks at who else has come, where there are many.
const AT_A_TURN: usize = 4;
/// Events of one batch that are under way at once.
const AT_ONCE: usize = 128;
/// How long an item of a batch lets others go first where something is full.
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(10);

/// Ids of organizations are UUIDs, kept in lower case.
fn organization_id(text: &str) -> CoreResult<OrganizationId> {
    OrganizationId::parse("id", &text.to_ascii_lowercase())
}

/// A new organization.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewOrganization")]
pub(super) struct NewOrganization {
    #[schemars(with = "schema::Name")]
    name: String,
    #[schemars(with = "Option<schema::Uuid>")]
    id: Option<String>,
}

pub(super) async fn create_organization(
    api: Data<Api>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    body.caller.platform()?;
    let NewOrganization { name, id } = body.object()?;
    let organization = api.admin.create_organization(name, id).await?;
    Ok(success(StatusCode::OK, &views::organization(&organization)))
}

pub(super) async fn organizations(
    request: HttpRequest,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request);
    let read = async || {
        api.caller(&request).await?.platform()?;
        let page = query.page()?;
        let found = api.admin.organizations(&page).await?;
        Ok(listed(&found, &page, views::organization, |organization| organization.id.as_str()))
    };
    on_list(&query, read().await)
}

pub(super) async fn organization(
    Platform(_): Platform,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let organization = api.admin.organization(&organization_id(&id)?).await?;
    Ok(success(StatusCode::OK, &views::organization(&organization)))
}

/// What is to be changed of an organization; at least one must be given.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "OrganizationChange", extend("minProperties" = 1))]
pub(super) struct OrganizationChange {
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "schema::Name")]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "bool")]
    frozen: Option<bool>,
}

pub(super) async fn change_organization(
    api: Data<Api>,
    id: Path<String>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    body.caller.platform()?;
    let id = organization_id(&id)?;
    let OrganizationChange { name, frozen } = body.object()?;
    let organization = api.admin.change_organization(&id, name, frozen).await?;
    Ok(success(StatusCode::OK, &views::organization(&organization)))
}

pub(super) async fn create_api_key(
    api: Data<Api>,
    id: Path<String>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    body.caller.platform()?;
    let organization = organization_id(&id)?;
    let fields: NewApiKey = body.object()?;
    let (key, secret) = api.admin.create_api_key(&organization, fields.into()).await?;
    Ok(CreatedApiKey::of(&key, &secret))
}

pub(super) async fn delete_organization(
    Platform(_): Platform,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    api.admin.delete_organization(&organization_id(&id)?).await?;
    Ok(success(StatusCode::OK, &views::done("Organization deleted.")))
}

pub(super) async fn withdraw(
    api: Data<Api>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    body.caller.platform()?;
    let fields: WithdrawalFields = body.object()?;
    let request = api.intake.withdraw(fields).await?;
    Ok(success(StatusCode::ACCEPTED, &views::privacy_request(&request)))
}

pub(super) async fn privacy_request(
    Platform(_): Platform,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = PrivacyRequestId::parse("privacy_request_id", &id)?;
    let request = api.intake.privacy_request(&id).await?;
    Ok(success(StatusCode::OK, &views::privacy_request(&request)))
}

/// The withdrawal of a session; a session is withdrawn once.
#[derive(JsonSchema)]
#[schemars(rename = "NewPrivacyRequest")]
#[expect(dead_code, reason = "what is read is core's; this tells how it is written")]
pub(super) struct NewPrivacyRequest {
    #[schemars(with = "schema::Uuid")]
    organization_id: (),
    #[schemars(with = "schema::Id")]
    verification_session_id: (),
    #[schemars(with = "schema::OutcomeWord")]
    outcome: (),
    #[schemars(with = "schema::Tries")]
    #[serde(default)]
    nfc_tries_used: (),
    #[schemars(with = "schema::Tries")]
    #[serde(default)]
    liveness_tries_used: (),
    /// The session's endpoints, where no terminal event has named them.
    #[schemars(with = "Option<schema::Ids>")]
    webhook_endpoint_ids: (),
}

/// An event to be delivered.
#[derive(JsonSchema)]
#[schemars(rename = "NewEvent")]
#[expect(dead_code, reason = "what is read is core's; this tells how it is written")]
pub(super) struct NewEvent {
    #[schemars(with = "schema::Uuid")]
    organization_id: (),
    #[schemars(with = "schema::TypeName")]
    r#type: (),
    #[schemars(with = "schema::TriggerWord")]
    trigger_type: (),
    #[schemars(length(min = 1, max = TRIGGER_ID_CHARS))]
    trigger_id: String,
    #[schemars(with = "schema::Data")]
    data: (),
    #[schemars(with = "Option<schema::Id>")]
    verification_session_id: (),
    #[schemars(with = "Option<u32>")]
    contract_version: (),
    #[schemars(with = "Option<schema::Targets>")]
    webhook_endpoint_ids: (),
    /// In a batch; a single publish may carry it in a header instead.
    #[schemars(with = "Option<String>", length(min = 1, max = IDEMPOTENCY_KEY_CHARS))]
    idempotency_key: (),
}

/// Events to be delivered, each accepted or refused alone.
#[derive(JsonSchema)]
#[schemars(rename = "NewEvents", transparent)]
#[expect(dead_code, reason = "what is read is core's; this tells how it is written")]
pub(super) struct NewEvents(#[schemars(length(min = 1, max = BATCH_EVENTS))] Vec<NewEvent>);

pub(super) async fn publish(
    request: HttpRequest,
    api: Data<Api>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    body.caller.platform()?;
    let place = counted(api.intake.place())?;
    let mut fields: PublishFields = body.object()?;
    if let Some(key) = header_text(&request, "Idempotency-Key")? {
        if fields.idempotency_key.as_ref().is_some_and(|other| other != key) {
            return Err(Error::invalid("idempotency_key", "the same as Idempotency-Key").into());
        }
        fields.idempotency_key = Some(key.to_owned());
    }
    let crowded = place.is_crowded();
    let publish = api.intake.publish(place, fields);
    let event = if crowded { in_turn(publish).await } else { publish.await };
    Ok(success(StatusCode::ACCEPTED, &views::event(&counted(event)?)))
}

thread_local! {
    static TURNS: Rc<Semaphore> = Rc::new(Semaphore::new(AT_A_TURN));
}

/// Begins `work` once it is its turn on this thread: whoever else has come is looked at between, so that a refusal does
/// not wait until all that came before is sealed.
async fn in_turn<T>(work: impl Future<Output = T>) -> T {
    let turns = TURNS.with(Rc::clone);
    let mut turn = turns.acquire().await.ok();
    tokio::task::yield_now().await;
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        turn = None;
        polled
    })
    .await
}

fn counted<T>(published: CoreResult<T>) -> CoreResult<T> {
    if let Err(error) = &published {
        metrics::PUBLISHES_REFUSED.with_label_values(&[error.code()]).inc();
    }
    published
}

/// What became of one event of a batch.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BatchResult")]
pub(super) struct BatchItem<'a> {
    status: u16,
    event: Option<views::EventView<'a>>,
    #[schemars(with = "Option<ErrorView>")]
    error: Option<ErrorView>,
}

pub(super) async fn publish_batch(
    api: Data<Api>,
    body: Body<BATCH_BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    body.caller.platform()?;
    let items = body.array(BATCH_EVENTS)?;
    // The items of one batch stand in each other's way more than in anybody else's.
    let pause = || tokio::time::sleep(PAUSE_WHEN_FULL);
    let publish = async |item: Box<RawValue>| {
        let fields: PublishFields = object(item.get().as_bytes())?;
        drop(item);
        counted(api.intake.publish_patiently(fields, pause).await)
    };
    // So many at once fill the ledger's batches; all at once would be sealed before the first is
    // written.
    let publishes = stream::iter(items).map(publish).buffered(AT_ONCE);
    let published: Vec<_> = publishes.collect().await;
    let results: Vec<_> =
        published.into_iter().map(|result| result.map_err(ApiError::from)).collect();
    let answers: Vec<_> = results
        .iter()
        .map(|result| match result {
            Ok(event) => BatchItem { status: 202, event: Some(views::event(event)), error: None },
            Err(error) => {
                let (status, error) = error.as_item();
                BatchItem { status, event: None, error: Some(error) }
            }
        })
        .collect();
    Ok(success(StatusCode::ACCEPTED, &answers))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn few_begin_between_two_looks_and_who_waits_holds_nobody_up() {
        let begun = Rc::new(Cell::new(0));
        let all = 3 * AT_A_TURN;
        let publishes = tokio::task::LocalSet::new();
        for _ in 0..all {
            let begun = begun.clone();
            publishes.spawn_local(in_turn(async move {
                begun.set(begun.get() + 1);
                std::future::pending::<()>().await;
            }));
        }
        let looks = async {
            for _ in 0..all {
                let before = begun.get();
                tokio::task::yield_now().await;
                assert!(begun.get() <= before + AT_A_TURN, "{before}, then {}", begun.get());
            }
        };
        publishes.run_until(looks).await;
        assert_eq!(begun.get(), all);
    }
}
