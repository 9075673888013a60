//! Servers that do with a connection whatever a test says, byte by byte.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::host::host;

/// A connection that bytes are read from and written to.
pub trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// What is done with a connection; it is closed when that ends.
pub type Reaction = Box<dyn Fn(&mut dyn Wire) + Send + Sync>;

/// A server on a port of its own, until the tests end.
pub struct Server {
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub fn start(react: Reaction) -> Self {
        let listener = TcpListener::bind((host(), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (react, count) = (Arc::new(react), connections.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let react = react.clone();
                std::thread::spawn(move || react(&mut stream));
            }
        });
        Self { port, connections }
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// The same over TLS.
pub fn over_tls(config: Arc<ServerConfig>, react: Reaction) -> Reaction {
    within_tls(config, react, true)
}

/// The same, ending as many servers do: without taking leave within TLS.
pub fn over_tls_that_just_ends(config: Arc<ServerConfig>, react: Reaction) -> Reaction {
    within_tls(config, react, false)
}

fn within_tls(config: Arc<ServerConfig>, react: Reaction, takes_leave: bool) -> Reaction {
    Box::new(move |wire| {
        let connection = ServerConnection::new(config.clone()).unwrap();
        let mut stream = StreamOwned::new(connection, wire);
        react(&mut stream);
        if takes_leave {
            stream.conn.send_close_notify();
        }
        let _ = stream.flush();
    })
}

/// Reads one request, head and body; false when there was none.
pub fn read_request(wire: &mut dyn Wire) -> bool {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        match wire.read(&mut byte) {
            Ok(1) => read.push(byte[0]),
            _ => return false,
        }
    }
    let head = String::from_utf8(read).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    wire.read_exact(&mut body).is_ok()
}

/// Reads one request, then writes `answer` and closes.
pub fn answer(answer: impl Into<Vec<u8>>) -> Reaction {
    let answer = answer.into();
    Box::new(move |wire| {
        if read_request(wire) {
            let _ = wire.write_all(&answer).and_then(|()| wire.flush());
        }
    })
}

/// Reads one request, writes `head`, then `part` again and again with a pause until nobody reads any more.
pub fn endless(head: &str, part: impl Into<Vec<u8>>, pause: Duration) -> Reaction {
    let (head, part) = (head.as_bytes().to_vec(), part.into());
    Box::new(move |wire| {
        if !read_request(wire) || wire.write_all(&head).is_err() {
            return;
        }
        while wire.write_all(&part).and_then(|()| wire.flush()).is_ok() {
            std::thread::sleep(pause);
        }
    })
}

/// Says `greeting` to whoever connects, without listening, and waits until he is gone.
pub fn greet(greeting: &'static [u8]) -> Reaction {
    Box::new(move |wire| {
        let _ = wire.write_all(greeting).and_then(|()| wire.flush());
        swallow(wire);
    })
}

/// Takes in everything and says nothing.
pub fn swallow(wire: &mut dyn Wire) {
    let mut buffer = [0; 4096];
    while matches!(wire.read(&mut buffer), Ok(1..)) {}
}
