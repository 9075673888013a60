//! Webhook endpoints (contract 2.5).

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use hookseal_core::endpoint::{Endpoint, EndpointFields};
use hookseal_core::error::{Error, Result as CoreResult};
use hookseal_core::id::EndpointId;
use hookseal_core::limits::BODY_BYTES;
use hookseal_core::ports::{EndpointFilter, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::{Reader, Revealer, Writer};
use super::body::{Body, Whole, nullable, present};
use super::envelope::{ApiError, list as listed, success};
use super::query::{Query, header_text, on_list};
use super::{Api, schema, views};

/// Settings of an endpoint; at least one must be given.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "WebhookEndpointChange", extend("minProperties" = 1))]
pub(super) struct Fields {
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "schema::Url")]
    url: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<schema::Name>")]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "schema::Labels")]
    labels: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "bool")]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "schema::Subscription")]
    subscribed_event_types: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "schema::Retention")]
    undelivered_payload_retention_hours: Option<Whole>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "schema::Window")]
    max_in_flight: Option<Option<Whole>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "schema::Rate")]
    rate_limit_per_second: Option<Option<Whole>>,
}

/// A new endpoint.
#[derive(JsonSchema)]
#[schemars(rename = "NewWebhookEndpoint")]
#[expect(dead_code, reason = "what is read is Fields; this tells what of it must be there")]
pub(super) struct NewEndpoint {
    #[schemars(with = "schema::Url")]
    url: String,
    #[schemars(with = "schema::Name")]
    #[serde(default)]
    name: (),
    #[schemars(with = "schema::Labels")]
    #[serde(default)]
    labels: (),
    #[schemars(with = "bool")]
    #[serde(default)]
    enabled: (),
    #[schemars(with = "schema::Subscription")]
    #[serde(default)]
    subscribed_event_types: (),
    #[schemars(with = "schema::Retention")]
    #[serde(default)]
    undelivered_payload_retention_hours: (),
    #[schemars(with = "schema::Window")]
    #[serde(default)]
    max_in_flight: (),
    #[schemars(with = "schema::Rate")]
    #[serde(default)]
    rate_limit_per_second: (),
}

impl From<Fields> for EndpointFields {
    fn from(fields: Fields) -> Self {
        Self {
            url: fields.url,
            name: fields.name,
            labels: fields.labels,
            enabled: fields.enabled,
            subscribed_event_types: fields.subscribed_event_types,
            undelivered_payload_retention_hours: fields
                .undelivered_payload_retention_hours
                .map(i64::from),
            max_in_flight: fields.max_in_flight.map(|window| window.map(i64::from)),
            rate_limit_per_second: fields.rate_limit_per_second.map(|rate| rate.map(i64::from)),
        }
    }
}

/// A new endpoint and its signing secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreatedWebhookEndpoint")]
pub(super) struct Created<'a> {
    endpoint: views::EndpointView<'a>,
    signing_secret: &'a str,
}

pub(super) async fn create(
    request: HttpRequest,
    api: Data<Api>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    let caller = &body.caller;
    caller.writer()?;
    let fields: Fields = body.object()?;
    let key = header_text(&request, "Idempotency-Key")?.map(ToOwned::to_owned);
    let (endpoint, secret) = api.admin.create_endpoint(caller, fields.into(), key).await?;
    let created = Created { endpoint: views::endpoint(&endpoint), signing_secret: secret.expose() };
    Ok(tagged(&endpoint, success(StatusCode::OK, &created)))
}

/// Adds the ETag that `If-Match` takes.
fn tagged(endpoint: &Endpoint, mut answer: HttpResponse) -> HttpResponse {
    let tag = format!("\"{}\"", endpoint.revision);
    if let Ok(tag) = tag.parse() {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

/// The revisions that `If-Match` lets pass; none when any does (RFC 9110 §13.1.1).
fn known_revisions(request: &HttpRequest) -> CoreResult<Option<Vec<i64>>> {
    let Some(text) = header_text(request, "If-Match")? else { return Ok(None) };
    if text.trim() == "*" {
        return Ok(None);
    }
    let tag = |tag: &str| {
        let weak = tag.trim().starts_with("W/");
        let quoted = tag.trim().trim_start_matches("W/");
        let opaque = quoted.strip_prefix('"')?.strip_suffix('"')?;
        // A weak tag or one of another making matches nothing.
        Some(opaque.parse().ok().filter(|_| !weak))
    };
    let tags: Option<Vec<_>> = text.split(',').map(tag).collect();
    let rule = || Error::invalid("If-Match", "* or ETags in quotes, separated by commas");
    Ok(Some(tags.ok_or_else(rule)?.into_iter().flatten().collect()))
}

/// An endpoint's signing secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookSigningSecret")]
pub(super) struct SigningSecret<'a> {
    endpoint_id: &'a str,
    signing_secret: &'a str,
}

fn shown(id: &EndpointId, secret: &Secret) -> HttpResponse {
    let shown = SigningSecret { endpoint_id: id.as_str(), signing_secret: secret.expose() };
    success(StatusCode::OK, &shown)
}

pub(super) async fn reveal(
    Revealer(caller): Revealer,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = EndpointId::parse("endpoint_id", &id)?;
    let secret = api.admin.reveal_secret(&caller, &id).await?;
    Ok(shown(&id, &secret))
}

/// How a signing secret is replaced.
#[derive(Default, Deserialize, JsonSchema)]
#[schemars(rename = "Rotation")]
pub(super) struct Rotation {
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "schema::GracePeriod")]
    grace_period_seconds: Option<Whole>,
}

pub(super) async fn rotate(
    api: Data<Api>,
    id: Path<String>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    let caller = &body.caller;
    caller.writer()?;
    let id = EndpointId::parse("endpoint_id", &id)?;
    let Rotation { grace_period_seconds } = body.object_if_any()?;
    let grace = grace_period_seconds.map(i64::from);
    let secret = api.admin.rotate_secret(caller, &id, grace).await?;
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
    Ok(tagged(&endpoint, success(StatusCode::OK, &views::endpoint(&endpoint))))
}

pub(super) async fn delete(
    Writer(caller): Writer,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    api.admin.delete_endpoint(&caller, &EndpointId::parse("endpoint_id", &id)?).await?;
    Ok(success(StatusCode::OK, &views::done("Webhook endpoint deleted.")))
}

pub(super) async fn test(
    Writer(caller): Writer,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let event = api.intake.test(&caller, &EndpointId::parse("endpoint_id", &id)?).await?;
    Ok(success(StatusCode::ACCEPTED, &views::event(&event)))
}

pub(super) async fn change(
    request: HttpRequest,
    api: Data<Api>,
    id: Path<String>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    let caller = &body.caller;
    caller.writer()?;
    let id = EndpointId::parse("endpoint_id", &id)?;
    let fields: Fields = body.object()?;
    let known = known_revisions(&request)?;
    let endpoint = api.admin.change_endpoint(caller, &id, fields.into(), known).await?;
    Ok(tagged(&endpoint, success(StatusCode::OK, &views::endpoint(&endpoint))))
}
