//! What a person took back.

use async_trait::async_trait;

use crate::audit::AuditEntry;
use crate::error::Result;
use crate::id::PrivacyRequestId;
use crate::privacy::{Owed, PrivacyRequest, Withdrawal};

/// Sessions that their persons withdrew.
#[async_trait]
pub trait Withdrawals: Send + Sync {
    /// Withdraws a session: what is pending is scrubbed, what is in flight is marked, and the first
    /// decision is taken. A session that was withdrawn answers as it stands. None when there is no
    /// such organization. The entry gets the counts.
    async fn withdraw(
        &self,
        withdrawal: Withdrawal,
        entry: AuditEntry,
    ) -> Result<Option<PrivacyRequest>>;
    /// One withdrawal as it stands.
    async fn privacy_request(&self, id: &PrivacyRequestId) -> Result<Option<PrivacyRequest>>;
    /// Replacing events that are owed, by `only` or by any, oldest first; organizations that are
    /// frozen have to wait.
    async fn owed(&self, only: Option<&PrivacyRequestId>, limit: usize) -> Result<Vec<Owed>>;
    /// Ends a withdrawal whose replacing event cannot be made.
    async fn forgo_replacement(&self, id: &PrivacyRequestId) -> Result<()>;
}
