//! The `graphql-transport-ws` protocol over one WebSocket.
//!
//! ```text
//! client: connection_init ─▶ subscribe ─▶ …            ─▶ complete
//! server:                 connection_ack   next, next …    (or error, or complete)
//! ```
//! A client that does not keep to it is told so by a close code of the 4400s.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Session};
use futures_util::stream::{AbortHandle, SelectAll, Stream, StreamExt as _, abortable, once};
use hookseal_core::error::Error;
use hookseal_core::limits::{LIVE_OPERATIONS, SOCKET_MESSAGE_BYTES};
use hookseal_graphql::{Request, Response, ServerError, refused};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::live::{Ending, Place, Watchman};
use super::prepared;
use crate::api::Api;
use crate::api::auth::Credential;
use crate::api::body;
use crate::api::envelope::ApiError;

const PROTOCOL: &str = "graphql-transport-ws";
/// How long a client may take to say who it is.
const INIT_WITHIN: Duration = Duration::from_secs(10);
/// How long nothing may come before the client is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(20);
/// How long nothing may come at all, or go out to a client that reads nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a closing message may take to go out.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ClientMessage {
    ConnectionInit {
        #[serde(default)]
        payload: Option<Value>,
    },
    Ping {
        #[serde(default)]
        payload: Option<Value>,
    },
    Pong {},
    Subscribe {
        id: String,
        #[serde(deserialize_with = "document")]
        payload: Box<Request>,
    },
    Complete {
        id: String,
    },
}

/// A document is an object; a derived type would take an array, too, member by member.
fn document<'de, D: Deserializer<'de>>(payload: D) -> Result<Box<Request>, D::Error> {
    let members = Map::<String, Value>::deserialize(payload)?;
    Request::deserialize(Value::Object(members)).map(Box::new).map_err(D::Error::custom)
}

/// What the server says.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ServerMessage<'a> {
    ConnectionAck,
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Value>,
    },
    Next {
        id: &'a str,
        payload: &'a Response,
    },
    Error {
        id: &'a str,
        payload: &'a [ServerError],
    },
    Complete {
        id: &'a str,
    },
}

/// Why a connection ends.
enum End {
    /// With a code and a word.
    Close(u16, String),
    /// The client is gone.
    Gone,
}

fn close(code: u16, word: &str) -> End {
    End::Close(code, word.to_owned())
}

impl From<Ending> for End {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Revoked => close(4403, "Forbidden"),
            Ending::Draining => close(u16::from(CloseCode::Away), "Going away"),
        }
    }
}

/// What an operation says, and the end of it.
type Answers = Pin<Box<dyn Stream<Item = (String, Option<Response>)>>>;

/// Opens a socket. Whoever sends a key or a cookie along is judged at once; a client that cannot, a browser
/// with a key, says who it is in its first message.
pub(super) async fn open(
    request: HttpRequest,
    api: Data<Api>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    api.came_from_home(&request, false)?;
    let mut watchman = Watchman::new(api.clone());
    if let Ok(credential) = Credential::of(&request, &api.session_cookie) {
        let caller = api.identify(&credential).await?;
        api.meter.admit(&caller, api.clock.now()).await?;
        watchman.guard(credential, caller);
    }
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let speaks = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == PROTOCOL);
    let place = api.lives.enter(watchman.caller())?;
    let handshake = actix_ws::handle_with_protocols(&request, payload, &[PROTOCOL]);
    let (response, session, messages) =
        handshake.map_err(|_| Error::invalid("Upgrade", "a WebSocket handshake, version 13"))?;
    let messages = messages
        .max_frame_size(SOCKET_MESSAGE_BYTES)
        .aggregate_continuations()
        .max_continuation_size(SOCKET_MESSAGE_BYTES);
    let connection = Connection {
        watchman,
        api,
        session,
        acknowledged: false,
        operations: SelectAll::new(),
        running: HashMap::new(),
        heard_at: Instant::now(),
        asked_at: Instant::now(),
        _place: place,
    };
    actix_web::rt::spawn(connection.run(messages, speaks));
    Ok(response)
}

struct Connection {
    api: Data<Api>,
    session: Session,
    watchman: Watchman,
    acknowledged: bool,
    operations: SelectAll<Answers>,
    /// How to end each operation that runs.
    running: HashMap<String, AbortHandle>,
    heard_at: Instant,
    asked_at: Instant,
    _place: Place,
}

impl Connection {
    async fn run(mut self, messages: AggregatedMessageStream, speaks: bool) {
        let end = if speaks {
            self.converse(messages).await
        } else {
            close(4406, "Subprotocol not acceptable")
        };
        self.running.drain().for_each(|(_, running)| running.abort());
        let reason = match end {
            End::Gone => None,
            End::Close(code, word) => {
                Some(CloseReason { code: CloseCode::from(code), description: Some(word) })
            }
        };
        // A client that reads nothing is left as it is: the socket ends with this task.
        let _ = tokio::time::timeout(FAREWELL, self.session.close(reason)).await;
    }

    /// Hears and answers until somebody ends it.
    async fn converse(&mut self, mut messages: AggregatedMessageStream) -> End {
        let opened = Instant::now();
        loop {
            let silence = tokio::time::sleep_until(self.heard_at.max(self.asked_at) + SILENCE);
            let init = tokio::time::sleep_until(opened + INIT_WITHIN);
            let done = tokio::select! {
                biased;
                ending = self.watchman.ending() => return ending.into(),
                message = messages.recv() => match message {
                    None => return End::Gone,
                    Some(Err(_)) => return close(4400, "Invalid message received"),
                    Some(Ok(message)) => {
                        self.heard_at = Instant::now();
                        self.hear(message).await
                    }
                },
                Some((id, answer)) = self.operations.next() => self.answer(id, answer).await,
                () = init, if !self.acknowledged => {
                    return close(4408, "Connection initialisation timeout");
                }
                () = silence => self.ask().await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Nothing was heard for a while: is anybody there?
    async fn ask(&mut self) -> Result<(), End> {
        if self.heard_at.elapsed() > PATIENCE {
            return Err(End::Gone);
        }
        self.asked_at = Instant::now();
        self.session.ping(b"").await.map_err(|_| End::Gone)
    }

    async fn hear(&mut self, message: AggregatedMessage) -> Result<(), End> {
        let text = match message {
            AggregatedMessage::Text(text) => text,
            AggregatedMessage::Ping(bytes) => {
                return self.session.pong(&bytes).await.map_err(|_| End::Gone);
            }
            AggregatedMessage::Pong(_) => return Ok(()),
            AggregatedMessage::Close(_) => return Err(End::Gone),
            AggregatedMessage::Binary(_) => return Err(close(4400, "Invalid message received")),
        };
        let message = body::unambiguous_object(text.as_bytes());
        match message.map_err(|_| close(4400, "Invalid message received"))? {
            ClientMessage::ConnectionInit { payload } => self.init(payload).await,
            ClientMessage::Ping { payload } => self.say(&ServerMessage::Pong { payload }).await,
            ClientMessage::Pong {} => Ok(()),
            ClientMessage::Subscribe { id, payload } => self.subscribe(id, *payload).await,
            ClientMessage::Complete { id } => {
                if let Some(running) = self.running.remove(&id) {
                    running.abort();
                }
                Ok(())
            }
        }
    }

    async fn init(&mut self, payload: Option<Value>) -> Result<(), End> {
        if self.acknowledged {
            return Err(close(4429, "Too many initialisation requests"));
        }
        if self.watchman.caller().is_none() {
            let credential = payload.as_ref().and_then(Credential::of_init);
            let Some(credential) = credential else { return Err(close(4401, "Unauthorized")) };
            let caller = match self.api.identify(&credential).await {
                Ok(caller) => caller,
                Err(Error::Unavailable { .. }) => return Err(close(1013, "Try again later")),
                Err(_) => return Err(close(4403, "Forbidden")),
            };
            if self.api.meter.admit(&caller, self.api.clock.now()).await.is_err() {
                return Err(close(4429, "Too many requests"));
            }
            // The one among strangers is free again.
            self._place = match self.api.lives.enter(Some(&caller)) {
                Ok(place) => place,
                Err(_) => return Err(close(1013, "Try again later")),
            };
            self.watchman.guard(credential, caller);
        }
        self.acknowledged = true;
        self.say(&ServerMessage::ConnectionAck).await
    }

    async fn subscribe(&mut self, id: String, document: Request) -> Result<(), End> {
        let caller = match self.watchman.caller() {
            Some(caller) if self.acknowledged => caller.clone(),
            Some(_) | None => return Err(close(4401, "Unauthorized")),
        };
        if self.running.contains_key(&id) {
            return Err(End::Close(4409, format!("Subscriber for {id} already exists")));
        }
        let admitted = match self.running.len() {
            0..LIVE_OPERATIONS => self.api.meter.admit(&caller, self.api.clock.now()).await,
            _ => Err(Error::full("the operations of this connection")),
        };
        if let Err(error) = admitted {
            let errors = [refused(error).into_server_error(Default::default())];
            return self.say(&ServerMessage::Error { id: &id, payload: &errors }).await;
        }
        let answers = self.api.graphql.execute_stream(prepared(&self.api, document, caller));
        let name = id.clone();
        let answers = answers.map(move |answer| (name.clone(), Some(answer)));
        let name = id.clone();
        let answers = answers.chain(once(async move { (name, None) }));
        let (answers, running) = abortable(answers);
        self.operations.push(Box::pin(answers));
        self.running.insert(id, running);
        Ok(())
    }

    async fn answer(&mut self, id: String, answer: Option<Response>) -> Result<(), End> {
        // What the client has ended says no more.
        if !self.running.contains_key(&id) {
            return Ok(());
        }
        let Some(answer) = answer else {
            self.running.remove(&id);
            return self.say(&ServerMessage::Complete { id: &id }).await;
        };
        // Refused before it ran: no field is at fault.
        let refused = !answer.errors.is_empty()
            && answer.data == hookseal_graphql::Value::Null
            && answer.errors.iter().all(|error| error.path.is_empty());
        if refused {
            if let Some(running) = self.running.remove(&id) {
                running.abort();
            }
            return self.say(&ServerMessage::Error { id: &id, payload: &answer.errors }).await;
        }
        self.say(&ServerMessage::Next { id: &id, payload: &answer }).await
    }

    /// Sends a message; looks after the connection while the client does not read.
    async fn say(&mut self, message: &ServerMessage<'_>) -> Result<(), End> {
        let text = serde_json::to_string(message).expect("messages always serialize");
        let Self { session, watchman, .. } = self;
        tokio::select! {
            biased;
            sent = session.text(text) => sent.map_err(|_| End::Gone),
            ending = watchman.ending() => Err(ending.into()),
            () = tokio::time::sleep(PATIENCE) => Err(End::Gone),
        }
    }
}
