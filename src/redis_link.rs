//! The way to Redis, however it is set up: one node, one node over TLS, a service watched by Sentinels, or a
//! Redis Cluster. A connection is one; whoever finds it broken asks for another, which is when Sentinels are
//! asked for the master of that moment and a cluster for its layout.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    Pipeline, RedisFuture, RedisResult, TlsMode, Value,
};
use url::Url;

/// What [`RedisLink::parse`] understands.
pub const EXPECTED: &str = "a URL such as redis://127.0.0.1, rediss://user:password@redis.example.com:6380/1, \
     redis+sentinel://host:26379,host:26379/service or redis+cluster://host:6379,host:6379";
/// How long one node may take to be connected to.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Where nodes and Sentinels listen unless the URL says so.
const NODE_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// The user that a Sentinel takes a password of.
const SENTINEL_USER: &str = "default";

/// How to reach Redis. No debug output shows its password.
#[derive(Clone, Debug)]
pub struct RedisLink(Setup);

#[derive(Clone, Debug)]
enum Setup {
    Node(Client),
    Sentinels { sentinels: Vec<ConnectionInfo>, service: String, node: SentinelNodeConnectionInfo },
    Cluster(Vec<ConnectionInfo>),
}

impl RedisLink {
    /// Reads a URL: `redis://[user:password@]host[:port][/db]`, with hosts separated by commas and the name
    /// of the service `redis+sentinel://…/service[/db]`, with hosts `redis+cluster://…`; all three with
    /// `rediss` instead of `redis` over TLS. None when it is none of them.
    ///
    /// User and password are those of the nodes. Sentinels are given the same password: one that wants none
    /// takes any.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (transport, topology) = match scheme.split_once('+') {
            Some((transport @ ("redis" | "rediss"), topology @ ("sentinel" | "cluster"))) => {
                (transport, topology)
            }
            Some(_) | None => return Self::node(url),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        let nodes = |port| {
            let node = |host| one_of_many(&format!("{transport}://{credentials}{host}"), port);
            hosts.split(',').map(node).collect::<Option<Vec<_>>>()
        };
        if topology == "sentinel" {
            return Self::service(nodes(SENTINEL_PORT)?, path);
        }
        // A cluster has one database.
        let nodes = nodes(NODE_PORT).filter(|_| path.is_empty())?;
        Some(Self(Setup::Cluster(nodes)))
    }

    fn node(url: &str) -> Option<Self> {
        let client = Client::open(url).ok()?;
        let unverified = matches!(
            client.get_connection_info().addr(),
            ConnectionAddr::TcpTls { insecure: true, .. }
        );
        (!unverified).then_some(Self(Setup::Node(client)))
    }

    fn service(sentinels: Vec<ConnectionInfo>, path: &str) -> Option<Self> {
        let (service, db) = match path.split_once('/') {
            Some((service, db)) => (service, db.parse::<u16>().ok()?),
            None => (path, 0),
        };
        let first = sentinels.first().filter(|_| !service.is_empty())?;
        let settings = first.redis_settings().clone().set_db(db.into());
        let mut node = SentinelNodeConnectionInfo::default().set_redis_connection_info(settings);
        if matches!(first.addr(), ConnectionAddr::TcpTls { .. }) {
            node = node.set_tls_mode(TlsMode::Secure);
        }
        let sentinels = sentinels.into_iter().map(|sentinel| {
            let settings = sentinel.redis_settings().clone();
            match settings.password() {
                Some(_) => sentinel.set_redis_settings(settings.set_username(SENTINEL_USER)),
                None => sentinel,
            }
        });
        let (sentinels, service) = (sentinels.collect(), service.to_owned());
        Some(Self(Setup::Sentinels { sentinels, service, node }))
    }

    /// A connection of its own, each of whose answers may take `patience`: whoever reads with `BLOCK` holds
    /// up nobody else.
    ///
    /// # Errors
    /// Redis is away, or no node says that it is the master of the service.
    pub async fn connect(&self, patience: Duration) -> RedisResult<RedisConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(patience));
        match &self.0 {
            Setup::Node(client) => {
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                connection.await.map(RedisConnection::Node)
            }
            Setup::Sentinels { sentinels, service, node } => {
                let (master, node) = (SentinelServerType::Master, Some(node.clone()));
                let mut client = SentinelClient::build(sentinels.clone(), service, node, master)?;
                let connection = client.get_async_connection_with_config(&config);
                connection.await.map(RedisConnection::Node)
            }
            Setup::Cluster(nodes) => {
                // A connection that mends itself would hide that a replica took over, which may have lost
                // the latest writes.
                let client = ClusterClientBuilder::new(nodes.clone())
                    .retries(0)
                    .connection_timeout(CONNECT_WITHIN)
                    .response_timeout(patience)
                    .build()?;
                client.get_async_connection().await.map(RedisConnection::Cluster)
            }
        }
    }
}

/// One of several nodes, of which the URL says no more than where it is.
fn one_of_many(url: &str, default_port: u16) -> Option<ConnectionInfo> {
    let mut url = Url::parse(url).ok()?;
    if !url.path().is_empty() || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    if url.port().is_none() {
        url.set_port(Some(default_port)).ok()?;
    }
    url.into_connection_info().ok()
}

/// A connection to whichever node answers for a key.
#[derive(Clone)]
pub enum RedisConnection {
    /// To the one node that there is, or the master.
    Node(MultiplexedConnection),
    /// To the nodes of a cluster.
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Node(_) => "Node",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(node) => node.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(node) => node.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Node(node) => node.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setup_has_its_url() {
        for url in [
            "redis://127.0.0.1",
            "redis://user:secret@redis.example.com:6380/1",
            "redis://:secret@[::1]:6380",
            "rediss://user:secret@redis.example.com",
            "redis+sentinel://a,b:26380,[::1]:26381/main",
            "redis+sentinel://user:s%40cret@a:26379/main/2",
            "rediss+sentinel://:secret@a/main",
            "redis+cluster://user:secret@a:6379,b",
            "rediss+cluster://a:6379",
        ] {
            assert!(RedisLink::parse(url).is_some(), "{url}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for url in [
            "",
            "127.0.0.1",
            "http://127.0.0.1",
            "redis://",
            "redis://a:6379/x",
            "rediss://a#insecure",
            "redis+proxy://a",
            "http+cluster://a",
            "redis+sentinel://a:26379",
            "redis+sentinel://a:26379/",
            "redis+sentinel://a:26379/main/x",
            "redis+sentinel:///main",
            "redis+sentinel://a,,b/main",
            "redis+cluster://",
            "redis+cluster://a:6379/1",
            "redis+cluster://a:x",
            "redis+cluster://a?protocol=resp3",
            "rediss+cluster://a#insecure",
        ] {
            assert!(RedisLink::parse(url).is_none(), "{url}");
        }
    }

    #[test]
    fn no_debug_output_shows_the_password() {
        for url in [
            "redis://user:hunter2@a",
            "rediss://:hunter2@a",
            "redis+sentinel://user:hunter2@a,b/main",
            "redis+cluster://user:hunter2@a,b",
        ] {
            let link = RedisLink::parse(url).expect("valid");
            let shown = format!("{link:?} {link:#?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
