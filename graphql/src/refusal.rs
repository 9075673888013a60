//! The one translation of errors to GraphQL: the message names the field, `extensions.code` is the
//! code that REST answers with.

use async_graphql::{ErrorExtensions as _, Response, ServerError};
use hookseal_core::error::Error;

/// An error of a use case as a field's error. Causes stay in the log.
pub(crate) fn refused(error: Error) -> async_graphql::Error {
    async_graphql::Error::new(error.to_string())
        .extend_with(|_, extensions| extensions.set("code", error.code()))
}

/// A response that holds nothing but `error`, for what is refused before execution.
pub fn response_of(error: Error) -> Response {
    let error: ServerError = refused(error).into_server_error(Default::default());
    Response::from_errors(vec![error])
}
