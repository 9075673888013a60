//! Deletion that keeps history, and creation that is not doubled: the same on each database.

use hookseal_core::audit::Action;
use hookseal_core::delivery::{FailureReason, Status};
use hookseal_core::error::{Conflict, Error};
use hookseal_core::ports::{
    Accepted, ApiKeys as _, Archive as _, AuditLog as _, EndpointFilter, Endpoints as _,
    EventFilter, Idempotency, Inserted, Keys as _, Ledger as _, Organizations as _, Upkeep as _,
};
use hookseal_core::retention::RetentionReason;
use hookseal_entity::{delivery, encryption_key, endpoint, organization, sealed_payload};
use sea_orm::EntityTrait;

use crate::support::databases::Bench;
use crate::support::rows::{T0, after, claim, entry, key, minter};

crate::on_every_database!(
    a_deleted_endpoint_vanishes_and_its_deliveries_stay,
    a_deleted_endpoint_keeps_nothing_secret,
    what_comes_late_for_a_deleted_endpoint_fails,
    a_deleted_organization_vanishes_at_once_and_its_rows_in_time,
    an_endpoint_is_made_once_under_its_key,
    requests_are_counted_and_changes_leave_the_count_alone,
    a_refused_change_leaves_no_entry,
);

fn page(cursor: Option<&str>) -> hookseal_core::page::PageRequest {
    hookseal_core::page::PageRequest { limit: 10, starting_after: cursor.map(ToOwned::to_owned) }
}

async fn a_deleted_endpoint_vanishes_and_its_deliveries_stay(bench: Bench) {
    let organization = bench.organization().await;
    let doomed = bench.endpoint(&organization).await;
    let (first, second) = (bench.acceptance(&doomed).await, bench.acceptance(&doomed).await);
    let pending = first.deliveries[0].delivery.clone();
    let flying = second.deliveries[0].delivery.clone();
    for acceptance in [first, second] {
        assert!(matches!(bench.store.accept(acceptance).await.unwrap(), Accepted::Committed));
    }
    bench.store.claim(&doomed.id, vec![flying.id.clone()], claim(1, T0), T0).await.unwrap();
    let made = entry(&organization, Action::EndpointDeleted);
    assert!(bench.store.delete_endpoint(&organization, &doomed.id, made.clone()).await.unwrap());
    let again = entry(&organization, Action::EndpointDeleted);
    assert!(!bench.store.delete_endpoint(&organization, &doomed.id, again).await.unwrap());
    assert!(bench.store.endpoint(&organization, &doomed.id).await.unwrap().is_none());
    assert!(bench.store.destination(&doomed.id).await.unwrap().is_none());
    let left = bench.endpoint(&organization).await;
    let listed = async |cursor: Option<&str>| {
        let filter = EndpointFilter::default();
        let found = bench.store.endpoints(&organization, &filter, &page(cursor)).await.unwrap();
        found.items.into_iter().map(|endpoint| endpoint.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(None).await, std::slice::from_ref(&left.id));
    // Its id still tells where a page ended.
    let rest = listed(Some(doomed.id.as_str())).await;
    assert!(rest.is_empty() || rest == [left.id.clone()]);
    let found = bench.store.delivery(&organization, &pending.id).await.unwrap().unwrap().progress;
    assert_eq!(
        (found.status, found.failure_reason, found.retention_reason),
        (Status::Failed, Some(FailureReason::EndpointDeleted), RetentionReason::Expired)
    );
    let found = bench.store.delivery(&organization, &flying.id).await.unwrap().unwrap().progress;
    assert!(found.is_revoked_in_flight());
    let payloads = sealed_payload::Entity::find().all(&bench.connections.readers()).await.unwrap();
    assert!(payloads.is_empty());
    let filter = EventFilter::default();
    let events = bench.store.events(&organization, &filter, &page(None)).await.unwrap();
    assert_eq!(events.items.len(), 2, "history stays");
    let log = bench.store.audit_log(&organization, &Default::default(), &page(None)).await;
    assert!(log.unwrap().items.contains(&made));
}

async fn a_deleted_endpoint_keeps_nothing_secret(bench: Bench) {
    let organization = bench.organization().await;
    let doomed = bench.endpoint(&organization).await;
    let registered = key(&doomed.id, "k");
    bench.register(&organization, &registered, 20).await.unwrap();
    let made = entry(&organization, Action::EndpointDeleted);
    bench.store.delete_endpoint(&organization, &doomed.id, made).await.unwrap();
    let db = &bench.connections.readers();
    let row = endpoint::Entity::find_by_id(doomed.id.as_str()).one(db).await.unwrap().unwrap();
    assert_eq!(row.signing_secret, "");
    let row = encryption_key::Entity::find_by_id(registered.id.as_str()).one(db).await.unwrap();
    assert_eq!(row.expect("its id stays").jwk, "{}");
    let keys = bench.store.keys(&organization, &doomed.id, None, &page(None)).await.unwrap();
    assert!(keys.items.is_empty());
    let made = entry(&organization, Action::KeyReactivated);
    let revived = bench.store.set_key_active(&organization, &registered.id, true, made).await;
    assert!(revived.unwrap().is_none());
}

async fn what_comes_late_for_a_deleted_endpoint_fails(bench: Bench) {
    let organization = bench.organization().await;
    let doomed = bench.endpoint(&organization).await;
    let mut late = bench.acceptance(&doomed).await;
    let made = entry(&organization, Action::EndpointDeleted);
    bench.store.delete_endpoint(&organization, &doomed.id, made).await.unwrap();
    // As a publish that read the version before the deletion and commits after it.
    late.audience_version = bench.version(&organization).await;
    let delivery = late.deliveries[0].delivery.clone();
    assert!(matches!(bench.store.accept(late).await.unwrap(), Accepted::Committed));
    assert_eq!(bench.store.clear_deleted_endpoints(after(1), 10).await.unwrap(), 1);
    let found = bench.store.delivery(&organization, &delivery.id).await.unwrap().unwrap();
    assert_eq!(found.progress.failure_reason, Some(FailureReason::EndpointDeleted));
    // Once no publish of before can come any more, it is not looked at again.
    assert_eq!(bench.store.clear_deleted_endpoints(after(3600), 10).await.unwrap(), 0);
    let db = &bench.connections.readers();
    let row = endpoint::Entity::find_by_id(doomed.id.as_str()).one(db).await.unwrap().unwrap();
    assert!(row.cleared_at_ms.is_some());
}

async fn a_deleted_organization_vanishes_at_once_and_its_rows_in_time(bench: Bench) {
    let (doomed, other) = (bench.organization().await, bench.organization().await);
    for organization in [&doomed, &other] {
        let endpoint = bench.endpoint(organization).await;
        bench.register(organization, &key(&endpoint.id, "k"), 20).await.unwrap();
        for _ in 0..3 {
            let acceptance = bench.acceptance(&endpoint).await;
            assert!(matches!(bench.store.accept(acceptance).await.unwrap(), Accepted::Committed));
        }
    }
    assert!(bench.store.delete_organization(&doomed, T0).await.unwrap());
    assert!(!bench.store.delete_organization(&doomed, T0).await.unwrap());
    assert!(bench.store.organization(&doomed).await.unwrap().is_none());
    assert!(bench.store.audience(&doomed).await.unwrap().is_none());
    for _ in 0..20 {
        bench.store.purge_deleted_organizations(after(3600), 2).await.unwrap();
    }
    let db = &bench.connections.readers();
    let organizations = organization::Entity::find().all(db).await.unwrap();
    assert_eq!(organizations.len(), 1);
    assert_eq!(endpoint::Entity::find().all(db).await.unwrap().len(), 1);
    assert_eq!(encryption_key::Entity::find().all(db).await.unwrap().len(), 1);
    let deliveries = delivery::Entity::find().all(db).await.unwrap();
    assert!(
        deliveries.len() == 3 && deliveries.iter().all(|d| d.organization_id == *other.as_str())
    );
    assert_eq!(sealed_payload::Entity::find().all(db).await.unwrap().len(), 3);
}

async fn an_endpoint_is_made_once_under_its_key(bench: Bench) {
    let organization = bench.organization().await;
    let like = bench.endpoint(&organization).await;
    let keyed = |print: &str| Some(Idempotency { key: "k".into(), fingerprint: print.into() });
    let new = || hookseal_core::endpoint::Endpoint { id: minter().endpoint(), ..like.clone() };
    let made = (0..8).map(|_| bench.insert(new(), keyed("print"), 50));
    let answers = futures_util::future::join_all(made).await;
    let new_ones = answers.iter().filter(|answer| matches!(answer, Ok(Inserted::New))).count();
    assert_eq!(new_ones, 1);
    match bench.insert(new(), keyed("other"), 1).await.unwrap() {
        Inserted::Repeated { first, fingerprint } => {
            assert_eq!((fingerprint.as_str(), first.locked_secret.as_str()), ("print", "locked"));
            // Gone, it no longer answers for its key.
            let made = entry(&organization, Action::EndpointDeleted);
            bench.store.delete_endpoint(&organization, &first.endpoint.id, made).await.unwrap();
        }
        Inserted::New => panic!("the key stands"),
    }
    assert!(matches!(bench.insert(new(), keyed("other"), 50).await.unwrap(), Inserted::New));
}

async fn requests_are_counted_and_changes_leave_the_count_alone(bench: Bench) {
    let organization = bench.organization().await;
    let fields = hookseal_core::access::ApiKeyFields {
        name: "ci".into(),
        permissions: vec!["webhooks:read".into()],
        metadata: Default::default(),
    };
    let key = fields.create(minter().api_key_id(), organization.clone(), T0).unwrap();
    let made = entry(&organization, Action::ApiKeyCreated);
    bench.store.insert_api_key(&key, "hash", 1, Some(made)).await.unwrap();
    bench.store.count_requests(vec![(key.id.clone(), 7)]).await.unwrap();
    let store = bench.store.clone();
    let rename = move |key| Ok(hookseal_core::access::ApiKey { name: "new".into(), ..key });
    let made = entry(&organization, Action::ApiKeyUpdated);
    store.change_api_key(&organization, &key.id, Box::new(rename), made).await.unwrap().unwrap();
    bench.store.count_requests(vec![(key.id.clone(), 1)]).await.unwrap();
    let found = bench.store.api_keys(&organization, &page(None)).await.unwrap().items;
    assert_eq!((found[0].name.as_str(), found[0].request_count), ("new", 8));
    let other = bench.organization().await;
    let made = entry(&other, Action::ApiKeyDeleted);
    assert!(!bench.store.delete_api_key(&other, &key.id, made).await.unwrap());
    let made = entry(&organization, Action::ApiKeyDeleted);
    assert!(bench.store.delete_api_key(&organization, &key.id, made).await.unwrap());
    assert_eq!(bench.store.api_key("hash").await.unwrap(), None);
}

async fn a_refused_change_leaves_no_entry(bench: Bench) {
    let organization = bench.organization().await;
    let endpoint = bench.endpoint(&organization).await;
    let standing = async || {
        let log = bench.store.audit_log(&organization, &Default::default(), &page(None)).await;
        log.unwrap().items.len()
    };
    let before = standing().await;
    let refuse = Box::new(|_| Err(Error::Conflict(Conflict::EndpointDisabled)));
    let made = entry(&organization, Action::EndpointUpdated);
    let refused = bench.store.change_endpoint(&organization, &endpoint.id, refuse, made).await;
    assert!(matches!(refused, Err(Error::Conflict(Conflict::EndpointDisabled))));
    assert!(bench.insert(endpoint.clone(), None, 1).await.is_err());
    assert_eq!(standing().await, before);
}
