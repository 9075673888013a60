//! Section 8.1: which URLs an endpoint may have, in production and in development.

use serde_json::json;

use super::vocabulary::{ENDPOINTS, Fact, TARGET, endpoint, fact, id, refused};
use super::world::World;

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = refused_urls(world);
    facts.extend(taken_urls(world));
    facts.extend(development(world));
    facts
}

/// URLs that production refuses, at creation and at change, and the reason it gives.
fn refused_urls(world: &World) -> Vec<Fact<'_>> {
    let long = format!("https://a.example/{}", "a".repeat(2048 - 17));
    #[rustfmt::skip] // a line a case
    let rows = [
        ("an empty url",                        "",                                  "invalid_url"),
        ("a url without a scheme",              "hooks.example.com/in",              "invalid_url"),
        ("a url without a host",                "https://",                          "invalid_url"),
        ("a url with a path for its host",      "https:///hooks.example.com",        "invalid_url"),
        ("a url with a space in its host",      "https://hooks .example.com/",       "invalid_url"),
        ("a url with a tab",                    "https://hooks.exa\tmple.com/",      "invalid_url"),
        ("a url with a line break",             "https://hooks.example.com/\na",     "invalid_url"),
        ("a url with a null",                   "https://hooks.example.com/\0",      "invalid_url"),
        ("a url with backslashes",              "https:\\\\hooks.example.com\\in",   "invalid_url"),
        ("a url with a backslash in its path",  "https://hooks.example.com/a\\b",    "invalid_url"),
        ("a url with a port that is none",      "https://hooks.example.com:99999/",  "invalid_url"),
        ("a url with a fragment",               "https://hooks.example.com/#a",      "fragment_in_url"),
        ("a url with an empty fragment",        "https://hooks.example.com/#",       "fragment_in_url"),
        ("a url with a user",                   "https://me@hooks.example.com/",     "credentials_in_url"),
        ("a url with a user and a password",    "https://me:pw@hooks.example.com/",  "credentials_in_url"),
        ("a url with an empty user",            "https://@hooks.example.com/",       "credentials_in_url"),
        ("http",                                "http://hooks.example.com/",         "invalid_scheme"),
        ("ftp",                                 "ftp://hooks.example.com/",          "invalid_scheme"),
        ("wss",                                 "wss://hooks.example.com/",          "invalid_scheme"),
        ("http to localhost",                   "http://localhost:1/",               "invalid_scheme"),
        ("https to localhost",                  "https://localhost/",                "loopback_not_allowed"),
        ("https to localhost in capitals",      "https://LOCALHOST/",                "loopback_not_allowed"),
        ("https to localhost with a dot",       "https://localhost./",               "loopback_not_allowed"),
        ("https to 127.0.0.1",                  "https://127.0.0.1/",                "loopback_not_allowed"),
        ("127.0.0.1 in hexadecimal and short",  "https://0x7f.1/",                   "loopback_not_allowed"),
        ("127.0.0.1 as one number",             "https://2130706433/",               "loopback_not_allowed"),
        ("127.0.0.1 in octal",                  "https://0177.0.0.1/",               "loopback_not_allowed"),
        ("another loopback address",            "https://127.0.0.2/",                "ipv4_literal_disallowed"),
        ("a private ipv4 address",              "https://10.0.0.1/",                 "ipv4_literal_disallowed"),
        ("a link-local ipv4 address",           "https://169.254.169.254/",          "ipv4_literal_disallowed"),
        ("a public ipv4 address",               "https://8.8.8.8/",                  "ipv4_literal_disallowed"),
        ("an ipv4 address as one number",       "https://134744072/",                "ipv4_literal_disallowed"),
        ("an ipv4 address with a last dot",     "https://8.8.8.8./",                 "ipv4_literal_disallowed"),
        ("the ipv6 loopback",                   "https://[::1]/",                    "ipv6_literal_disallowed"),
        ("a public ipv6 address",               "https://[2606:4700::1111]/",        "ipv6_literal_disallowed"),
        ("an ipv4 address mapped into ipv6",    "https://[::ffff:127.0.0.1]/",       "ipv6_literal_disallowed"),
        ("a host without a dot",                "https://intranet/",                 "reserved_hostname_disallowed"),
        ("a host that only ends in a dot",      "https://intranet./",                "reserved_hostname_disallowed"),
        ("a host under home.arpa",              "https://nas.home.arpa/",            "reserved_hostname_disallowed"),
        ("a host under internal",               "https://db.internal/",              "reserved_hostname_disallowed"),
        ("a host under lan",                    "https://nas.lan/",                  "reserved_hostname_disallowed"),
        ("a host under local",                  "https://printer.local/",            "reserved_hostname_disallowed"),
        ("a host under localdomain",            "https://a.localdomain/",            "reserved_hostname_disallowed"),
        ("a host under localhost",              "https://a.localhost/",              "reserved_hostname_disallowed"),
        ("a reserved host in capitals",         "https://DB.INTERNAL/",              "reserved_hostname_disallowed"),
        ("a reserved host with a last dot",     "https://db.internal./",             "reserved_hostname_disallowed"),
    ];
    let rows = rows.map(|(name, url, reason)| (name, url.to_owned(), reason));
    let too_long = ("a url of 2049 characters", format!("{long}a"), "url_too_long");
    let mut facts = Vec::new();
    for (name, url, reason) in rows.into_iter().chain([too_long]) {
        facts.push(fact(format!("8.1 {name} is refused"), move || {
            let tenant = world.strict.tenant();
            let made = endpoint(&tenant, json!({}));
            let body = json!({ "url": url });
            let answers = [
                tenant.caller.post(ENDPOINTS, body.clone()),
                tenant.caller.patch(&format!("{ENDPOINTS}/{}", id(&made)), body),
            ];
            for answer in answers {
                refused(&answer, 400, "WEBHOOK_URL_REJECTED", reason);
                assert!(answer.json()["error"]["message"].as_str().unwrap().starts_with("url"));
            }
            assert_eq!(tenant.caller.get(ENDPOINTS).ok(), json!([made]));
        }));
    }
    facts
}

fn taken_urls(world: &World) -> Vec<Fact<'_>> {
    let long = format!("https://a.example/{}", "a".repeat(2048 - 18));
    #[rustfmt::skip] // a line a case
    let rows = [
        ("https to a public name",            "https://hooks.example.com"),
        ("a url with a port",                 "https://hooks.example.com:8443/"),
        ("a url with a path and a query",     "https://hooks.example.com/a/b?c=d&e"),
        ("a url with a scheme in capitals",   "HTTPS://hooks.example.com/"),
        ("a url with a host in capitals",     "https://HOOKS.EXAMPLE.COM/"),
        ("a host with a last dot",            "https://hooks.example.com./"),
        ("a host beyond ascii",               "https://bücher.example/"),
        ("a host that only begins as reserved", "https://local.example.com/"),
        ("a host that ends like a reserved one", "https://mylocal.example/"),
        ("a url with an at in its path",      "https://hooks.example.com/@me"),
    ];
    let rows = rows.map(|(name, url)| (name, url.to_owned()));
    let mut facts = Vec::new();
    for (name, url) in rows.into_iter().chain([("a url of 2048 characters", long)]) {
        facts.push(fact(format!("8.1 {name} is taken"), move || {
            let made = endpoint(&world.strict.tenant(), json!({ "url": url }));
            assert_eq!(made["url"], json!(url));
        }));
    }
    facts.push(fact("8.1 spaces around a url are passed over", move || {
        let made = endpoint(&world.strict.tenant(), json!({ "url": format!("  {TARGET} ") }));
        assert_eq!(made["url"].as_str().unwrap().trim(), TARGET);
    }));
    facts
}

/// What development opens, and what it keeps shut.
fn development(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let rows = [
        ("http to localhost",         "http://localhost:3000/in",    None),
        ("http to 127.0.0.1",         "http://127.0.0.1:3000/in",    None),
        ("https to localhost",        "https://localhost/in",        None),
        ("http to a public name",     "http://hooks.example.com/",   Some("invalid_scheme")),
        ("http to a private address", "http://10.0.0.1/",            Some("ipv4_literal_disallowed")),
        ("http to the ipv6 loopback", "http://[::1]/",               Some("ipv6_literal_disallowed")),
        ("http to a host under local", "http://printer.local/",      Some("reserved_hostname_disallowed")),
        ("a fragment on localhost",   "http://localhost/#a",         Some("fragment_in_url")),
        ("a user on localhost",       "http://me@localhost/",        Some("credentials_in_url")),
    ];
    let mut facts = Vec::new();
    for (name, url, reason) in rows {
        let verdict = if reason.is_some() { "refused" } else { "taken" };
        facts.push(fact(format!("8.1 in development {name} is {verdict}"), move || {
            let answer = world.daemon.tenant().caller.post(ENDPOINTS, json!({ "url": url }));
            match reason {
                Some(reason) => refused(&answer, 400, "WEBHOOK_URL_REJECTED", reason),
                None => assert_eq!(answer.ok()["endpoint"]["url"], url),
            }
        }));
    }
    facts
}
