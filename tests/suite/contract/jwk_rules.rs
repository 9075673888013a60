//! Sections 2.6 and 6.3: which keys are refused, and by which member.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::vocabulary::{Fact, endpoint, fact, id, key, key_body, post, refused};
use super::world::World;

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = refused_bodies(world);
    facts.extend(refused_jwks(world));
    facts.extend(taken_jwks(world));
    facts
}

/// Bodies with one member changed; null takes it away.
fn refused_bodies(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let rows = [
        ("a key without key_id",                "key_id",    json!(null)),
        ("an empty key_id",                     "key_id",    json!("")),
        ("a key_id of 129 characters",          "key_id",    json!("k".repeat(129))),
        ("a key_id that is no text",            "key_id",    json!(7)),
        ("a key without algorithm",             "algorithm", json!(null)),
        ("rsa-oaep with sha-1",                 "algorithm", json!("RSA-OAEP")),
        ("ecdh-es",                             "algorithm", json!("ECDH-ES")),
        ("an algorithm in lower case",          "algorithm", json!("rsa-oaep-256")),
        ("a key without key_type",              "key_type",  json!(null)),
        ("a key type of ec",                    "key_type",  json!("EC")),
        ("a key type in lower case",            "key_type",  json!("rsa")),
        ("a key without jwk",                   "jwk",       json!(null)),
        ("a jwk as text",                       "jwk",       json!("{}")),
        ("a jwk as a list",                     "jwk",       json!([])),
        ("an empty jwk",                        "jwk",       json!({})),
    ];
    let mut facts = Vec::new();
    for (name, member, value) in rows {
        facts.push(fact(format!("2.6 {name} is refused"), move || {
            let mut body = key_body("k", &world.jwk);
            if value.is_null() {
                body.as_object_mut().unwrap().remove(member);
            } else {
                body[member] = value.clone();
            }
            let answer = post("/v1/webhooks/endpoints/{endpoint}/keys", body).send(world);
            refused(&answer, 400, "BAD_REQUEST", member);
        }));
    }
    facts
}

/// The base64url of so many bytes of an odd number.
fn modulus(bytes: usize) -> Value {
    json!(URL_SAFE_NO_PAD.encode(vec![0xff_u8; bytes]))
}

/// JWKs with one member set; null takes it away.
fn refused_jwks(world: &World) -> Vec<Fact<'_>> {
    let mut padded = vec![0_u8; 8];
    padded.extend([0xff; 248]);
    let padded = json!(URL_SAFE_NO_PAD.encode(padded));
    let mut even = vec![0xff_u8; 256];
    even[255] = 0xfe;
    let even = json!(URL_SAFE_NO_PAD.encode(even));
    let standard = base64::engine::general_purpose::STANDARD_NO_PAD.encode([0xfb_u8; 256]);
    let secret = || json!("c2VjcmV0");
    #[rustfmt::skip] // a line a case
    let rows = [
        ("a jwk without kty",                      "kty",     json!(null)),
        ("a jwk of ec",                            "kty",     json!("EC")),
        ("a jwk without n",                        "n",       json!(null)),
        ("an empty n",                             "n",       json!("")),
        ("an n of spaces",                         "n",       json!("   ")),
        ("an n that is no text",                   "n",       json!(7)),
        ("an n that is no base64url",              "n",       json!("+/+/not")),
        ("an n of 1024 bits",                      "n",       modulus(128)),
        ("an n of 2040 bits",                      "n",       modulus(255)),
        ("an n padded to 2048 bits by zeros",      "n",       padded),
        ("an n of 4104 bits",                      "n",       modulus(513)),
        ("an n that is even",                      "n",       even),
        ("an n with a small factor",               "n",       modulus(256)),
        ("an n in base64 with padding",            "n",       json!(format!("{}=", world.jwk["n"].as_str().unwrap()))),
        ("an n in the alphabet of base64",         "n",       json!(standard)),
        ("an n of more than 8192 characters",      "n",       json!("A".repeat(8193))),
        ("a jwk without e",                        "e",       json!(null)),
        ("an empty e",                             "e",       json!("")),
        ("an e of 1",                              "e",       json!("AQ")),
        ("an e of 3",                              "e",       json!("Aw")),
        ("an even e",                              "e",       json!("AQAA")),
        ("an e with padding",                      "e",       json!("AQAB=")),
        ("an e of 72 bits",                        "e",       json!("AQAAAAAAAAAB")),
        ("an e of more than 64 characters",        "e",       json!("A".repeat(65))),
        ("an e that is no text",                   "e",       json!(65537)),
        ("an alg of rsa-oaep",                     "alg",     json!("RSA-OAEP")),
        ("an alg of rs256",                        "alg",     json!("RS256")),
        ("an alg of more than 64 characters",      "alg",     json!("A".repeat(65))),
        ("a use of sig",                           "use",     json!("sig")),
        ("a use of more than 32 characters",       "use",     json!("e".repeat(33))),
        ("a private exponent d",                   "d",       secret()),
        ("a private member dp",                    "dp",      secret()),
        ("a private member dq",                    "dq",      secret()),
        ("a private member oth",                   "oth",     json!([])),
        ("a private member p",                     "p",       secret()),
        ("a private member q",                     "q",       secret()),
        ("a private member qi",                    "qi",      secret()),
        ("a symmetric key",                        "k",       secret()),
        ("a certificate by address",               "x5u",     json!("https://example.com/key")),
        ("a certificate",                          "x5c",     json!(["c2VjcmV0"])),
        ("a certificate by its hash",              "x5t",     secret()),
        ("key_ops without encrypt",                "key_ops", json!(["wrapKey"])),
        ("empty key_ops",                          "key_ops", json!([])),
        ("key_ops as text",                        "key_ops", json!("encrypt")),
        ("key_ops with decrypt",                   "key_ops", json!(["encrypt", "decrypt"])),
        ("key_ops with deriveBits",                "key_ops", json!(["encrypt", "deriveBits"])),
        ("key_ops with deriveKey",                 "key_ops", json!(["encrypt", "deriveKey"])),
        ("key_ops with sign",                      "key_ops", json!(["encrypt", "sign"])),
        ("key_ops with unwrapKey",                 "key_ops", json!(["encrypt", "unwrapKey"])),
        ("key_ops of nine",                        "key_ops", json!(["encrypt", "1", "2", "3", "4", "5", "6", "7", "8"])),
        ("another member that is an object",       "ours",    json!({})),
        ("another member of nine texts",           "ours",    json!(["1", "2", "3", "4", "5", "6", "7", "8", "9"])),
        ("another member of 8193 characters",      "ours",    json!("A".repeat(8193))),
        ("another member of a text of 65",         "ours",    json!(["A".repeat(65)])),
    ];
    let mut facts = Vec::new();
    for (name, member, value) in rows {
        facts.push(fact(format!("6.3 {name} is refused"), move || {
            let mut jwk = world.jwk.clone();
            if value.is_null() {
                jwk.as_object_mut().unwrap().remove(member);
            } else {
                jwk[member] = value.clone();
            }
            let path = "/v1/webhooks/endpoints/{endpoint}/keys";
            let answer = post(path, key_body("k", &jwk)).send(world);
            refused(&answer, 400, "BAD_REQUEST", &format!("jwk.{member}"));
        }));
    }
    facts.push(fact("2.6 a jwk member that is null is refused", move || {
        let mut jwk = world.jwk.clone();
        jwk["ours"] = Value::Null;
        let answer =
            post("/v1/webhooks/endpoints/{endpoint}/keys", key_body("k", &jwk)).send(world);
        refused(&answer, 400, "BAD_REQUEST", "jwk.ours");
    }));
    facts.push(fact("6.3 a jwk that names a member twice is refused", move || {
        let body = key_body("k", &world.jwk).to_string();
        let twice = body.replacen("\"kty\":\"RSA\"", "\"kty\":\"EC\",\"kty\":\"RSA\"", 1);
        assert_ne!(twice, body);
        let path = "/v1/webhooks/endpoints/{endpoint}/keys";
        let answer = post(path, json!({})).text(twice).send(world);
        refused(&answer, 400, "BAD_REQUEST", "jwk");
    }));
    facts.push(fact("6.3 a refusal repeats no private member", move || {
        let mut jwk = world.jwk.clone();
        jwk["d"] = json!("c2VjcmV0LXZhbHVl");
        let answer =
            post("/v1/webhooks/endpoints/{endpoint}/keys", key_body("k", &jwk)).send(world);
        assert!(answer.status == 400 && !answer.text.contains("c2VjcmV0"), "{answer:?}");
    }));
    facts
}

fn taken_jwks(world: &World) -> Vec<Fact<'_>> {
    #[rustfmt::skip] // a line a case
    let rows = [
        ("a jwk without alg",              "alg",     json!(null)),
        ("an alg of rsa-oaep-256",         "alg",     json!("RSA-OAEP-256")),
        ("a use of enc",                   "use",     json!("enc")),
        ("key_ops of encrypt",             "key_ops", json!(["encrypt"])),
        ("key_ops with wrapKey",           "key_ops", json!(["encrypt", "wrapKey"])),
        ("key_ops with verify",            "key_ops", json!(["verify", "encrypt"])),
        ("another member that is text",    "ours",    json!("a")),
        ("another member of eight texts",  "ours",    json!(["1", "2", "3", "4", "5", "6", "7", "8"])),
        ("a kid that is not the key_id",   "kid",     json!("other")),
    ];
    let mut facts = Vec::new();
    for (name, member, value) in rows {
        facts.push(fact(format!("6.3 {name} is taken"), move || {
            let mut jwk = world.jwk.clone();
            if value.is_null() {
                jwk.as_object_mut().unwrap().remove(member);
            } else {
                jwk[member] = value.clone();
            }
            let tenant = world.daemon.tenant();
            let made = endpoint(&tenant, json!({}));
            assert_eq!(key(&tenant, id(&made), "k", &jwk)["jwk"]["n"], world.jwk["n"]);
        }));
    }
    facts
}
