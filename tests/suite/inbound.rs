//! Clients that are slow, many or immoderate: each is cut off or refused, and others are answered.

use std::time::{Duration, Instant};

use crate::support::daemon::{Daemon, Home, PLATFORM_KEY};
use crate::support::wire::{Heard, Wire};

/// How often a slow client says another byte.
const DRIP: Duration = Duration::from_millis(500);
/// Slow clients of each kind.
const EACH: usize = 20;
/// By when every slow client has to be cut off: the longest limit, and as much again for a busy machine.
const CUT_WITHIN: Duration = Duration::from_secs(30);

/// How a slow client begins, what it goes on with, and what it is answered.
struct Slow {
    name: &'static str,
    begin: String,
    drip: &'static str,
    statuses: &'static [u16],
}

fn slow_clients() -> Vec<Slow> {
    let post = |path: &str, header: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: hookseal\r\nAuthorization: Bearer {PLATFORM_KEY}\r\nContent-Type: application/json\r\n{header}\r\n"
        )
    };
    let strange =
        |header: &str| format!("POST /graphql HTTP/1.1\r\nHost: hookseal\r\n{header}\r\n");
    let (long, chunked) = ("Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n");
    let (events, healthy) = ("/v1/platform/events", "GET /healthz HTTP/1.1\r\nHost: hookseal\r\n");
    let slow = |name, begin, drip, statuses| Slow { name, begin, drip, statuses };
    vec![
        slow("a body that stalls", post(events, long), "", &[408]),
        slow("a body that drips", post(events, long), " ", &[408]),
        slow("chunks that drip", post(events, chunked), "1\r\n \r\n", &[408]),
        slow("an endless extension", format!("{}1;", post(events, chunked)), "x", &[408]),
        slow("endless trailers", format!("{}0\r\n", post(events, chunked)), "X: x\r\n", &[408]),
        slow("a document that stalls", post("/graphql", long), "", &[408]),
        slow("a body of a stranger that drips", strange(long), " ", &[401]),
        slow("chunks of a stranger", strange(chunked), "1\r\n \r\n", &[401]),
        slow("a head that drips", "GET /healthz HTTP/1.1\r\n".to_owned(), "X: x\r\n", &[408]),
        slow("a second head that drips", format!("{healthy}\r\n{healthy}"), "X: x\r\n", &[200]),
        slow("nothing at all", String::new(), "", &[408]),
    ]
}

impl Slow {
    /// Goes on until it is cut off.
    fn run(&self, url: &str) -> Heard {
        let mut wire = Wire::open(url);
        let (begun, mut speaker) = (Instant::now(), wire.twin());
        wire.say(self.begin.as_bytes());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while !self.drip.is_empty() && begun.elapsed() < CUT_WITHIN {
                    std::thread::sleep(DRIP);
                    if !speaker.say(self.drip.as_bytes()) {
                        return;
                    }
                }
            });
            wire.hear()
        })
    }
}

fn house(settings: &[(&str, &str)]) -> (Home, Daemon) {
    let home = Home::new(settings);
    let daemon = home.start();
    (home, daemon)
}

#[test]
fn two_hundred_slow_clients_are_cut_off_while_others_are_answered() {
    let (_home, daemon) = house(&[]);
    let (url, platform, kinds) = (daemon.url.as_str(), daemon.platform(), slow_clients());
    std::thread::scope(|scope| {
        let slow: Vec<_> = kinds.iter().flat_map(|kind| std::iter::repeat_n(kind, EACH)).collect();
        assert!(slow.len() >= 200);
        let slow: Vec<_> =
            slow.into_iter().map(|kind| (kind, scope.spawn(|| kind.run(url)))).collect();
        while slow.iter().any(|(_, client)| !client.is_finished()) {
            platform.get("/v1/platform/organizations").ok();
            std::thread::sleep(Duration::from_millis(100));
        }
        for (kind, client) in slow {
            let heard = client.join().unwrap();
            assert!(heard.closed && heard.took < CUT_WITHIN, "{}: {heard:?}", kind.name);
            // What was said after the end may have swept the answer away.
            let statuses = heard.statuses();
            let told = statuses == kind.statuses || (statuses.is_empty() && !kind.drip.is_empty());
            assert!(told, "{}: {heard:?}", kind.name);
        }
    });
}

#[test]
fn heads_are_bounded() {
    let (_home, daemon) = house(&[]);
    let ask = |line: &str, headers: &str| {
        let mut wire = Wire::open(&daemon.url);
        wire.say(format!("{line}\r\nHost: h\r\nConnection: close\r\n{headers}\r\n").as_bytes());
        wire.hear()
    };
    let line = "GET /healthz HTTP/1.1";
    let headers = |n: usize| "X: x\r\n".repeat(n);
    let long = |n: usize| format!("X: {}\r\n", "x".repeat(n));
    let path = |n: usize| format!("GET /healthz?{} HTTP/1.1", "x".repeat(n));
    #[rustfmt::skip] // a line a case
    let cases = [
        ("as many headers as may be",  ask(line, &headers(94)),                              200),
        ("one header more",            ask(line, &headers(95)),                              431),
        ("very many headers",          ask(line, &headers(20_000)),                          431),
        ("a long header",              ask(line, &long(32_000)),                             200),
        ("a header without an end",    ask(line, &long(1_000_000)),                          431),
        ("a long path",                ask(&path(32_000), ""),                               200),
        ("a longer path",              ask(&path(66_000), ""),                               400),
        ("a path without an end",      ask(&path(1_000_000), ""),                            431),
        ("a method without an end",    ask(&"G".repeat(1_000_000), ""),                      431),
    ];
    for (name, heard, status) in cases {
        let statuses = heard.statuses();
        // What is still being sent when the answer comes may sweep it away.
        let swept = status == 431 && statuses.is_empty();
        assert!(heard.closed && (swept || statuses == [status]), "{name}: {heard:?}");
    }
}

#[test]
fn connections_beyond_the_limit_wait_until_others_end() {
    let (_home, daemon) = house(&[("HOOKSEAL_CONNECTIONS", "1")]);
    let healthy = b"GET /healthz HTTP/1.1\r\nHost: hookseal\r\n\r\n";
    let mut held: Vec<Wire> = Vec::new();
    // Each of the threads that serve takes one.
    let mut waiting = loop {
        let mut wire = Wire::open(&daemon.url);
        wire.say(healthy);
        if !wire.is_answered_within(Duration::from_secs(2)) {
            break wire;
        }
        assert!(held.len() < 64, "there is no limit");
        held.push(wire);
    };
    drop(held);
    assert!(waiting.answer().starts_with("HTTP/1.1 200"));
}

#[test]
fn an_early_answer_carries_the_headers_of_every_answer() {
    let (_home, daemon) = house(&[]);
    let mut wire = Wire::open(&daemon.url);
    let head = "POST /v1/platform/events HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n";
    wire.say(format!("{head}Authorization: Bearer {PLATFORM_KEY}\r\n\r\n").as_bytes());
    let heard = wire.hear();
    assert_eq!(heard.statuses(), [408]);
    for header in ["x-content-type-options: nosniff", "x-frame-options: deny"] {
        assert!(heard.text.to_lowercase().contains(header), "{heard:?}");
    }
    assert!(heard.text.contains("\"REQUEST_TIMEOUT\""), "{heard:?}");
}
