//! The append-only file while the server runs: feeding, flushing, syncing; beginning anew, rewriting.
//!
//! Under a shard map the log also says where in the replication stream it stands: an annotation line
//! `#RS:dataset:epoch:replication-id:offset` wherever that does not follow from the bytes before. So a restarted member
//! knows its epoch and offset to the byte, and can resume its master's stream.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::PersistJob;
use super::shared_files::SharedFiles;
use crate::aof::files::{AofFiles, BaseFormat};
use crate::aof::write::{Appender, timestamp};
use crate::command::Args;
use crate::config::types::Fsync;
use crate::disk::{Disk, DiskFile};
use crate::io::{Action, Io, Lane};
use crate::managed::Lineage;
use crate::mutation::{self, Mutation};
use crate::resp::encode_command;
use crate::server::{JobKind, Server};

/// Distance between syncs under `appendfsync everysec`, milliseconds.
const SYNC_PERIOD_MS: u64 = 1000;
/// Under `appendfsync everysec` a write that would have to wait for a sync is put off, but no longer than this,
/// milliseconds (as in Redis).
const LONGEST_POSTPONEMENT_MS: u64 = 2000;

/// Marks where in the replication stream the log stands.
pub(super) const POSITION: &[u8] = b"RS:";

/// The open append-only file.
pub(super) struct Log {
    files: SharedFiles,
    temp_base: PathBuf,
    end: Appender,
    /// The file before, while it is not durable: until then nothing is written to the present one.
    old: Option<Appender>,
    /// The offset of the replication stream that the next byte is expected to follow.
    expected: Option<u64>,
    /// The id of the history that this is an offset in.
    history: String,
    /// The file has just been begun: the database has to be named.
    fresh: bool,
    /// How far it has been fed.
    fed: Fed,
    /// How much of that has been written.
    written: Fed,
    /// Since when writing has been put off, monotonic milliseconds.
    postponed_since_ms: Option<u64>,
    syncing: Option<Syncing>,
    durable: Fed,
    /// How far it had been fed when the present file was begun: what a base holds that is published for it.
    in_base: Fed,
    synced_at_ms: u64,
    stamped_s: i64,
    /// Size of all files after the last rewrite or at start, bytes.
    base_size: u64,
    /// Size of the files before the one being written, bytes.
    before: u64,
    /// Files of an earlier time have not been replaced yet by a base.
    anew: bool,
}

/// A sync under way.
struct Syncing {
    /// Tells it from one of a file before.
    serial: u64,
    /// The file's length when it began.
    len: u64,
    /// How far the log had been fed then.
    fed: Fed,
}

/// How far the log has been fed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fed {
    /// Offset of the replication stream, which stands still where there is none.
    offset: u64,
    /// Units since the log was opened.
    mark: u64,
}

impl Log {
    /// Goes on with a log that has been loaded. `size`: bytes of all its files.
    pub(super) fn resumed(files: AofFiles, end: Appender, size: u64, offset: u64) -> Self {
        let before = size.saturating_sub(end.written());
        Log::new(files, end, before, size, offset, false)
    }

    fn new(files: AofFiles, end: Appender, before: u64, base_size: u64, offset: u64, anew: bool) -> Self {
        Log {
            temp_base: files.temp_base(),
            files: SharedFiles::new(files, false),
            end,
            old: None,
            expected: None,
            history: String::new(),
            fresh: true,
            fed: Fed { offset, mark: 0 },
            written: Fed { offset, mark: 0 },
            postponed_since_ms: None,
            syncing: None,
            durable: Fed { offset, mark: 0 },
            in_base: Fed { offset, mark: 0 },
            synced_at_ms: 0,
            stamped_s: 0,
            base_size,
            before,
            anew,
        }
    }

    /// Begins a log that continues none; a base has to follow.
    pub(super) fn begin(mut files: AofFiles, offset: u64) -> Result<Self, String> {
        let end = files.begin_anew().map_err(|e| e.to_string())?;
        Ok(Log::new(files, end, 0, 0, offset, true))
    }

    pub(super) fn error(&self) -> Option<&io::Error> {
        self.old.as_ref().and_then(Appender::error).or(self.end.error())
    }

    /// Offset up to which the stream is durable; `None` as long as the base is missing.
    pub(super) fn durable_offset(&self) -> Option<u64> {
        (!self.anew).then_some(self.durable.offset)
    }

    /// How much it has been fed.
    pub(super) fn mark(&self) -> u64 {
        self.fed.mark
    }

    /// How much of that is durable; `None` as long as the base is missing.
    pub(super) fn durable_mark(&self) -> Option<u64> {
        (!self.anew).then_some(self.durable.mark)
    }

    /// There is a base on disk that it continues.
    pub(super) fn has_base(&self) -> bool {
        !self.anew
    }

    /// It lacks nothing, and all of it is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.has_base() && self.end.error().is_none() && self.is_synced()
    }

    /// All it has been fed has been synced.
    fn is_synced(&self) -> bool {
        self.old.is_none() && self.end.synced() == self.end.end()
    }

    /// What is on disk is not enough, and stays so until a base has been written.
    pub(super) fn needs_base(&self) -> bool {
        self.anew || self.end.sync_failed() || self.old.as_ref().is_some_and(Appender::sync_failed)
    }

    /// Bytes of all files, with what is not written yet.
    pub(super) fn size(&self) -> u64 {
        self.before + self.end.end()
    }

    pub(super) fn base_size(&self) -> u64 {
        self.base_size
    }

    /// How far it has been written, if that is not all it has been fed: offset of the replication stream.
    pub(super) fn behind(&self) -> Option<u64> {
        (self.end.unwritten() > 0).then_some(self.written.offset)
    }

    /// Bytes fed that the file does not have yet.
    pub(super) fn unwritten(&self) -> u64 {
        self.end.unwritten()
    }

    pub(super) fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    pub(super) fn rewrite_due(&self, growth_percent: u64, min_size: u64) -> bool {
        let (size, base) = (self.size(), self.base_size.max(1));
        growth_percent > 0 && size > min_size && (size - base.min(size)) * 100 / base >= growth_percent
    }

    pub(super) fn sync_due(&self, now_ms: u64) -> bool {
        self.may_sync() && now_ms >= self.synced_at_ms + SYNC_PERIOD_MS
    }

    /// There is something to sync, and no sync under way.
    pub(super) fn may_sync(&self) -> bool {
        self.syncing.is_none() && !self.end.sync_failed() && self.end.written() > self.end.synced()
    }

    /// Writes down where in the stream the log stands.
    pub(super) fn annotate(&mut self, lineage: &Lineage, id: &str, offset: u64) {
        id.clone_into(&mut self.history);
        let Some(dataset) = &lineage.dataset else { return };
        let line = format!("#RS:{dataset}:{}:{id}:{offset}\r\n", lineage.epoch);
        self.end.pending().extend_from_slice(line.as_bytes());
        self.expected = Some(offset);
    }

    /// Writes what it has been fed.
    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.end.flush();
        self.note_written();
        outcome
    }

    /// The same, but little of what has been put off.
    fn flush_piece(&mut self) -> io::Result<()> {
        let outcome = self.end.flush_piece();
        self.note_written();
        outcome
    }

    fn note_written(&mut self) {
        self.postponed_since_ms = None;
        if self.end.unwritten() == 0 {
            self.written = self.fed;
        }
    }

    /// Writes and makes durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(old) = &mut self.old {
            old.sync()?;
            self.old = None;
        }
        self.flush()?;
        self.end.sync()?;
        self.durable = self.fed;
        Ok(())
    }

    /// Whether a write, which would have to wait for the sync under way, is still to be put off.
    fn postpones(&mut self, now_ms: u64) -> bool {
        self.end.put_off();
        now_ms < *self.postponed_since_ms.get_or_insert(now_ms) + LONGEST_POSTPONEMENT_MS
    }

    pub(super) fn synced(&mut self, serial: u64, result: io::Result<u64>) {
        if let Some(Syncing { len, fed, .. }) = self.syncing.take_if(|s| s.serial == serial) {
            match result {
                Ok(_) => {
                    self.end.note_synced(len);
                    self.note_durable(fed);
                }
                Err(e) => tracing::error!("fsync of the AOF failed: {e}"),
            }
        }
    }

    fn note_durable(&mut self, fed: Fed) {
        if fed.mark > self.durable.mark {
            self.durable = fed;
        }
    }

    /// Whether the log cannot simply go on in a new file: what could not be synced is not relied on, and a base stands
    /// alone that has none before it.
    pub(super) fn must_begin_anew(&self) -> bool {
        self.error().is_some() || self.anew
    }

    /// Directs what follows into a file that continues none before it; the replication stream is at `offset`. A base has to
    /// follow. Waits for the disk.
    pub(super) fn begin_anew(&mut self, offset: u64) -> Result<(), String> {
        if self.anew && self.error().is_none() && self.end.end() == 0 {
            // It has only just been begun.
            self.fed.offset = offset;
            (self.durable, self.in_base, self.written) = (self.fed, self.fed, self.fed);
            return Ok(());
        }
        // Until the new base is there: what is on disk lacks what could not be synced.
        self.anew = true;
        let end = self.files.with(AofFiles::begin_anew).map_err(|e| e.to_string())?;
        self.files.take_prepared();
        self.old = None;
        self.fed.offset = offset;
        // Counts from the base on, which holds it.
        self.durable = self.fed;
        self.go_on(end);
        Ok(())
    }

    /// Directs what follows into the file that has been prepared, from whose start on the coming base completes the log.
    /// `wait`: makes the old one durable at once, which else [`Log::note_old_synced`] has to say.
    pub(super) fn begin_rewrite(&mut self, wait: bool) -> Result<(), String> {
        let Some(next) = self.files.take_prepared() else { return Err("no file has been prepared".into()) };
        let outcome = if wait { self.sync() } else { self.flush() };
        outcome.map_err(|e| e.to_string())?;
        self.before = self.size();
        let old = self.go_on(next);
        self.old = (!wait).then_some(old);
        Ok(())
    }

    fn go_on(&mut self, end: Appender) -> Appender {
        self.syncing = None;
        (self.in_base, self.written) = (self.fed, self.fed);
        self.expected = None;
        self.fresh = true;
        std::mem::replace(&mut self.end, end)
    }

    /// The file before the present one has been synced up to its end, or not.
    fn note_old_synced(&mut self, fed: Fed, result: io::Result<u64>) {
        match result {
            Ok(_) if self.old.is_some() => {
                self.old = None;
                self.note_durable(fed);
            }
            Ok(_) => {}
            Err(e) => tracing::error!("fsync of the AOF failed: {e}"),
        }
    }

    /// Takes note of a base of so many bytes that has been put in the place of everything before the last
    /// [`Log::begin_rewrite`].
    pub(super) fn base_published(&mut self, len: u64) {
        self.before = len;
        self.base_size = self.size();
        self.anew = false;
        // The base holds all that the files before held, whatever became of their last sync.
        self.old = None;
        self.note_durable(self.in_base);
    }

    /// Publishes a base at once.
    pub(super) fn publish_base(
        &mut self,
        file: &dyn DiskFile,
        len: u64,
        format: BaseFormat,
    ) -> Result<(), String> {
        self.files.with(|f| f.publish_base(file, format)).map_err(|e| e.to_string())?;
        self.base_published(len);
        Ok(())
    }

    pub(super) fn temp_base(&self) -> PathBuf {
        self.temp_base.clone()
    }

    pub(super) fn files(&self) -> SharedFiles {
        self.files.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.files.give_up();
    }
}

impl Server {
    /// Takes a unit of effects whose first byte follows offset `offset` of the replication stream.
    pub(crate) fn feed_log(&mut self, unit: &[u8], offset: u64) {
        let counts = self.repl.has_backlog();
        let (db, follows) = (self.origin_db, self.repl.link.is_some());
        let stamp = self.config.aof_timestamp_enabled.then_some(self.now_s);
        let Some(log) = &mut self.persist.log else { return };
        if std::mem::take(&mut log.fresh) {
            // A master's unit names its database; a replica records its master's stream as it comes.
            if follows && db != 0 {
                encode_command(log.end.pending(), &["SELECT", &db.to_string()]);
            }
            log.expected = None;
        }
        if let Some(now) = stamp
            && now > log.stamped_s
        {
            log.stamped_s = now;
            timestamp(log.end.pending(), now);
        }
        if counts && (log.expected != Some(offset) || log.history != self.repl.id) {
            log.annotate(&self.persist.lineage, &self.repl.id, offset);
        }
        log.end.pending().extend_from_slice(unit);
        log.fed.mark += 1;
        log.fed.offset = offset + if counts { unit.len() as u64 } else { 0 };
        log.expected = Some(log.fed.offset);
    }

    /// A command of the master's stream is about to be applied: the log records it as it came.
    pub(crate) fn note_applied(&mut self, args: Args<'_>, raw: &[u8]) {
        let silent = args.is_empty()
            || ["ping", "replconf", "publish", "spublish"].iter().any(|name| args.is(0, name));
        if !silent && self.persist.aof_on() {
            self.feed_log(raw, self.repl.offset());
        }
    }

    /// Writes what was fed, and makes it durable under `appendfsync always`: before any reply leaves. Under `everysec` it
    /// is put off while a sync is under way, which would hold up the write and with it everybody.
    pub(crate) fn flush_aof(&mut self, io: &mut Io) {
        let (always, master) = (self.config.appendfsync == Fsync::Always, self.is_master());
        let synced = self.config.appendfsync == Fsync::Everysec || self.write_acks().fsync;
        let Some(log) = &mut self.persist.log else { return };
        let idle = if always { log.is_synced() } else { log.unwritten() == 0 };
        if idle && log.error().is_none() {
            return;
        }
        if log.old.is_some() && !always {
            log.postpones(io.now.mono_ms());
            return;
        }
        // What a member of a shard map acknowledges to its master it has handed to the kernel.
        let may_wait = !always && synced && (self.managed.is_none() || master);
        if may_wait && (log.syncing.is_some() || self.persist.preparing_rewrite) {
            if log.postpones(io.now.mono_ms()) {
                return;
            }
            self.persist.delayed_syncs += 1;
            tracing::info!(
                "The sync of the AOF takes long (is the disk busy?): it is written without waiting for that"
            );
        }
        let (failed_before, put_off) = (log.error().is_some(), log.postponed_since_ms.is_some());
        std::thread::sleep(Duration::from_micros(self.debug.aof_flush_sleep_us));
        let began = (self.config.latency_monitor_threshold > 0).then(Instant::now);
        let outcome =
            if always && !mutation::active(Mutation::FsyncLeftOut) { log.sync() } else { log.flush_piece() };
        match outcome {
            Ok(()) => {
                if failed_before {
                    tracing::warn!("AOF write error looks solved, the server can write again.");
                }
                // Who waits for that hears of it in this round.
                self.repl.acks_changed |= always;
                if failed_before || put_off {
                    self.note_more_durable();
                }
            }
            Err(e) => {
                if !failed_before {
                    tracing::error!("Error writing to the AOF file: {e}");
                }
                if always {
                    // Replies to what could not be made durable must not leave.
                    return self.abandon(io, "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...");
                }
            }
        }
        self.latency_end(if always { "aof-fsync-always" } else { "aof-write" }, began);
    }

    /// Ends the process without another byte to anybody: neither a reply to clients, nor an acknowledgement to the master.
    pub(crate) fn abandon(&mut self, io: &mut Io, why: &str) {
        if std::mem::replace(&mut self.persist.abandoned, true) {
            return;
        }
        tracing::error!("{why}");
        let clients = self.clients.iter().map(|c| c.conn);
        let conns: Vec<_> = clients.chain(self.repl.link_conn()).collect();
        for conn in conns {
            if let Some(c) = io.conn(conn) {
                c.discard();
            }
            self.close_client(io, conn, false);
        }
        io.ask(Action::Exit(1));
    }

    pub(crate) fn sync_log_in_background(&mut self, io: &mut Io) {
        // No job has been asked for since this number was given.
        let serial = self.next_job;
        let Some(log) = &mut self.persist.log else { return };
        log.synced_at_ms = io.now.mono_ms();
        log.syncing = Some(Syncing { serial, len: log.end.written(), fed: log.written });
        let file = log.end.file();
        let kind = JobKind::Persist(PersistJob::SyncLog(serial));
        self.background(io, Lane::Sync, kind, move || file.sync().map(|()| 0));
    }

    /// Prepares, in the background, a file for the log to go on in: makes durable what there is, so that little is left to
    /// be when it does.
    pub(super) fn prepare_rewrite(&mut self, io: &mut Io) {
        let Some(log) = &mut self.persist.log else { return };
        self.persist.preparing_rewrite = true;
        let (file, files) = (log.end.file(), log.files());
        let prepare = move || file.sync().and_then(|()| files.prepare()).map(|()| 0);
        self.background(io, Lane::Sync, JobKind::Persist(PersistJob::PrepareRewrite), prepare);
    }

    /// Directs the log into the file that has been prepared. What the old one still lacks is synced in the background.
    pub(super) fn go_on_in_next_file(&mut self, io: &mut Io) -> Result<(), String> {
        let always = self.config.appendfsync == Fsync::Always;
        let Some(log) = &mut self.persist.log else {
            return Err("the append-only file was switched off".into());
        };
        log.begin_rewrite(always)?;
        let fed = log.fed;
        if let Some(file) = log.old.as_ref().map(Appender::file) {
            let kind = JobKind::Persist(PersistJob::SyncOld(fed));
            self.background(io, Lane::Sync, kind, move || file.sync().map(|()| 0));
        }
        Ok(())
    }

    pub(super) fn old_synced(&mut self, fed: Fed, result: io::Result<u64>) {
        if let Some(log) = &mut self.persist.log {
            log.note_old_synced(fed, result);
        }
    }

    /// Removes replaced files in the background: freeing a large file's blocks takes long.
    pub(crate) fn remove_history(&mut self, io: &mut Io) {
        let Some(files) = self.base_files().filter(|_| !self.config.aof_disable_auto_gc) else { return };
        self.persist.removing_history = true;
        let disk: Arc<dyn Disk> = self.disk.clone();
        self.background(io, Lane::Files, JobKind::Persist(PersistJob::RemoveHistory), move || {
            for path in files.with(|f| Ok(f.history()))? {
                match disk.remove(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            files.with(AofFiles::forget_history).map(|()| 0)
        });
    }

    /// `CONFIG SET appendonly`: begins a log with a rewrite, or ends it.
    pub fn set_appendonly(&mut self, io: &mut Io, on: bool) -> Result<(), String> {
        if on == self.persist.aof_on() {
            return Ok(());
        }
        self.release_unless_in_unit();
        if on {
            self.give_up_lone_base(io);
            let files = self.open_aof_files()?;
            self.persist.log = Some(Log::begin(files, self.repl.offset())?);
            self.selected_db = None;
            self.persist.rewrite_scheduled = true;
            if self.in_unit() {
                tracing::info!(
                    "AOF was enabled during a transaction. An AOF background was scheduled to start when possible."
                );
            } else if self.persist.snapshot.is_some() {
                tracing::info!(
                    "AOF was enabled but there is already another background operation. An AOF background was scheduled to start when possible."
                );
            } else {
                self.start_scheduled(io);
            }
        } else {
            // It goes off whatever the disk says: that may be the reason.
            if let Some(mut log) = self.persist.log.take()
                && let Err(e) = log.sync()
            {
                tracing::warn!("Fail to fsync the AOF file: {e}");
            }
            self.persist.rewrite_scheduled = false;
            self.abort_rewrite(io);
            self.unblock_waits_for_log(io);
        }
        Ok(())
    }

    /// The log, begun anew where the replication stream is; a base has to follow. The files stay the same object: jobs of
    /// before may still be at work on them.
    pub(super) fn log_begun_anew(&mut self) -> Result<&mut Log, String> {
        let offset = self.repl.offset();
        let log = match self.persist.log.take() {
            None => Log::begin(self.open_aof_files()?, offset)?,
            Some(mut log) => {
                let begun = log.begin_anew(offset);
                let log = self.persist.log.insert(log);
                return begun.map(|()| log);
            }
        };
        Ok(self.persist.log.insert(log))
    }

    /// The files that a base is put into: those of the log, or of one that stands alone.
    pub(super) fn base_files(&self) -> Option<SharedFiles> {
        self.persist.log.as_ref().map(Log::files).or_else(|| self.persist.lone_base.clone())
    }

    pub(super) fn open_aof_files(&self) -> Result<AofFiles, String> {
        let c = &self.config;
        AofFiles::open(self.disk.clone(), &c.dir, &c.appenddirname, &c.appendfilename)
            .map_err(|e| e.to_string())
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
