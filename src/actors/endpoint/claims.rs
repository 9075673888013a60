//! What the actor holds claims on: how it gets them, and how it gives back what it may not send.

use actix::prelude::*;
use hookseal_core::delivery::{Claim, Delivery, IllegalTransition, Progress};
use hookseal_core::error::Result;
use hookseal_core::id::DeliveryId;
use hookseal_core::limits::{ENDPOINT_BYTES, LANE_QUEUE, WINDOW_MAX};
use hookseal_core::ports::{Claimed, Due, Haste, Settlement};
use hookseal_core::time::Timestamp;

use super::{Cargo, EndpointActor};
use crate::actors::STORE_PAUSE;

/// How often claims that are not wanted any more are given back before they are left to lapse.
const GIVE_BACK_TRIES: usize = 10;

impl EndpointActor {
    pub(super) fn claim(
        &mut self,
        ids: Vec<DeliveryId>,
        now: Timestamp,
        context: &mut Context<Self>,
    ) {
        let claim = Claim::new(self.token, now, self.tools.rules.attempt_timeout);
        let (store, endpoint) = (self.tools.store.clone(), self.endpoint.clone());
        let asked = ids.clone();
        let claimed = async move { store.claim(&endpoint, asked, claim, now).await };
        context.spawn(claimed.into_actor(self).map(move |claimed, actor, context| {
            match claimed {
                Ok(claimed) => {
                    let (beyond, revoked) = actor.load_cargo(claimed);
                    for id in &ids {
                        if !actor.cargo.contains_key(id) {
                            actor.lane.on_unclaimed(id);
                            actor.strike_out(id, context);
                        }
                    }
                    if !beyond.is_empty() {
                        actor.lane.on_full();
                    }
                    actor.give_back([beyond, revoked].concat(), context);
                    actor.pump(context);
                }
                Err(error) => {
                    tracing::warn!(endpoint = %actor.endpoint, error = &error as &dyn std::error::Error, "claim failed");
                    ids.iter().for_each(|id| actor.lane.on_unclaimed(id));
                    actor.lane.on_more_in_rows();
                    context.run_later(STORE_PAUSE, Self::pump);
                }
            }
        }));
    }

    /// Takes what was claimed aboard, as far as the endpoint's share of memory goes; answers what
    /// is beyond it, and what was revoked meanwhile. One always fits.
    fn load_cargo(&mut self, claimed: Vec<Claimed>) -> (Vec<Delivery>, Vec<Delivery>) {
        let waiting = self.cargo.values().map(|cargo| cargo.claimed.sealed.len());
        let mut held =
            waiting.chain(self.flying.values().map(|flight| flight.bytes)).sum::<usize>();
        let (mut beyond, mut revoked) = (Vec::new(), Vec::new());
        for claimed in claimed {
            let bytes = claimed.sealed.len();
            if self.revoked.remove(&claimed.delivery.id) {
                revoked.push(claimed.delivery);
            } else if held > 0 && held + bytes > ENDPOINT_BYTES {
                beyond.push(claimed.delivery);
            } else {
                held += bytes;
                let id = claimed.delivery.id.clone();
                self.lane.on_claimed(id.clone());
                self.cargo.insert(id, Cargo { claimed, memory: None });
            }
        }
        (beyond, revoked)
    }

    pub(super) fn refill(&mut self, now: Timestamp, context: &mut Context<Self>) {
        let (store, endpoint) = (self.tools.store.clone(), self.endpoint.clone());
        let due = async move { store.due(&endpoint, now, LANE_QUEUE).await };
        context.spawn(due.into_actor(self).map(move |due, actor, context| match due {
            Ok(due) => {
                actor.lane.on_refilled(due, now);
                actor.pump(context);
            }
            Err(error) => {
                tracing::warn!(endpoint = %actor.endpoint, error = &error as &dyn std::error::Error, "refill failed");
                context.run_later(STORE_PAUSE, |actor, context| {
                    actor.lane.on_refill_failed();
                    actor.pump(context);
                });
            }
        }));
    }

    pub(super) fn revoke(&mut self, ids: Vec<DeliveryId>, context: &mut Context<Self>) {
        let mut unsent = Vec::new();
        for id in ids {
            if self.lane.on_revoked(&id) {
                unsent.extend(self.cargo.remove(&id).map(|cargo| cargo.claimed.delivery));
            } else if !self.flying.contains_key(&id) {
                // Its claim is under way, or it ended just now: such are few, and forgotten in time.
                if self.revoked.len() >= WINDOW_MAX {
                    self.revoked.clear();
                }
                self.revoked.insert(id);
            }
        }
        self.give_back(unsent, context);
    }

    pub(super) fn hand_back(&mut self, ids: Vec<DeliveryId>, context: &mut Context<Self>) {
        let deliveries: Vec<_> = ids
            .iter()
            .filter_map(|id| self.cargo.remove(id))
            .map(|cargo| cargo.claimed.delivery)
            .collect();
        self.give_back(deliveries, context);
    }

    /// Gives claims back under which nothing was sent.
    pub(super) fn give_back(&mut self, deliveries: Vec<Delivery>, context: &mut Context<Self>) {
        let now = self.tools.clock.now();
        self.end_claims(deliveries, |progress| progress.hand_back(now), context);
    }

    pub(super) fn end_claims(
        &mut self,
        deliveries: Vec<Delivery>,
        end: impl Fn(&Progress) -> Result<Progress, IllegalTransition>,
        context: &mut Context<Self>,
    ) {
        let settlements: Vec<_> = deliveries
            .into_iter()
            .filter_map(|delivery| {
                let progress = end(&delivery.progress).ok()?;
                Some(Settlement { delivery, token: self.token, progress, replaced: None })
            })
            .collect();
        if settlements.is_empty() {
            return;
        }
        self.settling += 1;
        let (store, schedule) = (self.tools.store.clone(), self.tools.schedule.clone());
        let feed = self.tools.feed.clone();
        let again: Vec<_> = settlements.iter().filter_map(due_again).collect();
        let abroad = if self.speaks() { Vec::new() } else { again.clone() };
        // A claim that stays would lapse by itself, but as one under which something may have been
        // sent.
        let settled = async move {
            for _ in 0..GIVE_BACK_TRIES {
                if store.settle(settlements.clone(), Haste::Now).await.is_ok() {
                    // Whoever speaks for the endpoint now is told; else he finds them in the rows.
                    if !abroad.is_empty() {
                        feed.flushed().await;
                        let _ = schedule.put(abroad).await;
                    }
                    return Ok(());
                }
                tokio::time::sleep(STORE_PAUSE).await;
            }
            store.settle(settlements, Haste::Now).await.map(drop)
        };
        context.spawn(settled.into_actor(self).map(|settled, actor, context| {
            actor.settling -= 1;
            match settled {
                Ok(()) => again.into_iter().for_each(|due| {
                    actor.lane.on_due(due.id);
                }),
                Err(error) => {
                    tracing::warn!(endpoint = %actor.endpoint, error = &error as &dyn std::error::Error, "claims not handed back");
                    actor.lane.on_more_in_rows();
                }
            }
            actor.pump(context);
        }));
    }
}

fn due_again(settlement: &Settlement) -> Option<Due> {
    let Delivery { id, endpoint_id, .. } = &settlement.delivery;
    let at = settlement.progress.next_attempt_at?;
    Some(Due { at, id: id.clone(), endpoint_id: endpoint_id.clone() })
}
