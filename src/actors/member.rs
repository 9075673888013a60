//! The member: keeps this node's lease, takes and gives shards, and looks after what other nodes changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hookseal_core::cluster::{Beat, Look, Neighbourhood, NodeCard, Renewal, Workload};
use hookseal_core::error::{Error, Result};
use hookseal_core::id::EndpointId;
use hookseal_core::ports::{Claims, Dispatch as _, Ownership as _, Roster};
use hookseal_core::shard::Shards;
use hookseal_core::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::janitor::release_of_the_ended;
use super::stager::Stager;
use super::switchboard::Switchboard;
use super::{STORE_PAUSE, Tools};
use crate::clock::AnchoredClock;
use crate::metrics;
use crate::ownership::Holdings;

/// How often a node looks after what others changed.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Renewals within one lease.
const BEATS: u32 = 5;
/// How far back a look goes: a change is committed within that time, or not at all.
const LOOK_BACK: Duration = Duration::from_secs(30);
/// How often it is counted what there is to do.
const COUNT_EVERY: Duration = Duration::from_secs(2);

/// What a member works with.
pub struct MemberParts {
    /// Nodes and shards.
    pub roster: Arc<dyn Roster>,
    /// What is held, as the rest of this process sees it.
    pub holdings: Arc<Holdings>,
    /// Time, which follows the database's.
    pub clock: Arc<AnchoredClock>,
    /// What this node says of itself.
    pub card: NodeCard,
    /// How long a lease runs.
    pub lease: Duration,
    /// Stores, schedule, feed.
    pub tools: Tools,
    /// The way to the actors.
    pub switchboard: Arc<Switchboard>,
    /// What passes on due times.
    pub stager: Arc<Stager>,
}

/// One of several nodes.
pub struct Member {
    parts: MemberParts,
    /// Whether it gives away what it has and takes nothing.
    leaving: bool,
    /// Endpoints that changed of late, by what is known of them.
    seen: HashMap<EndpointId, i64>,
    /// When it last looked.
    looked_at: Timestamp,
    renewed_at: Instant,
    /// How much there is to do, as it was last counted.
    workload: Arc<Mutex<Workload>>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("card", &self.parts.card).finish_non_exhaustive()
    }
}

impl Member {
    /// Joins the nodes of a database.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is.
    pub async fn join(parts: MemberParts) -> Result<Self> {
        let mut member = Self {
            looked_at: parts.tools.clock.now(),
            parts,
            leaving: false,
            seen: HashMap::new(),
            renewed_at: Instant::now(),
            workload: Arc::default(),
        };
        member.begin().await?;
        Ok(member)
    }

    /// Begins a life under a number of its own, and takes what is this node's by then.
    async fn begin(&mut self) -> Result<()> {
        let MemberParts { roster, holdings, card, lease, .. } = &self.parts;
        let number = roster.join(card, *lease).await?;
        holdings.begin(number);
        tracing::info!(%number, "joined");
        self.beat().await?;
        // Perhaps nobody was left to do it.
        self.release_of_the_ended();
        Ok(())
    }

    /// Keeps the lease, until every [`Membership`] is gone; answers what it is told meanwhile.
    async fn run(mut self, mut told: mpsc::Receiver<Told>) {
        self.count();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                told = told.recv() => match told {
                    Some(Told::Leave(left)) => {
                        self.leave().await;
                        // Whoever asked may have given up waiting.
                        let _ = left.send(());
                    }
                    Some(Told::End(ended)) => {
                        self.end().await;
                        let _ = ended.send(());
                        return;
                    }
                    None => return,
                },
            }
            let round = match self.renewed_at.elapsed() >= self.parts.lease / BEATS {
                true => self.beat().await,
                false => self.look().await,
            };
            if let Err(error) = round {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the other nodes are out of sight");
            }
            metrics::SHARDS.set(i64::from(self.parts.holdings.held().len()));
        }
    }

    /// Gives all shards away, if there is anybody to have them.
    async fn leave(&mut self) {
        self.leaving = true;
        if let Err(error) = self.beat().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "shards not given away");
        }
    }

    /// Ends this life: whoever waits for its lease to run out need not.
    async fn end(&self) {
        let MemberParts { roster, holdings, .. } = &self.parts;
        if let Err(error) = roster.end(holdings.number()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "not signed off");
        }
    }

    /// Counts what there is to do now and then, in a task of its own: it asks every actor, and the lease
    /// must not wait for them.
    fn count(&self) {
        let counted = Arc::downgrade(&self.workload);
        let (stager, switchboard) = (self.parts.stager.clone(), self.parts.switchboard.clone());
        actix::spawn(async move {
            while let Some(workload) = counted.upgrade() {
                *workload.lock() = Workload { lag: stager.lag(), ..switchboard.workload().await };
                drop(workload);
                tokio::time::sleep(COUNT_EVERY).await;
            }
        });
    }

    async fn beat(&mut self) -> Result<()> {
        let leaving = self.leaving;
        let MemberParts { roster, holdings, lease, clock, tools, switchboard, .. } = &self.parts;
        let asked = Instant::now();
        let beat = Beat { lease: *lease, leaving, workload: *self.workload.lock() };
        let renewal = roster.renew(holdings.number(), &beat).await?;
        let Neighbourhood { now, owners, serving, give, ended } = match renewal {
            Renewal::Renewed(neighbourhood) => neighbourhood,
            Renewal::Ended if leaving => return Ok(()),
            Renewal::Ended => {
                tracing::warn!("this node was out of sight for too long: it begins anew");
                holdings.let_go(Shards::ALL);
                switchboard.shards_changed(Shards::NONE, Shards::ALL);
                return Box::pin(self.begin()).await;
            }
        };
        self.renewed_at = asked;
        clock.follow(now, asked);
        // Held a little shorter than the row says, since clocks need not run alike.
        holdings.renew(asked, *lease * 9 / 10);
        holdings.count(serving);
        if !give.is_empty() {
            let given: Shards = give.iter().map(|(shard, _)| *shard).collect();
            // Nothing starts here before anything starts there.
            holdings.let_go(given);
            switchboard.shards_changed(Shards::NONE, given);
            tracing::info!(shards = given.len(), "giving shards away");
            if let Err(error) = roster.give(holdings.number(), &give).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "shards not given away");
            }
        }
        if !ended.is_empty() {
            tracing::warn!(nodes = ended.len(), "nodes are gone");
            ended.iter().flatten().for_each(|writer| tools.feed.bury(writer));
            self.release_of_the_ended();
        }
        if give.is_empty() {
            self.learn(owners);
        }
        self.look().await
    }

    async fn look(&mut self) -> Result<()> {
        let MemberParts { roster, holdings, tools, switchboard, .. } = &self.parts;
        let asked = Instant::now();
        // Since the last look, and a little more: what was begun before it may be committed after it.
        let now = tools.clock.now();
        let since = now.min(self.looked_at).minus(LOOK_BACK);
        let Look { owners, changed, revoked } = roster.look(since).await?;
        for (endpoint, revision) in &changed {
            if self.seen.get(endpoint) != Some(revision) {
                switchboard.reconfigured(endpoint);
            }
        }
        for (endpoint, id) in revoked {
            switchboard.revoked(&endpoint, vec![id]);
        }
        self.looked_at = now;
        holdings.inform(asked);
        self.seen = changed.into_iter().collect();
        self.learn(owners);
        Ok(())
    }

    /// Ends claims of nodes that ended, in a task of its own: it may take longer than the lease runs. Should this one die
    /// over it, whoever sees that ends them all; and once they lapse, the janitor does.
    fn release_of_the_ended(&self) {
        let (tools, switchboard) = (self.parts.tools.clone(), self.parts.switchboard.clone());
        actix::spawn(async move {
            loop {
                match release_of_the_ended(&tools, &switchboard, Claims::OfTheEnded).await {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(Error::Unavailable { .. }) => tokio::time::sleep(STORE_PAUSE).await,
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "claims of nodes that are gone not ended");
                        return;
                    }
                }
            }
        });
    }

    fn learn(&self, owners: hookseal_core::cluster::Owners) {
        let MemberParts { holdings, switchboard, .. } = &self.parts;
        let (gained, lost) = holdings.learn(owners);
        if !(gained.is_empty() && lost.is_empty()) {
            let held = holdings.held();
            tracing::info!(gained = gained.len(), lost = lost.len(), held = held.len(), "shards");
            switchboard.shards_changed(gained, lost);
        }
    }
}

/// What a member is told.
enum Told {
    /// Give all shards away, and keep the lease.
    Leave(oneshot::Sender<()>),
    /// End this life.
    End(oneshot::Sender<()>),
}

/// The task of a member.
#[derive(Debug)]
pub struct Membership(mpsc::Sender<Told>);

impl Membership {
    /// Keeps `member`'s lease from now on.
    pub fn start(member: Member) -> Self {
        let (tell, told) = mpsc::channel(1);
        actix::spawn(member.run(told));
        Self(tell)
    }

    /// Gives the shards away; the lease is kept, so that what is in flight can be recorded.
    pub async fn leave(&self) {
        self.tell(Told::Leave).await;
    }

    /// Ends this life of the node.
    pub async fn end(self) {
        self.tell(Told::End).await;
    }

    async fn tell(&self, what: impl FnOnce(oneshot::Sender<()>) -> Told) {
        let (done, heard) = oneshot::channel();
        // A task that is gone has neither shards nor a lease to give back.
        if self.0.send(what(done)).await.is_ok() {
            let _ = heard.await;
        }
    }
}

/// The time of the database, read a few times: the quickest answer is the truest.
///
/// # Errors
/// [`Error::Unavailable`] when the database is.
pub async fn set_clock(clock: &AnchoredClock, roster: &dyn Roster) -> Result<(), Error> {
    const SAMPLES: usize = 5;
    let mut best: Option<(Duration, Instant, _)> = None;
    for _ in 0..SAMPLES {
        let asked = Instant::now();
        let now = roster.time().await?;
        let took = asked.elapsed();
        if best.is_none_or(|(shortest, ..)| took < shortest) {
            best = Some((took, asked + took / 2, now));
        }
    }
    if let Some((_, at, now)) = best {
        clock.set(now, at);
    }
    Ok(())
}
