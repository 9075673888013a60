//! The tenant matrix of GraphQL: every field of the definition with every argument that names a thing,
//! asked by one organization of another's. What is somebody else's is the same as what there is not.

use std::collections::BTreeMap;
use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use crate::support::daemon::{Caller, Daemon, Home, Tenant, wait};
use crate::support::sessions::token;
use crate::support::socket::{Said, Socket};

const SECRET: &str = "a secret of dashboards, thirty-two characters long";
const NOBODY: &str = "018f0000-0000-7000-8000-000000000000";
const ROOTS: [&str; 3] = ["Query", "Mutation", "Subscription"];
/// Fields that are the platform's alone.
const OF_THE_PLATFORM: &[&str] = &[
    "cluster",
    "organizations",
    "privacyRequest",
    "createOrganization",
    "updateOrganization",
    "deleteOrganization",
    "publishEvent",
    "publishEvents",
    "createPrivacyRequest",
];
/// Fields that sessions of admins may use and keys may not.
const OF_KEYHOLDERS: &[&str] = &["apiKeys", "createApiKey", "updateApiKey", "deleteApiKey"];

/// A field of a type, or a member of an input.
#[derive(Clone)]
struct Field {
    name: String,
    arguments: Vec<(String, String)>,
    of: String,
}

/// The definition: types and inputs with what they have.
struct Definition(BTreeMap<String, Vec<Field>>);

/// The name of a type without its modifiers.
fn bare(of: &str) -> &str {
    of.trim_matches(['[', ']', '!'])
}

impl Definition {
    fn read() -> Self {
        let text = include_str!("../../graphql/schema.graphql");
        // Every other part between triple quotes is a description.
        let text: String = text.split("\"\"\"").step_by(2).collect();
        let mut types = BTreeMap::new();
        for block in text.split("\n}") {
            let Some((head, body)) = block.split_once('{') else { continue };
            let words: Vec<_> = head.split_whitespace().collect();
            if let [.., "type" | "input", name] = words[..] {
                types.insert(name.to_owned(), fields(body));
            }
        }
        Self(types)
    }

    fn root(&self, name: &str) -> &[Field] {
        &self.0[name]
    }

    /// Everything of a type, things within things down to `levels`.
    fn selection(&self, of: &str, levels: usize) -> String {
        let mut parts = Vec::new();
        for field in &self.0[of] {
            let Some(within) = self.0.get(bare(&field.of)).map(|_| bare(&field.of)) else {
                parts.push(field.name.clone());
                continue;
            };
            // What a list or an answer is wrapped in is no thing of its own.
            let wrapped = ["Connection", "Edge", "Payload", "Changed", "Published"];
            let levels = if wrapped.iter().any(|end| of.ends_with(end)) {
                levels
            } else {
                levels.saturating_sub(1)
            };
            if levels > 0 || within == "PageInfo" {
                parts.push(format!("{} {}", field.name, self.selection(within, levels)));
            }
        }
        if parts.is_empty() {
            parts.push("__typename".to_owned());
        }
        format!("{{ {} }}", parts.join(" "))
    }

    /// Paths of a field's arguments that name a thing.
    fn names(&self, field: &Field) -> Vec<String> {
        let is_name =
            |name: &str, of: &str| bare(of) == "ID" || name == "after" || name == "triggerId";
        let mut names = Vec::new();
        for (argument, of) in &field.arguments {
            if is_name(argument, of) {
                names.push(argument.clone());
            }
            for member in self.0.get(bare(of)).into_iter().flatten() {
                if is_name(&member.name, &member.of) {
                    names.push(format!("{argument}.{}", member.name));
                }
            }
        }
        names
    }

    /// A document that asks for `field` with these arguments.
    fn document(&self, root: &str, field: &Field, arguments: &Value, levels: usize) -> String {
        let given: Vec<_> =
            field.arguments.iter().filter(|(name, _)| !arguments[name].is_null()).collect();
        let list = |part: &dyn Fn(&str, &str) -> String| {
            let parts: Vec<_> = given.iter().map(|(name, of)| part(name, of)).collect();
            if parts.is_empty() { String::new() } else { format!("({})", parts.join(", ")) }
        };
        let declared = list(&|name, of| format!("${name}: {of}"));
        let passed = list(&|name, _| format!("{name}: ${name}"));
        let selection = self.selection(bare(&field.of), levels);
        format!("{}{declared} {{ {}{passed} {selection} }}", root.to_lowercase(), field.name)
    }
}

/// Fields as the definition writes them: `name(argument: Type, …): Type`.
fn fields(mut body: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    while let Some(end) = body.find(['(', ':']) {
        let name = body[..end].trim().to_owned();
        let mut arguments = Vec::new();
        if body[end..].starts_with('(') {
            let (inside, rest) = body[end + 1..].split_once(')').unwrap();
            let words: Vec<_> =
                inside.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty()).collect();
            let starts = words.iter().enumerate().filter(|(_, word)| word.ends_with(':'));
            arguments.extend(starts.map(|(at, name)| {
                (name.trim_end_matches(':').to_owned(), words[at + 1].to_owned())
            }));
            body = rest;
        } else {
            body = &body[end..];
        }
        let rest = body.trim_start_matches([':', ' ']);
        let (of, rest) = rest.split_once(['\n', ' ']).unwrap_or((rest, ""));
        fields.push(Field { name, arguments, of: of.to_owned() });
        // A default of an input's member.
        body = rest
            .strip_prefix("= ")
            .map_or(rest, |rest| rest.split_once('\n').map_or("", |(_, rest)| rest));
    }
    fields
}

/// An organization and one of everything.
struct House {
    tenant: Tenant,
    reader: Caller,
    owner: Caller,
    endpoint: String,
    key: String,
    event: String,
    delivery: String,
    trigger: String,
    api_key: String,
    audit_entry: String,
    privacy_request: String,
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

impl House {
    fn build(daemon: &Daemon, receiver: &Receiver, trigger: &str) -> Self {
        let tenant = daemon.tenant();
        let endpoint = tenant.register(receiver, json!({ "name": "matrix" }));
        let keys = tenant.caller.get(&format!("/v1/webhooks/endpoints/{endpoint}/keys")).ok();
        let event = tenant.publish(trigger, json!({}));
        let delivery = id(&event["deliveries"][0]);
        let new = json!({ "name": "matrix", "permissions": ["webhooks:read"] });
        let path = format!("/v1/platform/organizations/{}/api-keys", tenant.organization);
        let made = tenant.platform.post(&path, new).ok();
        let reader = Caller::new(&daemon.url, made["key"].as_str().unwrap());
        let withdrawn = json!({
            "organization_id": tenant.organization, "verification_session_id": "vs_gone",
            "outcome": "active",
        });
        let withdrawn = tenant.platform.post("/v1/platform/privacy-requests", withdrawn).ok();
        // The withdrawal makes an event of its own.
        wait(Duration::from_secs(20), "the first attempts", || {
            let deliveries = tenant.deliveries("");
            let attempted = |it: &Value| it["attempt_count"] == 1 && it["status"] == "pending";
            deliveries.len() == 2 && deliveries.iter().all(attempted)
        });
        let claims = json!({ "organization_id": tenant.organization, "role": "owner" });
        let logged = tenant.caller.get("/v1/webhooks/audit-log").ok();
        Self {
            owner: Caller::new(&daemon.url, &token(SECRET, &claims)),
            key: id(&keys[0]),
            event: id(&event),
            trigger: trigger.to_owned(),
            api_key: id(&made),
            audit_entry: id(&logged[0]),
            privacy_request: id(&withdrawn),
            tenant,
            reader,
            endpoint,
            delivery,
        }
    }

    /// Ids that only this house has.
    fn ids(&self) -> [&str; 8] {
        [
            &self.tenant.organization,
            &self.endpoint,
            &self.key,
            &self.event,
            &self.delivery,
            &self.api_key,
            &self.audit_entry,
            &self.privacy_request,
        ]
    }

    /// What `path` of `field` names in this house.
    fn named(&self, field: &str, path: &str) -> &str {
        match (field, path) {
            (_, "organizationId" | "input.organizationId" | "inputs.organizationId")
            | (
                "organization" | "createOrganization" | "updateOrganization" | "deleteOrganization",
                "id",
            )
            | ("organizations", "after") => &self.tenant.organization,
            (
                _,
                "endpointId"
                | "filter.endpointId"
                | "input.webhookEndpointIds"
                | "inputs.webhookEndpointIds",
            )
            | ("endpoint" | "updateEndpoint" | "deleteEndpoint" | "testEndpoint", "id")
            | ("endpoints", "after") => &self.endpoint,
            ("deactivateEncryptionKey" | "reactivateEncryptionKey", "id")
            | ("encryptionKeys", "after") => &self.key,
            (_, "eventId" | "filter.eventId")
            | ("event" | "replayEvent", "id")
            | ("events", "after") => &self.event,
            (_, "deliveryId") | ("delivery" | "retryDelivery", "id") | ("deliveries", "after") => {
                &self.delivery
            }
            (_, "filter.triggerId" | "input.triggerId" | "inputs.triggerId") => &self.trigger,
            ("updateApiKey" | "deleteApiKey", "id") | ("apiKeys", "after") => &self.api_key,
            ("auditLog", "after") => &self.audit_entry,
            ("privacyRequest", "id") => &self.privacy_request,
            (_, "after") => "1-1-1",
            _ => panic!("{field} takes {path}, which this test does not know"),
        }
    }

    /// What `field` takes to do its work in this house.
    fn arguments(&self, field: &str, receiver: &Receiver) -> Value {
        let event = json!({
            "organizationId": self.tenant.organization, "type": "verification.session.failed",
            "triggerType": "verification_session", "triggerId": "vs_another", "data": {},
            "webhookEndpointIds": [self.endpoint],
        });
        let new_key = json!({ "name": "another", "permissions": ["webhooks:read"] });
        match field {
            "endpoints" | "events" | "auditLog" | "apiKeys" | "organizations" => {
                json!({ "first": 2 })
            }
            "deliveries" => {
                json!({ "first": 2, "endpointId": self.endpoint, "eventId": self.event })
            }
            "encryptionKeys" => json!({ "endpointId": self.endpoint, "first": 2 }),
            "endpoint" | "deleteEndpoint" | "testEndpoint" => json!({ "id": self.endpoint }),
            "event" | "replayEvent" => json!({ "id": self.event }),
            "delivery" | "retryDelivery" => json!({ "id": self.delivery }),
            "attempts" => json!({ "deliveryId": self.delivery }),
            "organization" | "cluster" => json!({}),
            "privacyRequest" => json!({ "id": self.privacy_request }),
            "createEndpoint" => json!({ "input": { "url": receiver.url } }),
            "updateEndpoint" => json!({ "id": self.endpoint, "input": { "name": "changed" } }),
            "revealSigningSecret" | "rotateSigningSecret" => json!({ "endpointId": self.endpoint }),
            "createEncryptionKey" => json!({ "endpointId": self.endpoint, "input": {
                "keyId": "k2", "algorithm": "RSA-OAEP-256", "keyType": "RSA", "jwk": receiver.public_jwk,
            } }),
            "deactivateEncryptionKey" | "reactivateEncryptionKey" => json!({ "id": self.key }),
            "createApiKey" => json!({ "input": new_key }),
            "updateApiKey" => json!({ "id": self.api_key, "input": { "name": "changed" } }),
            "deleteApiKey" => json!({ "id": self.api_key }),
            "createOrganization" => json!({ "name": "another" }),
            "updateOrganization" => json!({ "id": self.tenant.organization, "name": "changed" }),
            "deleteOrganization" => json!({ "id": self.tenant.organization }),
            "publishEvent" => json!({ "input": event }),
            "publishEvents" => json!({ "inputs": [event] }),
            "createPrivacyRequest" => json!({ "input": {
                "organizationId": self.tenant.organization, "verificationSessionId": "vs_x",
                "outcome": "active", "webhookEndpointIds": [self.endpoint],
            } }),
            "deliveryChanged" | "endpointChanged" => json!({ "filter": {} }),
            "eventPublished" => json!({}),
            other => panic!("{other} is a field that this test does not know"),
        }
    }

    /// All that this house has, as its owner sees it.
    fn rows(&self) -> Value {
        let document = "{
            endpoints(first: 100) { nodes { id revision name url enabled labels updatedAt subscribedEventTypes
                encryptionKeys { id keyId isActive updatedAt } } }
            events(first: 100) { nodes { id triggerId deliveries { id status attemptCount nextAttemptAt updatedAt
                encryptionKeyId payloadRetentionReason attempts { attemptedAt } } } }
            auditLog(first: 100) { nodes { id action targetId actorType actorId } }
            apiKeys(first: 100) { nodes { id name enabled permissions metadata updatedAt } }
            organization { id name frozenAt updatedAt } }";
        let rows = ask(&self.owner, document, &Value::Null);
        assert_eq!(rows["errors"], Value::Null, "{rows}");
        rows
    }
}

fn ask(caller: &Caller, document: &str, variables: &Value) -> Value {
    let answer = caller.post("/graphql", json!({ "query": document, "variables": variables }));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// What `socket` says until all that it was asked before has begun: operations begin in order.
fn begun(socket: &Socket) -> Vec<Value> {
    socket.subscribe("begun", "{ __typename }", json!({}));
    let mut said = Vec::new();
    loop {
        let message = socket.hear();
        match (message["id"] == "begun", message["type"] == "complete") {
            (true, true) => return said,
            (true, false) => {}
            (false, _) => said.push(message),
        }
    }
}

/// The first thing that a subscription says as it begins.
fn first_word(caller: &Caller, document: &str, variables: &Value) -> Value {
    let socket = Socket::of(caller);
    socket.subscribe("s", document, variables.clone());
    match begun(&socket).first() {
        Some(message) if message["type"] == "error" => {
            json!({ "data": null, "errors": message["payload"] })
        }
        Some(message) => message["payload"].clone(),
        None => Value::Null,
    }
}

/// `arguments` with `path` naming `id`, in a list where the argument is one.
fn naming(arguments: &Value, path: &str, id: &str) -> Value {
    let mut arguments = arguments.clone();
    let (argument, member) =
        path.split_once('.').map_or((path, None), |(it, member)| (it, Some(member)));
    let place = &mut arguments[argument];
    let place = match member {
        None => place,
        Some(member) if place.is_array() => &mut place[0][member],
        Some(member) => &mut place[member],
    };
    *place = if place.is_array() { json!([id]) } else { json!(id) };
    arguments
}

/// The code of a refusal, wherever it stands.
fn code(answer: &Value) -> Option<&str> {
    let error = answer["errors"][0]["extensions"]["code"].as_str();
    let payload = answer["data"].as_object().and_then(|data| data.values().next());
    error.or(payload.and_then(|payload| payload["userErrors"][0]["code"].as_str()))
}

/// Items of the one field of an answer, where it is a list.
fn items(answer: &Value) -> Option<usize> {
    let field = answer["data"].as_object()?.values().next()?;
    field["nodes"].as_array().map(Vec::len)
}

struct Street {
    _home: Home,
    daemon: Daemon,
    receiver: Receiver,
    definition: Definition,
}

impl Street {
    fn open() -> Self {
        let settings = [("HOOKSEAL_SESSION_SECRET", SECRET), ("HOOKSEAL_RETRY_SCHEDULE", "1h")];
        let home = Home::new(&settings);
        let daemon = home.start();
        let receiver = Receiver::start(Behaviour::Answer(500));
        Self { _home: home, daemon, receiver, definition: Definition::read() }
    }

    fn house(&self, trigger: &str) -> House {
        House::build(&self.daemon, &self.receiver, trigger)
    }

    /// Asks for a field; of a subscription, what it says at once.
    fn ask(&self, caller: &Caller, root: &str, field: &Field, arguments: &Value) -> Value {
        let document = self.definition.document(root, field, arguments, 3);
        if root == "Subscription" {
            first_word(caller, &document, arguments)
        } else {
            ask(caller, &document, arguments)
        }
    }
}

#[test]
fn the_definition_is_read_whole() {
    let definition = Definition::read();
    let names = |root: &str, field: &str| {
        let fields = definition.root(root).iter().find(|known| known.name == field);
        definition.names(fields.unwrap()).join(" ")
    };
    assert_eq!(names("Query", "deliveries"), "endpointId eventId after organizationId");
    assert_eq!(names("Mutation", "updateEndpoint"), "id organizationId");
    assert_eq!(names("Mutation", "updateOrganization"), "id");
    assert_eq!(
        names("Mutation", "publishEvents"),
        "inputs.organizationId inputs.triggerId inputs.webhookEndpointIds"
    );
    assert_eq!(
        names("Subscription", "deliveryChanged"),
        "filter.endpointId filter.eventId filter.triggerId after organizationId"
    );
    // Every field has one description above it, and so has every documented argument, further in.
    let text = include_str!("../../graphql/schema.graphql");
    for root in ROOTS {
        let block = text.split(&format!("\ntype {root} {{\n")).nth(1).unwrap();
        let block = block.split("\n}\n").next().unwrap();
        let quotes = block.lines().filter(|line| *line == "\t\"\"\"").count();
        assert_eq!(definition.root(root).len(), quotes / 2, "{root}");
    }
}

#[test]
fn somebody_elses_thing_is_the_same_as_none() {
    let street = Street::open();
    let (house, other) = (street.house("vs_house"), street.house("vs_other"));
    let before = other.rows();
    let admin = json!({ "organization_id": house.tenant.organization, "role": "admin" });
    let admin = Caller::new(&street.daemon.url, &token(SECRET, &admin));
    let callers = [
        ("write key", &house.tenant.caller),
        ("read key", &house.reader),
        ("owner", &house.owner),
        ("admin", &admin),
    ];
    for (name, caller) in callers {
        for root in ROOTS {
            for field in street.definition.root(root) {
                let own = house.arguments(&field.name, &street.receiver);
                for path in street.definition.names(field) {
                    let row = format!("{name} {}({path})", field.name);
                    let theirs = other.named(&field.name, &path);
                    let none =
                        if theirs == other.tenant.organization { NOBODY } else { "missing_1" };
                    if root == "Subscription" && path == "after" {
                        // A place in time belongs to nobody; see below.
                        continue;
                    }
                    let foreign = street.ask(caller, root, field, &naming(&own, &path, theirs));
                    let missing = street.ask(caller, root, field, &naming(&own, &path, none));
                    let (foreign, missing) = (foreign.to_string(), missing.to_string());
                    assert_eq!(foreign.replace(theirs, "ID"), missing.replace(none, "ID"), "{row}");
                    let foreign: Value = serde_json::from_str(&foreign).unwrap();
                    let key = name.ends_with("key");
                    let denied = path == "organizationId"
                        || path == "id" && field.name == "organization"
                        || OF_THE_PLATFORM.contains(&field.name.as_str())
                        || key && OF_KEYHOLDERS.contains(&field.name.as_str())
                        || name == "read key" && root == "Mutation"
                        || name == "admin" && field.name == "revealSigningSecret";
                    if denied {
                        assert_eq!(code(&foreign), Some("FORBIDDEN"), "{row}: {foreign}");
                        assert!(foreign["data"].is_null(), "{row}: {foreign}");
                        continue;
                    }
                    let said = |expected: &str| {
                        assert_eq!(code(&foreign), Some(expected), "{row}: {foreign}");
                    };
                    match (root, path.as_str(), field.name.as_str()) {
                        ("Subscription", ..) => assert!(foreign.is_null(), "{row}: {foreign}"),
                        (_, "after", _) => said("INVALID_REQUEST"),
                        (_, _, "updateApiKey") => said("API_KEY_NOT_FOUND"),
                        (_, _, "deleteApiKey") => said("API_KEY_NOT_DELETED"),
                        ("Query", "endpointId" | "eventId", _) => {
                            assert_eq!(items(&foreign), Some(0), "{row}: {foreign}");
                        }
                        _ => said("NOT_FOUND"),
                    }
                }
            }
        }
        assert_eq!(other.rows(), before, "{name}");
    }
}

#[test]
fn whoever_may_not_is_refused_every_field() {
    let street = Street::open();
    let house = street.house("vs_house");
    let before = house.rows();
    let organization = &house.tenant.organization;
    let elsewhere = street.daemon.key(organization, &["analytics:read", "sessions:write"]);
    let guest = json!({ "organization_id": organization, "role": "guest" });
    let guest = Caller::new(&street.daemon.url, &token(SECRET, &guest));
    let member = json!({ "organization_id": organization, "role": "member" });
    let member = Caller::new(&street.daemon.url, &token(SECRET, &member));
    let platform = street.daemon.platform();
    for root in ROOTS {
        for field in street.definition.root(root) {
            let own = house.arguments(&field.name, &street.receiver);
            let of_platform = OF_THE_PLATFORM.contains(&field.name.as_str());
            let refused = |name: &str, caller: &Caller| {
                let answer = street.ask(caller, root, field, &own);
                assert_eq!(code(&answer), Some("FORBIDDEN"), "{name} {}: {answer}", field.name);
                assert!(answer["data"].is_null(), "{name} {}: {answer}", field.name);
            };
            refused("key of other scopes", &elsewhere);
            refused("guest", &guest);
            if root == "Mutation" {
                refused("read key", &house.reader);
                refused("member", &member);
            }
            if of_platform {
                refused("write key", &house.tenant.caller);
                refused("owner", &house.owner);
            } else {
                // It is at work in no organization unless it names one.
                refused("platform", &platform);
            }
        }
    }
    let mut after = house.rows();
    // The key of other scopes is one more.
    let keys = after["data"]["apiKeys"]["nodes"].as_array_mut().unwrap();
    let known = before["data"]["apiKeys"]["nodes"].as_array().unwrap();
    keys.retain(|key| known.contains(key));
    let log = after["data"]["auditLog"]["nodes"].as_array_mut().unwrap();
    let known = before["data"]["auditLog"]["nodes"].as_array().unwrap();
    log.retain(|entry| known.contains(entry) || entry["action"] != "api_key.created");
    assert_eq!(after, before);
}

#[test]
fn whoever_may_gets_his_own_and_nothing_of_others() {
    let street = Street::open();
    let other = street.house("vs_other");
    let before = other.rows();
    for root in ["Query", "Mutation"] {
        let shared = street.house("vs_house");
        for field in street.definition.root(root) {
            // In a house of its own what changes anything, since it may be taken apart.
            let own = (root == "Mutation").then(|| street.house("vs_house"));
            let house = own.as_ref().unwrap_or(&shared);
            let of_platform = OF_THE_PLATFORM.contains(&field.name.as_str());
            let caller = if of_platform { &house.tenant.platform } else { &house.owner };
            let answer =
                street.ask(caller, root, field, &house.arguments(&field.name, &street.receiver));
            assert_eq!(
                (&answer["errors"], code(&answer)),
                (&Value::Null, None),
                "{}: {answer}",
                field.name
            );
            assert!(items(&answer) != Some(0), "{}: {answer}", field.name);
            if of_platform {
                continue;
            }
            let text = answer.to_string();
            for id in other.ids() {
                assert!(!text.contains(id), "{} tells of {id}: {text}", field.name);
            }
        }
    }
    assert_eq!(other.rows(), before);
    nothing_crosses_below(&street, &other);
}

/// What is reached by way of one's own things is one's own: each link of the definition, by each caller.
fn nothing_crosses_below(street: &Street, other: &House) {
    let house = street.house("vs_house");
    let document = "{
        endpoints { nodes { id statistics { queueDepth failed delivered retried }
            encryptionKeys { id endpointId }
            deliveries(first: 50) { id event { id deliveries { id endpoint { id } } } attempts { statusCode } } } }
        events { nodes { id deliveries { id endpointId encryptionKeyId endpoint { id encryptionKeys { id } } } } }
        deliveries { nodes { id event { id } endpoint { id statistics { queueDepth } deliveries { id } } } }
        organization { id statistics { queueDepth } } }";
    for caller in [&house.tenant.caller, &house.reader, &house.owner] {
        let answer = ask(caller, document, &Value::Null);
        assert_eq!(answer["errors"], Value::Null, "{answer}");
        let text = answer.to_string();
        for id in other.ids() {
            assert!(!text.contains(id), "{id}: {text}");
        }
        for id in [&house.endpoint, &house.key, &house.event, &house.delivery] {
            assert!(text.contains(id.as_str()), "{id}: {text}");
        }
        let data = &answer["data"];
        // One event was published, one replaces what a withdrawal took.
        for (what, found, count) in [
            ("endpoints", &data["endpoints"]["nodes"], 1),
            ("keys", &data["endpoints"]["nodes"][0]["encryptionKeys"], 1),
            ("deliveries of the endpoint", &data["endpoints"]["nodes"][0]["deliveries"], 2),
            ("events", &data["events"]["nodes"], 2),
            ("deliveries of the event", &data["events"]["nodes"][0]["deliveries"], 1),
            ("deliveries", &data["deliveries"]["nodes"], 2),
            ("attempts", &data["endpoints"]["nodes"][0]["deliveries"][0]["attempts"], 1),
        ] {
            assert_eq!(found.as_array().unwrap().len(), count, "{what}: {answer}");
        }
        assert_eq!(data["organization"]["statistics"]["queueDepth"], 2);
        assert_eq!(data["endpoints"]["nodes"][0]["statistics"]["queueDepth"], 2);
    }
}

/// Links of the definition from things to things; `nothing_crosses_below` follows each.
#[test]
fn every_link_between_things_is_known() {
    let definition = Definition::read();
    let things = [
        "ApiKey",
        "Attempt",
        "AuditLogEntry",
        "Delivery",
        "EncryptionKey",
        "Endpoint",
        "Event",
        "Organization",
        "PrivacyRequest",
    ];
    let mut links = Vec::new();
    for thing in things {
        for field in &definition.0[thing] {
            if definition.0.contains_key(bare(&field.of)) {
                links.push(format!("{thing}.{}", field.name));
            }
        }
    }
    assert_eq!(
        links,
        [
            "Delivery.event",
            "Delivery.endpoint",
            "Delivery.attempts",
            "Endpoint.encryptionKeys",
            "Endpoint.deliveries",
            "Endpoint.statistics",
            "Event.deliveries",
            "Organization.statistics",
        ]
    );
}

#[test]
fn whoever_watches_sees_his_own_and_nothing_of_others() {
    let street = Street::open();
    // Both have a trigger of one name.
    let (house, other) = (street.house("vs_same"), street.house("vs_same"));
    let watched = |name: &str| {
        let fields = street.definition.root("Subscription");
        fields.iter().find(|field| field.name == name).unwrap()
    };
    let document = |name: &str, arguments: &Value| {
        street.definition.document("Subscription", watched(name), arguments, 2)
    };
    // A place in time, as the other house has it.
    let theirs = Socket::of(&other.tenant.caller);
    let all = json!({});
    theirs.subscribe("d", &document("deliveryChanged", &all), all.clone());
    assert!(begun(&theirs).is_empty());
    other.tenant.publish("vs_before", json!({}));
    let cursor = theirs.item("d")["cursor"].as_str().unwrap().to_owned();
    assert!(theirs.item("d")["delivery"]["id"].is_string());

    for (round, caller) in
        [&house.tenant.caller, &house.reader, &house.owner].into_iter().enumerate()
    {
        let socket = Socket::of(caller);
        let delivery = |filter: Value| json!({ "filter": filter });
        let after = json!({ "after": cursor });
        #[rustfmt::skip] // a line a case
        let watches = [
            //  name                field              arguments                                                  hears
            ("their endpoint",   "deliveryChanged", delivery(json!({ "endpointId": other.endpoint })),              false),
            ("their event",      "deliveryChanged", delivery(json!({ "eventId": other.event })),                    false),
            ("their both",       "deliveryChanged", delivery(json!({ "endpointId": other.endpoint, "triggerId": "vs_same" })), false),
            ("their settings",   "endpointChanged", json!({ "filter": { "endpointId": other.endpoint } }),          false),
            ("a trigger",        "deliveryChanged", delivery(json!({ "triggerId": "vs_same" })),                    true),
            ("own endpoint",     "deliveryChanged", delivery(json!({ "endpointId": house.endpoint })),              true),
            ("own event",        "deliveryChanged", delivery(json!({ "eventId": house.event })),                    true),
            ("own settings",     "endpointChanged", json!({ "filter": { "endpointId": house.endpoint } }),          true),
            ("deliveries",       "deliveryChanged", all.clone(),                                                    true),
            ("events",           "eventPublished",  all.clone(),                                                    true),
            ("endpoints",        "endpointChanged", all.clone(),                                                    true),
            ("their place (d)",  "deliveryChanged", after.clone(),                                                  true),
            ("their place (e)",  "eventPublished",  after.clone(),                                                  true),
            ("their place (w)",  "endpointChanged", after.clone(),                                                  true),
        ];
        for (name, field, arguments, _) in &watches {
            socket.subscribe(name, &document(field, arguments), arguments.clone());
        }
        let mut heard: BTreeMap<String, usize> = BTreeMap::new();
        let mut hear = |message: &Value| {
            assert_eq!(message["type"], "next", "{message}");
            let text = message.to_string();
            for id in other.ids() {
                assert!(!text.contains(id), "{id}: {text}");
            }
            assert!(house.ids().iter().any(|id| text.contains(id)), "{text}");
            *heard.entry(message["id"].as_str().unwrap().to_owned()).or_default() += 1;
            heard.clone()
        };
        for message in begun(&socket) {
            hear(&message);
        }
        let named = json!({ "organizationId": other.tenant.organization });
        for field in ["deliveryChanged", "eventPublished", "endpointChanged"] {
            let refused = first_word(caller, &document(field, &named), &named);
            assert_eq!(code(&refused), Some("FORBIDDEN"), "{field}: {refused}");
        }
        for (stirred, name) in [(&other, "theirs"), (&house, "ours")] {
            stirred.tenant.publish(&format!("vs_new_{round}"), json!({}));
            stirred
                .tenant
                .caller
                .post(&format!("/v1/webhooks/events/{}/replay", stirred.event), json!({}))
                .ok();
            let path = format!("/v1/webhooks/endpoints/{}", stirred.endpoint);
            stirred.tenant.caller.patch(&path, json!({ "name": name })).ok();
        }
        // Theirs came first: whoever has heard of ours would have heard of theirs.
        let expected = |heard: &BTreeMap<_, _>| {
            watches.iter().filter(|(.., hears)| *hears).all(|(name, ..)| heard.contains_key(*name))
        };
        while !expected(&hear(&socket.hear())) {}
        while let Some(Said::Message(message)) = socket.within(Duration::from_millis(300)) {
            hear(&message);
        }
        for (name, _, _, hears) in &watches {
            assert_eq!(heard.contains_key(*name), *hears, "{name}: {heard:?}");
        }
    }
}
