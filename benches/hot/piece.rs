//! A piece of the hot path: its inputs are made ahead, so that only what is done with them is measured.

use std::time::{Duration, Instant};

/// Deliveries whose inputs are held at once.
const AHEAD: usize = 4096;

/// What is measured.
pub trait Piece {
    /// What one run uses up.
    type Input;

    /// Makes the input of one run; not measured.
    fn input(&mut self) -> Self::Input;

    /// Runs once.
    fn run(&mut self, input: Self::Input);
}

/// Runs of any piece.
pub trait Runs {
    /// How long `times` runs of `items` each took, without their preparation.
    fn time(&mut self, times: u64, items: usize) -> Duration;

    /// Prepares for `prepared` runs and does `times` of them: of two such calls only what the runs did
    /// differs.
    fn run(&mut self, times: usize, prepared: usize);
}

impl<P: Piece> Runs for P {
    fn time(&mut self, times: u64, items: usize) -> Duration {
        let (mut took, mut left) = (Duration::ZERO, times);
        while left > 0 {
            let some = left.min((AHEAD / items).max(1) as u64);
            let inputs: Vec<_> = (0..some).map(|_| self.input()).collect();
            let started = Instant::now();
            inputs.into_iter().for_each(|input| Piece::run(self, input));
            took += started.elapsed();
            left -= some;
        }
        took
    }

    fn run(&mut self, times: usize, prepared: usize) {
        let mut inputs: Vec<_> = (0..prepared).map(|_| self.input()).collect();
        let unused = inputs.split_off(times);
        inputs.into_iter().for_each(|input| Piece::run(self, input));
        // Dropping an input belongs to its run.
        std::mem::forget(unused);
    }
}

/// How often a piece is run to be counted: the difference is what is told.
#[derive(Clone, Copy)]
pub struct Counted {
    pub few: usize,
    pub many: usize,
}

/// A piece that can be asked for.
pub struct Entry {
    pub group: &'static str,
    pub name: String,
    /// Deliveries, or what else is told of, in one run.
    pub items: usize,
    /// None where another process has its share in the work.
    pub counted: Option<Counted>,
    make: Box<dyn Fn() -> Box<dyn Runs>>,
}

impl Entry {
    pub fn new<P: Piece + 'static>(
        group: &'static str,
        name: impl Into<String>,
        items: usize,
        make: impl Fn() -> P + 'static,
    ) -> Self {
        let make = Box::new(move || Box::new(make()) as Box<dyn Runs>);
        Self { group, name: name.into(), items, counted: None, make }
    }

    pub fn counted(self, few: usize, many: usize) -> Self {
        Self { counted: Some(Counted { few, many }), ..self }
    }

    pub fn full_name(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    pub fn make(&self) -> Box<dyn Runs> {
        (self.make)()
    }

    /// Prepares for as many runs as are ever counted, and does `times` of them.
    pub fn run_to_be_counted(&self, times: usize) {
        let Counted { many, .. } = self.counted.expect("it can be counted");
        assert!(times <= many, "at most {many} times");
        self.make().run(times, many);
    }
}
