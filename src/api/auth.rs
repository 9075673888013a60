//! Who is calling: a bearer key, found by its keyed hash, or somebody at a dashboard with a session
//! token, as bearer or in a cookie.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;
use hookseal_core::access::Caller;
use hookseal_core::budget::Budget;
use hookseal_core::error::{Error, Result};
use hookseal_core::limits::{KEY_LOOKUPS, KEY_LOOKUPS_WAITING};
use hookseal_core::ports::{Rights, Secret};
use hookseal_core::time::Timestamp;
use lru::LruCache;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::Api;
use super::envelope::ApiError;
use crate::clock::wall_seconds;
use crate::crypto::is_same_hash;
use crate::crypto::session::Session;

/// How long a key that was found is believed without asking again: a revoked one works no longer.
const BELIEVED: Duration = Duration::from_millis(300);
/// Keys that are remembered.
const REMEMBERED: usize = 4096;

/// Keys that were found lately, by their hash.
#[derive(Debug)]
pub struct KnownKeys {
    found: Mutex<LruCache<String, (Instant, Caller)>>,
    /// Raised whenever all are forgotten: what was asked before says nothing after.
    generation: AtomicU64,
    /// Turns to look for keys that were not found lately: whoever guesses takes the rows from nobody.
    turns: Semaphore,
    waiting: Arc<Budget>,
}

impl Default for KnownKeys {
    fn default() -> Self {
        let remembered = NonZeroUsize::new(REMEMBERED).expect("the bound is not zero");
        Self {
            found: Mutex::new(LruCache::new(remembered)),
            generation: AtomicU64::new(0),
            turns: Semaphore::new(KEY_LOOKUPS),
            waiting: Budget::new(KEY_LOOKUPS_WAITING),
        }
    }
}

impl KnownKeys {
    fn find(&self, hash: &str) -> Option<Caller> {
        let mut keys = self.found.lock();
        let (found_at, caller) = keys.get(hash)?;
        (found_at.elapsed() < BELIEVED).then(|| caller.clone())
    }

    /// Waits for a turn to look for a key; one that was found lately needs none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too many wait.
    async fn turn(&self, hash: &str) -> Result<Option<SemaphorePermit<'_>>> {
        if self.found.lock().contains(hash) {
            return Ok(None);
        }
        let _waits = self.waiting.take(1).ok_or_else(|| Error::full("the look-up of keys"))?;
        // It is never closed.
        Ok(self.turns.acquire().await.ok())
    }

    fn forget(&self, hash: &str) {
        self.found.lock().pop(hash);
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn remember(&self, hash: String, caller: Caller, asked: u64) {
        let mut found = self.found.lock();
        if self.generation() == asked {
            found.put(hash, (Instant::now(), caller));
        }
    }
}

impl Rights for KnownKeys {
    fn changed(&self) {
        let mut found = self.found.lock();
        self.generation.fetch_add(1, Ordering::AcqRel);
        found.clear();
    }
}

impl Api {
    /// What the app of a request was built with.
    pub(super) fn of(request: &HttpRequest) -> &Self {
        request.app_data::<Data<Self>>().expect("the app is built with its api")
    }

    /// The caller of a request, counted.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] without a key or session that is known and stands,
    /// [`Error::Frozen`] with one of a frozen organization, [`Error::RateLimited`] after too many,
    /// [`Error::Denied`] for a cookie that another site sent along.
    pub(super) async fn caller(&self, request: &HttpRequest) -> Result<Caller> {
        let credential = Credential::of(request, &self.session_cookie)?;
        let caller = self.identify(&credential).await?;
        if let Credential::Cookie(_) = credential {
            self.came_from_home(request, !request.method().is_safe())?;
        }
        self.meter.admit(&caller, self.clock.now()).await?;
        Ok(caller)
    }

    /// Whom a credential stands for now.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when nobody, [`Error::Frozen`] when his organization is frozen.
    pub(super) async fn identify(&self, credential: &Credential) -> Result<Caller> {
        match credential {
            Credential::Bearer(key) => self.bearer(key.expose()).await,
            Credential::Cookie(token) => self.member(token.expose()).await,
        }
    }

    /// Browsers send cookies along whoever asks: what changes anything must come from a dashboard or
    /// from this host, and say so; and nobody else's page reads.
    pub(super) fn came_from_home(&self, request: &HttpRequest, must_say: bool) -> Result<()> {
        let Some(origin) = request.headers().get(header::ORIGIN) else {
            return if must_say { Err(Error::Denied) } else { Ok(()) };
        };
        let origin = origin.to_str().unwrap_or_default();
        let here = request.connection_info();
        let scheme = if self.secure { "https" } else { here.scheme() };
        let ours = origin == format!("{scheme}://{}", here.host());
        if ours || self.origins.iter().any(|known| known == origin) {
            Ok(())
        } else {
            Err(Error::Denied)
        }
    }

    async fn member(&self, token: &str) -> Result<Caller> {
        // Their times are the platform's wall time, not our own.
        let session = self.sessions.verify(token, Timestamp::from_ms(wall_seconds() * 1000))?;
        self.admin.admit_session(&session.organization).await?;
        let Session { user, organization, role } = session;
        Ok(Caller::Member { organization, user, role })
    }

    async fn bearer(&self, key: &str) -> Result<Caller> {
        let hash = self.vault.hash_api_key(key);
        if self.platform_key_hash.as_ref().is_some_and(|known| is_same_hash(known, &hash)) {
            return Ok(Caller::Platform);
        }
        // A key of ours has no dot, a token has two.
        if key.contains('.') {
            return self.member(key).await;
        }
        if let Some(caller) = self.known_keys.find(&hash) {
            return Ok(caller);
        }
        let _turn = self.known_keys.turn(&hash).await?;
        // Another request with it may have come first.
        if let Some(caller) = self.known_keys.find(&hash) {
            return Ok(caller);
        }
        let asked = self.known_keys.generation();
        let found = self.admin.authenticate(&hash).await;
        match &found {
            Ok(caller) => self.known_keys.remember(hash, caller.clone(), asked),
            // That the rows are away says nothing of the key.
            Err(Error::Unavailable { .. } | Error::Broken { .. }) => {}
            Err(_) => self.known_keys.forget(&hash),
        }
        found
    }
}

/// What a caller proves himself with.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    /// An API key or a session token.
    Bearer(Secret),
    /// A session token that a browser keeps.
    Cookie(Secret),
}

impl Credential {
    /// That of a request; a bearer goes before a cookie.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when there is none.
    pub(super) fn of(request: &HttpRequest, cookie: &str) -> Result<Self> {
        if let Some(key) = bearer(request) {
            return Ok(Self::Bearer(Secret::new(key)));
        }
        let cookie = request.cookie(cookie).ok_or(Error::Unauthenticated)?;
        Ok(Self::Cookie(Secret::new(cookie.value())))
    }

    /// That of the first message of a WebSocket, whose opener could send no header.
    pub(super) fn of_init(payload: &Value) -> Option<Self> {
        let members = payload.as_object()?;
        let named = |(name, value): (&String, &Value)| {
            let value = name.eq_ignore_ascii_case("authorization").then(|| value.as_str())??;
            Some(Self::Bearer(Secret::new(after_bearer(value)?)))
        };
        members.iter().find_map(named)
    }
}

/// Makes extractors of callers that hold a right; whoever lacks it is refused before the handler runs.
macro_rules! entitled {
    ($($(#[$doc:meta])* $name:ident by $right:ident),+ $(,)?) => {$(
        $(#[$doc])*
        pub(super) struct $name(
            #[allow(dead_code, reason = "of the platform it is enough to know that it is")]
            pub(super) Caller,
        );

        impl FromRequest for $name {
            type Error = ApiError;
            type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                let request = request.clone();
                Box::pin(async move {
                    let caller = Api::of(&request).caller(&request).await?;
                    caller.$right()?;
                    Ok(Self(caller))
                })
            }
        }
    )+};
}

entitled! {
    /// A caller that may read its organization's webhooks.
    Reader by reader,
    /// A caller that may change them.
    Writer by writer,
    /// A caller that may see signing secrets.
    Revealer by revealer,
    /// A caller that may manage API keys.
    Keyholder by keyholder,
    /// The platform.
    Platform by platform,
}

/// The text after `Bearer` and one space, trimmed (contract 7.1).
fn bearer(request: &HttpRequest) -> Option<&str> {
    after_bearer(request.headers().get(header::AUTHORIZATION)?.to_str().ok()?)
}

fn after_bearer(value: &str) -> Option<&str> {
    let key = value.strip_prefix("Bearer ")?.trim();
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn whoever_guesses_keys_waits_and_known_keys_do_not() {
        let known = KnownKeys::default();
        known.remember("known".to_owned(), Caller::Platform, known.generation());
        let mut guesses: Vec<_> =
            (0..KEY_LOOKUPS + KEY_LOOKUPS_WAITING).map(|_| Box::pin(known.turn("guess"))).collect();
        let turns: Vec<_> = guesses.iter_mut().filter_map(|guess| guess.now_or_never()).collect();
        assert_eq!(turns.len(), KEY_LOOKUPS);
        assert!(turns.iter().all(|turn| matches!(turn, Ok(Some(_)))));
        assert!(matches!(known.turn("guess").await, Err(Error::Unavailable { .. })));
        assert!(matches!(known.turn("known").await, Ok(None)));
        // One that is known no longer waits like all others.
        known.forget("known");
        assert!(matches!(known.turn("known").await, Err(Error::Unavailable { .. })));
        drop(turns);
        let last = guesses.pop();
        drop(guesses);
        let last = last.expect("there were many").await;
        assert!(matches!(last, Ok(Some(_))));
    }
}
