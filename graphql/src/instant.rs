//! Instants, as they are written and judged.

use async_graphql::{InputValueError, InputValueResult, Result, Scalar, ScalarType};
use hookseal_core::error::Error;
use hookseal_core::time::Timestamp;

use crate::refusal::refused;

/// An instant as it is written; one that is given is judged where it is used, so that the error names the
/// argument.
#[derive(Clone, Debug)]
pub(crate) struct DateTime(String);

/// An instant, RFC 3339 in UTC with milliseconds: `2026-05-05T11:00:00.000Z`.
#[Scalar(specified_by_url = "https://www.rfc-editor.org/rfc/rfc3339")]
impl ScalarType for DateTime {
    fn parse(value: async_graphql::Value) -> InputValueResult<Self> {
        match value {
            async_graphql::Value::String(text) => Ok(Self(text)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> async_graphql::Value {
        async_graphql::Value::String(self.0.clone())
    }
}

impl From<Timestamp> for DateTime {
    fn from(at: Timestamp) -> Self {
        Self(at.to_string())
    }
}

/// An instant of an argument.
pub(crate) fn instant(field: &str, at: Option<DateTime>) -> Result<Option<Timestamp>> {
    let rule = || refused(Error::invalid(field, "an RFC 3339 date-time that ends in Z"));
    at.map(|DateTime(text)| Timestamp::parse(&text).ok_or_else(rule)).transpose()
}
