//! The route table, grouped by who calls, with what the OpenAPI document says of each operation.

use actix_cors::Cors;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::{DefaultHeaders, Next};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{
    Error, FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, Route,
};
use serde_json::Value;

use super::envelope::{ApiError, Fault};
use super::openapi::{
    self, CREATED_FROM, CREATED_TO, ENABLED, ENDPOINT_ID, EVENT_ID, EVENT_TYPE, Entry,
    IDEMPOTENCY_KEY, IF_MATCH, IS_ACTIVE, Operation, Right, STATUS, TYPE, accepted, one, page,
    plain,
};
use super::{
    Api, api_keys, audit, cluster, deliveries, endpoints, events, graphql, keys, ops, platform,
    reference, views,
};
use crate::config::Config;
use crate::metrics;

/// Adds every route.
pub fn configure(config: &mut ServiceConfig) {
    let mut paths = table();
    // Tried in turn: paths as they stand, such as those of publishing, are compared faster than patterns.
    paths.sort_by_key(|routes| routes.path.contains('{'));
    for path in paths {
        config.service(path.finish());
    }
    config.default_service(web::to(unknown_path));
}

/// The OpenAPI document of all routes, for an installation with these settings.
pub fn openapi_document(config: &Config) -> Value {
    let entries: Vec<_> = table().into_iter().flat_map(|path| path.entries).collect();
    openapi::document(&entries, &config.catalogue, &config.sessions.cookie)
}

fn table() -> Vec<PathRoutes> {
    [operators(), integrators(), dashboards(), platform()].into_iter().flatten().collect()
}

fn operators() -> Vec<PathRoutes> {
    const TEXT: &str = "text/plain";
    vec![
        on("/").get(ops::root, one::<ops::Root>("root", "Say that the daemon is there")),
        on("/healthz").get(ops::alive, plain("alive", "Say that the process lives", TEXT)),
        on("/readyz").get(
            ops::ready,
            plain("ready", "Say whether requests are taken", "application/json")
                .refuses(StatusCode::SERVICE_UNAVAILABLE),
        ),
        on("/metrics").get(ops::metrics, plain("metrics", "Count what happened", TEXT)),
        on("/openapi")
            .get(ops::openapi, plain("openapi", "Describe every route", "application/json")),
        on("/reference")
            .get(reference::page, plain("reference", "Show this document", "text/html")),
        on("/reference/{asset}").get(
            reference::asset,
            plain("referenceAsset", "Serve what the page is made of", "*/*"),
        ),
        on("/docs/errors")
            .get(ops::errors, plain("errors", "Explain every error", "text/markdown")),
        on("/graphql/schema").get(
            graphql::schema,
            plain("graphqlSchema", "Show the GraphQL schema", TEXT).refuses(StatusCode::NOT_FOUND),
        ),
    ]
}

fn integrators() -> Vec<PathRoutes> {
    use Right::{Reader, Revealer, Writer};
    use views::{
        AttemptView, AuditView, DeliveryView, DoneView, EndpointView, EventView, KeyView,
        ListedEventView,
    };
    let events = |id, summary| {
        page::<ListedEventView<'_>>(id, summary).by(Reader).with(&[TYPE, CREATED_FROM, CREATED_TO])
    };
    let event = |id, summary| one::<EventView<'_>>(id, summary).by(Reader);
    let replay = |id, summary| accepted::<EventView<'_>>(id, summary).by(Writer).conflicts();
    vec![
        on("/v1/webhooks/endpoints")
            .get(
                endpoints::list,
                page::<EndpointView<'_>>("listEndpoints", "List webhook endpoints")
                    .by(Reader)
                    .with(&[ENABLED]),
            )
            .post(
                endpoints::create,
                one::<endpoints::Created<'_>>("createEndpoint", "Make a webhook endpoint")
                    .by(Writer)
                    .reads::<endpoints::NewEndpoint>()
                    .with(&[IDEMPOTENCY_KEY])
                    .conflicts()
                    .tagged(),
            ),
        on("/v1/webhooks/endpoints/{endpoint_id}")
            .get(
                endpoints::get,
                one::<EndpointView<'_>>("getEndpoint", "Get a webhook endpoint")
                    .by(Reader)
                    .tagged(),
            )
            .patch(
                endpoints::change,
                one::<EndpointView<'_>>("updateEndpoint", "Change a webhook endpoint")
                    .by(Writer)
                    .reads::<endpoints::Fields>()
                    .with(&[IF_MATCH])
                    .refuses(StatusCode::PRECONDITION_FAILED)
                    .tagged(),
            )
            .delete(
                endpoints::delete,
                one::<DoneView>("deleteEndpoint", "Delete a webhook endpoint").by(Writer),
            ),
        on("/v1/webhooks/endpoints/{endpoint_id}/signing-secret/reveal").post(
            endpoints::reveal,
            one::<endpoints::SigningSecret<'_>>("revealSigningSecret", "Show a signing secret")
                .by(Revealer),
        ),
        on("/v1/webhooks/endpoints/{endpoint_id}/signing-secret/rotate").post(
            endpoints::rotate,
            one::<endpoints::SigningSecret<'_>>("rotateSigningSecret", "Replace a signing secret")
                .by(Writer)
                .may_read::<endpoints::Rotation>(),
        ),
        on("/v1/webhooks/endpoints/{endpoint_id}/test").post(
            endpoints::test,
            accepted::<EventView<'_>>("testEndpoint", "Send a test event").by(Writer).conflicts(),
        ),
        on("/v1/webhooks/endpoints/{endpoint_id}/keys")
            .get(
                keys::list,
                page::<KeyView<'_>>("listKeys", "List encryption keys")
                    .by(Reader)
                    .with(&[IS_ACTIVE]),
            )
            .post(
                keys::create,
                one::<KeyView<'_>>("createKey", "Register an encryption key")
                    .by(Writer)
                    .reads::<keys::Fields>()
                    .conflicts(),
            ),
        on("/v1/webhooks/keys/{key_id}/deactivate").post(
            keys::deactivate,
            one::<KeyView<'_>>("deactivateKey", "Make an encryption key inactive").by(Writer),
        ),
        on("/v1/webhooks/keys/{key_id}/reactivate").post(
            keys::reactivate,
            one::<KeyView<'_>>("reactivateKey", "Make an encryption key the active one").by(Writer),
        ),
        on("/v1/webhooks/deliveries").get(
            deliveries::list,
            page::<DeliveryView<'_>>("listDeliveries", "List deliveries").by(Reader).with(&[
                STATUS,
                ENDPOINT_ID,
                EVENT_ID,
                EVENT_TYPE,
                CREATED_FROM,
                CREATED_TO,
            ]),
        ),
        on("/v1/webhooks/deliveries/{delivery_id}").get(
            deliveries::get,
            one::<DeliveryView<'_>>("getDelivery", "Get a delivery").by(Reader),
        ),
        on("/v1/webhooks/deliveries/{delivery_id}/attempts").get(
            deliveries::attempts,
            one::<Vec<AttemptView>>("listAttempts", "List the attempts of a delivery").by(Reader),
        ),
        on("/v1/webhooks/deliveries/{delivery_id}/retry").post(
            deliveries::retry,
            one::<DeliveryView<'_>>("retryDelivery", "Send a delivery again")
                .by(Writer)
                .conflicts(),
        ),
        on("/v1/webhooks/events").get(events::list, events("listEvents", "List events")),
        on("/v1/webhooks/events/{event_id}").get(events::get, event("getEvent", "Get an event")),
        on("/v1/webhooks/events/{event_id}/replay")
            .post(events::replay, replay("replayEvent", "Send an event again")),
        on("/v1/events").get(events::list, events("listEventsByAlias", "List events")),
        on("/v1/events/{event_id}").get(events::get, event("getEventByAlias", "Get an event")),
        on("/v1/events/{event_id}/replay")
            .post(events::replay, replay("replayEventByAlias", "Send an event again")),
        on("/v1/webhooks/audit-log").get(
            audit::list,
            page::<AuditView<'_>>("listAuditLog", "List who changed what")
                .by(Reader)
                .with(&[CREATED_FROM, CREATED_TO]),
        ),
        on("/graphql").undocumented(web::get().to(graphql::open)).post(
            graphql::execute,
            plain("graphql", "Run a GraphQL document", "application/json")
                .by(Reader)
                .reads::<graphql::Document>(),
        ),
    ]
}

fn dashboards() -> Vec<PathRoutes> {
    use Right::Keyholder;
    use api_keys::{Change, CreatedApiKey, NewApiKey};
    use views::{ApiKeyView, DoneView};
    vec![
        on("/v1/auth/api-keys")
            .get(
                api_keys::list,
                page::<ApiKeyView<'_>>("listApiKeys", "List API keys").by(Keyholder),
            )
            .post(
                api_keys::create,
                one::<CreatedApiKey<'_>>("createApiKey", "Make an API key")
                    .by(Keyholder)
                    .reads::<NewApiKey>()
                    .conflicts(),
            ),
        on("/v1/auth/api-keys/{api_key_id}")
            .patch(
                api_keys::change,
                one::<DoneView>("updateApiKey", "Change an API key")
                    .by(Keyholder)
                    .reads::<Change>(),
            )
            .delete(
                api_keys::delete,
                one::<DoneView>("deleteApiKey", "Delete an API key").by(Keyholder),
            ),
    ]
}

fn platform() -> Vec<PathRoutes> {
    use Right::Platform;
    use api_keys::{CreatedApiKey, NewApiKey};
    use cluster::ClusterView;
    use platform::{
        BatchItem, NewEvent, NewEvents, NewOrganization, NewPrivacyRequest, OrganizationChange,
    };
    use views::{DoneView, EventView, OrganizationView, PrivacyRequestView};
    vec![
        on("/v1/platform/organizations")
            .get(
                platform::organizations,
                page::<OrganizationView<'_>>("listOrganizations", "List organizations")
                    .by(Platform),
            )
            .post(
                platform::create_organization,
                one::<OrganizationView<'_>>("createOrganization", "Make an organization")
                    .by(Platform)
                    .reads::<NewOrganization>()
                    .conflicts(),
            ),
        on("/v1/platform/organizations/{organization_id}")
            .get(
                platform::organization,
                one::<OrganizationView<'_>>("getOrganization", "Get an organization").by(Platform),
            )
            .patch(
                platform::change_organization,
                one::<OrganizationView<'_>>("updateOrganization", "Rename, freeze or thaw")
                    .by(Platform)
                    .reads::<OrganizationChange>(),
            )
            .delete(
                platform::delete_organization,
                one::<DoneView>("deleteOrganization", "Delete an organization").by(Platform),
            ),
        on("/v1/platform/organizations/{organization_id}/api-keys").post(
            platform::create_api_key,
            one::<CreatedApiKey<'_>>("createOrganizationApiKey", "Make an API key")
                .by(Platform)
                .reads::<NewApiKey>()
                .conflicts(),
        ),
        on("/v1/platform/cluster").get(
            cluster::status,
            one::<ClusterView<'_>>("getCluster", "Show nodes and shards").by(Platform),
        ),
        on("/v1/platform/events").post(
            platform::publish,
            accepted::<EventView<'_>>("publishEvent", "Publish an event")
                .by(Platform)
                .reads::<NewEvent>()
                .with(&[IDEMPOTENCY_KEY])
                .conflicts()
                .refuses(StatusCode::NOT_FOUND),
        ),
        on("/v1/platform/events/batch").post(
            platform::publish_batch,
            accepted::<Vec<BatchItem<'_>>>("publishEvents", "Publish many events")
                .by(Platform)
                .reads::<NewEvents>(),
        ),
        on("/v1/platform/privacy-requests").post(
            platform::withdraw,
            accepted::<PrivacyRequestView<'_>>("createPrivacyRequest", "Withdraw a session")
                .by(Platform)
                .reads::<NewPrivacyRequest>()
                .refuses(StatusCode::NOT_FOUND),
        ),
        on("/v1/platform/privacy-requests/{privacy_request_id}").get(
            platform::privacy_request,
            one::<PrivacyRequestView<'_>>("getPrivacyRequest", "Get a withdrawal").by(Platform),
        ),
    ]
}

/// One path and the methods it has.
struct PathRoutes {
    path: &'static str,
    resource: Resource,
    entries: Vec<Entry>,
}

fn on(path: &'static str) -> PathRoutes {
    PathRoutes { path, resource: web::resource(path), entries: Vec::new() }
}

macro_rules! methods {
    ($($name:ident $word:literal),+) => {$(
        fn $name<H: Handler<A>, A: FromRequest + 'static>(
            self,
            handler: H,
            operation: Operation,
        ) -> Self
        where
            H::Output: Responder + 'static,
        {
            self.method($word, web::$name().to(handler), operation)
        }
    )+};
}

impl PathRoutes {
    methods!(post "POST", patch "PATCH", delete "DELETE");

    /// GET, and HEAD with it.
    fn get<H: Handler<A>, A: FromRequest + 'static>(
        mut self,
        handler: H,
        operation: Operation,
    ) -> Self
    where
        H::Output: Responder + 'static,
    {
        self.resource = self.resource.route(web::head().to(handler.clone()));
        self.method("GET", web::get().to(handler), operation)
    }

    /// A route that an OpenAPI document cannot tell of.
    fn undocumented(self, route: Route) -> Self {
        Self { resource: self.resource.route(route), ..self }
    }

    fn method(mut self, method: &'static str, route: Route, operation: Operation) -> Self {
        self.entries.push(Entry { path: self.path.to_owned(), method, operation });
        Self { resource: self.resource.route(route), ..self }
    }

    /// The resource; any other method is answered with those that there are.
    fn finish(self) -> Resource {
        let methods = self.entries.iter().map(|entry| match entry.method {
            "GET" => "GET, HEAD",
            other => other,
        });
        let allow = methods.collect::<Vec<_>>().join(", ");
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

/// The headers that every answer carries (contract 2.1), over TLS or not.
pub fn security_headers(secure: bool) -> DefaultHeaders {
    let headers = DefaultHeaders::new()
        .add((
            "Content-Security-Policy",
            "base-uri 'self'; frame-ancestors 'none'; object-src 'none'",
        ))
        .add(("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"))
        .add(("Referrer-Policy", "strict-origin-when-cross-origin"))
        .add(("X-Content-Type-Options", "nosniff"))
        .add(("X-Frame-Options", "DENY"));
    if !secure {
        return headers;
    }
    headers.add(("Strict-Transport-Security", "max-age=31536000; includeSubDomains"))
}

/// What dashboards of these origins may ask from a browser.
pub fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
        .allowed_headers(["Authorization", "Content-Type", "Idempotency-Key", "If-Match"])
        .expose_headers(["ETag", "Retry-After"])
        .supports_credentials()
        .max_age(600);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
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
