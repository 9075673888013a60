//! GraphQL reads what REST reads, for the same callers, with the same codes.

use std::time::Duration;

use hookseal::demo::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

use crate::support::daemon::{Caller, Daemon, Home, wait};

fn ask(caller: &Caller, document: &str, variables: Value) -> Value {
    let answer = caller.post("/graphql", json!({ "query": document, "variables": variables }));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}

#[test]
fn a_nested_page_shows_what_rest_shows() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = tenant.register(&receiver, json!({ "name": "n" }));
    for n in 0..3 {
        tenant.publish(&format!("vs_{n}"), json!({}));
    }
    tenant.settle(Duration::from_secs(20));
    let document = "query($after: String) { events(first: 2, after: $after) {
        nodes { id type triggerId deliveries { id status attemptCount payloadRetentionReason } }
        pageInfo { hasNextPage endCursor } } }";
    let (mut ids, mut after) = (Vec::new(), Value::Null);
    loop {
        let answer = ask(&tenant.caller, document, json!({ "after": after }));
        let page = &answer["data"]["events"];
        for event in page["nodes"].as_array().unwrap() {
            assert_eq!(event["type"], "verification.session.succeeded");
            let delivery = &event["deliveries"][0];
            assert_eq!(
                (&delivery["status"], &delivery["attemptCount"]),
                (&json!("SUCCEEDED"), &json!(1))
            );
            assert_eq!(delivery["payloadRetentionReason"], "DELIVERED");
            ids.push(event["id"].clone());
        }
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    let rest = tenant.caller.get("/v1/webhooks/events").ok();
    let rest: Vec<_> = rest.as_array().unwrap().iter().map(|event| event["id"].clone()).collect();
    assert_eq!(ids, rest);
    let document = "query($id: ID!) { endpoint(id: $id) { name url enabled maxInFlight }
        deliveries(status: SUCCEEDED, endpointId: $id) { nodes { eventId } } endpoints { nodes { id } } }";
    let answer = ask(&tenant.caller, document, json!({ "id": endpoint }));
    assert_eq!(
        answer["data"]["endpoint"],
        json!({
            "name": "n", "url": receiver.url, "enabled": true, "maxInFlight": 64,
        })
    );
    assert_eq!(answer["data"]["deliveries"]["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(answer["data"]["endpoints"]["nodes"][0]["id"], json!(endpoint));
}

/// Pieces of work that the store has done so far.
fn store_calls(daemon: &Daemon) -> u64 {
    let metrics = Caller::new(&daemon.url, "").get("/metrics").text;
    let line = metrics.lines().find_map(|line| line.strip_prefix("hookseal_store_calls_total "));
    line.expect("it is counted").parse().unwrap()
}

#[test]
fn a_nested_page_costs_the_same_reads_however_long_it_is() {
    // Nobody else reads rows meanwhile: the stager looks every 15 s, the janitor every 5 s.
    let home = Home::new(&[("HOOKSEAL_RETRY_SCHEDULE", "1h")]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receiver = Receiver::start(Behaviour::Accept);
    for _ in 0..3 {
        tenant.register(&receiver, json!({}));
    }
    for n in 0..7 {
        tenant.publish(&format!("vs_{n}"), json!({}));
    }
    let document = "query($first: Int) { deliveries(first: $first) { nodes {
        event { id } endpoint { id encryptionKeys { keyId } } attempts { statusCode } } } }";
    let mut reads = Vec::new();
    for first in [1, 20] {
        let mut fewest = u64::MAX;
        for _ in 0..5 {
            let before = store_calls(&daemon);
            let answer = ask(&tenant.caller, document, json!({ "first": first }));
            let nodes = answer["data"]["deliveries"]["nodes"].as_array().unwrap();
            assert_eq!(nodes.len(), first, "{answer}");
            assert_eq!(nodes[0]["endpoint"]["encryptionKeys"][0]["keyId"], "k1");
            fewest = fewest.min(store_calls(&daemon) - before);
        }
        reads.push(fewest);
    }
    assert_eq!(reads[0], reads[1], "the longer page must not read more often");
}

#[test]
fn refusals_carry_the_codes_of_rest() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let (tenant, other) = (daemon.tenant(), daemon.tenant());
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = other.register_without_key(&receiver, json!({}));
    let one = "query($id: ID!) { endpoint(id: $id) { id } }";
    let foreign = ask(&tenant.caller, one, json!({ "id": endpoint }));
    let missing = ask(&tenant.caller, one, json!({ "id": "whe_missing" }));
    assert_eq!((code(&foreign), &foreign), ("NOT_FOUND", &missing));
    assert_eq!(code(&ask(&tenant.caller, one, json!({ "id": "a.b" }))), "BAD_REQUEST");
    let listed = |arguments: &str| {
        let document = format!("{{ events({arguments}) {{ nodes {{ id }} }} }}");
        code(&ask(&tenant.caller, &document, Value::Null)).to_owned()
    };
    assert_eq!(listed("first: 101"), "BAD_REQUEST");
    assert_eq!(listed("after: \"evt_unknown\""), "INVALID_REQUEST");
    assert_eq!(listed("type: \"x\""), "BAD_REQUEST");
    assert_eq!(listed("createdFrom: \"today\""), "BAD_REQUEST");
    let elsewhere = daemon.key(&tenant.organization, &["sessions:write"]);
    let endpoints = "{ endpoints { nodes { id } } }";
    assert_eq!(code(&ask(&elsewhere, endpoints, Value::Null)), "FORBIDDEN");
    assert_eq!(code(&ask(&daemon.platform(), endpoints, Value::Null)), "FORBIDDEN");
    let within = "query($of: ID!) { endpoints(organizationId: $of) { nodes { id } } }";
    let of = |organization: &str| json!({ "of": organization });
    let seen = ask(&daemon.platform(), within, of(&other.organization));
    assert_eq!(seen["data"]["endpoints"]["nodes"][0]["id"], json!(endpoint));
    assert_eq!(code(&ask(&tenant.caller, within, of(&other.organization))), "FORBIDDEN");
    let own = ask(&tenant.caller, within, of(&tenant.organization));
    assert_eq!(own["data"]["endpoints"]["nodes"], json!([]));
    let nobody = Caller::new(&daemon.url, "");
    assert_eq!(nobody.post("/graphql", json!({ "query": "{ __typename }" })).status, 401);
    assert_eq!(nobody.send("GET", "/graphql?query={__typename}", &[], "").status, 405);
    let plain = [("content-type", "text/plain")];
    assert_eq!(tenant.caller.send("POST", "/graphql", &plain, "{}").status, 415);
    assert_eq!(tenant.caller.post("/graphql", json!([{ "query": "{ __typename }" }])).status, 400);
    assert!(nobody.get("/graphql/schema").text.contains("type Delivery {"));
}

#[test]
fn documents_that_ask_for_too_much_are_refused_before_they_run() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let aliases: String = (0..200).map(|n| format!("a{n}: events {{ nodes {{ id }} }} ")).collect();
    let deep = format!(
        "{{ {}name{} }}",
        "__schema { types { ofType: fields { type { ".repeat(5),
        " } } } }".repeat(5)
    );
    let directives = format!("{{ __typename {} }}", "@include(if: true) ".repeat(50));
    for document in [
        format!("{{ {aliases} }}"),
        deep,
        directives,
        "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }".to_owned(),
        "{ nothing }".to_owned(),
        "{".to_owned(),
    ] {
        let answer = ask(&tenant.caller, &document, Value::Null);
        assert!(answer["errors"].is_array() && answer["data"].is_null(), "{document}: {answer}");
    }
}

#[test]
fn endpoints_show_their_latest_deliveries_and_everybody_his_organization() {
    let home = Home::new(&[]);
    let daemon = home.start();
    let tenant = daemon.tenant();
    let receivers = [Receiver::start(Behaviour::Accept), Receiver::start(Behaviour::Answer(500))];
    for (receiver, name) in receivers.iter().zip(["good", "bad"]) {
        tenant.register(receiver, json!({ "name": name }));
    }
    let mut events = Vec::new();
    for n in 0..4 {
        events.push(tenant.publish(&format!("vs_{n}"), json!({}))["id"].clone());
    }
    let settled = || tenant.deliveries("&status=succeeded").len() == 4;
    wait(Duration::from_secs(20), "deliveries", settled);
    let document = "{ organization { id name } endpoints { nodes { name
        latest: deliveries(first: 3) { eventId } succeeded: deliveries(status: SUCCEEDED) { eventId } } } }";
    let answer = ask(&tenant.caller, document, json!({}));
    assert_eq!(
        answer["data"]["organization"],
        json!({ "id": tenant.organization, "name": "Acme" })
    );
    for endpoint in answer["data"]["endpoints"]["nodes"].as_array().unwrap() {
        let ids = |list: &str| -> Vec<Value> {
            let list = endpoint[list].as_array().unwrap();
            list.iter().map(|delivery| delivery["eventId"].clone()).collect()
        };
        let newest: Vec<_> = events.iter().rev().cloned().collect();
        assert_eq!(ids("latest"), newest[..3]);
        let succeeded = if endpoint["name"] == "good" { newest } else { Vec::new() };
        assert_eq!(ids("succeeded"), succeeded);
    }
    let refused = ask(&tenant.caller, "{ cluster { nodes { version } } }", json!({}));
    assert_eq!(code(&refused), "FORBIDDEN");
}

#[test]
fn the_schema_is_shown_to_whom_the_settings_let_see_it() {
    let ask_for_it = |daemon: &Daemon| {
        let tenant = daemon.tenant();
        let nobody = Caller::new(&daemon.url, "");
        let query = json!({ "query": "{ __schema { queryType { name } } }" });
        assert_eq!(nobody.post("/graphql", query.clone()).status, 401);
        let page = nobody.send("GET", "/graphql", &[("accept", "text/html,*/*")], "");
        let definition = nobody.get("/graphql/schema").status;
        let answer = tenant.caller.post("/graphql", query).json();
        (answer["data"]["__schema"]["queryType"]["name"] == "Query", definition, page.status)
    };
    let home = Home::new(&[]);
    assert_eq!(ask_for_it(&home.start()), (true, 200, 200), "of a developer");
    let home = Home::new(&[("HOOKSEAL_DEV", "0")]);
    assert_eq!(ask_for_it(&home.start()), (true, 200, 405), "as it is installed");
    let home = Home::new(&[("HOOKSEAL_INTROSPECTION", "0")]);
    assert_eq!(ask_for_it(&home.start()), (false, 404, 200), "kept to itself");
}
