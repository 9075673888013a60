//! Nobody gets in: whatever stands in a URL, a row or a name's records, no connection is made to an address
//! that is not public or was not opened. In a network where every address answers, whoever is called is seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookseal::courier::{Address, Courier, Resolver, tls_config_with};
use hookseal::demo::receiver::Keys;
use hookseal_core::event::Event;
use hookseal_core::outcome::{ErrorKind, Outcome};
use hookseal_core::ports::Secret;
use hookseal_core::target::{Network, TargetRules};
use hookseal_entity::endpoint;
use rustls::ServerConfig;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, TransactionTrait};
use serde_json::{Value, json};

use crate::support::certificates::Authority;
use crate::support::daemon::{Caller, Home, Tenant, ended, wait};
use crate::support::names::{NameServer, Said, Zone};
use crate::support::namespace::{alone, sent};
use crate::support::rows::{T0, delivery, minter};
use crate::support::socket::Socket;
use crate::support::tcp_server::{Reaction, Server, answer, over_tls, read_request};

const SOON: Duration = Duration::from_secs(30);
/// Longest that a name may be waited for, and room for a busy machine.
const NAMED_WITHIN: Duration = Duration::from_secs(7);
/// What URLs and attackers may want to reach.
const PORTS: [u16; 10] = [22, 80, 443, 2375, 5432, 6379, 8443, 8787, 11211, 65535];
/// Where names of this test lie.
const ZONE: &str = "names.example";

/// Names, what is said of them in turn, and what attempts come to in turn.
#[rustfmt::skip] // the columns carry the meaning
const NAMES: &[(&str, &[&str], &[&str])] = &[
    ("public",             &["93.184.216.34"],                             &["204"]),
    ("public-6",           &["2606:4700::1111"],                           &["204"]),
    ("public-mapped",      &["::ffff:93.184.216.34"],                      &["204"]),
    ("public-translated",  &["64:ff9b::93.184.216.34"],                    &["204"]),
    ("public-twice",       &["93.184.216.34 1.1.1.1 2606:4700::1111"],     &["204"]),
    ("public-alias",       &["=public.names.example"],                     &["204"]),
    ("loopback",           &["127.0.0.1"],                                 &["target_blocked"]),
    ("loopback-other",     &["127.8.8.8"],                                 &["target_blocked"]),
    ("loopback-6",         &["::1"],                                       &["target_blocked"]),
    ("unspecified",        &["0.0.0.0"],                                   &["target_blocked"]),
    ("unspecified-6",      &["::"],                                        &["target_blocked"]),
    ("metadata",           &["169.254.169.254"],                           &["target_blocked"]),
    ("metadata-6",         &["fd00:ec2::254"],                             &["target_blocked"]),
    ("private-10",         &["10.0.0.5"],                                  &["target_blocked"]),
    ("private-172",        &["172.31.255.255"],                            &["target_blocked"]),
    ("private-192",        &["192.168.1.1"],                               &["target_blocked"]),
    ("shared",             &["100.64.0.1"],                                &["target_blocked"]),
    ("protocol",           &["192.0.0.192"],                               &["target_blocked"]),
    ("benchmark",          &["198.19.0.1"],                                &["target_blocked"]),
    ("documentation",      &["203.0.113.9"],                               &["target_blocked"]),
    ("multicast",          &["224.0.0.1"],                                 &["target_blocked"]),
    ("reserved",           &["240.0.0.1"],                                 &["target_blocked"]),
    ("broadcast",          &["255.255.255.255"],                           &["target_blocked"]),
    ("link-local-6",       &["fe80::1"],                                   &["target_blocked"]),
    ("site-local-6",       &["fec0::1"],                                   &["target_blocked"]),
    ("multicast-6",        &["ff02::1"],                                   &["target_blocked"]),
    ("documentation-6",    &["2001:db8::1"],                               &["target_blocked"]),
    ("mapped-loopback",    &["::ffff:127.0.0.1"],                          &["target_blocked"]),
    ("mapped-metadata",    &["::ffff:169.254.169.254"],                    &["target_blocked"]),
    ("mapped-private",     &["::ffff:10.0.0.1"],                           &["target_blocked"]),
    ("compatible",         &["::127.0.0.1"],                               &["target_blocked"]),
    ("translated",         &["64:ff9b::10.0.0.1"],                         &["target_blocked"]),
    ("translated-local",   &["64:ff9b:1::10.0.0.1"],                       &["target_blocked"]),
    ("6to4",               &["2002:7f00:1::1"],                            &["target_blocked"]),
    ("teredo",             &["2001:0:a00:1::1"],                           &["target_blocked"]),
    ("isatap",             &["2606:4700::5efe:10.0.0.1"],                  &["target_blocked"]),
    ("mixed",              &["93.184.216.34 10.0.0.1"],                    &["target_blocked"]),
    ("mixed-before",       &["10.0.0.1 93.184.216.34"],                    &["target_blocked"]),
    ("mixed-kinds",        &["93.184.216.34 ::1"],                         &["target_blocked"]),
    ("mixed-mapped",       &["93.184.216.34 ::ffff:169.254.169.254"],      &["target_blocked"]),
    ("mixed-late",         &["1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5 1.0.0.6 127.0.0.1"], &["target_blocked"]),
    ("alias",              &["=metadata.google.internal 169.254.169.254"], &["target_blocked"]),
    ("alias-asked",        &["=private-10.names.example"],                 &["target_blocked"]),
    ("alias-localhost",    &["=localhost"],                                &["target_blocked"]),
    ("alias-circle",       &["=alias-circle.names.example"],               &["dns"]),
    ("rebinding",          &["93.184.216.34", "127.0.0.1"],                &["204", "target_blocked"]),
    ("rebinding-kinds",    &["93.184.216.34", "::1"],                      &["204", "target_blocked"]),
    ("rebinding-mixed",    &["1.1.1.1", "1.1.1.1 169.254.169.254"],        &["204", "target_blocked"]),
    ("rebinding-alias",    &["1.1.1.1", "=localhost"],                     &["204", "target_blocked"]),
    ("rebinding-away",     &["1.1.1.1", "nxdomain"],                       &["204", "dns"]),
    ("none",               &[""],                                          &["dns"]),
    ("nxdomain",           &["nxdomain"],                                  &["dns"]),
    ("servfail",           &["servfail"],                                  &["dns"]),
    ("garbage",            &["garbage"],                                   &["dns"]),
    ("silence",            &["silence"],                                   &["dns"]),
];

/// Every host there is. Whoever is connected to is written down; a public one is a receiver that takes everything.
struct World {
    called: Arc<Mutex<BTreeSet<IpAddr>>>,
}

impl World {
    fn listen(receiver: Arc<ServerConfig>, opened: &'static [&'static str]) -> Self {
        let called = Arc::new(Mutex::new(BTreeSet::new()));
        // The connection is closed after each answer, so that the next attempt makes another.
        let closing = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        let receive = Arc::new(over_tls(receiver, answer(closing)));
        for port in PORTS {
            let listener = TcpListener::bind(("::", port)).unwrap();
            let (called, receive) = (called.clone(), receive.clone());
            std::thread::spawn(move || {
                for mut stream in listener.incoming().map(Result::unwrap) {
                    let address = stream.local_addr().unwrap().ip().to_canonical();
                    called.lock().unwrap().insert(address);
                    let receive = receive.clone();
                    if opened.contains(&&*address.to_string()) {
                        std::thread::spawn(move || receive(&mut stream));
                    }
                }
            });
        }
        Self { called }
    }

    /// Who was connected to.
    fn called(&self) -> Vec<String> {
        self.called.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

fn zone<'a>(names: impl IntoIterator<Item = (&'a str, &'a [&'a str])>) -> Zone {
    let read = |said: &[&str]| said.iter().map(|words| Said::read(words)).collect();
    names.into_iter().map(|(name, said)| (name.to_owned(), read(said))).collect()
}

/// Puts URLs into the rows of endpoints, past every rule.
fn write_urls(home: &Home, urls: &[(String, String)]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let file = home.data_dir().join("hookseal.sqlite3");
    runtime.block_on(async {
        let db = sea_orm::Database::connect(format!("sqlite:{}", file.display())).await.unwrap();
        let transaction = db.begin().await.unwrap();
        for (id, url) in urls {
            let change = endpoint::Entity::update_many()
                .col_expr(endpoint::Column::Url, sea_orm::sea_query::Expr::value(url.as_str()))
                .filter(endpoint::Column::Id.eq(id.as_str()));
            assert_eq!(change.exec(&transaction).await.unwrap().rows_affected, 1);
        }
        transaction.commit().await.unwrap();
        db.close().await.unwrap();
    });
}

/// What the last attempt to each endpoint came to, by endpoint.
fn ends(tenant: &Tenant) -> HashMap<String, String> {
    let deliveries = tenant.deliveries("");
    let end = |delivery: &Value| {
        let id = delivery["id"].as_str().unwrap();
        let attempts = tenant.caller.get(&format!("/v1/webhooks/deliveries/{id}/attempts")).ok();
        assert_eq!(attempts.as_array().unwrap().len(), 1, "blocked ones count, too");
        assert_eq!(attempts[0]["status_code"], Value::Null);
        let kind = attempts[0]["error_kind"].as_str().unwrap().to_owned();
        (delivery["webhook_endpoint_id"].as_str().unwrap().to_owned(), kind)
    };
    deliveries.iter().map(end).collect()
}

#[test]
fn names_are_judged_by_their_addresses_at_each_connection() {
    alone("targets::names_are_judged_by_their_addresses_at_each_connection", || {
        let authority = Authority::new();
        let opened = &["93.184.216.34", "1.1.1.1", "2606:4700::1111", "64:ff9b::5db8:d822"];
        let world = World::listen(authority.server(&["*.names.example"], |_| {}), opened);
        let full: Vec<_> = NAMES.iter().map(|(name, ..)| format!("{name}.{ZONE}")).collect();
        let zone =
            zone(full.iter().map(|name| &**name).zip(NAMES.iter().map(|(_, said, _)| *said)));
        let names = NameServer::start(zone);
        let home = Home::new(&[
            ("HOOKSEAL_DEV", "0"),
            ("HOOKSEAL_DNS_SERVERS", &names.address.to_string()),
            ("HOOKSEAL_RETRY_SCHEDULE", "none"),
            ("HOOKSEAL_ENDPOINTS_PER_ORGANIZATION", "1000"),
        ]);
        let home = home.and("HOOKSEAL_EXTRA_CA_FILE", |path| authority.file_in(path));
        let daemon = home.start();
        let tenant = daemon.tenant();
        let jwk = Keys::generate().public_jwk;
        let endpoints: Vec<_> = full
            .iter()
            .map(|name| tenant.register_url(&format!("https://{name}/in"), &jwk))
            .collect();
        let rounds = NAMES.iter().map(|(_, _, ends)| ends.len()).max().unwrap();
        for round in 0..rounds {
            let due = endpoints.iter().zip(NAMES).filter(|(_, (_, _, ends))| ends.len() > round);
            let due: Vec<_> = due.map(|(endpoint, _)| endpoint).collect();
            for named in due.chunks(25) {
                let mut event = tenant.event(&format!("vs_{round}_{}", named[0]), json!({}));
                event["webhook_endpoint_ids"] = json!(named);
                tenant.platform.post("/v1/platform/events", event).ok();
            }
            tenant.settle(SOON);
        }
        for (endpoint, (name, said, ends)) in endpoints.iter().zip(NAMES) {
            let attempts = tenant.attempts(endpoint);
            let came_to: Vec<_> = attempts.iter().map(|(came_to, _)| &**came_to).collect();
            assert_eq!(came_to, *ends, "{name}: {said:?}");
            assert!(attempts.iter().all(|(_, took)| *took < NAMED_WITHIN), "{name}: {attempts:?}");
        }
        let expected: BTreeSet<IpAddr> =
            opened.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(*world.called.lock().unwrap(), expected);
    });
}

#[test]
fn no_url_reaches_what_is_not_public() {
    alone("targets::no_url_reaches_what_is_not_public", || {
        let authority = Authority::new();
        let world = World::listen(authority.server(&["hooks.example.com"], |_| {}), &[]);
        // Whatever name is asked for, even those of the machine's own network.
        let names = NameServer::start(zone([("*", &["169.254.169.254 fd00:ec2::254"][..])]));
        let proxy = "http://127.0.0.1:8443";
        let home = Home::new(&[
            ("HOOKSEAL_DEV", "0"),
            ("HOOKSEAL_DNS_SERVERS", &names.address.to_string()),
            ("HOOKSEAL_RETRY_SCHEDULE", "none"),
            ("HOOKSEAL_ENDPOINTS_PER_ORGANIZATION", "1000"),
            // Proxies of the environment would be asked to connect instead.
            ("HTTPS_PROXY", proxy),
            ("HTTP_PROXY", proxy),
            ("ALL_PROXY", proxy),
            ("https_proxy", proxy),
            ("http_proxy", proxy),
            ("all_proxy", proxy),
        ]);
        let list = include_str!("../fixtures/hostile_urls.json");
        let list: BTreeMap<String, Vec<String>> = serde_json::from_str(list).unwrap();
        let daemon = home.start();
        let tenant = daemon.tenant();
        let jwk = Keys::generate().public_jwk;
        let taken = &list["taken"];
        let mut endpoints: Vec<(String, String)> = Vec::new();
        for url in taken {
            endpoints.push((tenant.register_url(url, &jwk), url.clone()));
        }
        let refused = list.iter().filter(|(reason, _)| *reason != "taken");
        for url in refused.flat_map(|(_, urls)| urls) {
            endpoints.push((tenant.register_url("https://hooks.example.com/", &jwk), url.clone()));
        }
        assert!(daemon.terminate().success());
        write_urls(&home, &endpoints[taken.len()..]);
        let daemon = home.start();
        let tenant = Tenant {
            caller: Caller::new(&daemon.url, &tenant.caller.key),
            platform: daemon.platform(),
            ..tenant
        };
        // All that is asked for goes over one connection, so that whatever else is sent is the daemon's.
        let socket = Socket::of(&tenant.platform);
        let organization = json!(tenant.organization);
        let watch = "subscription($o: ID) { deliveryChanged(organizationId: $o, filter: { changes: [SETTLED] }) \
                     { change } }";
        socket.subscribe("watch", watch, json!({ "o": organization }));
        let publish = "mutation($o: ID!) { publishEvent(input: { organizationId: $o, type: \
                       \"verification.session.failed\", triggerType: \"verification_session\", \
                       triggerId: \"vs_1\", data: {} }) { result { id } userErrors { code } } }";
        std::thread::sleep(Duration::from_millis(200));
        let (before, said_before) = (sent(), names.said());
        socket.subscribe("publish", publish, json!({ "o": organization }));
        let mut settled = 0;
        while settled < endpoints.len() {
            let message = socket.hear();
            settled += usize::from(message["id"] == "watch");
            assert_eq!(message["payload"]["errors"], Value::Null, "{message}");
        }
        assert_eq!(sent().connections, before.connections, "to whatever port");
        wait(SOON, "as many datagrams as questions and answers", || {
            sent().datagrams - before.datagrams == 2 * (names.said() - said_before)
        });
        let ends = ends(&tenant);
        assert_eq!(ends.len(), endpoints.len());
        for (endpoint, url) in &endpoints {
            assert_eq!(ends[endpoint], "target_blocked", "{url:?}");
        }
        assert_eq!(world.called(), [""; 0]);
    });
}

#[test]
fn an_opened_network_is_reached_and_left_for_no_other() {
    alone("targets::an_opened_network_is_reached_and_left_for_no_other", || {
        let authority = Authority::new();
        let world = World::listen(authority.server(&["flip.names.example"], |_| {}), &["10.0.0.7"]);
        let said =
            ["10.0.0.7", "192.168.0.7", "::ffff:192.168.0.7", "64:ff9b::10.0.0.7", "10.0.0.7"];
        let names = NameServer::start(zone([("flip.names.example", &said[..])]));
        let home = Home::new(&[
            ("HOOKSEAL_DEV", "0"),
            ("HOOKSEAL_ALLOW_TARGETS", "10.0.0.0/8"),
            ("HOOKSEAL_DNS_SERVERS", &names.address.to_string()),
            ("HOOKSEAL_RETRY_SCHEDULE", "none"),
        ]);
        let home = home.and("HOOKSEAL_EXTRA_CA_FILE", |path| authority.file_in(path));
        let daemon = home.start();
        let tenant = daemon.tenant();
        let jwk = Keys::generate().public_jwk;
        let endpoint = tenant.register_url("https://flip.names.example/in", &jwk);
        for n in 0..said.len() {
            tenant.publish(&format!("vs_{n}"), json!({}));
            tenant.settle(SOON);
        }
        let attempts = tenant.attempts(&endpoint);
        let came_to: Vec<_> = attempts.iter().map(|(came_to, _)| &**came_to).collect();
        let blocked = "target_blocked";
        assert_eq!(came_to, ["204", blocked, blocked, blocked, "204"]);
        assert_eq!(world.called(), ["10.0.0.7"]);
    });
}

#[test]
fn a_name_that_changed_is_judged_again_however_long_it_was_to_be_remembered() {
    alone(
        "targets::a_name_that_changed_is_judged_again_however_long_it_was_to_be_remembered",
        || {
            let authority = Authority::new();
            let world = World::listen(authority.server(&["*.names.example"], |_| {}), &["1.1.1.1"]);
            let said = ["1.1.1.1 for:86400", "127.0.0.1"];
            let names = NameServer::start(zone([("flip.names.example", &said[..])]));
            let home = Home::new(&[
                ("HOOKSEAL_DEV", "0"),
                ("HOOKSEAL_DNS_SERVERS", &names.address.to_string()),
                ("HOOKSEAL_RETRY_SCHEDULE", "none"),
            ]);
            let home = home.and("HOOKSEAL_EXTRA_CA_FILE", |path| authority.file_in(path));
            let daemon = home.start();
            let tenant = daemon.tenant();
            tenant.register_url("https://flip.names.example/in", &Keys::generate().public_jwk);
            let mut ends = Vec::new();
            wait(SOON, "another look at the name", || {
                tenant.publish(&format!("vs_{}", ends.len()), json!({}));
                tenant.settle(SOON);
                ends.push(tenant.deliveries("")[0]["last_status_code"].clone());
                std::thread::sleep(Duration::from_millis(400));
                ends.last() == Some(&Value::Null)
            });
            assert!(ends.len() > 2, "remembered for a while: {ends:?}");
            assert_eq!(world.called(), ["1.1.1.1"]);
        },
    );
}

/// A server that keeps its connections and takes everything.
fn keeping() -> Reaction {
    Box::new(|wire| {
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        while read_request(wire) && wire.write_all(answer).and_then(|()| wire.flush()).is_ok() {}
    })
}

#[test]
fn a_kept_connection_is_judged_again_once_its_life_is_over() {
    const LIFETIME: Duration = Duration::from_secs(1);
    let authority = Authority::new();
    let server = authority.server(&["flip.names.example"], |_| {});
    let server = Server::start(over_tls(server, keeping()));
    let names = NameServer::start(zone([("flip.names.example", &["127.0.0.1", "10.0.0.1"][..])]));
    let opened = Network::parse("127.0.0.0/8").unwrap();
    let rules = Arc::new(TargetRules { development: false, allowed: vec![opened] });
    let directory = tempfile::tempdir().unwrap();
    let tls = tls_config_with(authority.file_in(directory.path()).as_ref()).unwrap();
    let event = Event {
        id: minter().event(T0),
        organization_id: minter().organization(),
        event_type: "verification.session.expired".into(),
        trigger_type: "verification_session".into(),
        trigger_id: "vs_1".into(),
        created_at: T0,
    };
    let delivery = delivery(&event, &minter().endpoint());
    let url = format!("https://flip.names.example:{}/in", server.port);
    let address = Address::new(&rules, &url, Secret::new("secret"));
    let (begun, mut before) = (Instant::now(), 0);
    let last = actix_web::rt::System::new().block_on(async {
        let resolver = Resolver::new(vec![names.address]);
        let courier = Courier::keeping(LIFETIME, tls, resolver, rules.clone(), SOON);
        loop {
            let sealed = Bytes::from_static(b"sealed");
            let outcome = courier.send(&delivery, sealed, &address, T0).await;
            if !matches!(outcome, Outcome::Answered { status: 204, .. }) {
                return outcome;
            }
            before += 1;
            assert!(begun.elapsed() < 10 * LIFETIME, "{before} over one connection");
            tokio::time::sleep(LIFETIME / 20).await;
        }
    });
    assert_eq!(last, Outcome::Faulted(ErrorKind::TargetBlocked));
    assert!(before > 2 && begun.elapsed() >= LIFETIME, "{before} in {:?}", begun.elapsed());
    assert_eq!(server.connections(), 1, "it was kept until then");
}

#[test]
fn a_file_without_certificates_is_refused_at_the_start() {
    for content in
        ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        let home = Home::new(&[]).and("HOOKSEAL_EXTRA_CA_FILE", |path| {
            let file = path.join("authority.pem");
            std::fs::write(&file, content).unwrap();
            file.to_str().unwrap().to_owned()
        });
        let ended = ended(&mut home.command());
        assert!(!ended.success && ended.stderr.contains("extra_ca_file"), "{}", ended.stderr);
    }
}
