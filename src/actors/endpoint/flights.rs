//! Attempts in flight: how they start, and what follows when they land.

use std::sync::Arc;
use std::task::Poll;

use actix::prelude::*;
use futures_util::Stream;
use hookseal_core::delivery::Delivery;
use hookseal_core::feed::{Change, EndpointChange};
use hookseal_core::id::DeliveryId;
use hookseal_core::limits::WINDOW_MAX;
use hookseal_core::outcome::Verdict;
use hookseal_core::ports::{Claimed, Due, Haste, Settlement};
use hookseal_core::retention::RetentionHours;
use hookseal_core::time::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::{Cargo, EndpointActor, Settings};
use crate::actors::STORE_PAUSE;
use crate::actors::attempt::{Landing, Mission, attempt};
use crate::courier::Address;
use crate::metrics;

/// An attempt in flight.
pub(super) struct Flight {
    pub(super) delivery: Delivery,
    /// What the endpoint keeps after a final failure.
    retention: RetentionHours,
    /// Length of the sealed payload.
    pub(super) bytes: usize,
    pub(super) abort: AbortHandle,
}

/// An attempt that ended; without a landing when it panicked or was given up.
type Landed = (DeliveryId, Option<Landing>);

/// Where attempts report to. The window bounds how many do.
pub(super) type Landings = UnboundedSender<Landed>;

/// Reports an attempt's end, however it ends.
struct Report {
    delivery: DeliveryId,
    landing: Option<Landing>,
    landings: Landings,
}

impl Report {
    fn of(delivery: DeliveryId, landings: Landings) -> Self {
        Self { delivery, landing: None, landings }
    }

    fn land(mut self, landing: Landing) {
        self.landing = Some(landing);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(delivery = %self.delivery, "an attempt panicked; its claim will lapse");
        }
        // An actor that is gone counts no more what flies.
        let _ = self.landings.send((self.delivery.clone(), self.landing.take()));
    }
}

/// What has landed since it was last asked for, all at once: an actor looks through everything that it
/// waits for whenever it is woken, so that one thing to wait for costs less than one for each attempt.
pub(super) fn landings() -> (Landings, impl Stream<Item = Vec<Landed>>) {
    let (sender, mut receiver): (_, UnboundedReceiver<Landed>) = unbounded_channel();
    let landed = futures_util::stream::poll_fn(move |context| {
        let mut landed = Vec::new();
        match receiver.poll_recv_many(context, &mut landed, WINDOW_MAX) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(0) => Poll::Ready(None),
            Poll::Ready(_) => Poll::Ready(Some(landed)),
        }
    });
    (sender, landed)
}

impl StreamHandler<Vec<Landed>> for EndpointActor {
    fn handle(&mut self, landed: Vec<Landed>, context: &mut Context<Self>) {
        let now = self.tools.clock.now();
        let ends = landed.into_iter().filter_map(|(id, landing)| self.land(&id, landing, now));
        let ends = ends.collect();
        self.tell_of_breaker();
        self.settle(ends, context);
        self.pump(context);
    }
}

impl EndpointActor {
    pub(super) fn start(
        &mut self,
        ids: Vec<DeliveryId>,
        now: Timestamp,
        context: &mut Context<Self>,
    ) {
        let mut stale = Vec::new();
        for id in ids {
            let Some(cargo) = self.cargo.remove(&id) else {
                self.lane.on_abandoned(&id);
                continue;
            };
            let timeout = self.tools.rules.attempt_timeout;
            let delivery = &cargo.claimed.delivery;
            let covered = delivery.progress.claim.is_some_and(|c| c.covers(now, timeout));
            match &self.settings {
                Some(settings) if covered => {
                    let retention = settings.endpoint.retention;
                    self.fly(cargo, settings.address.clone(), retention);
                }
                Some(_) | None => {
                    self.lane.on_abandoned(&id);
                    stale.push(cargo.claimed.delivery);
                }
            }
        }
        self.give_back(stale, context);
    }

    fn fly(
        &mut self,
        Cargo { claimed, memory }: Cargo,
        address: Arc<Address>,
        retention: RetentionHours,
    ) {
        let Claimed { delivery, sealed } = claimed;
        if delivery.progress.attempt_count == 0 {
            let delay = self.tools.clock.now().since(delivery.created_at);
            metrics::FIRST_ATTEMPT_SECONDS.observe(delay.as_secs_f64());
        }
        let (id, bytes) = (delivery.id.clone(), sealed.len());
        let (clock, courier) = (self.tools.clock.clone(), self.courier.clone());
        let report = Report::of(id.clone(), self.landings.clone());
        let mission = Mission { delivery: delivery.clone(), sealed, address };
        // A task of its own: a panic in it ends this one attempt, not the actor.
        let task = actix::spawn(async move {
            report.land(attempt(&*clock, &courier, mission).await);
            drop(memory);
        });
        let abort = task.abort_handle();
        self.flying.insert(id, Flight { delivery, retention, bytes, abort });
    }

    /// An attempt ended, well or not; answers what is to be recorded of it.
    fn land(
        &mut self,
        id: &DeliveryId,
        landing: Option<Landing>,
        now: Timestamp,
    ) -> Option<Settlement> {
        let flight = self.flying.remove(id);
        let (Some(Flight { delivery, retention, .. }), Some(landing)) = (flight, landing) else {
            self.lane.on_abandoned(id);
            return None;
        };
        let Landing { attempt, verdict } = landing;
        self.lane.on_landed(verdict == Verdict::Delivered, now);
        let schedule = &self.tools.rules.schedule;
        let settled = delivery.progress.settle(attempt, verdict, schedule, retention, now);
        let progress = settled.expect("an attempt runs only while its delivery is claimed");
        let replaced = delivery.progress.last_attempt;
        Some(Settlement { delivery, token: self.token, progress, replaced })
    }

    /// Records what came of attempts. An outcome is never lost while the process lives: a store that is
    /// away is asked again until it answers.
    fn settle(&mut self, ends: Vec<Settlement>, context: &mut Context<Self>) {
        if ends.is_empty() {
            return;
        }
        self.settling += 1;
        let haste = if self.lane.record_is_pressing() { Haste::Now } else { Haste::Gathered };
        let store = self.tools.store.clone();
        let stood = async move {
            loop {
                match store.settle(ends.clone(), haste).await {
                    Ok(stood) => break (ends, stood),
                    Err(_) => tokio::time::sleep(STORE_PAUSE).await,
                }
            }
        };
        context.spawn(stood.into_actor(self).map(|(ends, stood), actor, context| {
            actor.settling -= 1;
            for (end, stood) in ends.into_iter().zip(stood) {
                let id = end.delivery.id;
                actor.lane.on_settled(&id);
                match end.progress.next_attempt_at {
                    Some(at) if stood => actor.schedule(id, at, context),
                    // Where it did not stand, somebody else decides.
                    Some(_) | None => actor.strike_out(&id, context),
                }
            }
            actor.pump(context);
        }));
    }

    /// Tells those who watch that the breaker opened, or that attempts flow again.
    fn tell_of_breaker(&mut self) {
        let now = self.tools.clock.now();
        let change = match self.tripped {
            false if self.lane.breaker_is_open(now) => EndpointChange::BreakerOpened,
            true if self.lane.breaker_is_closed() => EndpointChange::BreakerClosed,
            _ => return,
        };
        self.tripped = !self.tripped;
        self.tell(change);
    }

    pub(super) fn tell(&self, change: EndpointChange) {
        if let Some(Settings { endpoint, .. }) = &self.settings {
            let change = Change::Endpoint(change, endpoint.clone());
            self.tools.feed.ticket().publish(vec![change]);
        }
    }

    /// Tells the schedule that it need not keep a delivery any longer.
    pub(super) fn strike_out(&mut self, id: &DeliveryId, context: &mut Context<Self>) {
        if self.leased.remove(id) {
            self.over.push(id.clone());
            self.strike_out_over(context);
        }
    }

    /// What is over meanwhile goes together, next.
    fn strike_out_over(&mut self, context: &mut Context<Self>) {
        if self.striking_out || self.over.is_empty() {
            return;
        }
        self.striking_out = true;
        let (schedule, endpoint) = (self.tools.schedule.clone(), self.endpoint.clone());
        let ids = std::mem::take(&mut self.over);
        // Kept, they come again, are not claimed, and are struck out then.
        let struck_out = async move { drop(schedule.strike_out(&endpoint, ids).await) };
        context.spawn(struck_out.into_actor(self).map(|(), actor, context| {
            actor.striking_out = false;
            actor.strike_out_over(context);
        }));
    }

    /// The same for all that it keeps; goes on when the actor has ended.
    pub(super) fn strike_out_all(&mut self) {
        let (schedule, endpoint) = (self.tools.schedule.clone(), self.endpoint.clone());
        let ids: Vec<_> = self.leased.drain().chain(self.over.drain(..)).collect();
        if !ids.is_empty() {
            actix::spawn(async move { drop(schedule.strike_out(&endpoint, ids).await) });
        }
    }

    /// Puts a retry into the schedule: only now, since the lane passes over what it still flies.
    fn schedule(&mut self, id: DeliveryId, at: Timestamp, context: &mut Context<Self>) {
        self.leased.remove(&id);
        let (schedule, endpoint_id) = (self.tools.schedule.clone(), self.endpoint.clone());
        let put = async move { schedule.put(vec![Due { at, id, endpoint_id }]).await };
        context.spawn(put.into_actor(self).map(|put, actor, _| {
            if let Err(error) = put {
                // The rows hold it: it comes late, not never.
                tracing::warn!(endpoint = %actor.endpoint, error = &error as &dyn std::error::Error, "a retry was not scheduled");
            }
        }));
    }
}
