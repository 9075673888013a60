//! Where servers and receivers of a run listen: loopback, unless nodes have hosts of their own.

use std::sync::OnceLock;

static HOST: OnceLock<String> = OnceLock::new();

/// The address.
pub fn host() -> &'static str {
    HOST.get_or_init(|| "127.0.0.1".to_owned())
}

/// Sets it, before anything listens.
pub fn set_host(address: &str) {
    HOST.set(address.to_owned()).expect("it is set before it is asked for");
}
