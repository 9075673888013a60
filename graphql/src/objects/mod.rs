//! What there is, as GraphQL shows it.

mod endpoint;
mod event;
mod organization;
mod terms;

pub(crate) use endpoint::{EncryptionKey, Endpoint};
pub(crate) use event::{Attempt, Delivery, Event};
pub(crate) use organization::{ApiKey, AuditLogEntry, Organization, PrivacyRequest};
pub(crate) use terms::DeliveryStatus;
