//! Rotation of a signing secret: how long the one before signs beside the new one.

use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::limits::GRACE_PERIOD_MAX;
use crate::time::Timestamp;

/// How long the secret that is replaced goes on signing; zero ends it at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GracePeriod(Duration);

impl GracePeriod {
    /// Takes `grace_period_seconds`: 0 to 604,800, and 0 when left out.
    pub fn judge(seconds: Option<i64>) -> Result<Self> {
        let most = GRACE_PERIOD_MAX.as_secs();
        match u64::try_from(seconds.unwrap_or(0)) {
            Ok(seconds) if seconds <= most => Ok(Self(Duration::from_secs(seconds))),
            Ok(_) | Err(_) => {
                let expected = format!("an integer from 0 to {most}");
                Err(Error::invalid("grace_period_seconds", expected))
            }
        }
    }

    /// Its length in seconds.
    pub const fn seconds(self) -> u64 {
        self.0.as_secs()
    }

    /// When it ends that begins at `now`; none when there is none.
    pub fn until(self, now: Timestamp) -> Option<Timestamp> {
        (!self.0.is_zero()).then(|| now.plus(self.0))
    }
}

/// Whether a secret that was replaced still signs at `now`.
pub fn still_signs(until: Timestamp, now: Timestamp) -> bool {
    now < until
}

impl Endpoint {
    /// The endpoint with a secret that was replaced at `now`, the one before signing `until` then. The
    /// one before that signs no more: there are never more than two.
    pub fn rotated(self, until: Option<Timestamp>, now: Timestamp) -> Self {
        Self { previous_secret_until: until, revision: self.revision + 1, updated_at: now, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000);

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn the_secret_before_signs_until_the_period_ends() {
        //    grace          seconds on   signs
        check(None,          0,           false);
        check(Some(0),       0,           false);
        check(Some(1),       0,           true);
        check(Some(60),      59,          true);
        check(Some(60),      60,          false);
        check(Some(60),      3600,        false);
        check(Some(604_800), 604_799,     true);
        check(Some(604_800), 604_800,     false);
    }

    fn check(grace: Option<i64>, seconds_on: u64, signs: bool) {
        let until = GracePeriod::judge(grace).expect("valid").until(NOW);
        let then = NOW.plus(Duration::from_secs(seconds_on));
        assert_eq!(until.is_some_and(|until| still_signs(until, then)), signs, "{grace:?}");
    }

    #[test]
    fn a_period_beyond_its_bounds_names_its_field() {
        for seconds in [-1, 604_801, i64::MIN, i64::MAX] {
            let refused = GracePeriod::judge(Some(seconds)).expect_err("out of bounds");
            let message = "grace_period_seconds: expected an integer from 0 to 604800";
            assert_eq!(refused.to_string(), message, "{seconds}");
        }
    }
}
