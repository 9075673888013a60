//! The platform's own way in: organizations, their API keys, and publishing.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::join_all;
use hookseal_core::access::ApiKeyFields;
use hookseal_core::error::{Error, Result as CoreResult};
use hookseal_core::event::{EventWithDeliveries, PublishFields};
use hookseal_core::id::OrganizationId;
use hookseal_core::limits::{BATCH_BODY_BYTES, BATCH_EVENTS, BODY_BYTES};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::body::{Body, parse};
use super::envelope::{ApiError, ErrorView, list as listed, success};
use super::query::Query;
use super::{Api, views};
use crate::metrics;

#[derive(Deserialize)]
struct NewOrganization {
    name: String,
    id: Option<String>,
}

pub(super) async fn create_organization(
    request: HttpRequest,
    api: Data<Api>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    api.caller(&request).await?.platform()?;
    let NewOrganization { name, id } = body.json()?;
    let organization = api.admin.create_organization(name, id).await?;
    Ok(success(StatusCode::OK, &views::organization(&organization)))
}

pub(super) async fn organizations(
    request: HttpRequest,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    api.caller(&request).await?.platform()?;
    let page = Query::of(&request).page().map_err(|error| ApiError::from(error).on_list(None))?;
    let found = api
        .admin
        .organizations(&page)
        .await
        .map_err(|error| ApiError::from(error).on_list(Some(&page)))?;
    Ok(listed(&found, &page, views::organization, |organization| organization.id.as_str()))
}

pub(super) async fn organization(
    request: HttpRequest,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    api.caller(&request).await?.platform()?;
    let organization = api.admin.organization(&OrganizationId::parse("id", &id)?).await?;
    Ok(success(StatusCode::OK, &views::organization(&organization)))
}

#[derive(Deserialize)]
struct OrganizationChange {
    name: Option<String>,
    frozen: Option<bool>,
}

pub(super) async fn change_organization(
    request: HttpRequest,
    api: Data<Api>,
    id: Path<String>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    api.caller(&request).await?.platform()?;
    let id = OrganizationId::parse("id", &id)?;
    let OrganizationChange { name, frozen } = body.json()?;
    let organization = api.admin.change_organization(&id, name, frozen).await?;
    Ok(success(StatusCode::OK, &views::organization(&organization)))
}

#[derive(Deserialize)]
struct NewApiKey {
    name: String,
    permissions: Vec<String>,
}

#[derive(Serialize)]
struct CreatedApiKey<'a> {
    id: &'a str,
    key: &'a str,
}

pub(super) async fn create_api_key(
    request: HttpRequest,
    api: Data<Api>,
    id: Path<String>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    api.caller(&request).await?.platform()?;
    let organization = OrganizationId::parse("id", &id)?;
    let NewApiKey { name, permissions } = body.json()?;
    let fields = ApiKeyFields { name, permissions };
    let (key, secret) = api.admin.create_api_key(&organization, fields).await?;
    let created = CreatedApiKey { id: key.id.as_str(), key: secret.expose() };
    Ok(success(StatusCode::OK, &created))
}

pub(super) async fn publish(
    request: HttpRequest,
    api: Data<Api>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    api.caller(&request).await?.platform()?;
    let mut fields: PublishFields = body.json()?;
    if let Some(key) = request.headers().get("idempotency-key") {
        let key = key.to_str().map_err(|_| Error::invalid("Idempotency-Key", "ASCII text"))?;
        fields.idempotency_key = Some(key.to_owned());
    }
    let event = counted(api.intake.publish(fields).await)?;
    Ok(success(StatusCode::ACCEPTED, &views::event(&event)))
}

fn counted(published: CoreResult<EventWithDeliveries>) -> CoreResult<EventWithDeliveries> {
    match &published {
        Ok(_) => metrics::EVENTS_ACCEPTED.inc(),
        Err(error) => metrics::PUBLISHES_REFUSED.with_label_values(&[error.code()]).inc(),
    }
    published
}

#[derive(Serialize)]
struct BatchItem<'a> {
    status: u16,
    event: Option<views::EventView<'a>>,
    error: Option<ErrorView>,
}

pub(super) async fn publish_batch(
    request: HttpRequest,
    api: Data<Api>,
    body: Body<BATCH_BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    api.caller(&request).await?.platform()?;
    let items: Vec<Box<RawValue>> = body.json()?;
    if !(1..=BATCH_EVENTS).contains(&items.len()) {
        return Err(
            Error::invalid("body", format!("an array of 1 to {BATCH_EVENTS} events")).into()
        );
    }
    let publishes = items.into_iter().map(|item| async {
        let fields: PublishFields = parse(item.get().as_bytes())?;
        drop(item);
        counted(api.intake.publish(fields).await)
    });
    let published = join_all(publishes).await;
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
