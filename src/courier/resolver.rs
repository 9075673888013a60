//! From names to addresses: the hosts file, then DNS, with a deadline and a small cache of its own. Judges
//! nothing: whoever dials judges what comes out.
//!
//! The C library is not asked: its lookups can't be given up, hold a thread each, and take search domains
//! and settings of the environment into account.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, ResolverBuilder, TokioResolver};
use parking_lot::Mutex;

/// How long a name may take to resolve.
pub(super) const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one question may go unanswered before it is asked again: a datagram may be lost.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How long addresses are remembered at most, whatever their records say …
pub(super) const REMEMBERED: Duration = Duration::from_secs(10);
/// … and how long that there are none.
const NEGATIVE_REMEMBERED: Duration = Duration::from_secs(5);
/// Answers remembered at most.
const CACHE_ENTRIES: u64 = 4096;
/// How often the files of the system are read anew.
pub(super) const READ_AGAIN_AFTER: Duration = Duration::from_secs(15);

/// The name has no addresses, or nobody said so in time.
#[derive(Debug)]
pub(super) struct Unresolved;

/// Asks for addresses; one for all arbiters.
pub struct Resolver {
    servers: Vec<SocketAddr>,
    reading: Mutex<Option<(Instant, Arc<Reading>)>>,
}

/// The system's files as they were, and the cache that began then.
struct Reading {
    hosts: Hosts,
    dns: TokioResolver,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver that asks `servers`, or those of `/etc/resolv.conf` when there are none.
    pub fn new(servers: Vec<SocketAddr>) -> Arc<Self> {
        Arc::new(Self { servers, reading: Mutex::new(None) })
    }

    /// All addresses of `host`, IPv4 first, and at least one. A name in the hosts file has those and no others.
    pub(super) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let mut name = Name::from_ascii(host).map_err(|_| Unresolved)?;
        // Search domains would lead a public name into the operator's own.
        name.set_fqdn(true);
        let reading = self.reading().ok_or(Unresolved)?;
        let listed = reading.listed(&name);
        if !listed.is_empty() {
            return Ok(listed);
        }
        match tokio::time::timeout(RESOLVE_TIMEOUT, reading.dns.lookup_ip(name)).await {
            Ok(Ok(found)) if found.iter().next().is_some() => Ok(found.iter().collect()),
            Ok(_) | Err(_) => Err(Unresolved),
        }
    }

    fn reading(&self) -> Option<Arc<Reading>> {
        let mut current = self.reading.lock();
        if let Some((read_at, reading)) = &*current
            && read_at.elapsed() < READ_AGAIN_AFTER
        {
            return Some(reading.clone());
        }
        let reading = Arc::new(Reading::read(&self.servers)?);
        *current = Some((Instant::now(), reading.clone()));
        Some(reading)
    }
}

impl Reading {
    fn read(servers: &[SocketAddr]) -> Option<Self> {
        let mut builder = match TokioResolver::builder_tokio() {
            _ if !servers.is_empty() => asking(servers),
            Ok(system) => system,
            // Without a file the server of this machine is asked, as the C library does.
            Err(_) => asking(&[SocketAddr::from(([127, 0, 0, 1], 53))]),
        };
        let options = builder.options_mut();
        options.timeout = options.timeout.min(ASK_AGAIN_AFTER);
        options.attempts = options.attempts.max(2);
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Looked up here, for both kinds of address at once: one listed under one kind would be asked
        // for in DNS under the other.
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = CACHE_ENTRIES;
        options.positive_max_ttl = Some(REMEMBERED);
        options.negative_max_ttl = Some(NEGATIVE_REMEMBERED);
        Some(Self { hosts: Hosts::from_system().unwrap_or_default(), dns: builder.build().ok()? })
    }

    /// What the hosts file says.
    fn listed(&self, name: &Name) -> Vec<IpAddr> {
        let of = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [RecordType::A, RecordType::AAAA].map(of).into_iter().flatten();
        let addresses = found.flat_map(|lookup| {
            lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
        });
        addresses.collect()
    }
}

fn asking(servers: &[SocketAddr]) -> ResolverBuilder<TokioRuntimeProvider> {
    let servers = servers.iter().copied().map(server).collect();
    let config = ResolverConfig::from_name_servers(servers);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
}

fn server(address: SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}
