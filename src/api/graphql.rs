//! The GraphQL schema over HTTP: POST only, JSON only, the same keys as everywhere.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use hookseal_core::limits::BODY_BYTES;
use hookseal_graphql::{Request, Response, batches, sdl};

use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::Api;
use super::body::Body;
use super::envelope::ApiError;

/// A GraphQL document and its variables.
#[derive(JsonSchema)]
#[schemars(rename = "GraphQLRequest")]
#[expect(dead_code, reason = "what is read is async-graphql's; this tells how it is written")]
pub(super) struct Document {
    query: String,
    #[schemars(rename = "operationName")]
    operation_name: Option<String>,
    variables: Option<Map<String, Value>>,
}

pub(super) async fn execute(
    api: Data<Api>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    // A batch is an array, which an object is not: one document a request.
    let request: Request = body.object()?;
    let batches = batches(api.admin.clone(), body.caller.clone(), tokio::spawn);
    let request = request.data(body.caller).data(batches);
    let response: Response = api.graphql.execute(request).await;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .body(serde_json::to_vec(&response).expect("a response always serializes")))
}

pub(super) async fn schema() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
        .body(sdl())
}
