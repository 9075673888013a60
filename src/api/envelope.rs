//! The one envelope of every answer, and the one translation of errors to REST.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use hookseal_core::error::Error;
use hookseal_core::page::{Page, PageRequest};
use schemars::JsonSchema;
use serde::Serialize;

/// Where each error code is explained.
const DOCS: &str = "/docs/errors#";

#[derive(Serialize)]
struct Success<'a, T: Serialize + ?Sized> {
    data: &'a T,
    error: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<Pagination<'a>>,
}

#[derive(Serialize)]
struct Pagination<'a> {
    limit: usize,
    has_more: bool,
    next_cursor: Option<&'a str>,
}

/// `{"data": …, "error": null}` with `status`.
pub(super) fn success<T: Serialize + ?Sized>(status: StatusCode, data: &T) -> HttpResponse {
    json(status, &Success { data, error: (), pagination: None })
}

/// A list with its pagination; `view` shows an item and `id` tells its cursor.
pub(super) fn list<'a, T, V: Serialize>(
    page: &'a Page<T>,
    request: &PageRequest,
    view: impl Fn(&'a T) -> V,
    id: impl Fn(&'a T) -> &'a str,
) -> HttpResponse {
    let items: Vec<V> = page.items.iter().map(view).collect();
    let next_cursor = if page.has_more { page.items.last().map(id) } else { None };
    let pagination = Pagination { limit: request.limit, has_more: page.has_more, next_cursor };
    json(StatusCode::OK, &Success { data: &items, error: (), pagination: Some(pagination) })
}

fn json<T: Serialize>(status: StatusCode, body: &T) -> HttpResponse {
    let bytes = serde_json::to_vec(body).expect("views always serialize");
    HttpResponse::build(status)
        // Without a charset, as the contract has it.
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .body(bytes)
}

/// An error on its way out.
#[derive(Debug)]
pub(super) struct ApiError {
    fault: Fault,
    /// The page limit, on lists.
    limit: Option<usize>,
}

/// What went wrong, in the use case or before it.
#[derive(Debug)]
pub(super) enum Fault {
    /// A use case answered it.
    Core(Error),
    /// No such path.
    UnknownPath,
    /// No such method on this path.
    MethodNotAllowed {
        /// Those that there are.
        allow: String,
    },
    /// A body that is not announced as JSON.
    NotJson,
    /// A body that did not arrive in time.
    SlowBody,
}

impl Fault {
    fn status(&self) -> StatusCode {
        match self {
            Self::Core(error) => match error {
                Error::Invalid { .. }
                | Error::UnknownCursor
                | Error::UrlRejected(_)
                | Error::ApiKeyNotFound { .. }
                | Error::EndpointUnavailable { .. } => StatusCode::BAD_REQUEST,
                Error::Unauthenticated => StatusCode::UNAUTHORIZED,
                Error::Denied => StatusCode::FORBIDDEN,
                Error::NotFound(_) => StatusCode::NOT_FOUND,
                Error::Conflict(_) => StatusCode::CONFLICT,
                Error::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
                Error::PreconditionFailed(_) => StatusCode::PRECONDITION_FAILED,
                Error::Frozen => StatusCode::GONE,
                Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
                Error::Broken { .. } | _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Core(error) => error.code(),
            Self::UnknownPath => "NOT_FOUND",
            Self::MethodNotAllowed { .. } => "METHOD_NOT_ALLOWED",
            Self::NotJson => "UNSUPPORTED_MEDIA_TYPE",
            Self::SlowBody => "REQUEST_TIMEOUT",
        }
    }

    fn message(&self) -> String {
        match self {
            // The contract's own wording.
            Self::Core(Error::Unauthenticated) => "Unauthorized".to_owned(),
            Self::Core(Error::Denied) => "Forbidden".to_owned(),
            Self::Core(Error::NotFound(thing)) => sentence(&format!("{thing} not found")),
            Self::Core(error) => sentence(&error.to_string()),
            Self::UnknownPath => "Path not found.".to_owned(),
            Self::MethodNotAllowed { .. } => "Method not allowed on this path.".to_owned(),
            Self::NotJson => "Content-Type: expected application/json.".to_owned(),
            Self::SlowBody => "The body did not arrive in time.".to_owned(),
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Core(error) => error.hint(),
            Self::UnknownPath => "See the list of routes in the documentation.",
            Self::MethodNotAllowed { .. } => "See the list of routes in the documentation.",
            Self::NotJson => "Send the body as JSON and say so in Content-Type.",
            Self::SlowBody => "Send the whole body at once.",
        }
    }
}

/// First letter large, full stop at the end; a message that starts with a field stays as it is.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    if text.contains(": ") {
        return format!("{text}.");
    }
    first.into_iter().chain(letters).chain(['.']).collect()
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Fault::Core(error).into()
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        Self { fault, limit: None }
    }
}

impl ApiError {
    /// The same error on a list: it carries an empty pagination.
    pub(super) fn on_list(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// A body beyond the contract's limit.
    pub(super) fn too_large(limit: usize) -> Self {
        Fault::Core(Error::TooLarge { field: "body", limit }).into()
    }

    /// Status and error member, as a batch shows them for one item.
    pub(super) fn as_item(&self) -> (u16, ErrorView) {
        (self.fault.status().as_u16(), self.view())
    }

    fn view(&self) -> ErrorView {
        let code = self.fault.code();
        ErrorView {
            code,
            message: self.fault.message(),
            hint: self.fault.hint(),
            docs: format!("{DOCS}{}", code.to_ascii_lowercase()),
        }
    }
}

/// The `error` member.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(super) struct ErrorView {
    code: &'static str,
    message: String,
    hint: &'static str,
    docs: String,
}

#[derive(Serialize)]
struct Failure {
    data: (),
    error: ErrorView,
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<Pagination<'static>>,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fault.message())
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.fault.status()
    }

    fn error_response(&self) -> HttpResponse {
        match &self.fault {
            // Full is an everyday answer, and counted; only what broke is worth a line each.
            Fault::Core(Error::Unavailable { source: None, .. }) => {}
            Fault::Core(error @ (Error::Broken { .. } | Error::Unavailable { .. })) => {
                tracing::error!(error = error as &dyn std::error::Error, "request not served");
            }
            _ => {}
        }
        let pagination =
            self.limit.map(|limit| Pagination { limit, has_more: false, next_cursor: None });
        let mut response =
            json(self.status_code(), &Failure { data: (), error: self.view(), pagination });
        if let Fault::MethodNotAllowed { allow } = &self.fault
            && let Ok(allow) = allow.parse()
        {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        if let Fault::Core(
            Error::Unavailable { retry_after, .. } | Error::RateLimited { retry_after },
        ) = &self.fault
        {
            // Rounded up: a caller that comes back then is not refused again.
            let seconds = retry_after.as_millis().div_ceil(1000).max(1) as u64;
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
