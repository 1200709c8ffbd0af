//! Eviction: which key goes when `maxmemory` is reached, by the eight policies of Redis
//! (<https://redis.io/docs/latest/develop/reference/eviction/>). LRU and LFU are approximated from samples; the best
//! candidates are remembered from one eviction to the next.

use super::Server;
use super::dispatch::Origin;
use crate::command::Event;
use crate::config::types::EvictionPolicy;
use crate::io::Io;
use crate::store::keyspace::KeyEntry;

/// Keys removed for the sake of one command, at the default of `maxmemory-eviction-tenacity`; more go with the next
/// ones and with the ticks.
const KEYS_PER_COMMAND: f64 = 64.0;
/// The default of `maxmemory-eviction-tenacity`: below it the keys are fewer in proportion, …
const TENACITY: f64 = 10.0;
/// … above it more by this factor for each step, …
const TENACITY_GROWTH: f64 = 1.15;
/// … and here there is no limit.
const TENACITY_MAX: u32 = 100;
/// Candidates that are remembered (as Redis' EVPOOL_SIZE).
const POOL: usize = 16;

/// A key that may go.
#[derive(Debug)]
struct Candidate {
    /// The larger, the better it may be spared.
    score: u64,
    db: usize,
    key: Box<[u8]>,
}

/// What is remembered between evictions.
#[derive(Debug, Default)]
pub struct Evictor {
    /// Ascending scores.
    pool: Vec<Candidate>,
    /// Database that a random key was last taken from.
    last_db: usize,
}

impl Evictor {
    fn offer(&mut self, score: u64, db: usize, key: &[u8]) {
        if self.pool.iter().any(|c| c.db == db && *c.key == *key) {
            return;
        }
        if self.pool.len() == POOL {
            if self.pool[0].score >= score {
                return;
            }
            self.pool.remove(0);
        }
        let at = self.pool.partition_point(|c| c.score < score);
        self.pool.insert(at, Candidate { score, db, key: key.into() });
    }
}

impl EvictionPolicy {
    /// Only keys with an expiry may go.
    fn volatile_only(self) -> bool {
        use EvictionPolicy::{VolatileLfu, VolatileLru, VolatileRandom, VolatileTtl};
        matches!(self, VolatileLfu | VolatileLru | VolatileRandom | VolatileTtl)
    }
}

/// Most keys removed for the sake of one command.
fn keys_per_command(tenacity: u32) -> u64 {
    let t = f64::from(tenacity);
    match tenacity {
        TENACITY_MAX.. => u64::MAX,
        _ if t <= TENACITY => (KEYS_PER_COMMAND * t / TENACITY).max(1.0) as u64,
        _ => (KEYS_PER_COMMAND * TENACITY_GROWTH.powf(t - TENACITY)) as u64,
    }
}

impl Server {
    /// Evicts keys by `maxmemory-policy` until `maxmemory` is kept, or for one command's share of the work; false if
    /// there is nothing that may go.
    pub(super) fn evict(&mut self, io: &mut Io) -> bool {
        let began = self.latency_start();
        let evicted = self.evict_some(io);
        self.latency_end("eviction-cycle", began);
        evicted
    }

    fn evict_some(&mut self, io: &mut Io) -> bool {
        let mut evicted = false;
        for _ in 0..keys_per_command(self.config.maxmemory_eviction_tenacity) {
            if self.memory_over_limit(io) == 0 {
                break;
            }
            let Some((db, key)) = self.victim() else { return evicted || self.frees_in_background(io) };
            self.evict_key(db, &key);
            // Each by itself: nothing says that they belong together.
            self.after_unit(io);
            evicted = true;
        }
        self.frees_in_background(io);
        true
    }

    /// Values that were set aside count until they have been freed: that is done now. True if there were any.
    fn frees_in_background(&mut self, io: &mut Io) -> bool {
        let any = !self.lazy.is_empty();
        if any {
            self.free_garbage(io);
        }
        any
    }

    /// The key that is to go next.
    fn victim(&mut self) -> Option<(usize, Vec<u8>)> {
        use EvictionPolicy::{AllkeysRandom, Noeviction, VolatileRandom, VolatileTtl};
        match self.config.maxmemory_policy {
            Noeviction => None,
            AllkeysRandom | VolatileRandom => self.random_victim(),
            VolatileTtl => {
                let soonest = (0..self.keyspace.databases())
                    .filter_map(|db| self.keyspace.soonest(db).map(|e| (e.expire_at(), db, e)))
                    .min_by_key(|(at, ..)| *at);
                soonest.map(|(_, db, e)| (db, e.key().to_vec()))
            }
            _ => self.sampled_victim(),
        }
    }

    fn sample(&mut self, db: usize) -> Option<&KeyEntry> {
        if self.config.maxmemory_policy.volatile_only() {
            self.keyspace.random_volatile(db, &mut self.rng)
        } else {
            self.keyspace.random(db, &mut self.rng)
        }
    }

    /// A random key, of each database in turn.
    fn random_victim(&mut self) -> Option<(usize, Vec<u8>)> {
        for _ in 0..self.keyspace.databases() {
            let db = (self.evictor.last_db + 1) % self.keyspace.databases();
            self.evictor.last_db = db;
            if let Some(e) = self.sample(db) {
                return Some((db, e.key().to_vec()));
            }
        }
        None
    }

    /// The best candidate after some new ones of each database have been looked at.
    fn sampled_victim(&mut self) -> Option<(usize, Vec<u8>)> {
        let volatile_only = self.config.maxmemory_policy.volatile_only();
        for db in 0..self.keyspace.databases() {
            for _ in 0..self.config.maxmemory_samples {
                let Some(e) = self.sample(db) else { break };
                let (key, stamp): (Box<[u8]>, u32) = (e.key().into(), e.access().get());
                let score = self.spare_score(stamp);
                self.evictor.offer(score, db, &key);
            }
        }
        while let Some(c) = self.evictor.pool.pop() {
            let there = self.keyspace.peek(c.db, &c.key);
            if there.is_some_and(|e| !volatile_only || e.expire_at().is_some()) {
                return Some((c.db, c.key.into()));
            }
        }
        None
    }

    /// How well a key with this stamp may be spared.
    fn spare_score(&self, stamp: u32) -> u64 {
        if self.config.maxmemory_policy.is_lfu() {
            255 - u64::from(self.access_clock.frequency(stamp, &self.config))
        } else {
            u64::from(self.access_clock.idle_seconds(stamp))
        }
    }

    fn evict_key(&mut self, db: usize, key: &[u8]) {
        let began = self.latency_start();
        let Some(entry) = self.keyspace.remove(db, key) else { return };
        let lazy = self.config.lazyfree_lazy_eviction;
        self.stats.evicted_keys += 1;
        self.effects.dirty += 1;
        let name: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
        self.add_effect(db, &[name, key], Origin::Client);
        self.key_changed(db, key, None);
        self.events.push((Event::Evicted, "evicted", db, key.into()));
        let (_, value, _) = entry.into_parts();
        self.signal_gone(db, key, &value);
        self.discard(value, lazy);
        self.latency_end("eviction-del", began);
    }

    /// Forgets candidates: they were chosen by another policy.
    pub fn forget_candidates(&mut self) {
        self.evictor.pool.clear();
    }
}

#[cfg(test)]
#[path = "eviction_tests.rs"]
mod tests;
