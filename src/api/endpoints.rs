//! Webhook endpoints (contract 2.5).

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use hookseal_core::endpoint::EndpointFields;
use hookseal_core::id::EndpointId;
use hookseal_core::limits::BODY_BYTES;
use hookseal_core::ports::{EndpointFilter, Secret};
use serde::{Deserialize, Serialize};

use super::auth::{Reader, Writer};
use super::body::{Body, nullable, present};
use super::envelope::{ApiError, list as listed, success};
use super::query::{Query, on_list};
use super::{Api, views};

#[derive(Deserialize)]
struct Fields {
    #[serde(default, deserialize_with = "present")]
    url: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    labels: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    subscribed_event_types: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    undelivered_payload_retention_hours: Option<i64>,
    #[serde(default, deserialize_with = "nullable")]
    max_in_flight: Option<Option<i64>>,
    #[serde(default, deserialize_with = "nullable")]
    rate_limit_per_second: Option<Option<i64>>,
}

impl From<Fields> for EndpointFields {
    fn from(fields: Fields) -> Self {
        Self {
            url: fields.url,
            name: fields.name,
            labels: fields.labels,
            enabled: fields.enabled,
            subscribed_event_types: fields.subscribed_event_types,
            undelivered_payload_retention_hours: fields.undelivered_payload_retention_hours,
            max_in_flight: fields.max_in_flight,
            rate_limit_per_second: fields.rate_limit_per_second,
        }
    }
}

#[derive(Serialize)]
struct Created<'a> {
    endpoint: views::EndpointView<'a>,
    signing_secret: &'a str,
}

pub(super) async fn create(
    api: Data<Api>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    let caller = &body.caller;
    caller.writer()?;
    let fields: Fields = body.object()?;
    let (endpoint, secret) = api.admin.create_endpoint(caller, fields.into()).await?;
    let created = Created { endpoint: views::endpoint(&endpoint), signing_secret: secret.expose() };
    Ok(success(StatusCode::OK, &created))
}

#[derive(Serialize)]
struct SigningSecret<'a> {
    endpoint_id: &'a str,
    signing_secret: &'a str,
}

fn shown(id: &EndpointId, secret: &Secret) -> HttpResponse {
    let shown = SigningSecret { endpoint_id: id.as_str(), signing_secret: secret.expose() };
    success(StatusCode::OK, &shown)
}

pub(super) async fn reveal(
    Writer(caller): Writer,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = EndpointId::parse("endpoint_id", &id)?;
    let secret = api.admin.reveal_secret(&caller, &id).await?;
    Ok(shown(&id, &secret))
}

pub(super) async fn rotate(
    Writer(caller): Writer,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = EndpointId::parse("endpoint_id", &id)?;
    let secret = api.admin.rotate_secret(&caller, &id).await?;
    Ok(shown(&id, &secret))
}

pub(super) async fn list(request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request);
    let read = async || {
        let caller = api.caller(&request).await?;
        caller.reader()?;
        let page = query.page()?;
        let filter = EndpointFilter { enabled: query.flag("enabled")? };
        let found = api.admin.endpoints(&caller, &filter, &page).await?;
        Ok(listed(&found, &page, views::endpoint, |endpoint| endpoint.id.as_str()))
    };
    on_list(&query, read().await)
}

pub(super) async fn get(
    Reader(caller): Reader,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = EndpointId::parse("endpoint_id", &id)?;
    let endpoint = api.admin.endpoint(&caller, &id).await?;
    Ok(success(StatusCode::OK, &views::endpoint(&endpoint)))
}

pub(super) async fn change(
    api: Data<Api>,
    id: Path<String>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    let caller = &body.caller;
    caller.writer()?;
    let id = EndpointId::parse("endpoint_id", &id)?;
    let fields: Fields = body.object()?;
    let endpoint = api.admin.change_endpoint(caller, &id, fields.into()).await?;
    Ok(success(StatusCode::OK, &views::endpoint(&endpoint)))
}
