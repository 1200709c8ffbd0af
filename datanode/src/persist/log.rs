//! The append-only file while the server runs: feeding, flushing, syncing; beginning anew, rewriting.
//!
//! Under a shard map the log also says where in the replication stream it stands: an annotation line
//! `#RS:dataset:epoch:replication-id:offset` wherever that does not follow from the bytes before. So a restarted member
//! knows its epoch and offset to the byte, and can resume its master's stream.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::PersistJob;
use crate::aof::files::{AofFiles, BaseFormat, FilesError};
use crate::aof::write::{Appender, timestamp};
use crate::command::Args;
use crate::config::types::Fsync;
use crate::disk::{Disk, DiskFile};
use crate::io::{Action, Io};
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

/// The files of a log, to be worked on in the background. None once the log is given up: what is still to be done then
/// is not done.
#[derive(Clone)]
pub(super) struct SharedFiles(Arc<Mutex<Option<Files>>>);

struct Files {
    files: AofFiles,
    /// No log is written: a base that is published stands alone.
    alone: bool,
    /// A new end that has been prepared.
    next: Option<Appender>,
}

impl SharedFiles {
    fn new(files: AofFiles, alone: bool) -> SharedFiles {
        SharedFiles(Arc::new(Mutex::new(Some(Files { files, alone, next: None }))))
    }

    /// Files to put a base in while no log is written.
    pub(super) fn alone(files: AofFiles) -> Result<SharedFiles, String> {
        files.create_dir().map_err(|e| e.to_string())?;
        Ok(SharedFiles::new(files, true))
    }

    /// Waits for what is being done with the files, and keeps from being done what has not begun: they may be opened
    /// again.
    pub(super) fn give_up(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Files>> {
        // Whoever panicked has left files as a crash would: in order.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the files, unless the log has been given up.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut AofFiles) -> Result<R, FilesError>) -> io::Result<R> {
        let mut shared = self.lock();
        let shared = shared.as_mut().ok_or_else(switched_off)?;
        f(&mut shared.files).map_err(io::Error::other)
    }

    /// Publishes a base, if `may` says by then that it still may be.
    pub(super) fn publish_base(
        &self,
        file: &dyn DiskFile,
        format: BaseFormat,
        may: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        // Asked with the files locked: whoever begins another base afterwards has taken the permission back before.
        let mut shared = self.lock();
        let shared = shared.as_mut().ok_or_else(switched_off)?;
        may()?;
        match shared.alone {
            true => shared.files.publish_alone(file, format),
            false => shared.files.publish_base(file, format),
        }
        .map_err(io::Error::other)
    }

    /// Prepares a new end for the log.
    fn prepare(&self) -> io::Result<()> {
        // One may be left over from a rewrite that was given up.
        if self.lock().as_ref().is_none_or(|shared| shared.next.is_none()) {
            let next = self.with(AofFiles::next_incr)?;
            if let Some(shared) = self.lock().as_mut() {
                shared.next = Some(next);
            }
        }
        Ok(())
    }
}

fn switched_off() -> io::Error {
    io::Error::other("the append-only file was switched off")
}

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
        if let Some(shared) = self.files.lock().as_mut() {
            shared.next = None;
        }
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
        let next = self.files.lock().as_mut().and_then(|f| f.next.take());
        let Some(next) = next else { return Err("no file has been prepared".into()) };
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
        let id = self.job(JobKind::Persist(PersistJob::SyncLog(serial)));
        io.ask(Action::Run(id, Box::new(move || file.sync().map(|()| 0))));
    }

    /// Prepares, in the background, a file for the log to go on in: makes durable what there is, so that little is left to
    /// be when it does.
    pub(super) fn prepare_rewrite(&mut self, io: &mut Io) {
        let Some(log) = &mut self.persist.log else { return };
        self.persist.preparing_rewrite = true;
        let (file, files) = (log.end.file(), log.files());
        let id = self.job(JobKind::Persist(PersistJob::PrepareRewrite));
        let prepare = move || file.sync().and_then(|()| files.prepare()).map(|()| 0);
        io.ask(Action::Run(id, Box::new(prepare)));
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
            let id = self.job(JobKind::Persist(PersistJob::SyncOld(fed)));
            io.ask(Action::Run(id, Box::new(move || file.sync().map(|()| 0))));
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
        let id = self.job(JobKind::Persist(PersistJob::RemoveHistory));
        let remove = move || {
            for path in files.with(|f| Ok(f.history()))? {
                match disk.remove(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            files.with(AofFiles::forget_history).map(|()| 0)
        };
        io.ask(Action::Run(id, Box::new(remove)));
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
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::disk;
    use crate::disk_fake::{FakeDisk, Fault};
    use crate::io::Service;
    use crate::server::testing::Bench;

    fn begin(disk: &FakeDisk) -> Log {
        let files = AofFiles::open(Arc::new(disk.clone()), Path::new("/data"), "aof", "log").unwrap();
        Log::begin(files, 0).unwrap()
    }

    fn publish(disk: &FakeDisk, log: &mut Log) -> Result<(), String> {
        let file = disk.create(&log.temp_base()).unwrap();
        log.publish_base(&*file, 0, BaseFormat::Rdb)
    }

    fn feed(log: &mut Log) -> u64 {
        log.end.pending().extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        log.fed.mark += 1;
        log.mark()
    }

    #[test]
    fn only_what_is_synced_behind_a_base_counts_as_durable() {
        let disk = FakeDisk::with_dir(Path::new("/data"));
        let mut log = begin(&disk);
        let first = feed(&mut log);
        log.sync().unwrap();
        assert!(!log.is_durable(), "what came before the log is on no disk as long as its base is not");
        assert_eq!((log.durable_mark(), log.durable_offset()), (None, None));
        publish(&disk, &mut log).unwrap();
        assert!(log.is_durable() && log.durable_mark() >= Some(first));
        let second = feed(&mut log);
        assert!(!log.is_durable() && log.durable_mark() < Some(second));
        log.flush().unwrap();
        assert!(!log.is_durable(), "it is written, but not synced");
        log.sync().unwrap();
        assert!(log.is_durable() && log.durable_mark() == Some(second));
    }

    #[test]
    fn after_a_failed_sync_a_rewrite_may_fail_and_be_tried_again() {
        let disk = FakeDisk::with_dir(Path::new("/data"));
        let mut log = begin(&disk);
        publish(&disk, &mut log).unwrap();
        let mark = feed(&mut log);
        log.flush().unwrap();
        disk.set_fault(Fault::FailAt(0));
        log.sync().unwrap_err();
        disk.set_fault(Fault::None);
        assert!(!log.is_durable() && log.durable_mark() < Some(mark));
        assert!(log.must_begin_anew());
        log.begin_anew(0).unwrap();
        disk.set_fault(Fault::FailAt(1));
        publish(&disk, &mut log).unwrap_err();
        disk.set_fault(Fault::None);
        assert_eq!(log.durable_mark(), None, "what is on disk lacks what could not be synced");
        assert!(log.must_begin_anew());
        log.begin_anew(0).unwrap();
        publish(&disk, &mut log).unwrap();
        assert!(log.is_durable() && log.durable_mark() == Some(mark));
    }

    #[test]
    fn a_sync_that_failed_elsewhere_is_not_made_good_by_the_next_one() {
        let disk = FakeDisk::with_dir(Path::new("/data"));
        let mut log = begin(&disk);
        publish(&disk, &mut log).unwrap();
        feed(&mut log);
        log.end.flush().unwrap();
        let background = log.end.file();
        disk.set_fault(Fault::BreakAt(0));
        background.sync().unwrap_err();
        disk.set_fault(Fault::None);
        assert!(log.error().is_some() && log.needs_base());
        let written = log.end.written();
        feed(&mut log);
        log.sync().unwrap_err();
        assert_eq!(log.end.written(), written, "behind a hole nothing could be read");
    }

    /// A log that goes on in another file; what it had been fed up to there.
    fn gone_on(disk: &FakeDisk) -> (Log, Fed) {
        let mut log = begin(disk);
        publish(disk, &mut log).unwrap();
        feed(&mut log);
        log.files().prepare().unwrap();
        log.begin_rewrite(false).unwrap();
        let fed = log.fed;
        (log, fed)
    }

    #[test]
    fn behind_a_file_that_is_not_durable_nothing_is() {
        let disk = FakeDisk::with_dir(Path::new("/data"));
        let (mut log, fed) = gone_on(&disk);
        assert!(!log.is_durable() && log.durable_mark() < Some(fed.mark));
        log.note_old_synced(fed, Ok(0));
        assert!(log.is_durable() && log.durable_mark() == Some(fed.mark));
    }

    #[test]
    fn begun_anew_it_counts_from_its_base_on() {
        let disk = FakeDisk::with_dir(Path::new("/data"));
        let (mut log, fed) = gone_on(&disk);
        let given_up = disk.create(&log.temp_base()).unwrap();
        log.begin_anew(7).unwrap();
        let may_not = || Err(io::ErrorKind::Other.into());
        log.files().publish_base(&*given_up, BaseFormat::Rdb, may_not).unwrap_err();
        assert_eq!((log.durable_offset(), log.durable_mark()), (None, None));
        publish(&disk, &mut log).unwrap();
        assert_eq!((log.durable_offset(), log.durable_mark()), (Some(7), Some(fed.mark)));
        assert!(log.is_durable());
    }

    #[test]
    fn a_sync_of_a_file_before_says_nothing_about_the_present_one() {
        let disk = FakeDisk::with_dir(Path::new("/data"));
        let mut log = begin(&disk);
        publish(&disk, &mut log).unwrap();
        log.begin_anew(0).unwrap();
        publish(&disk, &mut log).unwrap();
        let mark = feed(&mut log);
        log.flush().unwrap();
        log.syncing = Some(Syncing { serial: 2, len: log.end.written(), fed: log.fed });
        log.synced(1, Ok(0));
        assert!(!log.is_durable() && log.durable_mark() < Some(mark));
        log.synced(2, Ok(0));
        assert!(log.is_durable() && log.durable_mark() == Some(mark));
    }

    #[test]
    fn writes_wait_for_a_sync_under_way_but_not_for_ever() {
        let dir = Path::new("/data");
        let disk = FakeDisk::with_dir(dir);
        let config = Config { appendonly: true, dir: dir.into(), ..Config::default() };
        assert_eq!(config.appendfsync, Fsync::Everysec);
        let mut b = Bench::on(config, Arc::new(disk.clone()));
        b.server.start(&mut b.io).unwrap();
        b.settle();
        let c = b.connect();
        let written = || {
            let log = disk::read(&disk, &dir.join("appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
            String::from_utf8(log).unwrap().matches("SET").count()
        };
        b.send(c, "SET a 1");
        assert_eq!(written(), 1);
        b.pass(SYNC_PERIOD_MS);
        assert!(b.server.persist.log.as_ref().unwrap().is_syncing());
        b.send(c, "SET a 2");
        assert_eq!((written(), b.server.persist_info().aof_buffer_length > 0), (1, true));
        let mark = b.server.persist.log_mark();
        b.settle();
        b.server.before_sleep(&mut b.io);
        assert_eq!(written(), 2);
        assert!(!b.server.persist.is_durable(mark), "the sync that has ended did not know of it");
        b.pass(SYNC_PERIOD_MS);
        b.send(c, "SET a 3");
        b.pass(LONGEST_POSTPONEMENT_MS - 1);
        assert_eq!((written(), b.server.persist_info().aof_delayed_fsync), (2, 0));
        b.pass(1);
        assert_eq!((written(), b.server.persist_info().aof_delayed_fsync), (3, 1));
        b.send(c, "SET a 4");
        let mark = b.server.persist.log_mark();
        b.server.persist.log.as_mut().unwrap().sync().unwrap();
        assert!(written() == 4 && b.server.persist.is_durable(mark));
    }

    #[test]
    fn a_base_stands_for_the_file_before_it() {
        let disk = FakeDisk::with_dir(Path::new("/data"));
        let (mut log, fed) = gone_on(&disk);
        disk.set_fault(Fault::BreakAt(0));
        let outcome = log.old.as_ref().unwrap().file().sync();
        disk.set_fault(Fault::None);
        log.note_old_synced(fed, outcome.map(|()| 0));
        assert!(log.must_begin_anew() && !log.is_durable() && log.durable_mark() < Some(fed.mark));
        publish(&disk, &mut log).unwrap();
        assert!(log.error().is_none() && log.is_durable() && log.durable_mark() == Some(fed.mark));
    }
}
