//! Documents that mean harm are refused before anything is executed, quickly, and the refusal tells
//! nothing of what is inside.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::daemon::{Caller, Daemon, Home};
use crate::support::socket::{Said, Socket};

/// No refusal may take longer, in a build without optimization beside other tests; one that is walked
/// without bounds takes hours.
const QUICKLY: Duration = Duration::from_secs(3);
/// Longest answer to a refused document.
const ANSWER_BYTES: usize = 64 * 1024;
/// What no answer may contain.
const INSIDES: &[&str] = &["sql", "panic", "src/", ".rs:", "stack", "async_graphql", "thread '"];
/// A value of a document that cannot be read; it may be a payload.
const CANARY: &str = "canary-4711";
/// An organization that there need not be.
const OF: &str = "organizationId: \"018f0000-0000-7000-8000-000000000000\"";
/// What would be read or made if a document were executed.
const READ: &str = "organizations { nodes { id } }";
const MAKE: &str = "createOrganization(name: \"hostile\") { result { id } }";

fn repeated(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().join(" ")
}

/// `count` fragments, each of which spreads the next one `width` times.
fn spreads(count: usize, width: usize) -> String {
    let fragment = |n: usize| {
        let next = format!("...F{} ", n + 1).repeat(width);
        format!("fragment F{n} on Query {{ {next} }}")
    };
    format!("{{ ...F0 }} {} fragment F{count} on Query {{ {READ} }}", repeated(count, fragment))
}

fn nested(open: &str, depth: usize, middle: &str, close: &str) -> String {
    format!("{}{middle}{}", open.repeat(depth), close.repeat(depth))
}

/// Documents and their variables, by name.
#[allow(clippy::too_many_lines, reason = "a line a case")]
#[rustfmt::skip] // a line a case
fn documents() -> Vec<(&'static str, String, Value)> {
    let many = |n: usize| vec!["a"; n];
    let event = |ids: usize| json!({
        "organizationId": "018f0000-0000-7000-8000-000000000000", "type": "verification.session.failed",
        "triggerType": "t", "triggerId": "i", "data": {}, "webhookEndpointIds": many(ids),
    });
    let create = "mutation($i: NewEndpointInput!, $o: ID) { createEndpoint(input: $i, organizationId: $o) { result { signingSecret } } }";
    let none = || json!({});
    let long = "L".repeat(10_000);
    vec![
        // Deep.
        ("deep fields",               format!("{{ {READ} endpoints({OF}) {{ nodes {} }} }}", nested("{ deliveries(first: 1) { endpoint ", 12, "{ id }", " } }")), none()),
        ("deep inline fragments",     format!("{{ {} }}", nested("... { ", 40, READ, " }")), none()),
        ("deep braces",               format!("{{ {READ} {}", nested("a {", 5000, "a", "}")), none()),
        ("deep open braces",          "{a".repeat(16_000), none()),
        ("deep list",                 format!("{{ organizations(first: {}) {{ nodes {{ id }} }} }}", nested("[", 10_000, "", "]")), none()),
        ("deep object",               format!("{{ organizations(first: {}) {{ nodes {{ id }} }} }}", nested("{a:", 5000, "1", "}")), none()),
        ("deep type",                 format!("query($a: {}) {{ {READ} }}", nested("[", 10_000, "Int", "]")), none()),
        ("nested hundreds",           format!("{{ endpoints(first: 100, {OF}) {{ nodes {{ deliveries(first: 100) {{ id status }} }} }} }}"), none()),
        ("hundreds by variable",      format!("query($n: Int) {{ endpoints(first: $n, {OF}) {{ nodes {{ deliveries(first: $n) {{ id status }} }} }} }}"), json!({ "n": 100 })),
        ("nested billions",           format!("{{ endpoints(first: 2147483647, {OF}) {{ nodes {{ deliveries(first: 2147483647) {{ event {{ id }} }} }} }} }}"), none()),
        ("schema within schema",      format!("{{ {READ} __schema {{ {} }} }}", nested("types { fields { type { ", 4, "name", " } } }")), none()),
        ("types within types",        format!("{{ {READ} __schema {{ types {} }} }}", nested("{ possibleTypes { name } fields { type { ofType ", 5, "{ name }", " } } }")), none()),
        // Floods.
        ("aliases",                   format!("{{ {} }}", repeated(31, |n| format!("a{n}: {READ}"))), none()),
        ("aliases of mutations",      format!("mutation {{ {} }}", repeated(100, |n| format!("a{n}: {MAKE}"))), none()),
        ("aliases across fragments",  format!("{{ {} }} {}", repeated(31, |n| format!("...F{n}")), repeated(31, |n| format!("fragment F{n} on Query {{ a{n}: {READ} }}"))), none()),
        ("aliases times aliases",     format!("{{ {} }} fragment S on Organization {{ {} }}", repeated(6, |n| format!("a{n}: organizations {{ nodes {{ ...S }} }}")), repeated(6, |n| format!("b{n}: statistics {{ delivered }}"))), none()),
        ("schema times schema",       format!("{{ {READ} {} }} fragment S on __Schema {{ {} }} fragment T on __Type {{ name fields {{ name args {{ name }} }} }}", repeated(5, |n| format!("a{n}: __schema {{ ...S }}")), repeated(5, |n| format!("b{n}: types {{ ...T }}"))), none()),
        ("fields",                    format!("{{ {} }}", READ.repeat(61)), none()),
        ("fields by fragments",       format!("{{ {} }} fragment F on Query {{ {} }}", "...F ".repeat(10), READ.repeat(10)), none()),
        ("operations",                repeated(700, |n| format!("query A{n} {{ {READ} }}")), none()),
        ("directives on a field",     format!("{{ {READ} __typename {} }}", "@skip(if: false) ".repeat(1000)), none()),
        ("directives on a spread",    format!("{{ ...F {} }} fragment F on Query {{ {READ} }}", "@skip(if: false) ".repeat(1000)), none()),
        ("directives on a fragment",  format!("{{ ...F }} fragment F on Query {} {{ {READ} }}", "@include(if: true) ".repeat(1000)), none()),
        ("directives inline",         format!("{{ ... {} {{ {READ} }} }}", "@include(if: true) ".repeat(1000)), none()),
        ("directives on an operation", format!("query A {} {{ {READ} }}", "@skip(if: false) ".repeat(1000)), none()),
        ("directives on a variable",  format!("query A($a: Boolean! {}) {{ {READ} __typename @skip(if: $a) }}", "@x ".repeat(1000)), json!({ "a": true })),
        ("unknown directive",         "{ organizations @nothing { nodes { id } } }".into(), none()),
        ("long names that conflict",  format!("{{ {} }} fragment F on Query {{ {long}: {READ} {long}: cluster {{ nodes {{ version }} }} }}", "...{...{...F}} ".repeat(50)), none()),
        // Fragments.
        ("fragments two by two",      spreads(20, 2), none()),
        ("fragments sixty by sixty",  spreads(5, 60), none()),
        ("fragments by hundreds",     spreads(7, 400), none()),
        ("a chain of fragments",      spreads(600, 1), none()),
        ("a fragment in itself",      format!("{{ {READ} ...A }} fragment A on Query {{ ...A }}"), none()),
        ("fragments in a circle",     format!("{{ {READ} ...A }} fragment A on Query {{ ...B }} fragment B on Query {{ ...C }} fragment C on Query {{ ...A }}"), none()),
        ("a circle by fields",        format!("{{ endpoints({OF}) {{ nodes {{ ...E }} }} }} fragment E on Endpoint {{ deliveries {{ endpoint {{ ...E }} }} }}"), none()),
        ("a circle that is not used", format!("{{ {READ} }} fragment A on Query {{ ...B }} fragment B on Query {{ ...A }}"), none()),
        ("bomb that is not used",     format!("{{ {READ} }} {}", spreads(5, 60).split_once('}').unwrap().1), none()),
        ("unknown fragment",          format!("{{ {READ} ...Nothing }}"), none()),
        ("fragment on another type",  format!("{{ {READ} ...F }} fragment F on Endpoint {{ id }}"), none()),
        // Lists and variables.
        ("long list in a document",   format!("mutation {{ createEndpoint(input: {{ url: \"https://a.com\", labels: [{}] }}, {OF}) {{ result {{ signingSecret }} }} }}", "\"a\" ".repeat(7000)), none()),
        ("long list in a variable",   create.to_owned(), json!({ "i": { "url": "https://a.com", "labels": many(100_000) } })),
        ("long list of types",        create.to_owned(), json!({ "i": { "url": "https://a.com", "subscribedEventTypes": many(100_000) } })),
        ("long list of ids",          "mutation($i: NewEventInput!) { publishEvent(input: $i) { result { id } } }".into(), json!({ "i": event(100_000) })),
        ("long list of events",       "mutation($i: [NewEventInput!]!) { publishEvents(inputs: $i) { result { id } } }".into(), json!({ "i": vec![event(0); 3000] })),
        ("long list of enums",        format!("subscription($c: [DeliveryChange!]) {{ deliveryChanged(filter: {{ changes: $c }}, {OF}) {{ cursor }} }}"), json!({ "c": vec!["CREATED"; 5000] })),
        ("too many variables",        format!("query({}) {{ {READ} }}", repeated(2500, |n| format!("$a{n}: Int"))), none()),
        ("too many values",           format!("{{ {READ} }}"), (0..10_000).map(|n| (format!("a{n}"), json!(n))).collect()),
        ("many values in one",        format!("{{ {READ} }}"), json!({ "a": vec![0; 5000] })),
        ("many values, deep",         format!("{{ {READ} }}"), json!({ "a": [{ "b": { "c": vec![0; 5000] } }] })),
        ("a long text of one",        format!("{{ {READ} }}"), json!({ "a": "x".repeat(70_000) })),
        ("many values of a mutation", format!("mutation {{ {MAKE} }}"), json!({ "a": vec![0; 140_000] })),
        ("many values to watch with", format!("subscription {{ deliveryChanged({OF}) {{ cursor }} }}"), json!({ "a": vec![0; 5000] })),
        ("a variable never used",     format!("query($a: Int) {{ {READ} }}"), json!({ "a": 1 })),
        ("a variable never declared", "{ organizations(first: $a) { nodes { id } } }".into(), json!({ "a": 1 })),
        ("a variable left out",       format!("query($id: ID!) {{ endpoint(id: $id, {OF}) {{ id }} }}"), none()),
        ("a variable of null",        format!("query($id: ID!) {{ endpoint(id: $id, {OF}) {{ id }} }}"), json!({ "id": null })),
        ("a variable declared twice", "query($a: Int, $a: Int) { organizations(first: $a) { nodes { id } } }".into(), json!({ "a": 1 })),
        ("a variable of another type", "query($a: Int) { organizations(first: $a) { nodes { id } } }".into(), json!({ "a": "ten" })),
        ("an object for an id",       format!("query($id: ID!) {{ endpoint(id: $id, {OF}) {{ id }} }}"), json!({ "id": { "$ne": null } })),
        ("an object for a text",      create.to_owned(), json!({ "i": { "url": { "a": 1 } } })),
        ("an unknown member",         create.to_owned(), json!({ "i": { "url": "https://a.com", "organizationId": "x" } })),
        ("a number too large",        "{ organizations(first: 99999999999999999999) { nodes { id } } }".into(), none()),
        ("a number without end",      "{ organizations(first: 1e400) { nodes { id } } }".into(), none()),
        ("an unknown enum value",     format!("{{ deliveries(status: DROP_TABLE, {OF}) {{ nodes {{ id }} }} }}"), none()),
        ("an enum injected",          format!("query($s: DeliveryStatus) {{ deliveries(status: $s, {OF}) {{ nodes {{ id }} }} }}"), json!({ "s": "FAILED' OR '1'='1" })),
        // Text.
        ("a long document",           format!("{{ {READ} }} #{}", "x".repeat(32 * 1024)), none()),
        ("a long text",               format!("{{ {READ} endpoint(id: \"{}\", {OF}) {{ id }} }}", "a".repeat(40_000)), none()),
        ("a long block of text",      format!("{{ {READ} endpoint(id: \"\"\"{}\"\"\", {OF}) {{ id }} }}", "a\n".repeat(20_000)), none()),
        ("a zero byte",               format!("{{ {READ}\0 }}"), none()),
        ("not a document",            format!("mutation {{ createEndpoint(input: {{ url: \"{CANARY}\" )) }}"), none()),
        ("a text without end",        format!("{{ {READ} endpoint(id: \"{CANARY}"), none()),
        ("nothing at all",            String::new(), none()),
        ("an empty selection",        format!("{{ {READ} cluster {{ }} }}"), none()),
        ("a definition of types",     "type Query { organizations: Int }".into(), none()),
        ("only a fragment",           format!("fragment F on Query {{ {READ} }}"), none()),
        // Names.
        ("operations of one name",    format!("query A {{ {READ} }} query A {{ {READ} }}"), none()),
        ("which operation?",          format!("query A {{ {READ} }} mutation B {{ {MAKE} }}"), none()),
        ("unknown field",             format!("{{ {READ} nothing }}"), none()),
        ("unknown argument",          format!("{{ {READ} organizations(where: \"1=1\") {{ nodes {{ id }} }} }}"), none()),
        ("unknown type",              format!("query($a: Nothing) {{ {READ} endpoint(id: $a) {{ id }} }}"), json!({ "a": 1 })),
        ("an argument twice",         "{ organizations(first: 1, first: 100) { nodes { id } } }".into(), none()),
        ("two fields of one name",    format!("{{ a: {READ} a: cluster {{ nodes {{ version }} }} }}"), none()),
        ("no selection",              format!("{{ {READ} cluster }}"), none()),
        ("a selection of a text",     "{ organizations { nodes { id { id } } } }".into(), none()),
        ("many subscriptions",        format!("subscription {{ {} }}", repeated(30, |n| format!("a{n}: deliveryChanged({OF}) {{ cursor }}"))), none()),
        ("three subscriptions",       format!("subscription {{ deliveryChanged({OF}) {{ cursor }} eventPublished({OF}) {{ cursor }} endpointChanged({OF}) {{ cursor }} }}"), none()),
        ("subscription by fragments", format!("subscription {{ ...A ...B }} fragment A on Subscription {{ deliveryChanged({OF}) {{ cursor }} }} fragment B on Subscription {{ eventPublished({OF}) {{ cursor }} }}"), none()),
    ]
}

const JSON: &str = "application/json";

/// Bodies that are no document, by name: how each is sent and the status that it is refused with.
#[rustfmt::skip] // a line a case
fn bodies() -> Vec<(&'static str, &'static str, Vec<u8>, u16)> {
    let read = json!({ "query": format!("{{ {READ} }}") }).to_string();
    let make = json!({ "query": format!("mutation {{ {MAKE} }}") }).to_string();
    let with = |name: &str, value: &str| format!("{{\"query\":\"{{ {READ} }}\",\"{name}\":{value}}}").into_bytes();
    let utf_16: Vec<u8> = std::iter::once(0xFEFF).chain(read.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    vec![
        ("a batch",                 JSON, format!("[{read},{read}]").into_bytes(), 400),
        ("a long batch",            JSON, format!("[{}]", vec![make.as_str(); 10_000].join(",")).into_bytes(), 400),
        ("an empty batch",          JSON, b"[]".to_vec(), 400),
        ("a document as an array",  JSON, format!("[\"{{ {READ} }}\",null,{{}},{{}}]").into_bytes(), 400),
        ("null",                    JSON, b"null".to_vec(), 400),
        ("a text",                  JSON, format!("\"{{ {READ} }}\"").into_bytes(), 400),
        ("nothing",                 JSON, Vec::new(), 400),
        ("a query of null",         JSON, b"{\"query\":null}".to_vec(), 400),
        ("a query of queries",      JSON, format!("{{\"query\":[\"{{ {READ} }}\"]}}").into_bytes(), 400),
        ("two queries",             JSON, with("query", "\"{ __typename }\""), 400),
        ("variables in a list",     JSON, with("variables", "[1]"), 400),
        ("variables in a text",     JSON, with("variables", "\"{}\""), 400),
        ("a number for a name",     JSON, with("operationName", "7"), 400),
        ("extensions in a list",    JSON, with("extensions", "[]"), 400),
        ("a member twice",          JSON, with("variables", r#"{"jwk":{"kty":"RSA","kty":"EC"}}"#), 400),
        ("a member twice, deep",    JSON, with("variables", r#"{"a":[{"b":{"c":1,"c":1}}]}"#), 400),
        ("deep variables",          JSON, with("variables", &format!("{{\"a\":{}}}", nested("[", 100_000, "", "]"))), 400),
        ("deep objects",            JSON, with("variables", &nested("{\"a\":", 100_000, "1", "}")), 400),
        ("a large variable",        JSON, with("variables", &format!("{{\"a\":\"{}\"}}", "x".repeat(2 * 1024 * 1024))), 413),
        ("many large variables",    JSON, with("variables", &format!("{{\"a\":[{}1]}}", "1,".repeat(2 * 1024 * 1024))), 413),
        ("cut off",                 JSON, read[..read.len() - 2].into(), 400),
        ("something behind",        JSON, format!("{read}{make}").into_bytes(), 400),
        ("UTF-16",                  JSON, utf_16, 400),
        ("a byte order mark",       JSON, [b"\xef\xbb\xbf", read.as_bytes()].concat(), 400),
        ("no UTF-8",                JSON, [&read.as_bytes()[..10], b"\xff\xfe", &read.as_bytes()[10..]].concat(), 400),
        ("half a surrogate",        JSON, b"{\"query\":\"{ organizations \\ud800 }\"}".to_vec(), 400),
        ("zero bytes",              JSON, vec![0; 1000], 400),
        ("plain text",              "text/plain", make.clone().into_bytes(), 415),
        ("a form",                  "application/x-www-form-urlencoded", format!("query=mutation {{ {MAKE} }}").into_bytes(), 415),
        ("an upload",               "multipart/form-data; boundary=b", format!("--b\r\ncontent-disposition: form-data; name=\"operations\"\r\n\r\n{make}\r\n--b--\r\n").into_bytes(), 415),
        ("a bare document",         "application/graphql", format!("mutation {{ {MAKE} }}").into_bytes(), 415),
        ("no type",                 "", make.into_bytes(), 415),
    ]
}

struct Answered {
    status: u16,
    text: String,
    took: Duration,
}

/// Posts bytes as they are.
fn post(caller: &Caller, kind: &str, accept: &str, body: Vec<u8>) -> Answered {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .new_agent();
    let mut request = ureq::http::Request::post(format!("{}/graphql", caller.base))
        .header("authorization", format!("Bearer {}", caller.key))
        .header("accept", accept);
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    let begun = Instant::now();
    let mut response = agent.run(request.body(body).unwrap()).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    Answered { status: response.status().as_u16(), text, took: begun.elapsed() }
}

/// Pieces of work that the store has done so far.
fn store_calls(daemon: &Daemon) -> u64 {
    let metrics = Caller::new(&daemon.url, "").get("/metrics").text;
    let line = metrics.lines().find_map(|line| line.strip_prefix("hookseal_store_calls_total "));
    line.expect("it is counted").parse().unwrap()
}

/// Runs `ask` and sees to it that no row was touched meanwhile. The daemon itself looks at rows every
/// few seconds, so that one that was may be asked again.
fn untouched<T>(daemon: &Daemon, name: &str, ask: impl Fn() -> T) -> T {
    for _ in 0..5 {
        let before = store_calls(daemon);
        let answer = ask();
        if store_calls(daemon) == before {
            return answer;
        }
    }
    panic!("{name}: rows were touched")
}

fn harmless(name: &str, answer: &Answered) {
    let Answered { text, took, .. } = answer;
    assert!(*took < QUICKLY, "{name} took {took:?}");
    assert!(text.len() < ANSWER_BYTES, "{name} is answered with {} bytes", text.len());
    let lower = text.to_lowercase();
    for inside in INSIDES.iter().chain(&[CANARY]) {
        assert!(!lower.contains(inside), "{name} tells of {inside}: {text}");
    }
}

/// No data, and errors that each have a code.
fn refused(name: &str, answer: &Value) {
    assert!(answer["data"].is_null(), "{name}: {answer}");
    let errors = answer["errors"].as_array().unwrap_or_else(|| panic!("{name}: {answer}"));
    assert!(!errors.is_empty(), "{name}: {answer}");
    for error in errors {
        assert_eq!(error["extensions"]["code"], "BAD_REQUEST", "{name}: {error}");
    }
}

fn house() -> (Home, Daemon) {
    let home = Home::new(&[]);
    let daemon = home.start();
    (home, daemon)
}

#[test]
fn what_is_counted_is_what_a_document_reads() {
    let (_home, daemon) = house();
    let before = store_calls(&daemon);
    let body = json!({ "query": format!("{{ {READ} }}") }).to_string();
    let answer = post(&daemon.platform(), JSON, JSON, body.into_bytes());
    assert!(answer.text.contains("{\"data\":{\"organizations\""), "{}", answer.text);
    assert!(store_calls(&daemon) > before);
}

#[test]
fn hostile_documents_are_refused_before_they_are_executed() {
    let (_home, daemon) = house();
    let platform = daemon.platform();
    let documents = documents();
    assert!(documents.len() >= 40);
    let socket = Socket::of(&platform);
    for (name, document, variables) in documents {
        let body = json!({ "query": document, "variables": variables }).to_string();
        let answer =
            untouched(&daemon, name, || post(&platform, JSON, JSON, body.clone().into_bytes()));
        harmless(name, &answer);
        refused(name, &serde_json::from_str(&answer.text).unwrap());

        let stream = untouched(&daemon, name, || {
            post(&platform, JSON, "text/event-stream", body.clone().into_bytes())
        });
        harmless(name, &stream);
        let events: Vec<_> = stream.text.split("\n\n").filter(|event| !event.is_empty()).collect();
        let next = events[0].strip_prefix("event: next\ndata: ").expect(name);
        let next: Value = serde_json::from_str(next).unwrap();
        refused(name, &next);
        assert_eq!(events[1..], ["event: complete\ndata:"], "{name}");

        if body.len() > 60_000 {
            continue;
        }
        // What is found out where a field is asked for is that field's error.
        let at_field = !next["errors"][0]["path"].is_null();
        untouched(&daemon, name, || {
            socket.subscribe("hostile", &document, variables.clone());
            let message = socket.hear();
            assert_eq!(message["id"], "hostile", "{name}: {message}");
            if at_field {
                refused(name, &message["payload"]);
                assert_eq!(socket.hear()["type"], "complete", "{name}");
            } else {
                assert_eq!(message["type"], "error", "{name}: {message}");
                refused(name, &json!({ "errors": message["payload"] }));
            }
        });
    }
    let made = platform.post("/graphql", json!({ "query": format!("{{ {READ} }}") })).ok();
    assert_eq!(made["organizations"]["nodes"], json!([]));
}

#[test]
fn hostile_bodies_are_refused_unread() {
    let (_home, daemon) = house();
    let platform = daemon.platform();
    for (name, kind, body, status) in bodies() {
        let answer = untouched(&daemon, name, || post(&platform, kind, JSON, body.clone()));
        harmless(name, &answer);
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
        let json: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(json["data"].is_null() && json["error"]["code"].is_string(), "{name}: {json}");
    }
    let make =
        "/graphql?query=mutation%7BcreateOrganization(name:%22hostile%22)%7Bresult%7Bid%7D%7D%7D";
    for method in ["GET", "PUT", "DELETE"] {
        let answer = untouched(&daemon, method, || platform.send(method, make, &[], ""));
        assert_eq!(answer.status, 405, "{method}: {answer:?}");
    }
    let made = platform.post("/graphql", json!({ "query": format!("{{ {READ} }}") })).ok();
    assert_eq!(made["organizations"]["nodes"], json!([]));
}

#[test]
fn hostile_messages_end_the_socket() {
    let (_home, daemon) = house();
    let document = format!("mutation {{ {MAKE} }}");
    let subscribe =
        |payload: Value| json!({ "id": "x", "type": "subscribe", "payload": payload }).to_string();
    let one = json!({ "query": document });
    let deep = nested("[", 1000, "", "]");
    for (name, message) in [
        ("a batch", subscribe(json!([one, one]))),
        ("a document as an array", subscribe(json!([document, null, {}, {}]))),
        (
            "a batch of messages",
            json!([{ "id": "x", "type": "subscribe", "payload": one }]).to_string(),
        ),
        ("a message as an array", json!(["subscribe", "x", one]).to_string()),
        ("a text", subscribe(json!(document))),
        (
            "a member twice",
            subscribe(json!({ "query": document, "variables": { "jwk": { "kty": "RSA" } } }))
                .replace("\"kty\":", "\"kty\":\"EC\",\"kty\":"),
        ),
        ("variables in a list", subscribe(json!({ "query": document, "variables": [1] }))),
        (
            "deep variables",
            format!(
                "{{\"id\":\"x\",\"type\":\"subscribe\",\"payload\":{{\"query\":\"\",\"variables\":{{\"a\":{deep}}}}}}}"
            ),
        ),
        (
            "a long message",
            subscribe(json!({ "query": document, "variables": { "a": "x".repeat(70_000) } })),
        ),
    ] {
        let socket = Socket::of(&daemon.platform());
        untouched(&daemon, name, || ());
        socket.say_text(&message);
        let end = socket.next();
        assert!(matches!(end, Said::Closed(4400, _) | Said::Gone), "{name}: {end:?}");
    }
    let answer =
        daemon.platform().post("/graphql", json!({ "query": format!("{{ {READ} }}") })).ok();
    assert_eq!(answer["organizations"]["nodes"], json!([]));
}
