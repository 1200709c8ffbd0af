//! Counters that INFO and the metrics show.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Calls of one command.
#[derive(Debug, Default, Clone, Copy)]
pub struct CommandStats {
    /// Executions.
    pub calls: u64,
    /// Time spent, nanoseconds.
    pub nanos: u64,
    /// Executions that replied with an error.
    pub failed: u64,
    /// Refused before execution.
    pub rejected: u64,
}

/// Everything counted since start or `CONFIG RESETSTAT`.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Stats {
    pub connections_received: u64,
    pub rejected_connections: u64,
    pub commands_processed: u64,
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub expired_keys: u64,
    pub evicted_keys: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
    pub sync_full: u64,
    pub sync_partial_ok: u64,
    pub sync_partial_err: u64,
    pub unexpected_errors: u64,
    pub ops_per_sec: u64,
    pub input_kbps: f64,
    pub commands: HashMap<&'static str, CommandStats>,
    pub errors: BTreeMap<String, u64>,
    pub total_errors: u64,
    sampled: (u64, u64, u64),
}

/// Distinct error codes that are counted; scripts can make up any number of them.
const MAX_ERROR_CODES: usize = 128;

impl Stats {
    /// Counts an error reply by its code.
    pub fn count_error(&mut self, code: &str) {
        self.total_errors += 1;
        if let Some(n) = self.errors.get_mut(code) {
            *n += 1;
        } else if self.errors.len() < MAX_ERROR_CODES {
            self.errors.insert(code.to_owned(), 1);
        }
    }

    /// Counts an execution.
    pub fn count_call(&mut self, name: &'static str, took: Duration, failed: bool) {
        let c = self.commands.entry(name).or_default();
        c.calls += 1;
        c.nanos += took.as_nanos() as u64;
        c.failed += u64::from(failed);
    }

    /// Counts received bytes.
    pub fn note_input(&mut self, bytes: u64) {
        self.input_bytes += bytes;
    }

    /// Takes rates per second from what was counted since the last sample.
    pub fn sample(&mut self, mono_ms: u64) {
        let (at, commands, input) = self.sampled;
        let elapsed = mono_ms.saturating_sub(at);
        if elapsed >= 1000 {
            self.ops_per_sec = self.commands_processed.saturating_sub(commands) * 1000 / elapsed;
            self.input_kbps = self.input_bytes.saturating_sub(input) as f64 / 1.024 / elapsed as f64;
            self.sampled = (mono_ms, self.commands_processed, self.input_bytes);
        }
    }
}
