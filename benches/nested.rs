//! A nested page, twenty events with their deliveries, endpoints and attempts, costs a constant number of
//! store calls, wherever in a list of a million deliveries it is; on SQLite and, where `TEST_POSTGRES_URL`
//! names a server, on PostgreSQL. `cargo bench --bench nested`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "shared with the tests, which use all of it")]

#[path = "../tests/suite/support/daemon.rs"]
mod daemon;
#[path = "../tests/suite/support/leavings.rs"]
mod leavings;
#[path = "../tests/suite/support/openapi.rs"]
mod openapi;

use std::time::{Duration, Instant};

use daemon::{Home, Tenant};
use hookseal::store::Connections;
use sea_orm::{ConnectionTrait as _, Database, DbBackend};
use serde_json::{Value, json};

const DELIVERIES: usize = 1_000_000;
const EVENTS: usize = DELIVERIES / 2;
const ENDPOINTS: usize = 10;
const PAGE: usize = 20;
const ROUNDS: usize = 500;
/// How often the store's calls for one page are counted: a key is looked up now and then.
const COUNTS: usize = 21;
/// How much more a late page may cost: the noise of a shared machine.
const BOUND: f64 = 1.5;
const GOAL: Duration = Duration::from_millis(15);

/// What is asked of each event, a level more each.
const LEVELS: [(&str, &str); 4] = [
    ("events", "id type"),
    ("+ deliveries", "id type deliveries { id status }"),
    ("+ endpoint", "id type deliveries { id status endpoint { id name } }"),
    (
        "+ attempts",
        "id type deliveries { id status endpoint { id name } attempts { attemptedAt statusCode } }",
    ),
];

fn main() {
    println!("{DELIVERIES} deliveries, pages of {PAGE} events, {ROUNDS} reads each");
    measure("SQLite", None);
    match std::env::var("TEST_POSTGRES_URL") {
        Err(_) => println!("PostgreSQL was not measured: TEST_POSTGRES_URL names no server"),
        Ok(server) => {
            let name = format!("nested{:032x}", rand::random::<u128>());
            run(async {
                let admin = Database::connect(format!("{server}/postgres")).await.unwrap();
                admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
            });
            measure("PostgreSQL", Some(&format!("{server}/{name}")));
        }
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

fn measure(name: &str, url: Option<&str>) {
    let master_key = "A".repeat(43);
    let settings =
        url.map(|url| [("HOOKSEAL_DATABASE_URL", url), ("HOOKSEAL_MASTER_KEY", &master_key)]);
    let home = Home::new(settings.as_ref().map_or(&[], |settings| settings));
    let daemon = home.start();
    let mut tenant = daemon.tenant();
    let register = |n| {
        let endpoint = json!({ "url": "https://example.com/", "name": format!("endpoint {n}") });
        let made = tenant.caller.post("/v1/webhooks/endpoints", endpoint).ok();
        made["endpoint"]["id"].as_str().unwrap().to_owned()
    };
    let endpoints: Vec<String> = (0..ENDPOINTS).map(register).collect();
    assert!(daemon.terminate().success());
    run(fill(url, &home, &tenant.organization, &endpoints));
    let daemon = home.start();
    tenant.caller.base.clone_from(&daemon.url);

    let (_, whole) = LEVELS[LEVELS.len() - 1];
    let calls: Vec<_> = [(1, EVENTS), (PAGE, EVENTS), (PAGE, PAGE + 1), (100, EVENTS / 2)]
        .map(|(first, newest)| ((first, newest), calls(&tenant, whole, first, newest)))
        .into();
    println!("{name}: store calls by (events, newest): {calls:?}");

    for (level, fields) in LEVELS {
        let took = times(&tenant, fields, |_| EVENTS);
        println!("| {name} | {level}, first page | {} |", told(&took));
    }
    let first = times(&tenant, whole, |_| EVENTS);
    // Coprime to the number of events: every page is another one.
    let any = times(&tenant, whole, |n| PAGE + 1 + n * 310_567 % (EVENTS - PAGE));
    let late = times(&tenant, whole, |n| PAGE + 1 + n % 100);
    for (page, took) in [("first page", &first), ("any page", &any), ("late page", &late)] {
        println!("| {name} | whole, {page} | {} |", told(took));
    }
    let p99 = first.iter().chain(&any).chain(&late).copied().collect::<Vec<_>>();
    let p99 = share(&sorted(p99), 0.99);
    let ratio = share(&late, 0.5).as_secs_f64() / share(&first, 0.5).as_secs_f64();
    let met = if p99 <= GOAL { "met" } else { "missed" };
    println!(
        "{name}: p99 {p99:.1?}, goal of {GOAL:?} {met}; late to first {ratio:.2} (at most {BOUND})"
    );
    let (_, one) = calls[0];
    assert!(calls.iter().all(|(_, calls)| *calls == one), "the number of store calls is constant");
    assert!(ratio <= BOUND, "{name}: a late page costs {ratio:.2} of the first");
}

/// A million deliveries of half as many events to ten endpoints, each with its attempt.
async fn fill(url: Option<&str>, home: &Home, organization: &str, endpoints: &[String]) {
    let connections = Connections::open(url, &home.data_dir()).await.unwrap();
    // Longer than a statement of the daemon may take.
    let own = match url {
        Some(url) => Some(Database::connect(url).await.unwrap()),
        None => None,
    };
    let readers = connections.readers();
    let db = own.as_ref().unwrap_or(&readers);
    let postgres = db.get_database_backend() == DbBackend::Postgres;
    let numbers = |most: usize| match postgres {
        true => format!("WITH numbers AS (SELECT n FROM generate_series(1, {most}) AS g (n))"),
        false => format!(
            "WITH RECURSIVE numbers (n) AS
                (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {most})"
        ),
    };
    let padded = |n: &str| match postgres {
        true => format!("lpad(({n})::text, 32, '0')"),
        false => format!("substr('{}' || ({n}), -32)", "0".repeat(32)),
    };
    let endpoint: String = (endpoints.iter().enumerate())
        .map(|(number, id)| format!(" WHEN {number} THEN '{id}'"))
        .collect();
    let (n, event) = (padded("n"), padded("(n + 1) / 2"));
    let statements = [
        format!(
            "INSERT INTO events (id, organization_id, event_type, trigger_type, trigger_id, created_at_ms)
             {} SELECT 'evt_' || {n}, '{organization}', 'verification.session.succeeded',
                'verification_session', 'vs_' || n, n FROM numbers",
            numbers(EVENTS)
        ),
        format!(
            "INSERT INTO deliveries (id, organization_id, event_id, event_type, endpoint_id, status,
                attempt_count, last_attempt_at_ms, last_duration_ms, last_status_code,
                retention_reason, lost_claims, created_at_ms, updated_at_ms)
             {} SELECT 'whd_' || {n}, '{organization}', 'evt_' || {event},
                'verification.session.succeeded', CASE n % {ENDPOINTS}{endpoint} END, 'succeeded',
                1, n, 5, 204, 'delivered', 0, n, n FROM numbers",
            numbers(DELIVERIES)
        ),
        format!(
            "INSERT INTO delivery_attempts (id, delivery_id, attempted_at_ms, duration_ms, status_code)
             {} SELECT 'att_' || {n}, 'whd_' || {n}, n, 5, 204 FROM numbers",
            numbers(DELIVERIES)
        ),
        if postgres { "VACUUM ANALYZE" } else { "ANALYZE" }.to_owned(),
    ];
    for statement in statements {
        db.execute_unprepared(&statement).await.unwrap();
    }
    connections.close().await;
}

/// Reads a page whose newest event is number `newest`.
fn read(agent: &ureq::Agent, tenant: &Tenant, fields: &str, first: usize, newest: usize) -> Value {
    let document = format!(
        "query($first: Int, $after: String) {{ events(first: $first, after: $after) {{ nodes {{ {fields} }} }} }}"
    );
    let after = (newest < EVENTS).then(|| format!("evt_{:032}", newest + 1));
    let body = json!({ "query": document, "variables": { "first": first, "after": after } });
    let request = ureq::http::Request::post(format!("{}/graphql", tenant.caller.base))
        .header("authorization", format!("Bearer {}", tenant.caller.key))
        .header("content-type", "application/json")
        .body(body.to_string())
        .unwrap();
    let mut answer = agent.run(request).unwrap();
    let text = answer.body_mut().read_to_vec().unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// How long each of many reads took, sorted.
fn times(tenant: &Tenant, fields: &str, newest: impl Fn(usize) -> usize) -> Vec<Duration> {
    let agent = ureq::Agent::new_with_defaults();
    let mut took = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let asked = Instant::now();
        let answer = read(&agent, tenant, fields, PAGE, newest(round));
        took.push(asked.elapsed());
        let nodes = answer["data"]["events"]["nodes"].as_array();
        assert_eq!(nodes.map(Vec::len), Some(PAGE), "{answer}");
        let newest = json!(format!("evt_{:032}", newest(round)));
        assert_eq!(answer["data"]["events"]["nodes"][0]["id"], newest);
    }
    sorted(took)
}

/// The store's calls for one page.
fn calls(tenant: &Tenant, fields: &str, first: usize, newest: usize) -> usize {
    let agent = ureq::Agent::new_with_defaults();
    let so_far = || {
        let metrics = tenant.caller.send("GET", "/metrics", &[], "").text;
        let mut lines = metrics.lines();
        let calls = lines.find_map(|line| line.strip_prefix("hookseal_store_calls_total "));
        calls.unwrap().parse::<usize>().unwrap()
    };
    let count = |_| {
        let before = so_far();
        let answer = read(&agent, tenant, fields, first, newest);
        let calls = so_far() - before;
        let nodes = answer["data"]["events"]["nodes"].as_array().unwrap();
        let whole = |node: &Value| {
            let deliveries = node["deliveries"].as_array().unwrap();
            let whole = |delivery: &Value| {
                delivery["endpoint"]["name"].is_string()
                    && delivery["attempts"][0]["statusCode"] == 204
            };
            deliveries.len() == 2 && deliveries.iter().all(whole)
        };
        assert!(nodes.len() == first && nodes.iter().all(whole), "{answer}");
        calls
    };
    let mut counted: Vec<usize> = (0..COUNTS).map(count).collect();
    counted.sort_unstable();
    counted[COUNTS / 2]
}

fn sorted(mut took: Vec<Duration>) -> Vec<Duration> {
    took.sort_unstable();
    took
}

fn share(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn told(sorted: &[Duration]) -> String {
    let ms = |part| share(sorted, part).as_secs_f64() * 1e3;
    format!("{:.2} ms | {:.2} ms", ms(0.5), ms(0.99))
}
