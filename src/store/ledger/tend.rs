//! What transactions leave behind: the log of a SQLite, which is written back beside those that follow, and pages
//! in memory, of which nothing stays once none follows.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Write;
use crate::metrics;
use crate::store::Connections;

/// How often is looked after what transactions leave behind, while there are none and while there are.
const TENDED_EVERY: Duration = Duration::from_secs(1);
const TENDED_EVERY_AT_WORK: Duration = Duration::from_millis(100);
/// From how many rows on the log is written back, so that the disk is never busy with it for long …
const WRITTEN_BACK_FROM: f64 = 256.0;
/// … where transactions have fewer than so many: whoever waits for larger ones waits longer than for the disk, and pages
/// that all of them share would be written back each time.
const FEW: f64 = 128.0;
/// How often the log begins anew, once it has so many rows.
const ANEW_EVERY: Duration = Duration::from_secs(1);
const ANEW_FROM: f64 = 2048.0;
/// How long after the last write the ledger keeps nothing at hand.
const RESTS_AFTER: Duration = Duration::from_secs(10);

/// Looks after what transactions leave behind for as long as there is a `queue`: their log is written back beside
/// those that follow, and once none follows, nothing of them stays in memory.
pub(super) async fn tend(connections: Connections, queue: mpsc::WeakSender<Write>) {
    let (mut seen, mut last_write, mut rests) = (Written::now(), Instant::now(), true);
    let (mut written_back, mut begun, mut begun_at) = (seen, seen, Instant::now());
    while queue.strong_count() > 0 {
        tokio::time::sleep(if rests { TENDED_EVERY } else { TENDED_EVERY_AT_WORK }).await;
        let written = Written::now();
        if written.rows > seen.rows {
            (seen, last_write, rests) = (written, Instant::now(), false);
        }
        let due = due(written.since(written_back), written.since(begun).rows, begun_at.elapsed());
        if let Some(due) = due {
            connections.write_back().await;
            written_back = written;
            if due == Due::Anew {
                connections.begin_log_anew().await;
                (begun, begun_at) = (written, Instant::now());
            }
        }
        if !rests && last_write.elapsed() >= RESTS_AFTER {
            connections.release_pages().await;
            rests = true;
        }
    }
}

/// What the ledger wrote.
#[derive(Clone, Copy, Debug)]
struct Written {
    rows: f64,
    transactions: u64,
}

impl Written {
    fn now() -> Self {
        let batches = &metrics::LEDGER_BATCH_ROWS;
        Self { rows: batches.get_sample_sum(), transactions: batches.get_sample_count() }
    }

    fn since(self, before: Self) -> Self {
        Self {
            rows: self.rows - before.rows,
            transactions: self.transactions - before.transactions,
        }
    }
}

/// What is to be done with the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// It is written back.
    Back,
    /// It is written back, and begins anew.
    Anew,
}

/// What is due of a log with what is not `written_back`, and with `rows` in the time `since` it began.
fn due(written_back: Written, rows: f64, since: Duration) -> Option<Due> {
    let Written { rows: waiting, transactions } = written_back;
    if rows >= ANEW_FROM && since >= ANEW_EVERY {
        Some(Due::Anew)
    } else if waiting >= WRITTEN_BACK_FROM && waiting < FEW * transactions as f64 {
        Some(Due::Back)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn the_log_begins_anew_once_a_second_and_is_written_back_sooner_where_transactions_are_small() {
        let ms = Duration::from_millis;
        for (waiting, transactions, rows,     since,     expected) in [
            (255.0,   200,          255.0,    ms(100),   None),
            (256.0,   200,          256.0,    ms(100),   Some(Due::Back)),
            (256.0,   200,          2_047.0,  ms(5_000), Some(Due::Back)),
            (256.0,   200,          2_048.0,  ms(999),   Some(Due::Back)),
            (256.0,   200,          2_048.0,  ms(1_000), Some(Due::Anew)),
            // Nothing new since it was written back, but for what came in while it was.
            (10.0,    1,            2_048.0,  ms(1_000), Some(Due::Anew)),
            // Large transactions.
            (1_280.0, 11,           1_280.0,  ms(100),   Some(Due::Back)),
            (1_280.0, 10,           1_280.0,  ms(100),   None),
            (9_000.0, 10,           9_000.0,  ms(1_000), Some(Due::Anew)),
        ] {
            let written_back = Written { rows: waiting, transactions };
            assert_eq!(due(written_back, rows, since), expected, "{written_back:?} {rows} {since:?}");
        }
    }
}
