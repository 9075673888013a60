//! A receiver as an integrator would write it: verifies, decrypts, deduplicates; with faults to
//! order. Runs on loopback, on a thread of its own.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, PayloadConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use josekit::jwe::alg::rsaes::RsaesJweDecrypter;
use josekit::jwe::{RSA_OAEP_256, deserialize_compact};
use josekit::jwk::{Jwk, KeyPair};
use parking_lot::Mutex;
use serde_json::Value;

use super::signature;
use crate::clock::wall_seconds;

/// What the receiver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// 204 to whatever verifies and decrypts.
    Accept,
    /// As `Accept`, but only after so long.
    AcceptAfter(Duration),
    /// 500 to the first attempts of each delivery, then as `Accept`.
    FailFirst(u32),
    /// Always this status.
    Answer(u16),
    /// Takes the request and never answers.
    Hang,
    /// Accepts, fails or hangs, and takes its time, as the delivery's id and attempt have it.
    Moody,
}

/// One request that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// `X-Kayle-Delivery-Id`.
    pub delivery_id: String,
    /// `X-Kayle-Event`.
    pub event_type: String,
    /// When it had arrived.
    pub at: Instant,
    /// What was answered; none when nothing was.
    pub status: Option<u16>,
    /// Whether the signature holds.
    pub verified: bool,
    /// The plaintext, where it was decrypted.
    pub plaintext: Option<Value>,
    /// The request's headers and body, for whoever wants to check them elsewhere.
    pub raw: RawRequest,
}

impl Arrival {
    /// `metadata.event_id` of the plaintext.
    pub fn event_id(&self) -> Option<&str> {
        self.plaintext.as_ref()?.get("metadata")?.get("event_id")?.as_str()
    }

    /// Whether it was answered 2xx.
    pub fn accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct RawRequest {
    /// Name and value of every header.
    pub headers: Vec<(String, String)>,
    /// The sealed bytes.
    pub body: Bytes,
}

/// A receiver's key pair.
pub struct Keys {
    /// The public key to register, as a JWK.
    pub public_jwk: Value,
    /// Its counterpart.
    pub private_jwk: Value,
    decrypter: RsaesJweDecrypter,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("public_jwk", &self.public_jwk).finish_non_exhaustive()
    }
}

impl Keys {
    /// A new pair of 2048 bits.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn generate() -> Self {
        let pair = RSA_OAEP_256.generate_key_pair(2048).expect("a key pair can be made");
        let private = pair.to_jwk_private_key();
        Self {
            public_jwk: members(&pair.to_jwk_public_key()),
            private_jwk: members(&private),
            decrypter: RSA_OAEP_256.decrypter_from_jwk(&private).expect("the pair was just made"),
        }
    }

    /// The pair of a private JWK; none when it is no such key.
    pub(crate) fn from_private(private_jwk: Value) -> Option<Self> {
        let members = private_jwk.as_object()?.clone();
        let private = Jwk::from_map(members).ok()?;
        let decrypter = RSA_OAEP_256.decrypter_from_jwk(&private).ok()?;
        let public_jwk = self::members(&private.to_public_key().ok()?);
        Some(Self { public_jwk, private_jwk, decrypter })
    }

    /// The plaintext of a compact JWE, when it was sealed to this pair and is JSON.
    pub fn decrypt(&self, body: &[u8]) -> Option<Value> {
        let compact = std::str::from_utf8(body).ok()?;
        let (plaintext, _) = deserialize_compact(compact, &self.decrypter).ok()?;
        serde_json::from_slice(&plaintext).ok()
    }
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    secret: Mutex<Option<String>>,
    keys: Keys,
    arrivals: Mutex<Vec<Arrival>>,
    attempts: Mutex<HashMap<String, u32>>,
}

/// A running receiver.
pub struct Receiver {
    /// Where it listens.
    pub url: String,
    /// The public key to register, as a JWK.
    pub public_jwk: Value,
    /// Its counterpart.
    pub private_jwk: Value,
    shared: Arc<Shared>,
    server: ServerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Starts a receiver with a new key pair.
    ///
    /// # Panics
    /// When no key can be made or no port of loopback is to be had.
    pub fn start(behaviour: Behaviour) -> Self {
        let keys = Keys::generate();
        let (public_jwk, private_jwk) = (keys.public_jwk.clone(), keys.private_jwk.clone());
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            secret: Mutex::new(None),
            keys,
            arrivals: Mutex::default(),
            attempts: Mutex::default(),
        });
        let (started, listening) = mpsc::channel();
        let state = Data::from(shared.clone());
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(state.clone())
                        .app_data(PayloadConfig::new(1 << 20))
                        .default_service(web::to(receive))
                })
                .workers(1)
                .disable_signals()
                .shutdown_timeout(0)
                .bind(("127.0.0.1", 0))
                .expect("a port of loopback is free");
                let address = server.addrs()[0];
                let server = server.run();
                started.send((address, server.handle())).expect("the starter waits");
                // It ends when its handle asks for it.
                let _ = server.await;
            });
        });
        let (address, server) = listening.recv().expect("the receiver started");
        Self {
            url: format!("http://{address}/hook"),
            public_jwk,
            private_jwk,
            shared,
            server,
            thread: Some(thread),
        }
    }

    /// Tells it the signing secret of its endpoint.
    pub fn trust(&self, secret: &str) {
        *self.shared.secret.lock() = Some(secret.to_owned());
    }

    /// Changes its answers.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock() = behaviour;
    }

    /// Everything that arrived.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.lock().clone()
    }

    /// How many requests arrived.
    pub fn arrived(&self) -> usize {
        self.shared.arrivals.lock().len()
    }

    /// How many were answered 2xx.
    pub fn accepted(&self) -> usize {
        self.shared.arrivals.lock().iter().filter(|arrival| arrival.accepted()).count()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // The command is sent at once; its answer is the end of the thread.
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn members(jwk: &Jwk) -> Value {
    let mut members: serde_json::Map<String, Value> = jwk.as_ref().clone();
    members.insert("alg".into(), "RSA-OAEP-256".into());
    Value::Object(members)
}

async fn receive(request: HttpRequest, body: Bytes, state: Data<Shared>) -> HttpResponse {
    let at = Instant::now();
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let delivery_id = header("x-kayle-delivery-id");
    let secret = state.secret.lock().clone();
    let verified =
        secret.is_some_and(|secret| verify(&secret, &header("x-kayle-signature"), &body));
    let behaviour = *state.behaviour.lock();
    let attempt = {
        let mut attempts = state.attempts.lock();
        let attempt = attempts.entry(delivery_id.clone()).or_default();
        *attempt += 1;
        *attempt
    };
    let mood = mood(&delivery_id, attempt);
    let wanted = match behaviour {
        Behaviour::Moody => match mood % 10 {
            0..=4 => Some(204),
            5..=7 => Some(500),
            _ => None,
        },
        Behaviour::Accept | Behaviour::AcceptAfter(_) => Some(204),
        Behaviour::FailFirst(failures) if attempt <= failures => Some(500),
        Behaviour::FailFirst(_) => Some(204),
        Behaviour::Answer(status) => Some(status),
        Behaviour::Hang => None,
    };
    let plaintext = match wanted {
        Some(200..=299) if verified => state.keys.decrypt(&body),
        Some(_) | None => None,
    };
    let status = match wanted {
        // Contract 5.3: 400 to what does not verify.
        Some(200..=299) if plaintext.is_none() => Some(400),
        other => other,
    };
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let raw = RawRequest { headers, body };
    let event_type = header("x-kayle-event");
    // Written before the answer is sent: a log that a checker can rely on.
    state.arrivals.lock().push(Arrival {
        delivery_id,
        event_type,
        at,
        status,
        verified,
        plaintext,
        raw,
    });
    match behaviour {
        Behaviour::Moody => tokio::time::sleep(Duration::from_millis(mood / 10 % 300)).await,
        Behaviour::AcceptAfter(pause) => tokio::time::sleep(pause).await,
        _ => {}
    }
    match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) => HttpResponse::build(status).finish(),
        None => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            HttpResponse::Ok().finish()
        }
    }
}

/// A number that looks like chance and is the same for the same attempt.
fn mood(delivery_id: &str, attempt: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (delivery_id, attempt).hash(&mut hasher);
    hasher.finish()
}

/// Whether `header`, an `X-Kayle-Signature`, holds for `body` under `secret`, and is of now.
pub fn verify(secret: &str, header: &str, body: &[u8]) -> bool {
    signature::verify(secret, header, body, wall_seconds())
}
