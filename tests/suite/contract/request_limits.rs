//! Section 11: how many requests a minute a key or a user may make.

use std::sync::{Arc, OnceLock};

use serde_json::json;

use super::tokens::{claims, token};
use super::vocabulary::{ENDPOINTS, Fact, fact, refused};
use super::world::{World, home};
use crate::support::daemon::{Answer, Caller, Daemon, Home};

/// What the daemon of these rows allows.
const A_MINUTE: usize = 5;

struct Limited {
    daemon: Daemon,
    _home: Home,
}

/// Uses a caller's minute up; answers the first refusal.
fn used_up(caller: &Caller) -> Answer {
    for n in 0..A_MINUTE {
        assert_eq!(caller.get(ENDPOINTS).status, 200, "request {n}");
    }
    // A slow minute may let one more pass.
    let beyond = [caller.get(ENDPOINTS), caller.get(ENDPOINTS)];
    beyond.into_iter().find(|answer| answer.status != 200).expect("the limit holds")
}

fn user(daemon: &Daemon, organization: &str, name: &str) -> Caller {
    let mut claims = claims(organization, "member");
    claims["sub"] = json!(name);
    Caller::new(&daemon.url, &token(&claims))
}

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let limited: Arc<OnceLock<Limited>> = Arc::default();
    let started = move || {
        let home = home(world.engine, &[("HOOKSEAL_REQUESTS_PER_MINUTE", "5")]);
        Limited { daemon: home.start(), _home: home }
    };
    type Check = fn(&Daemon);
    let rows: [(&str, Check); 9] = [
        ("a key beyond its minute is 429", |daemon| {
            refused(&used_up(&daemon.tenant().caller), 429, "RATE_LIMITED", "");
        }),
        ("429 says when to come back", |daemon| {
            let answer = used_up(&daemon.tenant().caller);
            let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds), "{answer:?}");
        }),
        ("429 of a list carries an empty pagination", |daemon| {
            let empty = json!({ "limit": 10, "has_more": false, "next_cursor": null });
            assert_eq!(used_up(&daemon.tenant().caller).json()["pagination"], empty);
        }),
        ("another key of the organization has its own minute", |daemon| {
            let tenant = daemon.tenant();
            let other = daemon.key(&tenant.organization, &["webhooks:read"]);
            used_up(&tenant.caller);
            assert_eq!(other.get(ENDPOINTS).status, 200);
        }),
        ("the limit comes before the scope", |daemon| {
            let tenant = daemon.tenant();
            let reader = daemon.key(&tenant.organization, &["webhooks:read"]);
            used_up(&reader);
            let answer = reader.send("POST", ENDPOINTS, &[], "");
            refused(&answer, 429, "RATE_LIMITED", "");
        }),
        ("the limit comes after authentication", |daemon| {
            let stranger = Caller::new(&daemon.url, "kk_00000000000000000000000000000000");
            for _ in 0..2 * A_MINUTE {
                refused(&stranger.get(ENDPOINTS), 401, "UNAUTHORIZED", "Unauthorized");
            }
        }),
        ("a platform key has no limit", |daemon| {
            for _ in 0..3 * A_MINUTE {
                daemon.platform().get("/v1/platform/organizations").ok();
            }
        }),
        ("a user beyond the minute is 429", |daemon| {
            let user = user(daemon, &daemon.tenant().organization, "user-2");
            refused(&used_up(&user), 429, "RATE_LIMITED", "");
        }),
        ("another user of the organization has an own minute", |daemon| {
            let organization = daemon.tenant().organization;
            used_up(&user(daemon, &organization, "user-3"));
            assert_eq!(user(daemon, &organization, "user-4").get(ENDPOINTS).status, 200);
        }),
    ];
    let row = |(name, check): (&str, Check)| {
        let limited = limited.clone();
        fact(format!("7.5 {name}"), move || check(&limited.get_or_init(started).daemon))
    };
    rows.map(row).into()
}
