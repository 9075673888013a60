//! API keys, as somebody at a dashboard manages them (contract 2.10).

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use hookseal_core::access::{ApiKey, ApiKeyChangeFields, ApiKeyFields};
use hookseal_core::id::ApiKeyId;
use hookseal_core::limits::BODY_BYTES;
use hookseal_core::ports::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::auth::Keyholder;
use super::body::{Body, present};
use super::envelope::{ApiError, list as listed, success};
use super::query::{Query, on_list};
use super::{Api, schema, views};

/// A new API key.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewApiKey")]
pub(super) struct NewApiKey {
    #[schemars(with = "schema::Name")]
    name: String,
    #[schemars(with = "schema::NewScopes")]
    permissions: Vec<String>,
    #[serde(default)]
    #[schemars(with = "schema::Metadata")]
    metadata: Map<String, Value>,
}

impl From<NewApiKey> for ApiKeyFields {
    fn from(NewApiKey { name, permissions, metadata }: NewApiKey) -> Self {
        Self { name, permissions, metadata }
    }
}

/// A new API key, shown once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreatedApiKey")]
pub(super) struct CreatedApiKey<'a> {
    id: &'a str,
    key: &'a str,
}

impl CreatedApiKey<'_> {
    /// The answer that shows `key` this once.
    pub(super) fn of(key: &ApiKey, secret: &Secret) -> HttpResponse {
        let created = CreatedApiKey { id: key.id.as_str(), key: secret.expose() };
        success(StatusCode::OK, &created)
    }
}

/// What is to be changed of an API key; at least one must be given.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ApiKeyChange", extend("minProperties" = 1))]
pub(super) struct Change {
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "schema::Name")]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "bool")]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "schema::NewScopes")]
    permissions: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "schema::Metadata")]
    metadata: Option<Map<String, Value>>,
}

pub(super) async fn list(request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request);
    let read = async || {
        let caller = api.caller(&request).await?;
        caller.keyholder()?;
        let page = query.page()?;
        api.meter.flush(&*api.store).await;
        let found = api.admin.api_keys(&caller, &page).await?;
        Ok(listed(&found, &page, views::api_key, |key| key.id.as_str()))
    };
    on_list(&query, read().await)
}

pub(super) async fn create(
    api: Data<Api>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    body.caller.keyholder()?;
    let fields: NewApiKey = body.object()?;
    let (key, secret) = api.admin.create_own_api_key(&body.caller, fields.into()).await?;
    Ok(CreatedApiKey::of(&key, &secret))
}

pub(super) async fn change(
    api: Data<Api>,
    id: Path<String>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    body.caller.keyholder()?;
    let id = ApiKeyId::parse("api_key_id", &id)?;
    let Change { name, enabled, permissions, metadata } = body.object()?;
    let fields = ApiKeyChangeFields { name, enabled, permissions, metadata };
    api.admin.change_api_key(&body.caller, &id, fields).await?;
    Ok(success(StatusCode::OK, &views::done("API key updated.")))
}

pub(super) async fn delete(
    Keyholder(caller): Keyholder,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    api.admin.delete_api_key(&caller, &ApiKeyId::parse("api_key_id", &id)?).await?;
    Ok(success(StatusCode::OK, &views::done("API key deleted.")))
}
