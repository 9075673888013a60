//! The tenant matrix: every operation of the OpenAPI document, asked by everybody and of everybody's
//! things. A right that is missing is 401 or 403; somebody else's thing is the same as none.

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use crate::support::daemon::{Answer, Caller, Daemon, Home, Tenant, wait};
use crate::support::sessions::token;

const SECRET: &str = "a secret of dashboards, thirty-two characters long";
const SESSION: &str = "vs_matrix";

/// One operation of the document.
struct Operation {
    id: String,
    method: String,
    path: String,
    right: String,
    has_body: bool,
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            operations.push(Operation {
                id: described["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase(),
                path: path.clone(),
                right: described["x-right"].as_str().unwrap().to_owned(),
                has_body: described.get("requestBody").is_some(),
            });
        }
    }
    operations
}

/// An organization and one of everything.
struct House {
    tenant: Tenant,
    endpoint: String,
    key: String,
    event: String,
    delivery: String,
    api_key: String,
    privacy_request: String,
}

impl House {
    fn build(daemon: &Daemon, receiver: &Receiver) -> Self {
        let tenant = daemon.tenant();
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let endpoint = tenant.register(receiver, json!({}));
        let keys = tenant.caller.get(&format!("/v1/webhooks/endpoints/{endpoint}/keys")).ok();
        let event = tenant.publish(SESSION, json!({}));
        let delivery = id(&event["deliveries"][0]);
        let path = format!("/v1/webhooks/deliveries/{delivery}");
        wait(std::time::Duration::from_secs(20), "the first attempt", || {
            tenant.caller.get(&path).ok()["attempt_count"] == 1
        });
        let new = json!({ "name": "matrix", "permissions": ["webhooks:read"] });
        let path = format!("/v1/platform/organizations/{}/api-keys", tenant.organization);
        let api_key = id(&tenant.platform.post(&path, new).ok());
        let withdrawn = json!({
            "organization_id": tenant.organization, "verification_session_id": "vs_gone",
            "outcome": "active",
        });
        let made = tenant.platform.post("/v1/platform/privacy-requests", withdrawn).ok();
        let (key, event) = (id(&keys[0]), id(&event));
        Self { tenant, endpoint, key, event, delivery, api_key, privacy_request: id(&made) }
    }

    /// The path of an operation on what is in this house.
    fn path(&self, operation: &Operation) -> String {
        [
            ("{endpoint_id}", &self.endpoint),
            ("{key_id}", &self.key),
            ("{event_id}", &self.event),
            ("{delivery_id}", &self.delivery),
            ("{api_key_id}", &self.api_key),
            ("{organization_id}", &self.tenant.organization),
            ("{privacy_request_id}", &self.privacy_request),
        ]
        .iter()
        .fold(operation.path.clone(), |path, (name, id)| path.replace(name, id))
    }

    /// A body that the operation takes.
    fn body(&self, operation: &Operation, receiver: &Receiver) -> Value {
        let event = self.tenant.event("vs_another", json!({}));
        match operation.id.as_str() {
            "createEndpoint" => json!({ "url": receiver.url }),
            "updateEndpoint" => json!({ "name": "changed" }),
            "rotateSigningSecret" => json!({ "grace_period_seconds": 60 }),
            "createKey" => json!({
                "key_id": "k2", "algorithm": "RSA-OAEP-256", "key_type": "RSA",
                "jwk": receiver.public_jwk,
            }),
            "createApiKey" | "createOrganizationApiKey" => {
                json!({ "name": "another", "permissions": ["webhooks:read"] })
            }
            "updateApiKey" | "updateOrganization" => json!({ "name": "changed" }),
            "createOrganization" => json!({ "name": "another" }),
            "publishEvent" => event,
            "publishEvents" => json!([event]),
            "createPrivacyRequest" => json!({
                "organization_id": self.tenant.organization, "verification_session_id": "vs_x",
                "outcome": "active",
            }),
            "graphql" => json!({ "query": "{ endpoints { __typename } }" }),
            other => panic!("{other} reads a body that this test does not know"),
        }
    }

    fn session(&self, daemon: &Daemon, role: &str) -> Caller {
        let claims = json!({ "organization_id": self.tenant.organization, "role": role });
        Caller::new(&daemon.url, &token(SECRET, &claims))
    }
}

fn ask(caller: &Caller, operation: &Operation, path: &str, body: &Value) -> Answer {
    let headers: &[(&str, &str)] =
        if operation.has_body { &[("content-type", "application/json")] } else { &[] };
    let body = if operation.has_body { body.to_string() } else { String::new() };
    caller.send(&operation.method, path, headers, &body)
}

#[test]
fn everybody_gets_what_is_his_and_nothing_tells_of_others() {
    let home = Home::new(&[("HOOKSEAL_SESSION_SECRET", SECRET), ("HOOKSEAL_RETRY_SCHEDULE", "1h")]);
    let daemon = home.start();
    let receiver = Receiver::start(Behaviour::Answer(500));
    let (house, other) = (House::build(&daemon, &receiver), House::build(&daemon, &receiver));
    let organization = &house.tenant.organization;
    let owner = house.session(&daemon, "owner");
    let revoked = daemon.key(organization, &["webhooks:read", "webhooks:write"]);
    let listed = owner.get("/v1/auth/api-keys?limit=100").ok();
    let newest = listed.as_array().unwrap().iter().max_by_key(|key| key["createdAt"].to_string());
    let newest = newest.unwrap()["id"].as_str().unwrap().to_owned();
    owner.send("DELETE", &format!("/v1/auth/api-keys/{newest}"), &[], "").ok();
    #[rustfmt::skip] // the columns carry the meaning
    let callers = [
        //                 caller                                      reader writer revealer keyholder platform
        ("nobody",         Caller::new(&daemon.url, ""),               [401,   401,   401,     401,      401]),
        ("revoked key",    revoked,                                    [401,   401,   401,     401,      401]),
        ("wrong scope",    daemon.key(organization, &["analytics:read"]), [403, 403,  403,     403,      403]),
        ("read key",       daemon.key(organization, &["webhooks:read"]),  [0,   403,  403,     403,      403]),
        ("write key",      daemon.key(organization, &["webhooks:write"]), [0,   0,    0,       403,      403]),
        ("no role",        house.session(&daemon, "guest"),            [403,   403,   403,     403,      403]),
        ("member",         house.session(&daemon, "member"),           [0,     403,   403,     403,      403]),
        ("admin",          house.session(&daemon, "admin"),            [0,     0,     403,     0,        403]),
        ("owner",          owner,                                      [0,     0,     0,       0,        403]),
        ("platform",       daemon.platform(),                          [403,   403,   403,     403,      0]),
    ];
    let rights = ["reader", "writer", "revealer", "keyholder", "platform"];
    for operation in operations().iter().filter(|operation| operation.right != "anyone") {
        let right = rights.iter().position(|right| *right == operation.right).unwrap();
        let body = if operation.has_body { house.body(operation, &receiver) } else { Value::Null };
        for (name, caller, statuses) in &callers {
            // GraphQL answers 200 and tells of the right in its errors.
            let refused = statuses[right] != 0;
            if refused && !(operation.id == "graphql" && statuses[right] == 403) {
                let answer = ask(caller, operation, &house.path(operation), &body);
                assert_eq!(answer.status, statuses[right], "{name} {}: {answer:?}", operation.id);
                assert_eq!(answer.json()["data"], Value::Null, "{name} {}", operation.id);
                continue;
            }
            if refused {
                let answer = ask(caller, operation, &house.path(operation), &body);
                assert!(answer.text.contains("FORBIDDEN"), "{name}: {answer:?}");
                continue;
            }
            if operation.path.contains('{') && operation.right != "platform" {
                foreign_is_missing(caller, operation, &other, &body, name);
            }
        }
        // In a house of its own, since it may be taken apart.
        let own = House::build(&daemon, &receiver);
        let body = if operation.has_body { own.body(operation, &receiver) } else { Value::Null };
        let caller = match operation.right.as_str() {
            "keyholder" => own.session(&daemon, "admin"),
            "platform" => own.tenant.platform.clone(),
            _ => own.tenant.caller.clone(),
        };
        let answer = ask(&caller, operation, &own.path(operation), &body);
        assert!((200..300).contains(&answer.status), "{}: {answer:?}", operation.id);
        let theirs = [&other.endpoint, &other.key, &other.event, &other.delivery];
        for id in theirs.into_iter().chain([&other.tenant.organization]) {
            let told = operation.right != "platform" && answer.text.contains(id.as_str());
            assert!(!told, "{} tells of {id}", operation.id);
        }
    }
}

/// Asks for a thing of another house and for one that there is not: the answers are the same.
fn foreign_is_missing(
    caller: &Caller,
    operation: &Operation,
    other: &House,
    body: &Value,
    name: &str,
) {
    let foreign = other.path(operation);
    let given = operation.path.split('/').zip(foreign.split('/'));
    let parts = given.map(|(named, id)| if named.starts_with('{') { "missing_1" } else { id });
    let missing = parts.collect::<Vec<_>>().join("/");
    let (foreign, missing) =
        (ask(caller, operation, &foreign, body), ask(caller, operation, &missing, body));
    assert_eq!(
        (foreign.status, &foreign.text),
        (missing.status, &missing.text),
        "{name} {}",
        operation.id
    );
    let expected = match operation.id.as_str() {
        "listKeys" => 200,
        "updateApiKey" | "deleteApiKey" => 400,
        _ => 404,
    };
    assert_eq!(foreign.status, expected, "{name} {}: {foreign:?}", operation.id);
}
