//! The audit log: who changed or revealed what, and when. An entry is committed with the change it
//! tells of, or not at all.

use serde_json::{Map, Value};

use crate::access::Caller;
use crate::id::{ApiKeyId, AuditId, OrganizationId};
use crate::time::Timestamp;

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody at a dashboard.
    User(String),
    /// Whoever holds the API key.
    ApiKey(ApiKeyId),
    /// The platform, or the daemon's own commands.
    System,
}

impl Actor {
    /// The kind of actor as the contract spells it, and its id.
    pub fn parts(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::User(id) => ("user", Some(id)),
            Self::ApiKey(id) => ("api_key", Some(id.as_str())),
            Self::System => ("system", None),
        }
    }

    /// The actor that `kind` and `id` stand for.
    pub fn from_row(kind: &str, id: Option<String>) -> Option<Self> {
        match (kind, id) {
            ("user", Some(id)) => Some(Self::User(id)),
            ("api_key", Some(id)) => Some(Self::ApiKey(ApiKeyId::from_row(id))),
            ("system", None) => Some(Self::System),
            (_, _) => None,
        }
    }
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        match caller {
            Caller::Platform | Caller::PlatformIn(_) => Self::System,
            Caller::Key { id, .. } => Self::ApiKey(id.clone()),
            Caller::Member { user, .. } => Self::User(user.clone()),
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal on $target:literal),+ $(,)?) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $name,)+
        }

        impl Action {
            /// Every action, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The action as a stable word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// The kind of thing it was done to.
            pub fn target_type(self) -> &'static str {
                match self {
                    $(Self::$name => $target,)+
                }
            }
        }
    };
}

actions! {
    /// An endpoint was made.
    EndpointCreated = "webhook_endpoint.created" on "webhook_endpoint",
    /// Its settings were changed.
    EndpointUpdated = "webhook_endpoint.updated" on "webhook_endpoint",
    /// It was deleted.
    EndpointDeleted = "webhook_endpoint.deleted" on "webhook_endpoint",
    /// A test event was sent to it.
    EndpointTested = "webhook_endpoint.tested" on "webhook_endpoint",
    /// Its signing secret was shown.
    SecretRevealed = "webhook_endpoint.signing_secret.revealed" on "webhook_endpoint",
    /// Its signing secret was replaced.
    SecretRotated = "webhook_endpoint.signing_secret.rotated" on "webhook_endpoint",
    /// An encryption key was registered.
    KeyCreated = "webhook_encryption_key.created" on "webhook_encryption_key",
    /// An encryption key was made inactive.
    KeyDeactivated = "webhook_encryption_key.deactivated" on "webhook_encryption_key",
    /// An encryption key was made active again.
    KeyReactivated = "webhook_encryption_key.reactivated" on "webhook_encryption_key",
    /// A delivery was requeued.
    DeliveryRetried = "webhook_delivery.retried" on "webhook_delivery",
    /// An event's deliveries were requeued.
    EventReplayed = "webhook_event.replayed" on "webhook_event",
    /// An API key was made.
    ApiKeyCreated = "api_key.created" on "api_key",
    /// An API key was changed.
    ApiKeyUpdated = "api_key.updated" on "api_key",
    /// An API key was deleted.
    ApiKeyDeleted = "api_key.deleted" on "api_key",
    /// The organization was made.
    OrganizationCreated = "organization.created" on "organization",
    /// The organization was renamed.
    OrganizationUpdated = "organization.updated" on "organization",
    /// The organization was frozen.
    OrganizationFrozen = "organization.frozen" on "organization",
    /// The organization was thawed.
    OrganizationThawed = "organization.thawed" on "organization",
    /// A person withdrew.
    PrivacyRequestSubmitted = "session.privacy_request.submitted" on "verification_session",
}

impl Action {
    /// The action that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == word)
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditId,
    /// The tenant.
    pub organization_id: OrganizationId,
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// The id of what it was done to.
    pub target_id: String,
    /// What else is worth knowing; never a secret.
    pub metadata: Map<String, Value>,
    /// When.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_read_back() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(*action));
        }
        assert_eq!(Action::parse("webhook_endpoint.painted"), None);
    }
}
