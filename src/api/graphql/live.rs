//! Connections that outlive a request: how many there may be, and how each learns that its caller may no
//! longer watch, or that the daemon drains.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use hookseal_core::access::Caller;
use hookseal_core::budget::{Budget, Share};
use hookseal_core::commons::{Commons, Portion};
use hookseal_core::error::{Error, Result};
use hookseal_core::limits::{LIVE_CONNECTIONS, LIVE_CONNECTIONS_EACH, LIVE_STRANGERS};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::api::Api;
use crate::api::auth::Credential;
use crate::metrics;

/// How often a connection looks whether its caller still may; with the time that a key is believed for, it
/// is closed within a second of the revocation.
const LOOK_EVERY: Duration = Duration::from_millis(600);

/// Places for live connections.
#[derive(Debug)]
pub struct Lives {
    /// Of those who may watch.
    watching: Arc<Commons>,
    /// Of those who have yet to say who they are, whose many connections keep nobody else from his.
    strangers: Arc<Budget>,
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            watching: Commons::new(LIVE_CONNECTIONS, LIVE_CONNECTIONS_EACH),
            strangers: Budget::new(LIVE_STRANGERS),
        }
    }
}

impl Lives {
    /// Takes a place for `caller`, or for somebody who has yet to say who he is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when all are taken, or all that his organization may have.
    pub(super) fn enter(&self, caller: Option<&Caller>) -> Result<Place> {
        let held = match caller {
            Some(caller) => self.watching.take(caller.organization(), 1).map(Held::Watching),
            None => self.strangers.take(1).map(Held::Stranger),
        };
        let held = held.ok_or_else(|| Error::full("the live connections"))?;
        metrics::LIVE_CONNECTIONS.inc();
        Ok(Place(held))
    }
}

/// A place of a live connection; comes back when dropped.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "it is held, not read")] Held);

#[derive(Debug)]
#[expect(dead_code, reason = "it is held, not read")]
enum Held {
    Watching(Portion),
    Stranger(Share),
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::LIVE_CONNECTIONS.dec();
    }
}

/// Why a live connection is ended from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The caller may no longer what he might when he came.
    Revoked,
    /// The daemon drains.
    Draining,
}

/// Looks after one live connection.
pub(super) struct Watchman {
    api: Data<Api>,
    caller: Option<Caller>,
    revoked: Arc<Notify>,
    round: Option<JoinHandle<()>>,
}

impl Watchman {
    /// For a connection of somebody who has yet to say who he is.
    pub(super) fn new(api: Data<Api>) -> Self {
        Self { api, caller: None, revoked: Arc::default(), round: None }
    }

    /// Who is connected.
    pub(super) fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Looks from now on whether `caller` still may what he may now.
    pub(super) fn guard(&mut self, credential: Credential, caller: Caller) {
        self.caller = Some(caller.clone());
        let (api, revoked) = (self.api.clone(), self.revoked.clone());
        // A task of its own: the connection drops whatever it waits for when there is something to say.
        let round = actix_web::rt::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                match api.identify(&credential).await {
                    Ok(now) if now == caller => {}
                    // That the rows are away says nothing of his rights.
                    Err(Error::Unavailable { .. } | Error::Broken { .. }) => {}
                    Ok(_) | Err(_) => return revoked.notify_one(),
                }
            }
        });
        self.round = Some(round);
    }

    /// Waits until the connection has to be ended.
    pub(super) async fn ending(&self) -> Ending {
        let mut draining = self.api.readiness.draining();
        tokio::select! {
            // The sender lives as long as the api.
            _ = draining.wait_for(|draining| *draining) => Ending::Draining,
            () = self.revoked.notified() => Ending::Revoked,
        }
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        if let Some(round) = &self.round {
            round.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use hookseal_core::id::OrganizationId;

    use super::*;

    fn member(organization: &str) -> Caller {
        let organization = OrganizationId::from_row(organization);
        Caller::Member { organization, user: "u".to_owned(), role: None }
    }

    #[test]
    fn strangers_and_one_organization_leave_places_to_others() {
        let lives = Lives::default();
        let enter_all = |caller: Option<&Caller>, count: usize| {
            let places: Result<Vec<_>> = (0..count).map(|_| lives.enter(caller)).collect();
            places.expect("there are so many places")
        };
        let strangers = enter_all(None, LIVE_STRANGERS);
        assert!(lives.enter(None).is_err());
        let [one, other] = ["a", "b"].map(member);
        let watching = enter_all(Some(&one), LIVE_CONNECTIONS_EACH);
        assert!(lives.enter(Some(&one)).is_err());
        let others = enter_all(Some(&other), LIVE_CONNECTIONS_EACH);
        let rest = enter_all(Some(&Caller::Platform), LIVE_CONNECTIONS - 2 * LIVE_CONNECTIONS_EACH);
        assert!(lives.enter(Some(&Caller::Platform)).is_err());
        drop((strangers, watching, others, rest));
        assert!(lives.enter(None).is_ok() && lives.enter(Some(&one)).is_ok());
    }
}
