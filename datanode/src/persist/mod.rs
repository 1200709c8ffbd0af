//! Persistence: the append-only file and snapshots, as policies over the formats in `aof` and `rdb`
//! (<https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/>).
//!
//! `log` writes the append-only file, `snapshot` walks the keyspace for RDB files, AOF bases and replicas, `load` reads
//! files into a keyspace.

#[cfg(test)]
mod crash_tests;
mod load;
mod log;
pub(crate) mod progress;
pub(crate) mod reload;
mod save;
mod shared_files;
mod sink;
mod snapshot;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub mod info;

use crate::config::types::Fsync;
use crate::config::{Config, os_text};
use crate::io::{Io, Now};
use crate::managed::Lineage;
use crate::mutation::{self, Mutation};
use crate::rdb::decode::Counts;
use crate::server::Server;
use crate::server::start::ShutdownMode;

use log::{Fed, Log};
use shared_files::SharedFiles;
use snapshot::Running;

/// After a failed snapshot the next one by save points is tried this much later, milliseconds (Redis'
/// CONFIG_BGSAVE_RETRY_DELAY).
const SNAPSHOT_RETRY_MS: u64 = 5000;

/// So many rewrites may fail one after the other before the next one because of growth has to wait, a minute at first and
/// twice as long each time, up to an hour (as in Redis): each leaves another incremental file.
const REWRITE_FAILURES_FREE: u64 = 3;
const REWRITE_PAUSE_MS: u64 = 60_000;
const REWRITE_PAUSE_MAX_MS: u64 = 60 * REWRITE_PAUSE_MS;

/// How long growth is no reason for a rewrite after so many failures, milliseconds.
fn rewrite_pause_ms(failures: u64) -> u64 {
    match failures.checked_sub(REWRITE_FAILURES_FREE) {
        Some(more) => (REWRITE_PAUSE_MS << more.min(6)).min(REWRITE_PAUSE_MAX_MS),
        None => 0,
    }
}

/// The right to put a file in the RDB file's place. A snapshot that has been given up does not use it any more, once
/// whoever has given it up has had it.
fn turn(publishing: &Mutex<()>) -> MutexGuard<'_, ()> {
    publishing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a background job of persistence was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersistJob {
    /// The fsync of the append-only file of this serial number.
    SyncLog(u64),
    /// A file was made for the append-only file to go on in.
    PrepareRewrite,
    /// The file before the present one was synced: what it had been fed so far is durable.
    SyncOld(Fed),
    /// A piece of a snapshot of so many bytes was written.
    WriteSnapshot(u64),
    /// The snapshot of this serial number was made durable, and published where it is an RDB file.
    FinishSnapshot(u64),
    /// Replaced files of the append-only file were removed.
    RemoveHistory,
}

/// State of persistence.
pub struct Persistence {
    /// Changes since the last snapshot.
    pub dirty: u64,
    /// Unix seconds of the last snapshot.
    pub last_save: i64,
    /// The last background save succeeded.
    pub last_bgsave_ok: bool,
    /// How long it took, seconds; -1: there was none.
    pub last_bgsave_s: i64,
    /// Snapshots saved to files since start.
    pub saves: u64,
    /// A background save waits for another snapshot to end.
    pub bgsave_scheduled: bool,
    /// A rewrite waits for another snapshot to end.
    pub rewrite_scheduled: bool,
    /// The last rewrite succeeded.
    pub last_rewrite_ok: bool,
    /// How long it took, seconds; -1: there was none.
    pub last_rewrite_s: i64,
    /// Rewrites since start.
    pub rewrites: u64,
    /// Rewrites that failed since the last one that succeeded.
    pub rewrite_failures: u64,
    /// What was in the RDB file that was read last: keys, and how many of them had expired.
    pub loaded: Counts,
    /// How far the file is that is being loaded.
    pub progress: Option<progress::LoadProgress>,
    lineage: Lineage,
    restore_error: Option<String>,
    loaded_from_log: bool,
    /// The process ends, since what it would say could not be kept.
    abandoned: bool,
    log: Option<Log>,
    snapshot: Option<Running>,
    /// Where a base is put, or was, while no append-only file is written.
    lone_base: Option<SharedFiles>,
    /// Replaced files of the append-only file are being removed.
    removing_history: bool,
    /// A job is making a file for the append-only file to go on in.
    preparing_rewrite: bool,
    /// Writes of the append-only file that could not wait for a sync any longer.
    delayed_syncs: u64,
    next_try_ms: u64,
    /// Growth is no reason for a rewrite before this time.
    next_rewrite_ms: u64,
    /// Held by whoever puts a file in the RDB file's place.
    publishing: Arc<Mutex<()>>,
    waiting_since_ms: Option<u64>,
    /// The snapshot under way waits for something.
    snapshot_idles: bool,
    /// The same of the last snapshot of each kind.
    last_early: LastEarly,
}

/// Memory of what snapshots had to encode before its turn, because commands were about to change it, bytes.
#[derive(Debug, Clone, Copy, Default)]
struct LastEarly {
    rdb: u64,
    aof: u64,
}

impl LastEarly {
    fn note(&mut self, ended: &Running) {
        let kind = if ended.is_rewrite() { &mut self.aof } else { &mut self.rdb };
        *kind = ended.progress().early;
    }
}

impl Persistence {
    /// Nothing loaded, nothing open.
    pub fn new(now: Now) -> Self {
        Persistence {
            dirty: 0,
            last_save: now.unix_ms / 1000,
            last_bgsave_ok: true,
            last_bgsave_s: -1,
            saves: 0,
            bgsave_scheduled: false,
            rewrite_scheduled: false,
            last_rewrite_ok: true,
            last_rewrite_s: -1,
            rewrites: 0,
            rewrite_failures: 0,
            loaded: Counts::default(),
            progress: None,
            lineage: Lineage::default(),
            restore_error: None,
            loaded_from_log: false,
            abandoned: false,
            log: None,
            snapshot: None,
            lone_base: None,
            removing_history: false,
            preparing_rewrite: false,
            delayed_syncs: 0,
            next_try_ms: 0,
            next_rewrite_ms: 0,
            publishing: Arc::default(),
            waiting_since_ms: None,
            snapshot_idles: false,
            last_early: LastEarly::default(),
        }
    }

    /// The append-only file is being written.
    pub fn aof_on(&self) -> bool {
        self.log.is_some()
    }

    /// The dataset's id and epoch, as the data files record them.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// The process is ending: nothing that it says now could be kept.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Why the files could not be loaded, under a shard map: the node then waits for a person.
    pub fn restore_error(&self) -> Option<String> {
        self.restore_error.clone()
    }

    /// What keeps the append-only file from being complete.
    pub fn log_error(&self) -> Option<&std::io::Error> {
        self.log.as_ref().and_then(Log::error)
    }

    /// Why files cannot be written.
    pub fn disk_error(&self) -> Option<String> {
        match self.log_error() {
            Some(e) => Some(format!("append-only file: {e}")),
            _ if !self.last_bgsave_ok => Some("the last snapshot could not be saved".into()),
            _ => None,
        }
    }

    /// Why writes are refused, where a disk error is the reason.
    pub fn write_refusal(&self, config: &Config) -> Option<String> {
        if let Some(e) = self.log.as_ref().and_then(Log::error) {
            return Some(format!("MISCONF Errors writing to the AOF file: {}", os_text(e)));
        }
        let saves = !config.save.is_empty() && config.stop_writes_on_bgsave_error;
        (saves && !self.last_bgsave_ok).then(|| MISCONF_RDB.to_owned())
    }

    /// Offset up to which the replication stream is durable here, given that it is at `offset` now; `None` where no
    /// append-only file is kept, or none that is complete yet.
    pub fn durable_offset(&self, offset: u64) -> Option<u64> {
        let log = self.log.as_ref()?;
        if log.is_durable() { Some(offset) } else { log.durable_offset() }
    }

    /// The append-only file has something to be synced, and no sync under way.
    pub(crate) fn may_sync(&self) -> bool {
        self.log.as_ref().is_some_and(Log::may_sync)
    }

    /// All that the append-only file has been fed is durable.
    pub fn is_synced(&self) -> bool {
        self.log.as_ref().is_some_and(Log::is_durable)
    }

    /// Offset up to which the replication stream is in the append-only file, where one is kept, or at least with the kernel,
    /// given that it is at `offset` now.
    pub fn handed_over(&self, offset: u64) -> u64 {
        let log = self.log.as_ref().filter(|_| !mutation::active(Mutation::UnwrittenAcknowledged));
        log.and_then(Log::behind).unwrap_or(offset)
    }

    /// There is an append-only file, and with what was handed to the kernel it lacks nothing.
    pub fn log_is_whole(&self) -> bool {
        self.log.as_ref().is_some_and(|log| !log.needs_base())
    }

    /// What is in memory was read from an append-only file at start.
    pub fn is_loaded_from_log(&self) -> bool {
        self.loaded_from_log
    }

    /// How much the append-only file has been fed: what [`Persistence::is_durable`] takes.
    pub fn log_mark(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::mark)
    }

    /// Whether the append-only file has durably what it had been fed at this mark.
    pub fn is_durable(&self, mark: u64) -> bool {
        self.log.as_ref().is_some_and(|log| log.is_durable() || log.durable_mark().is_some_and(|d| d >= mark))
    }
}

const MISCONF_RDB: &str = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to \
     disk. Commands that may modify the data set are disabled, because this instance is configured to report errors \
     during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for \
     details about the RDB error.";

impl Server {
    /// A snapshot is being saved to the RDB file.
    pub fn saving(&self) -> bool {
        self.persist.snapshot.as_ref().is_some_and(Running::is_rdb)
    }

    /// Path of the RDB file.
    pub(crate) fn rdb_path(&self) -> PathBuf {
        self.config.dir.join(&self.config.dbfilename)
    }

    /// A master's snapshot is received beside this path.
    pub(crate) fn synced_path(&self) -> PathBuf {
        self.config.dir.join(format!("sync-{}", self.config.dbfilename))
    }

    /// Records the lineage durably in the data files: what is written from here on belongs to it.
    pub(crate) fn set_lineage(&mut self, io: &mut Io, lineage: Lineage) -> Result<(), String> {
        let new_dataset = lineage.dataset != self.persist.lineage.dataset;
        let before = std::mem::replace(&mut self.persist.lineage, lineage);
        let outcome = self.mark_files(io, new_dataset);
        if outcome.is_err() {
            self.persist.lineage = before;
        }
        outcome
    }

    fn mark_files(&mut self, io: &mut Io, new_dataset: bool) -> Result<(), String> {
        let (offset, id) = (self.repl.offset(), self.repl.id.clone());
        let lineage = self.persist.lineage.clone();
        if let Some(log) = &mut self.persist.log {
            log.annotate(&lineage, &id, offset);
            return log.sync().map_err(|e| format!("the append-only file cannot be written: {e}"));
        }
        // An epoch alone goes into the next snapshot; a new dataset must not be taken for an empty volume before.
        if new_dataset && !self.config.save.is_empty() { self.save_now(io) } else { Ok(()) }
    }

    /// Save points, rewrites that are due, the fsync of every second. Ten times a second.
    pub(crate) fn persist_cron(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        if self.persist.log.as_ref().is_some_and(|l| l.sync_due(now))
            && self.config.appendfsync == Fsync::Everysec
        {
            let rewriting = self.config.no_appendfsync_on_rewrite && self.persist.snapshot.is_some();
            if !rewriting {
                self.sync_log_in_background(io);
            }
        }
        if self.persist.snapshot.is_some() || now < self.persist.next_try_ms {
            return;
        }
        let age = io.now.unix_ms / 1000 - self.persist.last_save;
        let dirty = self.persist.dirty;
        let due = self.config.save.iter().find(|s| dirty >= s.changes && age > s.seconds as i64);
        // Under a shard map nobody asks for the snapshot that would let writes in again.
        let again = self.managed.is_some() && !self.persist.last_bgsave_ok && !self.config.save.is_empty();
        if self.persist.restore_error.is_none() && (due.is_some() || again) {
            match due {
                Some(point) => {
                    tracing::info!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
                }
                None => tracing::info!("The last snapshot could not be saved. Saving..."),
            }
            self.persist.bgsave_scheduled = true;
        }
        let growth = u64::from(self.config.auto_aof_rewrite_percentage);
        if let Some(log) = &self.persist.log {
            let grown = log.rewrite_due(growth, self.config.auto_aof_rewrite_min_size);
            if grown && now >= self.persist.next_rewrite_ms {
                tracing::info!("Starting automatic rewriting of AOF");
                self.persist.rewrite_scheduled = true;
            }
            self.persist.rewrite_scheduled |= log.needs_base();
        }
        self.start_scheduled(io);
    }

    /// A background job has ended.
    pub(crate) fn persist_job_done(&mut self, io: &mut Io, job: PersistJob, result: std::io::Result<u64>) {
        match job {
            PersistJob::SyncLog(serial) => {
                if let Some(log) = &mut self.persist.log {
                    log.synced(serial, result);
                }
                self.note_more_durable();
            }
            PersistJob::PrepareRewrite => self.rewrite_prepared(io, result),
            PersistJob::SyncOld(fed) => {
                self.old_synced(fed, result);
                self.note_more_durable();
            }
            PersistJob::WriteSnapshot(bytes) => self.snapshot_written(bytes),
            PersistJob::FinishSnapshot(serial) => self.snapshot_finished(io, serial, result),
            PersistJob::RemoveHistory => {
                self.persist.removing_history = false;
                if let Err(e) = result {
                    tracing::warn!("Replaced AOF files could not be removed: {e}");
                }
            }
        }
    }

    /// Those who wait for more to be durable, here and at our master, hear of it at once.
    pub(crate) fn note_more_durable(&mut self) {
        self.repl.acks_changed = true;
        self.ack_due |= self.repl.link.is_some();
    }

    /// Makes everything durable before the process exits.
    pub(crate) fn finish_files(&mut self, io: &mut Io, mode: ShutdownMode) -> Result<(), String> {
        self.release_effects();
        if let Some(log) = &mut self.persist.log {
            // Without its base the log is not what is loaded at the next start; an older one may be.
            if !log.has_base() && self.persist.snapshot.as_ref().is_some_and(Running::is_rewrite) {
                return Err("Writing initial AOF".into());
            }
            tracing::info!("Calling fsync() on the AOF file.");
            log.sync().map_err(|e| format!("Error trying to write the append-only file: {e}"))?;
            self.seal_for_good(io);
        }
        let wanted = (!self.config.save.is_empty() && !mode.nosave) || mode.save;
        if wanted && self.persist.restore_error.is_none() {
            tracing::info!("Saving the final RDB snapshot before exiting.");
            // Why is in the log.
            self.save_now(io).map_err(|_| "Error trying to save the DB".to_owned())?;
        }
        Ok(())
    }
}
