//! One endpoint's actor: owns its queue, its window, its rate limit and its breaker, and carries
//! out what its lane decides. Nobody else's broken server is felt here.

use std::cell::{Cell, OnceCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use hookseal_core::budget::Share;
use hookseal_core::delivery::{Claim, ClaimToken, Delivery, IllegalTransition, Progress};
use hookseal_core::endpoint::Endpoint;
use hookseal_core::error::{Error, Result};
use hookseal_core::feed::{Change, EndpointChange};
use hookseal_core::gate::Gate;
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::lane::{Lane, LaneSettings, LaneSnapshot, Step};
use hookseal_core::limits::{ENDPOINT_BYTES, WINDOW_MAX};
use hookseal_core::ports::{Claimed, Due, Secret, Settlement};
use hookseal_core::retention::RetentionHours;
use hookseal_core::time::Timestamp;
use tokio::task::AbortHandle;

use super::attempt::{Landing, Mission, attempt};
use super::supervisor::{Bury, Supervisor};
use super::{STORE_PAUSE, Tools};
use crate::courier::{Courier, Letter};
use crate::metrics;

/// How long to wait for lent places while draining.
const LENT_PLACE_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait for word of what has changed.
const UNINFORMED_PAUSE: Duration = Duration::from_millis(50);
/// How often claims that are not wanted any more are given back before they are left to lapse.
const GIVE_BACK_TRIES: usize = 10;
/// How long to wait before reading again what did not read: only an operator can mend it.
const BROKEN_PAUSE: Duration = Duration::from_secs(30);

thread_local! {
    /// The arbiter's courier: its client is not `Send`, its connections are shared by all actors
    /// of the arbiter.
    static COURIER: OnceCell<Rc<Courier>> = const { OnceCell::new() };
}

/// Deliveries are due.
#[derive(Debug, Default, Message)]
#[rtype(result = "()")]
pub struct Enqueue {
    /// Which.
    pub ids: Vec<DeliveryId>,
    /// Whether the schedule keeps them until it hears what became of them.
    pub leased: bool,
}

/// The rows hold due deliveries.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct LookIntoRows;

/// Attempt a delivery that was inserted claimed, on a place of this actor's gate.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// The row and what to send.
    pub claimed: Claimed,
    /// The memory it takes until the attempt ends.
    pub memory: Option<Share>,
}

/// The endpoint's settings changed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Reconfigure;

/// The payloads of these deliveries were taken away: what has not started must not start.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Revoke(pub Vec<DeliveryId>);

/// Start nothing more and end once nothing flies; `hard` gives up what flies.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Whether attempts in flight are given up.
    pub hard: bool,
}

/// Show how the lane stands.
#[derive(Debug, Message)]
#[rtype(result = "LaneSnapshot")]
pub struct Snapshot;

/// Panics, so that a test can watch the supervisor rebuild the actor.
#[cfg(test)]
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Explode;

struct Settings {
    endpoint: Endpoint,
    secret: Secret,
    version: u64,
}

struct Flight {
    delivery: Delivery,
    /// Length of the sealed payload.
    bytes: usize,
    abort: AbortHandle,
    /// Set once the exchange is over: what came of it must be recorded, not thrown away.
    landed: Rc<Cell<bool>>,
}

/// The actor.
pub struct EndpointActor {
    endpoint: EndpointId,
    token: ClaimToken,
    gate: Arc<Gate>,
    /// Raised by the switchboard with every change of the settings.
    settings_version: Arc<AtomicU64>,
    settings: Option<Settings>,
    loading: bool,
    lane: Lane,
    /// Claimed and not yet started.
    cargo: HashMap<DeliveryId, (Claimed, Option<Share>)>,
    flying: HashMap<DeliveryId, Flight>,
    /// Revoked before they arrived here.
    revoked: HashSet<DeliveryId>,
    /// What the schedule is to hear the end of.
    leased: HashSet<DeliveryId>,
    /// Settlements under way.
    settling: usize,
    timer: Option<(Timestamp, SpawnHandle)>,
    quiet_since: Option<Timestamp>,
    /// Whether it was told that the breaker opened.
    tripped: bool,
    draining: bool,
    tools: Tools,
    courier: Rc<Courier>,
    tombstone: Tombstone,
}

impl std::fmt::Debug for EndpointActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointActor").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Tells the supervisor how the actor ended, however it ended.
struct Tombstone {
    endpoint: EndpointId,
    token: ClaimToken,
    supervisor: Addr<Supervisor>,
    clean: bool,
}

impl Drop for Tombstone {
    fn drop(&mut self) {
        metrics::ACTORS.dec();
        let bury =
            Bury { endpoint: self.endpoint.clone(), token: self.token, panicked: !self.clean };
        let supervisor = self.supervisor.clone();
        // A full mailbox must not lose this: the line would stay dead.
        if let Err(SendError::Full(bury)) = supervisor.try_send(bury)
            && let Some(arbiter) = Arbiter::try_current()
        {
            arbiter.spawn(async move {
                let _ = supervisor.send(bury).await;
            });
        }
    }
}

impl EndpointActor {
    /// An actor for `endpoint` that claims under `token` and lends places through `gate`.
    pub fn new(
        endpoint: EndpointId,
        token: ClaimToken,
        gate: Arc<Gate>,
        settings_version: Arc<AtomicU64>,
        tools: Tools,
        supervisor: Addr<Supervisor>,
    ) -> Self {
        metrics::ACTORS.inc();
        let courier = COURIER.with(|courier| {
            let make = || {
                Courier::new(tools.tls.clone(), tools.targets.clone(), tools.rules.attempt_timeout)
            };
            courier.get_or_init(make).clone()
        });
        let tombstone = Tombstone { endpoint: endpoint.clone(), token, supervisor, clean: false };
        let disabled = LaneSettings { enabled: false, ..LaneSettings::default() };
        Self {
            lane: Lane::new(disabled, tools.clock.now()),
            endpoint,
            token,
            gate,
            settings_version,
            settings: None,
            loading: false,
            cargo: HashMap::new(),
            flying: HashMap::new(),
            revoked: HashSet::new(),
            leased: HashSet::new(),
            settling: 0,
            timer: None,
            quiet_since: None,
            tripped: false,
            draining: false,
            tools,
            courier,
            tombstone,
        }
    }

    /// Carries out the lane's steps until it has none.
    fn pump(&mut self, context: &mut Context<Self>) {
        if self.is_ending() {
            self.lane.pause();
            self.lane.on_recalled(self.gate.recall());
        } else {
            self.lane.resume();
        }
        if self.is_ending() {
            // Claims are handed back, and what flies lands as if nothing had happened.
        } else if self.settings_are_stale() {
            self.load(context);
            return;
        } else if !self.tools.ownership.is_informed() {
            self.wake_at(self.tools.clock.now().plus(UNINFORMED_PAUSE), context);
            return;
        }
        loop {
            let now = self.tools.clock.now();
            self.recall_places();
            match self.lane.next(now) {
                Step::Claim(ids) => self.claim(ids, now, context),
                Step::Start(ids) => self.start(ids, now, context),
                Step::HandBack(ids) => self.hand_back(ids, context),
                Step::Refill(limit) => self.refill(limit, now, context),
                Step::Wait(until) => {
                    self.wake_at(until, context);
                    break;
                }
                Step::Idle => break,
            }
        }
        self.gate.lend(self.lane.lend());
        self.rest(context);
    }

    /// Whether nothing more is to start: it was told to end, or does not speak for its endpoint. Of these
    /// the second may pass before it has ended.
    fn is_ending(&self) -> bool {
        self.draining || !self.speaks()
    }

    /// Whether this life of this node still speaks for the endpoint.
    fn speaks(&self) -> bool {
        let ownership = &self.tools.ownership;
        ownership.held().hold(&self.endpoint) && self.token.is_of(ownership.number())
    }

    fn settings_are_stale(&self) -> bool {
        let current = self.settings_version.load(Ordering::Acquire);
        self.settings.as_ref().is_none_or(|settings| settings.version != current)
    }

    /// Loads the settings; nothing starts until they are here.
    fn load(&mut self, context: &mut Context<Self>) {
        if self.loading {
            return;
        }
        self.loading = true;
        let version = self.settings_version.load(Ordering::Acquire);
        let (tools, endpoint) = (self.tools.clone(), self.endpoint.clone());
        let destination = async move {
            loop {
                match destination(&tools, &endpoint).await {
                    Ok(destination) => break destination,
                    Err(error) => {
                        tracing::warn!(%endpoint, error = &error as &dyn std::error::Error, "settings not loaded");
                        let broken = matches!(error, Error::Broken { .. });
                        tokio::time::sleep(if broken { BROKEN_PAUSE } else { STORE_PAUSE }).await;
                    }
                }
            }
        };
        let loaded = destination.into_actor(self).map(move |destination, actor, context| {
            actor.loading = false;
            let now = actor.tools.clock.now();
            match destination {
                Some((endpoint, secret)) => {
                    let settings = LaneSettings {
                        window: endpoint.window(),
                        rate_limit_per_second: endpoint.rate_limit_per_second,
                        enabled: endpoint.enabled,
                    };
                    actor.lane.on_settings(settings, now);
                    actor.settings = Some(Settings { endpoint, secret, version });
                    actor.pump(context);
                }
                // The endpoint is gone: what flies ends, and nothing else is left to be done.
                None => {
                    actor.draining = true;
                    actor.strike_out_all();
                    actor.pump(context);
                }
            }
        });
        context.spawn(loaded);
    }

    fn claim(&mut self, ids: Vec<DeliveryId>, now: Timestamp, context: &mut Context<Self>) {
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
        let waiting = self.cargo.values().map(|(claimed, _)| claimed.sealed.len());
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
                self.cargo.insert(id, (claimed, None));
            }
        }
        (beyond, revoked)
    }

    fn refill(&mut self, limit: usize, now: Timestamp, context: &mut Context<Self>) {
        let (store, endpoint) = (self.tools.store.clone(), self.endpoint.clone());
        let due = async move { store.due(&endpoint, now, limit).await };
        context.spawn(due.into_actor(self).map(move |due, actor, context| match due {
            Ok(ids) => {
                let more = ids.len() == limit;
                actor.lane.on_refilled(ids, more);
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

    fn start(&mut self, ids: Vec<DeliveryId>, now: Timestamp, context: &mut Context<Self>) {
        let mut stale = Vec::new();
        for id in ids {
            let Some((claimed, memory)) = self.cargo.remove(&id) else {
                self.lane.on_abandoned(&id);
                continue;
            };
            let timeout = self.tools.rules.attempt_timeout;
            let covered = claimed.delivery.progress.claim.is_some_and(|c| c.covers(now, timeout));
            match &self.settings {
                Some(settings) if covered => {
                    let letter = Letter {
                        url: settings.endpoint.url.clone(),
                        sealed: claimed.sealed,
                        secret: settings.secret.clone(),
                    };
                    let retention = settings.endpoint.retention;
                    self.fly(claimed.delivery, letter, retention, memory, context);
                }
                Some(_) | None => {
                    self.lane.on_abandoned(&id);
                    stale.push(claimed.delivery);
                }
            }
        }
        self.give_back(stale, context);
    }

    fn revoke(&mut self, ids: Vec<DeliveryId>, context: &mut Context<Self>) {
        let mut unsent = Vec::new();
        for id in ids {
            if self.lane.on_revoked(&id) {
                unsent.extend(self.cargo.remove(&id).map(|(claimed, _)| claimed.delivery));
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

    fn fly(
        &mut self,
        delivery: Delivery,
        letter: Letter,
        retention: RetentionHours,
        memory: Option<Share>,
        context: &mut Context<Self>,
    ) {
        if delivery.progress.attempt_count == 0 {
            let delay = self.tools.clock.now().since(delivery.created_at);
            metrics::FIRST_ATTEMPT_SECONDS.observe(delay.as_secs_f64());
        }
        let (id, bytes) = (delivery.id.clone(), letter.sealed.len());
        let (tools, courier, token) = (self.tools.clone(), self.courier.clone(), self.token);
        let flown = delivery.clone();
        let landed = Rc::new(Cell::new(false));
        let landing_strip = landed.clone();
        // A task of its own: a panic in it ends this one attempt, not the actor.
        let task = actix::spawn(async move {
            let mission = Mission { token, delivery: flown, letter, retention };
            let landing = attempt(&tools, &courier, mission, &landing_strip).await;
            drop(memory);
            landing
        });
        self.flying
            .insert(id.clone(), Flight { delivery, bytes, abort: task.abort_handle(), landed });
        context.spawn(task.into_actor(self).map(move |landing, actor, context| {
            actor.flying.remove(&id);
            match landing {
                Ok(Landing::Settled { delivered, retry_at }) => {
                    actor.lane.on_settled(&id, delivered, actor.tools.clock.now());
                    actor.tell_of_breaker();
                    match retry_at {
                        Some(at) => actor.schedule(id.clone(), at, context),
                        None => actor.strike_out(&id, context),
                    }
                }
                Ok(Landing::Superseded) => {
                    actor.lane.on_abandoned(&id);
                    actor.strike_out(&id, context);
                }
                Err(ended) => {
                    if ended.is_panic() {
                        tracing::error!(delivery = %id, "an attempt panicked; its claim will lapse");
                    }
                    actor.lane.on_abandoned(&id);
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
        if let Some(Settings { endpoint, .. }) = &self.settings {
            let change = Change::Endpoint(change, Arc::new(endpoint.clone()));
            self.tools.feed.ticket().publish(vec![change]);
        }
    }

    /// Tells the schedule that it need not keep a delivery any longer.
    fn strike_out(&mut self, id: &DeliveryId, context: &mut Context<Self>) {
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
    fn strike_out_all(&mut self) {
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

    fn hand_back(&mut self, ids: Vec<DeliveryId>, context: &mut Context<Self>) {
        let deliveries: Vec<_> = ids
            .iter()
            .filter_map(|id| self.cargo.remove(id))
            .map(|(claimed, _)| claimed.delivery)
            .collect();
        self.give_back(deliveries, context);
    }

    /// Gives claims back under which nothing was sent.
    fn give_back(&mut self, deliveries: Vec<Delivery>, context: &mut Context<Self>) {
        let now = self.tools.clock.now();
        self.end_claims(deliveries, |progress| progress.hand_back(now), context);
    }

    fn end_claims(
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
        let abroad: Vec<_> = match self.speaks() {
            true => Vec::new(),
            false => settlements.iter().filter_map(due_again).collect(),
        };
        // A claim that stays would lapse by itself, but as one under which something may have been
        // sent.
        let settled = async move {
            for _ in 0..GIVE_BACK_TRIES {
                if store.settle(settlements.clone()).await.is_ok() {
                    // Whoever speaks for the endpoint now is told; else he finds them in the rows.
                    if !abroad.is_empty() {
                        feed.flushed().await;
                        let _ = schedule.put(abroad).await;
                    }
                    return Ok(());
                }
                tokio::time::sleep(STORE_PAUSE).await;
            }
            store.settle(settlements).await.map(drop)
        };
        context.spawn(settled.into_actor(self).map(|settled, actor, context| {
            actor.settling -= 1;
            if let Err(error) = settled {
                tracing::warn!(endpoint = %actor.endpoint, error = &error as &dyn std::error::Error, "claims not handed back");
            }
            // They are due in the rows from now on, and not before.
            actor.lane.on_more_in_rows();
            actor.pump(context);
        }));
    }

    fn recall_places(&mut self) {
        if self.lane.wants_recall() {
            self.lane.on_recalled(self.gate.recall());
        }
    }

    fn wake_at(&mut self, until: Timestamp, context: &mut Context<Self>) {
        match self.timer.take() {
            Some((at, timer)) if at <= until && at > self.tools.clock.now() => {
                self.timer = Some((at, timer));
                return;
            }
            Some((_, timer)) => {
                context.cancel_future(timer);
            }
            None => {}
        }
        let pause = until.since(self.tools.clock.now());
        let timer = context.run_later(pause, |actor, context| {
            actor.timer = None;
            actor.pump(context);
        });
        self.timer = Some((until, timer));
    }

    /// Goes to sleep once nothing has been here for a while, or nothing flies while draining.
    fn rest(&mut self, context: &mut Context<Self>) {
        let now = self.tools.clock.now();
        if self.is_ending() {
            let idle = self.flying.is_empty() && self.settling == 0;
            if self.lane.is_drained() && idle {
                self.end(context);
            } else if idle {
                // A place that a publish holds comes back without a word.
                self.wake_at(now.plus(LENT_PLACE_PAUSE), context);
            }
            return;
        }
        if !self.flying.is_empty() || self.settling > 0 || self.loading {
            self.quiet_since = None;
            return;
        }
        let idle_after = self.tools.idle_after;
        match self.quiet_since {
            None => {
                self.quiet_since = Some(now);
                self.wake_at(now.plus(idle_after), context);
            }
            Some(since) if now.since(since) < idle_after => {
                self.wake_at(since.plus(idle_after), context);
            }
            Some(_) => {
                self.revoked.clear();
                self.lane.on_recalled(self.gate.recall());
                if self.lane.is_quiet(now) {
                    self.end(context);
                } else {
                    self.quiet_since = None;
                    self.gate.lend(self.lane.lend());
                    self.wake_at(now.plus(idle_after), context);
                }
            }
        }
    }

    fn end(&mut self, context: &mut Context<Self>) {
        self.tombstone.clean = true;
        context.stop();
    }
}

fn due_again(settlement: &Settlement) -> Option<Due> {
    let Delivery { id, endpoint_id, .. } = &settlement.delivery;
    let at = settlement.progress.next_attempt_at?;
    Some(Due { at, id: id.clone(), endpoint_id: endpoint_id.clone() })
}

async fn destination(tools: &Tools, id: &EndpointId) -> Result<Option<(Endpoint, Secret)>> {
    let Some(found) = tools.store.destination(id).await? else { return Ok(None) };
    let organization = &found.endpoint.organization_id;
    let secret = tools.vault.unlock(organization, id, &found.locked_secret)?;
    Ok(Some((found.endpoint, secret)))
}

impl Actor for EndpointActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.pump(context);
    }
}

impl Handler<Enqueue> for EndpointActor {
    type Result = ();

    fn handle(&mut self, Enqueue { ids, leased }: Enqueue, context: &mut Context<Self>) {
        for id in ids {
            if leased {
                self.leased.insert(id.clone());
            }
            if !self.lane.on_due(id.clone()) {
                // The rows keep it, and the lane knows that they do.
                self.strike_out(&id, context);
            }
        }
        self.pump(context);
    }
}

impl Handler<LookIntoRows> for EndpointActor {
    type Result = ();

    fn handle(&mut self, _: LookIntoRows, context: &mut Context<Self>) {
        self.lane.on_more_in_rows();
        self.pump(context);
    }
}

impl Handler<Deliver> for EndpointActor {
    type Result = ();

    fn handle(&mut self, Deliver { claimed, memory }: Deliver, context: &mut Context<Self>) {
        let id = claimed.delivery.id.clone();
        if self.lane.on_handed_over(id.clone()) {
            self.cargo.insert(id.clone(), (claimed, memory));
        }
        if self.revoked.remove(&id) {
            self.revoke(vec![id], context);
        }
        self.pump(context);
    }
}

impl Handler<Revoke> for EndpointActor {
    type Result = ();

    fn handle(&mut self, Revoke(ids): Revoke, context: &mut Context<Self>) {
        self.revoke(ids, context);
        self.pump(context);
    }
}

impl Handler<Reconfigure> for EndpointActor {
    type Result = ();

    fn handle(&mut self, _: Reconfigure, context: &mut Context<Self>) {
        self.pump(context);
    }
}

impl Handler<Drain> for EndpointActor {
    type Result = ();

    fn handle(&mut self, Drain { hard }: Drain, context: &mut Context<Self>) {
        self.draining = true;
        self.lane.pause();
        if hard {
            let in_exchange: Vec<_> =
                self.flying.extract_if(|_, flight| !flight.landed.get()).collect();
            let given_up = in_exchange.into_iter().map(|(_, flight)| {
                flight.abort.abort();
                flight.delivery
            });
            let (given_up, now) = (given_up.collect(), self.tools.clock.now());
            self.end_claims(given_up, |progress| progress.give_up_attempt(now), context);
        }
        self.pump(context);
    }
}

impl Handler<Snapshot> for EndpointActor {
    type Result = MessageResult<Snapshot>;

    fn handle(&mut self, _: Snapshot, _: &mut Context<Self>) -> MessageResult<Snapshot> {
        MessageResult(self.lane.snapshot(self.tools.clock.now()))
    }
}

#[cfg(test)]
impl Handler<Explode> for EndpointActor {
    type Result = ();

    fn handle(&mut self, _: Explode, _: &mut Context<Self>) {
        panic!("a test asked for it");
    }
}
