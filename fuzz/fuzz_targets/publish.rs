//! A publish that is accepted makes one well-formed plaintext around the bytes it came with, and repeats
//! itself whatever white space it is written with.

#![no_main]

use hookseal_core::event::{Catalogue, PublishFields};
use hookseal_core::id::EventId;
use hookseal_core::limits::{DATA_BYTES, TARGETS};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    metadata: Value,
    #[serde(rename = "type")]
    event_type: String,
}

fuzz_target!(|json: &[u8]| {
    let read = || serde_json::from_slice::<PublishFields>(json);
    let Ok(fields) = read() else { return };
    let (given, catalogue) = (fields.data.get().to_owned(), Catalogue::default());
    let Ok(publication) = fields.judge(&catalogue) else { return };
    assert!(publication.data.expose().len() <= DATA_BYTES);
    assert!(publication.targets.as_ref().is_none_or(|ids| (1..=TARGETS).contains(&ids.len())));
    let plaintext = publication.plaintext(&EventId::from_row("evt_1"));
    let payload: Payload = serde_json::from_slice(&plaintext).expect("the frame of the contract");
    match serde_json::from_str::<Value>(&given) {
        Ok(data) => {
            let sealed: Value = serde_json::from_str(payload.data.get()).expect("one JSON value");
            assert_eq!(sealed, data, "what was published is what is sealed");
        }
        // Numbers are the receiver's to read, however large; the parser here has its limits.
        Err(error) => assert!(error.to_string().starts_with("number out of range"), "{error}"),
    }
    assert_eq!(payload.event_type, *publication.event_type.name);
    assert_eq!(payload.metadata["event_id"], "evt_1");
    let canonical = publication.canonical();
    let again = |data: String| {
        let data = RawValue::from_string(data).expect("well-formed");
        let again = PublishFields { data, ..read().expect("it was parsed once") };
        again.judge(&catalogue).expect("as before").canonical()
    };
    assert_eq!(again(publication.data.expose().to_owned()), canonical, "compact");
    let at = canonical.len() - publication.data.expose().len();
    assert_eq!(again(canonical[at..].to_owned()), canonical, "in the order of names");
    let spaced = publication.data.expose().replacen('{', " {\n\t", 1);
    assert_eq!(again(spaced.trim().to_owned()), canonical, "spaced");
});
