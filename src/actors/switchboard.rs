//! The way from committed rows to the actors: who speaks for an endpoint, and the places it lends.
//!
//! Waits for nothing but a place that comes free at once. What an actor could not be told waits in the rows, and the stager is asked to look
//! there.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Addr;
use actix::prelude::SendError;
use async_trait::async_trait;
use hookseal_core::budget::Budget;
use hookseal_core::cluster::Workload;
use hookseal_core::delivery::ClaimToken;
use hookseal_core::gate::{Gate, Reservation};
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::limits::{RESERVED_BYTES, SCHEDULE_ENTRIES, SEALED_BYTES_IN_MEMORY};
use hookseal_core::ports::{Claimed, Clock, Dispatch, Due, HandOver, Ownership};
use hookseal_core::shard::Shards;
use hookseal_core::time::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::endpoint::{
    Cargo, Deliver, EndpointActor, Enqueue, LookIntoRows, Reconfigure, Revoke, Snapshot,
};
use super::supervisor::{Start, Supervisor};

/// How to reach one endpoint's actor. Shared, never cloned: each clone of an address has a place of
/// its own in the mailbox beyond its bound.
#[derive(Debug)]
pub struct Line {
    /// Its mailbox.
    pub address: Addr<EndpointActor>,
    /// The places it lends.
    pub gate: Arc<Gate>,
    /// Names this life of it.
    pub token: ClaimToken,
    /// Wakes who waits for a place.
    pub freed: Arc<Notify>,
    /// Raised with every change of the endpoint's settings.
    pub settings_version: Arc<AtomicU64>,
}

/// Lines to all actors that live.
pub struct Switchboard {
    lines: RwLock<HashMap<EndpointId, Arc<Line>>>,
    supervisor: OnceLock<Addr<Supervisor>>,
    clock: Arc<dyn Clock>,
    attempt_timeout: Duration,
    /// Bytes of sealed payload that may still be kept in memory.
    memory: Arc<Budget>,
    closed: AtomicBool,
    ownership: Arc<dyn Ownership>,
    /// Due deliveries that another node is to hear of.
    abroad: Mutex<Vec<Due>>,
    /// Asks the stager to look for overdue deliveries.
    pub overdue: Notify,
    /// Tells that an actor ended.
    pub ended: Notify,
    /// Asks for the replacing events that are owed.
    pub owed: Notify,
    /// Tells that there is something for another node.
    pub posted: Notify,
    /// Tells that this node speaks for endpoints that it did not speak for before.
    pub gained: Notify,
}

impl std::fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switchboard")
            .field("lines", &self.lines.read().len())
            .finish_non_exhaustive()
    }
}

impl Switchboard {
    /// A switchboard without lines.
    pub fn new(
        clock: Arc<dyn Clock>,
        attempt_timeout: Duration,
        ownership: Arc<dyn Ownership>,
    ) -> Arc<Self> {
        Arc::new(Self {
            lines: RwLock::default(),
            supervisor: OnceLock::new(),
            clock,
            attempt_timeout,
            memory: Budget::new(SEALED_BYTES_IN_MEMORY),
            closed: AtomicBool::new(false),
            ownership,
            abroad: Mutex::default(),
            overdue: Notify::new(),
            ended: Notify::new(),
            owed: Notify::new(),
            posted: Notify::new(),
            gained: Notify::new(),
        })
    }

    /// Connects the supervisor, which starts actors for endpoints without one.
    pub fn connect(&self, supervisor: Addr<Supervisor>) {
        self.supervisor.get_or_init(|| supervisor);
    }

    /// Lends no further place: the daemon drains.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The line to an endpoint's actor.
    pub fn line(&self, endpoint: &EndpointId) -> Option<Arc<Line>> {
        self.lines.read().get(endpoint).cloned()
    }

    /// All lines.
    pub fn lines(&self) -> Vec<Arc<Line>> {
        self.lines.read().values().cloned().collect()
    }

    /// How many actors live.
    pub fn len(&self) -> usize {
        self.lines.read().len()
    }

    /// Whether no actor lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the line to a new actor.
    pub fn add(&self, endpoint: EndpointId, line: Arc<Line>) {
        self.lines.write().insert(endpoint, line);
    }

    /// Removes the line of one life of an actor, unless a newer one has taken its place.
    pub fn remove(&self, endpoint: &EndpointId, token: ClaimToken) {
        let mut lines = self.lines.write();
        if lines.get(endpoint).is_some_and(|line| line.token == token) {
            lines.remove(endpoint);
        }
        drop(lines);
        self.ended.notify_waiters();
        // What was told to it in its last moment is still in the rows.
        self.overdue.notify_one();
    }

    /// Whether this node speaks for an endpoint.
    pub fn speaks_for(&self, endpoint: &EndpointId) -> bool {
        self.ownership.held().hold(endpoint)
    }

    /// Tells an endpoint's actor of due deliveries, starting it if there is none; another node's is told
    /// by way of the schedule.
    pub fn enqueue(&self, endpoint: &EndpointId, due: Enqueue) {
        if !self.speaks_for(endpoint) {
            return self.post(endpoint, due.ids);
        }
        let told = match self.line(endpoint) {
            Some(line) => line.address.try_send(due).is_ok(),
            None => self.start(endpoint, due),
        };
        if !told {
            self.overdue.notify_one();
        }
    }

    /// Leaves word of due deliveries for the node that speaks for their endpoint.
    pub fn post(&self, endpoint: &EndpointId, ids: Vec<DeliveryId>) {
        let at = self.clock.now();
        let mut abroad = self.abroad.lock();
        // What is beyond is found in the rows by whom it concerns.
        if abroad.len() < SCHEDULE_ENTRIES {
            abroad.extend(ids.into_iter().map(|id| Due { at, id, endpoint_id: endpoint.clone() }));
        }
        drop(abroad);
        self.posted.notify_one();
    }

    /// What was left for other nodes.
    pub fn collect(&self) -> Vec<Due> {
        std::mem::take(&mut self.abroad.lock())
    }

    /// Tells an endpoint's actor that the rows hold due deliveries, starting it if there is none; another
    /// node finds them itself.
    pub fn look_into_rows(&self, endpoint: &EndpointId) {
        if !self.speaks_for(endpoint) {
            return;
        }
        // Untold, the next look through the rows finds them again.
        let _ = match self.line(endpoint) {
            Some(line) => line.address.try_send(LookIntoRows).is_ok(),
            None => self.start(endpoint, Enqueue::default()),
        };
    }

    /// How much there is to do.
    pub async fn workload(&self) -> Workload {
        let lines = self.lines();
        let mut workload = Workload { endpoints: lines.len(), ..Workload::default() };
        for line in lines {
            // One that has ended meanwhile has nothing to do.
            let Ok(lane) = line.address.send(Snapshot).await else { continue };
            workload.waiting += lane.waiting;
            workload.in_flight += lane.in_flight;
            workload.breakers_open += usize::from(lane.breaker_open);
        }
        workload
    }

    fn start(&self, endpoint: &EndpointId, due: Enqueue) -> bool {
        let start = Start { endpoint: endpoint.clone(), due };
        self.supervisor.get().is_some_and(|supervisor| supervisor.try_send(start).is_ok())
    }

    fn deliver(&self, endpoint: &EndpointId, claimed: Vec<(Claimed, Reservation)>) {
        // Where the actor died between reservation and commit, the claims lapse by themselves.
        let Some(line) = self.line(endpoint) else { return };
        let mine = claimed.into_iter().filter(|(_, place)| place.token() == line.token);
        let cargo = mine.map(|(claimed, place)| Cargo { claimed, memory: place.redeem() });
        if let Err(SendError::Full(deliver)) = line.address.try_send(Deliver(cargo.collect())) {
            // The window bounds what is reserved, so that this one may go beyond the mailbox's.
            let sent = line.address.clone().try_send(deliver);
            if sent.is_err() {
                tracing::error!(%endpoint, "reserved deliveries were not passed on");
            }
        }
    }
}

/// What goes to one actor at once.
#[derive(Default)]
struct Mail {
    due: Vec<DeliveryId>,
    claimed: Vec<(Claimed, Reservation)>,
}

#[async_trait]
impl Dispatch for Switchboard {
    async fn reserve(
        &self,
        endpoint: &EndpointId,
        bytes: usize,
        until: Timestamp,
    ) -> Option<Reservation> {
        if bytes > RESERVED_BYTES || self.closed.load(Ordering::Acquire) {
            return None;
        }
        if !self.speaks_for(endpoint) {
            return None;
        }
        // An actor of a former life of this node would claim under its number, and be refused.
        let line = self.line(endpoint).filter(|line| line.token.is_of(self.ownership.number()))?;
        let memory = self.memory.take(bytes)?;
        let free = || line.gate.reserve(self.clock.now(), self.attempt_timeout);
        let place = match free() {
            Some(place) => place,
            None => {
                let _waiting = line.gate.wait()?;
                let freed = async {
                    loop {
                        let mut freed = pin!(line.freed.notified());
                        // One that came free before anybody waited was told to nobody.
                        freed.as_mut().enable();
                        if let Some(place) = free() {
                            return place;
                        }
                        freed.await;
                    }
                };
                let patience = until.since(self.clock.now());
                tokio::time::timeout(patience, freed).await.ok()?
            }
        };
        Some(place.holding(memory))
    }

    fn hand_over(&self, deliveries: Vec<HandOver>) {
        let mut mails: HashMap<EndpointId, Mail> = HashMap::new();
        for HandOver { delivery, claimed } in deliveries {
            let mail = mails.entry(delivery.endpoint_id.clone()).or_default();
            match claimed {
                Some((sealed, place)) => mail.claimed.push((Claimed { delivery, sealed }, place)),
                None => mail.due.push(delivery.id),
            }
        }
        for (endpoint, Mail { due, claimed }) in mails {
            if !claimed.is_empty() {
                self.deliver(&endpoint, claimed);
            }
            if !due.is_empty() {
                self.enqueue(&endpoint, Enqueue { ids: due, leased: false });
            }
        }
    }

    fn reconfigured(&self, endpoint: &EndpointId) {
        match self.line(endpoint) {
            Some(line) => {
                // The actor compares the version before every attempt; the message only wakes it.
                line.settings_version.fetch_add(1, Ordering::AcqRel);
                let _ = line.address.try_send(Reconfigure);
            }
            // An endpoint that was enabled may have deliveries that waited for it; one that another node
            // speaks for is looked after there.
            None if !self.speaks_for(endpoint) || self.start(endpoint, Enqueue::default()) => {}
            None => self.overdue.notify_one(),
        }
    }

    fn revoked(&self, endpoint: &EndpointId, ids: Vec<DeliveryId>) {
        let Some(line) = self.line(endpoint) else { return };
        if let Err(SendError::Full(revoke)) = line.address.try_send(Revoke(ids)) {
            // Beyond the bound, since what was taken away must not be sent: withdrawals are few.
            let _ = line.address.clone().try_send(revoke);
        }
    }

    fn replacement_owed(&self) {
        self.owed.notify_one();
    }

    fn shards_changed(&self, gained: Shards, lost: Shards) {
        if !lost.is_empty() {
            let lines = self.lines.read();
            let leaving = lines.iter().filter(|(endpoint, _)| lost.hold(endpoint));
            for (_, line) in leaving {
                // Woken, it sees for itself that it does not speak for its endpoint.
                let _ = line.address.try_send(Reconfigure);
            }
        }
        if !gained.is_empty() {
            self.gained.notify_one();
            self.overdue.notify_one();
        }
    }
}
