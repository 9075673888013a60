//! Bytes on a connection, as they are.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a daemon may take to end a connection that it has to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// Host and port of a daemon's URL.
pub fn authority(url: &str) -> &str {
    url.split("://").nth(1).unwrap()
}

/// A connection that knows nothing of HTTP.
pub struct Wire(TcpStream);

/// All that came until the connection ended.
#[derive(Debug)]
pub struct Heard {
    pub text: String,
    /// Whether the daemon ended it.
    pub closed: bool,
    pub took: Duration,
}

impl Heard {
    /// The status of every answer, in order.
    pub fn statuses(&self) -> Vec<u16> {
        let answers = self.text.match_indices("HTTP/1.");
        let status = |at: usize| self.text.get(at + 9..at + 12)?.parse().ok();
        answers.filter_map(|(at, _)| status(at)).filter(|status| *status != 100).collect()
    }
}

impl Wire {
    pub fn open(url: &str) -> Self {
        Self(TcpStream::connect(authority(url)).unwrap())
    }

    /// Sends bytes; a daemon that has closed is seen when it is listened to.
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Another that says things on the same connection.
    pub fn twin(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    /// Whether anything comes within `pause`.
    pub fn is_answered_within(&self, pause: Duration) -> bool {
        self.0.set_read_timeout(Some(pause)).unwrap();
        self.0.peek(&mut [0]).is_ok_and(|read| read > 0)
    }

    /// Hears until the daemon closes.
    pub fn hear(mut self) -> Heard {
        let begun = Instant::now();
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        let closed = match self.0.read_to_end(&mut bytes) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        Heard { text: String::from_utf8_lossy(&bytes).into_owned(), closed, took: begun.elapsed() }
    }

    /// Hears one answer with a body of `Content-Length`, and leaves the connection open.
    pub fn answer(&mut self) -> String {
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_lowercase();
                let length = head.split("content-length: ").nth(1).and_then(|it| it.lines().next());
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return text.into_owned();
                }
            }
            let read = self.0.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "closed after {text}");
            bytes.extend_from_slice(&buffer[..read]);
        }
    }
}
