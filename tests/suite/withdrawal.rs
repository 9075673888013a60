//! Withdrawal: under load no session ever gets two terminal webhooks, and nothing that was scrubbed
//! stays in a row. The steps of it hold on each database.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hookseal::demo::receiver::{Behaviour, Receiver};
use hookseal::store::Connections;
use hookseal_core::audit::Action;
use hookseal_core::delivery::{Attempt, ClaimToken, Delivery, FailureReason, Status};
use hookseal_core::id::{OrganizationId, SessionId};
use hookseal_core::outcome::{ErrorKind, Outcome};
use hookseal_core::ports::{
    Accepted, Archive as _, AuditLog as _, Blame, Claims, Haste, Ledger as _, SessionPart,
    Settlement, Upkeep as _, Withdrawals as _,
};
use hookseal_core::privacy::{PrivacyRequest, SessionOutcome, Withdrawal, WithdrawalState};
use hookseal_core::retry::RetrySchedule;
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::{Value, json};

use crate::support::daemon::{Home, Tenant, wait};
use crate::support::databases::{Bench, new_postgres_database};
use crate::support::rows::{T0, after, claim, ending, entry, keyed, minter, of_session};

crate::on_every_database!(
    what_is_pending_is_scrubbed_and_replaced_once,
    the_end_of_an_attempt_in_flight_decides,
    a_lost_claim_counts_as_delivered,
    nothing_is_published_after_a_withdrawal,
    a_cancelled_event_is_left_alone,
    a_withdrawn_session_is_withdrawn_once,
);

fn withdrawal(organization: &OrganizationId, session: &str) -> Withdrawal {
    Withdrawal {
        id: minter().privacy_request(T0),
        organization_id: organization.clone(),
        session_id: SessionId::parse("session", session).unwrap(),
        outcome: SessionOutcome::Succeeded,
        nfc_tries_used: 0,
        liveness_tries_used: 0,
        targets: None,
        withdrawn_at: T0,
    }
}

impl Bench {
    async fn withdraw(&self, organization: &OrganizationId, session: &str) -> PrivacyRequest {
        let made = entry(organization, Action::PrivacyRequestSubmitted);
        let asked = withdrawal(organization, session);
        self.store.withdraw(asked, made).await.unwrap().expect("the organization is there")
    }

    async fn standing(&self, request: &PrivacyRequest) -> PrivacyRequest {
        self.store.privacy_request(&request.id).await.unwrap().expect("it was made")
    }

    /// A committed terminal event of `session` with one pending delivery.
    async fn terminal(&self, organization: &OrganizationId, session: &str, name: &str) -> Delivery {
        let endpoint = self.endpoint(organization).await;
        let mut acceptance = ending(self.acceptance(&endpoint).await, session);
        acceptance.event.event_type = name.into();
        let delivery = acceptance.deliveries[0].delivery.clone();
        assert!(matches!(self.store.accept(acceptance).await.unwrap(), Accepted::Committed));
        delivery
    }

    async fn claimed(&self, delivery: &Delivery) -> Delivery {
        let ids = vec![delivery.id.clone()];
        let mut claimed =
            self.store.claim(&delivery.endpoint_id, ids, claim(1, T0), T0).await.unwrap();
        claimed.pop().expect("it was pending").delivery
    }

    /// Ends the claim as an actor would that has not heard of the withdrawal.
    async fn settled(&self, delivery: &Delivery, outcome: Outcome) {
        let attempt = Attempt::new(T0, Duration::from_millis(5), outcome);
        let schedule = RetrySchedule::default();
        let progress =
            delivery.progress.settle(attempt, outcome.verdict(), &schedule, Default::default(), T0);
        let settlement = Settlement {
            delivery: delivery.clone(),
            token: ClaimToken(1),
            progress: progress.unwrap(),
            replaced: delivery.progress.last_attempt,
        };
        assert_eq!(self.store.settle(vec![settlement], Haste::Now).await.unwrap(), [true]);
    }

    async fn payloads(&self) -> i64 {
        count(&self.connections, "SELECT count(*) FROM sealed_payloads").await
    }

    async fn read(&self, delivery: &Delivery) -> Delivery {
        let found = self.store.delivery(&delivery.organization_id, &delivery.id).await;
        found.unwrap().expect("it is there")
    }
}

async fn count(connections: &Connections, sql: &str) -> i64 {
    let db = &connections.readers();
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await.unwrap().expect("a row");
    row.try_get_by_index(0).unwrap()
}

const SUCCEEDED: &str = "verification.session.succeeded";

async fn what_is_pending_is_scrubbed_and_replaced_once(bench: Bench) {
    let organization = bench.organization().await;
    let delivery = bench.terminal(&organization, "vs_1", SUCCEEDED).await;
    let request = bench.withdraw(&organization, "vs_1").await;
    assert_eq!(request.state, WithdrawalState::Replacing);
    assert_eq!((request.scrubbed, request.in_flight, request.delivered), (1, 0, 0));
    let scrubbed = bench.read(&delivery).await.progress;
    assert_eq!(
        (scrubbed.status, scrubbed.failure_reason),
        (Status::Failed, Some(FailureReason::PrivacyRequest))
    );
    assert_eq!(bench.payloads().await, 0);
    let owed = bench.store.owed(None, 10).await.unwrap();
    assert_eq!(owed.len(), 1);
    assert_eq!(owed[0].terminal.as_deref(), Some(SUCCEEDED));
    let endpoint = bench.endpoint(&organization).await;
    let mut made = Vec::new();
    for _ in 0..2 {
        let replacing = bench.acceptance(&endpoint).await;
        let replacing = of_session(replacing, "vs_1", SessionPart::Replaces);
        let id = replacing.event.id.clone();
        made.push((id, bench.store.accept(replacing).await.unwrap()));
    }
    assert!(matches!(made[0].1, Accepted::Committed));
    assert!(matches!(made[1].1, Accepted::Withdrawn { .. }), "it is made once");
    let settled = bench.standing(&request).await;
    assert_eq!(settled.state, WithdrawalState::Settled);
    assert_eq!(settled.replacement_event_id.as_ref(), Some(&made[0].0));
    assert!(bench.store.owed(None, 10).await.unwrap().is_empty());
    let log = bench.store.audit_log(&organization, &Default::default(), &page()).await.unwrap();
    let logged = log.items.iter().find(|e| e.action == Action::PrivacyRequestSubmitted);
    assert_eq!(logged.expect("an entry").metadata["scrubbed"], 1);
}

fn page() -> hookseal_core::page::PageRequest {
    hookseal_core::page::PageRequest { limit: 100, starting_after: None }
}

async fn the_end_of_an_attempt_in_flight_decides(bench: Bench) {
    let organization = bench.organization().await;
    let answered = |status| Outcome::Answered { status, retry_after: None };
    #[rustfmt::skip] // a line a case
    let cases = [
        ("2xx",     answered(204),                         Status::Succeeded, WithdrawalState::Settled),
        ("500",     answered(500),                         Status::Failed,    WithdrawalState::Replacing),
        ("refused", Outcome::Faulted(ErrorKind::Connect),  Status::Failed,    WithdrawalState::Replacing),
        ("timeout", Outcome::Faulted(ErrorKind::Timeout),  Status::Failed,    WithdrawalState::Settled),
        ("reset",   Outcome::Faulted(ErrorKind::Reset),    Status::Failed,    WithdrawalState::Settled),
    ];
    for (name, outcome, status, state) in cases {
        let session = format!("vs_{name}");
        let delivery = bench.terminal(&organization, &session, SUCCEEDED).await;
        let claimed = bench.claimed(&delivery).await;
        let request = bench.withdraw(&organization, &session).await;
        assert_eq!((request.state, request.in_flight), (WithdrawalState::Settling, 1), "{name}");
        assert!(bench.told.revoked.lock().contains(&delivery.id), "{name}");
        assert_eq!(bench.payloads().await, 0, "{name}");
        bench.settled(&claimed, outcome).await;
        let ended = bench.read(&delivery).await.progress;
        assert_eq!((ended.status, ended.attempt_count), (status, 1), "{name}");
        assert_eq!(bench.standing(&request).await.state, state, "{name}");
    }
    assert_eq!(*bench.told.owed.lock(), 2);
}

async fn a_lost_claim_counts_as_delivered(bench: Bench) {
    let organization = bench.organization().await;
    for (blame, session) in [(Blame::Delivery, "vs_1"), (Blame::Nobody, "vs_2")] {
        let delivery = bench.terminal(&organization, session, SUCCEEDED).await;
        bench.claimed(&delivery).await;
        let request = bench.withdraw(&organization, session).await;
        let released = bench.store.release(Claims::All, after(60), 10, blame).await;
        assert_eq!(released.unwrap().claims, 1);
        let settled = bench.standing(&request).await;
        assert_eq!((settled.state, settled.delivered), (WithdrawalState::Settled, 1));
        assert_eq!(bench.read(&delivery).await.progress.status, Status::Failed);
    }
    // One that was lost before the withdrawal counts, too.
    let delivery = bench.terminal(&organization, "vs_3", SUCCEEDED).await;
    bench.claimed(&delivery).await;
    let released = bench.store.release(Claims::All, T0, 10, Blame::Nobody).await;
    assert_eq!(released.unwrap().claims, 1);
    assert_eq!(bench.withdraw(&organization, "vs_3").await.state, WithdrawalState::Settled);
}

async fn nothing_is_published_after_a_withdrawal(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let request = bench.withdraw(&organization, "vs_1").await;
    assert_eq!(request.state, WithdrawalState::Replacing, "no terminal event is known");
    for part in [SessionPart::Ends, SessionPart::Tells] {
        let late = of_session(bench.acceptance(&endpoint).await, "vs_1", part);
        let id = late.event.id.clone();
        match bench.store.accept(late).await.unwrap() {
            Accepted::Withdrawn { replacement: None, owed: Some(id) } => assert_eq!(id, request.id),
            other => panic!("{part:?}: {other:?}"),
        }
        assert!(bench.store.event(&organization, &id).await.unwrap().is_none());
    }
    assert_eq!(bench.payloads().await, 0);
    // What was accepted under its key before is still answered.
    let first = keyed(ending(bench.acceptance(&endpoint).await, "vs_2"), "k", "print");
    assert!(matches!(bench.store.accept(first).await.unwrap(), Accepted::Committed));
    bench.withdraw(&organization, "vs_2").await;
    let again = keyed(ending(bench.acceptance(&endpoint).await, "vs_2"), "k", "print");
    assert!(matches!(bench.store.accept(again).await.unwrap(), Accepted::Repeated { .. }));
}

async fn a_cancelled_event_is_left_alone(bench: Bench) {
    let organization = bench.organization().await;
    let cancelled = "verification.session.cancelled";
    let delivery = bench.terminal(&organization, "vs_1", cancelled).await;
    let request = bench.withdraw(&organization, "vs_1").await;
    assert_eq!(request.state, WithdrawalState::Settled);
    assert_eq!((request.scrubbed, bench.payloads().await), (0, 1));
    assert_eq!(bench.read(&delivery).await.progress.status, Status::Pending);
}

async fn a_withdrawn_session_is_withdrawn_once(bench: Bench) {
    let organization = bench.organization().await;
    bench.terminal(&organization, "vs_1", SUCCEEDED).await;
    let asked = (0..5).map(|_| bench.withdraw(&organization, "vs_1"));
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(|answer| answer.id == answers[0].id));
    let nobody = minter().organization();
    let made = entry(&nobody, Action::PrivacyRequestSubmitted);
    let unknown = bench.store.withdraw(withdrawal(&nobody, "vs_1"), made).await.unwrap();
    assert!(unknown.is_none());
}

const SESSIONS: usize = 2000;
const THREADS: usize = 8;
/// Sessions that one thread has open at a time.
const OPEN: usize = 25;

#[test]
fn no_session_gets_two_terminal_webhooks_on_sqlite() {
    no_session_gets_two_terminal_webhooks(None);
}

#[test]
fn no_session_gets_two_terminal_webhooks_on_postgres() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(new_postgres_database());
    no_session_gets_two_terminal_webhooks(Some(&url));
}

/// Receivers succeed, fail and hang at random while withdrawals come at random moments: before the
/// publish, during attempts, after them.
fn no_session_gets_two_terminal_webhooks(database: Option<&str>) {
    let mut settings = vec![
        ("HOOKSEAL_RETRY_SCHEDULE", "300ms,300ms"),
        ("HOOKSEAL_ATTEMPT_TIMEOUT", "700ms"),
        ("HOOKSEAL_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"),
    ];
    settings.extend(database.map(|url| ("HOOKSEAL_DATABASE_URL", url)));
    let home = Home::new(&settings);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receivers = [Receiver::start(Behaviour::Moody), Receiver::start(Behaviour::Moody)];
    for receiver in &receivers {
        tenant.register(receiver, json!({ "max_in_flight": 256 }));
    }
    let requests = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (tenant, requests) = (tenant.clone(), &requests);
            scope.spawn(move || {
                for round in 0..SESSIONS / THREADS / OPEN {
                    let sessions = (0..OPEN).map(|n| format!("vs_{thread}_{round}_{n}"));
                    let asked = publish_and_withdraw(&tenant, sessions.collect());
                    requests.lock().unwrap().extend(asked);
                }
            });
        }
    });
    let requests = requests.into_inner().unwrap();
    assert_eq!(requests.len(), SESSIONS);
    tenant.settle(Duration::from_secs(60));
    let shown = settled(&tenant, &requests);
    tenant.settle(Duration::from_secs(60));
    judge(&tenant, &receivers, &shown);
    let data_dir = home.data_dir();
    daemon.terminate();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let connections = Connections::open(database, &data_dir).await.unwrap();
        let left = "SELECT count(*) FROM sealed_payloads LEFT JOIN deliveries \
            ON deliveries.id = sealed_payloads.delivery_id \
            WHERE deliveries.id IS NULL OR deliveries.payload_scrubbed_at_ms IS NOT NULL";
        assert_eq!(count(&connections, left).await, 0, "a scrubbed payload is still there");
    });
}

/// Publishes the end of each session and withdraws it at a moment of chance, one in ten before it
/// is published; answers session and request.
fn publish_and_withdraw(tenant: &Tenant, sessions: Vec<String>) -> Vec<(String, String)> {
    let withdraw = |session: &str| {
        let body = json!({
            "organization_id": tenant.organization, "verification_session_id": session,
            "outcome": "succeeded",
        });
        let made = tenant.platform.post("/v1/platform/privacy-requests", body).ok();
        made["id"].as_str().unwrap().to_owned()
    };
    let mut asked = Vec::new();
    let mut waiting = Vec::new();
    for session in sessions {
        let early = rand::random_range(0..10) == 0;
        if early {
            asked.push((session.clone(), withdraw(&session)));
        }
        let event = tenant.event(&session, json!({ "claims": {} }));
        let published = tenant.platform.post("/v1/platform/events", event);
        assert_eq!(published.status, 202, "{published:?}");
        if early {
            assert_eq!(published.ok()["type"], "verification.session.cancelled");
        } else {
            let pause = Duration::from_millis(rand::random_range(0..1500));
            waiting.push((Instant::now() + pause, session));
        }
    }
    waiting.sort();
    for (at, session) in waiting {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        let request = withdraw(&session);
        asked.push((session, request));
    }
    asked
}

/// Every withdrawal, once none has anything left to do.
fn settled(tenant: &Tenant, requests: &[(String, String)]) -> HashMap<String, Value> {
    let mut shown = HashMap::new();
    for (session, request) in requests {
        let path = format!("/v1/platform/privacy-requests/{request}");
        wait(Duration::from_secs(30), "the withdrawal to settle", || {
            let found = tenant.platform.get(&path).ok();
            let over = found["state"] == "settled";
            shown.insert(session.clone(), found);
            over
        });
    }
    shown
}

fn judge(tenant: &Tenant, receivers: &[Receiver], requests: &HashMap<String, Value>) {
    // What a receiver has or may have: a 2xx, or no answer at all.
    let mut arrived: HashMap<String, bool> = HashMap::new();
    for arrival in receivers.iter().flat_map(Receiver::arrivals) {
        let has = arrival.accepted() || arrival.status.is_none();
        *arrived.entry(arrival.delivery_id).or_default() |= has;
    }
    let mut ends: HashMap<String, Vec<(Value, bool)>> = HashMap::new();
    for event in tenant.events() {
        let deliveries = event["deliveries"].as_array().unwrap();
        let arrived = |delivery: &Value| {
            arrived.get(delivery["id"].as_str().unwrap()).copied().unwrap_or(false)
        };
        let has = deliveries.iter().any(arrived);
        let session = event["trigger_id"].as_str().unwrap().to_owned();
        ends.entry(session).or_default().push((event, has));
    }
    let (mut delivered, mut replaced) = (0, 0);
    for (session, request) in requests {
        let events = &ends[session];
        let arrived = events.iter().filter(|(_, has)| *has).count();
        assert!(arrived <= 1, "{session} got two: {events:?} {request}");
        let of_type = |name: &str| events.iter().find(|(event, _)| event["type"] == name);
        let replacement = of_type("verification.session.cancelled");
        let id = replacement.map_or(&Value::Null, |(event, _)| &event["id"]);
        assert_eq!(id, &request["replacement_event_id"], "{session}");
        let terminal = of_type(SUCCEEDED).is_some_and(|(_, has)| *has);
        assert!(!terminal || replacement.is_none(), "{session} was delivered and replaced");
        assert!(terminal || replacement.is_some(), "{session} was neither: {events:?} {request}");
        delivered += usize::from(terminal);
        replaced += usize::from(replacement.is_some());
    }
    // Both are to be found in plenty, or the moments were not of chance.
    assert!(delivered > SESSIONS / 20 && replaced > SESSIONS / 20, "{delivered} {replaced}");
}
