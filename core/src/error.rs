//! What can go wrong, named by what the caller can do next.
//!
//! A webhook that fails is an outcome, never one of these. Drivers' errors enter as
//! [`Error::Unavailable`] or [`Error::Broken`] and never leave as text.

use std::fmt;
use std::time::Duration;

use crate::target::UrlFault;

/// An error of a use case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value that breaks a documented rule: change `field` and try again.
    #[error("{field}: expected {expected}")]
    Invalid {
        /// Path of the field, such as `jwk.n` or `labels[2]`.
        field: String,
        /// The rule, in a few words.
        expected: String,
    },
    /// A cursor that names nothing in this list: start from the first page.
    #[error("starting_after: expected the id of an item of this list")]
    UnknownCursor,
    /// A URL that may not be called: register another.
    #[error("url: {0}")]
    UrlRejected(UrlFault),
    /// A publish that targets an endpoint which is missing or disabled.
    #[error("webhook_endpoint_ids: expected enabled endpoints of the organization, not {endpoint}")]
    EndpointUnavailable {
        /// The id as it was given.
        endpoint: String,
    },
    /// No credential, or one that is not known: authenticate.
    #[error("unauthorized")]
    Unauthenticated,
    /// A credential without the needed right: use another.
    #[error("forbidden")]
    Denied,
    /// Too many requests: come back later.
    #[error("too many requests")]
    RateLimited {
        /// When to come back.
        retry_after: Duration,
    },
    /// The thing is no longer as the caller knows it: read it again.
    #[error("{0} has changed")]
    PreconditionFailed(Thing),
    /// An API key that is to be changed or deleted is not there.
    #[error("API key not found")]
    ApiKeyNotFound {
        /// Whether it was to be deleted: the contract has a code for each.
        deleting: bool,
    },
    /// Nothing under that id that the caller may see.
    #[error("{0} not found")]
    NotFound(Thing),
    /// The state of things forbids it.
    #[error("{0}")]
    Conflict(Conflict),
    /// The organization awaits deletion.
    #[error("the organization is frozen")]
    Frozen,
    /// More than the documented bound: send less.
    #[error("{field}: expected at most {limit} bytes")]
    TooLarge {
        /// What was too large.
        field: &'static str,
        /// The bound, in bytes.
        limit: usize,
    },
    /// Full or cut off for now: come back later.
    #[error("{what} is unavailable")]
    Unavailable {
        /// What was not to be had.
        what: &'static str,
        /// When to come back.
        retry_after: Duration,
        /// The driver's error, for the log only.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A row, key or invariant of ours that is not as it must be.
    #[error("{what} is broken")]
    Broken {
        /// What was found broken.
        what: &'static str,
        /// The cause, for the log only.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// What a [`Error::NotFound`] looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// An organization.
    Organization,
    /// A webhook endpoint.
    Endpoint,
    /// A webhook encryption key.
    Key,
    /// A webhook event.
    Event,
    /// A webhook delivery.
    Delivery,
    /// A privacy request.
    PrivacyRequest,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Organization => "organization",
            Self::Endpoint => "webhook endpoint",
            Self::Key => "webhook encryption key",
            Self::Event => "webhook event",
            Self::Delivery => "webhook delivery",
            Self::PrivacyRequest => "privacy request",
        })
    }
}

/// A state that forbids what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The idempotency key was used with another body.
    IdempotencyKeyReused,
    /// The session has its terminal event already.
    TerminalEventExists,
    /// An organization of that id exists.
    OrganizationExists,
    /// The organization has as many endpoints as it may.
    TooManyEndpoints,
    /// The endpoint has as many encryption keys as it may.
    TooManyKeys,
    /// The organization has as many API keys as it may.
    TooManyApiKeys,
    /// The delivery is being attempted.
    DeliveryInProgress,
    /// No delivery of the event can be requeued.
    NothingToReplay,
    /// The payload is gone.
    PayloadExpired,
    /// The endpoint is disabled.
    EndpointDisabled,
    /// The person has withdrawn the session.
    SessionWithdrawn,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IdempotencyKeyReused => "the idempotency key was used with another body",
            Self::TerminalEventExists => "the session already has a terminal event",
            Self::OrganizationExists => "an organization of that id exists",
            Self::TooManyEndpoints => "the organization has as many webhook endpoints as it may",
            Self::TooManyKeys => "the webhook endpoint has as many encryption keys as it may",
            Self::TooManyApiKeys => "the organization has as many API keys as it may",
            Self::DeliveryInProgress => "webhook delivery cannot be retried",
            Self::NothingToReplay => "webhook event cannot be replayed",
            Self::PayloadExpired => "webhook payload is no longer retained",
            Self::EndpointDisabled => "webhook endpoint is disabled",
            Self::SessionWithdrawn => "the session has been withdrawn",
        })
    }
}

impl Error {
    /// A value that breaks a rule.
    pub fn invalid(field: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), expected: expected.into() }
    }

    /// Something of ours that answered with an error and may answer again soon.
    pub fn unavailable(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable {
            what,
            retry_after: crate::limits::RETRY_AFTER,
            source: Some(source.into()),
        }
    }

    /// A queue of ours that is full.
    pub fn full(what: &'static str) -> Self {
        Self::Unavailable { what, retry_after: crate::limits::RETRY_AFTER, source: None }
    }

    /// A broken invariant of ours.
    pub fn broken(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Broken { what, source: Some(source.into()) }
    }

    /// The stable code that REST and GraphQL both answer with (contract 2.9, design "Platform API").
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "BAD_REQUEST",
            Self::UnknownCursor => "INVALID_REQUEST",
            Self::UrlRejected(_) => "WEBHOOK_URL_REJECTED",
            Self::EndpointUnavailable { .. } => "WEBHOOK_ENDPOINT_UNAVAILABLE",
            Self::Unauthenticated => "UNAUTHORIZED",
            Self::Denied => "FORBIDDEN",
            Self::NotFound(_) => "NOT_FOUND",
            Self::Conflict(Conflict::IdempotencyKeyReused) => "IDEMPOTENCY_CONFLICT",
            Self::Conflict(Conflict::TerminalEventExists) => "TERMINAL_EVENT_EXISTS",
            Self::Conflict(
                Conflict::OrganizationExists
                | Conflict::TooManyEndpoints
                | Conflict::TooManyKeys
                | Conflict::TooManyApiKeys
                | Conflict::DeliveryInProgress
                | Conflict::NothingToReplay
                | Conflict::EndpointDisabled,
            ) => "CONFLICT",
            Self::Conflict(Conflict::SessionWithdrawn) => "SESSION_WITHDRAWN",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::PreconditionFailed(_) => "PRECONDITION_FAILED",
            Self::ApiKeyNotFound { deleting: false } => "API_KEY_NOT_FOUND",
            Self::ApiKeyNotFound { deleting: true } => "API_KEY_NOT_DELETED",
            Self::Conflict(Conflict::PayloadExpired) => "WEBHOOK_PAYLOAD_EXPIRED",
            Self::Frozen => "ORGANIZATION_FROZEN",
            Self::TooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::Broken { .. } => "INTERNAL_SERVER_ERROR",
        }
    }

    /// What the caller can do next, in a sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "Correct the named field and send the request again.",
            Self::UnknownCursor => {
                "Pass next_cursor of the previous page, or start without a cursor."
            }
            Self::UrlRejected(_) => "Register a public https URL without user name or fragment.",
            Self::EndpointUnavailable { .. } => {
                "Name enabled endpoints of the organization, or leave the member out."
            }
            Self::Unauthenticated => {
                "Send a valid key or session token as 'Authorization: Bearer <key>'."
            }
            Self::Denied => {
                "Use a key that holds the scope, or a session that has the role, this operation needs."
            }
            Self::NotFound(_) => "Nothing exists under that id in your organization.",
            Self::Conflict(Conflict::IdempotencyKeyReused) => {
                "Use a new idempotency key for a new body."
            }
            Self::Conflict(Conflict::TerminalEventExists) => {
                "A session has one terminal event; repeat it with its idempotency key."
            }
            Self::Conflict(Conflict::OrganizationExists) => "Leave the id out to have one made.",
            Self::Conflict(Conflict::TooManyEndpoints) => "Reuse or delete an endpoint first.",
            Self::Conflict(Conflict::TooManyKeys) => "Register a new endpoint for further keys.",
            Self::Conflict(Conflict::TooManyApiKeys) => "Delete an API key first.",
            Self::Conflict(Conflict::DeliveryInProgress) => {
                "An attempt is under way; wait for its end."
            }
            Self::Conflict(Conflict::NothingToReplay) => {
                "No delivery of the event can be sent again now."
            }
            Self::Conflict(Conflict::PayloadExpired) => {
                "Have the platform publish a new event, or deal with this one by hand."
            }
            Self::Conflict(Conflict::EndpointDisabled) => "Enable the endpoint first.",
            Self::Conflict(Conflict::SessionWithdrawn) => {
                "Nothing more is delivered of a session that its person has withdrawn."
            }
            Self::RateLimited { .. } => "Try again after the time in Retry-After.",
            Self::PreconditionFailed(_) => "Read it again and decide anew; its ETag is a new one.",
            Self::ApiKeyNotFound { .. } => "Nothing exists under that id in your organization.",
            Self::Frozen => "Cancel the deletion of the organization first.",
            Self::TooLarge { .. } => "Send a smaller body.",
            Self::Unavailable { .. } => {
                "Try again after the time in Retry-After; under its idempotency key a publish is never doubled."
            }
            Self::Broken { .. } => "The server encountered an error.",
        }
    }
}

/// The result of a use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;
