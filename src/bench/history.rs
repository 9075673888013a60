//! Millions of deliveries that are over: what those of today notice of them, and of the janitor who removes them.

use std::time::{Duration, Instant};

use hookseal_core::error::Result;
use hookseal_core::time::Timestamp;
use serde::Serialize;

use super::database::Scratch;
use super::finding::{Neighbours, Pair};
use super::load::Phase;
use super::measured::Measured;
use super::past;
use super::phase::Field;
use crate::clock::wall_seconds;

/// How long ago what is over was …
const AGO: Duration = Duration::from_secs(60 * DAY);
/// … and for how long it went on.
const SPAN: Duration = Duration::from_secs(5 * DAY);
const DAY: u64 = 24 * 3600;
/// The setting that tells how long it is kept, …
pub(super) const SETTING: &str = "HOOKSEAL_HISTORY";
/// … for long at first …
pub(super) const LONG: &str = "87600h";
/// … until the janitor is to remove it.
const SHORT: &str = "1h";

/// What history costs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct History {
    rows: usize,
    seconds_to_fill: f64,
    /// From the start on the filled tables until it was ready.
    seconds_to_ready: f64,
    /// The most that was possible, on empty tables and on filled ones.
    deliveries_per_second: Pair,
    /// The same steady load, without the janitor and with him.
    janitor: Neighbours,
    removed: usize,
    removed_per_second: f64,
    /// That as a part of the most that can be published.
    removed_to_published: f64,
}

/// Plays the phases of the scenario, with a past that is made between them.
pub(super) async fn play(
    field: &mut Field<'_>,
    database: &Scratch,
    [empty, filled, calm, cleaned]: [&Phase; 4],
    rows: usize,
) -> Result<(Vec<Measured>, History)> {
    let empty = field.play(empty, None).await?;
    let began = Timestamp::from_ms(wall_seconds() * 1000).minus(AGO);
    let (started, connection) = (Instant::now(), database.connect().await?);
    let made = {
        field.daemon.end().await?;
        let (label, progress) = (&field.label, &mut field.progress);
        let shown = |made| progress.show(&format!("{label}: {made} of {rows} in the past"));
        past::fill(&connection, &field.organizations, rows, (began, SPAN), shown).await
    };
    made?;
    let seconds_to_fill = started.elapsed().as_secs_f64();
    let ready = field.start_again().await?;
    let filled = field.play(filled, None).await?;
    let calm = field.play(calm, Some(&filled)).await?;
    field.daemon.set(SETTING, SHORT.to_owned());
    field.daemon.end().await?;
    field.start_again().await?;
    let at_work = Instant::now();
    let cleaned = field.play(cleaned, Some(&filled)).await?;
    let removed = rows - past::count(&connection, began.plus(SPAN)).await?;
    let removed_per_second = removed as f64 / at_work.elapsed().as_secs_f64();
    let history = History {
        rows,
        seconds_to_fill,
        seconds_to_ready: ready.as_secs_f64(),
        deliveries_per_second: Pair::of(empty.deliveries_per_second, filled.deliveries_per_second),
        janitor: Neighbours::of(&calm, &cleaned),
        removed,
        removed_per_second,
        removed_to_published: removed_per_second / filled.events_per_second.max(1.0),
    };
    Ok((vec![empty, filled, calm, cleaned], history))
}

impl History {
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            (
                "deliveries of the past",
                format!("{}, made in {:.0} s", self.rows, self.seconds_to_fill),
            ),
            ("  ready on them", format!("{:.2} s", self.seconds_to_ready)),
            ("  deliveries/s", self.deliveries_per_second.text()),
            (
                "the janitor",
                format!(
                    "removed {} events: {:.0}/s, {:.2} of the most that can be published",
                    self.removed, self.removed_per_second, self.removed_to_published
                ),
            ),
        ];
        lines.extend(self.janitor.lines());
        lines
    }
}
