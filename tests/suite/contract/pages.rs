//! Section 2.3: limits, cursors, orders, and pages that show everything once.

use serde_json::json;

use super::vocabulary::{
    DELIVERIES, ENDPOINTS, EVENTS, Fact, change, endpoint, fact, get, grants, id, ids, key,
    refusals,
};
use super::world::World;
use crate::support::daemon::Tenant;

/// Every list, and the id of another tenant's thing of its kind.
const LISTS: [(&str, &str); 5] = [
    (ENDPOINTS, "{their_endpoint}"),
    ("/v1/webhooks/endpoints/{endpoint}/keys", "{their_key}"),
    (DELIVERIES, "{their_delivery}"),
    (EVENTS, "{their_event}"),
    ("/v1/events", "{their_event}"),
];

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = limits(world);
    facts.extend(cursors(world));
    facts.extend(orders(world));
    facts.extend(whole_lists(world));
    facts
}

fn limits(world: &World) -> Vec<Fact<'_>> {
    let list = |query: &str| get(format!("{ENDPOINTS}?{query}"));
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.3 a limit of zero is refused",           list("limit=0"),         400, "BAD_REQUEST", "limit"),
        ("2.3 a limit of 101 is refused",            list("limit=101"),       400, "BAD_REQUEST", "limit"),
        ("2.3 a negative limit is refused",          list("limit=-1"),        400, "BAD_REQUEST", "limit"),
        ("2.3 a limit in words is refused",          list("limit=abc"),       400, "BAD_REQUEST", "limit"),
        ("2.3 a limit with a fraction is refused",   list("limit=1.5"),       400, "BAD_REQUEST", "limit"),
        ("2.3 an empty limit is refused",            list("limit="),          400, "BAD_REQUEST", "limit"),
        ("2.3 a limit given twice is refused",       list("limit=1&limit=1"), 400, "BAD_REQUEST", "limit"),
        ("2.3 a limit that is no number is refused", list("limit=NaN"),       400, "BAD_REQUEST", "limit"),
        ("2.3 a limit without end is refused",       list("limit=Infinity"),  400, "BAD_REQUEST", "limit"),
        ("2.3 a limit beyond integers is refused",   list("limit=1e99"),      400, "BAD_REQUEST", "limit"),
        ("2.3 a limit with a unit is refused",       list("limit=10x"),       400, "BAD_REQUEST", "limit"),
    ]);
    #[rustfmt::skip] // a line a case
    facts.extend(grants(world, [
        ("2.3 the limit is 10 by default",   get(ENDPOINTS),     "/pagination/limit", json!(10)),
        ("2.3 a limit of 1 is taken",        list("limit=1"),    "/pagination/limit", json!(1)),
        ("2.3 a limit of 100 is taken",      list("limit=100"),  "/pagination/limit", json!(100)),
        ("2.3 a limit of 1e1 is 10",         list("limit=1e1"),  "/pagination/limit", json!(10)),
        ("2.3 a limit of 0x10 is 16",        list("limit=0x10"), "/pagination/limit", json!(16)),
        ("2.3 unknown parameters are passed over", list("page=7&limit=3"), "/pagination/limit", json!(3)),
    ]));
    for (path, _) in &LISTS[1..] {
        facts.push(fact(format!("2.3 the limit of {path} is 1 to 100"), move || {
            for (limit, status) in [("0", 400), ("1", 200), ("100", 200), ("101", 400)] {
                let answer = get(format!("{path}?limit={limit}")).send(world);
                assert_eq!(answer.status, status, "{limit}: {answer:?}");
            }
            assert_eq!(get(*path).send(world).json()["pagination"]["limit"], 10);
        }));
    }
    facts
}

fn cursors(world: &World) -> Vec<Fact<'_>> {
    let after = |cursor: &str| get(format!("{ENDPOINTS}?starting_after={cursor}"));
    #[rustfmt::skip] // a line a case
    let mut facts = refusals(world, [
        ("2.3 an empty cursor is refused",              after(""),                400, "BAD_REQUEST", "starting_after"),
        ("2.3 a cursor of other symbols is refused",    after("a.b"),             400, "BAD_REQUEST", "starting_after"),
        ("2.3 a cursor of 129 characters is refused",   after(&"a".repeat(129)),  400, "BAD_REQUEST", "starting_after"),
        ("2.3 a cursor given twice is refused",         after("a&starting_after=a"), 400, "BAD_REQUEST", "starting_after"),
        ("2.3 a cursor of 128 characters is looked up", after(&"a".repeat(128)),  400, "INVALID_REQUEST", "starting_after"),
        ("2.3 a cursor of another kind is unknown",     after("{event}"),         400, "INVALID_REQUEST", "starting_after"),
    ]);
    for (path, theirs) in LISTS {
        facts.push(fact(format!("2.3 an unknown cursor of {path} is 400"), move || {
            let answer = get(format!("{path}?starting_after=none")).send(world);
            super::vocabulary::refused(&answer, 400, "INVALID_REQUEST", "starting_after");
        }));
        facts.push(fact(format!("2.3 a foreign cursor of {path} is unknown"), move || {
            let foreign = get(format!("{path}?starting_after={theirs}")).send(world);
            let unknown = get(format!("{path}?starting_after=none")).send(world);
            assert_eq!((foreign.status, foreign.text), (400, unknown.text));
        }));
    }
    facts.push(fact("2.3 filters may change between pages", move || {
        let tenant = world.daemon.tenant();
        let older = endpoint(&tenant, json!({}));
        let newer = endpoint(&tenant, json!({ "enabled": false }));
        let path = format!("{ENDPOINTS}?enabled=true&starting_after={}", id(&newer));
        assert_eq!(ids(&tenant.caller.get(&path).ok()), [id(&older)]);
    }));
    facts.push(fact("2.3 nothing follows the last item", move || {
        let tenant = world.daemon.tenant();
        let only = endpoint(&tenant, json!({}));
        let answer = tenant.caller.get(&format!("{ENDPOINTS}?starting_after={}", id(&only)));
        assert_eq!((answer.status, answer.ok()), (200, json!([])));
    }));
    facts
}

fn orders(world: &World) -> Vec<Fact<'_>> {
    vec![
        fact("2.3 endpoints are listed newest first", move || {
            let tenant = world.daemon.tenant();
            let made = [0; 3].map(|_| id(&endpoint(&tenant, json!({}))).to_owned());
            let listed = tenant.caller.get(ENDPOINTS).ok();
            assert!(ids(&listed).iter().eq(made.iter().rev()) || same_instant(&listed), "{listed}");
        }),
        fact("2.3 events are listed newest first", move || {
            let tenant = world.daemon.tenant();
            let made = ["vs_1", "vs_2", "vs_3"]
                .map(|session| id(&tenant.publish(session, json!({}))).to_owned());
            assert!(ids(&tenant.caller.get(EVENTS).ok()).iter().eq(made.iter().rev()));
        }),
        fact("2.3 deliveries are listed newest first", move || {
            let tenant = world.daemon.tenant();
            endpoint(&tenant, json!({}));
            let made = ["vs_1", "vs_2", "vs_3"]
                .map(|session| id(&tenant.publish(session, json!({}))["deliveries"][0]).to_owned());
            assert!(ids(&tenant.caller.get(DELIVERIES).ok()).iter().eq(made.iter().rev()));
        }),
        fact("2.3 keys are listed by id", move || {
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            for n in 0..5 {
                key(&tenant, id(&made), &format!("k{n}"), &world.jwk);
            }
            let listed = ids(&tenant.caller.get(&format!("{ENDPOINTS}/{}/keys", id(&made))).ok());
            assert!(listed.len() == 5 && listed.is_sorted(), "{listed:?}");
        }),
    ]
}

/// Whether two of these were made in one millisecond, so that their ids decide.
fn same_instant(listed: &serde_json::Value) -> bool {
    let items = listed.as_array().unwrap();
    let sorted = items.is_sorted_by(|a, b| {
        let rank =
            |item: &serde_json::Value| (item["created_at"].to_string(), item["id"].to_string());
        rank(a) >= rank(b)
    });
    sorted && items.windows(2).any(|pair| pair[0]["created_at"] == pair[1]["created_at"])
}

fn whole_lists(world: &World) -> Vec<Fact<'_>> {
    /// Makes `n` of something; answers the path of their list.
    type Make = fn(&World, &Tenant, usize) -> String;
    let endpoints: Make = |_, tenant, n| {
        (0..n).for_each(|_| drop(endpoint(tenant, json!({}))));
        ENDPOINTS.to_owned()
    };
    let keys: Make = |world, tenant, n| {
        let made = endpoint(tenant, json!({}));
        (0..n).for_each(|k| drop(key(tenant, id(&made), &format!("k{k}"), &world.jwk)));
        format!("{ENDPOINTS}/{}/keys", id(&made))
    };
    let events: Make = |_, tenant, n| {
        (0..n).for_each(|k| drop(tenant.publish(&format!("vs_{k}"), json!({}))));
        EVENTS.to_owned()
    };
    let deliveries: Make = |_, tenant, n| {
        (0..n).for_each(|_| drop(endpoint(tenant, json!({}))));
        tenant.publish("vs_1", json!({}));
        DELIVERIES.to_owned()
    };
    let mut facts = Vec::new();
    for (name, make) in
        [("endpoints", endpoints), ("keys", keys), ("events", events), ("deliveries", deliveries)]
    {
        facts.push(fact(format!("2.3 pages of {name} show everything once"), move || {
            let tenant = world.daemon.tenant();
            let path = make(world, &tenant, 5);
            let whole = ids(&tenant.caller.get(&path).ok());
            let (mut paged, mut sizes, mut cursor) = (Vec::new(), Vec::new(), String::new());
            loop {
                let page = tenant.caller.get(&format!("{path}?limit=2{cursor}")).json();
                let found = ids(&page["data"]);
                let next = &page["pagination"]["next_cursor"];
                assert_eq!(page["pagination"]["has_more"], json!(!next.is_null()));
                sizes.push(found.len());
                paged.extend(found);
                let Some(next) = next.as_str() else { break };
                assert_eq!(paged.last().map(String::as_str), Some(next));
                cursor = format!("&starting_after={next}");
            }
            assert_eq!((paged, sizes.as_slice()), (whole, &[2, 2, 1][..]));
        }));
        facts.push(fact(format!("2.3 a page that just holds all {name} is the last"), move || {
            let tenant = world.daemon.tenant();
            let path = make(world, &tenant, 3);
            let page = tenant.caller.get(&format!("{path}?limit=3")).json();
            assert_eq!(ids(&page["data"]).len(), 3);
            let last = json!({ "limit": 3, "has_more": false, "next_cursor": null });
            assert_eq!(page["pagination"], last);
        }));
    }
    facts.push(fact("2.3 a change of an item leaves its place", move || {
        let tenant = world.daemon.tenant();
        let path = endpoints(world, &tenant, 3);
        let before = ids(&tenant.caller.get(&path).ok());
        change(&tenant, &before[2], json!({ "name": "changed" }));
        assert_eq!(ids(&tenant.caller.get(&path).ok()), before);
    }));
    facts
}
