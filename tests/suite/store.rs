//! The store's conformance suite: the same behaviour on SQLite and on PostgreSQL.

use std::collections::HashSet;
use std::time::Duration;

use hookseal_core::access::{ApiKey, ApiKeyFields, Organization};
use hookseal_core::audit::Action;
use hookseal_core::delivery::{Attempt, Claim, ClaimToken, Delivery, FailureReason, Status};
use hookseal_core::error::{Conflict, Error};
use hookseal_core::feed::{After, Change, DeliveryChange};
use hookseal_core::id::{DeliveryId, EventId, OrganizationId};
use hookseal_core::limits::LOST_CLAIMS;
use hookseal_core::outcome::{ErrorKind, Outcome};
use hookseal_core::page::PageRequest;
use hookseal_core::ports::{
    Accepted, ApiKeys, Archive, Blame, Claims, DeliveryFilter, Destination, Due, EndpointFilter,
    Endpoints, EventFilter, Feed as _, Haste, Keys, Ledger, Organizations, SessionPart, Settlement,
    Upkeep,
};
use hookseal_core::retention::{OVERDUE_GRACE, RetentionReason};
use hookseal_core::retry::RetrySchedule;
use hookseal_core::shard::{NodeNumber, Shards};
use hookseal_core::time::Timestamp;
use hookseal_entity::{delivery_attempt, sealed_payload, verification_session};
use sea_orm::{ConnectionTrait, EntityTrait};

use crate::support::databases::Bench;
use crate::support::rows::{
    LOCKED, T0, after, claim, delivery, ending, entry, key, keyed, minter, of_session,
};

crate::on_every_database!(
    a_committed_event_is_read_back_whole_and_handed_over,
    another_organization_sees_nothing,
    an_idempotency_key_stands_for_one_event,
    parallel_publishes_of_one_key_commit_once,
    a_stale_frozen_or_unknown_audience_leaves_no_trace,
    a_session_has_one_terminal_event,
    only_pending_deliveries_are_claimed,
    a_claim_does_what_the_machine_says,
    a_success_scrubs_the_payload,
    a_failure_keeps_the_attempt_it_replaces,
    a_fault_that_another_version_recorded_is_read_as_other,
    a_settlement_without_its_claim_changes_nothing,
    of_two_ends_of_a_claim_the_first_is_the_end,
    one_refused_write_spoils_no_other,
    what_stands_in_the_way_of_one_stands_in_no_others,
    a_lapsed_claim_is_due_again_and_the_third_parks,
    the_sweep_scrubs_what_is_over_and_nothing_else,
    history_goes_when_it_is_old_and_holds_no_payload,
    due_and_upcoming_come_in_order,
    endpoints_due_are_enabled_and_overdue,
    lists_are_newest_first_and_cursors_continue_them,
    lists_filter,
    one_key_is_active_and_every_change_raises_the_version,
    settings_change_in_one_transaction,
    a_replaced_secret_is_forgotten_when_its_period_ended,
    api_keys_are_found_by_their_hash,
    quotas_hold,
);

const PAGE: usize = 100;

fn page(limit: usize) -> PageRequest {
    PageRequest { limit, starting_after: None }
}

async fn payloads(bench: &Bench) -> usize {
    let db = &bench.connections.readers();
    sealed_payload::Entity::find().all(db).await.unwrap().len()
}

async fn accepted(bench: &Bench) -> Delivery {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let acceptance = bench.acceptance(&endpoint).await;
    let delivery = acceptance.deliveries[0].delivery.clone();
    assert!(matches!(bench.store.accept(acceptance).await.unwrap(), Accepted::Committed));
    delivery
}

async fn claimed(bench: &Bench, delivery: &Delivery, token: i64, now: Timestamp) -> Delivery {
    let ids = vec![delivery.id.clone()];
    let mut claimed =
        bench.store.claim(&delivery.endpoint_id, ids, claim(token, now), now).await.unwrap();
    claimed.pop().expect("it was pending").delivery
}

/// Ends claims that lapsed by `now`; answers how many.
async fn released(bench: &Bench, now: Timestamp) -> usize {
    let which = Claims::LapsedOf(NodeNumber::SOLE, now);
    bench.store.release(which, now, 10, Blame::Delivery).await.unwrap().claims
}

fn settlement(delivery: &Delivery, token: i64, status: u16, now: Timestamp) -> Settlement {
    let outcome = Outcome::Answered { status, retry_after: None };
    let attempt = Attempt::new(now, Duration::from_millis(5), outcome);
    let schedule = RetrySchedule::default();
    let progress = delivery
        .progress
        .settle(attempt, outcome.verdict(), &schedule, Default::default(), now)
        .unwrap();
    let replaced = delivery.progress.last_attempt;
    Settlement { delivery: delivery.clone(), token: ClaimToken(token), progress, replaced }
}

async fn freeze(bench: &Bench, id: &OrganizationId) {
    let freeze = |organization| Ok(Organization { frozen_at: Some(T0), ..organization });
    let entry = entry(id, Action::OrganizationFrozen);
    let frozen = bench.store.change_organization(id, Box::new(freeze), entry).await.unwrap();
    assert_eq!(frozen, bench.store.organization(id).await.unwrap());
}

async fn read(bench: &Bench, delivery: &Delivery) -> Delivery {
    let found = bench.store.delivery(&delivery.organization_id, &delivery.id).await.unwrap();
    found.expect("it is there")
}

async fn a_committed_event_is_read_back_whole_and_handed_over(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let acceptance = bench.acceptance(&endpoint).await;
    let (event, sent) = (acceptance.event.clone(), acceptance.deliveries[0].delivery.clone());
    assert!(matches!(bench.store.accept(acceptance).await.unwrap(), Accepted::Committed));
    let found = bench.store.event(&organization, &event.id).await.unwrap().unwrap();
    assert_eq!((found.event, found.deliveries), (event, vec![sent.clone()]));
    assert_eq!(bench.store.endpoint(&organization, &endpoint.id).await.unwrap(), Some(endpoint));
    let handed_over = bench.told.handed_over.lock();
    assert_eq!(handed_over.len(), 1);
    assert_eq!(handed_over[0].delivery, sent);
}

async fn another_organization_sees_nothing(bench: Bench) {
    let sent = accepted(&bench).await;
    let other = bench.organization().await;
    let store = &bench.store;
    assert!(store.event(&other, &sent.event_id).await.unwrap().is_none());
    assert!(store.delivery(&other, &sent.id).await.unwrap().is_none());
    assert!(store.endpoint(&other, &sent.endpoint_id).await.unwrap().is_none());
    assert!(store.keys(&other, &sent.endpoint_id, None, &page(10)).await.unwrap().items.is_empty());
    let foreign =
        DeliveryFilter { endpoint_id: Some(sent.endpoint_id.clone()), ..Default::default() };
    assert!(store.deliveries(&other, &foreign, &page(10)).await.unwrap().items.is_empty());
    let cursor = PageRequest { limit: 10, starting_after: Some(sent.id.to_string()) };
    let listed = store.deliveries(&other, &DeliveryFilter::default(), &cursor).await;
    assert!(matches!(listed, Err(Error::UnknownCursor)));
    let registered = bench.register(&other, &key(&sent.endpoint_id, "k"), 20).await;
    assert!(matches!(registered, Err(Error::NotFound(_))));
    let change = bench.change(&other, &sent.endpoint_id, |_| panic!("never read"));
    assert!(change.await.is_none());
}

async fn an_idempotency_key_stands_for_one_event(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let first = keyed(bench.acceptance(&endpoint).await, "k", "print");
    let first_id = first.event.id.clone();
    assert!(matches!(bench.store.accept(first).await.unwrap(), Accepted::Committed));
    let again = keyed(bench.acceptance(&endpoint).await, "k", "other");
    let again_id = again.event.id.clone();
    match bench.store.accept(again).await.unwrap() {
        Accepted::Repeated { event_id, fingerprint } => {
            assert_eq!((event_id, fingerprint.as_str()), (first_id.clone(), "print"));
        }
        other => panic!("expected a repetition: {other:?}"),
    }
    assert!(bench.store.event(&organization, &again_id).await.unwrap().is_none());
    let known = bench.store.idempotent(&organization, "k").await.unwrap();
    assert_eq!(known, Some((first_id, "print".to_owned())));
    let other = bench.organization().await;
    let elsewhere = bench.endpoint(&other).await;
    let same_key = keyed(bench.acceptance(&elsewhere).await, "k", "print");
    assert!(matches!(bench.store.accept(same_key).await.unwrap(), Accepted::Committed));
}

async fn parallel_publishes_of_one_key_commit_once(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let mut publishes = Vec::new();
    for _ in 0..10 {
        let acceptance = keyed(bench.acceptance(&endpoint).await, "k", "print");
        let store = bench.store.clone();
        publishes.push(tokio::spawn(async move { store.accept(acceptance).await.unwrap() }));
    }
    let (mut committed, mut answered) = (0, HashSet::new());
    for publish in publishes {
        match publish.await.unwrap() {
            Accepted::Committed => committed += 1,
            Accepted::Repeated { event_id, .. } => drop(answered.insert(event_id)),
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert_eq!((committed, answered.len()), (1, 1));
    assert_eq!(payloads(&bench).await, 1);
}

async fn a_stale_frozen_or_unknown_audience_leaves_no_trace(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let stale = bench.acceptance(&endpoint).await;
    bench.register(&organization, &key(&endpoint.id, "k"), 20).await.unwrap();
    assert!(matches!(bench.store.accept(stale).await.unwrap(), Accepted::Stale));
    let mut unknown = bench.acceptance(&endpoint).await;
    unknown.event.organization_id = minter().organization();
    assert!(matches!(bench.store.accept(unknown).await.unwrap(), Accepted::NoOrganization));
    let current = bench.acceptance(&endpoint).await;
    freeze(&bench, &organization).await;
    assert!(matches!(bench.store.accept(current).await.unwrap(), Accepted::Frozen));
    let events = bench.store.events(&organization, &EventFilter::default(), &page(PAGE)).await;
    assert!(events.unwrap().items.is_empty());
    assert_eq!(payloads(&bench).await, 0);
    assert!(bench.told.handed_over.lock().is_empty());
}

async fn a_session_has_one_terminal_event(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let first = ending(bench.acceptance(&endpoint).await, "vs_1");
    assert!(matches!(bench.store.accept(first).await.unwrap(), Accepted::Committed));
    let second = ending(bench.acceptance(&endpoint).await, "vs_1");
    let second_id = second.event.id.clone();
    assert!(matches!(bench.store.accept(second).await.unwrap(), Accepted::TerminalExists));
    assert!(bench.store.event(&organization, &second_id).await.unwrap().is_none());
    let other_session = ending(bench.acceptance(&endpoint).await, "vs_2");
    assert!(matches!(bench.store.accept(other_session).await.unwrap(), Accepted::Committed));
    assert_eq!(payloads(&bench).await, 2);
}

async fn only_pending_deliveries_are_claimed(bench: Bench) {
    let sent = accepted(&bench).await;
    let unknown = DeliveryId::from_row("whd_unknown");
    let ids = vec![unknown, sent.id.clone()];
    let to = &sent.endpoint_id;
    let first = bench.store.claim(to, ids.clone(), claim(1, T0), T0).await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!((&first[0].delivery.id, first[0].sealed.as_ref()), (&sent.id, &b"jwe"[..]));
    assert!(bench.store.claim(to, ids, claim(2, T0), T0).await.unwrap().is_empty());
    let later = accepted(&bench).await;
    let early = T0.minus(Duration::from_millis(1));
    let ids = vec![later.id.clone()];
    assert!(
        bench
            .store
            .claim(&later.endpoint_id, ids, claim(3, early), early)
            .await
            .unwrap()
            .is_empty(),
        "not yet due"
    );
}

async fn a_claim_does_what_the_machine_says(bench: Bench) {
    let sent = accepted(&bench).await;
    let (now, before) = (after(3), bench.feed.head());
    let by_store = claimed(&bench, &sent, 9, now).await;
    let by_machine = sent.progress.claim(claim(9, now), now).unwrap();
    assert_eq!(by_store.progress, by_machine);
    let After::Batches(told) = bench.feed.after(before) else { panic!("it is told of") };
    let told: Vec<_> = told.iter().flat_map(|batch| &batch.changes).collect();
    assert!(
        matches!(told[..], [Change::Delivery(DeliveryChange::Claimed, told)] if **told == by_store),
        "{told:?}"
    );
    assert_eq!(read(&bench, &sent).await.progress, by_machine);
}

async fn a_success_scrubs_the_payload(bench: Bench) {
    let sent = accepted(&bench).await;
    let flying = claimed(&bench, &sent, 1, T0).await;
    let settled = settlement(&flying, 1, 204, after(1));
    let progress = settled.progress.clone();
    assert_eq!(bench.store.settle(vec![settled], Haste::Now).await.unwrap(), [true]);
    assert_eq!(read(&bench, &sent).await.progress, progress);
    assert_eq!(payloads(&bench).await, 0);
    assert!(
        bench
            .store
            .claim(&sent.endpoint_id, vec![sent.id], claim(2, T0), T0)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn a_failure_keeps_the_attempt_it_replaces(bench: Bench) {
    let sent = accepted(&bench).await;
    for (attempt, now) in [(1, T0), (2, after(10)), (3, after(1000))] {
        let flying = claimed(&bench, &sent, attempt, now).await;
        let settled = settlement(&flying, attempt, 500, now);
        let progress = settled.progress.clone();
        assert_eq!(bench.store.settle(vec![settled], Haste::Now).await.unwrap(), [true]);
        assert_eq!(read(&bench, &sent).await.progress, progress);
        assert_eq!(i64::from(progress.attempt_count), attempt);
    }
    let history = delivery_attempt::Entity::find().all(&bench.connections.readers()).await.unwrap();
    assert_eq!(history.len(), 2);
    assert!(history.iter().all(|row| row.status_code == Some(500) && row.error.is_none()));
    assert_eq!(payloads(&bench).await, 1);
}

async fn a_fault_that_another_version_recorded_is_read_as_other(bench: Bench) {
    let sent = accepted(&bench).await;
    for (attempt, now) in [(1, T0), (2, after(10))] {
        let flying = claimed(&bench, &sent, attempt, now).await;
        let settled = settlement(&flying, attempt, 500, now);
        assert_eq!(bench.store.settle(vec![settled], Haste::Now).await.unwrap(), [true]);
    }
    for column in ["deliveries SET last_error", "delivery_attempts SET error"] {
        let sql = format!("UPDATE {column} = 'of_tomorrow'");
        bench.connections.readers().execute_unprepared(&sql).await.unwrap();
    }
    let other = Some(ErrorKind::Other);
    let filter = DeliveryFilter::default();
    let list = bench.store.deliveries(&sent.organization_id, &filter, &page(PAGE)).await.unwrap();
    assert_eq!(list.items[0].progress.last_attempt.unwrap().error, other);
    let ids = [sent.id.clone()];
    let attempts = bench.store.attempts(&sent.organization_id, &ids).await.unwrap();
    assert_eq!(attempts[&sent.id].iter().map(|a| a.error).collect::<Vec<_>>(), [other, other]);
    assert_eq!(claimed(&bench, &sent, 3, after(1000)).await.id, sent.id);
}

async fn a_settlement_without_its_claim_changes_nothing(bench: Bench) {
    let sent = accepted(&bench).await;
    let flying = claimed(&bench, &sent, 1, T0).await;
    let late = settlement(&flying, 1, 204, after(60));
    assert_eq!(released(&bench, after(60)).await, 1);
    let again = claimed(&bench, &sent, 2, after(60)).await;
    assert_eq!(bench.store.settle(vec![late], Haste::Now).await.unwrap(), [false]);
    assert_eq!(read(&bench, &sent).await, again);
    assert_eq!(payloads(&bench).await, 1);
}

async fn of_two_ends_of_a_claim_the_first_is_the_end(bench: Bench) {
    let sent = accepted(&bench).await;
    let flying = claimed(&bench, &sent, 1, T0).await;
    let delivered = settlement(&flying, 1, 204, after(1));
    let progress = flying.progress.hand_back(after(1)).unwrap();
    let handed_back =
        Settlement { delivery: sent.clone(), token: ClaimToken(1), progress, replaced: None };
    let ends = vec![delivered, handed_back];
    assert_eq!(bench.store.settle(ends, Haste::Now).await.unwrap(), [true, false]);
    assert_eq!(read(&bench, &sent).await.progress.status, Status::Succeeded);
}

async fn one_refused_write_spoils_no_other(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let standing = bench.acceptance(&endpoint).await;
    let taken = standing.deliveries[0].delivery.id.clone();
    bench.store.accept(standing).await.unwrap();
    let mut writes = Vec::new();
    for n in 0..20 {
        let mut acceptance = bench.acceptance(&endpoint).await;
        if n == 7 {
            acceptance.deliveries[0].delivery.id = taken.clone();
        }
        let store = bench.store.clone();
        writes.push(tokio::spawn(async move { store.accept(acceptance).await.is_ok() }));
    }
    let mut well = Vec::new();
    for write in writes {
        well.push(write.await.unwrap());
    }
    let expected: Vec<bool> = (0..20).map(|n| n != 7).collect();
    assert_eq!(well, expected);
    let events = bench.store.events(&organization, &EventFilter::default(), &page(PAGE)).await;
    assert_eq!(events.unwrap().items.len(), 20);
}

async fn what_stands_in_the_way_of_one_stands_in_no_others(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let (flying, lost) = (accepted(&bench).await, accepted(&bench).await);
    let flying = settlement(&claimed(&bench, &flying, 1, T0).await, 1, 204, after(1));
    let lost = settlement(&claimed(&bench, &lost, 2, T0).await, 3, 204, after(1));
    let key = keyed(bench.acceptance(&endpoint).await, "k", "print");
    bench.store.accept(key).await.unwrap();
    let end = ending(bench.acceptance(&endpoint).await, "vs_1");
    bench.store.accept(end).await.unwrap();
    let before = bench.told.handed_over.lock().len();
    // Twice: after a batch in which something stood in the way the next one is looked through, too.
    for round in 0..2 {
        let new = |what| format!("{what}{round}");
        let mut stale = bench.acceptance(&endpoint).await;
        stale.audience_version -= 1;
        let all = [
            (bench.acceptance(&endpoint).await, "Committed"),
            (keyed(bench.acceptance(&endpoint).await, "k", "print"), "Repeated"),
            (keyed(bench.acceptance(&endpoint).await, &new("k"), "print"), "Committed"),
            (ending(bench.acceptance(&endpoint).await, "vs_1"), "TerminalExists"),
            (ending(bench.acceptance(&endpoint).await, &new("vs_2")), "Committed"),
            (stale, "Stale"),
            (bench.acceptance(&endpoint).await, "Committed"),
        ];
        let mut answers = Vec::new();
        for (acceptance, expected) in all {
            let store = bench.store.clone();
            let accept = tokio::spawn(async move { store.accept(acceptance).await.unwrap() });
            answers.push((accept, expected));
        }
        let ends = [(&flying, round == 0), (&lost, false)].map(|(end, expected)| {
            let (store, end) = (bench.store.clone(), vec![end.clone()]);
            let settle = async move { store.settle(end, Haste::Now).await.unwrap() };
            (tokio::spawn(settle), expected)
        });
        for (answer, expected) in answers {
            let answer = format!("{:?}", answer.await.unwrap());
            assert!(answer.starts_with(expected), "{round}: {answer}, expected {expected}");
        }
        for (end, expected) in ends {
            assert_eq!(end.await.unwrap(), [expected], "{round}");
        }
    }
    assert_eq!(bench.told.handed_over.lock().len(), before + 8);
    assert_eq!(read(&bench, &flying.delivery).await.progress.status, Status::Succeeded);
    assert_eq!(read(&bench, &lost.delivery).await.progress.status, Status::Delivering);
}

async fn a_lapsed_claim_is_due_again_and_the_third_parks(bench: Bench) {
    let sent = accepted(&bench).await;
    let mut now = T0;
    for lost in 1..=LOST_CLAIMS {
        claimed(&bench, &sent, i64::from(lost), now).await;
        let Claim { expires_at, .. } = claim(1, now);
        let early = Timestamp::from_ms(expires_at.as_ms() - 1);
        assert_eq!(released(&bench, early).await, 0);
        now = expires_at;
        assert_eq!(released(&bench, now).await, 1);
        let found = read(&bench, &sent).await.progress;
        assert_eq!((found.lost_claims, found.attempt_count), (lost, 0));
        let parked = lost == LOST_CLAIMS;
        assert_eq!(found.status, if parked { Status::Failed } else { Status::Pending });
        assert_eq!(found.failure_reason, parked.then_some(FailureReason::Poisoned));
    }
}

async fn the_sweep_scrubs_what_is_over_and_nothing_else(bench: Bench) {
    let pending = accepted(&bench).await;
    let expiry = pending.progress.payload_expires_at.unwrap();
    assert_eq!(bench.store.sweep(expiry, 10).await.unwrap(), 0, "its schedule may be late");
    let (organization, endpoint) = (&pending.organization_id, &pending.endpoint_id);
    bench.change(organization, endpoint, |e| e.enabled = false).await;
    let early = Timestamp::from_ms(expiry.as_ms() - 1);
    assert_eq!(bench.store.sweep(early, 10).await.unwrap(), 0);
    assert_eq!(bench.store.sweep(expiry, 10).await.unwrap(), 1);
    let expired = read(&bench, &pending).await.progress;
    assert_eq!(
        (expired.status, expired.failure_reason),
        (Status::Failed, Some(FailureReason::Expired))
    );
    assert_eq!(expired.retention_reason, RetentionReason::Expired);
    assert_eq!((expired.has_payload(), payloads(&bench).await), (false, 0));
    let overdue = accepted(&bench).await;
    assert_eq!(bench.store.sweep(expiry.plus(OVERDUE_GRACE), 10).await.unwrap(), 1);
    assert_eq!(read(&bench, &overdue).await.progress.status, Status::Failed);
}

async fn history_goes_when_it_is_old_and_holds_no_payload(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let held = bench.acceptance(&endpoint).await;
    let held_id = held.event.id.clone();
    bench.store.accept(held).await.unwrap();
    let mut without = Vec::new();
    for acceptance in [
        ending(bench.acceptance(&endpoint).await, "vs_1"),
        keyed(bench.acceptance(&endpoint).await, "k", "print"),
    ] {
        let (event, sent) =
            (acceptance.event.id.clone(), acceptance.deliveries[0].delivery.clone());
        bench.store.accept(acceptance).await.unwrap();
        let mut at = T0;
        for (token, status) in [(1, 500), (2, 200)] {
            let flying = claimed(&bench, &sent, token, at).await;
            let end = settlement(&flying, token, status, at);
            at = end.progress.next_attempt_at.unwrap_or(at);
            bench.store.settle(vec![end], Haste::Now).await.unwrap();
        }
        without.push(event);
    }
    let left = async || {
        let db = &bench.connections.readers();
        let attempts = delivery_attempt::Entity::find().all(db).await.unwrap().len();
        (attempts, verification_session::Entity::find().all(db).await.unwrap().len())
    };
    assert_eq!(left().await, (2, 1));
    // Ids lead with the minter's time, which is the test's own.
    let far = Timestamp::MAX;
    let there = async |id: &EventId| bench.store.event(&organization, id).await.unwrap().is_some();
    assert_eq!(bench.store.purge(T0.minus(Duration::from_secs(1 << 33)), T0, 10).await.unwrap(), 0);
    assert_eq!(bench.store.purge(far, T0, 10).await.unwrap(), 1);
    assert_eq!((there(&without[0]).await, there(&without[1]).await), (false, true));
    assert_eq!(left().await, (1, 1));
    let mut unheld = ending(bench.acceptance(&endpoint).await, "vs_2");
    unheld.deliveries.clear();
    bench.store.accept(unheld).await.unwrap();
    assert_eq!(left().await, (1, 2));
    assert_eq!(bench.store.purge(far, after(1), 2).await.unwrap(), 2);
    assert!(there(&held_id).await && !there(&without[1]).await);
    assert_eq!(left().await, (0, 1), "of the sessions the one that outlived its event");
    // That the session has ended is known as long as an idempotency key is.
    let again = ending(bench.acceptance(&endpoint).await, "vs_1");
    assert!(matches!(bench.store.accept(again).await.unwrap(), Accepted::TerminalExists));
    // Of one that did not end there is nothing to be known.
    let mut telling = of_session(bench.acceptance(&endpoint).await, "vs_3", SessionPart::Tells);
    telling.deliveries.clear();
    bench.store.accept(telling).await.unwrap();
    assert_eq!(left().await, (0, 2));
    assert_eq!(bench.store.purge(far, T0, 10).await.unwrap(), 1);
    assert_eq!(left().await, (0, 1));
    // A round that finds few events has time for old sessions.
    let mut unheld = ending(bench.acceptance(&endpoint).await, "vs_4");
    unheld.deliveries.clear();
    bench.store.accept(unheld).await.unwrap();
    assert_eq!(bench.store.purge(far, after(1), 10).await.unwrap(), 1);
    assert_eq!(left().await, (0, 0));
    let again = ending(bench.acceptance(&endpoint).await, "vs_1");
    assert!(matches!(bench.store.accept(again).await.unwrap(), Accepted::Committed));
}

async fn due_and_upcoming_come_in_order(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let mut ids = Vec::new();
    for secs in [30, 10, 20, 20] {
        let mut acceptance = bench.acceptance(&endpoint).await;
        let sent = &mut acceptance.deliveries[0].delivery;
        sent.progress.next_attempt_at = Some(after(secs));
        ids.push(sent.id.clone());
        bench.store.accept(acceptance).await.unwrap();
    }
    let [late, first, second, third] = &ids[..] else { unreachable!() };
    let due = bench.store.due(&endpoint.id, after(20), 10).await.unwrap();
    let due_at = |secs, id: &DeliveryId| Due {
        at: after(secs),
        id: id.clone(),
        endpoint_id: endpoint.id.clone(),
    };
    assert_eq!(due, [due_at(10, first), due_at(20, second), due_at(20, third)]);
    assert_eq!(bench.store.due(&endpoint.id, after(9), 10).await.unwrap(), []);
    let mut paged = Vec::new();
    let mut cursor = (T0, None);
    loop {
        let page = bench
            .store
            .upcoming(Shards::ALL, (cursor.0, cursor.1.as_ref()), after(30), 2)
            .await
            .unwrap();
        let Some(last) = page.last().cloned() else { break };
        cursor = (last.at, Some(last.id));
        paged.extend(page.into_iter().map(|due| due.id));
    }
    assert_eq!(paged, [first.clone(), second.clone(), third.clone(), late.clone()]);
    let rest = bench.store.upcoming(Shards::ALL, (after(20), None), after(29), 10).await.unwrap();
    assert!(rest.is_empty());
}

async fn endpoints_due_are_enabled_and_overdue(bench: Bench) {
    let (one, two) = (accepted(&bench).await, accepted(&bench).await);
    let mut ids = [one.endpoint_id.clone(), two.endpoint_id.clone()];
    ids.sort();
    assert_eq!(bench.store.endpoints_due(T0, None, 10).await.unwrap(), ids);
    assert_eq!(bench.store.endpoints_due(T0, Some(&ids[0]), 10).await.unwrap(), ids[1..]);
    assert_eq!(bench.store.endpoints_due(T0, None, 1).await.unwrap(), ids[..1]);
    let before = T0.minus(Duration::from_secs(1));
    assert!(bench.store.endpoints_due(before, None, 10).await.unwrap().is_empty());
    claimed(&bench, &one, 1, T0).await;
    bench.change(&two.organization_id, &two.endpoint_id, |e| e.enabled = false).await;
    assert!(bench.store.endpoints_due(T0, None, 10).await.unwrap().is_empty());
}

async fn lists_are_newest_first_and_cursors_continue_them(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let mut sent = Vec::new();
    for _ in 0..5 {
        let acceptance = bench.acceptance(&endpoint).await;
        sent.push((acceptance.event.id.clone(), acceptance.deliveries[0].delivery.id.clone()));
        bench.store.accept(acceptance).await.unwrap();
    }
    sent.reverse();
    let (mut events, mut deliveries) = (Vec::new(), Vec::new());
    let mut next = page(2);
    loop {
        let found =
            bench.store.events(&organization, &EventFilter::default(), &next).await.unwrap();
        events.extend(found.items.iter().map(|found| found.event.id.clone()));
        assert!(found.items.iter().all(|found| found.deliveries.len() == 1));
        if !found.has_more {
            break;
        }
        next.starting_after = events.last().map(ToString::to_string);
    }
    let mut next = page(2);
    loop {
        let filter = DeliveryFilter::default();
        let found = bench.store.deliveries(&organization, &filter, &next).await.unwrap();
        deliveries.extend(found.items.iter().map(|found| found.id.clone()));
        if !found.has_more {
            break;
        }
        next.starting_after = deliveries.last().map(ToString::to_string);
    }
    assert_eq!(events, sent.iter().map(|(event, _)| event.clone()).collect::<Vec<_>>());
    assert_eq!(deliveries, sent.iter().map(|(_, delivery)| delivery.clone()).collect::<Vec<_>>());
    let unknown = PageRequest { limit: 2, starting_after: Some("evt_unknown".into()) };
    let listed = bench.store.events(&organization, &EventFilter::default(), &unknown).await;
    assert!(matches!(listed, Err(Error::UnknownCursor)));
}

async fn lists_filter(bench: Bench) {
    let organization = bench.organization().await;
    let (one, two) = (bench.endpoint(&organization).await, bench.endpoint(&organization).await);
    let mut acceptance = bench.acceptance(&one).await;
    let second = delivery(&acceptance.event, &two.id);
    let first = acceptance.deliveries[0].delivery.clone();
    acceptance.deliveries.push(hookseal_core::ports::NewDelivery {
        delivery: second.clone(),
        sealed: Some(bytes::Bytes::from_static(b"jwe")),
        reservation: None,
    });
    let event = acceptance.event.clone();
    bench.store.accept(acceptance).await.unwrap();
    claimed(&bench, &first, 1, T0).await;
    let listed = async |filter: DeliveryFilter| {
        let found = bench.store.deliveries(&organization, &filter, &page(PAGE)).await.unwrap();
        found.items.into_iter().map(|delivery| delivery.id).collect::<HashSet<_>>()
    };
    let of = |ids: &[&DeliveryId]| ids.iter().map(|id| (*id).clone()).collect::<HashSet<_>>();
    let status = |status| DeliveryFilter { status: Some(status), ..Default::default() };
    assert_eq!(listed(status(Status::Delivering)).await, of(&[&first.id]));
    assert_eq!(listed(status(Status::Pending)).await, of(&[&second.id]));
    assert_eq!(listed(status(Status::Failed)).await, of(&[]));
    let by_endpoint = DeliveryFilter { endpoint_id: Some(two.id.clone()), ..Default::default() };
    assert_eq!(listed(by_endpoint).await, of(&[&second.id]));
    let by_event = DeliveryFilter { event_id: Some(event.id.clone()), ..Default::default() };
    assert_eq!(listed(by_event).await, of(&[&first.id, &second.id]));
    let typed = async |name: &str| {
        let filter = EventFilter { event_type: Some(name.into()), ..Default::default() };
        bench.store.events(&organization, &filter, &page(PAGE)).await.unwrap().items.len()
    };
    assert_eq!(typed("verification.session.expired").await, 1);
    assert_eq!(typed("verification.session.failed").await, 0);
    let enabled = async |enabled| {
        let filter = EndpointFilter { enabled: Some(enabled) };
        bench.store.endpoints(&organization, &filter, &page(PAGE)).await.unwrap().items.len()
    };
    assert_eq!((enabled(true).await, enabled(false).await), (2, 0));
}

async fn one_key_is_active_and_every_change_raises_the_version(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let mut version = bench.version(&organization).await;
    for n in 0..3 {
        let registered = key(&endpoint.id, &format!("k{n}"));
        bench.register(&organization, &registered, 20).await.unwrap();
        let audience = bench.store.audience(&organization).await.unwrap().unwrap();
        assert!(audience.version > version);
        version = audience.version;
        let active = audience.members[0].key.as_ref().unwrap();
        assert_eq!((&active.id, &active.key_id), (&registered.id, &registered.key_id));
    }
    let listed = async |active| {
        let found =
            bench.store.keys(&organization, &endpoint.id, active, &page(PAGE)).await.unwrap();
        found.items
    };
    assert_eq!(listed(None).await.len(), 3);
    assert_eq!(listed(Some(true)).await.len(), 1);
    let inactive = listed(Some(false)).await;
    assert!(inactive.iter().all(|key| key.disabled_at == Some(T0)));
    assert!(inactive.windows(2).all(|pair| pair[0].id < pair[1].id));
}

async fn settings_change_in_one_transaction(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let mut changes = Vec::new();
    for n in 0..8 {
        let (store, organization, id) =
            (bench.store.clone(), organization.clone(), endpoint.id.clone());
        changes.push(tokio::spawn(async move {
            let change = move |mut found: Destination| {
                found.endpoint.labels.push(format!("l{n}"));
                Ok(found)
            };
            let entry = entry(&organization, Action::EndpointUpdated);
            store.change_endpoint(&organization, &id, Box::new(change), entry).await.unwrap()
        }));
    }
    for change in changes {
        assert!(change.await.unwrap().is_some());
    }
    let found = bench.store.endpoint(&organization, &endpoint.id).await.unwrap().unwrap();
    assert_eq!(found.labels.len(), 1 + 8, "no change overwrote another");
    let destination = bench.store.destination(&endpoint.id).await.unwrap().unwrap();
    assert_eq!((destination.endpoint, destination.locked_secret.as_str()), (found, "locked"));
}

async fn a_replaced_secret_is_forgotten_when_its_period_ended(bench: Bench) {
    let organization = bench.organization().await;
    let mut endpoints = Vec::new();
    for minutes in [1, 2, 3] {
        let endpoint = bench.endpoint(&organization).await;
        let until = T0.plus(Duration::from_secs(60 * minutes));
        let rotate = move |found: Destination| {
            Ok(Destination {
                endpoint: found.endpoint.rotated(Some(until), T0),
                locked_secret: format!("{LOCKED}.new"),
                locked_previous_secret: Some(found.locked_secret),
            })
        };
        let made = entry(&organization, Action::SecretRotated);
        let rotated =
            bench.store.change_endpoint(&organization, &endpoint.id, Box::new(rotate), made).await;
        let rotated = rotated.unwrap().unwrap();
        assert_eq!((rotated.previous_secret_until, rotated.revision), (Some(until), 2));
        endpoints.push(rotated);
    }
    let kept = async || {
        let mut kept = Vec::new();
        for endpoint in &endpoints {
            let found = bench.store.destination(&endpoint.id).await.unwrap().unwrap();
            assert_eq!(found.locked_secret, format!("{LOCKED}.new"));
            assert_eq!(found.endpoint.revision, 2);
            let until = found.endpoint.previous_secret_until;
            assert_eq!(found.locked_previous_secret.is_some(), until.is_some());
            kept.extend(until);
        }
        kept
    };
    let at = |seconds| T0.plus(Duration::from_secs(seconds));
    assert_eq!(bench.store.forget_previous_secrets(at(59), 10).await.unwrap(), 0);
    assert_eq!(kept().await.len(), 3);
    assert_eq!(bench.store.forget_previous_secrets(at(120), 1).await.unwrap(), 1, "a batch");
    assert_eq!(bench.store.forget_previous_secrets(at(120), 10).await.unwrap(), 1);
    assert_eq!(kept().await, [at(180)]);
    // A deleted endpoint keeps neither.
    let made = entry(&organization, Action::EndpointDeleted);
    bench.store.delete_endpoint(&organization, &endpoints[2].id, made).await.unwrap();
    let db = &bench.connections.readers();
    let row = hookseal_entity::endpoint::Entity::find_by_id(endpoints[2].id.as_str());
    let row = row.one(db).await.unwrap().unwrap();
    assert_eq!((row.previous_signing_secret, row.previous_secret_until_ms), (None, None));
    assert_eq!(row.signing_secret, "");
}

fn api_key(organization: &OrganizationId) -> ApiKey {
    let fields = ApiKeyFields {
        name: "ci".into(),
        permissions: vec!["webhooks:read".into()],
        metadata: Default::default(),
    };
    fields.create(minter().api_key_id(), organization.clone(), T0).unwrap()
}

async fn api_keys_are_found_by_their_hash(bench: Bench) {
    let organization = bench.organization().await;
    let key = api_key(&organization);
    let entry = entry(&organization, Action::ApiKeyCreated);
    bench.store.insert_api_key(&key, "hash", 1, Some(entry)).await.unwrap();
    assert_eq!(bench.store.api_key("hash").await.unwrap(), Some((key.clone(), false)));
    assert_eq!(bench.store.api_key("other").await.unwrap(), None);
    assert!(!bench.store.has_platform_key().await.unwrap());
    freeze(&bench, &organization).await;
    assert_eq!(bench.store.api_key("hash").await.unwrap(), Some((key, true)));
}

async fn quotas_hold(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let one_more =
        hookseal_core::endpoint::Endpoint { id: minter().endpoint(), ..endpoint.clone() };
    let refused = bench.insert(one_more, None, 1).await;
    assert!(matches!(refused, Err(Error::Conflict(Conflict::TooManyEndpoints))));
    bench.register(&organization, &key(&endpoint.id, "a"), 1).await.unwrap();
    let refused = bench.register(&organization, &key(&endpoint.id, "b"), 1).await;
    assert!(matches!(refused, Err(Error::Conflict(Conflict::TooManyKeys))));
    let made = entry(&organization, Action::ApiKeyCreated);
    bench.store.insert_api_key(&api_key(&organization), "hash", 1, Some(made)).await.unwrap();
    let made = entry(&organization, Action::ApiKeyCreated);
    let refused = bench.store.insert_api_key(&api_key(&organization), "other", 1, Some(made)).await;
    assert!(matches!(refused, Err(Error::Conflict(Conflict::TooManyApiKeys))));
    let elsewhere = bench.organization().await;
    let made = entry(&elsewhere, Action::ApiKeyCreated);
    bench.store.insert_api_key(&api_key(&elsewhere), "third", 1, Some(made)).await.unwrap();
    let same = bench.store.organization(&organization).await.unwrap().unwrap();
    let refused = bench
        .store
        .insert_organization(&same, entry(&organization, Action::OrganizationCreated))
        .await;
    assert!(matches!(refused, Err(Error::Conflict(Conflict::OrganizationExists))));
}
