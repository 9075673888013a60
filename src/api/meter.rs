//! What callers use: how often each may ask, and how often each key did.

use std::collections::HashMap;

use hookseal_core::access::Caller;
use hookseal_core::error::{Error, Result};
use hookseal_core::id::ApiKeyId;
use hookseal_core::ports::ApiKeys;
use hookseal_core::throttle::Throttle;
use hookseal_core::time::Timestamp;
use parking_lot::Mutex;

/// Counts requests and holds back who makes too many.
#[derive(Debug)]
pub struct Meter {
    throttle: Throttle,
    /// Requests that are not yet in the rows.
    counts: Mutex<HashMap<ApiKeyId, u64>>,
}

impl Meter {
    /// A meter that lets each caller but the platform make `per_minute` requests.
    pub fn new(per_minute: u32, now: Timestamp) -> Self {
        Self { throttle: Throttle::new(per_minute, now), counts: Mutex::default() }
    }

    /// Counts a request of `caller`.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub fn admit(&self, caller: &Caller, now: Timestamp) -> Result<()> {
        let name = match caller {
            Caller::Platform => return Ok(()),
            Caller::Key { id, .. } => {
                *self.counts.lock().entry(id.clone()).or_default() += 1;
                id.to_string()
            }
            Caller::Member { organization, user, .. } => format!("{organization} {user}"),
        };
        self.throttle.take(&name, now).map_err(|retry_after| Error::RateLimited { retry_after })
    }

    /// Writes the counts into the rows; what is not written now is written with the next.
    pub async fn flush(&self, rows: &(impl ApiKeys + ?Sized)) {
        let counts: Vec<_> = self.counts.lock().drain().collect();
        if counts.is_empty() {
            return;
        }
        if let Err(error) = rows.count_requests(counts.clone()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "requests not counted yet");
            let mut kept = self.counts.lock();
            for (id, count) in counts {
                *kept.entry(id).or_default() += count;
            }
        }
    }
}
