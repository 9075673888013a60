//! Query strings: each parameter at most once, each fault named (contract 2.3).

use actix_web::{HttpRequest, HttpResponse};
use hookseal_core::error::{Error, Result};
use hookseal_core::limits::PAGE;
use hookseal_core::page::PageRequest;
use hookseal_core::time::Timestamp;

use super::envelope::ApiError;

/// The parameters of a request.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Takes the parameters apart.
    pub(super) fn of(request: &HttpRequest) -> Self {
        let pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The value of `name`; a repeated parameter is refused.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>> {
        let mut values = self.0.iter().filter(|(other, _)| other == name);
        let first = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() {
            return Err(Error::invalid(name, "one value"));
        }
        Ok(first)
    }

    /// `limit` and `starting_after`.
    pub(super) fn page(&self) -> Result<PageRequest> {
        let limit = self.one("limit")?.map(integer).transpose()?;
        PageRequest::judge(limit, self.one("starting_after")?.map(ToOwned::to_owned))
    }

    /// The page limit, or the default where none that is valid was asked for.
    fn limit_or_default(&self) -> usize {
        let limit = self.one("limit").ok().flatten().and_then(|text| integer(text).ok());
        PageRequest::judge(limit, None).map_or(PAGE, |page| page.limit)
    }

    /// Exactly `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.one(name)? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Error::invalid(name, "true or false")),
        }
    }

    /// An RFC 3339 date-time in UTC.
    pub(super) fn instant(&self, name: &str) -> Result<Option<Timestamp>> {
        let rule = || Error::invalid(name, "an RFC 3339 date-time that ends in Z");
        self.one(name)?.map(|text| Timestamp::parse(text).ok_or_else(rule)).transpose()
    }
}

/// The value of a header, which must be plain text and given once.
pub(super) fn header_text<'a>(
    request: &'a HttpRequest,
    name: &'static str,
) -> Result<Option<&'a str>> {
    let mut values = request.headers().get_all(name);
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid(name, "one value"));
    }
    first.to_str().map(Some).map_err(|_| Error::invalid(name, "ASCII text"))
}

/// What a list answers: on an error, too, with a pagination.
pub(super) fn on_list(query: &Query, read: Result<HttpResponse>) -> Result<HttpResponse, ApiError> {
    read.map_err(|error| ApiError::from(error).on_list(query.limit_or_default()))
}

/// A page limit as the original coerces it: decimal, exponent and hexadecimal forms pass, as long
/// as they are whole.
fn integer(text: &str) -> Result<i64> {
    let text = text.trim();
    let hexadecimal = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let value = match hexadecimal {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => {
            text.parse::<f64>().ok().filter(|n| n.fract() == 0.0 && n.abs() < 1e9).map(|n| n as i64)
        }
    };
    value.ok_or_else(|| Error::invalid("limit", "an integer from 1 to 100"))
}
