//! The pauses between attempts: how they are written, and when the next attempt is due.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::time::Timestamp;

/// Pauses before attempts 2…n, each counted from the end of the attempt before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

impl RetrySchedule {
    /// Eight attempts over 27 h 35 min 5 s (contract 4.3).
    pub const GENERATION_2: &str = "5s,5m,30m,2h,5h,10h,10h";
    /// How one is written.
    pub const EXPECTED: &str = "none, or up to 50 pauses of at most 7 days, comma-separated, such as 5s,5m,30m,2h or 250ms";

    /// A schedule of the given pauses: 0 to 50 of at most 7 days each.
    pub fn new(pauses: Vec<Duration>) -> Result<Self, RetryScheduleError> {
        const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
        if pauses.len() > 50 || pauses.iter().any(|pause| *pause > WEEK) {
            return Err(RetryScheduleError);
        }
        Ok(Self(pauses))
    }

    /// Attempts in all.
    #[cfg(test)]
    pub(crate) fn attempts(&self) -> u32 {
        u32::try_from(self.0.len()).expect("a schedule is held to 50 pauses") + 1
    }

    /// The sum of all pauses: the automatic window of contract 4.3.
    pub fn window(&self) -> Duration {
        self.0.iter().sum()
    }

    /// When to try again after attempt `made` ended at `now`, never before `floor` has passed;
    /// `None` when it was the last.
    pub fn next(&self, made: u32, floor: Duration, now: Timestamp) -> Option<Timestamp> {
        let pause = self.0.get(usize::try_from(made.checked_sub(1)?).ok()?)?;
        Some(now.plus((*pause).max(floor)))
    }
}

impl Default for RetrySchedule {
    fn default() -> Self {
        Self::GENERATION_2.parse().expect("the default schedule is well formed")
    }
}

/// A schedule that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("expected {}", RetrySchedule::EXPECTED)]
pub struct RetryScheduleError;

impl FromStr for RetrySchedule {
    type Err = RetryScheduleError;

    fn from_str(text: &str) -> Result<Self, RetryScheduleError> {
        if text.trim() == "none" {
            return Self::new(Vec::new());
        }
        let pauses: Option<Vec<_>> = text.split(',').map(parse_duration).collect();
        Self::new(pauses.ok_or(RetryScheduleError)?)
    }
}

impl fmt::Display for RetrySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, pause) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{pause:?}")?;
        }
        Ok(())
    }
}

/// Reads a duration such as `250ms`, `5s`, `30m`, `2h`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (amount, unit) = text.split_at(digits);
    let amount: u64 = amount.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    amount.checked_mul(unit_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000);

    #[test]
    fn the_default_window_is_27_h_35_min_5_s() {
        let schedule = RetrySchedule::default();
        assert_eq!(schedule.attempts(), 8);
        assert_eq!(schedule.window(), Duration::from_millis(99_305_000));
        let first: RetrySchedule = "60s,120s".parse().expect("a schedule");
        assert_eq!((first.attempts(), first.window()), (3, Duration::from_secs(180)));
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn the_next_attempt_follows_the_table() {
        let schedule = RetrySchedule::default();
        for (made, floor_s, due_in_s) in [
            (1, 0,      Some(5)),
            (1, 3,      Some(5)),
            (1, 60,     Some(60)),
            (2, 0,      Some(300)),
            (3, 0,      Some(1_800)),
            (7, 3_600,  Some(36_000)),
            (8, 0,      None),
            (9, 0,      None),
            (0, 0,      None),
        ] {
            let due = schedule.next(made, Duration::from_secs(floor_s), NOW);
            assert_eq!(due, due_in_s.map(|s| NOW.plus(Duration::from_secs(s))), "{made} {floor_s}");
        }
    }

    #[test]
    fn a_schedule_is_read_in_every_unit_and_refused_otherwise() {
        let schedule: RetrySchedule = "250ms, 5s,30m,2h".parse().expect("a schedule");
        assert_eq!(schedule.window(), Duration::from_millis(250 + 5_000 + 1_800_000 + 7_200_000));
        assert_eq!("none".parse::<RetrySchedule>().expect("one attempt").attempts(), 1);
        for bad in ["", "5", "5x", "s", "5s,", "-5s", "5s;5s", "9999h", "99999999999999999999s"] {
            assert!(bad.parse::<RetrySchedule>().is_err(), "{bad}");
        }
    }
}
