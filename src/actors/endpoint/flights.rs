//! Attempts in flight: how they start, and what follows when they land.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use actix::prelude::*;
use futures_util::Stream;
use hookseal_core::delivery::Delivery;
use hookseal_core::feed::{Change, EndpointChange};
use hookseal_core::id::DeliveryId;
use hookseal_core::limits::WINDOW_MAX;
use hookseal_core::ports::{Claimed, Due};
use hookseal_core::retention::RetentionHours;
use hookseal_core::time::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::{Cargo, EndpointActor, Settings};
use crate::actors::attempt::{Landing, Mission, attempt};
use crate::courier::Address;
use crate::metrics;

/// An attempt in flight.
pub(super) struct Flight {
    pub(super) delivery: Delivery,
    /// Length of the sealed payload.
    pub(super) bytes: usize,
    pub(super) abort: AbortHandle,
    /// Set once the exchange is over: what came of it must be recorded, not thrown away.
    pub(super) landed: Rc<Cell<bool>>,
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
        for (id, landing) in landed {
            self.land(id, landing, context);
        }
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
        let (tools, courier, token) = (self.tools.clone(), self.courier.clone(), self.token);
        let landed = Rc::new(Cell::new(false));
        let landing_strip = landed.clone();
        let report = Report::of(id.clone(), self.landings.clone());
        let mission = Mission { token, delivery: delivery.clone(), sealed, address, retention };
        // A task of its own: a panic in it ends this one attempt, not the actor.
        let task = actix::spawn(async move {
            report.land(attempt(&tools, &courier, mission, &landing_strip).await);
            drop(memory);
        });
        self.flying.insert(id, Flight { delivery, bytes, abort: task.abort_handle(), landed });
    }

    /// An attempt ended, well or not.
    fn land(&mut self, id: DeliveryId, landing: Option<Landing>, context: &mut Context<Self>) {
        self.flying.remove(&id);
        match landing {
            Some(Landing::Settled { delivered, retry_at }) => {
                self.lane.on_settled(&id, delivered, self.tools.clock.now());
                self.tell_of_breaker();
                match retry_at {
                    Some(at) => self.schedule(id, at, context),
                    None => self.strike_out(&id, context),
                }
            }
            Some(Landing::Superseded) => {
                self.lane.on_abandoned(&id);
                self.strike_out(&id, context);
            }
            None => self.lane.on_abandoned(&id),
        }
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
        if let Some(Settings { endpoint, .. }) = &self.settings {
            let change = Change::Endpoint(change, endpoint.clone());
            self.tools.feed.ticket().publish(vec![change]);
        }
    }

    /// Tells the schedule that it need not keep a delivery any longer.
    pub(super) fn strike_out(&mut self, id: &DeliveryId, context: &mut Context<Self>) {
        if !self.leased.remove(id) {
            return;
        }
        let (schedule, endpoint, ids) =
            (self.tools.schedule.clone(), self.endpoint.clone(), vec![id.clone()]);
        // Kept, it comes again, is not claimed, and is struck out then.
        let struck_out = async move { drop(schedule.strike_out(&endpoint, ids).await) };
        context.spawn(struck_out.into_actor(self));
    }

    /// The same for all that it keeps; goes on when the actor has ended.
    pub(super) fn strike_out_all(&mut self) {
        let (schedule, endpoint) = (self.tools.schedule.clone(), self.endpoint.clone());
        let ids: Vec<_> = self.leased.drain().collect();
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
