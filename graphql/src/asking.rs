//! Who asks, and what answers.

use std::sync::Arc;

use async_graphql::{Context, ID, Result};
use hookseal_core::access::Caller;
use hookseal_core::admin::Admin;
use hookseal_core::id::OrganizationId;
use hookseal_core::intake::Intake;

use crate::refusal::refused;

/// The use cases.
pub(crate) fn admin<'a>(context: &Context<'a>) -> Result<&'a Admin> {
    Ok(context.data::<Arc<Admin>>()?)
}

/// Publishing, testing and withdrawing.
pub(crate) fn intake<'a>(context: &Context<'a>) -> Result<&'a Intake> {
    Ok(context.data::<Arc<Intake>>()?)
}

/// Who is calling, at work in the organization that is named, or in his own.
pub(crate) fn caller(context: &Context<'_>, organization: Option<ID>) -> Result<Caller> {
    let organization = organization
        .map(|id| OrganizationId::parse_uuid("organizationId", &id))
        .transpose()
        .map_err(refused)?;
    context.data::<Caller>()?.within(organization).map_err(refused)
}

/// Only the platform passes.
pub(crate) fn platform(context: &Context<'_>) -> Result<()> {
    context.data::<Caller>()?.platform().map_err(refused)
}
