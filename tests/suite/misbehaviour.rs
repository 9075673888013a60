//! Receivers that misbehave: each costs one attempt, within its time, in little memory, and the attempt tells
//! what was wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookseal::demo::receiver::Keys;
use rcgen::{BasicConstraints, IsCa};
use rustls::crypto::ring::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
use rustls::crypto::{CryptoProvider, ring};
use serde_json::json;

use crate::support::bomb;
use crate::support::certificates::{Authority, self_signed};
use crate::support::daemon::{Daemon, Home, Tenant, wait};
use crate::support::tcp_server::{
    Reaction, Server, answer, endless, greet, over_tls, over_tls_that_just_ends, read_request,
    swallow,
};

const SOON: Duration = Duration::from_secs(30);
/// Deadline over an exchange.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Deadline over a handshake, whatever that over the exchange.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Room for a busy machine.
const SLACK: Duration = Duration::from_secs(3);
/// What all of it together may cost beyond what the daemon holds anyway, in KiB.
const MEMORY_KIB: u64 = 24 * 1024;

const LOOPBACK: &str = "http://127.0.0.1";
const NAMED: &str = "https://localhost";

/// Registers a server for each case, publishes to all at once, and compares what the attempts came to; each
/// has to end `within` that time.
fn try_all(tenant: &Tenant, within: Duration, cases: Vec<(&str, &str, Reaction, &str)>) {
    let jwk = Keys::generate().public_jwk;
    let cases: Vec<_> = cases
        .into_iter()
        .map(|(name, base, reaction, expected)| {
            let server = Server::start(reaction);
            let url = format!("{base}:{}/in", server.port);
            (name, server, tenant.register_url(&url, &jwk), expected)
        })
        .collect();
    tenant.publish("vs_1", json!({}));
    tenant.settle(SOON);
    for (name, server, endpoint, expected) in &cases {
        let attempts = tenant.attempts(endpoint);
        let [(came_to, took)] = &attempts[..] else { panic!("{name}: {attempts:?}") };
        assert_eq!(came_to, expected, "{name}");
        assert!(*took < within + SLACK, "{name}: {took:?}");
        assert_eq!(server.connections(), 1, "{name}");
    }
}

/// Most memory that a daemon ever held, in KiB.
fn peak_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn each_costs_one_attempt_in_bounded_time_and_memory() {
    let home = Home::new(&[
        ("HOOKSEAL_ATTEMPT_TIMEOUT", "2s"),
        ("HOOKSEAL_RETRY_SCHEDULE", "none"),
        ("HOOKSEAL_ENDPOINTS_PER_ORGANIZATION", "100"),
    ]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let elsewhere = Server::start(answer("HTTP/1.1 204 No Content\r\n\r\n"));
    let redirect = |status: &str| {
        let to = format!("http://127.0.0.1:{}/", elsewhere.port);
        answer(format!("HTTP/1.1 {status}\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"))
    };
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let part = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let compressed = |coding: &str, bomb: Vec<u8>| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
            bomb.len()
        );
        answer([head.as_bytes(), &bomb].concat())
    };
    let at_once = Duration::ZERO;
    let second = Duration::from_secs(1);
    // Warmed up, so that what is measured is the misbehaviour.
    let well = answer("HTTP/1.1 204 No Content\r\n\r\n");
    try_all(&tenant, ATTEMPT, vec![("well-behaved", LOOPBACK, well, "204")]);
    let before = peak_kib(&daemon);
    let other = daemon.tenant();
    #[rustfmt::skip] // the columns carry the meaning
    try_all(&other, ATTEMPT, vec![
        ("hangs before headers",   LOOPBACK, Box::new(|wire| swallow(wire)),                                        "timeout"),
        ("hangs in its head",      LOOPBACK, endless("HTTP/1.1 200 OK\r\nA: ", "", second),                         "timeout"),
        ("hangs in its body",      LOOPBACK, endless("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "", second),   "timeout"),
        ("drips its head",         LOOPBACK, endless("HTTP/1.1 200 OK\r\nA: ", "a", second),                        "timeout"),
        ("drips its body",         LOOPBACK, endless("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "a", second), "timeout"),
        ("drips chunks",           LOOPBACK, endless(chunked, "1\r\na\r\n", second),                                "timeout"),
        ("never ends",             LOOPBACK, endless(chunked, part.clone(), at_once),                               "200"),
        ("fails without end",      LOOPBACK, endless("HTTP/1.1 500 No\r\n\r\n", "a".repeat(4096), at_once),         "500"),
        ("a long answer",          LOOPBACK, endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "a".repeat(4096), at_once), "200"),
        ("gzip bomb",              LOOPBACK, compressed("gzip", bomb::gzip()),                                       "200"),
        ("deflate bomb",           LOOPBACK, compressed("deflate", bomb::deflate()),                                 "200"),
        ("bomb in a bomb",         LOOPBACK, compressed("gzip, gzip", bomb::gzip_in_gzip()),                        "200"),
        ("moved, 301",             LOOPBACK, redirect("301 Moved"),                                                 "301"),
        ("found, 302",             LOOPBACK, redirect("302 Found"),                                                 "302"),
        ("see other, 303",         LOOPBACK, redirect("303 See Other"),                                             "303"),
        ("temporary, 307",         LOOPBACK, redirect("307 Temporary"),                                             "307"),
        ("permanent, 308",         LOOPBACK, redirect("308 Permanent"),                                             "308"),
        ("asks for a password",    LOOPBACK, answer("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"), "401"),
        ("floods headers",         LOOPBACK, endless("HTTP/1.1 200 OK\r\n", "A: a\r\n".repeat(100), at_once),       "protocol"),
        ("a header without end",   LOOPBACK, endless("HTTP/1.1 200 OK\r\nA: ", "a".repeat(4096), at_once),          "protocol"),
        ("a reason without end",   LOOPBACK, endless("HTTP/1.1 200 ", "a".repeat(4096), at_once),                   "protocol"),
        ("garbage",                LOOPBACK, answer("\u{1}\u{2}\u{3}garbage\r\n\r\n"),                              "protocol"),
        ("another protocol",       LOOPBACK, greet(b"SSH-2.0-OpenSSH_9.2\r\n"),                                     "protocol"),
        ("an unknown version",     LOOPBACK, answer("HTTP/9.9 200 OK\r\n\r\n"),                                     "protocol"),
        ("two lengths",            LOOPBACK, answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\naa"), "protocol"),
        ("a length that is none",  LOOPBACK, answer("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),               "protocol"),
        ("a chunk that is none",   LOOPBACK, answer(format!("{chunked}xyz\r\n")),                                   "protocol"),
        ("a chunk that is longer",  LOOPBACK, answer(format!("{chunked}1\r\nabc\r\n0\r\n\r\n")),                    "protocol"),
        ("closes at once",         LOOPBACK, Box::new(|_| {}),                                                      "reset"),
        ("closes when asked",      LOOPBACK, answer(""),                                                            "reset"),
        ("closes in its head",     LOOPBACK, answer("HTTP/1.1 200 OK\r\nA: a\r\n"),                                 "reset"),
        ("closes in its body",     LOOPBACK, answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),             "200"),
    ]);
    let grown = peak_kib(&daemon) - before;
    assert!(grown < MEMORY_KIB, "{grown} KiB");
    assert_eq!(elsewhere.connections(), 0, "redirects are not followed");
}

/// The answer of a server that knows TLS 1.1 at most: it chooses that.
const TLS_1_1: &[u8] = b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02\
    0123456789abcdef0123456789abcdef\x00\xc0\x14\x00";
/// What one says that knows older versions only and minds: the alert `protocol_version`.
const VERSION_ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";
/// The alert `unrecognized_name`.
const NAME_ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x70";
/// A record of TLS with a message that does not belong here: `finished`.
const OUT_OF_ORDER: &[u8] = b"\x16\x03\x03\x00\x04\x14\x00\x00\x00";

#[test]
fn every_fault_of_tls_is_recorded_by_its_name() {
    let (authority, unknown) = (Authority::new(), Authority::new());
    let home = Home::new(&[
        ("HOOKSEAL_ATTEMPT_TIMEOUT", "15s"),
        ("HOOKSEAL_RETRY_SCHEDULE", "none"),
        ("HOOKSEAL_ENDPOINTS_PER_ORGANIZATION", "100"),
    ]);
    let home = home.and("HOOKSEAL_EXTRA_CA_FILE", |path| authority.file_in(path));
    let daemon = home.start();
    let tenant = daemon.tenant();
    let day = |year| rcgen::date_time_ymd(year, 1, 1);
    let ours = ["localhost"];
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let rsa_alone = CryptoProvider {
        cipher_suites: vec![TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256],
        ..ring::default_provider()
    };
    let taken = || answer("HTTP/1.1 204 No Content\r\n\r\n");
    let with = |config| over_tls(config, taken());
    // Where neither a length nor the end of TLS says so, the end of the connection ends the answer.
    let ending = over_tls_that_just_ends(
        authority.server(&ours, |_| {}),
        Box::new(|wire| {
            read_request(wire);
            let _ = wire.write_all(b"HTTP/1.0 204 No Content\r\n\r\n");
        }),
    );
    #[rustfmt::skip] // the columns carry the meaning
    try_all(&tenant, HANDSHAKE, vec![
        ("well-behaved",        NAMED, with(authority.server(&ours, |_| {})),                                 "204"),
        ("just ends",           NAMED, ending,                                                                "204"),
        ("expired",             NAMED, with(authority.server(&ours, |c| c.not_after = day(2020))),            "certificate_expired"),
        ("not yet valid",       NAMED, with(authority.server(&ours, |c| c.not_before = day(3000))),           "certificate_not_yet_valid"),
        ("of another host",     NAMED, with(authority.server(&["other.example"], |_| {})),                    "certificate_wrong_host"),
        ("of an address",       "https://127.0.0.1", with(authority.server(&ours, |_| {})),                   "certificate_wrong_host"),
        ("self-signed",         NAMED, with(self_signed("localhost", |_| {})),                                "certificate_self_signed"),
        ("its own authority",   NAMED, with(self_signed("localhost", |c| c.is_ca = ca)),                      "certificate_self_signed"),
        ("unknown issuer",      NAMED, with(unknown.server(&ours, |_| {})),                                   "certificate_untrusted"),
        ("TLS 1.1",             NAMED, greet(TLS_1_1),                                                        "tls_version"),
        ("TLS 1.1 by alert",    NAMED, greet(VERSION_ALERT),                                                  "tls_version"),
        ("no shared cipher",    NAMED, with(authority.server_with(&ours, |_| {}, rsa_alone)),                 "tls_cipher"),
        ("another alert",       NAMED, greet(NAME_ALERT),                                                     "tls_alert"),
        ("stalled",             NAMED, Box::new(|wire| swallow(wire)),                                        "tls_timeout"),
        ("plain HTTP",          NAMED, greet(b"HTTP/1.1 400 Bad Request\r\n\r\n"),                            "tls_not_spoken"),
        ("closed at once",      NAMED, Box::new(|_| {}),                                                      "tls_closed"),
        ("closed after a byte", NAMED, Box::new(|wire| drop(wire.read(&mut [0]))),                            "tls_closed"),
        ("out of order",        NAMED, greet(OUT_OF_ORDER),                                                   "tls"),
    ]);
}

#[test]
fn a_connection_is_kept_and_one_that_was_idle_is_not() {
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "none")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let requests = Arc::new(AtomicUsize::new(0));
    let read = requests.clone();
    let server = Server::start(Box::new(move |wire| {
        while read_request(wire) {
            read.fetch_add(1, Ordering::Relaxed);
            let _ = wire.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        }
    }));
    let url = format!("{LOOPBACK}:{}/in", server.port);
    tenant.register_url(&url, &Keys::generate().public_jwk);
    let publish = |session: &str| {
        tenant.publish(session, json!({}));
        tenant.settle(SOON);
    };
    // As often as it takes for two to follow each other within the time on a busy machine.
    wait(SOON, "a connection that is used twice", || {
        publish(&format!("vs_{}", requests.load(Ordering::Relaxed)));
        server.connections() < requests.load(Ordering::Relaxed)
    });
    let before = server.connections();
    std::thread::sleep(Duration::from_millis(4500));
    publish("vs_idle");
    assert_eq!(server.connections(), before + 1);
}
