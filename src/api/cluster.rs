//! Who serves, who speaks for which endpoints, and how much there is to do.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use hookseal_core::cluster::{Node, Roll, ShardState, Workload};
use hookseal_core::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::auth::Platform;
use super::envelope::{ApiError, success};
use super::{Api, schema};

/// The nodes of a database and its shards.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Cluster")]
pub(super) struct ClusterView<'a> {
    nodes: Vec<NodeView<'a>>,
    shards: Vec<ShardView>,
}

/// One life of one node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Node")]
struct NodeView<'a> {
    number: i64,
    name: &'a str,
    version: &'a str,
    address: &'a str,
    #[schemars(with = "schema::StandingWord")]
    standing: &'static str,
    #[schemars(with = "schema::DateTime")]
    started_at: Timestamp,
    #[schemars(with = "Option<schema::DateTime>")]
    lease_until: Option<Timestamp>,
    shards: usize,
    endpoints: usize,
    waiting: usize,
    in_flight: usize,
    breakers_open: usize,
    schedule_lag_ms: u64,
}

/// One shard of the endpoints.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Shard")]
struct ShardView {
    shard: u8,
    node: Option<i64>,
    epoch: i64,
}

pub(super) async fn status(
    Platform(caller): Platform,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let roll = api.admin.cluster(&caller).await?;
    Ok(success(StatusCode::OK, &cluster(&roll)))
}

fn cluster(Roll { nodes, shards }: &Roll) -> ClusterView<'_> {
    ClusterView {
        nodes: nodes.iter().map(node).collect(),
        shards: shards.iter().map(shard).collect(),
    }
}

fn node(node: &Node) -> NodeView<'_> {
    let Workload { endpoints, waiting, in_flight, breakers_open, lag } = node.workload;
    NodeView {
        number: node.number.0,
        name: &node.card.name,
        version: &node.card.version,
        address: &node.card.address,
        standing: node.standing.as_str(),
        started_at: node.started_at,
        lease_until: node.lease_until,
        shards: node.shards,
        endpoints,
        waiting,
        in_flight,
        breakers_open,
        schedule_lag_ms: u64::try_from(lag.as_millis()).unwrap_or(u64::MAX),
    }
}

fn shard(ShardState { shard, owner, epoch }: &ShardState) -> ShardView {
    ShardView { shard: shard.number(), node: owner.map(|owner| owner.0), epoch: *epoch }
}
