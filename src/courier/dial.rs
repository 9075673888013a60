//! The way to a receiver's socket: resolve, judge, dial exactly what was judged. awc gets its TCP connections
//! from here and nowhere else, those to literal addresses, too.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use actix_web::dev::{Service, fn_service};
use awc::http::Uri;
use hookseal_core::outcome::ErrorKind;
use hookseal_core::target::TargetRules;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::resolver::{Resolver, Unresolved};

/// How long dialling may take, over all addresses of a name.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of a name that are dialled at most.
const DIALLED: usize = 4;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("no connection: {}", .0.as_str())]
pub(super) struct NoConnection(pub(super) ErrorKind);

/// What awc connects by. Every error of it is a [`NoConnection`].
pub(super) fn dialer(
    resolver: Arc<Resolver>,
    rules: Arc<TargetRules>,
) -> impl Service<ConnectInfo<Uri>, Response = Connection<Uri, TcpStream>, Error = ConnectError>
+ Clone
+ 'static {
    fn_service(move |request: ConnectInfo<Uri>| {
        let (resolver, rules) = (resolver.clone(), rules.clone());
        async move {
            match connect(&resolver, &rules, request.hostname(), request.port()).await {
                Ok(stream) => Ok(Connection::new(request.request().clone(), stream)),
                Err(kind) => Err(ConnectError::Resolver(NoConnection(kind).into())),
            }
        }
    })
}

async fn connect(
    resolver: &Resolver,
    rules: &TargetRules,
    host: &str,
    port: u16,
) -> Result<TcpStream, ErrorKind> {
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let addresses = match literal {
        Ok(address) => vec![address],
        Err(_) => resolver.lookup(host).await.map_err(|Unresolved| ErrorKind::Dns)?,
    };
    if !rules.allows_all(&addresses) {
        return Err(ErrorKind::TargetBlocked);
    }
    let stream = dial(&addresses, port).await.ok_or(ErrorKind::Connect)?;
    // Whatever stands between the judgement and this socket: nothing is written to a peer that was not judged.
    match stream.peer_addr() {
        Ok(peer) if addresses.contains(&peer.ip()) => Ok(stream),
        Ok(_) => Err(ErrorKind::TargetBlocked),
        Err(_) => Err(ErrorKind::Connect),
    }
}

/// The first connection that stands. Each address has an equal share of what is left of the time, so that
/// one that swallows packets does not use it up.
async fn dial(addresses: &[IpAddr], port: u16) -> Option<TcpStream> {
    let deadline = Instant::now() + DIAL_TIMEOUT;
    let dialled = addresses.len().min(DIALLED);
    for (n, address) in addresses.iter().take(dialled).enumerate() {
        let (now, left) = (Instant::now(), u32::try_from(dialled - n).unwrap_or(u32::MAX));
        let until = now + deadline.saturating_duration_since(now) / left;
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        if let Ok(Ok(stream)) = timeout_at(until, connecting).await {
            // Head and body may go out one after the other; neither waits for a receiver to acknowledge.
            let _ = stream.set_nodelay(true);
            return Some(stream);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Literals don't come through a resolver; awc would dial them unasked.
    #[tokio::test]
    async fn literal_addresses_are_judged_at_the_connection() {
        let resolver = Resolver::new(Vec::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rules = |development| TargetRules { development, allowed: Vec::new() };
        for host in
            ["127.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "localhost", "LocalHost."]
        {
            let refused = connect(&resolver, &rules(false), host, port).await;
            assert_eq!(refused.err(), Some(ErrorKind::TargetBlocked), "{host}");
        }
        for host in ["127.0.0.1", "localhost"] {
            let stream = connect(&resolver, &rules(true), host, port).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap(), "{host}");
            assert_eq!(listener.accept().await.unwrap().1, stream.local_addr().unwrap());
        }
        for host in
            ["10.0.0.1", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "169.254.169.254", "[fe80::1]"]
        {
            let refused = connect(&resolver, &rules(true), host, port).await;
            assert_eq!(refused.err(), Some(ErrorKind::TargetBlocked), "{host}");
        }
    }

    #[tokio::test]
    async fn the_next_address_is_dialled_when_one_refuses() {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let addresses = ["127.0.0.3", "127.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let stream = dial(&addresses, port).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert!(dial(&addresses[..1], port).await.is_none());
    }
}
