//! No plaintext at rest: what was published, and every secret and key, is looked for in all that the
//! daemon left behind.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hookseal::crypto::vault::{KeySource, KeyWrap as _, MasterWrap};
use hookseal::demo::receiver::{Behaviour, Receiver};
use hookseal::store::{Connections, load_data_keys};
use josekit::jwk::alg::rsa::RsaKeyPair;
use josekit::jwk::{Jwk, KeyPair as _};
use sea_orm::{ConnectionTrait as _, Database};
use serde_json::{Value, json};

use crate::contract::tokens;
use crate::fleet::postgres::Postgres;
use crate::support::daemon::{Caller, Daemon, Home, PLATFORM_KEY, Tenant, ended};
use crate::support::leavings::{self, CANARY, SECRETS};
use crate::support::redis::{PASSWORD, Redis};
use crate::support::rekeying::write_key;
use crate::support::socket::{Socket, events};

const PRIVATE_MEMBERS: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];

/// The forms that bytes may stand in somewhere: as they are, in hex, and in base64 behind other bytes.
fn forms(needle: &[u8]) -> Vec<Vec<u8>> {
    // Enough to know it by.
    let needle = &needle[..needle.len().min(24)];
    let hex: String = needle.iter().map(|byte| format!("{byte:02x}")).collect();
    // A line is searched at a time.
    let whole = needle.split(|&byte| byte == b'\n').max_by_key(|line| line.len()).unwrap();
    let mut forms = vec![whole.to_vec(), hex.into_bytes()];
    for before in 0..3 {
        let moved = [&b"---"[..before], needle].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            // The ends of a base64 text depend on what stands beside it.
            let encoded = engine.encode(&moved);
            forms.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
        }
    }
    forms
}

/// What an operator of a server puts beside it, by name, and what the tests keep for the search.
const NOT_LEFT_BEHIND: [&str; 5] =
    ["master.key", "master.key.new", "redis-key.pem", "sentinel.conf", SECRETS];

/// Every file under `path` that holds one of `needles`, in whatever form.
fn holding(path: &Path, needles: &[Vec<u8>]) -> Vec<String> {
    searched(path, &["-F", "-l"], &patterns(needles))
}

/// Every form of `needles`, each a line.
fn patterns(needles: &[Vec<u8>]) -> Vec<u8> {
    let forms: Vec<_> = needles.iter().flat_map(|needle| forms(needle)).collect();
    forms.join(&b'\n')
}

/// What `grep` finds under `path`, asked for `patterns` in the way of `options`.
fn searched(path: &Path, options: &[&str], patterns: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), patterns).unwrap();
    let mut search = Command::new("grep");
    search.env("LC_ALL", "C").args(["-r", "-a", "-s"]).args(options);
    search.args(NOT_LEFT_BEHIND.map(|name| format!("--exclude={name}")));
    let ended = ended(search.arg("-f").arg(file.path()).arg(path));
    assert_eq!(ended.stderr, "", "grep searched");
    ended.stdout.lines().map(str::to_owned).collect()
}

/// Secrets that what was left behind is searched for.
#[derive(Default)]
struct Needles(Vec<Vec<u8>>);

impl Needles {
    fn add(&mut self, secret: &str) {
        self.0.push(secret.as_bytes().to_vec());
    }

    /// A secret that is base64url of bytes, either of which tells it.
    fn add_bytes(&mut self, secret: &str) {
        self.0.push(URL_SAFE_NO_PAD.decode(secret).unwrap());
    }

    fn are_nowhere_in(&self, path: &Path, when: &str) {
        assert_eq!(holding(path, &self.0), Vec::<String>::new(), "{when}");
    }
}

/// Does what secrets and payloads go through: they are registered, published, shown, replaced and refused.
fn use_everything(daemon: &Daemon, tenant: &Tenant, needles: &mut Needles) {
    let (caller, platform) = (&tenant.caller, daemon.platform());
    for secret in [CANARY, PLATFORM_KEY, &caller.key] {
        needles.add(secret);
    }
    for behaviour in [Behaviour::Accept, Behaviour::Answer(500)] {
        let receiver = Receiver::start(behaviour);
        let made = caller.post("/v1/webhooks/endpoints", json!({ "url": receiver.url })).ok();
        let id = made["endpoint"]["id"].as_str().unwrap().to_owned();
        needles.add(made["signing_secret"].as_str().unwrap());
        refuse_private_key(tenant, &id, &receiver.private_jwk, needles);
        let path = format!("/v1/webhooks/endpoints/{id}");
        let key = json!({
            "key_id": "k", "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": receiver.public_jwk,
        });
        caller.post(&format!("{path}/keys"), key).ok();
        tenant.publish(&format!("vs_{id}"), json!({ "note": CANARY, "claims": { CANARY: true } }));
        let rotated = caller.post(&format!("{path}/signing-secret/rotate"), json!({})).ok();
        needles.add(rotated["signing_secret"].as_str().unwrap());
        caller.post(&format!("{path}/signing-secret/reveal"), json!({})).ok();
    }
    let broken = format!("{{\"data\": {{\"note\": \"{CANARY}\", }}");
    let headers = [("content-type", "application/json")];
    let refused = platform.send("POST", "/v1/platform/events", &headers, &broken);
    assert!(!refused.text.contains(CANARY));
    let mistyped = json!({ "organization_id": { "note": CANARY }, "type": CANARY });
    assert!(!platform.post("/v1/platform/events", mistyped).text.contains(CANARY));
    std::thread::sleep(Duration::from_millis(500));
}

/// A private key sent by mistake is refused at both doors, and must not be kept, logged or echoed either: as what
/// is asked for, as text, and where something else is asked for.
fn refuse_private_key(tenant: &Tenant, endpoint: &str, private: &Value, needles: &mut Needles) {
    let caller = &tenant.caller;
    let key = json!({
        "key_id": "k", "algorithm": "RSA-OAEP-256", "key_type": "RSA", "jwk": private,
    });
    let path = format!("/v1/webhooks/endpoints/{endpoint}/keys");
    let by_rest = caller.post(&path, key.clone());
    assert_eq!((by_rest.status, by_rest.code().as_str()), (400, "BAD_REQUEST"));
    // At the wrong place, too: where another object is expected, and in a body that is none.
    let elsewhere = caller.post("/v1/webhooks/endpoints", json!({ "url": private }));
    let headers = [("content-type", "application/json")];
    let torn = caller.send("POST", &path, &headers, &key.to_string().replace("}}", "}"));
    let mut answers = vec![by_rest.text, elsewhere.text, torn.text];

    let pem = pem(private);
    for given in [private.clone(), json!(private.to_string()), json!(pem)] {
        answers.extend(refused_by_graphql(caller, endpoint, &given));
    }
    let lines = pem.lines().filter(|line| line.len() == 64).map(str::to_owned);
    let members = PRIVATE_MEMBERS.map(|member| private[member].as_str().unwrap().to_owned());
    for secret in members.iter().cloned().chain(lines.clone()) {
        for answer in &answers {
            assert!(!answer.contains(&secret), "{answer}");
        }
    }
    for member in &members {
        needles.add(member);
        needles.add_bytes(member);
    }
    // What it begins with is public.
    lines.skip(8).step_by(4).for_each(|line| needles.add(&line));
}

/// The same key as people have it in files.
fn pem(private: &Value) -> String {
    let jwk = Jwk::from_map(private.as_object().unwrap().clone()).unwrap();
    let pair = RsaKeyPair::from_jwk(&jwk).unwrap();
    String::from_utf8(pair.to_pem_private_key()).unwrap()
}

/// What GraphQL answers to `given` for a key, in a variable and within the document, over every transport.
fn refused_by_graphql(caller: &Caller, endpoint: &str, given: &Value) -> Vec<String> {
    let document = |declared: &str, jwk: &str| {
        format!(
            "mutation{declared} {{ createEncryptionKey(endpointId: \"{endpoint}\", input: {{ keyId: \"k\", \
             algorithm: \"RSA-OAEP-256\", keyType: \"RSA\", jwk: {jwk} }}) \
             {{ result {{ id }} userErrors {{ code message }} }} }}"
        )
    };
    let (by_variable, within) = (document("($jwk: JSON!)", "$jwk"), document("", &literal(given)));
    let variables = json!({ "jwk": given });
    let mut answers = Vec::new();
    for (document, variables) in [(&by_variable, &variables), (&within, &json!({}))] {
        let body = json!({ "query": document, "variables": variables });
        answers.push(caller.post("/graphql", body).text);
        let socket = Socket::of(caller);
        socket.subscribe("k", document, variables.clone());
        answers.push(socket.hear().to_string());
    }
    let events = events(caller, &within);
    answers.push(events.recv_timeout(Duration::from_secs(20)).unwrap().1.to_string());
    for answer in &answers {
        assert!(answer.contains("BAD_REQUEST"), "{answer}");
    }
    answers
}

/// A value as a document spells it.
fn literal(value: &Value) -> String {
    let Value::Object(members) = value else { return value.to_string() };
    let members = members.iter().map(|(name, value)| format!("{name}: {value}"));
    format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
}

#[test]
fn payloads_secrets_and_keys_are_nowhere_in_the_clear() {
    let home = Home::new(&[("HOOKSEAL_LOG", "trace"), ("HOOKSEAL_RETRY_SCHEDULE", "10ms,1h")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let mut needles = Needles::default();
    use_everything(&daemon, &tenant, &mut needles);
    needles.are_nowhere_in(home.path(), "while running");
    assert!(daemon.terminate().success());
    needles.are_nowhere_in(home.path(), "after the stop");
    // The search finds what is there, in whatever form: the organization's id is no secret.
    for text in [tenant.organization.clone(), STANDARD_NO_PAD.encode(&tenant.organization)] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), format!("before{text}after")).unwrap();
        let needle = [tenant.organization.clone().into_bytes()];
        assert_eq!(holding(directory.path(), &needle).len(), 1, "{text}");
    }
    assert!(!holding(home.path(), &[tenant.organization.into_bytes()]).is_empty());
}

#[test]
fn a_daemon_leaves_no_core() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(words[4..], ["0", "0", "bytes"], "{core}");
}

/// A master key, and the file that holds it.
fn master_key(directory: &Path, name: &str, needles: &mut Needles) -> String {
    let text = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    needles.add(&text);
    needles.add_bytes(&text);
    let path = directory.join(name);
    write_key(&path, &text);
    path.to_str().unwrap().to_owned()
}

/// The data keys of a database as they are in memory.
async fn data_keys(url: &str, directory: &Path, master: &str) -> Vec<Vec<u8>> {
    let connections = Connections::connect(Some(url), directory).await.unwrap();
    let wrap = MasterWrap::open(KeySource::file("key", master)).await.unwrap();
    let mut keys = Vec::new();
    for stored in load_data_keys(&connections).await.unwrap() {
        let context = format!("data_keys/{}/{}", stored.id, stored.purpose);
        keys.push(wrap.unwrap(&stored.wrapped, &context).await.unwrap().to_vec());
    }
    connections.close().await;
    keys
}

/// Everything that a Redis holds.
fn redis_contents(redis: &Redis) -> Vec<u8> {
    let mut contents = Vec::new();
    for key in redis.ask::<Vec<String>>(&["KEYS", "*"]) {
        let kind: String = redis.ask(&["TYPE", &key]);
        let value: ::redis::Value = match kind.as_str() {
            "string" => redis.ask(&["GET", &key]),
            "hash" => redis.ask(&["HGETALL", &key]),
            "set" => redis.ask(&["SMEMBERS", &key]),
            "list" => redis.ask(&["LRANGE", &key, "0", "-1"]),
            "zset" => redis.ask(&["ZRANGE", &key, "0", "-1"]),
            "stream" => redis.ask(&["XRANGE", &key, "-", "+"]),
            other => panic!("{key} is a {other}"),
        };
        contents.extend_from_slice(key.as_bytes());
        write_out(&value, &mut contents);
    }
    contents
}

fn write_out(value: &::redis::Value, contents: &mut Vec<u8>) {
    contents.push(b'\n');
    match value {
        ::redis::Value::BulkString(bytes) => contents.extend_from_slice(bytes),
        ::redis::Value::SimpleString(text) => contents.extend_from_slice(text.as_bytes()),
        ::redis::Value::Array(values) | ::redis::Value::Set(values) => {
            values.iter().for_each(|value| write_out(value, contents));
        }
        ::redis::Value::Map(pairs) => pairs.iter().for_each(|(name, value)| {
            write_out(name, contents);
            write_out(value, contents);
        }),
        other => contents.extend_from_slice(format!("{other:?}").as_bytes()),
    }
}

#[test]
fn dumps_and_files_of_postgres_and_redis_show_nothing() {
    let (server, redis, keys) = (Postgres::start(), Redis::start(), tempfile::tempdir().unwrap());
    let mut needles = Needles::default();
    let [first, second] =
        ["first", "second"].map(|name| master_key(keys.path(), name, &mut needles));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let admin = Database::connect(Postgres::url(server.port, "postgres")).await.unwrap();
        admin.execute_unprepared("CREATE DATABASE leaks").await.unwrap();
    });
    let (url, redis_url) = (Postgres::url(server.port, "leaks"), redis.url());
    let home = Home::new(&[
        ("HOOKSEAL_LOG", "trace"),
        ("HOOKSEAL_RETRY_SCHEDULE", "10ms,1h"),
        ("HOOKSEAL_DATABASE_URL", &url),
        ("HOOKSEAL_REDIS_URL", &redis_url),
        ("HOOKSEAL_MASTER_KEY_FILE", &first),
    ]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    use_everything(&daemon, &tenant, &mut needles);
    let open = |master: &str| runtime.block_on(data_keys(&url, keys.path(), master));
    needles.0.extend(open(&first));
    for arguments in [&["--new-key-file", &second][..], &["--data"]] {
        let rekeyed = ended(home.command().arg("rekey").args(arguments));
        assert!(rekeyed.success, "{}", rekeyed.stderr);
        std::fs::write(home.path().join(format!("rekey{}", arguments.len())), rekeyed.stderr)
            .unwrap();
        std::fs::copy(&second, &first).unwrap();
    }
    needles.0.extend(open(&second));
    tenant.publish("vs_after", json!({ "note": CANARY }));
    let contents = redis_contents(&redis);
    std::fs::write(home.path().join("redis"), &contents).unwrap();
    let dump = home.path().join("dump.sql");
    let dumped = ended(Command::new("pg_dump").arg("-f").arg(&dump).arg(&url));
    assert!(dumped.success, "{}", dumped.stderr);
    assert!(daemon.terminate().success());
    server.stop("fast");
    needles.are_nowhere_in(home.path(), "logs and dumps");
    needles.are_nowhere_in(server.path(), "files and the write-ahead log of PostgreSQL");
    let organization = [tenant.organization.into_bytes()];
    for file in ["redis", "dump.sql"] {
        assert_eq!(holding(&home.path().join(file), &organization).len(), 1, "{file} was searched");
    }
    let log = std::fs::read_to_string(home.path().join("stderr.log")).unwrap();
    assert!(log.contains("listening"), "{log}");
    let searched = holding(server.path(), &organization);
    assert!(searched.iter().any(|file| file.contains("pg_wal")), "{searched:?}");
}

/// How secrets look that no test was shown.
#[rustfmt::skip] // a line a case
const SHAPES: [(&str, &str); 4] = [
    ("what looks like a signing secret",     "whsec_[0-9A-Za-z]{32}"),
    // Less would stand in many a ciphertext.
    ("what looks like an API key",           "(^|[^0-9A-Za-z_-])kk_[0-9A-Za-z]{32}([^0-9A-Za-z_-]|$)"),
    ("what looks like a private JWK",        r#"\\?"(d|p|q|dp|dq|qi|k)\\?" ?: ?\\?"[0-9A-Za-z_-]{20}"#),
    ("what looks like a private key in PEM", "PRIVATE KEY-----"),
];

#[test]
#[ignore = "tests/run.sh runs it when all else has ended"]
fn the_whole_suite_left_no_secret_behind() {
    let left = leavings::kept().expect("TEST_LEAVINGS is set by tests/run.sh");
    let shown = std::fs::read_to_string(left.join(SECRETS)).unwrap_or_default();
    let shown: BTreeSet<&str> = shown.lines().collect();
    println!("{} secrets were shown to tests", shown.len());
    let bytes = |secret: &str| secret.as_bytes().to_vec();
    let shown: Vec<_> = shown.into_iter().map(bytes).collect();
    let known = [
        ("a payload", CANARY),
        ("the platform key", PLATFORM_KEY),
        ("the password of Redis", PASSWORD),
        ("the secret of sessions", tokens::SECRET),
    ];
    // What was found tells where it came from; the first line of each file will do.
    let places = |kind, patterns: &[u8]| searched(&left, &[kind, "-o", "-m", "1"], patterns);
    let known = known.map(|(what, secret)| (what, places("-F", &patterns(&[bytes(secret)]))));
    let shapes = SHAPES.map(|(what, shape)| (what, places("-E", shape.as_bytes())));
    let shown = [("a secret that a test was shown", places("-F", &patterns(&shown)))];
    let found = known.into_iter().chain(shapes).chain(shown);
    let found: Vec<_> = found.filter(|(_, places)| !places.is_empty()).collect();
    assert!(found.is_empty(), "left behind: {found:#?}");
}
