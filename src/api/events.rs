//! Events, as their organization reads them (contract 2.8).

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use hookseal_core::error::Result as CoreResult;
use hookseal_core::id::EventId;
use hookseal_core::ports::EventFilter;

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
        let found = api.admin.events(&caller, &filter, &page).await?;
        Ok(listed(&found, &page, views::listed_event, |found| found.event.id.as_str()))
    };
    on_list(&query, read().await)
}

fn filter(query: &Query) -> CoreResult<EventFilter> {
    Ok(EventFilter {
        event_type: query.one("type")?.map(ToOwned::to_owned),
        created_from: query.instant("created_from")?,
        created_to: query.instant("created_to")?,
    })
}

pub(super) async fn get(
    Reader(caller): Reader,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = EventId::parse("event_id", &id)?;
    let event = api.admin.event(&caller, &id).await?;
    Ok(success(StatusCode::OK, &views::event(&event)))
}

pub(super) async fn replay(
    Writer(caller): Writer,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = EventId::parse("event_id", &id)?;
    let event = api.admin.replay(&caller, &id).await?;
    Ok(success(StatusCode::ACCEPTED, &views::event(&event)))
}
