//! Whether the loop, where nothing is left to be done, looks for events a little longer before it sleeps.
//!
//! To fall asleep and to be woken takes longer than most commands do. Where the next request comes in less than that, it
//! is cheaper for all to wait for it awake. That is found out by trying: as long as most tries have been worth it, the
//! loop goes on so, and else it tries now and then.

use std::time::Duration;

/// The loop stays awake no longer than this.
pub(super) const LONGEST: Duration = Duration::from_micros(25);
/// It tries again after it has gone to sleep so often.
const SLEEPS: u32 = 100;
/// So many misses end a long row of hits: a miss counts as two hits.
const MISSES: u32 = 8;

/// What tries have been worth lately.
#[derive(Debug, Default)]
pub(super) struct Spin {
    credit: u32,
    slept: u32,
}

impl Spin {
    /// Whether to stay awake this time.
    pub(super) fn tries(&mut self) -> bool {
        if self.credit > 0 {
            return true;
        }
        self.slept += 1;
        let again = self.slept >= SLEEPS;
        if again {
            self.slept = 0;
        }
        again
    }

    /// Something came while the loop was awake, or nothing did.
    pub(super) fn note(&mut self, came: bool) {
        self.credit = match came {
            true => (self.credit + 1).min(2 * MISSES),
            false => self.credit.saturating_sub(2),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often of `rounds` the loop stays awake where something comes in time in `hits` of ten.
    fn awake(rounds: u32, hits: u32) -> u32 {
        let mut spin = Spin::default();
        // Spread evenly.
        (0..rounds).filter(|i| spin.tries().then(|| spin.note(i * 7 % 10 < hits)).is_some()).count() as u32
    }

    #[test]
    fn stays_awake_where_that_is_mostly_worth_it() {
        assert_eq!(awake(100_000, 0), 100_000 / SLEEPS);
        assert!(awake(100_000, 3) < 5_000);
        assert!(awake(100_000, 9) > 95_000);
        assert!(awake(100_000, 10) > 99_800);
    }

    #[test]
    fn gives_up_soon_and_begins_again_soon() {
        let mut spin = Spin::default();
        let mut slept = 0;
        while !spin.tries() {
            slept += 1;
        }
        assert_eq!(slept, SLEEPS - 1);
        (0..1000).for_each(|_| spin.note(true));
        for _ in 0..MISSES {
            assert!(spin.tries());
            spin.note(false);
        }
        assert!(!spin.tries());
    }
}
