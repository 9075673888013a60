//! Instants as the rows and the wire carry them. Reads no clock.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last instant that the wire form can show: the end of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// An instant from milliseconds since the epoch, held within years 1970 to 9999.
    pub const fn from_ms(ms: i64) -> Self {
        Self(if ms < 0 {
            0
        } else if ms > Self::MAX.0 {
            Self::MAX.0
        } else {
            ms
        })
    }

    /// Milliseconds since the epoch.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, as the signature header carries them.
    pub const fn as_secs(self) -> i64 {
        self.0 / 1000
    }

    /// This instant, later by `pause`.
    pub fn plus(self, pause: Duration) -> Self {
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        Self::from_ms(self.0.saturating_add(pause_ms))
    }

    /// This instant, earlier by `pause`.
    pub fn minus(self, pause: Duration) -> Self {
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        Self::from_ms(self.0.saturating_sub(pause_ms))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    /// Parses an RFC 3339 date-time in UTC that ends in `Z`; offsets and bare dates are refused
    /// (contract 2.8).
    pub fn parse(text: &str) -> Option<Self> {
        let local = text.strip_suffix('Z')?;
        if local.as_bytes().get(10) != Some(&b'T') {
            return None;
        }
        // Seconds may be left out.
        let seconds = if local.len() == "2026-05-05T11:00".len() { ":00" } else { "" };
        let parsed = OffsetDateTime::parse(&format!("{local}{seconds}Z"), &Rfc3339).ok()?;
        let ms = i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
        Some(Self::from_ms(ms))
    }
}

/// `2026-05-05T11:00:00.000Z`: always three fractional digits and `Z` (contract 1.2).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .expect("a Timestamp is held within years that the calendar has");
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: std::borrow::Cow<'de, str> = serde::Deserialize::deserialize(deserializer)?;
        let rule = || serde::de::Error::custom("expected an RFC 3339 date-time that ends in Z");
        Self::parse(&text).ok_or_else(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_has_three_digits_and_z() {
        assert_eq!(Timestamp::from_ms(1_777_978_800_000).to_string(), "2026-05-05T11:00:00.000Z");
        assert_eq!(Timestamp::from_ms(-5).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    #[rustfmt::skip]
    fn only_utc_date_times_parse() {
        let ms = |text| Timestamp::parse(text).map(Timestamp::as_ms);
        assert_eq!(ms("2026-05-05T11:00:00Z"),       Some(1_777_978_800_000));
        assert_eq!(ms("2026-05-05T11:00:00.123Z"),   Some(1_777_978_800_123));
        assert_eq!(ms("2026-05-05T11:00Z"),          Some(1_777_978_800_000));
        assert_eq!(ms("2026-05-05 11:00:00Z"),       None);
        assert_eq!(ms("2026-05-05X11:00:00Z"),       None);
        assert_eq!(ms("2026-05-05T11:00:00+00:00"),  None);
        assert_eq!(ms("2026-05-05"),                 None);
        assert_eq!(ms("yesterday"),                  None);
        assert_eq!(ms(""),                           None);
    }
}
