//! A histogram of durations: buckets that grow with the value, so that any duration is known to about six per cent.

use std::time::Duration;

/// Buckets per doubling.
const STEPS: u64 = 16;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Longest duration told apart from longer ones, nanoseconds (as Redis: one second).
const MAX_NANOS: u64 = 1_000_000_000;
const BUCKETS: usize = bucket(MAX_NANOS) + 1;

/// The bucket of a number of nanoseconds.
const fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - STEP_BITS;
    (shift as u64 * STEPS + (nanos >> shift)) as usize
}

/// The largest number of nanoseconds in a bucket.
const fn upper(bucket: usize) -> u64 {
    let b = bucket as u64;
    if b < STEPS {
        return b;
    }
    let shift = b / STEPS - 1;
    ((b % STEPS + STEPS + 1) << shift) - 1
}

/// Counts of durations.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[u32]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS].into(), total: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, took: Duration) {
        let nanos = (took.as_nanos() as u64).clamp(1, MAX_NANOS);
        let count = &mut self.counts[bucket(nanos)];
        *count = count.saturating_add(1);
        self.total += 1;
    }

    /// Number of durations.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The duration, in nanoseconds, that this many per cent do not exceed.
    pub fn percentile(&self, percent: f64) -> u64 {
        let rank = ((percent / 100.0 * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (i, &n) in self.counts.iter().enumerate() {
            seen += u64::from(n);
            if seen >= rank {
                return upper(i);
            }
        }
        0
    }

    /// For each power of two of microseconds up to the longest duration: how many did not exceed it. Powers at which
    /// nothing is added are left out.
    pub fn cumulative_micros(&self) -> Vec<(u64, u64)> {
        let mut points = Vec::new();
        let (mut seen, mut i, mut limit) = (0, 0, 1);
        while i < self.counts.len() && seen < self.total {
            let before = seen;
            while i < self.counts.len() && upper(i) <= limit * 1024 {
                seen += u64::from(self.counts[i]);
                i += 1;
            }
            if seen > before {
                points.push((limit, seen));
            }
            limit *= 2;
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_hold_their_numbers() {
        let mut last = 0;
        for nanos in (0..5000).chain((5000..MAX_NANOS).step_by(777_777)) {
            let b = bucket(nanos);
            assert!(b >= last && b < BUCKETS);
            assert!(upper(b) >= nanos && (upper(b) - nanos) * 16 <= nanos.max(1), "{nanos}");
            last = b;
        }
    }

    #[test]
    fn percentiles_are_those_of_the_durations() {
        let mut h = Histogram::default();
        (1..=1000).for_each(|us| h.add(Duration::from_micros(us)));
        for (percent, us) in [(50.0, 500.0), (99.0, 990.0), (100.0, 1000.0)] {
            let found = h.percentile(percent) as f64 / 1000.0;
            assert!((found / us - 1.0).abs() < 0.07, "{percent}: {found}");
        }
        let points = h.cumulative_micros();
        assert_eq!(points.last().unwrap().1, 1000);
        assert!(points.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
    }
}
