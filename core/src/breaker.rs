//! One endpoint's circuit breaker: when to stop trying, when to probe, how to come back. Pure.
//!
//! ```text
//! closed ──20 failures in a row over 10 s──▶ open ──pause over──▶ probing
//!   ▲                                         ▲ ▲                  │   │
//!   │                                         │ └──────failure─────┘   │ success
//!   │                                         └─failure at one─┐       │
//!   └──── ramp reaches the window ──────────────────────── ramping ◀───┘
//! ```
//! While ramping a success adds a place and a failure halves them.

use std::time::Duration;

use crate::time::Timestamp;

/// Failures in a row that open the breaker …
const FAILURES: u32 = 20;
/// … once they have gone on for this long: a burst of failures at one instant is not an outage.
const SUSTAINED: Duration = Duration::from_secs(10);
/// The first pause; it doubles with every failed probe.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32, since: Option<Timestamp> },
    Open { until: Timestamp, pause: Duration },
    Probing { pause: Duration },
    Ramping { allowance: usize, pause: Duration },
}

/// How many attempts may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// As many as the endpoint's window.
    Window,
    /// So many.
    Few(usize),
    /// None before this instant.
    NoneUntil(Timestamp),
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed { failures: 0, since: None } }
    }
}

impl Breaker {
    /// How many attempts may be in flight at `now`.
    pub fn allowance(&mut self, now: Timestamp) -> Allowance {
        match self.state {
            State::Closed { .. } => Allowance::Window,
            State::Open { until, .. } if now < until => Allowance::NoneUntil(until),
            State::Open { pause, .. } => {
                self.state = State::Probing { pause };
                Allowance::Few(1)
            }
            State::Probing { .. } => Allowance::Few(1),
            State::Ramping { allowance, .. } => Allowance::Few(allowance),
        }
    }

    /// Whether attempts flow as if nothing had happened.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether no attempt may start at `now`.
    pub fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.state, State::Open { until, .. } if now < until)
    }

    /// An attempt delivered.
    pub fn on_success(&mut self, window: usize) {
        self.state = match self.state {
            State::Closed { .. } => State::Closed { failures: 0, since: None },
            // An attempt that began before the breaker opened says nothing of now.
            State::Open { until, pause } => State::Open { until, pause },
            State::Probing { .. } => State::Ramping { allowance: 2, pause: PAUSE_MIN },
            State::Ramping { allowance, .. } if allowance >= window => {
                State::Closed { failures: 0, since: None }
            }
            // One more place for each success doubles the flow with every round of answers.
            State::Ramping { allowance, pause } => {
                State::Ramping { allowance: allowance + 1, pause }
            }
        };
    }

    /// An attempt failed at `now`.
    pub fn on_failure(&mut self, now: Timestamp) {
        self.state = match self.state {
            State::Closed { failures, since } => {
                let since = since.unwrap_or(now);
                let failures = failures.saturating_add(1);
                if failures >= FAILURES && now.since(since) >= SUSTAINED {
                    State::Open { until: now.plus(PAUSE_MIN), pause: PAUSE_MIN }
                } else {
                    State::Closed { failures, since: Some(since) }
                }
            }
            // An attempt that began before the breaker opened says nothing new.
            State::Open { until, pause } => State::Open { until, pause },
            // Some deliveries fail at any receiver: the flow is halved, and stops only at one.
            State::Ramping { allowance, pause } if allowance > 1 => {
                State::Ramping { allowance: allowance / 2, pause }
            }
            State::Ramping { pause, .. } => State::Open { until: now.plus(pause), pause },
            State::Probing { pause } => {
                let pause = (pause * 2).min(PAUSE_MAX);
                State::Open { until: now.plus(pause), pause }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_ms(0).plus(Duration::from_secs(secs))
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES - 1 {
            breaker.on_failure(at(0));
        }
        breaker.on_failure(at(10));
        breaker
    }

    #[test]
    fn only_sustained_failure_opens_it() {
        let mut burst = Breaker::default();
        for _ in 0..1000 {
            burst.on_failure(at(0));
        }
        assert!(burst.is_closed(), "one bad instant");
        let mut rare = Breaker::default();
        for s in 0..FAILURES - 1 {
            rare.on_failure(at(u64::from(s) * 100));
        }
        assert!(rare.is_closed(), "too few");
        rare.on_success(64);
        for _ in 0..FAILURES - 1 {
            rare.on_failure(at(9_999));
        }
        assert!(rare.is_closed(), "a success in between starts the count again");
        assert_eq!(opened().allowance(at(10)), Allowance::NoneUntil(at(15)));
    }

    #[test]
    fn it_probes_with_one_and_doubles_its_pause() {
        let mut breaker = opened();
        let mut now = 15;
        for pause in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(breaker.allowance(at(now)), Allowance::Few(1));
            breaker.on_failure(at(now));
            assert_eq!(breaker.allowance(at(now)), Allowance::NoneUntil(at(now + pause)));
            now += pause;
        }
    }

    #[test]
    fn a_successful_probe_ramps_up_to_the_window() {
        let mut breaker = opened();
        breaker.allowance(at(15));
        let mut allowances = Vec::new();
        while !breaker.is_closed() {
            breaker.on_success(5);
            if let Allowance::Few(few) = breaker.allowance(at(15)) {
                allowances.push(few);
            }
        }
        assert_eq!(allowances, [2, 3, 4, 5]);
        assert_eq!(breaker.allowance(at(15)), Allowance::Window);
    }

    #[test]
    fn failures_while_ramping_halve_the_flow_and_stop_it_at_one() {
        let mut breaker = opened();
        breaker.allowance(at(15));
        for _ in 0..7 {
            breaker.on_success(64);
        }
        let mut allowances = vec![breaker.allowance(at(16))];
        for _ in 0..4 {
            breaker.on_failure(at(16));
            allowances.push(breaker.allowance(at(16)));
        }
        use Allowance::{Few, NoneUntil};

        assert_eq!(allowances, [Few(8), Few(4), Few(2), Few(1), NoneUntil(at(21))]);
    }

    #[test]
    fn a_receiver_that_fails_one_in_twenty_closes_it_again() {
        let mut breaker = opened();
        breaker.allowance(at(15));
        for n in 1..20_000 {
            match breaker.allowance(at(16)) {
                Allowance::Window => return,
                Allowance::Few(_) if n % 20 == 0 => breaker.on_failure(at(16)),
                Allowance::Few(_) => breaker.on_success(16),
                Allowance::NoneUntil(_) => panic!("it opened again"),
            }
        }
        panic!("it never closed");
    }

    #[test]
    fn old_answers_say_nothing_while_it_is_open() {
        let mut breaker = opened();
        breaker.on_success(64);
        breaker.on_failure(at(11));
        assert_eq!(breaker.allowance(at(11)), Allowance::NoneUntil(at(15)));
    }
}
