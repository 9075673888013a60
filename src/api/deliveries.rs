//! Deliveries (contract 2.7).

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use hookseal_core::delivery::Status;
use hookseal_core::error::{Error, Result as CoreResult};
use hookseal_core::id::{DeliveryId, EndpointId, EventId};
use hookseal_core::ports::DeliveryFilter;

use super::auth::{Reader, Writer};
use super::envelope::{ApiError, list as listed, success};
use super::query::{Query, on_list};
use super::{Api, views};

pub(super) async fn list(request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request);
    let read = async || {
        let caller = api.caller(&request).await?;
        caller.reader()?;
        let (page, filter) = (query.page()?, filter(&query)?);
        let found = api.admin.deliveries(&caller, &filter, &page).await?;
        Ok(listed(&found, &page, views::delivery, |delivery| delivery.id.as_str()))
    };
    on_list(&query, read().await)
}

fn filter(query: &Query) -> CoreResult<DeliveryFilter> {
    let status = |word| {
        let names = Status::ALL.map(Status::as_str).join(", ");
        Status::parse(word).ok_or_else(|| Error::invalid("status", format!("one of {names}")))
    };
    Ok(DeliveryFilter {
        status: query.one("status")?.map(status).transpose()?,
        endpoint_id: query
            .one("endpoint_id")?
            .map(|id| EndpointId::parse("endpoint_id", id))
            .transpose()?,
        event_id: query.one("event_id")?.map(|id| EventId::parse("event_id", id)).transpose()?,
        event_type: query.one("event_type")?.map(ToOwned::to_owned),
        created_from: query.instant("created_from")?,
        created_to: query.instant("created_to")?,
    })
}

pub(super) async fn get(
    Reader(caller): Reader,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = DeliveryId::parse("delivery_id", &id)?;
    let delivery = api.admin.delivery(&caller, &id).await?;
    Ok(success(StatusCode::OK, &views::delivery(&delivery)))
}

pub(super) async fn retry(
    Writer(caller): Writer,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = DeliveryId::parse("delivery_id", &id)?;
    let delivery = api.admin.retry(&caller, &id).await?;
    Ok(success(StatusCode::OK, &views::delivery(&delivery)))
}

pub(super) async fn attempts(
    Reader(caller): Reader,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = DeliveryId::parse("delivery_id", &id)?;
    let attempts = api.admin.attempts(&caller, &id).await?;
    let attempts: Vec<_> = attempts.iter().map(views::attempt).collect();
    Ok(success(StatusCode::OK, &attempts))
}
