//! Persistence: the append-only file and snapshots, as policies over the formats in `rdb` and `aof`.

pub mod info;

use crate::config::Config;
use crate::io::{Io, Now};
use crate::server::Server;
use crate::server::start::ShutdownMode;

/// What a background job of persistence was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersistJob {
    /// An fsync of the append-only file.
    SyncAof,
    /// A piece of a snapshot was written.
    WriteSnapshot,
    /// A snapshot was published.
    PublishSnapshot,
}

/// State of persistence.
pub struct Persistence {
    /// Changes since the last snapshot.
    pub dirty: u64,
    /// Unix seconds of the last snapshot.
    pub last_save: i64,
}

impl Persistence {
    /// Nothing loaded, nothing open.
    pub fn new(now: Now) -> Self {
        Persistence { dirty: 0, last_save: now.unix_ms / 1000 }
    }

    /// The append-only file is being written.
    pub fn aof_on(&self) -> bool {
        false
    }

    /// Takes a unit of effects whose first byte follows offset `offset` of the replication stream.
    pub fn feed_aof(&mut self, _unit: &[u8], _offset: u64) {}

    /// Why writes are refused, where a disk error is the reason (`MISCONF …`).
    pub fn write_refusal(&self, _config: &Config) -> Option<String> {
        None
    }

    /// Offset up to which the replication stream is durable here; `None` where no append-only file is kept.
    pub fn durable_offset(&self) -> Option<u64> {
        None
    }
}

impl Server {
    /// Loads what is on disk. The error is what the process ends with.
    pub(crate) fn load_dataset(&mut self, _io: &mut Io) -> Result<(), String> {
        Ok(())
    }

    /// Loads a received snapshot into memory, beside the present data, and takes it only when it is whole.
    pub(crate) fn load_snapshot_of_master(&mut self, _temp: &std::path::Path) -> Result<(), String> {
        Err("not yet".into())
    }

    /// Makes the received snapshot the local file: base of a new append-only file, or the RDB file.
    pub(crate) fn adopt_synced_file(&mut self, _io: &mut Io, _temp: &std::path::Path) -> Result<(), String> {
        Ok(())
    }

    /// Writes what was fed to the append-only file, and makes it durable as configured.
    pub(crate) fn flush_aof(&mut self, _io: &mut Io) {}

    /// Walks a snapshot on, or starts one that replicas wait for. At every tick.
    pub(crate) fn snapshot_cron(&mut self, _io: &mut Io) {}

    /// Save points, rewrites that are due, the fsync of every second. Ten times a second.
    pub(crate) fn persist_cron(&mut self, _io: &mut Io) {}

    /// Turns the append-only file on or off at run time (`CONFIG SET appendonly`).
    pub(crate) fn set_appendonly(&mut self, _io: &mut Io, _on: bool) -> Result<(), String> {
        Err("the append-only file cannot be switched at run time".into())
    }

    /// A background job has ended.
    pub(crate) fn persist_job_done(&mut self, _io: &mut Io, _job: PersistJob, _result: std::io::Result<u64>) {
    }

    /// Output that was waiting has been sent: a snapshot may go on.
    pub(crate) fn feed_sync(&mut self, _io: &mut Io, _conn: crate::io::ConnId) {}

    /// Makes everything durable before the process exits.
    pub(crate) fn finish_files(&mut self, _io: &mut Io, _mode: ShutdownMode) -> Result<(), String> {
        Ok(())
    }

    /// A command of the master's stream is about to be applied: the append-only file records it as it came.
    pub(crate) fn note_applied(&mut self, _args: crate::command::Args<'_>, _raw: &[u8]) {}
}
