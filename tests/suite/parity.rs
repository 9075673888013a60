//! GraphQL mirrors REST: every operation has its twin, what is done through one is seen through the
//! other, and what one refuses the other refuses with the same code.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use crate::support::daemon::{Answer, Caller, Daemon, Home, Tenant, wait};
use crate::support::leavings::CANARY;
use crate::support::sessions::token;

const SECRET: &str = "a secret of dashboards, thirty-two characters long";

/// Operations of REST and the fields that do the same; what speaks of REST itself or of the process
/// has none.
const TWINS: &[(&str, &str)] = &[
    ("listEndpoints", "endpoints"),
    ("createEndpoint", "createEndpoint"),
    ("getEndpoint", "endpoint"),
    ("updateEndpoint", "updateEndpoint"),
    ("deleteEndpoint", "deleteEndpoint"),
    ("revealSigningSecret", "revealSigningSecret"),
    ("rotateSigningSecret", "rotateSigningSecret"),
    ("testEndpoint", "testEndpoint"),
    ("listKeys", "encryptionKeys"),
    ("createKey", "createEncryptionKey"),
    ("deactivateKey", "deactivateEncryptionKey"),
    ("reactivateKey", "reactivateEncryptionKey"),
    ("listDeliveries", "deliveries"),
    ("getDelivery", "delivery"),
    ("listAttempts", "attempts"),
    ("retryDelivery", "retryDelivery"),
    ("listEvents", "events"),
    ("getEvent", "event"),
    ("replayEvent", "replayEvent"),
    ("listEventsByAlias", "events"),
    ("getEventByAlias", "event"),
    ("replayEventByAlias", "replayEvent"),
    ("listAuditLog", "auditLog"),
    ("listApiKeys", "apiKeys"),
    ("createApiKey", "createApiKey"),
    ("updateApiKey", "updateApiKey"),
    ("deleteApiKey", "deleteApiKey"),
    ("listOrganizations", "organizations"),
    ("createOrganization", "createOrganization"),
    ("getOrganization", "organization"),
    ("updateOrganization", "updateOrganization"),
    ("deleteOrganization", "deleteOrganization"),
    ("createOrganizationApiKey", "createApiKey"),
    ("getCluster", "cluster"),
    ("publishEvent", "publishEvent"),
    ("publishEvents", "publishEvents"),
    ("createPrivacyRequest", "createPrivacyRequest"),
    ("getPrivacyRequest", "privacyRequest"),
];

#[test]
fn every_operation_of_rest_has_its_twin() {
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.values().flat_map(|path| path.as_object().unwrap().values());
    let twins: HashMap<_, _> = TWINS.iter().copied().collect();
    let definition = include_str!("../../graphql/schema.graphql");
    let mut fields = HashSet::new();
    let mut inside = false;
    for line in definition.lines() {
        if let Some(name) = line.strip_prefix("type ") {
            inside = name.starts_with("Query") || name.starts_with("Mutation");
        }
        if let Some(field) = line.strip_prefix('\t').filter(|_| inside) {
            fields.extend(field.split(['(', ':']).next().map(str::to_owned));
        }
    }
    for operation in operations {
        let id = operation["operationId"].as_str().unwrap();
        if operation["x-right"] == "anyone" || id == "graphql" {
            continue;
        }
        let twin = twins.get(id).unwrap_or_else(|| panic!("{id} has no twin"));
        assert!(fields.contains(*twin), "{id} should have {twin}");
    }
}

/// Both doors of one daemon.
struct Doors<'a> {
    daemon: &'a Daemon,
    tenant: Tenant,
    admin: Caller,
}

fn graphql(caller: &Caller, document: &str, variables: Value) -> Value {
    let answer = caller.post("/graphql", json!({ "query": document, "variables": variables }));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The code of a refusal, wherever it stands.
fn refusal(answer: &Value) -> String {
    let error = &answer["errors"][0]["extensions"]["code"];
    let payload = answer["data"].as_object().and_then(|data| data.values().next());
    let user_error = payload.map_or(&Value::Null, |payload| &payload["userErrors"][0]["code"]);
    let code = error.as_str().or(user_error.as_str());
    code.unwrap_or_else(|| panic!("no refusal: {answer}")).to_owned()
}

/// What a mutation did.
fn done(answer: Value) -> Value {
    let payload = answer["data"].as_object().and_then(|data| data.values().next().cloned());
    let payload = payload.unwrap_or_else(|| panic!("not done: {answer}"));
    assert_eq!(payload["userErrors"], json!([]), "{answer}");
    payload["result"].clone()
}

impl<'a> Doors<'a> {
    fn of(daemon: &'a Daemon) -> Self {
        let tenant = daemon.tenant();
        let claims = json!({ "organization_id": tenant.organization, "role": "admin" });
        let admin = Caller::new(&daemon.url, &token(SECRET, &claims));
        Self { daemon, tenant, admin }
    }

    fn change(&self, document: &str, variables: Value) -> Value {
        done(graphql(&self.tenant.caller, document, variables))
    }

    fn by_platform(&self, document: &str, variables: Value) -> Value {
        done(graphql(&self.daemon.platform(), document, variables))
    }

    fn rest(&self, path: &str) -> Value {
        self.tenant.caller.get(path).ok()
    }
}

const ERRORS: &str = "userErrors { code field message hint }";

#[test]
fn what_is_done_through_graphql_is_seen_through_rest() {
    let home = Home::new(&[("HOOKSEAL_SESSION_SECRET", SECRET), ("HOOKSEAL_RETRY_SCHEDULE", "1h")]);
    let daemon = home.start();
    let doors = Doors::of(&daemon);
    let receiver = Receiver::start(Behaviour::Answer(500));
    let created = doors.change(
        &format!(
            "mutation($input: NewEndpointInput!) {{ createEndpoint(input: $input, idempotencyKey: \"k\") {{
                result {{ signingSecret endpoint {{ id name labels url enabled revision
                    undeliveredPayloadRetentionHours subscribedEventTypes }} }} {ERRORS} }} }}"
        ),
        json!({ "input": { "url": receiver.url, "name": " n ", "labels": ["a"] } }),
    );
    let id = created["endpoint"]["id"].as_str().unwrap().to_owned();
    receiver.trust(created["signingSecret"].as_str().unwrap());
    let path = format!("/v1/webhooks/endpoints/{id}");
    let seen = doors.rest(&path);
    for (ours, theirs) in [
        ("name", "name"),
        ("labels", "labels"),
        ("url", "url"),
        ("enabled", "enabled"),
        ("undeliveredPayloadRetentionHours", "undelivered_payload_retention_hours"),
        ("subscribedEventTypes", "subscribed_event_types"),
    ] {
        assert_eq!(created["endpoint"][ours], seen[theirs], "{ours}");
    }
    let changed = doors.change(
        &format!(
            "mutation($id: ID!) {{ updateEndpoint(id: $id, input: {{ name: null, maxInFlight: 3 }}, ifRevision: 1) {{
                result {{ name maxInFlight revision }} {ERRORS} }} }}"
        ),
        json!({ "id": id }),
    );
    assert_eq!(changed, json!({ "name": null, "maxInFlight": 3, "revision": 2 }));
    assert_eq!(doors.rest(&path)["max_in_flight"], 3);
    let key = doors.change(
        &format!(
            "mutation($id: ID!, $jwk: JSON!) {{ createEncryptionKey(endpointId: $id, input: {{ keyId: \"k1\",
                algorithm: \"RSA-OAEP-256\", keyType: \"RSA\", jwk: $jwk }}) {{ result {{ id isActive }} {ERRORS} }} }}"
        ),
        json!({ "id": id, "jwk": receiver.public_jwk }),
    );
    let key = key["id"].clone();
    for (field, active) in [("deactivateEncryptionKey", false), ("reactivateEncryptionKey", true)] {
        let document = format!(
            "mutation($id: ID!) {{ {field}(id: $id) {{ result {{ isActive }} {ERRORS} }} }}"
        );
        assert_eq!(doors.change(&document, json!({ "id": key }))["isActive"], active);
        assert_eq!(doors.rest(&format!("{path}/keys"))[0]["is_active"], active);
    }
    let secret = |field: &str| {
        let document = format!(
            "mutation($id: ID!) {{ {field}(endpointId: $id) {{ result {{ signingSecret }} {ERRORS} }} }}"
        );
        doors.change(&document, json!({ "id": id }))["signingSecret"].clone()
    };
    let document = format!(
        "mutation($id: ID!) {{ rotateSigningSecret(endpointId: $id, gracePeriodSeconds: 3600) {{
            result {{ signingSecret }} {ERRORS} }} }}"
    );
    doors.change(&document, json!({ "id": id }));
    let document = "query($id: ID!) { endpoint(id: $id) { previousSecretUntil } }";
    let read = graphql(&doors.tenant.caller, document, json!({ "id": id }));
    let until = &read["data"]["endpoint"]["previousSecretUntil"];
    assert_eq!(*until, doors.rest(&path)["previous_secret_until"]);
    assert!(until.is_string());
    let rotated = secret("rotateSigningSecret");
    assert_ne!(rotated, created["signingSecret"]);
    assert_eq!(secret("revealSigningSecret"), rotated);
    let event = doors.by_platform(
        &format!(
            "mutation($input: NewEventInput!) {{ publishEvent(input: $input) {{
                result {{ id deliveries {{ id status }} }} {ERRORS} }} }}"
        ),
        json!({ "input": {
            "organizationId": doors.tenant.organization, "type": "verification.session.failed",
            "triggerType": "verification_session", "triggerId": "vs_1", "data": { "n": 1, "canary": CANARY },
        } }),
    );
    let delivery = event["deliveries"][0]["id"].as_str().unwrap().to_owned();
    let delivery_path = format!("/v1/webhooks/deliveries/{delivery}");
    let attempted = |count: usize| {
        wait(Duration::from_secs(20), "an attempt", || {
            doors.rest(&format!("{delivery_path}/attempts")).as_array().unwrap().len() == count
        });
    };
    attempted(1);
    doors.change(
        &format!(
            "mutation($id: ID!) {{ retryDelivery(id: $id) {{ result {{ status }} {ERRORS} }} }}"
        ),
        json!({ "id": delivery }),
    );
    attempted(2);
    doors.change(
        &format!("mutation($id: ID!) {{ replayEvent(id: $id) {{ result {{ id }} {ERRORS} }} }}"),
        json!({ "id": event["id"] }),
    );
    attempted(3);
    let document = "query($delivery: ID!, $event: ID!, $endpoint: ID!) {
        delivery(id: $delivery) { attemptCount lastStatusCode status failureReason }
        attempts(deliveryId: $delivery) { statusCode errorKind durationMs }
        event(id: $event) { type deliveries { id } }
        deliveries(eventType: \"verification.session.failed\") { edges { cursor node { id } } }
        encryptionKeys(endpointId: $endpoint) { nodes { keyId jwk } }
        auditLog(first: 100) { nodes { action targetId actorType } } }";
    let variables = json!({ "delivery": delivery, "event": event["id"], "endpoint": id });
    let read = graphql(&doors.tenant.caller, document, variables)["data"].take();
    let seen = doors.rest(&delivery_path);
    assert_eq!(read["delivery"]["lastStatusCode"], seen["last_status_code"]);
    assert_eq!(read["delivery"]["attemptCount"], seen["attempt_count"]);
    assert_eq!(read["attempts"].as_array().unwrap().len(), 3);
    assert_eq!(read["deliveries"]["edges"][0]["cursor"], json!(delivery));
    assert_eq!(
        read["encryptionKeys"]["nodes"][0]["jwk"],
        doors.rest(&format!("{path}/keys"))[0]["jwk"]
    );
    let logged = |items: &Value, action: &str, target: &str| {
        let entries = items.as_array().unwrap().iter();
        entries.map(|entry| (entry[action].clone(), entry[target].clone())).collect::<Vec<_>>()
    };
    let theirs = doors.rest("/v1/webhooks/audit-log?limit=100");
    let ours = &read["auditLog"]["nodes"];
    assert_eq!(logged(ours, "action", "targetId"), logged(&theirs, "action", "target_id"));
    keys_and_organizations(&doors);
    let withdrawn = doors.by_platform(
        &format!(
            "mutation($input: NewPrivacyRequestInput!) {{ createPrivacyRequest(input: $input) {{
                result {{ id state scrubbed replacementEventId }} {ERRORS} }} }}"
        ),
        json!({ "input": {
            "organizationId": doors.tenant.organization, "verificationSessionId": "vs_1",
            "outcome": "failed", "nfcTriesUsed": 3,
        } }),
    );
    assert_eq!((&withdrawn["state"], &withdrawn["scrubbed"]), (&json!("SETTLED"), &json!(1)));
    let request = format!("/v1/platform/privacy-requests/{}", withdrawn["id"].as_str().unwrap());
    let seen = daemon.platform().get(&request).ok();
    assert_eq!(seen["replacement_event_id"], withdrawn["replacementEventId"]);
    doors.change(
        &format!("mutation($id: ID!) {{ deleteEndpoint(id: $id) {{ result {{ id }} {ERRORS} }} }}"),
        json!({ "id": id }),
    );
    assert_eq!(doors.tenant.caller.get(&path).status, 404);
}

fn keys_and_organizations(doors: &Doors<'_>) {
    let document = format!(
        "mutation {{ createApiKey(input: {{ name: \"g\", permissions: [\"webhooks:read\"] }}) {{
            result {{ key apiKey {{ id permissions }} }} {ERRORS} }} }}"
    );
    let made = done(graphql(&doors.admin, &document, Value::Null));
    let key = Caller::new(&doors.daemon.url, made["key"].as_str().unwrap());
    assert_eq!(key.get("/v1/webhooks/endpoints").status, 200);
    let id = json!({ "id": made["apiKey"]["id"] });
    let document = format!(
        "mutation($id: ID!) {{ updateApiKey(id: $id, input: {{ enabled: false }}) {{
            result {{ enabled }} {ERRORS} }} }}"
    );
    assert_eq!(done(graphql(&doors.admin, &document, id.clone()))["enabled"], false);
    assert_eq!(key.get("/v1/webhooks/endpoints").status, 401, "at once");
    let document =
        format!("mutation($id: ID!) {{ deleteApiKey(id: $id) {{ result {{ id }} {ERRORS} }} }}");
    done(graphql(&doors.admin, &document, id));
    let made = doors.by_platform(
        &format!(
            "mutation {{ createOrganization(name: \"o\") {{ result {{ id name }} {ERRORS} }} }}"
        ),
        Value::Null,
    );
    let id = json!({ "id": made["id"] });
    let document = format!(
        "mutation($id: ID!) {{ updateOrganization(id: $id, frozen: true) {{ result {{ frozenAt }} {ERRORS} }} }}"
    );
    assert!(doors.by_platform(&document, id.clone())["frozenAt"].is_string());
    let document = format!(
        "mutation($id: ID!) {{ deleteOrganization(id: $id) {{ result {{ id }} {ERRORS} }} }}"
    );
    doors.by_platform(&document, id);
    let path = format!("/v1/platform/organizations/{}", made["id"].as_str().unwrap());
    assert_eq!(doors.daemon.platform().get(&path).status, 404);
}

/// Name, what REST answers, what GraphQL answers.
type Refused = BTreeMap<&'static str, (Answer, Value)>;

#[test]
fn what_one_refuses_the_other_refuses_with_the_same_code() {
    let home = Home::new(&[
        ("HOOKSEAL_SESSION_SECRET", SECRET),
        ("HOOKSEAL_ENDPOINTS_PER_ORGANIZATION", "2"),
        ("HOOKSEAL_API_KEYS_PER_ORGANIZATION", "2"),
    ]);
    let daemon = home.start();
    let doors = Doors::of(&daemon);
    let (caller, platform) = (&doors.tenant.caller, &daemon.platform());
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = doors.tenant.register(&receiver, json!({}));
    caller.post("/v1/webhooks/endpoints", json!({ "url": receiver.url, "enabled": false })).ok();
    let reader = daemon.key(&doors.tenant.organization, &["webhooks:read"]);
    let published = doors.tenant.publish("vs_1", json!({}));
    doors.tenant.settle(Duration::from_secs(20));
    let delivery = published["deliveries"][0]["id"].as_str().unwrap();
    let one = format!("/v1/webhooks/endpoints/{endpoint}");
    let create = |input: &str| {
        format!(
            "mutation {{ createEndpoint(input: {input}) {{ result {{ signingSecret }} {ERRORS} }} }}"
        )
    };
    let by_id = |field: &str, id: &str| {
        format!("mutation {{ {field}(id: \"{id}\") {{ result {{ id }} {ERRORS} }} }}")
    };
    let ask = |caller: &Caller, document: String| graphql(caller, &document, Value::Null);
    let post = |path: &str, body: Value| caller.post(path, body);
    let endpoints = "/v1/webhooks/endpoints";
    #[rustfmt::skip] // a line a case
    let refused: Refused = [
        ("label too long",      (post(endpoints, json!({ "url": "https://a.com", "labels": ["l".repeat(41)] })),
                                 ask(caller, create(&format!("{{ url: \"https://a.com\", labels: [\"{}\"] }}", "l".repeat(41)))))),
        ("unsafe url",          (post(endpoints, json!({ "url": "https://10.0.0.1/" })), ask(caller, create("{ url: \"https://10.0.0.1/\" }")))),
        ("too many endpoints",  (post(endpoints, json!({ "url": "https://a.com" })), ask(caller, create("{ url: \"https://a.com\" }")))),
        ("read key writes",     (reader.post(endpoints, json!({ "url": "https://a.com" })), ask(&reader, create("{ url: \"https://a.com\" }")))),
        ("grace period",        (post(&format!("{one}/signing-secret/rotate"), json!({ "grace_period_seconds": -1 })),
                                 ask(caller, format!("mutation {{ rotateSigningSecret(endpointId: \"{endpoint}\", gracePeriodSeconds: -1) {{ result {{ signingSecret }} {ERRORS} }} }}")))),
        ("nothing to change",   (caller.patch(&one, json!({})), ask(caller, format!("mutation {{ updateEndpoint(id: \"{endpoint}\", input: {{}}) {{ result {{ id }} {ERRORS} }} }}")))),
        ("changed meanwhile",   (caller.send("PATCH", &one, &[("content-type", "application/json"), ("if-match", "\"9\"")], "{\"name\":\"n\"}"),
                                 ask(caller, format!("mutation {{ updateEndpoint(id: \"{endpoint}\", input: {{ name: \"n\" }}, ifRevision: 9) {{ result {{ id }} {ERRORS} }} }}")))),
        ("unknown endpoint",    (caller.send("DELETE", "/v1/webhooks/endpoints/whe_x", &[], ""), ask(caller, by_id("deleteEndpoint", "whe_x")))),
        ("malformed id",        (caller.send("DELETE", "/v1/webhooks/endpoints/a.b", &[], ""), ask(caller, by_id("deleteEndpoint", "a.b")))),
        ("unknown delivery",    (post("/v1/webhooks/deliveries/whd_x/retry", json!({})), ask(caller, by_id("retryDelivery", "whd_x")))),
        ("payload gone",        (post(&format!("/v1/webhooks/deliveries/{delivery}/retry"), json!({})), ask(caller, by_id("retryDelivery", delivery)))),
        ("key manages keys",    (caller.get("/v1/auth/api-keys"), ask(caller, "{ apiKeys { nodes { id } } }".into()))),
        ("too many api keys",   (doors.admin.post("/v1/auth/api-keys", json!({ "name": "n", "permissions": ["webhooks:read"] })),
                                 ask(&doors.admin, format!("mutation {{ createApiKey(input: {{ name: \"n\", permissions: [\"webhooks:read\"] }}) {{ result {{ key }} {ERRORS} }} }}")))),
        ("unknown api key",     (doors.admin.send("DELETE", "/v1/auth/api-keys/x", &[], ""), ask(&doors.admin, by_id("deleteApiKey", "x")))),
        ("key on platform",     (caller.get("/v1/platform/organizations"), ask(caller, "{ organizations { nodes { id } } }".into()))),
        ("organization exists", (platform.post("/v1/platform/organizations", json!({ "name": "n", "id": doors.tenant.organization })),
                                 ask(platform, format!("mutation {{ createOrganization(name: \"n\", id: \"{}\") {{ result {{ id }} {ERRORS} }} }}", doors.tenant.organization)))),
        ("second end",          (platform.post("/v1/platform/events", doors.tenant.event("vs_1", json!({}))),
                                 ask(platform, format!("mutation {{ publishEvent(input: {{ organizationId: \"{}\", type: \"verification.session.failed\", triggerType: \"verification_session\", triggerId: \"vs_1\", data: {{}} }}) {{ result {{ id }} {ERRORS} }} }}", doors.tenant.organization)))),
        ("type and status",     (caller.get("/v1/webhooks/deliveries?event_type=verification.session.failed&status=failed"),
                                 ask(caller, "{ deliveries(eventType: \"verification.session.failed\", status: FAILED) { nodes { id } } }".into()))),
        ("unknown cursor",      (caller.get("/v1/webhooks/audit-log?starting_after=aud_x"), ask(caller, "{ auditLog(after: \"aud_x\") { nodes { id } } }".into()))),
        ("unknown withdrawal",  (platform.get("/v1/platform/privacy-requests/prv_x"), ask(platform, "{ privacyRequest(id: \"prv_x\") { id } }".into()))),
    ]
    .into();
    for (name, (rest, answer)) in &refused {
        assert!(rest.status >= 400, "{name}: {rest:?}");
        assert_eq!(refusal(answer), rest.code(), "{name}: {answer}");
    }
    let field = &refused["label too long"].1["data"]["createEndpoint"]["userErrors"][0]["field"];
    assert_eq!(field, "labels[0]");
}
