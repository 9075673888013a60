//! The route table, grouped by who calls.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::{DefaultHeaders, Next};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{
    Error, FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, Route,
};

use super::envelope::{ApiError, Fault};
use super::{Api, deliveries, endpoints, events, graphql, keys, ops, platform};
use crate::metrics;

/// Adds every route.
pub fn configure(config: &mut ServiceConfig) {
    let operators = [
        on("/").get(ops::root),
        on("/healthz").get(ops::alive),
        on("/readyz").get(ops::ready),
        on("/metrics").get(ops::metrics),
        on("/docs/errors").get(ops::errors),
        on("/graphql/schema").get(graphql::schema),
    ];
    let integrators = [
        on("/v1/webhooks/endpoints").get(endpoints::list).post(endpoints::create),
        on("/v1/webhooks/endpoints/{id}").get(endpoints::get).patch(endpoints::change),
        on("/v1/webhooks/endpoints/{id}/signing-secret/reveal").post(endpoints::reveal),
        on("/v1/webhooks/endpoints/{id}/signing-secret/rotate").post(endpoints::rotate),
        on("/v1/webhooks/endpoints/{id}/keys").get(keys::list).post(keys::create),
        on("/v1/webhooks/keys/{id}/deactivate").post(keys::deactivate),
        on("/v1/webhooks/keys/{id}/reactivate").post(keys::reactivate),
        on("/v1/webhooks/deliveries").get(deliveries::list),
        on("/v1/webhooks/deliveries/{id}").get(deliveries::get),
        on("/v1/webhooks/deliveries/{id}/attempts").get(deliveries::attempts),
        on("/v1/webhooks/deliveries/{id}/retry").post(deliveries::retry),
        on("/v1/webhooks/events").get(events::list),
        on("/v1/webhooks/events/{id}").get(events::get),
        on("/v1/webhooks/events/{id}/replay").post(events::replay),
        on("/graphql").post(graphql::execute),
        on("/v1/events").get(events::list),
        on("/v1/events/{id}").get(events::get),
        on("/v1/events/{id}/replay").post(events::replay),
    ];
    let platform = [
        on("/v1/platform/organizations")
            .get(platform::organizations)
            .post(platform::create_organization),
        on("/v1/platform/organizations/{id}")
            .get(platform::organization)
            .patch(platform::change_organization),
        on("/v1/platform/organizations/{id}/api-keys").post(platform::create_api_key),
        on("/v1/platform/events").post(platform::publish),
        on("/v1/platform/events/batch").post(platform::publish_batch),
    ];
    for path in operators.into_iter().chain(integrators).chain(platform) {
        config.service(path.finish());
    }
    config.default_service(web::to(unknown_path));
}

/// One path and the methods it has.
struct PathRoutes {
    resource: Resource,
    methods: Vec<&'static str>,
}

fn on(path: &str) -> PathRoutes {
    PathRoutes { resource: web::resource(path), methods: Vec::new() }
}

impl PathRoutes {
    /// GET, and HEAD with it.
    fn get<H: Handler<A>, A: FromRequest + 'static>(self, handler: H) -> Self
    where
        H::Output: Responder + 'static,
    {
        self.method("GET", web::get().to(handler.clone())).method("HEAD", web::head().to(handler))
    }

    fn post<H: Handler<A>, A: FromRequest + 'static>(self, handler: H) -> Self
    where
        H::Output: Responder + 'static,
    {
        self.method("POST", web::post().to(handler))
    }

    fn patch<H: Handler<A>, A: FromRequest + 'static>(self, handler: H) -> Self
    where
        H::Output: Responder + 'static,
    {
        self.method("PATCH", web::patch().to(handler))
    }

    fn method(mut self, name: &'static str, route: Route) -> Self {
        self.methods.push(name);
        Self { resource: self.resource.route(route), methods: self.methods }
    }

    /// The resource; any other method is answered with those that there are.
    fn finish(self) -> Resource {
        let allow = self.methods.join(", ");
        self.resource.default_service(web::to(move |request: HttpRequest, api: Data<Api>| {
            let allow = allow.clone();
            async move {
                if request.path().starts_with("/v1/") {
                    api.caller(&request).await?;
                }
                Err::<HttpResponse, ApiError>(Fault::MethodNotAllowed { allow }.into())
            }
        }))
    }
}

/// Under `/v1` authentication comes first, so that a stranger learns nothing of the paths.
async fn unknown_path(request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    if request.path().starts_with("/v1/") {
        api.caller(&request).await?;
    }
    Err(Fault::UnknownPath.into())
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
