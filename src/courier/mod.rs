//! One signed attempt: sign the sealed bytes, send them, read a bounded answer.

mod dial;
mod resolver;
mod tls;
mod verifier;

use std::cell::RefCell;
use std::io::ErrorKind as ErrorCause;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::{self, HeaderName, HeaderValue};
use awc::http::{StatusCode, Uri};
use awc::{Client, Connector};
use bytes::Bytes;
use futures_util::StreamExt as _;
use hookseal_core::delivery::Delivery;
use hookseal_core::limits::ANSWER_BYTES;
use hookseal_core::outcome::{ErrorKind, Outcome, parse_retry_after};
use hookseal_core::ports::Secret;
use hookseal_core::rotation::still_signs;
use hookseal_core::target::TargetRules;
use hookseal_core::time::Timestamp;

use crate::clock::wall_seconds;
use crate::crypto::sign::Signer;

pub use self::resolver::Resolver;
pub use self::tls::{tls_config, tls_config_with};

use self::dial::{DIAL_TIMEOUT, NoConnection, dialer};
use self::resolver::{READ_AGAIN_AFTER, REMEMBERED, RESOLVE_TIMEOUT};
use self::tls::kind_of_handshake;

const USER_AGENT: &str = concat!("Hookseal/", env!("CARGO_PKG_VERSION"));
const DELIVERY_ID: HeaderName = HeaderName::from_static("x-kayle-delivery-id");
const EVENT: HeaderName = HeaderName::from_static("x-kayle-event");
const SIGNATURE: HeaderName = HeaderName::from_static("x-kayle-signature");

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: many servers close theirs after 5 s, and a request that meets
/// the close is a failed attempt …
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// … and how long any: after that its name is judged again.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long an address may be in use after its name changed.
const CHANGES_WITHIN: Duration = Duration::from_secs(75);
const _: () = assert!(LIFETIME.as_secs() + REMEMBERED.as_secs() <= CHANGES_WITHIN.as_secs());
const _: () = assert!(LIFETIME.as_secs() + READ_AGAIN_AFTER.as_secs() <= CHANGES_WITHIN.as_secs());

/// What all attempts to one endpoint have in common: where they go, and what signs them. Made once for
/// each change of its settings.
#[derive(Debug)]
pub struct Address {
    /// None where nothing may be sent to.
    target: Option<Uri>,
    /// None where the secret does not open: nothing is sent that is not signed.
    signer: Option<Signer>,
    /// The secret before, and until when it signs, too.
    previous: Option<(Signer, Timestamp)>,
}

impl Address {
    /// The address of an endpoint with the target `url`, as it was registered, and its secret where that
    /// opens.
    pub fn new(rules: &TargetRules, url: &str, secret: impl Into<Option<Secret>>) -> Self {
        let judged = rules.judge_url(url).ok();
        let target = judged.and_then(|url| url.as_str().parse().ok());
        Self { target, signer: secret.into().as_ref().map(Signer::new), previous: None }
    }

    /// Has the secret before sign, too, until then.
    pub fn also_signs(&mut self, previous: &Secret, until: Timestamp) {
        self.previous = Some((Signer::new(previous), until));
    }

    /// Whether what is sent can be signed.
    pub fn can_sign(&self) -> bool {
        self.signer.is_some()
    }

    /// The signature of what is sent at `now`, if it can be signed.
    fn sign(&self, sealed: &[u8], now: Timestamp) -> Option<String> {
        let previous = self.previous.as_ref().filter(|(_, until)| still_signs(*until, now));
        let previous = previous.map(|(signer, _)| signer);
        Some(self.signer.as_ref()?.sign_beside(previous, wall_seconds(), sealed))
    }
}

/// Sends sealed payloads; one an arbiter, with its own kept-alive connections.
pub struct Courier {
    client: RefCell<Client>,
    tls: Arc<rustls::ClientConfig>,
    resolver: Arc<Resolver>,
    rules: Arc<TargetRules>,
    timeout: Duration,
    lifetime: Duration,
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}

impl Courier {
    /// A courier for the current arbiter that asks the system's name servers.
    pub fn new(
        tls: Arc<rustls::ClientConfig>,
        rules: Arc<TargetRules>,
        timeout: Duration,
    ) -> Rc<Self> {
        Self::with_resolver(tls, Resolver::new(Vec::new()), rules, timeout)
    }

    /// A courier for the current arbiter, which it uses to renew its client.
    pub fn with_resolver(
        tls: Arc<rustls::ClientConfig>,
        resolver: Arc<Resolver>,
        rules: Arc<TargetRules>,
        timeout: Duration,
    ) -> Rc<Self> {
        Self::keeping(LIFETIME, tls, resolver, rules, timeout)
    }

    /// The same, whose connections are kept for as long as `lifetime`.
    pub fn keeping(
        lifetime: Duration,
        tls: Arc<rustls::ClientConfig>,
        resolver: Arc<Resolver>,
        rules: Arc<TargetRules>,
        timeout: Duration,
    ) -> Rc<Self> {
        let client = client(lifetime, tls.clone(), resolver.clone(), rules.clone());
        let client = RefCell::new(client);
        let courier = Rc::new(Self { client, tls, resolver, rules, timeout, lifetime });
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
        let Some(signature) = address.sign(&sealed, now) else {
            return Outcome::Faulted(ErrorKind::SecretUnreadable);
        };
        let Some(target) = &address.target else {
            return Outcome::Faulted(ErrorKind::TargetBlocked);
        };
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
            read += match chunk {
                Ok(chunk) => chunk.len(),
                Err(fault) if is_end(&fault) => break,
                Err(fault) if is_no_chunk(&fault) => return Err(ErrorKind::Protocol),
                Err(_) => return Err(ErrorKind::Reset),
            };
            if read > ANSWER_BYTES {
                // Dropping an unfinished answer closes its connection.
                break;
            }
        }
        Ok(Outcome::Answered { status: status.as_u16(), retry_after })
    }
}

/// Whether an answer ended with its connection, as over TCP it may: over TLS that is a fault where the other side
/// does not take leave, and many don't.
fn is_end(fault: &PayloadError) -> bool {
    matches!(fault, PayloadError::Incomplete(Some(cause)) if cause.kind() == ErrorCause::UnexpectedEof)
}

/// Whether the parser has met what is no chunk.
fn is_no_chunk(fault: &PayloadError) -> bool {
    matches!(fault, PayloadError::Incomplete(Some(cause)) if cause.kind() == ErrorCause::InvalidInput)
}

fn client(
    lifetime: Duration,
    tls: Arc<rustls::ClientConfig>,
    resolver: Arc<Resolver>,
    rules: Arc<TargetRules>,
) -> Client {
    let connector = Connector::new()
        .connector(dialer(resolver, rules))
        // Offers HTTP/1.1 alone by its ALPN. awc's `max_http_version` would put a connector without TLS in
        // its place.
        .rustls_0_23(tls)
        // The dialer's own deadlines come first, so that what is late is known by its name.
        .timeout(RESOLVE_TIMEOUT + DIAL_TIMEOUT * 2)
        .handshake_timeout(HANDSHAKE_TIMEOUT)
        .conn_keep_alive(KEEP_ALIVE)
        .conn_lifetime(lifetime)
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
    while let Some(lifetime) = courier.upgrade().map(|courier| courier.lifetime) {
        tokio::time::sleep(lifetime).await;
        let Some(courier) = courier.upgrade() else { return };
        let Courier { tls, resolver, rules, .. } = &*courier;
        let renewed = client(lifetime, tls.clone(), resolver.clone(), rules.clone());
        courier.client.replace(renewed);
    }
}

fn kind_of(error: &SendRequestError) -> ErrorKind {
    match error {
        SendRequestError::Connect(error) => match error {
            ConnectError::Resolver(cause) => {
                cause.downcast_ref().map_or(ErrorKind::Connect, |NoConnection(kind)| *kind)
            }
            // What the dialer did not refuse is the handshake's.
            ConnectError::Io(error) => kind_of_handshake(error),
            ConnectError::Timeout => ErrorKind::TlsTimeout,
            ConnectError::Disconnected => ErrorKind::Reset,
            _ => ErrorKind::Connect,
        },
        SendRequestError::Send(_) => ErrorKind::Reset,
        SendRequestError::Response(actix_web::error::ParseError::Io(_)) => ErrorKind::Reset,
        SendRequestError::Response(_) => ErrorKind::Protocol,
        SendRequestError::Timeout => ErrorKind::Timeout,
        _ => ErrorKind::Protocol,
    }
}
