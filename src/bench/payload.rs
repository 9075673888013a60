//! `data` of the events that are published: the size of a real answer, nothing of a real person.

use serde_json::json;

/// A JSON object of so many bytes, as compact as the daemon keeps it; the smallest is `{"note":""}`.
pub(super) fn data(bytes: usize) -> String {
    let document = json!({ "type": "passport", "number": "C01X00T47", "issuing_country": "UTO", "expires_on": "2034-04-15" });
    let claims = json!({ "given_names": "ANNA MARIA", "family_name": "ERIKSSON", "date_of_birth": "1974-08-12", "document": document });
    for base in
        [json!({ "outcome": "approved", "claims": claims, "note": "" }), json!({ "note": "" })]
    {
        let base = base.to_string();
        if let Some(missing) = bytes.checked_sub(base.len()) {
            return base.replace("\"note\":\"\"", &format!("\"note\":\"{}\"", "x".repeat(missing)));
        }
    }
    json!({ "note": "" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_object_of_the_size_asked_for() {
        for bytes in [11, 12, 150, 300, 5000] {
            let data = data(bytes);
            assert_eq!(data.len(), bytes);
            assert!(serde_json::from_str::<serde_json::Value>(&data).expect("JSON").is_object());
        }
        assert_eq!(data(0).len(), 11);
    }
}
