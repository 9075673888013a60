//! Every list is read through an index, in the index's order, whatever is asked of it, and what the daemon looks for by
//! itself through the index that is made for it: the planners of both databases are asked how they would go about it,
//! over tables that have something in them. A SQLite has no statistics of them, unless somebody sees to it.

use hookseal_core::delivery::Status;
use hookseal_core::id::{EndpointId, EventId, OrganizationId};
use hookseal_core::ports::{AuditFilter, Claims, DeliveryFilter, EndpointFilter, EventFilter};
use hookseal_core::shard::{NodeNumber, Shards};
use hookseal_core::statistics::Scope;
use hookseal_core::time::Timestamp;
use hookseal_entity::{audit_log, delivery, endpoint, event};
use sea_orm::{
    ColumnTrait, ConnectionTrait, Database, DbBackend, EntityTrait, QueryFilter, QuerySelect,
    QueryTrait, Select, Statement,
};

use super::archive::{latest_statement, listed_deliveries, listed_events};
use super::deletion::outliving;
use super::directory::audit::listed_entries;
use super::directory::endpoints::listed_endpoints;
use super::statistics::waiting_statement;
use super::upkeep::{claimed, endpoints_due_statement, expired, upcoming};
use super::withdrawal::owing;
use super::{Connections, text_value};

const ORGANIZATION: &str = "org_3";
const PAGE: u64 = 11;

/// Twenty organizations, one of which has half of all deliveries, and one endpoint of it most of these:
/// of all deliveries one in twenty has failed, one in twenty-five waits, and few are in flight.
const DELIVERIES: &str = "INSERT INTO deliveries
    (id, organization_id, event_id, event_type, endpoint_id, status, attempt_count,
     retention_reason, lost_claims, created_at_ms, updated_at_ms, claim_token,
     claim_expires_at_ms, next_attempt_at_ms)
    SELECT 'whd_' || (1000000 + n), CASE WHEN n / 4 % 2 = 0 THEN 'org_3' ELSE 'org_' || (n / 8 % 20) END,
        'evt_' || (1000000 + n / 4), 'type_' || (n / 4 % 6),
        CASE WHEN n / 4 % 2 = 0 THEN 'whe_23' ELSE 'whe_' || (n % 80) END,
        CASE WHEN n % 1000 = 7 THEN 'delivering' WHEN n % 20 = 3 THEN 'failed'
            WHEN n % 25 = 3 THEN 'pending' ELSE 'succeeded' END,
        1, 'delivered', 0, n, n,
        CASE WHEN n % 1000 = 7 THEN 1 END, CASE WHEN n % 1000 = 7 THEN n END, n
    FROM numbers";
const EVENTS: &str = "INSERT INTO events
    (id, organization_id, event_type, trigger_type, trigger_id, created_at_ms)
    SELECT 'evt_' || (1000000 + n), CASE WHEN n % 2 = 0 THEN 'org_3' ELSE 'org_' || (n / 2 % 20) END,
        'type_' || (n % 6), 't', 't', n
    FROM numbers WHERE n < 25000";
const AUDIT: &str = "INSERT INTO audit_log
    (id, organization_id, actor_type, action, target_id, metadata, created_at_ms)
    SELECT 'aud_' || (1000000 + n), 'org_' || (n % 20), 'system', 'a', 't', '{}', n
    FROM numbers WHERE n < 10000";
const ORGANIZATIONS: &str = "INSERT INTO organizations (id, name, created_at_ms, updated_at_ms)
    SELECT 'org_' || n, 'n', n, n FROM numbers WHERE n < 20";
const ENDPOINTS: &str = "INSERT INTO endpoints
    (id, organization_id, labels, url, enabled, subscribed_event_types, retention_hours,
     signing_secret, created_at_ms, updated_at_ms)
    SELECT 'whe_' || n, 'org_' || (n % 20), '[]', 'u', n % 2 = 0, '[]', 72, 's', n, n
    FROM numbers WHERE n < 4000";

const SESSIONS: &str = "INSERT INTO verification_sessions
    (organization_id, session_id, terminal_event_id, outlives_event, state, withdrawn_at_ms)
    SELECT 'org_' || (n % 20), 'vs_' || n, 'evt_' || (1000000 + n), n % 50 = 3,
        CASE WHEN n % 1000 = 5 THEN 'replacing' END, CASE WHEN n % 1000 = 5 THEN n END
    FROM numbers WHERE n < 25000";

async fn filled(url: Option<&str>, directory: &std::path::Path) -> Connections {
    let connections = Connections::open(url, directory).await.expect("a database");
    let db = &connections.writer();
    let numbers = match db.get_database_backend() {
        DbBackend::Postgres => "WITH numbers AS (SELECT n FROM generate_series(0, 99999) AS g (n))",
        _ => {
            "WITH RECURSIVE numbers (n) AS
                (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 99999)"
        }
    };
    for insert in [ORGANIZATIONS, ENDPOINTS, EVENTS, DELIVERIES, SESSIONS, AUDIT] {
        // Where both databases take a common table expression of an insert.
        let statement = insert.replacen("SELECT", &format!("{numbers} SELECT"), 1);
        db.execute_unprepared(&statement).await.expect("rows");
    }
    connections
}

async fn analyze(connections: &Connections) {
    connections.writer().execute_unprepared("ANALYZE").await.expect("statistics");
}

/// How the database would run a query.
async fn plan<E: EntityTrait>(connections: &Connections, query: Select<E>) -> String {
    explain(connections, query.limit(PAGE).build(connections.writer().get_database_backend())).await
}

async fn explain(connections: &Connections, statement: Statement) -> String {
    let db = &connections.writer();
    let backend = db.get_database_backend();
    let Statement { sql, values, .. } = statement;
    let explain = match backend {
        DbBackend::Postgres => "EXPLAIN",
        _ => "EXPLAIN QUERY PLAN",
    };
    let explain = format!("{explain} {sql}");
    let statement = match values {
        Some(values) => Statement::from_sql_and_values(backend, explain, values),
        None => Statement::from_string(backend, explain),
    };
    let rows = db.query_all_raw(statement).await.expect("a plan");
    let column = if backend == DbBackend::Postgres { 0 } else { 3 };
    let lines = rows.iter().map(|row| row.try_get_by_index::<String>(column).expect("a line"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a plan reads a table from one end to the other, or sorts what it has read.
fn faults(plan: &str, may_sort: bool) -> Vec<&'static str> {
    let mut faults = Vec::new();
    // SQLite says SCAN of a whole table or a whole index, and SEARCH of a part of one.
    let whole = |line: &str| line.contains("Seq Scan on") || line.trim_start().starts_with("SCAN ");
    if plan.lines().any(|line| whole(line) && !line.contains("claimed")) {
        faults.push("reads everything");
    }
    if !may_sort && (plan.contains("Sort") || plan.contains("TEMP B-TREE")) {
        faults.push("sorts");
    }
    faults
}

/// A plan that may sort the few deliveries of one event at a time, which PostgreSQL does in increments.
fn without_sorts_of_an_event(plan: &str) -> String {
    let plan = plan.replace("Incremental Sort", "").replace("Presorted Key", "");
    plan.replace("Sort Key", "").replace("USE TEMP B-TREE FOR LAST TERM OF ORDER BY", "")
}

async fn every_list_is_served_by_an_index(connections: &Connections) {
    let both = [None, Some(Timestamp::from_ms(0))];
    let later = [None, Some(Timestamp::from_ms(4_000_000_000_000))];
    let mut bad = Vec::new();
    let mut judge = |what: String, plan: String, may_sort| {
        let faults = faults(&plan, may_sort);
        if !faults.is_empty() {
            bad.push(format!("{what}: {}\n{plan}", faults.join(", ")));
        }
    };
    let cursor = delivery::Entity::find_by_id("whd_1050000").one(&connections.readers()).await;
    let cursor = cursor.expect("a row").expect("it is there");
    for created_from in both {
        for created_to in later {
            for after in [None, Some(&cursor)] {
                let spans = format!("{created_from:?} {created_to:?} {}", after.is_some());
                let statuses = Status::ALL.map(Some).into_iter().chain([None]);
                for status in statuses {
                    for endpoint_id in [None, Some(EndpointId::from_row("whe_23"))] {
                        for event_id in [None, Some(EventId::from_row("evt_1010000"))] {
                            let what = format!("{status:?} {endpoint_id:?} {event_id:?} {spans}");
                            // Those in flight are few, and one event has few deliveries.
                            let few = status == Some(Status::Delivering) || event_id.is_some();
                            let filter = DeliveryFilter {
                                status,
                                endpoint_id: endpoint_id.clone(),
                                event_id,
                                event_type: None,
                                created_from,
                                created_to,
                            };
                            let query = listed_deliveries(ORGANIZATION, &filter, after);
                            let mut plan = plan(connections, query).await;
                            if endpoint_id.is_none()
                                && matches!(status, None | Some(Status::Succeeded))
                            {
                                plan = without_sorts_of_an_event(&plan);
                            }
                            judge(what, plan, few);
                        }
                    }
                }
                for event_id in [None, Some(EventId::from_row("evt_1010000"))] {
                    let what = format!("deliveries by type {event_id:?} {spans}");
                    let few = event_id.is_some();
                    let filter = DeliveryFilter {
                        event_id,
                        event_type: Some("type_2".into()),
                        created_from,
                        created_to,
                        ..DeliveryFilter::default()
                    };
                    let query = listed_deliveries(ORGANIZATION, &filter, after);
                    let plan = plan(connections, query).await;
                    judge(what, without_sorts_of_an_event(&plan), few);
                }
                for event_type in [None, Some("type_2".to_owned())] {
                    let what = format!("events {event_type:?} {spans}");
                    let filter = EventFilter { event_type, created_from, created_to };
                    let mut query = listed_events(ORGANIZATION, &filter);
                    if let Some(cursor) = after {
                        query = query.filter(event::Column::Id.lt(&cursor.event_id));
                    }
                    judge(what, plan(connections, query).await, false);
                }
                let filter = AuditFilter { created_from, created_to };
                let mut query = listed_entries(ORGANIZATION, &filter);
                if after.is_some() {
                    query = query.filter(audit_log::Column::Id.lt("aud_1005000"));
                }
                judge(format!("audit log {spans}"), plan(connections, query).await, false);
            }
        }
    }
    for enabled in [None, Some(true), Some(false)] {
        for after in [false, true] {
            let mut query = listed_endpoints(ORGANIZATION, &EndpointFilter { enabled });
            if after {
                query = query.filter(endpoint::Column::CreatedAtMs.lte(2000));
            }
            let what = format!("endpoints {enabled:?} {after}");
            judge(what, plan(connections, query).await, false);
        }
    }
    let backend = connections.writer().get_database_backend();
    let organization = OrganizationId::from_row(ORGANIZATION);
    let endpoint = EndpointId::from_row("whe_23");
    for scope in [Scope::Organization, Scope::Endpoint(endpoint.clone())] {
        let what = format!("waiting {scope:?}");
        let waiting = waiting_statement(backend, &organization, &[scope]);
        let plan = explain(connections, waiting).await;
        judge(what, plan.replace("SCAN counted", "").replace("SCAN CONSTANT ROW", ""), false);
    }
    for status in Status::ALL.map(Some).into_iter().chain([None]) {
        let endpoints = [endpoint.to_string()];
        let latest = latest_statement(backend, ORGANIZATION, &endpoints, status, 10);
        // Those in flight are few, and found by the index of the endpoint.
        let few = status == Some(Status::Delivering);
        let plan = explain(connections, latest).await.replace("SCAN latest", "");
        judge(format!("latest {status:?}"), plan, few);
    }
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
}

/// Whether a plan gets at a table by this index of it, and by nothing else.
fn is_found_by(plan: &str, table: &str, index: &str) -> bool {
    let other_ways = [
        format!("INDEX {table}_"),
        format!("autoindex_{table}_"),
        format!("using {table}_"),
        format!("Index Scan on {table}_"),
        format!("Seq Scan on {table}"),
    ];
    let otherwise = |line: &str| {
        other_ways.iter().any(|way| line.contains(way))
            || line.trim_start().starts_with(&format!("SCAN {table}"))
    };
    plan.contains(index) && !plan.lines().filter(|line| !line.contains(index)).any(otherwise)
}

async fn what_is_looked_for_has_an_index_of_its_own(connections: &Connections) {
    let (backend, now) = (connections.writer().get_database_backend(), Timestamp::from_ms(50));
    let (lapsed, orphaned) =
        (Claims::LapsedOf(NodeNumber::SOLE, now), Claims::LapsedOfTheEnded(now));
    let upcoming = upcoming(Shards::ALL, (now, None), Timestamp::from_ms(90));
    let due = endpoints_due_statement(backend, now, None, 11);
    let (deliveries, sessions) = ("deliveries", "verification_sessions");
    let mut bad = Vec::new();
    for (table, index, plan) in [
        (deliveries, "deliveries_claimed", plan(connections, claimed(Claims::All)).await),
        (deliveries, "deliveries_claimed", plan(connections, claimed(Claims::OfTheEnded)).await),
        (deliveries, "deliveries_claimed", plan(connections, claimed(lapsed)).await),
        (deliveries, "deliveries_claimed", plan(connections, claimed(orphaned)).await),
        (deliveries, "deliveries_expiring", plan(connections, expired(now)).await),
        (deliveries, "deliveries_upcoming", plan(connections, upcoming).await),
        (deliveries, "deliveries_due", explain(connections, due).await),
        (sessions, "verification_sessions_owed", plan(connections, owing(None)).await),
        (sessions, "verification_sessions_outliving", plan(connections, outliving(now)).await),
    ] {
        if !is_found_by(&plan, table, index) {
            bad.push(format!("{index}:\n{plan}"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
}

#[tokio::test]
async fn plans_of_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    let connections = filled(None, directory.path()).await;
    for has_statistics in [false, true] {
        if has_statistics {
            analyze(&connections).await;
        }
        every_list_is_served_by_an_index(&connections).await;
        what_is_looked_for_has_an_index_of_its_own(&connections).await;
    }
}

#[tokio::test]
async fn plans_of_postgres() {
    let server = std::env::var("TEST_POSTGRES_URL")
        .expect("TEST_POSTGRES_URL is not set: run the tests by tests/run.sh");
    let admin = Database::connect(format!("{server}/postgres")).await.expect("the server");
    let name = format!("plans{:032x}", rand::random::<u128>());
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("a database");
    let directory = tempfile::tempdir().expect("a directory");
    let connections = filled(Some(&format!("{server}/{name}")), directory.path()).await;
    let version = text_value(&connections.readers(), "SELECT version()".to_owned()).await;
    assert!(version.expect("a version").starts_with("PostgreSQL"));
    analyze(&connections).await;
    every_list_is_served_by_an_index(&connections).await;
    what_is_looked_for_has_an_index_of_its_own(&connections).await;
}
