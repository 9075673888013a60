//! Commands on organizations and keys. They work beside a running daemon or without one.

use hookseal_core::access::ApiKeyFields;
use hookseal_core::error::Result;
use hookseal_core::id::OrganizationId;

use super::with_admin;
use crate::config::Config;

pub(super) fn migrate(config: &Config) -> Result<()> {
    with_admin(config, async |_| Ok(()))?;
    println!("the schema is up to date");
    Ok(())
}

pub(super) fn create(config: &Config, name: String, id: Option<String>) -> Result<()> {
    let organization = with_admin(config, async |admin| admin.create_organization(name, id).await)?;
    println!("{}", organization.id);
    Ok(())
}

pub(super) fn create_key(
    config: &Config,
    organization: &str,
    name: String,
    permissions: Vec<String>,
) -> Result<()> {
    let organization = OrganizationId::parse_uuid("organization", organization)?;
    let fields = ApiKeyFields { name, permissions, metadata: Default::default() };
    let (_, key) =
        with_admin(config, async |admin| admin.create_api_key(&organization, fields).await)?;
    println!("{}", key.expose());
    Ok(())
}

pub(super) fn create_platform_key(config: &Config, name: &str) -> Result<()> {
    let key = with_admin(config, async |admin| admin.create_platform_key(name).await)?;
    println!("{}", key.expose());
    Ok(())
}
