//! The slow log: commands that took longer than `slowlog-log-slower-than`
//! (<https://redis.io/docs/latest/commands/slowlog-get/>).

use std::collections::VecDeque;
use std::time::Duration;

use super::monitor::{REDACTED, is_secret};
use crate::command::{Args, Spec};
use crate::config::Config;

/// Arguments kept of one command; the last place tells how many more there were.
const MAX_ARGUMENTS: usize = 32;
/// Bytes kept of one argument.
const MAX_ARGUMENT: usize = 128;

/// One slow execution.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Grows by one with every entry.
    pub id: u64,
    /// Unix seconds.
    pub at: i64,
    /// How long it took, microseconds.
    pub micros: u64,
    /// The command, shortened.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub peer: String,
    /// The client's name.
    pub name: Vec<u8>,
}

/// The last slow executions, newest first.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl SlowLog {
    /// Whether an execution of this length is to be kept.
    pub fn wants(config: &Config, took: Duration) -> bool {
        u64::try_from(config.slowlog_log_slower_than)
            .is_ok_and(|limit| took.as_micros() as u64 >= limit && config.slowlog_max_len > 0)
    }

    /// Keeps an execution.
    pub fn add(&mut self, spec: &Spec, args: Args<'_>, at: i64, took: Duration, peer: String, name: Vec<u8>) {
        let id = self.next_id;
        self.next_id += 1;
        let micros = took.as_micros() as u64;
        self.entries.push_front(Entry { id, at, micros, args: shortened(spec, args), peer, name });
    }

    /// Drops the oldest beyond `slowlog-max-len`.
    pub fn trim(&mut self, config: &Config) {
        self.entries.truncate(usize::try_from(config.slowlog_max_len).unwrap_or(usize::MAX));
    }

    /// Newest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Number of the last entry made, -1 if there was none.
    pub fn last_id(&self) -> i64 {
        self.next_id as i64 - 1
    }

    /// Forgets everything; the ids go on.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

fn shortened(spec: &Spec, args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > MAX_ARGUMENTS { MAX_ARGUMENTS - 1 } else { args.len() };
    let mut out: Vec<Vec<u8>> = (0..kept)
        .map(|i| match args.at(i) {
            _ if is_secret(spec, args, i) => REDACTED.to_vec(),
            a if a.len() > MAX_ARGUMENT => {
                let more = format!("... ({} more bytes)", a.len() - MAX_ARGUMENT);
                [&a[..MAX_ARGUMENT], more.as_bytes()].concat()
            }
            a => a.to_vec(),
        })
        .collect();
    if kept < args.len() {
        out.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{OwnedArgs, table};

    #[test]
    fn long_commands_are_shortened() {
        let long = vec![b'x'; 200];
        let parts = std::iter::once(b"GET".to_vec()).chain(std::iter::repeat_n(long, 39));
        let owned = OwnedArgs::collect(parts);
        let kept = shortened(table::named("get").unwrap(), owned.as_args());
        assert_eq!(kept.len(), MAX_ARGUMENTS);
        assert!(kept[1].ends_with(b"x... (72 more bytes)"));
        assert_eq!(kept[31], b"... (9 more arguments)");
    }
}
