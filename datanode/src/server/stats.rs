//! Counters that INFO and the metrics show.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::histogram::Histogram;

/// Calls of one command.
#[derive(Debug, Default, Clone)]
pub struct CommandStats {
    /// Executions.
    pub calls: u64,
    /// Time spent, nanoseconds.
    pub nanos: u64,
    /// Executions that replied with an error.
    pub failed: u64,
    /// Refused before execution.
    pub rejected: u64,
    /// How long they took, where `latency-tracking` is on.
    pub latency: Option<Histogram>,
}

/// Calls by command. It is looked up for every call: often of the same command as the one before, or, by a script, of the
/// same two in turn.
#[derive(Debug, Default)]
pub struct CommandTable {
    places: HashMap<&'static str, usize, foldhash::fast::FixedState>,
    counted: Vec<(&'static str, CommandStats)>,
    /// The last two that were looked up, the later one first.
    recent: [usize; 2],
}

impl CommandTable {
    /// What is counted of a command.
    pub fn of(&mut self, name: &'static str) -> &mut CommandStats {
        let is = |place: usize| self.counted.get(place).is_some_and(|(own, _)| std::ptr::eq(*own, name));
        let [last, before] = self.recent;
        if !is(last) {
            let place = match is(before) {
                true => before,
                false => *self.places.entry(name).or_insert_with(|| {
                    self.counted.push((name, CommandStats::default()));
                    self.counted.len() - 1
                }),
            };
            self.recent = [place, last];
        }
        &mut self.counted[self.recent[0]].1
    }

    /// All commands that anything was counted of.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &CommandStats)> {
        self.counted.iter().map(|(name, c)| (*name, c))
    }
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
    pub evicted_clients: u64,
    /// Values that have been handed to the background thread to be freed.
    pub lazyfreed_objects: u64,
    pub clients_closed_by_output: u64,
    pub reads: u64,
    pub writes: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
    pub repl_input_bytes: u64,
    pub repl_output_bytes: u64,
    /// Microseconds spent on removing keys whose time is up.
    pub expire_cycle_us: u64,
    /// How often there were more of them than are removed at once.
    pub expire_cycle_cut_short: u64,
    pub threaded_reads: u64,
    pub threaded_writes: u64,
    pub sync_full: u64,
    pub sync_partial_ok: u64,
    pub sync_partial_err: u64,
    pub unexpected_errors: u64,
    /// Snapshots begun, where Redis would have made a child process.
    pub snapshots: u64,
    pub ops_per_sec: u64,
    pub input_kbps: f64,
    pub output_kbps: f64,
    pub repl_input_kbps: f64,
    pub repl_output_kbps: f64,
    pub commands: CommandTable,
    pub errors: BTreeMap<String, u64>,
    pub total_errors: u64,
    sampled: Sample,
}

/// The counters that rates are taken from, as they last were.
#[derive(Debug, Default, Clone, Copy)]
struct Sample {
    mono_ms: u64,
    commands: u64,
    input: u64,
    output: u64,
    repl_input: u64,
    repl_output: u64,
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
    pub fn count_call(&mut self, name: &'static str, took: Duration, failed: bool, latency: bool) {
        let c = self.commands.of(name);
        c.calls += 1;
        c.nanos += took.as_nanos() as u64;
        c.failed += u64::from(failed);
        if latency {
            c.latency.get_or_insert_default().add(took);
        }
    }

    /// Counts the end of an execution that had been counted before it was known whether it fails.
    pub fn count_failed(&mut self, name: &'static str, failed: bool) {
        self.commands.of(name).failed += u64::from(failed);
    }

    /// Counts a command that was refused before its execution.
    pub fn count_rejected(&mut self, name: &'static str) {
        self.commands.of(name).rejected += 1;
    }

    /// Counts received bytes.
    pub fn note_input(&mut self, bytes: u64) {
        self.reads += 1;
        self.input_bytes += bytes;
    }

    /// Takes rates per second from what was counted since the last sample.
    pub fn sample(&mut self, mono_ms: u64) {
        let last = self.sampled;
        let elapsed = mono_ms.saturating_sub(last.mono_ms);
        if elapsed >= 1000 {
            let kbps = |now: u64, before: u64| now.saturating_sub(before) as f64 / 1.024 / elapsed as f64;
            self.ops_per_sec = self.commands_processed.saturating_sub(last.commands) * 1000 / elapsed;
            self.input_kbps = kbps(self.input_bytes, last.input);
            self.output_kbps = kbps(self.output_bytes, last.output);
            self.repl_input_kbps = kbps(self.repl_input_bytes, last.repl_input);
            self.repl_output_kbps = kbps(self.repl_output_bytes, last.repl_output);
            self.sampled = Sample {
                mono_ms,
                commands: self.commands_processed,
                input: self.input_bytes,
                output: self.output_bytes,
                repl_input: self.repl_input_bytes,
                repl_output: self.repl_output_bytes,
            };
        }
    }

    /// Starts to count anew (`CONFIG RESETSTAT`).
    pub fn reset(&mut self) {
        *self = Stats {
            sampled: Sample { mono_ms: self.sampled.mono_ms, ..Sample::default() },
            ..Stats::default()
        };
    }
}
