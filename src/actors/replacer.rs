//! The replacer: makes the cancelled events that withdrawals owe, as soon as they are owed.

use std::sync::Arc;
use std::time::Duration;

use hookseal_core::intake::Intake;

use super::switchboard::Switchboard;

/// How often the rows are asked, whoever forgot to say so.
const ASK_EVERY: Duration = Duration::from_secs(15);

/// Runs until the daemon ends.
pub async fn run(intake: Arc<Intake>, switchboard: Arc<Switchboard>) {
    loop {
        if let Err(error) = intake.replace_owed(None).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "replacing events still owed");
        }
        let _ = tokio::time::timeout(ASK_EVERY, switchboard.owed.notified()).await;
    }
}
