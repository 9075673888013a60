//! Session tokens of the platform's dashboard: JWTs that it signs and we verify (RFC 7519).

use hookseal_core::access::Role;
use hookseal_core::error::{Error, Result};
use hookseal_core::id::OrganizationId;
use hookseal_core::ports::Secret;
use hookseal_core::time::Timestamp;
use josekit::jwk::{Jwk, JwkSet};
use josekit::jws::{
    ES256, ES384, ES512, EdDSA, HS256, JwsVerifier, PS256, PS384, PS512, RS256, RS384, RS512,
};
use josekit::jwt::{self, JwtPayload};

/// Shortest shared secret: as long as the hash that it keys.
const SECRET_BYTES: usize = 32;
/// Longest user id, in characters.
const USER_CHARS: usize = 128;

/// A key's id and what verifies by it.
type Key = (Option<String>, Box<dyn JwsVerifier>);

/// What a session token must be signed with and say.
pub struct SessionVerifier {
    keys: Vec<Key>,
    issuer: Option<String>,
    audience: Option<String>,
}

impl std::fmt::Debug for SessionVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionVerifier").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// Who a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The platform's id of the user.
    pub user: String,
    /// The organization the user works in.
    pub organization: OrganizationId,
    /// The highest of its roles; none of a suspended one.
    pub role: Option<Role>,
}

impl SessionVerifier {
    /// A verifier that takes tokens signed with `secret` (HS256) or by a key of `jwks`, the text of
    /// a JWK set; with neither it takes none.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the setting.
    pub fn new(
        secret: Option<&Secret>,
        jwks: Option<&str>,
        issuer: Option<String>,
        audience: Option<String>,
    ) -> Result<Self> {
        let mut keys: Vec<Key> = Vec::new();
        if let Some(secret) = secret {
            let invalid =
                || Error::invalid("session_secret", format!("at least {SECRET_BYTES} characters"));
            if secret.expose().len() < SECRET_BYTES {
                return Err(invalid());
            }
            let verifier = HS256.verifier_from_bytes(secret.expose()).map_err(|_| invalid())?;
            keys.push((None, Box::new(verifier)));
        }
        if let Some(jwks) = jwks {
            let invalid =
                || Error::invalid("session_jwks_file", "a JWK set of RSA, EC or Ed25519 keys");
            let set = JwkSet::from_bytes(jwks).map_err(|_| invalid())?;
            // Keys of other uses stand in many a set, and are passed over (RFC 7517 §5).
            let usable = set
                .keys()
                .into_iter()
                .filter_map(|jwk| Some((jwk.key_id().map(ToOwned::to_owned), verifier(jwk)?)));
            let usable: Vec<Key> = usable.collect();
            if usable.is_empty() {
                return Err(invalid());
            }
            keys.extend(usable);
        }
        Ok(Self { keys, issuer, audience })
    }

    /// Who `token` speaks for at `now`.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for a token that does not hold, [`Error::Denied`] for one without
    /// an organization.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Session> {
        let header = jwt::decode_header(token).map_err(|_| Error::Unauthenticated)?;
        let claim = |name| header.claim(name).and_then(|claim| claim.as_str());
        let (algorithm, wanted) = (claim("alg"), claim("kid"));
        // The key says the algorithm, never the token alone: it must be that key's own.
        let fits = |(id, verifier): &&Key| {
            algorithm == Some(verifier.algorithm().name())
                && match (wanted, id) {
                    (Some(wanted), Some(id)) => wanted == id,
                    (_, _) => true,
                }
        };
        let claims = self
            .keys
            .iter()
            .filter(fits)
            .find_map(|(_, verifier)| jwt::decode_with_verifier(token, &**verifier).ok())
            .map(|(claims, _)| claims)
            .ok_or(Error::Unauthenticated)?;
        if !self.holds(&claims, now) {
            return Err(Error::Unauthenticated);
        }
        let user = claims.subject().filter(|user| (1..=USER_CHARS).contains(&user.chars().count()));
        let text = |name| claims.claim(name).and_then(|claim| claim.as_str());
        let suspended =
            claims.claim("suspended").is_some_and(|claim| claim.as_bool() != Some(false));
        Ok(Session {
            user: user.ok_or(Error::Unauthenticated)?.to_owned(),
            organization: text("organization_id")
                .and_then(|id| OrganizationId::parse_uuid("organization_id", id).ok())
                .ok_or(Error::Denied)?,
            role: text("role").filter(|_| !suspended).and_then(Role::highest),
        })
    }

    fn holds(&self, claims: &JwtPayload, now: Timestamp) -> bool {
        let now = now.as_ms() as f64 / 1000.0;
        // A NumericDate may have a fraction (RFC 7519 §2).
        let seconds = |claim: &serde_json::Value| claim.as_f64();
        claims.claim("exp").and_then(seconds).is_some_and(|at| now < at)
            && claims.claim("nbf").is_none_or(|at| seconds(at).is_some_and(|at| at <= now))
            && self.issuer.as_deref().is_none_or(|issuer| claims.issuer() == Some(issuer))
            && self.audience.as_deref().is_none_or(|audience| {
                claims.audience().is_some_and(|named| named.contains(&audience))
            })
    }
}

/// What verifies by a public key: by the algorithm that it names, or the usual one of its type.
fn verifier(jwk: &Jwk) -> Option<Box<dyn JwsVerifier>> {
    macro_rules! of {
        ($algorithm:ident) => {{
            let mut verifier = $algorithm.verifier_from_jwk(jwk).ok()?;
            // Which key is meant is decided before; a token need not say so.
            verifier.remove_key_id();
            Box::new(verifier) as Box<dyn JwsVerifier>
        }};
    }
    Some(match (jwk.key_type(), jwk.algorithm(), jwk.curve()) {
        ("RSA", None | Some("RS256"), _) => of!(RS256),
        ("RSA", Some("RS384"), _) => of!(RS384),
        ("RSA", Some("RS512"), _) => of!(RS512),
        ("RSA", Some("PS256"), _) => of!(PS256),
        ("RSA", Some("PS384"), _) => of!(PS384),
        ("RSA", Some("PS512"), _) => of!(PS512),
        ("EC", None | Some("ES256"), Some("P-256")) => of!(ES256),
        ("EC", None | Some("ES384"), Some("P-384")) => of!(ES384),
        ("EC", None | Some("ES512"), Some("P-521")) => of!(ES512),
        ("OKP", None | Some("EdDSA"), _) => of!(EdDSA),
        (_, _, _) => return None,
    })
}

#[cfg(test)]
mod tests {
    use josekit::jws::JwsHeader;
    use josekit::jws::alg::hmac::HmacJwsAlgorithm;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);
    const ORGANIZATION: &str = "00000000-0000-4000-8000-000000000000";

    fn signed(claims: &Value, algorithm: HmacJwsAlgorithm, secret: &str) -> String {
        let signer = algorithm.signer_from_bytes(secret).expect("a signer");
        let payload = claims.to_string();
        josekit::jws::serialize_compact(payload.as_bytes(), &JwsHeader::new(), &signer)
            .expect("a token")
    }

    fn claims(change: Value) -> Value {
        let mut claims = json!({
            "sub": "user_1", "exp": 1_800_000_060, "organization_id": ORGANIZATION,
            "role": "admin,member", "iss": "https://platform.example", "aud": "hookseal",
        });
        for (name, value) in change.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        claims
    }

    fn verifier() -> SessionVerifier {
        let issuer = Some("https://platform.example".to_owned());
        let audience = Some("hookseal".to_owned());
        SessionVerifier::new(Some(&Secret::new(SECRET)), None, issuer, audience).expect("valid")
    }

    #[test]
    fn a_token_speaks_for_its_user() {
        let session = verifier().verify(&signed(&claims(json!({})), HS256, SECRET), NOW);
        let session = session.expect("it holds");
        assert_eq!((session.user.as_str(), session.role), ("user_1", Some(Role::Admin)));
        assert_eq!(session.organization.as_str(), ORGANIZATION);
        let suspended = signed(&claims(json!({ "suspended": true })), HS256, SECRET);
        assert_eq!(verifier().verify(&suspended, NOW).expect("it holds").role, None);
    }

    #[test]
    #[rustfmt::skip] // a line a case
    fn tokens_that_do_not_hold_are_refused() {
        for (name, change) in [
            ("expired",           json!({ "exp": 1_800_000_000 })),
            ("without an end",    json!({ "exp": null })),
            ("not yet",           json!({ "nbf": 1_800_000_001 })),
            ("odd beginning",     json!({ "nbf": "now" })),
            ("other issuer",      json!({ "iss": "https://else.example" })),
            ("other audience",    json!({ "aud": ["else"] })),
            ("without a user",    json!({ "sub": "" })),
        ] {
            let token = signed(&claims(change), HS256, SECRET);
            assert!(matches!(verifier().verify(&token, NOW), Err(Error::Unauthenticated)), "{name}");
        }
        let elsewhere = signed(&claims(json!({})), HS256, "another secret of at least 32 characters");
        let stronger = signed(&claims(json!({})), josekit::jws::HS512, SECRET);
        for token in [elsewhere.as_str(), stronger.as_str(), "a.b.c", "", "eyJhbGciOiJub25lIn0.e30."] {
            assert!(matches!(verifier().verify(token, NOW), Err(Error::Unauthenticated)), "{token}");
        }
        let nowhere = signed(&claims(json!({ "organization_id": null })), HS256, SECRET);
        assert!(matches!(verifier().verify(&nowhere, NOW), Err(Error::Denied)));
    }

    #[test]
    fn a_key_set_verifies_by_its_own_algorithm_only() {
        let pair = josekit::jws::ES256.generate_key_pair().expect("a pair");
        let mut public = pair.to_jwk_public_key();
        public.set_key_id("k1");
        let set = json!({ "keys": [public] }).to_string();
        let verifier = SessionVerifier::new(None, Some(&set), None, None).expect("valid");
        let payload = JwtPayload::from_map(claims(json!({})).as_object().expect("claims").clone());
        let signer = ES256.signer_from_jwk(&pair.to_jwk_private_key()).expect("a signer");
        let mut header = JwsHeader::new();
        header.set_key_id("k1");
        let payload = payload.expect("claims");
        let token = jwt::encode_with_signer(&payload, &header, &signer);
        assert!(verifier.verify(&token.expect("a token"), NOW).is_ok());
        let mut unnamed = ES256.signer_from_jwk(&pair.to_jwk_private_key()).expect("a signer");
        unnamed.remove_key_id();
        let token = jwt::encode_with_signer(&payload, &JwsHeader::new(), &unnamed);
        assert!(verifier.verify(&token.expect("a token"), NOW).is_ok(), "without a name");
        header.set_key_id("k2");
        let token = jwt::encode_with_signer(&payload, &header, &unnamed);
        assert!(verifier.verify(&token.expect("a token"), NOW).is_err(), "another key's name");
        let forged = signed(&claims(json!({})), HS256, SECRET);
        assert!(verifier.verify(&forged, NOW).is_err());
    }

    #[test]
    fn weak_secrets_and_odd_sets_are_named() {
        let short = SessionVerifier::new(Some(&Secret::new("short")), None, None, None);
        assert!(matches!(short, Err(Error::Invalid { field, .. }) if field == "session_secret"));
        for odd in ["", "{}", r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
            let odd = SessionVerifier::new(None, Some(odd), None, None);
            assert!(
                matches!(odd, Err(Error::Invalid { field, .. }) if field == "session_jwks_file")
            );
        }
    }
}
