//! One signed attempt: sign the sealed bytes, send them, read a bounded answer.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use actix_tls::connect::{Connector as TcpConnector, Resolve, Resolver};
use awc::error::{ConnectError, SendRequestError};
use awc::http::header::{self, HeaderName, HeaderValue};
use awc::http::{StatusCode, Uri, Version};
use awc::{Client, Connector};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use hookseal_core::delivery::Delivery;
use hookseal_core::limits::ANSWER_BYTES;
use hookseal_core::outcome::{ErrorKind, Outcome, parse_retry_after};
use hookseal_core::ports::Secret;
use hookseal_core::target::TargetRules;
use hookseal_core::time::Timestamp;

use crate::clock::wall_seconds;
use crate::crypto::sign::Signer;

const USER_AGENT: &str = concat!("Hookseal/", env!("CARGO_PKG_VERSION"));
const DELIVERY_ID: HeaderName = HeaderName::from_static("x-kayle-delivery-id");
const EVENT: HeaderName = HeaderName::from_static("x-kayle-event");
const SIGNATURE: HeaderName = HeaderName::from_static("x-kayle-signature");

/// How long a name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: many servers close theirs after 5 s, and a request that meets
/// the close is a failed attempt …
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// … and how long any: after that a changed name is judged again.
const LIFETIME: Duration = Duration::from_secs(75);

/// What all attempts to one endpoint have in common: where they go, and what signs them. Made once for
/// each change of its settings.
#[derive(Debug)]
pub struct Address {
    /// None where nothing may be sent to.
    target: Option<Uri>,
    /// None where the secret does not open: nothing is sent that is not signed.
    signer: Option<Signer>,
}

impl Address {
    /// The address of an endpoint with the target `url`, as it was registered, and its secret where that
    /// opens.
    pub fn new(rules: &TargetRules, url: &str, secret: impl Into<Option<Secret>>) -> Self {
        let judged = rules.judge_url(url).ok();
        let target = judged.and_then(|url| url.as_str().parse().ok());
        Self { target, signer: secret.into().as_ref().map(Signer::new) }
    }

    /// Whether what is sent can be signed.
    pub fn can_sign(&self) -> bool {
        self.signer.is_some()
    }
}

/// Sends sealed payloads; one an arbiter, with its own kept-alive connections.
pub struct Courier {
    client: RefCell<Client>,
    tls: Arc<rustls::ClientConfig>,
    rules: Arc<TargetRules>,
    timeout: Duration,
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}

/// The roots that receivers' certificates are verified against: those of the system.
pub fn tls_config() -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (_, ignored) = roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        tracing::warn!(ignored, "no root certificates on this system: https deliveries will fail");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

impl Courier {
    /// A courier for the current arbiter, which it uses to renew its client.
    pub fn new(
        tls: Arc<rustls::ClientConfig>,
        rules: Arc<TargetRules>,
        timeout: Duration,
    ) -> Rc<Self> {
        let client = RefCell::new(client(tls.clone(), rules.clone()));
        let courier = Rc::new(Self { client, tls, rules, timeout });
        actix::spawn(renew(Rc::downgrade(&courier)));
        courier
    }

    /// Makes one attempt, within the deadline over the whole exchange.
    pub async fn send(
        &self,
        delivery: &Delivery,
        sealed: Bytes,
        address: &Address,
        now: Timestamp,
    ) -> Outcome {
        let Some(signer) = &address.signer else {
            return Outcome::Faulted(ErrorKind::SecretUnreadable);
        };
        let Some(target) = &address.target else {
            return Outcome::Faulted(ErrorKind::TargetBlocked);
        };
        let signature = signer.sign(wall_seconds(), &sealed);
        let exchange = self.exchange(target.clone(), delivery, sealed, signature, now);
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(kind)) => Outcome::Faulted(kind),
            Err(_) => Outcome::Faulted(ErrorKind::Timeout),
        }
    }

    async fn exchange(
        &self,
        target: Uri,
        delivery: &Delivery,
        sealed: Bytes,
        signature: String,
        now: Timestamp,
    ) -> Result<Outcome, ErrorKind> {
        let request = self.client.borrow().post(target);
        let mut answer = request
            .no_decompress()
            .insert_header((header::CONTENT_TYPE, HeaderValue::from_static("application/jose")))
            .insert_header((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)))
            .insert_header((DELIVERY_ID, delivery.id.as_str()))
            .insert_header((EVENT, &*delivery.event_type))
            .insert_header((SIGNATURE, signature))
            .send_body(sealed)
            .await
            .map_err(|error| kind_of(&error))?;
        let status = answer.status();
        let wish =
            matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
                .then(|| answer.headers().get(header::RETRY_AFTER)?.to_str().ok())
                .flatten();
        let retry_after = wish.and_then(|value| parse_retry_after(value, now));
        let mut read = 0;
        while let Some(chunk) = answer.next().await {
            read += chunk.map_err(|_| ErrorKind::Reset)?.len();
            if read > ANSWER_BYTES {
                // Dropping an unfinished answer closes its connection.
                break;
            }
        }
        Ok(Outcome::Answered { status: status.as_u16(), retry_after })
    }
}

fn client(tls: Arc<rustls::ClientConfig>, rules: Arc<TargetRules>) -> Client {
    let resolver = Resolver::custom(GuardedResolver { rules });
    let connector = Connector::new()
        .connector(TcpConnector::new(resolver).service())
        .rustls_0_23(tls)
        .max_http_version(Version::HTTP_11)
        .timeout(CONNECT_TIMEOUT)
        .handshake_timeout(CONNECT_TIMEOUT)
        .conn_keep_alive(KEEP_ALIVE)
        .conn_lifetime(LIFETIME)
        // The pool's bound is one queue for all hosts; the endpoints' windows bound instead.
        .limit(0);
    Client::builder()
        .connector(connector)
        .disable_redirects()
        .disable_timeout()
        .no_default_headers()
        .finish()
}

/// The pool closes an idle connection only when its host is asked for again. A new client now and
/// then closes those of hosts that went quiet; attempts in flight keep the old one until they end.
async fn renew(courier: Weak<Courier>) {
    loop {
        tokio::time::sleep(LIFETIME).await;
        let Some(courier) = courier.upgrade() else { return };
        let renewed = client(courier.tls.clone(), courier.rules.clone());
        courier.client.replace(renewed);
    }
}

fn kind_of(error: &SendRequestError) -> ErrorKind {
    match error {
        SendRequestError::Connect(error) => match error {
            ConnectError::Resolver(cause) if cause.is::<BlockedAddress>() => {
                ErrorKind::TargetBlocked
            }
            ConnectError::Resolver(_) | ConnectError::NoRecords | ConnectError::Unresolved => {
                ErrorKind::Dns
            }
            ConnectError::Disconnected => ErrorKind::Reset,
            ConnectError::Io(error) if is_tls(error) => ErrorKind::Tls,
            _ => ErrorKind::Connect,
        },
        SendRequestError::Send(error) if is_tls(error) => ErrorKind::Tls,
        SendRequestError::Send(_) => ErrorKind::Reset,
        SendRequestError::Response(actix_web::error::ParseError::Io(_)) => ErrorKind::Reset,
        SendRequestError::Response(_) => ErrorKind::Protocol,
        SendRequestError::Timeout => ErrorKind::Timeout,
        _ => ErrorKind::Protocol,
    }
}

fn is_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>())
}

/// The resolved address may not be called.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to an address that may not be called")]
struct BlockedAddress;

/// Resolves names and judges every address that a connection could be made to.
struct GuardedResolver {
    rules: Arc<TargetRules>,
}

impl Resolve for GuardedResolver {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> LocalBoxFuture<'a, Result<Vec<SocketAddr>, Box<dyn std::error::Error>>> {
        Box::pin(async move {
            let resolved =
                tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, port)))
                    .await??;
            let addresses: Vec<SocketAddr> = resolved.collect();
            let allowed: Vec<SocketAddr> = addresses
                .iter()
                .copied()
                .filter(|address| self.rules.allows_address(address.ip()))
                .collect();
            if allowed.is_empty() && !addresses.is_empty() {
                return Err(BlockedAddress.into());
            }
            Ok(allowed)
        })
    }
}
