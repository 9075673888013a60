//! Section 7.3: sessions that come in a cookie, and where a request with one may come from.

use serde_json::json;

use super::tokens::{ORIGIN, claims, cookie, token};
use super::vocabulary::{ENDPOINTS, Fact, JSON, TARGET, fact, refused};
use super::world::World;
use crate::support::daemon::Answer;

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = origins(world);
    facts.extend(names(world));
    facts
}

/// Asks with a cookie of an admin of a new organization, and with these headers.
fn asked(world: &World, method: &str, headers: &[(&str, &str)]) -> Answer {
    let tenant = world.daemon.tenant();
    let cookie = cookie(&token(&claims(&tenant.organization, "admin")));
    let headers = [&[("cookie", cookie.as_str()), JSON], headers].concat();
    let body = json!({ "url": TARGET }).to_string();
    let body = if method == "POST" { body.as_str() } else { "" };
    world.nobody.send(method, ENDPOINTS, &headers, body)
}

fn origins(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let rows = [
        ("from the dashboard may read",                   "GET",  Some(ORIGIN),                                200),
        ("from the dashboard may write",                  "POST", Some(ORIGIN),                                200),
        ("from the host itself may read",                 "GET",  Some("<host>"),                              200),
        ("from the host itself may write",                "POST", Some("<host>"),                              200),
        ("without an origin may read",                    "GET",  None,                                        200),
        ("without an origin may not write",               "POST", None,                                        403),
        ("from elsewhere may not read",                   "GET",  Some("https://evil.example"),                403),
        ("from elsewhere may not write",                  "POST", Some("https://evil.example"),                403),
        ("from an opaque origin may not write",           "POST", Some("null"),                                403),
        ("from the dashboard over http may not write",    "POST", Some("http://dashboard.example.com"),        403),
        ("from another port may not write",               "POST", Some("https://dashboard.example.com:8443"),  403),
        ("from a name that begins alike may not write",   "POST", Some("https://dashboard.example.com.evil.example"), 403),
        ("from a name that ends alike may not write",     "POST", Some("https://evildashboard.example.com"),   403),
        ("from a name below may not write",               "POST", Some("https://a.dashboard.example.com"),     403),
    ];
    let mut facts = Vec::new();
    for (name, method, origin, status) in rows {
        facts.push(fact(format!("7.3 a cookie {name}"), move || {
            let origin = origin.map(|origin| origin.replace("<host>", &world.daemon.url));
            let headers: Vec<_> = origin.iter().map(|text| ("origin", text.as_str())).collect();
            let answer = asked(world, method, &headers);
            if status == 403 {
                refused(&answer, 403, "FORBIDDEN", "Forbidden");
            } else {
                assert_eq!(answer.status, status, "{answer:?}");
            }
        }));
    }
    facts.push(fact("7.3 a bearer may write from anywhere", move || {
        let headers = [JSON, ("origin", "https://evil.example")];
        let body = json!({ "url": TARGET }).to_string();
        let tenant = world.daemon.tenant();
        assert_eq!(tenant.caller.send("POST", ENDPOINTS, &headers, &body).status, 200);
    }));
    facts
}

fn names(world: &World) -> Vec<Fact<'_>> {
    let read = |headers: &[(&str, &str)]| world.nobody.send("GET", ENDPOINTS, headers, "").status;
    let good = move || token(&claims(&world.tenant.organization, "member"));
    vec![
        fact("7.3 a cookie among others is found", move || {
            let cookies = format!("a=b; {}; c=d", cookie(&good()));
            assert_eq!(read(&[("cookie", &cookies)]), 200);
        }),
        fact("7.3 a cookie of another name is none", move || {
            assert_eq!(read(&[("cookie", &format!("session={}", good()))]), 401);
        }),
        fact("7.3 a cookie that is no session is 401", move || {
            assert_eq!(read(&[("cookie", "hookseal_session=x")]), 401);
        }),
        fact("7.3 an api key in the cookie is 401", move || {
            assert_eq!(read(&[("cookie", &cookie(&world.tenant.caller.key))]), 401);
        }),
        fact("7.3 a bearer wins over a cookie", move || {
            let cookies = cookie(&good());
            assert_eq!(read(&[("cookie", &cookies), ("authorization", "Bearer x")]), 401);
            let bearer = format!("Bearer {}", good());
            assert_eq!(read(&[("cookie", "hookseal_session=x"), ("authorization", &bearer)]), 200);
        }),
    ]
}
