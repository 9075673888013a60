//! Who may do what: organizations, API keys, scopes and callers (contract 7).

use serde_json::{Map, Value};

use crate::endpoint::judge_name;
use crate::error::{Error, Result};
use crate::id::{ApiKeyId, OrganizationId};
use crate::time::Timestamp;

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// A name for people.
    pub name: String,
    /// When it was frozen: it awaits deletion, and its keys are off.
    pub frozen_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A right that an API key may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Read endpoints, keys, events and deliveries.
    WebhooksRead,
    /// Change them; reading is included.
    WebhooksWrite,
    /// Of the product's other areas; carried, not used here.
    SessionsRead,
    /// Of the product's other areas; carried, not used here.
    SessionsWrite,
    /// Of the product's other areas; carried, not used here.
    AnalyticsRead,
}

impl Scope {
    /// Every scope, in the order of the contract.
    pub const ALL: [Self; 5] = [
        Self::WebhooksRead,
        Self::WebhooksWrite,
        Self::SessionsRead,
        Self::SessionsWrite,
        Self::AnalyticsRead,
    ];

    /// The scope as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebhooksRead => "webhooks:read",
            Self::WebhooksWrite => "webhooks:write",
            Self::SessionsRead => "sessions:read",
            Self::SessionsWrite => "sessions:write",
            Self::AnalyticsRead => "analytics:read",
        }
    }

    /// The scope that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// The record of an API key. The key itself is shown once and never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// A name for people.
    pub name: String,
    /// The tenant; none for a platform key.
    pub organization_id: Option<OrganizationId>,
    /// Whether it is accepted.
    pub enabled: bool,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Whatever its owner wants to remember with it.
    pub metadata: Map<String, Value>,
    /// Requests that it made.
    pub request_count: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// An API key as a caller gives it.
#[derive(Clone, Debug)]
pub struct ApiKeyFields {
    /// 1 to 120 characters.
    pub name: String,
    /// At least one scope.
    pub permissions: Vec<String>,
    /// At most 20 entries: text, numbers and booleans.
    pub metadata: Map<String, Value>,
}

impl ApiKeyFields {
    /// A new enabled key of `organization_id`.
    pub fn create(
        self,
        id: ApiKeyId,
        organization_id: OrganizationId,
        now: Timestamp,
    ) -> Result<ApiKey> {
        let scopes = judge_permissions(&self.permissions)?;
        judge_metadata(&self.metadata)?;
        Ok(ApiKey {
            id,
            name: judge_name(self.name)?,
            organization_id: Some(organization_id),
            enabled: true,
            scopes,
            metadata: self.metadata,
            request_count: 0,
            created_at: now,
            updated_at: now,
        })
    }
}

/// A change of an API key as a caller gives it: each may be left out.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyChangeFields {
    /// 1 to 120 characters.
    pub name: Option<String>,
    /// Whether it is accepted.
    pub enabled: Option<bool>,
    /// At least one scope.
    pub permissions: Option<Vec<String>>,
    /// At most 20 entries, which replace all that were there.
    pub metadata: Option<Map<String, Value>>,
}

/// A change of an API key that passed every rule.
#[derive(Clone, Debug)]
pub struct ApiKeyChange {
    name: Option<String>,
    enabled: Option<bool>,
    scopes: Option<Vec<Scope>>,
    metadata: Option<Map<String, Value>>,
}

impl ApiKeyChangeFields {
    /// Names of what is to be changed.
    pub fn names(&self) -> Vec<&'static str> {
        let given = [
            ("name", self.name.is_some()),
            ("enabled", self.enabled.is_some()),
            ("permissions", self.permissions.is_some()),
            ("metadata", self.metadata.is_some()),
        ];
        given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }

    /// Judges a change; at least one must be asked for.
    pub fn judge(self) -> Result<ApiKeyChange> {
        if self.names().is_empty() {
            let expected = "at least one of name, enabled, permissions, metadata";
            return Err(Error::invalid("body", expected));
        }
        self.metadata.as_ref().map(judge_metadata).transpose()?;
        Ok(ApiKeyChange {
            name: self.name.map(judge_name).transpose()?,
            enabled: self.enabled,
            scopes: self.permissions.as_deref().map(judge_permissions).transpose()?,
            metadata: self.metadata,
        })
    }
}

impl ApiKeyChange {
    /// `key` with this change, made at `now`.
    pub fn apply(self, before: ApiKey, now: Timestamp) -> ApiKey {
        ApiKey {
            name: self.name.unwrap_or(before.name),
            enabled: self.enabled.unwrap_or(before.enabled),
            scopes: self.scopes.unwrap_or(before.scopes),
            metadata: self.metadata.unwrap_or(before.metadata),
            updated_at: now,
            ..before
        }
    }
}

/// At least one scope, each known; one that is named twice is kept once.
fn judge_permissions(permissions: &[String]) -> Result<Vec<Scope>> {
    let known = Scope::ALL.map(Scope::as_str).join(", ");
    if permissions.is_empty() {
        return Err(Error::invalid("permissions", format!("at least one of {known}")));
    }
    let mut scopes = Vec::new();
    for (i, permission) in permissions.iter().enumerate() {
        let scope = Scope::parse(permission).ok_or_else(|| {
            Error::invalid(format!("permissions[{i}]"), format!("one of {known}"))
        })?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(scopes)
}

/// Contract 2.10: at most 20 entries; names of 1 to 64 of `A-Z a-z 0-9 _ . : -`; values are text of
/// at most 512 characters, numbers or booleans.
fn judge_metadata(metadata: &Map<String, Value>) -> Result<()> {
    if metadata.len() > 20 {
        return Err(Error::invalid("metadata", "at most 20 entries"));
    }
    for (name, value) in metadata {
        let well_named = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b));
        if !well_named {
            return Err(Error::invalid("metadata", "names of 1 to 64 of A-Z a-z 0-9 _ . : -"));
        }
        let bounded = match value {
            Value::String(text) => text.chars().count() <= 512,
            Value::Number(_) | Value::Bool(_) => true,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        if !bounded {
            return Err(Error::invalid(
                format!("metadata.{name}"),
                "text of at most 512 characters, a number or a boolean",
            ));
        }
    }
    Ok(())
}

/// A change of an organization that passed every rule.
#[derive(Clone, Debug)]
pub struct OrganizationChange {
    name: Option<String>,
    frozen: Option<bool>,
}

impl OrganizationChange {
    /// Judges a change; at least one must be asked for.
    pub fn judge(name: Option<String>, frozen: Option<bool>) -> Result<Self> {
        if name.is_none() && frozen.is_none() {
            return Err(Error::invalid("body", "at least one of name, frozen"));
        }
        Ok(Self { name: name.map(judge_name).transpose()?, frozen })
    }

    /// `organization` with this change, made at `now`.
    pub fn apply(self, before: Organization, now: Timestamp) -> Organization {
        let frozen_at = match self.frozen {
            Some(true) => before.frozen_at.or(Some(now)),
            Some(false) => None,
            None => before.frozen_at,
        };
        let name = self.name.unwrap_or(before.name);
        Organization { name, frozen_at, updated_at: now, ..before }
    }
}

/// What somebody at a dashboard is in an organization; a higher role has the rights of the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Member,
    /// Changes.
    Admin,
    /// Sees signing secrets, too.
    Owner,
}

impl Role {
    /// Every role, from the lowest.
    pub const ALL: [Self; 3] = [Self::Member, Self::Admin, Self::Owner];

    /// The role as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The highest of several roles joined by commas; none when one is unknown, repeated or set off
    /// by a space (contract 7.3).
    pub fn highest(joined: &str) -> Option<Self> {
        let mut found = Vec::new();
        for word in joined.split(',') {
            let role = Self::ALL.into_iter().find(|role| role.as_str() == word)?;
            if found.contains(&role) {
                return None;
            }
            found.push(role);
        }
        found.into_iter().max()
    }
}

/// Who is calling, after authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The platform: publishes, and makes organizations.
    Platform,
    /// The platform at work in one organization, whose rights it all has.
    PlatformIn(OrganizationId),
    /// An organization's key.
    Key {
        /// The record of the key.
        id: ApiKeyId,
        /// The tenant that every query is bound to.
        organization: OrganizationId,
        /// What the key may do.
        scopes: Vec<Scope>,
    },
    /// Somebody at a dashboard.
    Member {
        /// The tenant that every query is bound to.
        organization: OrganizationId,
        /// The platform's id of the user.
        user: String,
        /// What the user may do; nothing without a role.
        role: Option<Role>,
    },
}

impl Caller {
    /// Whose caller it is; none of the platform's, wherever that is at work.
    pub fn organization(&self) -> Option<&OrganizationId> {
        match self {
            Self::Platform | Self::PlatformIn(_) => None,
            Self::Key { organization, .. } | Self::Member { organization, .. } => {
                Some(organization)
            }
        }
    }

    /// The caller at work in `organization`: the platform in any, everybody else in his own.
    pub fn within(&self, organization: Option<OrganizationId>) -> Result<Self> {
        match (self, organization) {
            (Self::Platform, Some(organization)) => Ok(Self::PlatformIn(organization)),
            (_, None) => Ok(self.clone()),
            (
                Self::Key { organization: own, .. } | Self::Member { organization: own, .. },
                Some(other),
            ) if *own == other => Ok(self.clone()),
            (_, Some(_)) => Err(Error::Denied),
        }
    }

    /// Only the platform passes.
    pub fn platform(&self) -> Result<()> {
        match self {
            Self::Platform => Ok(()),
            Self::PlatformIn(_) | Self::Key { .. } | Self::Member { .. } => Err(Error::Denied),
        }
    }

    /// The tenant, if the caller may read its webhooks.
    pub fn reader(&self) -> Result<&OrganizationId> {
        self.holding(&[Scope::WebhooksRead, Scope::WebhooksWrite], Role::Member)
    }

    /// The tenant, if the caller may change its webhooks.
    pub fn writer(&self) -> Result<&OrganizationId> {
        self.holding(&[Scope::WebhooksWrite], Role::Admin)
    }

    /// The tenant, if the caller may see its signing secrets.
    pub fn revealer(&self) -> Result<&OrganizationId> {
        self.holding(&[Scope::WebhooksWrite], Role::Owner)
    }

    /// The tenant, if the caller may manage its API keys: no key may, whatever its scopes.
    pub fn keyholder(&self) -> Result<&OrganizationId> {
        self.holding(&[], Role::Admin)
    }

    fn holding(&self, any_of: &[Scope], at_least: Role) -> Result<&OrganizationId> {
        match self {
            Self::Key { organization, scopes, .. }
                if any_of.iter().any(|scope| scopes.contains(scope)) =>
            {
                Ok(organization)
            }
            Self::Member { organization, role: Some(role), .. } if *role >= at_least => {
                Ok(organization)
            }
            Self::PlatformIn(organization) => Ok(organization),
            Self::Key { .. } | Self::Member { .. } | Self::Platform => Err(Error::Denied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn rights_follow_the_table() {
        use Scope::*;
        let key = |scopes: &[Scope]| Caller::Key {
            id: ApiKeyId::from_row("key"),
            organization: OrganizationId::from_row("org"),
            scopes: scopes.to_vec(),
        };
        let member = |roles| Caller::Member {
            organization: OrganizationId::from_row("org"),
            user: "user".into(),
            role: Role::highest(roles),
        };
        let own = OrganizationId::from_row("org");
        let in_own = Caller::Platform.within(Some(own.clone())).expect("anywhere");
        assert!(member("admin").within(Some(own)).is_ok());
        assert!(member("owner").within(Some(OrganizationId::from_row("other"))).is_err());
        for (caller,                       platform, reads, writes, reveals, keys) in [
            (Caller::Platform,             true,     false, false,  false,   false),
            (in_own,                       false,    true,  true,   true,    true),
            (key(&[WebhooksRead]),         false,    true,  false,  false,   false),
            (key(&[WebhooksWrite]),        false,    true,  true,   true,    false),
            (key(&[SessionsWrite]),        false,    false, false,  false,   false),
            (key(&[]),                     false,    false, false,  false,   false),
            (member("owner"),              false,    true,  true,   true,    true),
            (member("admin"),              false,    true,  true,   false,   true),
            (member("member"),             false,    true,  false,  false,   false),
            (member("member,owner"),       false,    true,  true,   true,    true),
            (member("admin,admin"),        false,    false, false,  false,   false),
            (member("admin, member"),      false,    false, false,  false,   false),
            (member("root"),               false,    false, false,  false,   false),
            (member(""),                   false,    false, false,  false,   false),
        ] {
            assert_eq!(caller.revealer().is_ok(), reveals, "{caller:?}");
            assert_eq!(caller.keyholder().is_ok(), keys, "{caller:?}");
            assert_eq!(caller.platform().is_ok(), platform, "{caller:?}");
            assert_eq!(caller.reader().is_ok(), reads, "{caller:?}");
            assert_eq!(caller.writer().is_ok(), writes, "{caller:?}");
        }
    }

    #[test]
    fn metadata_is_flat_and_small() {
        let judge = |metadata: serde_json::Value| {
            judge_metadata(metadata.as_object().expect("an object")).is_ok()
        };
        assert!(judge(serde_json::json!({ "team.a:b-c_1": "x", "n": 1.5, "b": true })));
        assert!(!judge(serde_json::json!({ "bad key!": 1 })));
        assert!(!judge(serde_json::json!({ "a": {} })));
        assert!(!judge(serde_json::json!({ "a": null })));
        assert!(!judge(serde_json::json!({ "a": "x".repeat(513) })));
        let many: serde_json::Value =
            (0..21).map(|n| (n.to_string(), n.into())).collect::<Map<_, _>>().into();
        assert!(!judge(many));
    }

    #[test]
    fn unknown_permissions_are_named() {
        let fields = |permissions: &[&str]| ApiKeyFields {
            name: "ci".into(),
            permissions: permissions.iter().map(ToString::to_string).collect(),
            metadata: Map::new(),
        };
        let create = |fields: ApiKeyFields| {
            fields.create(
                ApiKeyId::from_row("id"),
                OrganizationId::from_row("org"),
                Timestamp::from_ms(0),
            )
        };
        assert!(
            create(fields(&["webhooks:read", "webhooks:read"])).is_ok_and(|k| k.scopes.len() == 1)
        );
        assert!(create(fields(&[])).is_err());
        assert!(matches!(
            create(fields(&["webhooks:read", "root"])),
            Err(Error::Invalid { field, .. }) if field == "permissions[1]"
        ));
    }
}
