//! What a transaction changed, told to the feed once it is committed.

use std::sync::Arc;

use hookseal_core::delivery::{Delivery, Progress};
use hookseal_core::endpoint::Endpoint;
use hookseal_core::event::Event;
use hookseal_core::feed::{Change, DeliveryChange, EndpointChange};
use hookseal_core::ports::Feed;
use sea_orm::{DatabaseTransaction, DbErr};

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
    pub(super) async fn commit(
        self,
        tx: DatabaseTransaction,
        feed: &dyn Feed,
    ) -> Result<(), DbErr> {
        if self.0.is_empty() {
            return tx.commit().await;
        }
        // Whoever writes these rows next takes his place later, since they are held until the commit.
        let ticket = feed.ticket();
        tx.commit().await?;
        ticket.publish(self.0);
        Ok(())
    }
}
