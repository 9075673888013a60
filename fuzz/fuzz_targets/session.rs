//! A session token is let in only if it is signed by the shared secret, with the algorithm of that, and says
//! who speaks, where, and until when. Three lines: a header and claims, which are signed here, and a token as it
//! comes from a stranger.

#![no_main]

#[path = "../../src/crypto/session.rs"]
mod session;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use hookseal_core::error::Error;
use hookseal_core::ports::Secret;
use hookseal_core::time::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use session::SessionVerifier;
use sha2::Sha256;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "0123456789abcdef0123456789abcdeF";
const ISSUER: &str = "https://platform.example";
const NOW: Timestamp = Timestamp::from_ms(1_742_404_800_000);

static VERIFIER: LazyLock<SessionVerifier> = LazyLock::new(|| {
    let issuer = Some(ISSUER.to_owned());
    SessionVerifier::new(Some(&Secret::new(SECRET)), None, issuer, None).expect("valid")
});

fn signed(header: &str, claims: &str, secret: &str) -> String {
    let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let signed = parts.join(".");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fuzz_target!(|given: &str| {
    let mut lines = given.splitn(3, '\n');
    let [header, claims, token] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let unknown = |token: &str| {
        let refused = VERIFIER.verify(token, NOW);
        assert!(matches!(refused, Err(Error::Unauthenticated)), "{token}: {refused:?}");
    };
    unknown(token);
    unknown(&signed(header, claims, OTHER));
    let right = signed(header, claims, SECRET);
    unknown(&right[..right.rfind('.').map_or(0, |at| at + 1)]);
    let Ok(session) = VERIFIER.verify(&right, NOW) else { return };
    let [header, claims] =
        [header, claims].map(|json| serde_json::from_str::<Value>(json).expect("JSON"));
    assert_eq!(header["alg"], "HS256");
    assert_eq!((&claims["iss"], &claims["sub"]), (&ISSUER.into(), &session.user.as_str().into()));
    assert!((1..=128).contains(&session.user.chars().count()));
    assert!(claims["exp"].as_f64().expect("a number") > NOW.as_ms() as f64 / 1000.0);
    let organization = claims["organization_id"].as_str().expect("text");
    assert!(organization.eq_ignore_ascii_case(session.organization.as_str()));
    assert!(session.role.is_none() || claims["role"].is_string());
    let suspended = claims.get("suspended").is_some_and(|is| *is != false);
    assert!(!suspended || session.role.is_none(), "suspended");
});
