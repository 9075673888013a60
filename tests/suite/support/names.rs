//! A name server of a test, on UDP, that says whatever it is told to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const NXDOMAIN: u8 = 3;

/// What is said to one question.
#[derive(Clone, Debug)]
pub enum Said {
    /// Addresses, of which those of the kind that was asked for are told, behind the name that the asked one
    /// is an alias of, to be remembered for so long.
    Addresses { alias: Option<String>, addresses: Vec<IpAddr>, seconds: u32 },
    /// A code of failure.
    Failure(u8),
    /// Bytes that are no message.
    Garbage,
    /// Nothing.
    Silence,
}

impl Said {
    /// Reads words: addresses, `=alias`, `for:seconds` (else 0), `nxdomain`, `servfail`, `garbage` or `silence`.
    pub fn read(words: &str) -> Self {
        let (mut alias, mut addresses, mut seconds) = (None, Vec::new(), 0);
        for word in words.split_whitespace() {
            match word {
                "nxdomain" => return Self::Failure(NXDOMAIN),
                "servfail" => return Self::Failure(2),
                "garbage" => return Self::Garbage,
                "silence" => return Self::Silence,
                _ => match (word.strip_prefix('='), word.strip_prefix("for:")) {
                    (Some(name), _) => alias = Some(name.to_owned()),
                    (_, Some(time)) => seconds = time.parse().unwrap(),
                    (_, _) => addresses.push(word.parse().unwrap()),
                },
            }
        }
        Self::Addresses { alias, addresses, seconds }
    }
}

/// Answers by name: the first time the first, and so on; the last for ever. `*` is for names not
/// listed, of which otherwise there are none.
pub type Zone = HashMap<String, Vec<Said>>;

/// A running name server.
pub struct NameServer {
    pub address: SocketAddr,
    said: Arc<AtomicU64>,
}

impl NameServer {
    pub fn start(zone: Zone) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let socket = Arc::new(socket);
        let said_so_far = Arc::new(AtomicU64::new(0));
        let count = said_so_far.clone();
        std::thread::spawn(move || {
            let mut asked: HashMap<(String, u16), usize> = HashMap::new();
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let (name, kind, end) = question(&buffer[..length]);
                let times = asked.entry((name.clone(), kind)).or_default();
                let said = zone.get(&name).or_else(|| zone.get("*"));
                let said = said.map(|said| said[(*times).min(said.len() - 1)].clone());
                *times += 1;
                let said = said.unwrap_or(Said::Failure(NXDOMAIN));
                if let Some(message) = message(&buffer[..end], kind, &said) {
                    let _ = socket.send_to(&message, from);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { address, said: said_so_far }
    }

    /// How many answers it has sent.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }
}

/// Name and kind of a question, and where it ends.
fn question(message: &[u8]) -> (String, u16, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while message[at] != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    (labels.join("."), u16::from_be_bytes([message[at + 1], message[at + 2]]), at + 5)
}

fn message(asked: &[u8], kind: u16, said: &Said) -> Option<Vec<u8>> {
    let (code, records) = match said {
        Said::Silence => return None,
        Said::Garbage => return Some(b"no message".to_vec()),
        Said::Failure(code) => (*code, Vec::new()),
        Said::Addresses { alias, addresses, seconds } => {
            (0, records(kind, alias.as_deref(), addresses, *seconds))
        }
    };
    // The question as it was, answered, recursion done.
    let mut message =
        [&asked[..2], &[0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0], &asked[12..]].concat();
    message[7] = u8::try_from(records.len()).unwrap();
    message.extend(records.concat());
    Some(message)
}

fn records(kind: u16, alias: Option<&str>, addresses: &[IpAddr], seconds: u32) -> Vec<Vec<u8>> {
    // A pointer to the name in the question.
    let asked = vec![0xc0, 12];
    let owner = alias.map_or(asked.clone(), encoded);
    let alias = alias.map(|alias| record(&asked, CNAME, &encoded(alias), seconds));
    let addresses = addresses.iter().filter_map(|address| match (kind, address) {
        (A, IpAddr::V4(address)) => Some(record(&owner, A, &address.octets(), seconds)),
        (AAAA, IpAddr::V6(address)) => Some(record(&owner, AAAA, &address.octets(), seconds)),
        (_, _) => None,
    });
    alias.into_iter().chain(addresses).collect()
}

fn record(owner: &[u8], kind: u16, data: &[u8], seconds: u32) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [owner, &kind.to_be_bytes(), &[0, 1], &seconds.to_be_bytes(), &length, data].concat()
}

fn encoded(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    let mut bytes = name.split('.').flat_map(label).collect::<Vec<u8>>();
    bytes.push(0);
    bytes
}
