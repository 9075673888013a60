//! TLS that the daemon ends itself: which versions and protocols it speaks, and with which certificate.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::support::certificates::self_signed_files;
use crate::support::daemon::{Daemon, Ended, Home, PLATFORM_KEY, ended, wait};
use crate::support::socket::Socket;
use crate::support::wire::{Wire, authority};

/// How long the daemon may take to see that a file has changed, on whatever machine.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// Files of a certificate where a daemon looks for them.
struct Site {
    files: tempfile::TempDir,
    home: Home,
}

impl Site {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let [certificate, key] = ["chain.pem", "key.pem"].map(|name| files.path().join(name));
        let home = Home::new(&[
            ("HOOKSEAL_TLS_CERT_FILE", certificate.to_str().unwrap()),
            ("HOOKSEAL_TLS_KEY_FILE", key.to_str().unwrap()),
        ]);
        let site = Self { files, home };
        site.put(&site.make("first"));
        site
    }

    fn make(&self, name: &str) -> (PathBuf, PathBuf) {
        self_signed_files(self.files.path(), name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Puts this certificate and key where the daemon looks.
    fn put(&self, (certificate, key): &(PathBuf, PathBuf)) {
        std::fs::copy(certificate, self.path("chain.pem")).unwrap();
        std::fs::copy(key, self.path("key.pem")).unwrap();
        self.allow(0o600);
    }

    /// Who may read the key.
    fn allow(&self, mode: u32) {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path("key.pem"), permissions).unwrap();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("stderr.log")).unwrap()
    }

    /// How a start ends that must not come to anything.
    fn refused(&self) -> Ended {
        let ended = ended(self.home.command().env("HOOKSEAL_PLATFORM_KEY", PLATFORM_KEY));
        assert!(!ended.success, "{}", ended.stdout);
        ended
    }
}

/// A client that trusts this certificate alone.
fn trusting(certificate: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// What a request is answered with, or why there was none.
fn ask(daemon: &Daemon, certificate: &Path) -> std::io::Result<String> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(trusting(certificate), name).unwrap();
    let mut stream =
        StreamOwned::new(connection, TcpStream::connect(authority(&daemon.url)).unwrap());
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// What `openssl s_client` tells of a handshake.
fn handshake(daemon: &Daemon, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", authority(&daemon.url)])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn only_tls_1_2_and_later_and_only_http_1_1() {
    let site = Site::new();
    let daemon = site.home.start();
    assert!(daemon.url.starts_with("https://"));
    let text = ask(&daemon, &site.path("chain.pem")).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("ok\n"), "{text}");
    let header = "strict-transport-security: max-age=31536000; includeSubDomains";
    assert!(text.contains(header), "{text}");

    // Old versions are off in openssl, too, unless it is told to think nothing of security.
    let weak = ["-cipher", "ALL:@SECLEVEL=0"];
    #[rustfmt::skip] // a line a case
    let cases: [(&[&str], bool, &str); 7] = [
        (&["-tls1_3"],                                  true,  "TLSv1.3"),
        (&["-tls1_2"],                                  true,  "TLSv1.2"),
        (&["-tls1_1", weak[0], weak[1]],                false, ""),
        (&["-tls1", weak[0], weak[1]],                  false, ""),
        (&["-alpn", "http/1.1"],                        true,  "ALPN protocol: http/1.1"),
        (&["-alpn", "h2,http/1.1"],                     true,  "ALPN protocol: http/1.1"),
        (&["-alpn", "h2"],                              false, "no application protocol"),
    ];
    for (arguments, made, told) in cases {
        let (success, text) = handshake(&daemon, arguments);
        assert!(success == made && text.contains(told), "{arguments:?}: {text}");
    }

    let mut plain = Wire::open(&daemon.url);
    plain.say(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    let heard = plain.hear();
    assert!(heard.closed && heard.statuses().is_empty(), "{heard:?}");
    let silent = Wire::open(&daemon.url).hear();
    assert!(silent.closed, "a handshake that does not begin is ended");
}

#[test]
fn sockets_run_over_tls() {
    let site = Site::new();
    let daemon = site.home.start();
    let tls = trusting(&site.path("chain.pem"));
    let client =
        move || awc::Client::builder().connector(awc::Connector::new().rustls_0_23(tls)).finish();
    let bearer = format!("Bearer {PLATFORM_KEY}");
    let headers = [("authorization", bearer.as_str())];
    let socket = Socket::open_by(client, &daemon.url, "graphql-transport-ws", &headers).unwrap();
    socket.say(json!({ "type": "connection_init" }));
    assert_eq!(socket.hear(), json!({ "type": "connection_ack" }));
    let make = "mutation { createOrganization(name: \"a\") { __typename } }";
    socket.subscribe("make", make, json!(null));
    let answer = socket.hear();
    assert_eq!((&answer["id"], &answer["type"]), (&json!("make"), &json!("next")), "{answer}");
}

#[test]
fn a_certificate_is_replaced_while_it_runs_and_a_bad_one_is_not_taken() {
    let site = Site::new();
    let daemon = site.home.start();
    let [first, second] = ["first", "second"].map(|name| site.make(name));
    site.put(&second);
    wait(SEEN_WITHIN, "the second certificate", || ask(&daemon, &second.0).is_ok());
    assert!(ask(&daemon, &first.0).is_err());

    // The key of another certificate: what was there stays.
    site.put(&(first.0.clone(), second.1.clone()));
    wait(SEEN_WITHIN, "a line of the log", || site.log().contains("stays as it was"));
    assert!(site.log().contains("tls_key_file"), "{}", site.log());
    ask(&daemon, &second.0).unwrap();
    // The rest of a change that was seen half done.
    site.put(&first);
    wait(SEEN_WITHIN, "the first certificate", || ask(&daemon, &first.0).is_ok());
}

#[test]
fn a_certificate_that_is_not_fit_keeps_it_from_starting_and_names_the_setting() {
    let site = Site::new();
    let [own, other] = ["own", "other"].map(|name| site.make(name));
    let spoil = |name: &str| std::fs::write(site.path(name), "no PEM").unwrap();
    type Change<'a> = Box<dyn Fn() + 'a>;
    let cases: [(&str, &str, Change<'_>); 6] = [
        (
            "another's key",
            "tls_key_file",
            Box::new(|| {
                std::fs::copy(&other.1, site.path("key.pem")).unwrap();
            }),
        ),
        ("a key that anybody may read", "tls_key_file", Box::new(|| site.allow(0o604))),
        ("no PEM for a key", "tls_key_file", Box::new(|| spoil("key.pem"))),
        ("no PEM for a certificate", "tls_cert_file", Box::new(|| spoil("chain.pem"))),
        (
            "no key",
            "tls_key_file",
            Box::new(|| std::fs::remove_file(site.path("key.pem")).unwrap()),
        ),
        (
            "no certificate",
            "tls_cert_file",
            Box::new(|| {
                std::fs::remove_file(site.path("chain.pem")).unwrap();
            }),
        ),
    ];
    for (name, setting, change) in cases {
        site.put(&own);
        change();
        let told = site.refused().stderr;
        assert!(told.contains(setting), "{name}: {told}");
    }
}
