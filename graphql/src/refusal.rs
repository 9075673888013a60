//! The one translation of errors to GraphQL. What the caller can mend by sending something else stands in
//! the payload of a mutation, typed; everything else is a field's error, whose `extensions.code` is the
//! code that REST answers with.

use async_graphql::{ErrorExtensions as _, Result, SimpleObject};
use hookseal_core::error::Error;

/// What was wrong with what a mutation was given, or with the state it met.
#[derive(Debug, SimpleObject)]
pub(crate) struct UserError {
    /// The code that REST answers with.
    code: &'static str,
    /// Path of the input's field, where one is at fault.
    field: Option<String>,
    /// What was expected.
    message: String,
    /// What to do next.
    hint: &'static str,
}

/// An error of a use case as a field's error. Causes stay in the log.
pub fn refused(error: Error) -> async_graphql::Error {
    async_graphql::Error::new(error.to_string())
        .extend_with(|_, extensions| extensions.set("code", error.code()))
}

/// Tells what a mutation came to from what its caller can mend.
pub(crate) fn outcome<T>(
    result: hookseal_core::error::Result<T>,
) -> Result<(Option<T>, Vec<UserError>)> {
    let error = match result {
        Ok(done) => return Ok((Some(done), Vec::new())),
        Err(error) => error,
    };
    let field = match &error {
        Error::Invalid { field, .. } => Some(camel_case(field)),
        Error::TooLarge { field, .. } => Some(camel_case(field)),
        Error::UrlRejected(_) => Some("url".to_owned()),
        Error::EndpointUnavailable { .. } => Some("webhookEndpointIds".to_owned()),
        Error::NotFound(_)
        | Error::Conflict(_)
        | Error::PreconditionFailed(_)
        | Error::ApiKeyNotFound { .. } => None,
        _ => return Err(refused(error)),
    };
    let (code, hint) = (error.code(), error.hint());
    Ok((None, vec![UserError { code, field, message: error.to_string(), hint }]))
}

/// A path of ours as GraphQL spells it: `subscribed_event_types[0]` is `subscribedEventTypes[0]`.
fn camel_case(path: &str) -> String {
    let mut spelt = String::with_capacity(path.len());
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '_' => spelt.extend(letters.next().map(|next| next.to_ascii_uppercase())),
            other => spelt.push(other),
        }
    }
    spelt
}
