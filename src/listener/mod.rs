//! How requests come in: HTTP/1.1 over TCP or TLS, within limits on connections and on the time that each
//! may take. What is asked is the API's.

mod certificate;
mod line;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_tls::accept::max_concurrent_tls_connect;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::Data;
use hookseal_core::error::{Error, Result};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

use self::line::{Desk, Line};
use crate::api::{self, Api};
use crate::config::Config;

pub use self::certificate::{CertificateFiles, tls_config};

/// By how much threads that take requests stand back behind those that deliver.
const WORKER_NICENESS: i32 = 5;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 2048;
/// How long the first head of a connection may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long nothing may come between two requests.
const IDLE_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may go on sending what nobody reads, before its connection is closed.
const LINGERS_FOR: Duration = Duration::from_secs(1);

/// A socket that listens.
pub fn bind(address: SocketAddr) -> Result<std::net::TcpListener> {
    let bound = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    bound().map_err(|_: std::io::Error| Error::invalid("listen", "an address that can be bound"))
}

/// Lets other threads go before this one. What is accepted goes before what would be: where publishers could
/// outrun deliveries, these would pile up in the rows, and each would cost more than it has to.
fn make_way() {
    // Of a thread on Linux; elsewhere it would be the whole process.
    if cfg!(target_os = "linux") {
        // Refused, it is as it was.
        let _ = rustix::process::setpriority_process(None, WORKER_NICENESS);
    }
}

/// Has what is written go out at once: the second of two changes that a stream tells shortly after each other would else
/// wait until the client acknowledges the first. Answers who the client is.
fn accepted(stream: &TcpStream) -> Option<SocketAddr> {
    // Refused, it is as it was.
    let _ = stream.set_nodelay(true);
    stream.peer_addr().ok()
}

/// What each worker serves.
#[derive(Clone)]
struct Site {
    api: Data<Api>,
    origins: Arc<[String]>,
    secure: bool,
    draining: GracefulShutdownSignal,
}

impl Site {
    /// Serves connections by HTTP/1.1 and nothing else. actix-web's own server would take HTTP/2 over TLS
    /// from whoever offers it, since the client that delivers switches that on for the whole build.
    fn connections<T>(
        &self,
    ) -> impl ServiceFactory<
        (Line<T>, Option<SocketAddr>),
        Config = (),
        Response = (),
        Error = (),
        InitError = (),
    > + use<T>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        make_way();
        let app = App::new()
            .app_data(self.api.clone())
            .configure(api::configure)
            .wrap(from_fn(line::attended))
            .wrap(from_fn(api::timed))
            .wrap(Condition::new(!self.origins.is_empty(), api::cors(&self.origins)))
            .wrap(api::security_headers(self.secure));
        let draining = self.draining.clone();
        HttpService::build()
            .graceful_shutdown_signal(move || {
                let draining = draining.clone();
                async move { draining.notified().await }
            })
            .keep_alive(IDLE_WITHIN)
            .client_request_timeout(HEAD_WITHIN)
            .client_disconnect_timeout(LINGERS_FOR)
            .on_connect_ext(|line: &Line<T>, data| drop(data.insert::<Rc<Desk>>(line.desk())))
            .h1(map_config(app, |()| AppConfig::default()))
            .map_err(drop)
    }
}

/// Serves `api` on what `listener` accepts, over TLS when there is a way to speak it.
pub fn serve(
    config: &Config,
    listener: std::net::TcpListener,
    api: Data<Api>,
    tls: Option<ServerConfig>,
    workers: usize,
) -> Result<Server> {
    let connections = config.connections.div_ceil(workers);
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections)
        .shutdown_timeout(config.drain_timeout.as_secs().max(1))
        .disable_signals();
    let site = Site {
        api,
        origins: config.sessions.origins.as_slice().into(),
        secure: tls.is_some(),
        draining: builder.graceful_shutdown_signal(),
    };
    let listening = match tls {
        None => builder.listen("api", listener, move || {
            fn_service(async |io: TcpStream| {
                let peer = accepted(&io);
                Ok::<_, ()>((Line::new(io), peer))
            })
            .and_then(site.connections())
        }),
        Some(tls) => {
            // Handshakes that hang must not keep others from theirs.
            max_concurrent_tls_connect(connections);
            let mut acceptor = Acceptor::new(tls);
            acceptor.set_handshake_timeout(HANDSHAKE_WITHIN);
            builder.listen("api", listener, move || {
                acceptor
                    .clone()
                    .map_err(drop)
                    .map(|io: TlsStream<TcpStream>| {
                        let peer = accepted(io.get_ref().0);
                        (Line::new(io), peer)
                    })
                    .and_then(site.connections())
            })
        }
    };
    Ok(listening.map_err(|error| Error::unavailable("the listener", error))?.run())
}
