//! OpenAPI 3.1, generated from the route table and from the types that the handlers read and write.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use hookseal_core::event::Catalogue;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::schema::{DateTime, EVENT_TYPE_NAME, Id, StatusWord, TRIGGER_TYPE, TypeName};

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Anybody.
    Anyone,
    /// A key of the organization that may read, or any member.
    Reader,
    /// A key that may change, or an admin.
    Writer,
    /// A key that may change, or an owner.
    Revealer,
    /// An admin; no key.
    Keyholder,
    /// The platform.
    Platform,
}

impl Right {
    fn as_str(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Revealer => "revealer",
            Self::Keyholder => "keyholder",
            Self::Platform => "platform",
        }
    }

    fn explained(self) -> &'static str {
        match self {
            Self::Anyone => "No authentication.",
            Self::Reader => {
                "API key with webhooks:read or webhooks:write, or any member's session."
            }
            Self::Writer => "API key with webhooks:write, or an admin's session.",
            Self::Revealer => "API key with webhooks:write, or an owner's session.",
            Self::Keyholder => "An admin's session; API keys may not.",
            Self::Platform => "Platform key.",
        }
    }
}

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A parameter of a query or a header.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    place: &'static str,
    name: &'static str,
    description: &'static str,
    schema: SchemaOf,
}

const fn query(name: &'static str, description: &'static str, schema: SchemaOf) -> Parameter {
    Parameter { place: "query", name, description, schema }
}

const fn in_header(name: &'static str, description: &'static str, schema: SchemaOf) -> Parameter {
    Parameter { place: "header", name, description, schema }
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn limit(_: &mut SchemaGenerator) -> Schema {
    object(json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 10 }))
}

fn key_text(_: &mut SchemaGenerator) -> Schema {
    object(json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$" }))
}

const LIMIT: Parameter = query("limit", "Most items of the page.", limit);
const STARTING_AFTER: Parameter =
    query("starting_after", "next_cursor of the page before.", schema_of::<Id>);
pub(super) const CREATED_FROM: Parameter =
    query("created_from", "Created at or after, in UTC and ending in Z.", schema_of::<DateTime>);
pub(super) const CREATED_TO: Parameter =
    query("created_to", "Created at or before, in UTC and ending in Z.", schema_of::<DateTime>);
pub(super) const TYPE: Parameter =
    query("type", "Only events of this type.", schema_of::<TypeName>);
pub(super) const EVENT_TYPE: Parameter = query(
    "event_type",
    "Only deliveries of events of this type; not beside status or endpoint_id.",
    schema_of::<TypeName>,
);
pub(super) const STATUS: Parameter =
    query("status", "Only deliveries of this status.", schema_of::<StatusWord>);
pub(super) const ENDPOINT_ID: Parameter =
    query("endpoint_id", "Only deliveries to this endpoint.", schema_of::<Id>);
pub(super) const EVENT_ID: Parameter =
    query("event_id", "Only deliveries of this event.", schema_of::<Id>);
pub(super) const ENABLED: Parameter =
    query("enabled", "Only enabled, or only disabled ones.", schema_of::<bool>);
pub(super) const IS_ACTIVE: Parameter =
    query("is_active", "Only active, or only inactive ones.", schema_of::<bool>);
pub(super) const IDEMPOTENCY_KEY: Parameter = in_header(
    "Idempotency-Key",
    "The same key and body answer with what the first request made.",
    key_text,
);
pub(super) const IF_MATCH: Parameter = in_header(
    "If-Match",
    "ETag of the endpoint as the caller knows it; another one is refused with 412.",
    schema_of::<String>,
);

/// What the document says of one operation.
pub(super) struct Operation {
    id: &'static str,
    summary: &'static str,
    right: Right,
    parameters: Vec<Parameter>,
    body: Option<SchemaOf>,
    body_may_lack: bool,
    answer: Answer,
    /// Statuses that it answers beside those that follow from its shape.
    refusals: Vec<StatusCode>,
    tagged: bool,
}

enum Answer {
    /// An envelope around one thing.
    One(StatusCode, SchemaOf),
    /// An envelope around a page of things.
    Page(SchemaOf),
    /// Something that is no envelope, by its media type.
    Plain(&'static str),
}

/// An operation that answers one `T`.
pub(super) fn one<T: JsonSchema>(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary, Answer::One(StatusCode::OK, schema_of::<T>))
}

/// An operation that answers 202 and one `T`.
pub(super) fn accepted<T: JsonSchema>(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary, Answer::One(StatusCode::ACCEPTED, schema_of::<T>))
}

/// An operation that answers a page of `T`.
pub(super) fn page<T: JsonSchema>(id: &'static str, summary: &'static str) -> Operation {
    let mut operation = Operation::new(id, summary, Answer::Page(schema_of::<T>));
    operation.parameters.extend([LIMIT, STARTING_AFTER]);
    operation
}

/// An operation that answers `media_type`, without an envelope.
pub(super) fn plain(
    id: &'static str,
    summary: &'static str,
    media_type: &'static str,
) -> Operation {
    Operation::new(id, summary, Answer::Plain(media_type))
}

impl Operation {
    fn new(id: &'static str, summary: &'static str, answer: Answer) -> Self {
        Self {
            id,
            summary,
            right: Right::Anyone,
            parameters: Vec::new(),
            body: None,
            body_may_lack: false,
            answer,
            refusals: Vec::new(),
            tagged: false,
        }
    }

    /// Who may call it.
    pub(super) fn by(mut self, right: Right) -> Self {
        self.right = right;
        self
    }

    /// It reads a JSON body like `T`.
    pub(super) fn reads<T: JsonSchema>(mut self) -> Self {
        self.body = Some(schema_of::<T>);
        self
    }

    /// The same where the body may be left out.
    pub(super) fn may_read<T: JsonSchema>(mut self) -> Self {
        self.body_may_lack = true;
        self.reads::<T>()
    }

    /// It takes further parameters.
    pub(super) fn with(mut self, parameters: &[Parameter]) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// It may find that the state of things forbids it.
    pub(super) fn conflicts(self) -> Self {
        self.refuses(StatusCode::CONFLICT)
    }

    /// It may answer `status`.
    pub(super) fn refuses(mut self, status: StatusCode) -> Self {
        self.refusals.push(status);
        self
    }

    /// Its answer has an ETag.
    pub(super) fn tagged(mut self) -> Self {
        self.tagged = true;
        self
    }
}

/// One method of one path.
pub(super) struct Entry {
    /// Path with its parameters in braces.
    pub(super) path: String,
    /// Method in capitals.
    pub(super) method: &'static str,
    /// What it does.
    pub(super) operation: Operation,
}

/// The document of `entries`.
pub(super) fn document(entries: &[Entry], catalogue: &Catalogue, cookie: &str) -> Value {
    let settings = || {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings
    };
    let mut written = settings().for_serialize().into_generator();
    let mut read = settings().for_deserialize().into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for entry in entries {
        let described = described(entry, &mut written, &mut read);
        paths.entry(&entry.path).or_default().insert(entry.method.to_ascii_lowercase(), described);
    }
    let mut schemas = read.take_definitions(true);
    schemas.values_mut().for_each(without_defaults);
    schemas.extend(written.take_definitions(true));
    let names: Vec<_> = catalogue.names().map(|name| &**name).collect();
    schemas.insert(EVENT_TYPE_NAME.into(), json!({ "type": "string", "enum": names }));
    let triggers: Vec<_> = catalogue.trigger_types().into_iter().map(|name| &**name).collect();
    schemas.insert(TRIGGER_TYPE.into(), json!({ "type": "string", "enum": triggers }));
    schemas.extend(error_schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hookseal",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Webhook delivery that nobody on the way can read.",
            "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearerAuth": {
                    "type": "http", "scheme": "bearer",
                    "description": "An API key, a platform key, or a dashboard's session token.",
                },
                "sessionCookie": {
                    "type": "apiKey", "in": "cookie", "name": cookie,
                    "description": "A dashboard's session token.",
                },
            },
        },
    })
}

/// What is read when a member is absent is not what it means: that is told in words.
fn without_defaults(schema: &mut Value) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for property in properties.values_mut().filter_map(Value::as_object_mut) {
        property.remove("default");
    }
}

fn error_schemas() -> Vec<(String, Value)> {
    let error = json!({
        "type": "object",
        "required": ["code", "message", "hint", "docs"],
        "properties": {
            "code": { "type": "string", "description": "Stable: match on it." },
            "message": { "type": "string", "description": "Names the field and what was expected." },
            "hint": { "type": "string", "description": "What to do next." },
            "docs": { "type": "string", "description": "Where the code is explained." },
        },
    });
    let failure = json!({
        "type": "object",
        "required": ["data", "error"],
        "properties": {
            "data": { "type": "null" },
            "error": { "$ref": "#/components/schemas/Error" },
        },
    });
    let no_page = json!({
        "type": "object",
        "required": ["limit", "has_more", "next_cursor"],
        "properties": {
            "limit": { "type": "integer" },
            "has_more": { "type": "boolean", "enum": [false] },
            "next_cursor": { "type": "null" },
        },
    });
    let mut list_failure = failure.clone();
    list_failure["required"] = json!(["data", "error", "pagination"]);
    list_failure["properties"]["pagination"] = no_page;
    let pagination = json!({
        "type": "object",
        "required": ["limit", "has_more", "next_cursor"],
        "properties": {
            "limit": { "type": "integer", "description": "The limit in force." },
            "has_more": { "type": "boolean", "description": "Whether another page follows." },
            "next_cursor": {
                "type": ["string", "null"],
                "description": "starting_after of the next page; null on the last.",
            },
        },
    });
    vec![
        ("Error".into(), error),
        ("Failure".into(), failure),
        ("ListFailure".into(), list_failure),
        ("Pagination".into(), pagination),
    ]
}

fn described(
    Entry { path, operation, .. }: &Entry,
    written: &mut SchemaGenerator,
    read: &mut SchemaGenerator,
) -> Value {
    let mut parameters = path_parameters(path, read);
    parameters.extend(operation.parameters.iter().map(|parameter| {
        json!({
            "name": parameter.name, "in": parameter.place, "required": false,
            "description": parameter.description, "schema": (parameter.schema)(read),
        })
    }));
    let mut responses = Map::new();
    let (status, mut success) = success(&operation.answer, written);
    if operation.tagged {
        success["headers"] =
            json!({ "ETag": header("Changes with every change of the endpoint.") });
    }
    responses.insert(status.as_str().to_owned(), success);
    for status in refusals(path, operation) {
        responses.insert(status.as_str().to_owned(), refusal(status, operation));
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.right.explained(),
        "tags": [tag(path)],
        "x-right": operation.right.as_str(),
        "parameters": parameters,
        "responses": responses,
        "security": match operation.right {
            Right::Anyone => json!([]),
            Right::Platform => json!([{ "bearerAuth": [] }]),
            Right::Reader | Right::Writer | Right::Revealer | Right::Keyholder => {
                json!([{ "bearerAuth": [] }, { "sessionCookie": [] }])
            }
        },
    });
    if let Some(body) = operation.body {
        described["requestBody"] = json!({
            "required": !operation.body_may_lack,
            "content": { "application/json": { "schema": body(read) } },
        });
    }
    described
}

fn path_parameters(path: &str, read: &mut SchemaGenerator) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let described = names.map(|name| {
        let schema = match name {
            "asset" => object(json!({ "type": "string" })),
            _ => schema_of::<Id>(read),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    });
    described.collect()
}

fn success(answer: &Answer, written: &mut SchemaGenerator) -> (StatusCode, Value) {
    let answered = |media_type: &str, schema: Value| {
        json!({
            "description": "Success.",
            "content": { media_type: { "schema": schema } },
        })
    };
    match answer {
        Answer::One(status, data) => {
            let schema = json!({
                "type": "object",
                "required": ["data", "error"],
                "properties": { "data": data(written), "error": { "type": "null" } },
            });
            (*status, answered("application/json", schema))
        }
        Answer::Page(item) => {
            let schema = json!({
                "type": "object",
                "required": ["data", "error", "pagination"],
                "properties": {
                    "data": { "type": "array", "items": item(written) },
                    "error": { "type": "null" },
                    "pagination": { "$ref": "#/components/schemas/Pagination" },
                },
            });
            (StatusCode::OK, answered("application/json", schema))
        }
        Answer::Plain(media_type) => (StatusCode::OK, answered(media_type, json!({}))),
    }
}

/// What an operation may refuse with: by its shape, and what it says of itself.
fn refusals(path: &str, operation: &Operation) -> Vec<StatusCode> {
    let mut refusals = vec![StatusCode::INTERNAL_SERVER_ERROR];
    if operation.right != Right::Anyone {
        refusals.extend([
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::GONE,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ]);
    }
    if !operation.parameters.is_empty() || operation.body.is_some() || path.contains('{') {
        refusals.push(StatusCode::BAD_REQUEST);
    }
    if path.contains('{') {
        refusals.push(StatusCode::NOT_FOUND);
    }
    if operation.body.is_some() {
        refusals.extend([
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ]);
    }
    refusals.extend(&operation.refusals);
    refusals.sort_by_key(StatusCode::as_u16);
    refusals
}

fn refusal(status: StatusCode, operation: &Operation) -> Value {
    let schema = match operation.answer {
        Answer::Page(_) => json!({ "$ref": "#/components/schemas/ListFailure" }),
        // What is no envelope says no in its own way.
        Answer::Plain(_) if operation.refusals.contains(&status) => json!({}),
        Answer::One(..) | Answer::Plain(_) => json!({ "$ref": "#/components/schemas/Failure" }),
    };
    let mut refusal = json!({
        "description": status.canonical_reason().unwrap_or_default(),
        "content": { "application/json": { "schema": schema } },
    });
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        refusal["headers"] = json!({ "Retry-After": header("Seconds to wait.") });
    }
    refusal
}

fn header(description: &str) -> Value {
    json!({ "description": description, "schema": { "type": "string" } })
}

fn tag(path: &str) -> &'static str {
    if path.starts_with("/v1/platform") {
        "Platform"
    } else if path.starts_with("/v1/auth") {
        "API keys"
    } else if path.starts_with("/v1/") {
        "Webhooks"
    } else {
        "Operations"
    }
}

fn object(schema: Value) -> Schema {
    Schema::try_from(schema).expect("an object")
}
