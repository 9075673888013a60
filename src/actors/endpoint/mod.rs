//! One endpoint's actor: owns its queue, its window, its rate limit and its breaker, and carries
//! out what its lane decides. Nobody else's broken server is felt here.

mod claims;
mod flights;
mod lender;
mod messages;

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use hookseal_core::delivery::ClaimToken;
use hookseal_core::endpoint::Endpoint;
use hookseal_core::error::{Error, Result};
use hookseal_core::feed::EndpointChange;
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::lane::{Lane, LaneSettings, Step};
use hookseal_core::ports::SecretColumn;
use hookseal_core::rotation::still_signs;
use hookseal_core::time::Timestamp;

use self::flights::{Flight, Landings, landings};
use super::supervisor::{Bury, Supervisor};
use super::{STORE_PAUSE, Tools};
use crate::courier::{Address, Courier};
use crate::metrics;

pub use lender::Lender;
#[cfg(test)]
pub(crate) use messages::Explode;
pub use messages::{Cargo, Deliver, Drain, Enqueue, LookIntoRows, Reconfigure, Revoke, Snapshot};

/// How long to wait for lent places while draining.
const LENT_PLACE_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait for word of what has changed.
const UNINFORMED_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait before reading again what did not read: only an operator can mend it.
const BROKEN_PAUSE: Duration = Duration::from_secs(30);

thread_local! {
    /// The arbiter's courier: its client is not `Send`, its connections are shared by all actors
    /// of the arbiter.
    static COURIER: OnceCell<Rc<Courier>> = const { OnceCell::new() };
}

struct Settings {
    endpoint: Arc<Endpoint>,
    address: Arc<Address>,
    version: u64,
}

/// The actor.
pub struct EndpointActor {
    endpoint: EndpointId,
    token: ClaimToken,
    lender: Lender,
    /// Raised by the switchboard with every change of the settings.
    settings_version: Arc<AtomicU64>,
    settings: Option<Settings>,
    loading: bool,
    lane: Lane,
    /// Claimed and not yet started.
    cargo: HashMap<DeliveryId, Cargo>,
    flying: HashMap<DeliveryId, Flight>,
    landings: Landings,
    /// Revoked before they arrived here.
    revoked: HashSet<DeliveryId>,
    /// What the schedule is to hear the end of.
    leased: HashSet<DeliveryId>,
    /// Of these, what has ended: to be struck out.
    over: Vec<DeliveryId>,
    striking_out: bool,
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
    /// An actor for `endpoint` that claims under `token` and lends places through `lender`.
    pub fn new(
        endpoint: EndpointId,
        token: ClaimToken,
        lender: Lender,
        settings_version: Arc<AtomicU64>,
        tools: Tools,
        supervisor: Addr<Supervisor>,
    ) -> Self {
        metrics::ACTORS.inc();
        let courier = COURIER.with(|courier| {
            let make = || {
                let (tls, resolver) = (tools.tls.clone(), tools.resolver.clone());
                let timeout = tools.rules.attempt_timeout;
                Courier::with_resolver(tls, resolver, tools.targets.clone(), timeout)
            };
            courier.get_or_init(make).clone()
        });
        let tombstone = Tombstone { endpoint: endpoint.clone(), token, supervisor, clean: false };
        let disabled =
            LaneSettings { enabled: false, lull: tools.lull(), ..LaneSettings::default() };
        Self {
            lane: Lane::new(disabled, tools.clock.now()),
            endpoint,
            token,
            lender,
            settings_version,
            settings: None,
            loading: false,
            cargo: HashMap::new(),
            flying: HashMap::new(),
            landings: landings().0,
            revoked: HashSet::new(),
            leased: HashSet::new(),
            over: Vec::new(),
            striking_out: false,
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
            // Claims are handed back, and what flies lands as if nothing had happened.
            self.lane.pause();
            self.lender.recall(&mut self.lane);
        } else {
            self.lane.resume();
            if self.settings_are_stale() {
                self.load(context);
                return;
            }
            if !self.tools.ownership.is_informed() {
                self.wake_at(self.tools.clock.now().plus(UNINFORMED_PAUSE), context);
                return;
            }
        }
        loop {
            let now = self.tools.clock.now();
            if self.lane.wants_recall(now) {
                self.lender.recall(&mut self.lane);
            }
            match self.lane.next(now) {
                Step::Claim(ids) => self.claim(ids, now, context),
                Step::Start(ids) => self.start(ids, now, context),
                Step::HandBack(ids) => self.hand_back(ids, context),
                Step::Refill => self.refill(now, context),
                Step::Wait(until) => {
                    self.wake_at(until, context);
                    break;
                }
                Step::Idle => break,
            }
        }
        self.lender.lend(&mut self.lane, self.tools.clock.now());
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
                match read_destination(&tools, &endpoint).await {
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
                Some((endpoint, address)) => {
                    let settings = LaneSettings {
                        window: endpoint.window(),
                        rate_limit_per_second: endpoint.rate_limit_per_second,
                        enabled: endpoint.enabled,
                        lull: actor.tools.lull(),
                    };
                    actor.lane.on_settings(settings, now);
                    if !address.can_sign() {
                        // Whoever mends it changes the row behind our back.
                        context.run_later(BROKEN_PAUSE, |actor, context| {
                            actor.settings = None;
                            actor.pump(context);
                        });
                    }
                    let (endpoint, address) = (Arc::new(endpoint), Arc::new(address));
                    actor.settings = Some(Settings { endpoint, address, version });
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
                self.lender.recall(&mut self.lane);
                if self.lane.is_quiet(now) {
                    self.end(context);
                } else {
                    self.quiet_since = None;
                    self.lender.lend(&mut self.lane, now);
                    self.wake_at(now.plus(idle_after), context);
                }
            }
        }
    }

    fn end(&mut self, context: &mut Context<Self>) {
        if self.tripped {
            // The next life begins with a closed one.
            self.tell(EndpointChange::BreakerClosed);
        }
        self.tombstone.clean = true;
        context.stop();
    }
}

async fn read_destination(tools: &Tools, id: &EndpointId) -> Result<Option<(Endpoint, Address)>> {
    let Some(found) = tools.store.destination(id).await? else { return Ok(None) };
    let organization = &found.endpoint.organization_id;
    let unlock = async |column, locked: &str| {
        match tools.vault.unlock(organization, id, column, locked).await {
            Ok(secret) => Ok(Some(secret)),
            // Each attempt fails by it, so that it is seen where one looks for what became of a delivery.
            Err(error @ Error::Broken { .. }) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(endpoint = %id, column = column.as_str(), error, "a secret cannot sign");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    };
    let secret = unlock(SecretColumn::Current, &found.locked_secret).await?;
    let mut address = Address::new(&tools.targets, &found.endpoint.url, secret);
    let previous = found.locked_previous_secret.zip(found.endpoint.previous_secret_until);
    if let Some((locked, until)) = previous
        && still_signs(until, tools.clock.now())
        && let Some(previous) = unlock(SecretColumn::Previous, &locked).await?
    {
        address.also_signs(&previous, until);
    }
    Ok(Some((found.endpoint, address)))
}

impl Actor for EndpointActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let (landings, landed) = landings();
        self.landings = landings;
        context.add_stream(landed);
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

    fn handle(&mut self, Deliver(cargos): Deliver, context: &mut Context<Self>) {
        for cargo in cargos {
            let id = cargo.claimed.delivery.id.clone();
            if self.lane.on_handed_over(id.clone()) {
                self.cargo.insert(id.clone(), cargo);
            }
            if self.revoked.remove(&id) {
                self.revoke(vec![id], context);
            }
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
            // What came of those that have just ended is on its way here, and is recorded.
            let in_exchange = self.flying.extract_if(|_, flight| !flight.abort.is_finished());
            let given_up = in_exchange.map(|(_, flight)| {
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
