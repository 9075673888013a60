//! What callers use: how often each may ask, and how often each key did.

use std::collections::HashMap;
use std::sync::Arc;

use hookseal_core::access::Caller;
use hookseal_core::error::{Error, Result};
use hookseal_core::id::ApiKeyId;
use hookseal_core::ports::{ApiKeys, Throttle};
use hookseal_core::time::Timestamp;
use parking_lot::Mutex;

/// Counts requests and holds back who makes too many.
pub struct Meter {
    throttle: Arc<dyn Throttle>,
    /// Requests that are not yet in the rows.
    counts: Mutex<HashMap<ApiKeyId, u64>>,
    flushing: tokio::sync::Mutex<()>,
}

impl Meter {
    /// A meter that lets each caller but the platform make the requests that `throttle` grants.
    pub fn new(throttle: Arc<dyn Throttle>) -> Self {
        Self { throttle, counts: Mutex::default(), flushing: Default::default() }
    }

    /// Counts a request of `caller`.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub async fn admit(&self, caller: &Caller, now: Timestamp) -> Result<()> {
        let name = match caller {
            Caller::Platform | Caller::PlatformIn(_) => return Ok(()),
            Caller::Key { id, .. } => {
                *self.counts.lock().entry(id.clone()).or_default() += 1;
                id.to_string()
            }
            Caller::Member { organization, user, .. } => format!("{organization} {user}"),
        };
        let taken = self.throttle.take(&name, now).await;
        taken.map_err(|retry_after| Error::RateLimited { retry_after })
    }

    /// Writes the counts into the rows; what is not written now is written with the next.
    pub async fn flush(&self, rows: &(impl ApiKeys + ?Sized)) {
        // One after the other, since each takes away what it has written.
        let _alone = self.flushing.lock().await;
        let written: Vec<_> =
            self.counts.lock().iter().map(|(id, count)| (id.clone(), *count)).collect();
        if written.is_empty() {
            return;
        }
        if let Err(error) = rows.count_requests(written.clone()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "requests not counted yet");
            return;
        }
        let mut counts = self.counts.lock();
        for (id, count) in written {
            match counts.get_mut(&id) {
                Some(standing) if *standing > count => *standing -= count,
                Some(_) | None => drop(counts.remove(&id)),
            }
        }
    }
}
