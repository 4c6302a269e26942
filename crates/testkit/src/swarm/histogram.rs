//! Many latencies in little room: a count for each of some thousand steps, each 1.6 % wide.
//!
//! Any number of threads add at once. It keeps true that the largest value is kept exactly, and that a percentile is never
//! smaller than what it stands for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Steps in each doubling.
const STEPS: u64 = 64;
/// From a microsecond to more than a day.
const DOUBLINGS: u64 = 32;

/// How often which latency was measured.
#[derive(Debug)]
pub struct Histogram {
    counts: Vec<AtomicU64>,
    most: AtomicU64,
    total: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = (0..STEPS * DOUBLINGS).map(|_| AtomicU64::new(0)).collect();
        Self { counts, most: AtomicU64::new(0), total: AtomicU64::new(0) }
    }
}

/// The step of a number of microseconds: exact below `STEPS`, then `STEPS` to each doubling.
fn step_of(micros: u64) -> u64 {
    if micros < STEPS {
        return micros;
    }
    let doubling = micros.ilog2() - STEPS.ilog2();
    (u64::from(doubling) * STEPS + (micros >> doubling)).min(STEPS * DOUBLINGS - 1)
}

/// The largest number of microseconds of a step.
fn end_of(step: u64) -> u64 {
    let doubling = (step / STEPS).saturating_sub(1);
    ((step - doubling * STEPS + 1) << doubling) - 1
}

impl Histogram {
    /// Adds one.
    pub fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let step = usize::try_from(step_of(micros)).unwrap_or(0);
        self.counts[step].fetch_add(1, Ordering::Relaxed);
        self.most.fetch_max(micros, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The largest.
    pub fn most(&self) -> Duration {
        Duration::from_micros(self.most.load(Ordering::Relaxed))
    }

    /// What this many of a hundred do not exceed; none of nothing.
    pub fn percentile(&self, of_hundred: u64) -> Option<Duration> {
        let wanted = (self.count() * of_hundred).div_ceil(100).max(1);
        let mut seen = 0;
        for (step, count) in (0..).zip(&self.counts) {
            seen += count.load(Ordering::Relaxed);
            if seen >= wanted {
                return Some(Duration::from_micros(end_of(step)).min(self.most()));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_within_its_step_and_steps_are_narrow() {
        let mut before = 0;
        for micros in (0..5_000).chain((1..4_000).map(|number| number * 12_345)) {
            let step = step_of(micros);
            let end = end_of(step);
            assert!(end >= micros && end - micros <= micros / 32, "{micros} ends at {end}");
            if micros < 5_000 {
                assert!(step >= before && step <= before + 1);
                before = step;
            }
        }
        assert_eq!(step_of(u64::MAX), STEPS * DOUBLINGS - 1);
    }

    #[test]
    fn percentiles_are_close_from_above_and_the_largest_is_exact() {
        let histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), None);
        (1..=1_000).for_each(|millis| histogram.add(Duration::from_millis(millis)));
        let half = histogram.percentile(50).unwrap();
        assert!(half >= Duration::from_millis(500) && half < Duration::from_millis(510), "{half:?}");
        assert_eq!(histogram.percentile(100), Some(Duration::from_secs(1)));
        assert_eq!((histogram.most(), histogram.count()), (Duration::from_secs(1), 1_000));
    }
}
