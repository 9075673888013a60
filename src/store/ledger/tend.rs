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
/// What rows may add to the time that it takes to write the log back …
const ROWS_ADD_AT_MOST: Duration = Duration::from_millis(20);
/// … where transactions have fewer than so many: whoever waits for larger ones waits longer than for that, and each
/// time that it is done takes from what they get through …
const FEW: f64 = 128.0;
/// … and how often it is done anyway, once there are so many.
const WRITTEN_BACK_EVERY: Duration = Duration::from_secs(1);
const WRITTEN_BACK_FROM: f64 = 2048.0;
/// How long after the last write the ledger keeps nothing at hand.
const RESTS_AFTER: Duration = Duration::from_secs(10);

/// Looks after what transactions leave behind for as long as there is a `queue`: their log is written back beside
/// those that follow, and once none follows, nothing of them stays in memory.
pub(super) async fn tend(connections: Connections, queue: mpsc::WeakSender<Write>) {
    let rows = || metrics::LEDGER_BATCH_ROWS.get_sample_sum();
    let transactions = || metrics::LEDGER_BATCH_ROWS.get_sample_count();
    let (mut seen, mut last_write, mut rests) = (rows(), Instant::now(), true);
    let mut transactions_before = transactions();
    let (mut written_back, mut last_pass, mut pace) = (seen, Instant::now(), Pace::default());
    while queue.strong_count() > 0 {
        tokio::time::sleep(if rests { TENDED_EVERY } else { TENDED_EVERY_AT_WORK }).await;
        let written = rows();
        if written > seen {
            (seen, last_write, rests) = (written, Instant::now(), false);
        }
        let log = Log {
            rows: written - written_back,
            transactions: transactions() - transactions_before,
            since: last_pass.elapsed(),
        };
        if pace.is_due(&log) {
            let began = Instant::now();
            connections.write_back().await;
            pace.learn(log.rows, began.elapsed());
            (written_back, last_pass) = (written, Instant::now());
            transactions_before += log.transactions;
        }
        if !rests && last_write.elapsed() >= RESTS_AFTER {
            connections.release_pages().await;
            rests = true;
        }
    }
}

/// What the log holds since it was written back.
struct Log {
    rows: f64,
    transactions: u64,
    since: Duration,
}

/// When the log is written back. Others wait for the disk meanwhile: where each row adds to that, many short times are
/// better than one that is long.
#[derive(Debug, Default)]
struct Pace {
    /// The shortest that it took: so long it takes for a few rows as well.
    least: Option<Duration>,
    /// What a row added to that the last time.
    each: Duration,
}

impl Pace {
    /// Whether it is time.
    fn is_due(&self, log: &Log) -> bool {
        let long = self.each.mul_f64(log.rows) >= ROWS_ADD_AT_MOST;
        long && log.rows < FEW * log.transactions as f64
            || log.rows >= WRITTEN_BACK_FROM && log.since >= WRITTEN_BACK_EVERY
    }

    /// Takes note of how long it took for so many rows.
    fn learn(&mut self, rows: f64, took: Duration) {
        let least = self.least.map_or(took, |least| least.min(took));
        (self.least, self.each) = (Some(least), (took - least).div_f64(rows.max(1.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn the_log_is_written_back_once_a_second_and_sooner_where_that_takes_long() {
        let ms = Duration::from_millis;
        for (before,                               rows,     transactions, since,     due) in [
            (&[][..],                              2_047.0,  500,          ms(5_000), false),
            (&[],                                  2_048.0,  500,          ms(999),   false),
            (&[],                                  2_048.0,  500,          ms(1_000), true),
            (&[(2_000.0, 10), (2_000.0, 210)],     199.0,    100,          ms(100),   false),
            (&[(2_000.0, 10), (2_000.0, 210)],     200.0,    100,          ms(100),   true),
            // Large transactions.
            (&[(2_000.0, 10), (2_000.0, 210)],     2_000.0,  10,           ms(500),   false),
            // A disk that takes long for anything.
            (&[(2_000.0, 60), (200.0, 60)],        2_000.0,  100,          ms(500),   false),
        ] {
            let mut pace = Pace::default();
            before.iter().for_each(|(rows, took)| pace.learn(*rows, ms(*took)));
            let log = Log { rows, transactions, since };
            assert_eq!(pace.is_due(&log), due, "{before:?} {rows} {transactions} {since:?}");
        }
    }
}
