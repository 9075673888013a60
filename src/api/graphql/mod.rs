//! The GraphQL schema over HTTP: documents by POST as JSON, what is watched over a WebSocket or as a stream
//! of server-sent events, the same keys as everywhere.

mod live;
mod socket;
mod stream;

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use hookseal_core::access::Caller;
use hookseal_core::limits::BODY_BYTES;
use hookseal_graphql::{Request, Response, batches, graphiql, sdl};
use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::Api;
use super::auth::Credential;
use super::body::Body;
use super::envelope::{ApiError, Fault};

pub use live::Lives;

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

/// A document with its caller and its batches.
fn prepared(api: &Api, document: Request, caller: Caller) -> Request {
    let batches = batches(api.admin.clone(), caller.clone(), tokio::spawn);
    document.data(caller).data(batches)
}

pub(super) async fn execute(
    request: HttpRequest,
    api: Data<Api>,
    body: Body<BODY_BYTES>,
) -> Result<HttpResponse, ApiError> {
    // A batch is an array, which an object is not: one document a request.
    let document: Request = body.unambiguous_object()?;
    if wants(&request, "text/event-stream") {
        let credential = Credential::of(&request, &api.session_cookie)?;
        return stream::open(api, document, credential, body.caller);
    }
    let response: Response = api.graphql.execute(prepared(&api, document, body.caller)).await;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .body(serde_json::to_vec(&response).expect("a response always serializes")))
}

/// A WebSocket; in development mode, a page to try the schema on.
pub(super) async fn open(
    request: HttpRequest,
    api: Data<Api>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    if request.headers().contains_key(header::SEC_WEBSOCKET_KEY) {
        return socket::open(request, api, payload).await;
    }
    if api.development && wants(&request, "text/html") {
        return Ok(HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .body(graphiql("/graphql")));
    }
    Err(Fault::MethodNotAllowed { allow: "POST".to_owned() }.into())
}

fn wants(request: &HttpRequest, media_type: &str) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| {
        accept
            .split(',')
            .any(|kind| kind.split(';').next().is_some_and(|it| it.trim() == media_type))
    })
}

pub(super) async fn schema(api: Data<Api>) -> Result<HttpResponse, ApiError> {
    if !api.introspection {
        return Err(Fault::UnknownPath.into());
    }
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
        .body(sdl()))
}
