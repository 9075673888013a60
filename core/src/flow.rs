//! How fast one endpoint's attempts come to an end: what its actor may hold claimed beyond those in
//! flight, because its turn comes at once. Pure.

use crate::limits::CLAIMED_AHEAD;
use crate::time::Timestamp;

/// Attempts are counted for so long, in milliseconds; what came to an end within it is held ahead.
const SPAN_MS: i64 = 100;

/// Counts the ends of attempts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    /// The span that is being counted.
    span: i64,
    counted: usize,
    /// The count of the span before.
    before: usize,
}

impl Flow {
    /// An attempt came to an end at `now`.
    pub(crate) fn on_end(&mut self, now: Timestamp) {
        let span = now.as_ms() / SPAN_MS;
        if span != self.span {
            self.before = if span == self.span + 1 { self.counted } else { 0 };
            (self.span, self.counted) = (span, 0);
        }
        self.counted += 1;
    }

    /// How many may be held ahead at `now`: none where attempts hang.
    pub(crate) fn ahead(&self, now: Timestamp) -> usize {
        let ended = match now.as_ms() / SPAN_MS - self.span {
            0 => self.counted.max(self.before),
            1 => self.counted,
            _ => 0,
        };
        ended.min(CLAIMED_AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn as_many_are_held_ahead_as_came_to_an_end_lately() {
        let start = Timestamp::from_ms(1_700_000_000_000);
        let at = |ms: u64| start.plus(Duration::from_millis(ms));
        let mut flow = Flow::default();
        assert_eq!(flow.ahead(at(0)), 0);
        (0..30).for_each(|_| flow.on_end(at(10)));
        assert_eq!(flow.ahead(at(99)), 30);
        assert_eq!(flow.ahead(at(199)), 30, "the span before");
        assert_eq!(flow.ahead(at(200)), 0, "nothing ends any more");
        flow.on_end(at(110));
        assert_eq!(flow.ahead(at(120)), 30);
        flow.on_end(at(210));
        assert_eq!(flow.ahead(at(220)), 1);
        (0..5_000).for_each(|_| flow.on_end(at(1_000)));
        assert_eq!(flow.ahead(at(1_000)), CLAIMED_AHEAD);
    }
}
