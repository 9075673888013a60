//! What proxies and parsers have disagreed on: whatever is sent, the bytes behind a request are never
//! another one unless both its ends are beyond doubt.

use std::time::Duration;

use crate::support::daemon::{Home, PLATFORM_KEY};
use crate::support::wire::{Heard, Wire};

/// What must not be taken as a request.
const BEHIND: &str = "GET /healthz HTTP/1.1\r\nHost: behind\r\n\r\n";

/// What becomes of a probe.
#[derive(Clone, Copy)]
enum Fate {
    /// One answer of this status, and the connection is good for nothing more.
    Last(u16),
    /// Answers of these statuses: what is behind is a request by everybody's reading.
    Both(u16, u16),
}

use Fate::{Both, Last};

/// A request that is served, up to its body's headers.
fn head(line: &str) -> String {
    format!(
        "{line}\r\nHost: hookseal\r\nAuthorization: Bearer {PLATFORM_KEY}\r\nContent-Type: application/json\r\n"
    )
}

/// One that makes an organization, with these headers and this body, and something behind it.
fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("{}{headers}\r\n{body}{BEHIND}", head("POST /v1/platform/organizations HTTP/1.1"))
        .into_bytes()
}

/// One without a body, with these headers or lines, and something behind it.
fn get(line: &str, headers: &str) -> Vec<u8> {
    format!("{line}\r\n{headers}\r\n{BEHIND}").into_bytes()
}

#[rustfmt::skip] // a line a case
fn probes() -> Vec<(&'static str, Vec<u8>, Fate)> {
    const JSON: &str = "{\"name\":\"a\"}";
    const CHUNKS: &str = "c\r\n{\"name\":\"a\"}\r\n0\r\n\r\n";
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    let length = |value: &str| post(&format!("Content-Length: {value}\r\n"), JSON);
    let encoding = |header: &str| post(&format!("{header}\r\n"), CHUNKS);
    let chunked = |body: &str| post(CHUNKED, body);
    let healthy = "GET /healthz HTTP/1.1";
    let host = "Host: hookseal\r\n";
    vec![
        // What is beyond doubt.
        ("a length",                            length("12"),                                                    Both(200, 200)),
        ("chunks",                              chunked(CHUNKS),                                                 Both(200, 200)),
        // Two lengths.
        ("a length, then chunks",               post(&format!("Content-Length: 12\r\n{CHUNKED}"), CHUNKS),       Last(400)),
        ("chunks, then a length",               post(&format!("{CHUNKED}Content-Length: 12\r\n"), CHUNKS),       Last(400)),
        ("a length of none, and chunks",        post(&format!("Content-Length: 0\r\n{CHUNKED}"), CHUNKS),        Last(400)),
        ("two lengths",                         post("Content-Length: 12\r\nContent-Length: 0\r\n", JSON),       Last(400)),
        ("the same length twice",               post("Content-Length: 12\r\nContent-Length: 12\r\n", JSON),      Last(400)),
        ("a list of lengths",                   length("12, 12"),                                                Last(400)),
        ("a length with a sign",                length("+12"),                                                   Last(400)),
        ("a negative length",                   length("-12"),                                                   Last(400)),
        ("a length in hex",                     length("0xc"),                                                   Last(400)),
        ("a length with a fraction",            length("12.0"),                                                  Last(400)),
        ("a length with a space",               length("1 2"),                                                   Last(400)),
        ("a length of nothing",                 length(""),                                                      Last(400)),
        ("a length beyond all numbers",         length("18446744073709551628"),                                  Last(400)),
        ("a length, a space before its colon",  post("Content-Length : 12\r\n", JSON),                           Last(400)),
        ("a length on a second line",           post("Content-Length:\r\n 12\r\n", JSON),                        Last(400)),
        ("a length with an underscore",         post("Content_Length: 12\r\n", ""),                              Both(400, 200)),
        // Encodings.
        ("encoding, a space before its colon",  encoding("Transfer-Encoding : chunked"),                         Last(400)),
        ("encoding, a tab before its colon",    encoding("Transfer-Encoding\t: chunked"),                        Last(400)),
        ("encoding, a space before its name",   encoding(" Transfer-Encoding: chunked"),                         Last(400)),
        ("encoding, a tab before its value",    encoding("Transfer-Encoding:\tchunked"),                         Both(200, 200)),
        ("encoding, a vertical tab",            encoding("Transfer-Encoding:\u{b}chunked"),                      Last(400)),
        ("encoding, on a second line",          encoding("Transfer-Encoding:\r\n chunked"),                      Last(400)),
        ("encoding, capitals",                  encoding("TRANSFER-ENCODING: CHUNKED"),                          Both(200, 200)),
        ("encoding, xchunked",                  encoding("Transfer-Encoding: xchunked"),                         Last(400)),
        ("encoding, quoted",                    encoding("Transfer-Encoding: \"chunked\""),                      Last(400)),
        ("encoding, chunked and more",          encoding("Transfer-Encoding: chunked, identity"),                Last(400)),
        ("encoding, more and chunked",          encoding("Transfer-Encoding: gzip, chunked"),                    Last(400)),
        ("encoding, with a parameter",          encoding("Transfer-Encoding: chunked;q=1"),                      Last(400)),
        ("encoding, identity",                  encoding("Transfer-Encoding: identity"),                         Last(400)),
        ("encoding, nothing",                   encoding("Transfer-Encoding:"),                                  Last(400)),
        ("encoding, twice",                     encoding("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Last(400)),
        ("encoding, two of them",               encoding("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), Last(400)),
        ("encoding, with a zero byte",          encoding("Transfer-Encoding: chunked\0"),                        Last(400)),
        // Chunks.
        ("a chunk beyond all numbers",          chunked("1000000000000000c\r\n{\"name\":\"a\"}\r\n0\r\n\r\n"),   Last(400)),
        ("a negative chunk",                    chunked("-c\r\n{\"name\":\"a\"}\r\n0\r\n\r\n"),                  Last(400)),
        ("a chunk in 0x",                       chunked("0xc\r\n{\"name\":\"a\"}\r\n0\r\n\r\n"),                 Last(400)),
        ("a chunk without a size",              chunked("\r\n{\"name\":\"a\"}\r\n0\r\n\r\n"),                    Last(400)),
        ("a chunk longer than it says",         chunked("b\r\n{\"name\":\"a\"}\r\n0\r\n\r\n"),                   Last(400)),
        ("a chunk that ends in a bare LF",      chunked("c\n{\"name\":\"a\"}\n0\n\n"),                           Last(400)),
        ("an extension with a bare LF",         chunked("c;\n{\"name\":\"a\"}\r\n0\r\n\r\n"),                    Last(400)),
        ("an extension",                        chunked("c;a=b\r\n{\"name\":\"a\"}\r\n0\r\n\r\n"),               Both(200, 200)),
        ("trailers",                            chunked("c\r\n{\"name\":\"a\"}\r\n0\r\nContent-Length: 9\r\n\r\n"), Both(200, 200)),
        // Lines and names.
        ("bare LF",                             format!("GET /healthz HTTP/1.1\nHost: hookseal\n\n{BEHIND}").into(), Both(200, 200)),
        ("a bare LF before an encoding",        post("Content-Length: 12\r\nX-A: a\nTransfer-Encoding: chunked\r\n", CHUNKS), Last(400)),
        ("a bare LF before a second length",    post("Content-Length: 12\r\nX-A: a\nContent-Length: 0\r\n", JSON),     Last(400)),
        ("a folded header",                     get(healthy, &format!("{host}X-A: a\r\n b\r\n")),                Last(400)),
        ("a space before a colon",              get(healthy, &format!("{host}X-A : a\r\n")),                     Last(400)),
        ("a zero byte in a header",             get(healthy, &format!("{host}X-A: a\0b\r\n")),                   Last(400)),
        ("CR in a value",                       get(healthy, &format!("{host}X-A: a\rX-B: b\r\n")),              Last(400)),
        ("a header without a name",             get(healthy, &format!("{host}: a\r\n")),                         Last(400)),
        ("a header without a colon",            get(healthy, &format!("{host}X-A\r\n")),                         Last(400)),
        ("no host",                             get(healthy, ""),                                                Last(400)),
        ("two hosts",                           get(healthy, "Host: a\r\nHost: b\r\n"),                          Last(400)),
        ("the same host twice",                 get(healthy, "Host: a\r\nHost: a\r\n"),                          Last(400)),
        // Request lines and versions.
        ("HTTP/0.9",                            format!("GET /healthz\r\n{BEHIND}").into(),                      Last(400)),
        ("HTTP/1.0 with chunks",                format!("{}{CHUNKED}\r\n{CHUNKS}{BEHIND}", head("POST /v1/platform/organizations HTTP/1.0")).into(), Last(400)),
        ("HTTP/1.0 without a length",           format!("{}\r\n{JSON}{BEHIND}", head("POST /v1/platform/organizations HTTP/1.0")).into(), Last(400)),
        ("HTTP/1.2",                            get("GET /healthz HTTP/1.2", host),                              Last(400)),
        ("HTTP/2.0",                            get("GET /healthz HTTP/2.0", host),                              Last(400)),
        ("a space in the path",                 get("GET /healthz x HTTP/1.1", host),                            Last(400)),
        ("two spaces",                          get("GET  /healthz HTTP/1.1", host),                             Last(400)),
        ("a tab for a space",                   get("GET\t/healthz\tHTTP/1.1", host),                            Last(400)),
        ("absolute form of another host",       get("GET http://elsewhere.example/healthz HTTP/1.1", host),      Both(200, 200)),
        ("CONNECT",                             get("CONNECT hookseal:443 HTTP/1.1", host),                      Last(404)),
        ("TRACE",                               get("TRACE /healthz HTTP/1.1", host),                            Both(405, 200)),
        // Other protocols.
        ("an upgrade to h2c",                   get(healthy, &format!("{host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n")), Both(200, 200)),
        ("HTTP/2's preface",                    format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{BEHIND}").into(),      Last(400)),
        ("an upgrade to a socket elsewhere",    get(healthy, &format!("{host}Connection: Upgrade\r\nUpgrade: websocket\r\n")), Last(200)),
        ("a socket with a length",              get("GET /graphql HTTP/1.1", &format!("{host}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: {}\r\n", BEHIND.len())), Last(405)),
        // Bodies where none is read.
        ("a body of a GET",                     get(healthy, &format!("{host}Content-Length: {}\r\n", BEHIND.len())), Last(200)),
        ("a body of a stranger",                format!("POST /graphql HTTP/1.1\r\n{host}Content-Length: {}\r\n\r\n{BEHIND}", BEHIND.len()).into(), Last(401)),
        ("half a body of a stranger",           format!("POST /graphql HTTP/1.1\r\n{host}Content-Length: 999999\r\n\r\n{BEHIND}").into(), Last(401)),
        ("chunks of a stranger",                format!("POST /graphql HTTP/1.1\r\n{host}{CHUNKED}\r\n28\r\n{BEHIND}\r\n0\r\n\r\n").into(), Last(401)),
    ]
}

#[test]
fn bytes_behind_a_request_are_no_other_unless_that_is_beyond_doubt() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let url = daemon.url.as_str();
    let ask = move |bytes: &[u8]| {
        let mut wire = Wire::open(url);
        wire.say(bytes);
        // Longer than what is refused may linger.
        std::thread::sleep(Duration::from_millis(1500));
        wire.say(BEHIND.as_bytes());
        wire.hear()
    };
    let probes = probes();
    let heard: Vec<Heard> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            probes.iter().map(|(_, bytes, _)| scope.spawn(move || ask(bytes))).collect();
        asked.into_iter().map(|heard| heard.join().unwrap()).collect()
    });
    let mut wrong = Vec::new();
    for ((name, _, fate), heard) in probes.iter().zip(&heard) {
        let expected = match fate {
            Last(status) => vec![*status],
            Both(first, second) => vec![*first, *second, 200],
        };
        if heard.statuses() != expected || !heard.closed {
            wrong.push(format!("{name}: {heard:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
