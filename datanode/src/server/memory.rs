//! Memory: how much is in use, making room under `maxmemory`, and freeing what is large elsewhere.

use super::{JobKind, Server};
use crate::config::Config;
use crate::config::types::EvictionPolicy;
use crate::io::{ConnId, Io, Lane, Now, Output};
use crate::store::rng::Rng;
use crate::store::value::Value;

/// Values that take more allocations than this to free are freed in the background where lazy freeing is asked for
/// (Redis' LAZYFREE_THRESHOLD).
const LAZY_EFFORT: usize = 64;
/// Buffers that are used again and again may stay as large as this, bytes.
const KEPT_BUFFER: usize = 16 * 1024;
/// How long nothing is evicted because flushed databases are still being freed, milliseconds.
const FLUSH_PATIENCE_MS: u64 = 1000;

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

    /// The stamp of a key that has not been used for `idle` seconds, or `frequency` times (logarithmically): whichever
    /// the policy goes by, if it is given.
    pub fn stamp(&self, config: &Config, idle: Option<u32>, frequency: Option<u8>) -> Option<u32> {
        match config.maxmemory_policy.is_lfu() {
            true => frequency.map(|f| (self.minutes & 0xffff) << 8 | u32::from(f)),
            false => idle.map(|seconds| self.seconds.saturating_sub(seconds)),
        }
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

/// Flushed databases that are being freed in the background.
#[derive(Debug, Default)]
pub struct Flushes {
    running: usize,
    /// When the first of them began, monotonic milliseconds.
    since_ms: u64,
}

impl Flushes {
    fn begin(&mut self, now_ms: u64) {
        if self.running == 0 {
            self.since_ms = now_ms;
        }
        self.running += 1;
    }

    /// One has been freed.
    pub fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    fn are_new(&self, now_ms: u64) -> bool {
        self.running > 0 && now_ms < self.since_ms + FLUSH_PATIENCE_MS
    }
}

impl Server {
    /// Frees a value: in the background where it is large and `lazy` is set.
    pub fn discard(&mut self, value: Value, lazy: bool) {
        if lazy && value.free_effort() > LAZY_EFFORT {
            self.lazy.push(value);
        }
    }

    /// Gives back what buffers took for a request or reply of unusual size.
    pub(super) fn shrink_buffers(&mut self) {
        for buffer in [&mut self.scratch, &mut self.unit, &mut self.apply_sink] {
            if buffer.capacity() > KEPT_BUFFER {
                *buffer = Vec::new();
            }
        }
        self.ahead.shrink(KEPT_BUFFER);
    }

    /// Hands what was set aside to the background.
    pub(super) fn free_garbage(&mut self, io: &mut Io) {
        let (values, tables) = (std::mem::take(&mut self.lazy), self.keyspace.take_garbage());
        if values.is_empty() && tables.is_empty() {
            return;
        }
        self.stats.lazyfreed_objects += values.len() as u64;
        let flushed = !tables.is_empty();
        if flushed {
            self.flushes.begin(io.now.mono_ms());
        }
        let kind = if flushed { JobKind::Flush } else { JobKind::Quiet };
        self.background(io, Lane::Free, kind, move || {
            drop(values);
            drop(tables);
            Ok(0)
        });
    }

    /// Looks at the memory in use.
    pub(super) fn refresh_memory(&mut self) {
        self.used_memory = crate::server::alloc::in_use();
        self.peak_memory = self.peak_memory.max(self.used_memory);
    }

    /// Evicts keys until `maxmemory` is kept; false if it can't be.
    pub(crate) fn make_room(&mut self, io: &mut Io) -> bool {
        // A replica's memory is its master's business; and while writes are paused the data must not change.
        let leave = !self.is_master() && self.config.replica_ignore_maxmemory;
        if self.config.maxmemory == 0 || leave || self.loading || self.paused(io.now) {
            return true;
        }
        if self.memory_over_limit(io) == 0 {
            return true;
        }
        // Clients that take more than they may go before any key does.
        self.evict_clients(io);
        if self.memory_over_limit(io) == 0 {
            return true;
        }
        // What has been flushed counts until it is freed: no key that came afterwards has to go for it.
        self.free_garbage(io);
        let evicts = self.config.maxmemory_policy != EvictionPolicy::Noeviction;
        (evicts && self.flushes.are_new(io.now.mono_ms())) || self.evict(io)
    }

    /// Bytes beyond `maxmemory`. What a replica or the append-only file has not taken yet does not count: evicting keys
    /// would only make it more.
    pub(super) fn memory_over_limit(&mut self, io: &mut Io) -> u64 {
        self.refresh_memory();
        let over = self.used_memory.saturating_sub(self.config.maxmemory);
        if over == 0 { 0 } else { over.saturating_sub(self.not_counted(io) + self.evictor.messages) }
    }

    fn not_counted(&self, io: &mut Io) -> u64 {
        let excess = self.repl.backlog().map_or(0, |b| b.excess() as u64);
        self.persist_info().aof_buffer_length + self.replica_output(io, Output::capacity) + excess
    }

    /// Of all replicas' output, the bytes of something.
    fn replica_output(&self, io: &mut Io, of: impl Fn(&Output) -> usize) -> u64 {
        let bytes = |&conn: &ConnId| Some(of(&io.conn(conn)?.output) as u64);
        self.repl.replicas.iter().filter_map(bytes).sum()
    }

    /// Where the memory is.
    pub fn memory_figures(&self, io: &mut Io) -> MemoryFigures {
        let mut clients = 0;
        for client in self.clients.iter().filter(|c| !c.is_replica()) {
            clients += super::client_memory::usage(client, io).total as u64;
        }
        let databases = 0..self.keyspace.databases();
        MemoryFigures {
            used: self.used_memory,
            peak: self.peak_memory,
            resident: super::process::resident(),
            startup: self.startup_memory,
            backlog: self.repl.backlog().map_or(0, |b| b.capacity() as u64),
            replicas: self.replica_output(io, Output::pending),
            clients,
            aof_buffer: self.persist_info().aof_buffer_length,
            not_counted: self.not_counted(io),
            tables: databases.clone().map(|db| self.keyspace.overhead_bytes(db) as u64).sum(),
            keys: databases.map(|db| self.keyspace.len(db) as u64).sum(),
        }
    }
}

/// Where the memory is, bytes.
#[derive(Debug, Clone, Copy)]
pub struct MemoryFigures {
    /// In use.
    pub used: u64,
    /// Most ever in use.
    pub peak: u64,
    /// In physical memory.
    pub resident: u64,
    /// In use before any data was loaded.
    pub startup: u64,
    /// The replication backlog.
    pub backlog: u64,
    /// Not taken by replicas yet.
    pub replicas: u64,
    /// Ordinary clients with their buffers.
    pub clients: u64,
    /// Not written to the append-only file yet.
    pub aof_buffer: u64,
    /// Left out when `maxmemory` is compared.
    pub not_counted: u64,
    /// Tables and indexes of the databases.
    pub tables: u64,
    /// Number of keys.
    pub keys: u64,
}

impl MemoryFigures {
    /// Everything that is not data.
    pub fn overhead(&self) -> u64 {
        self.startup + self.backlog + self.replicas + self.clients + self.aof_buffer + self.tables
    }

    /// The data.
    pub fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead())
    }

    /// The data's part of what came after the start.
    pub fn dataset_percent(&self) -> f64 {
        let net = self.used.saturating_sub(self.startup).max(1);
        (100.0 * self.dataset() as f64 / net as f64).min(100.0)
    }

    /// What is in use, compared with the most that ever was.
    pub fn peak_percent(&self) -> f64 {
        100.0 * self.used as f64 / self.peak.max(1) as f64
    }

    /// Physical memory for each byte in use.
    pub fn fragmentation(&self) -> f64 {
        self.resident as f64 / self.used.max(1) as f64
    }

    /// Physical memory beyond what is in use.
    pub fn fragmentation_bytes(&self) -> i64 {
        self.resident as i64 - self.used as i64
    }

    /// Mean bytes of a key with its value.
    pub fn bytes_per_key(&self) -> u64 {
        self.used.saturating_sub(self.startup).checked_div(self.keys).unwrap_or(0)
    }
}
