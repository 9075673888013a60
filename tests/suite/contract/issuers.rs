//! Section 7.3: who may sign sessions: an issuer and its audience, and keys that are published.

use std::sync::{Arc, OnceLock};

use josekit::jwk::{Jwk, KeyPair as _};
use josekit::jws::{ES256, EdDSA, JwsHeader, JwsSigner, RS256};
use josekit::jwt::{JwtPayload, encode_with_signer};
use serde_json::{Value, json};

use super::tokens::{claims, cookie, token};
use super::vocabulary::{ENDPOINTS, Fact, fact};
use super::world::{World, home};
use crate::support::daemon::{Caller, Daemon, Home};

pub fn facts(world: &World) -> Vec<Fact<'_>> {
    let mut facts = issuer_and_audience(world);
    facts.extend(published_keys(world));
    facts
}

struct Issuing {
    daemon: Daemon,
    _home: Home,
}

fn issuer_and_audience(world: &World) -> Vec<Fact<'_>> {
    let issuing: Arc<OnceLock<Issuing>> = Arc::default();
    let started = move || {
        let home = home(
            world.engine,
            &[
                ("HOOKSEAL_SESSION_ISSUER", "https://id.example.com"),
                ("HOOKSEAL_SESSION_AUDIENCE", "hookseal"),
                ("HOOKSEAL_SESSION_COOKIE", "ours"),
            ],
        );
        Issuing { daemon: home.start(), _home: home }
    };
    #[rustfmt::skip] // a line a case
    let rows = [
        ("a session of the issuer for the audience is good", json!("https://id.example.com"), json!("hookseal"),            200),
        ("a session for several audiences is good",          json!("https://id.example.com"), json!(["other", "hookseal"]), 200),
        ("a session of another issuer is 401",               json!("https://evil.example"),   json!("hookseal"),            401),
        ("a session without an issuer is 401",               json!(null),                     json!("hookseal"),            401),
        ("a session for another audience is 401",            json!("https://id.example.com"), json!("other"),               401),
        ("a session without an audience is 401",             json!("https://id.example.com"), json!(null),                  401),
    ];
    let issued = |daemon: &Daemon, issuer: &Value, audience: &Value| {
        let mut claims = claims(&daemon.tenant().organization, "member");
        for (claim, value) in [("iss", issuer), ("aud", audience)] {
            if !value.is_null() {
                claims[claim] = value.clone();
            }
        }
        token(&claims)
    };
    let mut facts = Vec::new();
    for (name, issuer, audience, status) in rows {
        let issuing = issuing.clone();
        facts.push(fact(format!("7.3 {name}"), move || {
            let daemon = &issuing.get_or_init(started).daemon;
            let caller = Caller::new(&daemon.url, &issued(daemon, &issuer, &audience));
            assert_eq!(caller.get(ENDPOINTS).status, status);
        }));
    }
    facts.push(fact("7.3 the cookie's name may be set", move || {
        let daemon = &issuing.get_or_init(started).daemon;
        let token = issued(daemon, &json!("https://id.example.com"), &json!("hookseal"));
        let read = |cookie: &str| {
            let nobody = Caller::new(&daemon.url, "");
            nobody.send("GET", ENDPOINTS, &[("cookie", cookie)], "").status
        };
        assert_eq!((read(&format!("ours={token}")), read(&cookie(&token))), (200, 401));
    }));
    facts
}

/// Something that signs sessions, and the public key it is known by.
struct Signer {
    key: Jwk,
    signer: Box<dyn JwsSigner + Send + Sync>,
}

struct Publishing {
    issuing: Issuing,
    rs256: Signer,
    es256: Signer,
    eddsa: Signer,
    unpublished: Signer,
}

fn rs256(key_id: &str) -> Signer {
    let pair = RS256.generate_key_pair(2048).unwrap();
    let signer = Box::new(RS256.signer_from_jwk(&pair.to_jwk_private_key()).unwrap());
    named(key_id, "RS256", pair.to_jwk_public_key(), signer)
}

fn es256(key_id: &str) -> Signer {
    let pair = ES256.generate_key_pair().unwrap();
    let signer = Box::new(ES256.signer_from_jwk(&pair.to_jwk_private_key()).unwrap());
    named(key_id, "ES256", pair.to_jwk_public_key(), signer)
}

fn eddsa(key_id: &str) -> Signer {
    let pair = EdDSA.generate_key_pair(josekit::jwk::alg::ed::EdCurve::Ed25519).unwrap();
    let signer = Box::new(EdDSA.signer_from_jwk(&pair.to_jwk_private_key()).unwrap());
    named(key_id, "EdDSA", pair.to_jwk_public_key(), signer)
}

fn named(
    key_id: &str,
    algorithm: &str,
    mut key: Jwk,
    signer: Box<dyn JwsSigner + Send + Sync>,
) -> Signer {
    key.set_key_id(key_id);
    key.set_algorithm(algorithm);
    key.set_key_use("sig");
    Signer { key, signer }
}

impl Publishing {
    fn start(world: &World) -> Self {
        let (rs256_key, es256_key, eddsa_key) = (rs256("r"), es256("e"), eddsa("d"));
        let keys: Vec<&serde_json::Map<_, _>> =
            [&rs256_key, &es256_key, &eddsa_key].map(|signer| signer.key.as_ref()).into();
        let place = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(place.path(), json!({ "keys": keys }).to_string()).unwrap();
        let file = place.path().to_str().unwrap().to_owned();
        let home = home(world.engine, &[("HOOKSEAL_SESSION_JWKS_FILE", &file)]);
        let issuing = Issuing { daemon: home.start(), _home: home };
        Self {
            issuing,
            rs256: rs256_key,
            es256: es256_key,
            eddsa: eddsa_key,
            unpublished: es256("e"),
        }
    }

    /// What a read answers with a session that `signer` signed.
    fn read(&self, signer: &Signer) -> u16 {
        let claims = claims(&self.issuing.daemon.tenant().organization, "member");
        let claims = JwtPayload::from_map(claims.as_object().unwrap().clone()).unwrap();
        let mut header = JwsHeader::new();
        header.set_key_id(signer.key.key_id().unwrap());
        let token = encode_with_signer(&claims, &header, &*signer.signer).unwrap();
        Caller::new(&self.issuing.daemon.url, &token).get(ENDPOINTS).status
    }
}

fn published_keys(world: &World) -> Vec<Fact<'_>> {
    let publishing: Arc<OnceLock<Publishing>> = Arc::default();
    type Choose = fn(&Publishing) -> &Signer;
    #[rustfmt::skip] // a line a case
    let rows: [(&str, Choose, u16); 4] = [
        ("a session signed by rs256 is good",                        |p| &p.rs256,       200),
        ("a session signed by es256 is good",                        |p| &p.es256,       200),
        ("a session signed by eddsa is good",                        |p| &p.eddsa,       200),
        ("a session signed by a key that is not published is 401",   |p| &p.unpublished, 401),
    ];
    let mut facts = Vec::new();
    for (name, signer, status) in rows {
        let publishing = publishing.clone();
        facts.push(fact(format!("7.3 {name}"), move || {
            let publishing = publishing.get_or_init(|| Publishing::start(world));
            assert_eq!(publishing.read(signer(publishing)), status);
        }));
    }
    facts.push(fact("7.3 a published key is no secret to sign with", move || {
        let publishing = publishing.get_or_init(|| Publishing::start(world));
        let daemon = &publishing.issuing.daemon;
        let claims = claims(&daemon.tenant().organization, "owner");
        let header = json!({ "alg": "HS256", "typ": "JWT", "kid": "r" });
        let secret = publishing.rs256.key.to_string();
        let token = super::tokens::signed(&header, &claims, &secret);
        assert_eq!(Caller::new(&daemon.url, &token).get(ENDPOINTS).status, 401);
    }));
    facts
}
