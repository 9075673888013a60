//! Who speaks for which endpoints: of one process alone, and of several that share a database.

use std::time::Duration;

use hookseal::ownership::Sole;
use hookseal::store::SqlRoster;
use hookseal_core::audit::Action;
use hookseal_core::cluster::{Beat, Neighbourhood, NodeCard, Renewal, Workload};
use hookseal_core::delivery::{Claim, ClaimToken, Delivery, Status};
use hookseal_core::gate::Gate;
use hookseal_core::id::{DeliveryId, EndpointId};
use hookseal_core::limits::CLAIM_SLACK;
use hookseal_core::ports::{
    Accepted, Archive as _, Blame, Claims, Endpoints as _, Haste, Ledger as _, Ownership, Roster,
    Settlement, Upkeep as _,
};
use hookseal_core::shard::{NodeNumber, SHARDS, Shard, Shards, Standing};
use hookseal_core::time::Timestamp;

use crate::support::databases::{Bench, Engine};
use crate::support::rows::{T0, TIMEOUT, after, entry};

const LEASE: Duration = Duration::from_secs(60);

/// A database that several nodes share.
struct Shared {
    bench: Bench,
    roster: SqlRoster,
}

impl Shared {
    async fn new() -> Self {
        let bench = Bench::new(Engine::Postgres).await;
        let roster = bench.connections.roster().expect("a PostgreSQL has one");
        Self { bench, roster }
    }

    async fn join(&self) -> NodeNumber {
        let card = NodeCard {
            name: "n".into(),
            version: "v".into(),
            address: "a".into(),
            feed_writer: Some("w".into()),
        };
        self.roster.join(&card, LEASE).await.unwrap()
    }

    async fn renew(&self, node: NodeNumber, lease: Duration, leaving: bool) -> Renewal {
        let beat = Beat { lease, leaving, workload: Workload::default() };
        self.roster.renew(node, &beat).await.unwrap()
    }

    async fn serve(&self, node: NodeNumber) -> Neighbourhood {
        match self.renew(node, LEASE, false).await {
            Renewal::Renewed(neighbourhood) => neighbourhood,
            Renewal::Ended => panic!("{node} has ended"),
        }
    }

    /// Lets the lease of a node run out.
    async fn lapse(&self, node: NodeNumber) {
        self.renew(node, Duration::from_millis(1), false).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    async fn held(&self, node: NodeNumber) -> Shards {
        self.roster.look(T0).await.unwrap().owners.shards_of(node)
    }

    /// A pending delivery to an endpoint of one of `shards`.
    async fn pending_in(&self, shards: Shards) -> Delivery {
        let organization = self.bench.organization().await;
        loop {
            let endpoint = self.bench.endpoint(&organization).await;
            if shards.hold(&endpoint.id) {
                return pending(&self.bench, self.bench.acceptance(&endpoint).await).await;
            }
        }
    }
}

async fn pending(bench: &Bench, acceptance: hookseal_core::ports::Acceptance) -> Delivery {
    let delivery = acceptance.deliveries[0].delivery.clone();
    assert!(matches!(bench.store.accept(acceptance).await.unwrap(), Accepted::Committed));
    delivery
}

async fn claimed(bench: &Bench, delivery: &Delivery, token: ClaimToken) -> Option<Delivery> {
    let claim = Claim::new(token, T0, TIMEOUT);
    let ids = vec![delivery.id.clone()];
    let claimed = bench.store.claim(&delivery.endpoint_id, ids, claim, T0).await.unwrap();
    claimed.into_iter().next().map(|claimed| claimed.delivery)
}

/// Whether an end of the claim that `token` made was taken.
async fn settled(bench: &Bench, delivery: &Delivery, token: ClaimToken) -> bool {
    let progress = delivery.progress.hand_back(T0).unwrap();
    let settlement = Settlement { delivery: delivery.clone(), token, progress, replaced: None };
    bench.store.settle(vec![settlement], Haste::Now).await.unwrap()[0]
}

async fn status(bench: &Bench, delivery: &Delivery) -> Status {
    let found = bench.store.delivery(&delivery.organization_id, &delivery.id).await.unwrap();
    found.expect("it is there").progress.status
}

/// What holds for whoever speaks for an endpoint: alone on either database, or as one of several.
async fn who_speaks_for_an_endpoint_claims_and_settles(bench: &Bench, number: NodeNumber) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let delivery = pending(bench, bench.acceptance(&endpoint).await).await;
    let token = ClaimToken::mint(number, 7);
    assert!(token.is_of(number));
    let flying = claimed(bench, &delivery, token).await.expect("it is claimed");
    assert!(claimed(bench, &delivery, ClaimToken::mint(number, 8)).await.is_none());
    assert!(!settled(bench, &flying, ClaimToken::mint(number, 8)).await, "not his claim");
    assert!(settled(bench, &flying, token).await);
    assert_eq!(status(bench, &delivery).await, Status::Pending);
    // Whoever lives keeps his claims.
    let flying = claimed(bench, &delivery, token).await.expect("it is claimed again");
    let released = bench.store.release(Claims::OfTheEnded, T0, 10, Blame::Nobody).await.unwrap();
    assert_eq!(released.claims, 0);
    assert!(settled(bench, &flying, token).await);
    // A place that was lent is honoured.
    let gate = Gate::new(token);
    gate.lend(1);
    let mut acceptance = bench.acceptance(&endpoint).await;
    let place = gate.reserve(T0, TIMEOUT).expect("a place");
    let new = &mut acceptance.deliveries[0];
    new.delivery.progress = new.delivery.progress.claim(place.claim(), T0).unwrap();
    new.reservation = Some(place);
    let flying = pending(bench, acceptance).await;
    assert!(settled(bench, &flying, token).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_on_sqlite() {
    let bench = Bench::new(Engine::Sqlite).await;
    assert!(bench.connections.roster().is_none());
    assert_eq!((Sole.held(), Sole.is_informed()), (Shards::ALL, true));
    assert!(Shard::all().all(|shard| Sole.elsewhere(shard).is_none()));
    who_speaks_for_an_endpoint_claims_and_settles(&bench, Sole.number()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_on_postgres() {
    let bench = Bench::new(Engine::Postgres).await;
    who_speaks_for_an_endpoint_claims_and_settles(&bench, Sole.number()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several() {
    let shared = Shared::new().await;
    let node = shared.join().await;
    shared.serve(node).await;
    assert_eq!(shared.held(node).await, Shards::ALL);
    who_speaks_for_an_endpoint_claims_and_settles(&shared.bench, node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_shared_out_and_each_has_one_owner() {
    let shared = Shared::new().await;
    let mut nodes = Vec::new();
    for count in 1..=4 {
        let newcomer = shared.join().await;
        nodes.push(newcomer);
        shared.serve(newcomer).await;
        let before = shared.roster.roll().await.unwrap().shards;
        for node in nodes.clone() {
            let neighbourhood = shared.serve(node).await;
            assert_eq!(neighbourhood.serving, count);
            assert!(neighbourhood.give.iter().all(|(_, heir)| *heir == newcomer));
            shared.roster.give(node, &neighbourhood.give).await.unwrap();
        }
        let mut all = Shards::NONE;
        for node in &nodes {
            let held = shared.held(*node).await;
            assert!(!held.is_empty() && held.and(all).is_empty());
            all = Shards::from_bits(all.bits() | held.bits());
        }
        assert_eq!(all, Shards::ALL);
        for (was, is) in before.iter().zip(shared.roster.roll().await.unwrap().shards) {
            let moved = was.owner != is.owner;
            assert_eq!(is.epoch - was.epoch, i64::from(moved), "{was:?} {is:?}");
        }
    }
    let roll = shared.roster.roll().await.unwrap();
    assert_eq!(roll.shards.len(), usize::from(SHARDS));
    assert!(roll.nodes.iter().all(|node| node.standing == Standing::Serving && node.shards > 0));
    // What one does not have he gives to nobody.
    let theirs = shared.held(nodes[1]).await.iter().next().unwrap();
    shared.roster.give(nodes[0], &[(theirs, nodes[2])]).await.unwrap();
    assert!(shared.held(nodes[1]).await.contains(theirs));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_out_of_sight_loses_all_and_writes_nothing() {
    let shared = Shared::new().await;
    let (stale, heir) = (shared.join().await, shared.join().await);
    let give = shared.serve(stale).await.give;
    shared.roster.give(stale, &give).await.unwrap();
    shared.serve(heir).await;
    let (his, token) = (shared.held(stale).await, ClaimToken::mint(stale, 1));
    let flying = shared.pending_in(his).await;
    let flying = claimed(&shared.bench, &flying, token).await.expect("it is his");
    let waiting = shared.pending_in(his).await;
    shared.lapse(stale).await;
    assert_eq!(shared.held(stale).await, his, "nobody has said so yet");
    let seen = shared.serve(heir).await;
    assert_eq!((seen.ended, seen.serving), (vec![Some("w".into())], 1));
    assert_eq!(shared.held(heir).await, Shards::ALL);
    // He comes back and does not know.
    assert!(claimed(&shared.bench, &waiting, token).await.is_none());
    assert!(!settled(&shared.bench, &flying, token).await);
    assert_eq!(status(&shared.bench, &flying).await, Status::Delivering);
    let organization = shared.bench.organization().await;
    let gate = Gate::new(token);
    gate.lend(1);
    let endpoint = shared.bench.endpoint(&organization).await;
    let mut acceptance = shared.bench.acceptance(&endpoint).await;
    acceptance.deliveries[0].reservation = gate.reserve(T0, TIMEOUT);
    assert!(matches!(shared.bench.store.accept(acceptance).await.unwrap(), Accepted::Stale));
    assert_eq!(shared.renew(stale, LEASE, false).await, Renewal::Ended);
    // What he had claimed is due again at once, and the heir's is his own.
    let theirs =
        claimed(&shared.bench, &waiting, ClaimToken::mint(heir, 1)).await.expect("now his");
    let open = |which| shared.bench.store.open_claims(which, 10);
    assert_eq!((open(Claims::OfTheEnded).await.unwrap(), open(Claims::All).await.unwrap()), (1, 2));
    let (before, lapsed) = (T0.plus(TIMEOUT), T0.plus(TIMEOUT + CLAIM_SLACK));
    for (instant, seen) in [(before, 0), (lapsed, 1)] {
        assert_eq!(open(Claims::LapsedOfTheEnded(instant)).await.unwrap(), seen);
    }
    let released =
        shared.bench.store.release(Claims::OfTheEnded, T0, 10, Blame::Nobody).await.unwrap();
    assert_eq!((released.claims, &released.due[0].id), (1, &flying.id));
    assert!(settled(&shared.bench, &theirs, ClaimToken::mint(heir, 1)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_gives_all_away_and_records_what_it_flies() {
    let shared = Shared::new().await;
    let (leaver, heir) = (shared.join().await, shared.join().await);
    shared.serve(heir).await;
    let give = shared.serve(leaver).await.give;
    shared.roster.give(leaver, &give).await.unwrap();
    let token = ClaimToken::mint(leaver, 1);
    let (flying, waiting) = {
        let his = shared.held(leaver).await;
        (shared.pending_in(his).await, shared.pending_in(his).await)
    };
    let flying = claimed(&shared.bench, &flying, token).await.expect("it is his");
    let Renewal::Renewed(seen) = shared.renew(leaver, LEASE, true).await else { panic!("ended") };
    assert!(seen.give.iter().all(|(_, to)| *to == heir));
    shared.roster.give(leaver, &seen.give).await.unwrap();
    assert_eq!((shared.held(leaver).await, shared.held(heir).await), (Shards::NONE, Shards::ALL));
    assert!(claimed(&shared.bench, &waiting, token).await.is_none(), "not his any more");
    assert!(settled(&shared.bench, &flying, token).await, "his to the end");
    shared.roster.end(leaver).await.unwrap();
    assert_eq!(shared.renew(leaver, LEASE, true).await, Renewal::Ended);
    // The last one has nobody to give anything to.
    let Renewal::Renewed(seen) = shared.renew(heir, LEASE, true).await else { panic!("ended") };
    assert_eq!((seen.give.len(), seen.ended.len()), (0, 0));
    let standings: Vec<_> =
        shared.roster.roll().await.unwrap().nodes.iter().map(|node| node.standing).collect();
    assert_eq!(standings, [Standing::Leaving, Standing::Ended]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_heirs_one_takes_each_shard() {
    let shared = Shared::new().await;
    let first = shared.join().await;
    shared.serve(first).await;
    let heirs = [shared.join().await, shared.join().await, shared.join().await];
    shared.lapse(first).await;
    let renewals = heirs.map(|heir| shared.renew(heir, LEASE, false));
    let mut ended = 0;
    for renewal in futures_util::future::join_all(renewals).await {
        let Renewal::Renewed(seen) = renewal else { panic!("ended") };
        ended += seen.ended.len();
    }
    assert_eq!(ended, 1, "one of them says that he is gone");
    for heir in heirs {
        shared.serve(heir).await;
    }
    let roll = shared.roster.roll().await.unwrap();
    assert!(
        roll.shards.iter().all(|s| s.owner.is_some_and(|o| heirs.contains(&o)) && s.epoch == 2)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_shows_what_changed_and_what_was_revoked() {
    let shared = Shared::new().await;
    let node = shared.join().await;
    shared.serve(node).await;
    let delivery = shared.pending_in(Shards::ALL).await;
    let id: &EndpointId = &delivery.endpoint_id;
    assert_eq!(shared.roster.look(T0).await.unwrap().changed, [], "it is older than that");
    let flying = claimed(&shared.bench, &delivery, ClaimToken::mint(node, 1)).await;
    assert!(flying.is_some());
    let before = T0.minus(Duration::from_secs(1));
    let known = shared.roster.look(before).await.unwrap().changed;
    let made = entry(&delivery.organization_id, Action::EndpointDeleted);
    let store = &shared.bench.store;
    assert!(store.delete_endpoint(&delivery.organization_id, id, made).await.unwrap());
    let seen = shared.roster.look(before).await.unwrap();
    let revision = |changed: &[(EndpointId, i64)]| {
        changed.iter().find(|(changed, _)| changed == id).map(|(_, revision)| *revision)
    };
    assert!(revision(&seen.changed) > revision(&known), "{known:?} {:?}", seen.changed);
    assert_eq!(seen.revoked, [(id.clone(), delivery.id.clone())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_and_the_program_agree_on_shards() {
    let shared = Shared::new().await;
    let mut all: Vec<(DeliveryId, Shard)> = Vec::new();
    let organization = shared.bench.organization().await;
    for _ in 0..100 {
        let endpoint = shared.bench.endpoint(&organization).await;
        let delivery = pending(&shared.bench, shared.bench.acceptance(&endpoint).await).await;
        all.push((delivery.id, Shard::of(&endpoint.id)));
    }
    for shards in Shard::all().map(|shard| Shards::from_iter([shard])).chain([Shards::NONE]) {
        let from = (Timestamp::from_ms(0), None);
        let upcoming = shared.bench.store.upcoming(shards, from, after(60), 1000).await.unwrap();
        let mut found: Vec<_> = upcoming.into_iter().map(|due| due.id).collect();
        found.sort();
        let mut expected: Vec<_> =
            all.iter().filter(|(_, s)| shards.contains(*s)).map(|(id, _)| id.clone()).collect();
        expected.sort();
        assert_eq!(found, expected, "{shards:?}");
    }
}
