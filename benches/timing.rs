//! How long two keyed hashes take to compare says nothing of where they differ: Welch's t over samples of
//! a guess that is wrong from its first digit on, and of one that is wrong in its last alone. The same is
//! measured of `==`, to show what the measurement can see. `cargo bench --bench timing`

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::time::Instant;

use hookseal::crypto::is_same_hash;

const SAMPLES: usize = 100_000;
/// Comparisons of one sample: a single one is shorter than the clock's resolution.
const REPEATED: usize = 64;
/// Of all samples the slowest are left out: they tell of the machine.
const KEPT: f64 = 0.95;
/// Beyond it the two classes differ, with a certainty of about 1 in 100,000 of being wrong.
const T_MOST: f64 = 4.5;

fn main() {
    let constant = t_of(is_same_hash);
    let plain = t_of(|one, other| one == other);
    println!("{SAMPLES} samples a class, {REPEATED} comparisons each, slowest 5 % left out");
    println!("{:>14} {:>10}", "comparison", "Welch's t");
    println!("{:>14} {constant:>10.2}", "is_same_hash");
    println!("{:>14} {plain:>10.2}", "==");
    assert!(constant.abs() < T_MOST, "the time tells where they differ");
}

fn t_of(same: impl Fn(&str, &str) -> bool) -> f64 {
    let hash = "0123456789abcdef".repeat(4);
    let first = format!("f{}", &hash[1..]);
    let last = format!("{}0", &hash[..63]);
    let mut times = [Vec::with_capacity(SAMPLES), Vec::with_capacity(SAMPLES)];
    for _ in 0..2 * SAMPLES {
        // In an order that follows nothing else.
        let class = rand::random_range(0..2);
        let class = if times[class].len() < SAMPLES { class } else { 1 - class };
        let guess = [&first, &last][class];
        let started = Instant::now();
        for _ in 0..REPEATED {
            black_box(same(black_box(&hash), black_box(guess)));
        }
        times[class].push(started.elapsed().as_nanos() as f64);
    }
    let mut all = times.concat();
    all.sort_unstable_by(f64::total_cmp);
    let bound = all[(all.len() as f64 * KEPT) as usize];
    let [(a, a_variance), (b, b_variance)] = times.map(|mut times| {
        times.retain(|&time| time <= bound);
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let spread: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
        (mean, spread / (count - 1.0) / count)
    });
    (a - b) / (a_variance + b_variance).sqrt()
}
