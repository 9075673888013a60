//! Section 2.1: what browsers of the dashboard are let do.

use super::tokens::ORIGIN;
use super::vocabulary::{ENDPOINTS, Fact, ask, fact, get};
use super::world::World;
use crate::support::daemon::Answer;

const ELSEWHERE: &str = "https://evil.example";

/// What a browser asks before it sends `method` from `origin`.
fn asked_first(world: &World, origin: &str, method: &str) -> Answer {
    ask("OPTIONS", "/v1/webhooks/endpoints/{endpoint}")
        .by(&world.nobody)
        .with(("origin", origin))
        .with(("access-control-request-method", method))
        .with(("access-control-request-headers", "authorization,content-type"))
        .send(world)
}

/// Whether a header lists `name`, in whatever case.
fn lists(answer: &Answer, header: &str, name: &str) -> bool {
    let value = answer.header(header).unwrap_or_default();
    value.split(',').any(|item| item.trim().eq_ignore_ascii_case(name))
}

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = Vec::new();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        facts.push(fact(format!("2.1 the dashboard may {}", method.to_lowercase()), move || {
            let answer = asked_first(world, ORIGIN, method);
            assert!((200..300).contains(&answer.status), "{answer:?}");
            assert!(lists(&answer, "access-control-allow-methods", method), "{answer:?}");
        }));
    }
    for header in ["Authorization", "Content-Type", "Idempotency-Key", "If-Match"] {
        facts.push(fact(
            format!("2.1 the dashboard may send {}", header.to_lowercase()),
            move || {
                let answer = asked_first(world, ORIGIN, "PATCH");
                assert!(lists(&answer, "access-control-allow-headers", header), "{answer:?}");
            },
        ));
    }
    facts.extend([
        fact("2.1 the dashboard may send credentials", move || {
            for answer in [
                asked_first(world, ORIGIN, "GET"),
                get(ENDPOINTS).with(("origin", ORIGIN)).send(world),
            ] {
                assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
            }
        }),
        fact("2.1 the dashboard is named as the allowed origin", move || {
            for answer in [
                asked_first(world, ORIGIN, "GET"),
                get(ENDPOINTS).with(("origin", ORIGIN)).send(world),
            ] {
                assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
                assert!(lists(&answer, "vary", "origin"), "{answer:?}");
            }
        }),
        fact("2.1 what the dashboard may is asked for every ten minutes", move || {
            let answer = asked_first(world, ORIGIN, "PATCH");
            assert_eq!(answer.header("access-control-max-age"), Some("600"), "{answer:?}");
            assert!(lists(&answer, "vary", "origin"), "{answer:?}");
        }),
        fact("2.1 the dashboard may read errors", move || {
            for ask in [get("/v1/nothing"), get(ENDPOINTS).by(&world.nobody)] {
                let answer = ask.with(("origin", ORIGIN)).send(world);
                assert!(answer.status >= 400);
                assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
            }
        }),
        fact("2.1 no other origin is allowed", move || {
            for answer in [
                asked_first(world, ELSEWHERE, "GET"),
                get(ENDPOINTS).with(("origin", ELSEWHERE)).send(world),
                get(ENDPOINTS).with(("origin", "null")).send(world),
            ] {
                assert_eq!(answer.header("access-control-allow-origin"), None, "{answer:?}");
            }
        }),
        fact("2.1 without an origin no origin is allowed", move || {
            let answer = get(ENDPOINTS).send(world);
            assert_eq!(answer.header("access-control-allow-origin"), None, "{answer:?}");
        }),
    ]);
    facts
}
