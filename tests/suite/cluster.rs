//! Several nodes on one PostgreSQL and one Redis: each speaks for its share of the endpoints, whatever
//! happens to the others.

use std::collections::HashSet;
use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use hookseal_core::id::EndpointId;
use hookseal_core::shard::Shard;
use hookseal_core::time::Timestamp;
use serde_json::{Value, json};

use crate::support::daemon::{Caller, Daemon, Home, PLATFORM_KEY, Tenant, ended, wait};
use crate::support::databases::new_postgres_database;
use crate::support::redis::Redis;
use crate::support::socket::Socket;

const SOON: Duration = Duration::from_secs(20);

/// Nodes that share a database and a Redis.
struct Nodes {
    redis: Redis,
    homes: Vec<Home>,
    nodes: Vec<Daemon>,
}

impl Nodes {
    fn start(count: usize, settings: &[(&str, &str)]) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let database = runtime.block_on(new_postgres_database());
        let redis = Redis::start();
        let redis_url = redis.url();
        let mut all = vec![
            ("HOOKSEAL_DATABASE_URL", database.as_str()),
            ("HOOKSEAL_REDIS_URL", redis_url.as_str()),
            ("HOOKSEAL_MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ("HOOKSEAL_NODE_LEASE", "2s"),
        ];
        all.extend(settings);
        let homes: Vec<_> = (0..count).map(|_| Home::new(&all)).collect();
        let nodes = homes.iter().map(Home::start).collect();
        let nodes = Self { redis, homes, nodes };
        nodes.share(count);
        nodes
    }

    /// Waits until so many nodes have shared all shards out.
    fn share(&self, count: usize) {
        wait(SOON, "the shards to be shared out", || {
            let cluster = self.cluster();
            let serving = nodes(&cluster, "serving");
            let shards = cluster["shards"].as_array().unwrap();
            let held = |shard: &Value| serving.iter().any(|n| n["number"] == shard["node"]);
            serving.len() == count
                && serving.iter().all(|node| node["shards"] != 0)
                && shards.iter().all(held)
        });
    }

    fn cluster(&self) -> Value {
        let living = self.nodes.last().expect("a node");
        living.platform().get("/v1/platform/cluster").ok()
    }

    /// The place of the node that speaks for an endpoint.
    fn owner_of(&self, endpoint: &str) -> usize {
        self.holder_of(Shard::of(&EndpointId::from_row(endpoint)).number().into())
    }

    /// The place of the node that holds a shard.
    fn holder_of(&self, shard: usize) -> usize {
        let cluster = self.cluster();
        let owner = &cluster["shards"][shard]["node"];
        let nodes = cluster["nodes"].as_array().unwrap();
        let address = &nodes.iter().find(|node| node["number"] == *owner).unwrap()["address"];
        let is_it = |node: &Daemon| node.url.strip_prefix("http://") == address.as_str();
        self.nodes.iter().position(is_it).expect("it is one of them")
    }

    /// The tenant's callers at each node.
    fn tenants(&self) -> Vec<Tenant> {
        let tenant = self.nodes[0].tenant();
        let at = |node: &Daemon| Tenant {
            organization: tenant.organization.clone(),
            caller: Caller::new(&node.url, &tenant.caller.key),
            platform: Caller::new(&node.url, PLATFORM_KEY),
        };
        self.nodes.iter().map(at).collect()
    }
}

fn nodes(cluster: &Value, standing: &str) -> Vec<Value> {
    let nodes = cluster["nodes"].as_array().unwrap().iter();
    nodes.filter(|node| node["standing"] == standing).cloned().collect()
}

/// Publishes `count` events round about; answers the ids of their deliveries.
fn publish(tenants: &[Tenant], prefix: &str, count: usize) -> HashSet<String> {
    let mut ids = HashSet::new();
    for n in 0..count {
        let event =
            tenants[n % tenants.len()].publish(&format!("vs_{prefix}_{n}"), json!({ "n": n }));
        let deliveries = event["deliveries"].as_array().unwrap();
        ids.extend(deliveries.iter().map(|d| d["id"].as_str().unwrap().to_owned()));
    }
    ids
}

fn arrived(receivers: &[Receiver]) -> Vec<String> {
    let arrivals = receivers.iter().flat_map(Receiver::arrivals);
    arrivals.map(|arrival| arrival.delivery_id).collect()
}

#[test]
fn any_node_takes_an_event_and_the_owner_sends_it() {
    let nodes = Nodes::start(3, &[]);
    let tenants = nodes.tenants();
    let receivers: Vec<_> = (0..6).map(|_| Receiver::start(Behaviour::Accept)).collect();
    receivers.iter().for_each(|receiver| drop(tenants[0].register(receiver, json!({}))));
    let ids = publish(&tenants, "a", 60);
    assert_eq!(ids.len(), 360);
    wait(SOON, "all deliveries", || arrived(&receivers).len() >= ids.len());
    let arrived: Vec<_> = arrived(&receivers);
    assert_eq!((arrived.len(), arrived.into_iter().collect::<HashSet<_>>()), (360, ids));
    tenants[1].settle(SOON);
}

#[test]
fn a_key_rotated_at_one_node_seals_the_next_publish_at_another() {
    let nodes = Nodes::start(2, &[("HOOKSEAL_KEYS_PER_ENDPOINT", "1000")]);
    let tenants = nodes.tenants();
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = tenants[0].register(&receiver, json!({}));
    let path = format!("/v1/webhooks/endpoints/{endpoint}/keys");
    for n in 0..100 {
        let key = json!({
            "key_id": format!("r{n}"), "algorithm": "RSA-OAEP-256", "key_type": "RSA",
            "jwk": receiver.public_jwk,
        });
        let made = tenants[n % 2].caller.post(&path, key).ok();
        let event = tenants[1 - n % 2].publish(&format!("vs_{n}"), json!({}));
        let delivery = event["deliveries"][0]["id"].as_str().unwrap();
        let path = format!("/v1/webhooks/deliveries/{delivery}");
        let sealed_to = tenants[0].caller.get(&path).ok()["webhook_encryption_key_id"].take();
        assert_eq!(sealed_to, made["id"], "{n}");
    }
    tenants[0].settle(SOON);
}

#[test]
fn a_secret_rotated_with_overlap_at_one_node_signs_at_the_others() {
    let nodes = Nodes::start(2, &[]);
    let tenants = nodes.tenants();
    let receiver = Receiver::start(Behaviour::Answer(204));
    // Of several endpoints each node speaks for some.
    let endpoints: Vec<_> = (0..6).map(|_| tenants[0].register(&receiver, json!({}))).collect();
    for (round, grace_period_seconds, signatures) in [(0, 3600, 2), (1, 0, 1)] {
        for endpoint in &endpoints {
            let path = format!("/v1/webhooks/endpoints/{endpoint}/signing-secret/rotate");
            let body = json!({ "grace_period_seconds": grace_period_seconds });
            tenants[round].caller.post(&path, body).ok();
        }
        std::thread::sleep(Duration::from_secs(1));
        let before = receiver.arrived();
        publish(&tenants, &round.to_string(), 2);
        wait(SOON, "the deliveries", || receiver.arrived() >= before + 12);
        for arrival in &receiver.arrivals()[before..] {
            let header = arrival.raw.headers.iter().find(|(name, _)| name == "x-kayle-signature");
            assert_eq!(header.unwrap().1.matches(",v1=").count(), signatures);
        }
    }
}

#[test]
fn settings_changed_at_one_node_hold_at_the_others_within_a_second() {
    // One receiver knows one secret; what it answers to the others does not matter.
    let nodes = Nodes::start(2, &[("HOOKSEAL_RETRY_SCHEDULE", "none")]);
    let tenants = nodes.tenants();
    let (before, after) = (Receiver::start(Behaviour::Accept), Receiver::start(Behaviour::Accept));
    // Of several endpoints each node speaks for some.
    let endpoints: Vec<_> = (0..8).map(|_| tenants[0].register(&before, json!({}))).collect();
    publish(&tenants, "a", 4);
    wait(SOON, "the first deliveries", || before.arrived() == 32);
    for endpoint in &endpoints {
        let path = format!("/v1/webhooks/endpoints/{endpoint}");
        tenants[1].caller.patch(&path, json!({ "url": after.url })).ok();
    }
    std::thread::sleep(Duration::from_secs(1));
    publish(&tenants, "b", 4);
    wait(SOON, "the others", || after.arrived() == 32);
    assert_eq!(before.arrived(), 32);
}

#[test]
fn a_rate_limit_holds_over_all_nodes_though_its_owner_is_killed() {
    const RATE: usize = 50;
    let mut nodes = Nodes::start(3, &[]);
    let tenants = nodes.tenants();
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = tenants[0].register(&receiver, json!({ "rate_limit_per_second": RATE }));
    let events: Vec<_> =
        (0..600).map(|n| tenants[0].event(&format!("vs_{n}"), json!({}))).collect();
    for (n, batch) in events.chunks(200).enumerate() {
        tenants[n].platform.post("/v1/platform/events/batch", json!(batch)).ok();
    }
    wait(SOON, "some of it", || receiver.arrived() > 2 * RATE);
    let place = nodes.owner_of(&endpoint);
    drop(nodes.nodes.remove(place));
    let survivor = if place == 0 { &tenants[1] } else { &tenants[0] };
    survivor.settle(Duration::from_secs(60));
    let at = |delivery: &Value| Timestamp::parse(delivery["last_attempt_at"].as_str()?);
    let mut starts: Vec<_> = survivor.deliveries("").iter().filter_map(at).collect();
    assert_eq!(starts.len(), 600);
    starts.sort();
    let within = |from: &Timestamp| {
        let second = *from..from.plus(Duration::from_secs(1));
        starts.iter().filter(|at| second.contains(at)).count()
    };
    let busiest = starts.iter().map(within).max().unwrap();
    assert!(busiest <= RATE + 2, "{busiest} in one second");
    let ids: HashSet<_> = arrived(&[receiver]).into_iter().collect();
    assert_eq!(ids.len(), 600);
}

#[test]
fn whoever_watches_at_one_node_sees_what_happens_at_all() {
    let nodes = Nodes::start(2, &[]);
    let tenants = nodes.tenants();
    let receivers: Vec<_> = (0..6).map(|_| Receiver::start(Behaviour::Accept)).collect();
    receivers.iter().for_each(|receiver| drop(tenants[0].register(receiver, json!({}))));
    let socket = Socket::of(&tenants[0].caller);
    socket.subscribe(
        "d",
        "subscription { deliveryChanged { gap delivery { id status } } }",
        json!({}),
    );
    std::thread::sleep(Duration::from_millis(500));
    let ids = publish(&tenants, "w", 10);
    let mut succeeded = HashSet::new();
    while succeeded.len() < ids.len() {
        let item = socket.item("d");
        assert_eq!(item["gap"], json!(false));
        if item["delivery"]["status"] == "SUCCEEDED" {
            succeeded.insert(item["delivery"]["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(succeeded, ids);
}

#[test]
fn a_node_that_stops_records_what_it_flies_however_long_that_takes() {
    let mut nodes = Nodes::start(2, &[("HOOKSEAL_NODE_LEASE", "1s")]);
    let tenants = nodes.tenants();
    let receiver = Receiver::start(Behaviour::AcceptAfter(Duration::from_secs(4)));
    let endpoint = tenants[0].register(&receiver, json!({}));
    let owner = nodes.owner_of(&endpoint);
    tenants[owner].publish("vs_slow", json!({}));
    wait(SOON, "the attempt", || receiver.arrived() == 1);
    assert!(nodes.nodes.remove(owner).terminate().success());
    let survivor = &tenants[1 - owner];
    survivor.settle(SOON);
    assert_eq!((receiver.arrived(), receiver.accepted()), (1, 1), "sent once");
    // Its share went to the other one, who goes on.
    receiver.behave(Behaviour::Accept);
    survivor.publish("vs_next", json!({}));
    wait(SOON, "the next", || receiver.accepted() == 2);
}

#[test]
fn an_operator_sees_nodes_and_shards() {
    let mut nodes = Nodes::start(2, &[("HOOKSEAL_NODE_NAME", "left-hand")]);
    let cluster = nodes.cluster();
    let serving = self::nodes(&cluster, "serving");
    assert!(
        serving
            .iter()
            .all(|node| node["name"] == "left-hand" && node["lease_until"] != Value::Null)
    );
    let shares: u64 = serving.iter().map(|node| node["shards"].as_u64().unwrap()).sum();
    assert_eq!(shares, 64);
    let status = ended(nodes.homes[0].command().args(["cluster", "status"]));
    assert!(status.success, "{}", status.stderr);
    for node in &serving {
        assert!(status.stdout.contains(node["address"].as_str().unwrap()), "{}", status.stdout);
    }
    assert!(status.stdout.contains("64 shards, 0 without a node"), "{}", status.stdout);
    // One keeps house, and the other one as soon as it is his turn.
    let keeps_house = |node: &Daemon| {
        let metrics = node.platform().send("GET", "/metrics", &[], "").text;
        !metrics.contains("hookseal_housekeeping_rounds_total 0\n")
    };
    let housekeeper = nodes.holder_of(0);
    wait(SOON, "a round", || keeps_house(&nodes.nodes[housekeeper]));
    // The first was alone until the other joined.
    assert!(housekeeper == 1 || !keeps_house(&nodes.nodes[1]));
    assert!(nodes.nodes.remove(housekeeper).terminate().success());
    nodes.share(1);
    assert_eq!(self::nodes(&nodes.cluster(), "ended").len(), 1);
    wait(SOON, "a round of the other", || keeps_house(&nodes.nodes[0]));
    // One that is alone shows itself, and has no rows to tell of.
    let home = Home::new(&[]);
    let alone = home.start();
    let cluster = alone.platform().get("/v1/platform/cluster").ok();
    assert_eq!(
        (&cluster["nodes"][0]["number"], &cluster["nodes"][0]["shards"]),
        (&json!(0), &json!(64))
    );
    let refused = ended(home.command().args(["cluster", "status"]));
    assert!(!refused.success && refused.stderr.contains("redis_url"), "{}", refused.stderr);
    assert_eq!(alone.tenant().caller.get("/v1/platform/cluster").status, 403);
}
