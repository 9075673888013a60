//! The supervisor: starts an actor for every endpoint that has something to do, pins it to an
//! arbiter, and rebuilds one that panicked.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use hookseal_core::delivery::ClaimToken;
use hookseal_core::gate::Gate;
use hookseal_core::id::EndpointId;
use hookseal_core::limits::{ENDPOINT_MAILBOX, SUPERVISOR_MAILBOX};

use tokio::sync::Notify;

use super::Tools;
use super::endpoint::{Drain, EndpointActor, Enqueue, Lender, LookIntoRows};
use super::switchboard::{Line, Switchboard};
use crate::metrics;

/// How long it may take to give up what flies and to hand claims back.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(5);

/// Starts and restarts endpoint actors.
pub struct Supervisor {
    tools: Tools,
    switchboard: Arc<Switchboard>,
    arbiters: Vec<ArbiterHandle>,
    draining: bool,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}

/// Start the actor of an endpoint, if there is none, and tell it of due deliveries; without any it
/// looks into the rows.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Start {
    /// Whose actor.
    pub endpoint: EndpointId,
    /// What is due.
    pub due: Enqueue,
}

/// Take note that an actor ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Bury {
    /// Whose actor.
    pub endpoint: EndpointId,
    /// Which life of it.
    pub token: ClaimToken,
    /// Whether it ended by a panic.
    pub panicked: bool,
}

/// Let every actor end: attempts in flight have until the deadline, then they are given up and
/// their claims handed back.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct DrainAll {
    /// How long attempts in flight may go on.
    pub grace: Duration,
}

impl Supervisor {
    /// A supervisor that pins actors to `arbiters`.
    pub fn new(tools: Tools, switchboard: Arc<Switchboard>, arbiters: Vec<ArbiterHandle>) -> Self {
        Self { tools, switchboard, arbiters, draining: false }
    }

    fn line(&self, endpoint: &EndpointId, supervisor: Addr<Self>) -> Arc<Line> {
        if let Some(line) = self.switchboard.line(endpoint)
            && line.address.connected()
        {
            return line;
        }
        let token = ClaimToken::mint(self.tools.ownership.number(), rand::random());
        let gate = Gate::new(token);
        let (settings_version, freed) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let arbiter = &self.arbiters[hasher.hash_one(endpoint) as usize % self.arbiters.len()];
        let address = EndpointActor::start_in_arbiter(arbiter, {
            let (endpoint, tools) = (endpoint.clone(), self.tools.clone());
            let lender = Lender { gate: gate.clone(), freed: freed.clone() };
            let settings_version = settings_version.clone();
            move |context| {
                context.set_mailbox_capacity(ENDPOINT_MAILBOX);
                EndpointActor::new(endpoint, token, lender, settings_version, tools, supervisor)
            }
        });
        let line = Arc::new(Line { address, gate, token, freed, settings_version });
        self.switchboard.add(endpoint.clone(), line.clone());
        line
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(SUPERVISOR_MAILBOX);
        self.switchboard.connect(context.address());
    }
}

impl Handler<Start> for Supervisor {
    type Result = ();

    fn handle(&mut self, Start { endpoint, due }: Start, context: &mut Context<Self>) {
        if self.draining {
            return;
        }
        let line = self.line(&endpoint, context.address());
        let told = if due.ids.is_empty() {
            // Perhaps its settings changed while it had no line to be told by.
            line.settings_version.fetch_add(1, Ordering::AcqRel);
            line.address.try_send(LookIntoRows).is_ok()
        } else {
            line.address.try_send(due).is_ok()
        };
        if !told {
            self.switchboard.overdue.notify_one();
        }
    }
}

impl Handler<Bury> for Supervisor {
    type Result = ();

    fn handle(&mut self, Bury { endpoint, token, panicked }: Bury, context: &mut Context<Self>) {
        self.switchboard.remove(&endpoint, token);
        if panicked {
            tracing::error!(%endpoint, "endpoint actor panicked; rebuilding it from the rows");
            metrics::ACTOR_PANICS.inc();
            if !self.draining {
                // Its claims lapse by themselves; everything else is in the rows.
                self.handle(Start { endpoint, due: Enqueue::default() }, context);
            }
        }
    }
}

impl Handler<DrainAll> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        DrainAll { grace }: DrainAll,
        _: &mut Context<Self>,
    ) -> ResponseFuture<()> {
        self.draining = true;
        self.switchboard.close();
        let switchboard = self.switchboard.clone();
        Box::pin(async move {
            for hard in [false, true] {
                for line in switchboard.lines() {
                    // An actor that is gone is drained.
                    let _ = line.address.send(Drain { hard }).await;
                }
                let ended = async {
                    loop {
                        let next = switchboard.ended.notified();
                        if switchboard.is_empty() {
                            break;
                        }
                        next.await;
                    }
                };
                let patience = if hard { GIVEN_UP_WITHIN } else { grace };
                if tokio::time::timeout(patience, ended).await.is_ok() {
                    return;
                }
            }
            tracing::warn!(actors = switchboard.len(), "drained in part; claims left will lapse");
        })
    }
}
