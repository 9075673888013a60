//! One endpoint's waiting line: what to refill, claim, start, hand back, and when to ask again.
//! Decides; never reads a row, a socket or a clock.
//!
//! ```text
//! on_due, on_refilled ─▶ waiting ──Claim──▶ claiming ──on_claimed──▶ ready ──Start──▶ flying
//!                                                        ▲  └──HandBack (paused,      │ on_landed
//!                            on_handed_over (reserved) ──┘          breaker open)     ▼
//!                                                                  ◀──on_settled── settling
//! ```
//! The window bounds what flies. What is claimed may be more, as far as its turn comes at once: an endpoint
//! whose receiver hangs claims nothing ahead.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use crate::breaker::{Allowance, Breaker};
use crate::flow::Flow;
use crate::id::DeliveryId;
use crate::limits::{LANE_QUEUE, WINDOW};
use crate::pace::Pace;
use crate::ports::Due;
use crate::recent::Recent;
use crate::time::Timestamp;

/// The queue is refilled from the rows once it is this short.
const REFILL_BELOW: usize = LANE_QUEUE / 4;
/// Most deliveries of one claim.
const CLAIM_BATCH: usize = 256;
/// Those told of when the queue was full that are remembered.
const REFUSED_KEPT: usize = 4 * LANE_QUEUE;
/// How soon to look again for lent places that came back unused.
const LENT_PLACES_RETURN: Duration = Duration::from_millis(50);

/// What the lane's owner is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Claim these in the rows, then report `on_claimed` or `on_unclaimed` for each.
    Claim(Vec<DeliveryId>),
    /// Start the attempts of these, then report `on_landed` and `on_settled`, or `on_abandoned`, for each.
    Start(Vec<DeliveryId>),
    /// Give the claims of these back, then report `on_due` for each; the lane has forgotten them.
    HandBack(Vec<DeliveryId>),
    /// Read as many due deliveries from the rows as the queue holds, longest due first, then report `on_refilled`.
    Refill,
    /// Nothing before this instant, unless something happens.
    Wait(Timestamp),
    /// Nothing until something happens.
    Idle,
}

/// The settings that a lane obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// Attempts in flight at once.
    pub window: usize,
    /// Attempts started per second at most.
    pub rate_limit_per_second: Option<u32>,
    /// Whether anything may be sent at all.
    pub enabled: bool,
    /// What fell due in the rows so lately is left there, unless it was told of here: another may have committed it just
    /// now, and who watches is to hear of it from him first.
    pub lull: Duration,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self { window: WINDOW, rate_limit_per_second: None, enabled: true, lull: Duration::ZERO }
    }
}

/// The waiting line of one endpoint.
#[derive(Debug)]
pub struct Lane {
    settings: LaneSettings,
    paused: bool,
    waiting: VecDeque<DeliveryId>,
    claiming: usize,
    ready: VecDeque<DeliveryId>,
    flying: usize,
    /// Attempts that ended and are being recorded.
    settling: usize,
    /// Everything in one of the five places above: what comes twice is taken once.
    known: HashSet<DeliveryId>,
    /// Places lent through the gate.
    lent: usize,
    /// The rows may hold due deliveries that are not here.
    more_in_rows: bool,
    refilling: bool,
    /// Hashes of those told of when the queue was full; kept if there is a lull.
    refused: Recent<u64, ()>,
    /// The rows hold what the lull keeps there; by then it is over.
    look_again_at: Option<Timestamp>,
    /// What is claimed holds as much memory as it may: nothing more until an attempt ends.
    full: bool,
    breaker: Breaker,
    flow: Flow,
    pace: Option<Pace>,
}

/// How a lane stands, for operators and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LaneSnapshot {
    /// Deliveries that wait in memory.
    pub waiting: usize,
    /// Attempts in flight; what is being claimed or recorded included.
    pub in_flight: usize,
    /// Whether the rows may hold more.
    pub more_in_rows: bool,
    /// Whether the breaker holds attempts back.
    pub breaker_open: bool,
}

impl Lane {
    /// An empty lane.
    pub fn new(settings: LaneSettings, now: Timestamp) -> Self {
        Self {
            settings,
            paused: false,
            waiting: VecDeque::new(),
            claiming: 0,
            ready: VecDeque::new(),
            flying: 0,
            settling: 0,
            known: HashSet::new(),
            lent: 0,
            more_in_rows: false,
            refilling: false,
            refused: Recent::new(REFUSED_KEPT),
            look_again_at: None,
            full: false,
            breaker: Breaker::default(),
            flow: Flow::default(),
            pace: settings.rate_limit_per_second.map(|rate| Pace::new(rate, now)),
        }
    }

    /// New settings hold from the next step on.
    pub fn on_settings(&mut self, settings: LaneSettings, now: Timestamp) {
        if settings.rate_limit_per_second != self.settings.rate_limit_per_second {
            self.pace = settings.rate_limit_per_second.map(|rate| Pace::new(rate, now));
        }
        if !settings.enabled {
            self.leave_to_rows();
        }
        self.settings = settings;
    }

    /// No further attempt starts; those in flight end.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Attempts may start again; what became due meanwhile is in the rows.
    pub fn resume(&mut self) {
        self.more_in_rows |= self.paused;
        self.paused = false;
    }

    /// A delivery is due. When the queue is full, or while disabled, it stays in the rows. Answers
    /// whether it is here.
    pub fn on_due(&mut self, id: DeliveryId) -> bool {
        if self.known.contains(&id) {
            return true;
        }
        if self.waiting.len() >= LANE_QUEUE || !self.settings.enabled {
            self.more_in_rows = true;
            if !self.settings.lull.is_zero() {
                self.refused.put(hash(&id), ());
            }
            return false;
        }
        self.known.insert(id.clone());
        self.waiting.push_back(id);
        true
    }

    /// The rows hold due deliveries.
    pub fn on_more_in_rows(&mut self) {
        self.more_in_rows = true;
    }

    /// The rows were read at `now`.
    pub fn on_refilled(&mut self, due: Vec<Due>, now: Timestamp) {
        self.refilling = false;
        let (whole, mut left) = (due.len() < LANE_QUEUE, false);
        for Due { at, id, .. } in due {
            let over_at = at.plus(self.settings.lull);
            let mut told = || self.known.contains(&id) || self.refused.remove(&hash(&id)).is_some();
            if over_at <= now || told() {
                self.on_due(id);
            } else {
                self.look_again_at = Some(over_at);
                left = true;
            }
        }
        // What comes after that which is left is younger still.
        self.more_in_rows |= !whole && !left;
    }

    /// The rows could not be read: they are asked again.
    pub fn on_refill_failed(&mut self) {
        self.refilling = false;
        self.more_in_rows = true;
    }

    /// A delivery was claimed.
    pub fn on_claimed(&mut self, id: DeliveryId) {
        self.claiming = self.claiming.saturating_sub(1);
        self.ready.push_back(id);
    }

    /// A delivery was not claimed: it is no longer due, or somebody else has it.
    pub fn on_unclaimed(&mut self, id: &DeliveryId) {
        self.claiming = self.claiming.saturating_sub(1);
        self.known.remove(id);
    }

    /// What is claimed holds as much memory as it may, while something flies or is ready to.
    pub fn on_full(&mut self) {
        self.full = self.flying + self.ready.len() > 0;
    }

    /// A delivery arrives already claimed, on a place lent through the gate. Answers whether it is
    /// new here.
    pub fn on_handed_over(&mut self, id: DeliveryId) -> bool {
        self.lent = self.lent.saturating_sub(1);
        let new = self.known.insert(id.clone());
        if new {
            self.ready.push_back(id);
        }
        new
    }

    /// Lent places came back unused.
    pub fn on_recalled(&mut self, places: usize) {
        self.lent = self.lent.saturating_sub(places);
    }

    /// An attempt ended at `now`; what came of it is to be recorded.
    pub fn on_landed(&mut self, delivered: bool, now: Timestamp) {
        self.full = false;
        self.flying = self.flying.saturating_sub(1);
        self.settling += 1;
        self.flow.on_end(now);
        if delivered {
            self.breaker.on_success(self.settings.window);
        } else {
            self.breaker.on_failure(now);
        }
    }

    /// What came of an attempt is recorded, by us or by whoever has its claim.
    pub fn on_settled(&mut self, id: &DeliveryId) {
        self.settling = self.settling.saturating_sub(1);
        self.known.remove(id);
    }

    /// An attempt ended without a verdict on the receiver: its claim was lost or given back.
    pub fn on_abandoned(&mut self, id: &DeliveryId) {
        self.full = false;
        self.flying = self.flying.saturating_sub(1);
        self.known.remove(id);
    }

    /// The payload of a delivery was taken away. Answers whether it was claimed and had not started:
    /// then it never does.
    pub fn on_revoked(&mut self, id: &DeliveryId) -> bool {
        let Some(place) = self.ready.iter().position(|ready| ready == id) else { return false };
        self.ready.remove(place);
        self.known.remove(id);
        // With nothing here that could end, nobody would say that there is room again.
        self.full &= self.flying + self.ready.len() > 0;
        true
    }

    /// Whether as many wait for their record as may fly by half: what is not recorded is sent again after a crash.
    pub fn record_is_pressing(&self) -> bool {
        2 * self.settling >= self.settings.window
    }

    /// Whether the breaker holds attempts back at `now`.
    pub fn breaker_is_open(&self, now: Timestamp) -> bool {
        self.breaker.is_open(now)
    }

    /// Whether attempts flow as if nothing had happened.
    pub fn breaker_is_closed(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Places to lend through the gate at `now`: all that is free while nothing waits, the breaker is
    /// closed and no rate limit holds. The lane counts them as lent.
    pub fn lend(&mut self, now: Timestamp) -> usize {
        let calm = self.settings.enabled
            && !self.paused
            && self.pace.is_none()
            && self.breaker.is_closed()
            && !self.has_queue()
            && !self.full;
        let places = if calm { self.capacity(now).saturating_sub(self.occupied()) } else { 0 };
        self.lent += places;
        places
    }

    /// How many publishes may wait for a place at `now`, since attempts end fast enough to give each of them
    /// one at once; none while the rows hold more.
    pub fn patience(&self, now: Timestamp) -> usize {
        let flows = self.settings.enabled
            && !self.paused
            && self.breaker.is_closed()
            && !self.more_in_rows
            && !self.refilling
            && !self.full;
        if flows { self.ahead(now).saturating_sub(self.waiting.len()) } else { 0 }
    }

    /// Whether lent places are wanted back: somebody waits who came first, or fewer are to be had.
    pub fn wants_recall(&self, now: Timestamp) -> bool {
        self.lent > 0
            && (self.has_queue()
                || self.pace.is_some()
                || self.occupied() > self.capacity(now)
                || self.paused
                || !self.settings.enabled
                || !self.breaker.is_closed())
    }

    /// The next step at `now`. `Wait` carries the earliest instant worth asking again.
    pub fn next(&mut self, now: Timestamp) -> Step {
        // An operator's hold and a drain outrank everything that is due.
        if self.paused || !self.settings.enabled {
            return self.hand_back_ready().unwrap_or(Step::Idle);
        }
        let window = match self.breaker.allowance(now) {
            Allowance::Window => self.settings.window,
            Allowance::Few(few) => few.min(self.settings.window),
            Allowance::NoneUntil(until) => {
                return self.hand_back_ready().unwrap_or(Step::Wait(until));
            }
        };
        let ahead = if self.breaker.is_closed() { self.ahead(now) } else { 0 };
        let paced_until = match self.start_ready(window, now) {
            Started::Some(ids) => return Step::Start(ids),
            Started::NoneUntil(later) => Some(later),
            Started::Nothing => None,
        };
        if self.full {
            return paced_until.map_or(Step::Idle, Step::Wait);
        }
        let room = (window + ahead).saturating_sub(self.occupied());
        let room = room.min(CLAIM_BATCH).min(self.claimable());
        if room > 0 && !self.waiting.is_empty() {
            let ids: Vec<_> = self.waiting.drain(..room.min(self.waiting.len())).collect();
            self.claiming += ids.len();
            return Step::Claim(ids);
        }
        if self.look_again_at.is_some_and(|at| at <= now) {
            self.look_again_at = None;
            self.more_in_rows = true;
        }
        if self.more_in_rows && !self.refilling && self.waiting.len() < REFILL_BELOW {
            self.refilling = true;
            // What is refused from here on may be in none of the rows that are read.
            self.more_in_rows = false;
            return Step::Refill;
        }
        let lent_return =
            (self.lent > 0 && !self.waiting.is_empty()).then(|| now.plus(LENT_PLACES_RETURN));
        let until = paced_until.or(lent_return);
        until.into_iter().chain(self.look_again_at).min().map_or(Step::Idle, Step::Wait)
    }

    /// Whether nothing is here and nothing is expected: its owner may go to sleep.
    pub fn is_quiet(&self, now: Timestamp) -> bool {
        self.known.is_empty()
            && self.lent == 0
            && !self.refilling
            && self.look_again_at.is_none()
            && (!self.more_in_rows || !self.settings.enabled)
            && !self.breaker.is_open(now)
    }

    /// Whether no claim is held, asked for or still to arrive on a lent place.
    pub fn is_drained(&self) -> bool {
        self.lent + self.claiming + self.ready.len() + self.flying + self.settling == 0
    }

    /// How the lane stands.
    pub fn snapshot(&self, now: Timestamp) -> LaneSnapshot {
        LaneSnapshot {
            waiting: self.waiting.len(),
            in_flight: self.occupied() - self.lent,
            more_in_rows: self.more_in_rows || self.refilling,
            breaker_open: self.breaker.is_open(now),
        }
    }

    /// How many more may be claimed ahead: with a rate limit what starts within a second, so that
    /// no claim grows old while it waits for its turn.
    fn claimable(&self) -> usize {
        self.settings.rate_limit_per_second.map_or(usize::MAX, |rate| {
            (rate as usize).max(1).saturating_sub(self.claiming + self.ready.len())
        })
    }

    /// What waits is forgotten: it is due in the rows.
    fn leave_to_rows(&mut self) {
        for id in self.waiting.drain(..) {
            self.known.remove(&id);
        }
        self.more_in_rows = true;
    }

    fn has_queue(&self) -> bool {
        !self.waiting.is_empty() || self.more_in_rows || self.refilling
    }

    fn occupied(&self) -> usize {
        self.claiming + self.ready.len() + self.flying + self.settling + self.lent
    }

    /// How many may be claimed or lent at `now`.
    fn capacity(&self, now: Timestamp) -> usize {
        self.settings.window + self.ahead(now)
    }

    fn ahead(&self, now: Timestamp) -> usize {
        if self.pace.is_some() { 0 } else { self.flow.ahead(now) }
    }

    fn hand_back_ready(&mut self) -> Option<Step> {
        if self.ready.is_empty() {
            return None;
        }
        self.full = false;
        let ids: Vec<_> = self.ready.drain(..).collect();
        for id in &ids {
            self.known.remove(id);
        }
        Some(Step::HandBack(ids))
    }

    fn start_ready(&mut self, window: usize, now: Timestamp) -> Started {
        let mut ids = Vec::new();
        while !self.ready.is_empty() && self.flying + ids.len() < window {
            if let Some(Err(later)) = self.pace.as_ref().map(|pace| pace.take(now)) {
                return if ids.is_empty() { Started::NoneUntil(later) } else { self.started(ids) };
            }
            ids.extend(self.ready.pop_front());
        }
        if ids.is_empty() { Started::Nothing } else { self.started(ids) }
    }

    fn started(&mut self, ids: Vec<DeliveryId>) -> Started {
        self.flying += ids.len();
        Started::Some(ids)
    }
}

fn hash(id: &DeliveryId) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(id)
}

enum Started {
    Some(Vec<DeliveryId>),
    NoneUntil(Timestamp),
    Nothing,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::id::EndpointId;

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    const SECOND: Duration = Duration::from_secs(1);

    fn id(n: usize) -> DeliveryId {
        DeliveryId::from_row(format!("whd_{n:04}"))
    }

    fn lane(window: usize) -> Lane {
        Lane::new(LaneSettings { window, ..Default::default() }, NOW)
    }

    /// An attempt ends and is recorded.
    fn end(lane: &mut Lane, id: &DeliveryId, delivered: bool, now: Timestamp) {
        lane.on_landed(delivered, now);
        lane.on_settled(id);
    }

    fn claimed(lane: &mut Lane, now: Timestamp) -> Vec<DeliveryId> {
        match lane.next(now) {
            Step::Claim(ids) => {
                for id in &ids {
                    lane.on_claimed(id.clone());
                }
                ids
            }
            other => panic!("expected a claim: {other:?}"),
        }
    }

    #[test]
    fn what_waits_for_its_record_presses_once_it_is_half_of_what_may_fly() {
        for (window, landed, presses) in [(1, 0, false), (1, 1, true), (8, 3, false), (8, 4, true)]
        {
            let mut lane = Lane::new(LaneSettings { window, ..LaneSettings::default() }, NOW);
            (0..landed).for_each(|_| lane.on_landed(true, NOW));
            assert_eq!(lane.record_is_pressing(), presses, "{landed} of {window}");
        }
    }

    #[test]
    fn the_window_bounds_what_flies() {
        let mut lane = lane(2);
        (0..5).for_each(|n| assert!(lane.on_due(id(n))));
        assert_eq!(claimed(&mut lane, NOW), [id(0), id(1)]);
        assert_eq!(lane.next(NOW), Step::Start(vec![id(0), id(1)]));
        assert_eq!(lane.next(NOW), Step::Idle);
        end(&mut lane, &id(0), true, NOW);
        assert_eq!(claimed(&mut lane, NOW.plus(SECOND)), [id(2)]);
    }

    #[test]
    fn publishes_wait_for_a_place_only_where_one_comes_free_at_once() {
        let mut lane = lane(4);
        assert_eq!(lane.patience(NOW), 0, "nothing ends");
        (0..3).for_each(|_| lane.on_landed(true, NOW));
        assert_eq!(lane.patience(NOW), 3);
        lane.on_due(id(1));
        assert_eq!(lane.patience(NOW), 2, "one came first");
        lane.on_more_in_rows();
        assert_eq!(lane.patience(NOW), 0, "nobody knows how many came first");
    }

    #[test]
    fn where_attempts_end_the_next_are_claimed_ahead_of_their_turn() {
        let mut lane = lane(2);
        (0..5).for_each(|n| assert!(lane.on_due(id(n))));
        assert_eq!(claimed(&mut lane, NOW), [id(0), id(1)]);
        assert_eq!(lane.next(NOW), Step::Start(vec![id(0), id(1)]));
        lane.on_landed(true, NOW);
        assert_eq!(claimed(&mut lane, NOW), [id(2)], "while the first is being recorded");
        assert_eq!(lane.next(NOW), Step::Start(vec![id(2)]));
        lane.on_settled(&id(0));
        assert_eq!(claimed(&mut lane, NOW), [id(3)]);
        assert_eq!(lane.next(NOW), Step::Idle, "two fly");
        lane.on_landed(true, NOW.plus(SECOND));
        assert_eq!(lane.next(NOW.plus(SECOND)), Step::Start(vec![id(3)]));
    }

    #[test]
    fn what_comes_twice_is_taken_once() {
        let mut lane = lane(64);
        lane.on_due(id(1));
        lane.on_due(id(1));
        assert_eq!(claimed(&mut lane, NOW), [id(1)]);
        lane.on_due(id(1));
        assert_eq!(lane.next(NOW), Step::Start(vec![id(1)]));
        assert!(!lane.on_handed_over(id(1)));
        assert_eq!(lane.next(NOW), Step::Idle);
    }

    #[test]
    fn a_full_queue_leaves_the_rest_in_the_rows() {
        let mut lane = lane(1);
        (0..LANE_QUEUE + 10).for_each(|n| assert_eq!(lane.on_due(id(n)), n < LANE_QUEUE));
        assert_eq!(lane.snapshot(NOW).waiting, LANE_QUEUE);
        assert!(lane.snapshot(NOW).more_in_rows);
        for n in 0..LANE_QUEUE - REFILL_BELOW + 1 {
            let now = NOW.plus(Duration::from_secs(n as u64));
            assert_eq!(claimed(&mut lane, now), [id(n)]);
            assert_eq!(lane.next(now), Step::Start(vec![id(n)]));
            end(&mut lane, &id(n), true, now);
        }
        let now = NOW.plus(SECOND * 3600);
        assert_eq!(claimed(&mut lane, now).len(), 1);
        assert!(matches!(lane.next(now), Step::Start(_)));
        assert_eq!(lane.next(now), Step::Refill);
        assert_eq!(lane.next(now), Step::Idle, "one refill at a time");
    }

    #[test]
    fn a_disabled_endpoint_parks_and_an_enabled_one_looks_into_the_rows() {
        let mut lane = lane(64);
        lane.on_due(id(1));
        claimed(&mut lane, NOW);
        lane.on_settings(LaneSettings { enabled: false, ..Default::default() }, NOW);
        assert_eq!(lane.next(NOW), Step::HandBack(vec![id(1)]));
        assert_eq!(lane.next(NOW), Step::Idle);
        assert!(lane.is_quiet(NOW));
        lane.on_due(id(2));
        assert!(lane.is_quiet(NOW), "what is due waits in the rows");
        lane.on_settings(LaneSettings::default(), NOW);
        assert_eq!(lane.next(NOW), Step::Refill);
    }

    #[test]
    fn an_open_breaker_starts_nothing_and_then_probes_with_one() {
        let mut lane = lane(64);
        (0..40).for_each(|n| assert!(lane.on_due(id(n))));
        let ids = claimed(&mut lane, NOW);
        assert!(matches!(lane.next(NOW), Step::Start(_)));
        let later = NOW.plus(Duration::from_secs(15));
        end(&mut lane, &ids[0], false, NOW);
        ids[1..].iter().for_each(|id| end(&mut lane, id, false, later));
        (40..50).for_each(|n| assert!(lane.on_due(id(n))));
        let probe_at = later.plus(Duration::from_secs(5));
        assert_eq!(lane.next(later), Step::Wait(probe_at));
        assert_eq!(claimed(&mut lane, probe_at).len(), 1);
        assert!(matches!(lane.next(probe_at), Step::Start(probe) if probe.len() == 1));
        assert_eq!(lane.next(probe_at), Step::Idle, "one probe at a time");
    }

    #[test]
    fn a_slow_rate_never_holds_a_claim_for_long() {
        for (rate, window, due) in [(1, 64, 200), (3, 64, 500), (10, 1024, 1000)] {
            let settings =
                LaneSettings { window, rate_limit_per_second: Some(rate), ..Default::default() };
            let mut lane = Lane::new(settings, NOW);
            (0..due).for_each(|n| assert!(lane.on_due(id(n))));
            let mut claimed_at = std::collections::HashMap::new();
            let (mut now, mut started) = (NOW, 0);
            while started < due {
                match lane.next(now) {
                    Step::Claim(ids) => {
                        for id in ids {
                            claimed_at.insert(id.clone(), now);
                            lane.on_claimed(id);
                        }
                    }
                    Step::Start(ids) => {
                        for id in ids {
                            let held = now.since(claimed_at[&id]);
                            assert!(held <= Duration::from_secs(2), "{rate}/s: held for {held:?}");
                            end(&mut lane, &id, true, now);
                            started += 1;
                        }
                    }
                    Step::Refill => lane.on_refilled(Vec::new(), now),
                    Step::Wait(later) => now = later,
                    other => panic!("{rate}/s, {started} of {due}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_lowered_window_and_a_new_rate_limit_want_lent_places_back() {
        for settings in [
            LaneSettings { window: 1, ..Default::default() },
            LaneSettings { rate_limit_per_second: Some(5), ..Default::default() },
        ] {
            let mut lane = lane(64);
            assert_eq!(lane.lend(NOW), 64);
            lane.on_settings(settings, NOW);
            assert!(lane.wants_recall(NOW), "{settings:?}");
        }
    }

    #[test]
    fn a_rate_limit_spreads_starts() {
        let settings = LaneSettings { rate_limit_per_second: Some(10), ..Default::default() };
        let mut lane = Lane::new(settings, NOW);
        (0..3).for_each(|n| assert!(lane.on_due(id(n))));
        claimed(&mut lane, NOW);
        assert_eq!(lane.next(NOW), Step::Start(vec![id(0)]));
        let Step::Wait(later) = lane.next(NOW) else { panic!("expected to wait") };
        assert_eq!(later.since(NOW), Duration::from_millis(100));
        assert_eq!(lane.next(later), Step::Start(vec![id(1)]));
        assert_eq!(lane.lend(NOW), 0, "a limited lane lends no place");
    }

    #[test]
    fn places_are_lent_while_calm_and_wanted_back_when_somebody_waits() {
        let mut lane = lane(4);
        assert_eq!(lane.lend(NOW), 4);
        assert_eq!(lane.lend(NOW), 0);
        assert!(!lane.wants_recall(NOW) && !lane.is_quiet(NOW));
        assert!(lane.on_handed_over(id(1)));
        assert_eq!(lane.next(NOW), Step::Start(vec![id(1)]));
        lane.on_due(id(2));
        assert!(lane.wants_recall(NOW));
        assert_eq!(lane.next(NOW), Step::Wait(NOW.plus(LENT_PLACES_RETURN)));
        lane.on_recalled(3);
        assert_eq!(claimed(&mut lane, NOW), [id(2)]);
    }

    #[test]
    fn a_full_lane_claims_nothing_until_an_attempt_ends() {
        let mut lane = lane(64);
        (0..80).for_each(|n| assert!(lane.on_due(id(n))));
        let ids = claimed(&mut lane, NOW);
        lane.on_full();
        assert_eq!(lane.next(NOW), Step::Start(ids.clone()));
        end(&mut lane, &ids[0], true, NOW);
        let now = NOW.plus(SECOND);
        assert_eq!(claimed(&mut lane, now), [id(64)]);
        lane.on_full();
        assert_eq!(lane.next(now), Step::Start(vec![id(64)]));
        assert_eq!(lane.next(now), Step::Idle);
        lane.on_abandoned(&ids[1]);
        assert_eq!(claimed(&mut lane, now), [id(65)]);
        let mut empty = self::lane(1);
        empty.on_due(id(1));
        empty.on_full();
        assert_eq!(claimed(&mut empty, NOW), [id(1)], "never full of nothing");
    }

    #[test]
    fn a_paused_lane_hands_back_and_drains() {
        let mut lane = lane(4);
        (0..3).for_each(|n| assert!(lane.on_due(id(n))));
        claimed(&mut lane, NOW);
        lane.pause();
        assert!(matches!(lane.next(NOW), Step::HandBack(ids) if ids.len() == 3));
        assert!(lane.is_drained());
    }

    #[test]
    fn a_full_lane_has_room_again_when_all_that_was_ready_is_revoked() {
        let mut lane = lane(2);
        lane.on_due(id(1));
        assert_eq!(lane.next(NOW), Step::Claim(vec![id(1)]));
        lane.on_claimed(id(1));
        lane.on_full();
        assert!(lane.on_revoked(&id(1)) && !lane.on_revoked(&id(1)));
        lane.on_due(id(2));
        assert_eq!(lane.next(NOW), Step::Claim(vec![id(2)]));
    }

    #[derive(Clone, Debug)]
    enum Input {
        Full,
        Revoke,
        Due(usize),
        DueInRows(usize),
        HandOver(usize),
        Settle(bool),
        Lend,
        Recall,
        Pause(u64),
        Enable(bool),
    }

    const LULL: Duration = SECOND;

    fn row((id, at): (&DeliveryId, &Timestamp)) -> Due {
        Due { at: *at, id: id.clone(), endpoint_id: EndpointId::from_row("whe_1".to_owned()) }
    }

    #[test]
    fn what_another_may_not_have_told_of_yet_is_left_in_the_rows_for_a_while() {
        let settings = LaneSettings { lull: LULL, ..Default::default() };
        let mut lane = Lane::new(settings, NOW);
        let rows = HashMap::from([
            (id(1), NOW.minus(LULL)),
            (id(2), NOW.minus(LULL / 2)),
            (id(3), NOW.minus(LULL / 2)),
        ]);
        // There was no room for the third one.
        lane.on_settings(LaneSettings { enabled: false, ..settings }, NOW);
        assert!(!lane.on_due(id(3)));
        lane.on_settings(settings, NOW);
        assert_eq!(lane.next(NOW), Step::Refill);
        lane.on_refilled(rows.iter().map(row).collect(), NOW);
        let mut taken = claimed(&mut lane, NOW);
        taken.sort();
        assert_eq!(taken, [id(1), id(3)]);
        assert!(matches!(lane.next(NOW), Step::Start(_)));
        assert_eq!(lane.next(NOW), Step::Wait(NOW.plus(LULL / 2)));
        let later = NOW.plus(LULL / 2);
        assert_eq!(lane.next(later), Step::Refill);
        lane.on_refilled(rows.iter().map(row).collect(), later);
        assert_eq!(claimed(&mut lane, later), [id(2)]);
    }

    #[test]
    fn a_page_of_what_is_left_for_a_while_is_not_read_again_at_once() {
        let mut lane = Lane::new(LaneSettings { lull: LULL, ..Default::default() }, NOW);
        lane.on_more_in_rows();
        assert_eq!(lane.next(NOW), Step::Refill);
        let rows: HashMap<_, _> = (0..LANE_QUEUE).map(|n| (id(n), NOW)).collect();
        lane.on_refilled(rows.iter().map(row).collect(), NOW);
        assert_eq!(lane.next(NOW), Step::Wait(NOW.plus(LULL)));
        assert!(!lane.is_quiet(NOW));
    }

    #[test]
    fn what_is_refused_while_the_rows_are_read_is_looked_for_again() {
        let mut lane = lane(8);
        lane.on_more_in_rows();
        assert_eq!(lane.next(NOW), Step::Refill);
        (0..=LANE_QUEUE).for_each(|n| assert_eq!(lane.on_due(id(n)), n < LANE_QUEUE));
        lane.on_refilled(Vec::new(), NOW);
        assert!(lane.snapshot(NOW).more_in_rows);
    }

    proptest! {
        #[test]
        fn no_input_sequence_flies_more_than_the_window_or_loses_a_delivery(
            window in 1usize..8,
            inputs in prop::collection::vec(prop_oneof![
                (0usize..40).prop_map(Input::Due),
                (40usize..60).prop_map(Input::DueInRows),
                (100usize..140).prop_map(Input::HandOver),
                any::<bool>().prop_map(Input::Settle),
                any::<bool>().prop_map(Input::Settle),
                Just(Input::Lend),
                Just(Input::Full),
                Just(Input::Revoke),
                Just(Input::Recall),
                (1u64..20_000).prop_map(Input::Pause),
                prop::bool::weighted(0.9).prop_map(Input::Enable),
            ], 0..200),
        ) {
            let mut now = NOW;
            let settings = LaneSettings { window, lull: LULL, ..Default::default() };
            let mut lane = Lane::new(settings, now);
            let mut flying: Vec<DeliveryId> = Vec::new();
            let mut due: HashMap<DeliveryId, Timestamp> = HashMap::new();
            for input in inputs {
                match input {
                    Input::Due(n) => { due.insert(id(n), now); lane.on_due(id(n)); }
                    Input::DueInRows(n) => { due.insert(id(n), now); lane.on_more_in_rows(); }
                    Input::HandOver(n) if lane.lent > 0 => { lane.on_handed_over(id(n)); }
                    Input::HandOver(_) => {}
                    Input::Settle(delivered) => if let Some(id) = flying.pop() {
                        due.remove(&id);
                        end(&mut lane, &id, delivered, now);
                    },
                    Input::Full => lane.on_full(),
                    Input::Revoke => if let Some(id) = lane.ready.front().cloned() {
                        assert!(lane.on_revoked(&id));
                        due.remove(&id);
                    },
                    Input::Lend => { lane.lend(now); }
                    Input::Recall => { let lent = lane.lent; lane.on_recalled(lent); }
                    Input::Pause(ms) => now = now.plus(Duration::from_millis(ms)),
                    Input::Enable(enabled) => lane.on_settings(LaneSettings { enabled, ..settings }, now),
                }
                for _ in 0..100 {
                    match lane.next(now) {
                        Step::Claim(ids) => for id in ids {
                            prop_assert!(!flying.contains(&id));
                            lane.on_claimed(id);
                        },
                        Step::Start(ids) => flying.extend(ids),
                        Step::HandBack(ids) => ids.into_iter().for_each(|id| { lane.on_due(id); }),
                        Step::Refill => {
                            let rows = due.iter().filter(|(id, _)| !flying.contains(id));
                            lane.on_refilled(rows.map(row).collect(), now);
                        }
                        Step::Wait(later) => { prop_assert!(later > now); break }
                        Step::Idle => break,
                    }
                }
                prop_assert!(flying.len() <= window, "{} fly, {window} may", flying.len());
            }
            // Whatever is due gets its turn once all is well again.
            lane.on_settings(settings, now);
            let lent = lane.lent;
            lane.on_recalled(lent);
            for _ in 0..2_000 {
                match lane.next(now) {
                    Step::Claim(ids) => ids.into_iter().for_each(|id| lane.on_claimed(id)),
                    Step::Start(ids) => flying.extend(ids),
                    Step::HandBack(ids) => ids.into_iter().for_each(|id| { lane.on_due(id); }),
                    Step::Refill => {
                        let rows = due.iter().filter(|(id, _)| !flying.contains(id));
                        lane.on_refilled(rows.map(row).collect(), now);
                    }
                    Step::Wait(later) => now = later,
                    Step::Idle => match flying.pop() {
                        Some(id) => { due.remove(&id); end(&mut lane, &id, true, now); }
                        None => break,
                    },
                }
            }
            prop_assert!(due.is_empty(), "left behind: {due:?}");
        }
    }
}
