//! The receivers of a fleet: each verifies, decrypts, and logs a request before it answers. All are served by
//! one thread, each on a port of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Path, PayloadConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::stream;
use hookseal::demo::receiver::{Keys, verify};
use rand::RngExt as _;

use super::journal::{Journal, now_ms, sha256};
use crate::judge::history::Receipt;
use crate::support::host::host;

/// How a receiver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// 204 at once.
    Healthy,
    /// 500 while the receivers are told to fail, else 204.
    Failing,
    /// One request in twenty hangs, one is cut off, the others are answered 204.
    Moody,
}

/// One receiver.
pub struct Mailbox {
    temper: Temper,
    keys: Arc<Keys>,
    /// Endpoint and its secret, once it is registered.
    endpoint: OnceLock<(String, String)>,
}

struct Shared {
    mailboxes: Vec<Mailbox>,
    failing: AtomicBool,
    journal: Journal,
}

/// Running receivers.
pub struct Receivers {
    shared: Arc<Shared>,
    ports: Vec<u16>,
    server: ServerHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receivers {
    /// Starts one for each of `mailboxes`.
    pub fn start(mailboxes: Vec<(Temper, Arc<Keys>)>, journal: Journal) -> Self {
        let mailboxes: Vec<_> = mailboxes
            .into_iter()
            .map(|(temper, keys)| Mailbox { temper, keys, endpoint: OnceLock::new() })
            .collect();
        let count = mailboxes.len();
        let shared = Arc::new(Shared { mailboxes, failing: AtomicBool::new(false), journal });
        let state = Data::from(shared.clone());
        let (started, listening) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let mut server = HttpServer::new(move || {
                    App::new()
                        .app_data(state.clone())
                        .app_data(PayloadConfig::new(1 << 20))
                        .route("/{position}", web::post().to(receive))
                })
                .workers(1)
                .disable_signals()
                .shutdown_timeout(0);
                for _ in 0..count {
                    server = server.bind((host(), 0)).unwrap();
                }
                let ports: Vec<_> = server.addrs().iter().map(|address| address.port()).collect();
                let server = server.run();
                started.send((ports, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (ports, server) = listening.recv().unwrap();
        Self { shared, ports, server, thread: Some(thread) }
    }

    /// The target URL of one, on `host` as nodes know it.
    pub fn url(&self, host: &str, position: usize) -> String {
        format!("http://{host}:{}/{position}", self.ports[position])
    }

    /// Tells one which endpoint it stands for, and that endpoint's secret.
    pub fn register(&self, position: usize, endpoint_id: &str, secret: &str) {
        let endpoint = (endpoint_id.to_owned(), secret.to_owned());
        self.shared.mailboxes[position].endpoint.set(endpoint).unwrap();
    }

    /// Begins or ends the time in which the failing ones answer 500.
    pub fn fail(&self, failing: bool) {
        self.shared.failing.store(failing, Ordering::Relaxed);
    }

    /// Makes sure that all requests are in the log.
    pub fn flush(&self) {
        self.shared.journal.flush();
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is done with a request.
enum Reaction {
    Answer(u16),
    CutOff,
    Hang,
}

async fn receive(
    position: Path<usize>,
    request: HttpRequest,
    body: Bytes,
    state: Data<Shared>,
) -> HttpResponse {
    let arrived_at_ms = now_ms();
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let mailbox = &state.mailboxes[*position];
    let (endpoint_id, secret) = mailbox.endpoint.get().expect("it is registered before load");
    let verified = verify(secret, header("x-kayle-signature"), &body);
    let plaintext = mailbox.keys.decrypt(&body);
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let plaintext = plaintext.as_ref();
    let reaction = match mailbox.temper {
        _ if !verified || plaintext.is_none() => Reaction::Answer(400),
        Temper::Healthy => Reaction::Answer(204),
        Temper::Failing if state.failing.load(Ordering::Relaxed) => Reaction::Answer(500),
        Temper::Failing => Reaction::Answer(204),
        Temper::Moody => match rand::rng().random_range(0..20u8) {
            0 => Reaction::Hang,
            1 => Reaction::CutOff,
            2.. => Reaction::Answer(204),
        },
    };
    let status = match reaction {
        Reaction::Answer(status) => Some(status),
        Reaction::CutOff | Reaction::Hang => None,
    };
    state.journal.write(&Receipt {
        arrived_at_ms,
        ended_at_ms: (!matches!(reaction, Reaction::Hang)).then(now_ms),
        endpoint_id: endpoint_id.clone(),
        delivery_id: header("x-kayle-delivery-id").to_owned(),
        event_id: plaintext.and_then(|plaintext| text(&plaintext["metadata"]["event_id"])),
        data_sha256: plaintext.map(|plaintext| sha256(plaintext["data"].to_string().as_bytes())),
        canary: plaintext.and_then(|plaintext| text(&plaintext["data"]["canary"])),
        body_sha256: sha256(&body),
        verified,
        status,
    });
    match reaction {
        Reaction::Answer(status) => {
            HttpResponse::build(StatusCode::from_u16(status).unwrap()).finish()
        }
        // A body that ends in an error ends its connection.
        Reaction::CutOff => HttpResponse::InternalServerError()
            .streaming(stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut off")) })),
        Reaction::Hang => std::future::pending().await,
    }
}
