//! What a node reaches a server by, and what is cut when it is cut off.

use std::sync::Arc;
use std::time::Duration;

use super::namespace::Namespace;
use super::proxy::Proxy;

/// The way from a node to a server.
pub enum Link {
    /// A proxy in between.
    Proxy(Proxy),
    /// The packets of a host of its own, to this port.
    Packets(Arc<Namespace>, u16),
}

impl Link {
    /// A way to the server at `port`; by the packets of `namespace`, if the node has one.
    pub fn to(port: u16, namespace: Option<&Arc<Namespace>>) -> Self {
        match namespace {
            None => Self::Proxy(Proxy::to(port)),
            Some(namespace) => Self::Packets(namespace.clone(), port),
        }
    }

    /// The port that the node is told.
    pub fn port(&self) -> u16 {
        match self {
            Self::Proxy(proxy) => proxy.port(),
            Self::Packets(_, port) => *port,
        }
    }

    /// Lets nothing through from now on, and tells nobody.
    pub fn cut(&self) {
        match self {
            Self::Proxy(proxy) => proxy.cut(),
            Self::Packets(namespace, port) => namespace.cut(*port),
        }
    }

    /// Lets everything through as late as that from now on.
    pub fn slow(&self, delay: Duration) {
        match self {
            Self::Proxy(proxy) => proxy.slow(delay),
            Self::Packets(..) => panic!("packets of a host of its own are cut or not"),
        }
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        match self {
            Self::Proxy(proxy) => proxy.heal(),
            Self::Packets(namespace, _) => namespace.heal(),
        }
    }
}
