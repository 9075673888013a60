//! A client of GraphQL over a WebSocket, and one of server-sent events.

use std::io::BufRead as _;
use std::sync::mpsc;
use std::time::Duration;

use awc::ws::{Frame, Message};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};

use super::daemon::Caller;

/// How long an expected message may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server said.
#[derive(Debug, PartialEq)]
pub enum Said {
    Message(Value),
    Closed(u16, String),
    Gone,
}

/// A socket, served by a thread of its own.
pub struct Socket {
    say: tokio::sync::mpsc::UnboundedSender<Message>,
    heard: mpsc::Receiver<Said>,
}

impl Socket {
    /// Opens a socket with these headers, or answers the status that it was refused with.
    pub fn open(base: &str, protocol: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        Self::open_by(awc::Client::new, base, protocol, headers)
    }

    /// The same by a client of the caller's.
    pub fn open_by(
        client: impl FnOnce() -> awc::Client + Send + 'static,
        base: &str,
        protocol: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, u16> {
        let url = format!("{}/graphql", base.replacen("http", "ws", 1));
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let (say, mut to_say) = tokio::sync::mpsc::unbounded_channel::<Message>();
        let (hear, heard) = mpsc::channel();
        let (opened, outcome) = mpsc::channel();
        let protocol = protocol.to_owned();
        std::thread::spawn(move || {
            let work = async move {
                let mut request = client().ws(url).protocols([protocol]);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let (_, mut connection) = match request.connect().await {
                    Ok(connected) => connected,
                    Err(awc::error::WsClientError::InvalidResponseStatus(status)) => {
                        return opened.send(Err(status.as_u16())).unwrap();
                    }
                    Err(error) => panic!("{error}"),
                };
                opened.send(Ok(())).unwrap();
                loop {
                    tokio::select! {
                        message = to_say.recv() => match message {
                            Some(message) => drop(connection.send(message).await),
                            None => return,
                        },
                        frame = connection.next() => {
                            let said = match frame {
                                Some(Ok(Frame::Text(text))) => {
                                    Said::Message(serde_json::from_slice(&text).unwrap())
                                }
                                Some(Ok(Frame::Close(reason))) => {
                                    let reason = reason.unwrap();
                                    let word = reason.description.unwrap_or_default();
                                    Said::Closed(reason.code.into(), word)
                                }
                                Some(Ok(Frame::Ping(bytes))) => {
                                    drop(connection.send(Message::Pong(bytes)).await);
                                    continue;
                                }
                                Some(Ok(_)) => continue,
                                Some(Err(_)) | None => Said::Gone,
                            };
                            let over = !matches!(said, Said::Message(_));
                            if hear.send(said).is_err() || over {
                                return;
                            }
                        }
                    }
                }
            };
            actix_web::rt::System::new().block_on(work);
        });
        outcome.recv_timeout(PATIENCE).unwrap().map(|()| Self { say, heard })
    }

    /// A socket of `caller`, acknowledged.
    pub fn of(caller: &Caller) -> Self {
        let bearer = format!("Bearer {}", caller.key);
        let headers = [("authorization", bearer.as_str())];
        let socket = Self::open(&caller.base, "graphql-transport-ws", &headers).unwrap();
        socket.say(json!({ "type": "connection_init" }));
        assert_eq!(socket.hear(), json!({ "type": "connection_ack" }));
        socket
    }

    pub fn say(&self, message: Value) {
        self.say_text(&message.to_string());
    }

    pub fn say_text(&self, text: &str) {
        // One that is closed is seen when it is listened to.
        let _ = self.say.send(Message::Text(text.to_owned().into()));
    }

    /// Begins an operation.
    pub fn subscribe(&self, id: &str, document: &str, variables: Value) {
        let payload = json!({ "query": document, "variables": variables });
        self.say(json!({ "id": id, "type": "subscribe", "payload": payload }));
    }

    /// What comes next, whatever it is.
    pub fn next(&self) -> Said {
        self.heard.recv_timeout(PATIENCE).unwrap_or(Said::Gone)
    }

    /// What comes within `pause`, if anything.
    pub fn within(&self, pause: Duration) -> Option<Said> {
        self.heard.recv_timeout(pause).ok()
    }

    /// The next message.
    pub fn hear(&self) -> Value {
        match self.next() {
            Said::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    /// The next item of operation `id`: the one member of its data.
    pub fn item(&self, id: &str) -> Value {
        let message = self.hear();
        assert_eq!((&message["id"], &message["type"]), (&json!(id), &json!("next")), "{message}");
        let data = message["payload"]["data"].as_object().unwrap_or_else(|| panic!("{message}"));
        data.values().next().unwrap().clone()
    }
}

/// A document as a stream of server-sent events: the events as they come, `(event, data)`.
pub fn events(caller: &Caller, document: &str) -> mpsc::Receiver<(String, Value)> {
    let body = json!({ "query": document }).to_string();
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let request = ureq::http::Request::post(format!("{}/graphql", caller.base))
        .header("authorization", format!("Bearer {}", caller.key))
        .header("content-type", "application/json")
        .header("accept", "text/event-stream");
    let response = agent.run(request.body(body).unwrap()).unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (tell, events) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = std::io::BufReader::new(response.into_body().into_reader()).lines();
        let mut event = String::new();
        for line in lines.map_while(Result::ok) {
            if let Some(name) = line.strip_prefix("event: ") {
                event = name.to_owned();
            } else if let Some(data) = line.strip_prefix("data:") {
                let data = serde_json::from_str(data).unwrap_or_default();
                if tell.send((event.clone(), data)).is_err() {
                    return;
                }
            }
        }
    });
    events
}
