//! Sessions of dashboard users, as their identity provider would sign them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hookseal::clock::wall_seconds;
use serde_json::{Value, json};
use sha2::Sha256;

use super::world::World;
use crate::support::daemon::{Caller, Tenant};

/// The secret that sessions are signed with.
pub const SECRET: &str = "the-session-secret-of-the-tests-0123456789";
/// The dashboard.
pub const ORIGIN: &str = "https://dashboard.example.com";
/// Who the sessions are of.
pub const USER: &str = "user-1";

/// The claims of a good session.
pub fn claims(organization: &str, role: &str) -> Value {
    json!({
        "sub": USER, "exp": wall_seconds() + 600, "organization_id": organization, "role": role,
    })
}

/// A token over `claims`.
pub fn token(claims: &Value) -> String {
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), claims, SECRET)
}

/// A token with its header and secret chosen.
pub fn signed(header: &Value, claims: &Value, secret: &str) -> String {
    let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let text = format!("{}.{}", encoded(header), encoded(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A caller with a session of `tenant` that holds `role`.
pub fn session(world: &World, tenant: &Tenant, role: &str) -> Caller {
    Caller::new(&world.daemon.url, &token(&claims(&tenant.organization, role)))
}

/// A `Cookie` header over a token.
pub fn cookie(token: &str) -> String {
    format!("hookseal_session={token}")
}
