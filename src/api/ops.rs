//! For operators: is it alive, is it ready and why not, what does it count. And the root.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::envelope::success;
use crate::metrics;

/// How long the rows may take to answer the probe.
const PROBE: Duration = Duration::from_secs(2);

/// That the daemon is there, and where to read on.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Root")]
pub(super) struct Root {
    message: &'static str,
    docs: &'static str,
    status: &'static str,
}

pub(super) async fn root() -> HttpResponse {
    let root = Root { message: "Hookseal", docs: "/reference", status: "healthy" };
    success(StatusCode::OK, &root)
}

pub(super) async fn alive() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    reasons: Vec<&'static str>,
}

pub(super) async fn ready(api: Data<Api>) -> HttpResponse {
    let mut reasons = Vec::new();
    if api.readiness.is_draining() {
        reasons.push("draining");
    }
    match tokio::time::timeout(PROBE, api.store.ping()).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => reasons.push("database unavailable"),
    }
    let ready = Ready { ready: reasons.is_empty(), reasons };
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).json(ready)
}

/// The document that describes every route.
pub(super) async fn openapi(api: Data<Api>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .body(api.openapi.clone())
}

/// The page that every error's `docs` points into.
pub(super) async fn errors() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/markdown; charset=utf-8"))
        .body(include_str!("../../docs/errors.md"))
}

pub(super) async fn metrics() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(metrics::render())
}
