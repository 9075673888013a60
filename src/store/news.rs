//! What a transaction changed, told to the feed once it is committed.

use std::sync::Arc;

use hookseal_core::delivery::{Delivery, Progress};
use hookseal_core::endpoint::Endpoint;
use hookseal_core::event::Event;
use hookseal_core::feed::{Change, DeliveryChange, EndpointChange};
use hookseal_core::ports::Feed;

use super::Failure;
use super::statistics::Minutes;
use super::writing::WriteTransaction;

/// Who hears of what was committed.
pub(super) struct Herald {
    /// Those who watch.
    feed: Arc<dyn Feed>,
    /// Those who count.
    pub(super) minutes: Minutes,
}

impl Herald {
    /// A herald that has told nothing yet.
    pub(super) fn new(feed: Arc<dyn Feed>) -> Arc<Self> {
        Arc::new(Self { feed, minutes: Minutes::default() })
    }
}

/// Changes of one transaction, in order.
#[derive(Default)]
pub(super) struct News(Vec<Change>);

impl News {
    /// News of one endpoint.
    pub(super) fn of_endpoint(change: EndpointChange, endpoint: Endpoint) -> Self {
        Self(vec![Change::Endpoint(change, Arc::new(endpoint))])
    }

    /// An event was inserted.
    pub(super) fn accepted(&mut self, event: &Event) {
        self.0.push(Change::Event(Arc::new(event.clone())));
    }

    /// A delivery was inserted.
    pub(super) fn created(&mut self, delivery: &Delivery) {
        self.0.push(Change::Delivery(DeliveryChange::Created, Arc::new(delivery.clone())));
    }

    /// A delivery was claimed.
    pub(super) fn claimed(&mut self, delivery: &Delivery) {
        self.0.push(Change::Delivery(DeliveryChange::Claimed, Arc::new(delivery.clone())));
    }

    /// A delivery was written.
    pub(super) fn changed(&mut self, before: &Delivery, progress: &Progress) {
        if let Some(change) = DeliveryChange::between(&before.progress, progress) {
            let after = Delivery { progress: progress.clone(), ..before.clone() };
            self.0.push(Change::Delivery(change, Arc::new(after)));
        }
    }

    /// Commits, and tells.
    pub(super) async fn commit(self, tx: WriteTransaction, herald: &Herald) -> Result<(), Failure> {
        self.told_after(async { Ok(tx.commit().await?) }, herald).await
    }

    /// Tells once it is committed. `commit` may write as well, where all rows are new or are kept from others by what
    /// it asks of them.
    pub(super) async fn told_after(
        self,
        commit: impl Future<Output = Result<(), Failure>>,
        herald: &Herald,
    ) -> Result<(), Failure> {
        if self.0.is_empty() {
            return commit.await;
        }
        // Whoever writes these rows next takes his place later, since they are held until the commit.
        let ticket = herald.feed.ticket();
        let committed = commit.await;
        match &committed {
            Ok(()) => {
                herald.minutes.count(&self.0);
                ticket.publish(self.0);
            }
            // Refused, nothing of it is there; after any other error it may be.
            Err(failure) if failure.is_refused() => ticket.publish(Vec::new()),
            Err(_) => drop(ticket),
        }
        committed
    }
}
