//! The route table, grouped by who calls.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::{DefaultHeaders, Next};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Error, FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder};

use super::envelope::{ApiError, Fault};
use super::{Api, deliveries, endpoints, events, keys, ops, platform};
use crate::metrics;

/// Adds every route.
pub fn configure(config: &mut ServiceConfig) {
    let operators = [
        get(on("/"), ops::root),
        get(on("/healthz"), ops::alive),
        get(on("/readyz"), ops::ready),
        get(on("/metrics"), ops::metrics),
    ];
    let integrators = [
        post(get(on("/v1/webhooks/endpoints"), endpoints::list), endpoints::create),
        patch(get(on("/v1/webhooks/endpoints/{id}"), endpoints::get), endpoints::change),
        post(get(on("/v1/webhooks/endpoints/{id}/keys"), keys::list), keys::create),
        get(on("/v1/webhooks/deliveries"), deliveries::list),
        get(on("/v1/webhooks/deliveries/{id}"), deliveries::get),
        get(on("/v1/webhooks/events"), events::list),
        get(on("/v1/webhooks/events/{id}"), events::get),
        get(on("/v1/events"), events::list),
        get(on("/v1/events/{id}"), events::get),
    ];
    let platform = [
        post(
            get(on("/v1/platform/organizations"), platform::organizations),
            platform::create_organization,
        ),
        patch(
            get(on("/v1/platform/organizations/{id}"), platform::organization),
            platform::change_organization,
        ),
        post(on("/v1/platform/organizations/{id}/api-keys"), platform::create_api_key),
        post(on("/v1/platform/events"), platform::publish),
        post(on("/v1/platform/events/batch"), platform::publish_batch),
    ];
    for resource in operators.into_iter().chain(integrators).chain(platform) {
        config.service(resource.default_service(web::to(method_not_allowed)));
    }
    config.default_service(web::to(unknown_path));
}

fn on(path: &str) -> Resource {
    web::resource(path)
}

/// GET, and HEAD with it.
fn get<H, Args>(resource: Resource, handler: H) -> Resource
where
    H: Handler<Args>,
    Args: FromRequest + 'static,
    H::Output: Responder + 'static,
{
    resource.route(web::get().to(handler.clone())).route(web::head().to(handler))
}

fn post<H, Args>(resource: Resource, handler: H) -> Resource
where
    H: Handler<Args>,
    Args: FromRequest + 'static,
    H::Output: Responder + 'static,
{
    resource.route(web::post().to(handler))
}

fn patch<H, Args>(resource: Resource, handler: H) -> Resource
where
    H: Handler<Args>,
    Args: FromRequest + 'static,
    H::Output: Responder + 'static,
{
    resource.route(web::patch().to(handler))
}

/// Under `/v1` authentication comes first, so that a stranger learns nothing of the paths.
async fn unknown_path(request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    if request.path().starts_with("/v1/") {
        api.caller(&request).await?;
    }
    Err(Fault::UnknownPath.into())
}

async fn method_not_allowed(
    request: HttpRequest,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    if request.path().starts_with("/v1/") {
        api.caller(&request).await?;
    }
    Err(Fault::MethodNotAllowed.into())
}

/// The headers that every answer carries (contract 2.1).
pub fn security_headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((
            "Content-Security-Policy",
            "base-uri 'self'; frame-ancestors 'none'; object-src 'none'",
        ))
        .add(("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"))
        .add(("Referrer-Policy", "strict-origin-when-cross-origin"))
        .add(("X-Content-Type-Options", "nosniff"))
        .add(("X-Frame-Options", "DENY"))
}

/// Times every request, by route and never by path: a path may carry an id.
pub async fn timed(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let started = tokio::time::Instant::now();
    let method = known_method(request.method());
    let response = next.call(request).await?;
    let route = response.request().match_pattern();
    let route = route.as_deref().unwrap_or("unknown");
    metrics::HTTP_SECONDS
        .with_label_values(&[method, route, response.status().as_str()])
        .observe(started.elapsed().as_secs_f64());
    Ok(response)
}

/// A method as a label: whatever a client makes up counts as one.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
