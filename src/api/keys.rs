//! Encryption keys (contract 2.6).

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use hookseal_core::id::{EndpointId, KeyId};
use hookseal_core::key::KeyFields;
use hookseal_core::limits::BODY_BYTES;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::auth::Writer;
use super::body::Body;
use super::envelope::{ApiError, list as listed, success};
use super::query::{Query, on_list};
use super::{Api, schema, views};

/// A new encryption key, which becomes the endpoint's only active one.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewWebhookEncryptionKey")]
pub(super) struct Fields {
    #[schemars(length(min = 1, max = 128))]
    key_id: String,
    #[schemars(extend("enum" = ["RSA-OAEP-256"]))]
    algorithm: String,
    #[schemars(extend("enum" = ["RSA"]))]
    key_type: String,
    #[schemars(with = "schema::NewJwk")]
    jwk: Map<String, Value>,
}

pub(super) async fn create(
    api: Data<Api>,
    endpoint: Path<String>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    let caller = &body.caller;
    caller.writer()?;
    let endpoint = EndpointId::parse("endpoint_id", &endpoint)?;
    let Fields { key_id, algorithm, key_type, jwk } = body.unambiguous_object()?;
    let fields = KeyFields { key_id, algorithm, key_type, jwk };
    let key = api.admin.register_key(caller, &endpoint, fields).await?;
    Ok(success(StatusCode::OK, &views::key(&key)))
}

pub(super) async fn list(
    request: HttpRequest,
    api: Data<Api>,
    endpoint: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request);
    let read = async || {
        let caller = api.caller(&request).await?;
        caller.reader()?;
        let (page, active) = (query.page()?, query.flag("is_active")?);
        let endpoint = EndpointId::parse("endpoint_id", &endpoint)?;
        let found = api.admin.keys(&caller, &endpoint, active, &page).await?;
        Ok(listed(&found, &page, views::key, |key| key.id.as_str()))
    };
    on_list(&query, read().await)
}

pub(super) async fn deactivate(
    Writer(caller): Writer,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let key = api.admin.set_key_active(&caller, &KeyId::parse("key_id", &id)?, false).await?;
    Ok(success(StatusCode::OK, &views::key(&key)))
}

pub(super) async fn reactivate(
    Writer(caller): Writer,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let key = api.admin.set_key_active(&caller, &KeyId::parse("key_id", &id)?, true).await?;
    Ok(success(StatusCode::OK, &views::key(&key)))
}
