//! The audit log, as its organization reads it.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use hookseal_core::ports::AuditFilter;

use super::envelope::{ApiError, list as listed};
use super::query::{Query, on_list};
use super::{Api, views};

pub(super) async fn list(request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request);
    let read = async || {
        let caller = api.caller(&request).await?;
        caller.reader()?;
        let page = query.page()?;
        let filter = AuditFilter {
            created_from: query.instant("created_from")?,
            created_to: query.instant("created_to")?,
        };
        let found = api.admin.audit_log(&caller, &filter, &page).await?;
        Ok(listed(&found, &page, views::audit_entry, |entry| entry.id.as_str()))
    };
    on_list(&query, read().await)
}
