//! The link between a node and a server, which can be slow, or cut: then it takes what fits into the sockets' buffers,
//! forwards nothing, and tells nobody, like a network that swallows packets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Up,
    /// Whatever passes takes that long.
    Slow(Duration),
    Cut,
    Gone,
}

struct Gate {
    link: Mutex<Link>,
    changed: Condvar,
}

impl Gate {
    fn turn(&self, link: Link) {
        *self.link.lock() = link;
        self.changed.notify_all();
    }

    /// Waits for as long as the link is cut or takes; answers whether it is there.
    fn pass(&self) -> bool {
        let mut link = self.link.lock();
        while *link == Link::Cut {
            self.changed.wait(&mut link);
        }
        if let Link::Slow(delay) = *link {
            MutexGuard::unlocked(&mut link, || std::thread::sleep(delay));
        }
        *link != Link::Gone
    }
}

/// A TCP proxy on loopback.
pub struct Proxy {
    address: SocketAddr,
    gate: Arc<Gate>,
}

impl Proxy {
    /// A link to the server at `port` of loopback.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(Gate { link: Mutex::new(Link::Up), changed: Condvar::new() });
        let passed = gate.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if !passed.pass() {
                    return;
                }
                // A server that is down refuses: its clients are hung up on.
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                join(client, server, &passed);
            }
        });
        Self { address, gate }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Swallows everything from now on.
    pub fn cut(&self) {
        self.gate.turn(Link::Cut);
    }

    /// Forwards as late as that from now on.
    pub fn slow(&self, delay: Duration) {
        self.gate.turn(Link::Slow(delay));
    }

    /// Forwards again, what waits in the sockets first.
    pub fn heal(&self) {
        self.gate.turn(Link::Up);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.gate.turn(Link::Gone);
        // Wakes the listener, which sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

fn join(client: TcpStream, server: TcpStream, gate: &Arc<Gate>) {
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let pair = (client.try_clone().unwrap(), server.try_clone().unwrap());
    for (from, to) in [(client, server), (pair.1, pair.0)] {
        let gate = gate.clone();
        std::thread::spawn(move || pump(from, to, &gate));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        // An end is swallowed like everything else.
        let up = gate.pass();
        if read == 0 || !up || to.write_all(&buffer[..read]).is_err() {
            // Both ways: a half-open connection would be kept by its other pump.
            let _ = (from.shutdown(Shutdown::Read), to.shutdown(Shutdown::Write));
            return;
        }
    }
}
