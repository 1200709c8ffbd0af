//! Snapshots without a fork: the keyspace is walked a little at each tick while commands go on; whatever a command is
//! about to change has been encoded before. One at a time, for the RDB file, the base of the append-only file, or replicas.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::shared_files::SharedFiles;
use super::sink::{CHUNK, FileSink, Form};
use super::{PersistJob, SNAPSHOT_RETRY_MS, rewrite_pause_ms, turn};
use crate::aof::commands::CommandWriter;
use crate::aof::files::BaseFormat;
use crate::aof::write::timestamp;
use crate::config::REDIS_VERSION;
use crate::disk::{self, DiskFile, SyncedOnTheWay};
use crate::io::{ConnId, Io, Lane};
use crate::rdb::encode::{Encoder, Preamble, Replication};
use crate::replication::master::SNAPSHOT_HIGH_WATER;
use crate::replication::random_id;
use crate::server::{JobKind, Server};
use crate::store::keyspace::SnapshotSink;

/// Bytes encoded per tick, about: what takes a few tenths of a millisecond.
const BYTES_PER_TICK: usize = 32 * 1024;
/// Buckets (of some five keys) walked before that is looked at; and most per tick, for those that are empty or done.
const BUCKETS_PER_STEP: usize = 16;
const STEPS_PER_TICK: usize = 64;
/// The same while `rdb-key-save-delay` has it rest behind each bucket: only for those that are empty.
const DELAYED_STEPS: usize = 4096;
/// The walk waits while so many bytes are on their way to the disk.
const IN_FLIGHT_MAX: u64 = 1 << 20;
/// A file under way is synced every so many bytes, as in Redis.
const SYNC_EVERY: u64 = 4 << 20;

/// What a snapshot is for.
enum Target {
    /// The RDB file.
    Rdb { temp: PathBuf },
    /// The base of the append-only file.
    Base { temp: PathBuf },
    /// Replicas that need a full resync; ends with this mark.
    Replicas { receivers: Vec<ConnId>, mark: String },
}

/// A snapshot under way.
pub(super) struct Running {
    /// Tells it from one that has been given up, whose jobs may end later.
    serial: u64,
    target: Target,
    file: Option<Arc<dyn DiskFile>>,
    started_s: i64,
    dirty_before: u64,
    in_flight: u64,
    written: u64,
    /// The first write that failed, as the background thread notes it: what comes after must not publish the file.
    failure: Arc<OnceLock<String>>,
    /// Nothing is to be encoded yet, or no more: what is left is the disk's.
    resting: bool,
    /// How far the walk has come.
    progress: Progress,
    /// The walk goes on at this monotonic microsecond (`rdb-key-save-delay`).
    rests_until_us: u64,
}

/// How far a snapshot has come, as INFO tells it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Keys encoded.
    pub(super) keys: u64,
    /// Keys there were when it was begun.
    pub(super) all: u64,
    /// Memory of what was encoded before its turn because commands were about to change it, bytes.
    pub(super) early: u64,
}

impl Running {
    pub(super) fn is_rdb(&self) -> bool {
        matches!(self.target, Target::Rdb { .. })
    }

    pub(super) fn is_rewrite(&self) -> bool {
        matches!(self.target, Target::Base { .. })
    }

    /// Everything has been encoded, and the disk is making it durable.
    fn is_with_disk(&self) -> bool {
        self.resting && self.file.is_some()
    }

    /// A replica waits for it.
    pub(super) fn is_for_replicas(&self) -> bool {
        matches!(self.target, Target::Replicas { .. })
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    pub(super) fn started_s(&self) -> i64 {
        self.started_s
    }
}

impl Server {
    fn sink(&self, io: &Io, aof_base: bool) -> FileSink {
        if aof_base && !self.config.aof_use_rdb_preamble {
            let (mut writer, mut out) = (CommandWriter::default(), Vec::with_capacity(CHUNK));
            if self.config.aof_timestamp_enabled {
                timestamp(&mut out, io.now.unix_ms / 1000);
            }
            for library in self.scripting.libraries.iter() {
                writer.function(&mut out, &library.text);
            }
            return FileSink::new(Form::Commands(writer), out);
        }
        let (mut encoder, mut out) = self.encoder(io, aof_base, true);
        for db in 0..self.keyspace.databases() {
            let keys = self.keyspace.len(db) as u64;
            if keys > 0 {
                encoder.resize_db(&mut out, db as u32, keys, self.keyspace.expires(db) as u64);
            }
        }
        FileSink::new(Form::Rdb(encoder), out)
    }

    /// What an RDB file begins with; with the libraries of functions, if they are wanted.
    fn encoder(&self, io: &Io, aof_base: bool, functions: bool) -> (Encoder, Vec<u8>) {
        let lineage = self.persist.lineage();
        let preamble = Preamble {
            redis_version: REDIS_VERSION,
            unix_s: io.now.unix_ms / 1000,
            used_memory: self.used_memory,
            replication: Some(Replication {
                stream_db: self.selected_db.map_or(0, |db| db as i64),
                id: &self.repl.id,
                offset: self.repl.offset() as i64,
            }),
            aof_base,
            dataset: lineage.dataset.as_deref(),
            epoch: lineage.dataset.as_ref().map(|_| lineage.epoch),
        };
        let mut encoder = Encoder::new(self.config.rdbcompression, self.config.rdbchecksum);
        let mut out = Vec::with_capacity(CHUNK);
        encoder.preamble(&mut out, &preamble);
        for library in self.scripting.libraries.iter().filter(|_| functions) {
            encoder.function(&mut out, &library.text);
        }
        (encoder, out)
    }

    /// A whole RDB file that holds no keys.
    pub(crate) fn snapshot_without_keys(&self, io: &Io, functions: bool) -> Vec<u8> {
        let (encoder, out) = self.encoder(io, false, functions);
        FileSink::new(Form::Rdb(encoder), out).end()
    }

    fn base_format(&self) -> BaseFormat {
        if self.config.aof_use_rdb_preamble { BaseFormat::Rdb } else { BaseFormat::Aof }
    }

    /// Writes a whole snapshot at once into a file that is not published yet; its length.
    fn write_snapshot(&self, io: &Io, file: &dyn DiskFile, aof_base: bool) -> std::io::Result<u64> {
        let mut sink = self.sink(io, aof_base);
        sink.walking = true;
        let mut len = 0;
        for db in 0..self.keyspace.databases() {
            for entry in self.keyspace.iter(db) {
                sink.entry(db, entry);
                if sink.out.len() >= CHUNK {
                    let chunk = sink.take();
                    file.append(&chunk)?;
                    len += chunk.len() as u64;
                }
            }
        }
        let rest = sink.end();
        file.append(&rest)?;
        Ok(len + rest.len() as u64)
    }

    /// Saves the RDB file at once (`SAVE`, shutdown).
    pub fn save_now(&mut self, io: &mut Io) -> Result<(), String> {
        if self.saving() {
            // It would put an older state in this one's place.
            self.abort_snapshot(io);
        }
        let publishing = self.persist.publishing.clone();
        let _turn = turn(&publishing);
        let path = self.rdb_path();
        let temp = disk::temp_name(&path);
        let write = || {
            let file = self.disk.create(&temp)?;
            self.write_snapshot(io, &*file, false)?;
            disk::publish(&*self.disk, &*file, &temp, &path)
        };
        match write() {
            Ok(()) => {
                self.saved(io, 0);
                tracing::info!("DB saved on disk");
                Ok(())
            }
            Err(e) => {
                let _ = self.disk.remove(&temp);
                tracing::warn!("Error saving DB on disk: {e}");
                Err(e.to_string())
            }
        }
    }

    /// Writes the base of a log that has just been begun, at once.
    pub(super) fn write_base_now(&mut self, io: &mut Io) -> Result<(), String> {
        let Some(temp) = self.persist.log.as_ref().map(|l| l.temp_base()) else { return Ok(()) };
        let file = self.disk.create(&temp).map_err(|e| e.to_string())?;
        let len = self.write_snapshot(io, &*file, true).map_err(|e| e.to_string())?;
        let format = self.base_format();
        let Some(log) = &mut self.persist.log else { return Ok(()) };
        log.publish_base(&*file, len, format)?;
        self.remove_history(io);
        Ok(())
    }

    fn saved(&mut self, io: &Io, dirty_since: u64) {
        self.persist.dirty = dirty_since;
        self.persist.last_save = io.now.unix_ms / 1000;
        self.persist.last_bgsave_ok = true;
        self.persist.saves += 1;
    }

    /// `BGSAVE [SCHEDULE]`: the reply's text.
    pub fn bgsave(&mut self, io: &mut Io, schedule: bool) -> Result<&'static str, &'static str> {
        match &self.persist.snapshot {
            Some(s) if s.is_rdb() => return Err("ERR Background save already in progress"),
            Some(s) if s.is_rewrite() && !schedule => {
                return Err(
                    "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.",
                );
            }
            Some(_) => {
                self.persist.bgsave_scheduled = true;
                return Ok("Background saving scheduled");
            }
            None => {}
        }
        self.persist.bgsave_scheduled = true;
        if self.in_unit() {
            return Ok("Background saving scheduled");
        }
        self.start_scheduled(io);
        if self.persist.snapshot.is_some() {
            Ok("Background saving started")
        } else {
            Err("ERR Background save failed")
        }
    }

    /// `BGREWRITEAOF`: the reply's text.
    pub fn bgrewriteaof(&mut self, io: &mut Io) -> Result<&'static str, &'static str> {
        if self.persist.snapshot.as_ref().is_some_and(Running::is_rewrite) {
            return Err("ERR Background append only file rewriting already in progress");
        }
        self.persist.rewrite_scheduled = true;
        if self.persist.snapshot.is_some() || self.in_unit() {
            return Ok("Background append only file rewriting scheduled");
        }
        self.start_scheduled(io);
        if self.persist.snapshot.is_some() || !self.persist.aof_on() {
            Ok("Background append only file rewriting started")
        } else {
            Err(
                "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
            )
        }
    }

    /// Starts what waits for its turn, if nothing is under way.
    pub(super) fn start_scheduled(&mut self, io: &mut Io) {
        if self.persist.snapshot.is_some() || self.loading {
            return;
        }
        if std::mem::take(&mut self.persist.rewrite_scheduled) {
            self.start_rewrite(io);
        } else if std::mem::take(&mut self.persist.bgsave_scheduled) {
            self.start_bgsave(io);
        }
    }

    fn start_bgsave(&mut self, io: &mut Io) {
        let temp = disk::temp_name(&self.rdb_path());
        // One that was given up may be about to rename its file of this name.
        let created = {
            let _turn = turn(&self.persist.publishing);
            self.disk.create(&temp)
        };
        match created {
            Ok(file) => {
                tracing::info!("Background saving started");
                self.begin(io, Target::Rdb { temp }, Some(file), false);
            }
            Err(e) => self.snapshot_failed(io, true, &e.to_string()),
        }
    }

    fn start_rewrite(&mut self, io: &mut Io) {
        self.release_effects();
        if self.persist.preparing_rewrite {
            // Of one that was given up: one file at a time.
            self.persist.rewrite_scheduled = true;
            return;
        }
        let Some(log) = &mut self.persist.log else {
            return self.start_lone_base(io);
        };
        tracing::info!("Background append only file rewriting started");
        if log.must_begin_anew() {
            let begun = log.begin_anew(self.repl.offset());
            return self.capture_base(io, begun);
        }
        let temp = log.temp_base();
        self.persist.snapshot = Some(self.running(io, Target::Base { temp }, None, true));
        self.prepare_rewrite(io);
    }

    /// A base without a log: what `BGREWRITEAOF` leaves under `appendonly no`.
    fn start_lone_base(&mut self, io: &mut Io) {
        if let Some(before) = self.persist.lone_base.take() {
            before.give_up();
        }
        tracing::info!("Background append only file rewriting started");
        let files = self.open_aof_files().and_then(SharedFiles::alone);
        let begun = files.map(|files| self.persist.lone_base = Some(files));
        self.capture_base(io, begun);
    }

    /// A log is going to be begun: its files are no longer somebody else's.
    pub(super) fn give_up_lone_base(&mut self, io: &mut Io) {
        if let Some(files) = self.persist.lone_base.take() {
            self.abort_rewrite(io);
            files.give_up();
        }
    }

    /// The file is there into which the log goes on from now on, the moment that the base is to hold.
    pub(super) fn rewrite_prepared(&mut self, io: &mut Io, result: std::io::Result<u64>) {
        self.persist.preparing_rewrite = false;
        // It may have been given up meanwhile; then the log simply goes on where it is.
        if self.persist.snapshot.take_if(|s| s.is_rewrite() && s.file.is_none()).is_none() {
            return;
        }
        self.release_effects();
        let begun = result.map_err(|e| e.to_string()).and_then(|_| self.go_on_in_next_file(io));
        self.capture_base(io, begun);
    }

    fn capture_base(&mut self, io: &mut Io, begun: Result<(), String>) {
        let create = |files: SharedFiles| {
            let temp = files.with(|f| Ok(f.temp_base())).map_err(|e| e.to_string())?;
            let file = self.disk.create(&temp).map_err(|e| e.to_string())?;
            Ok((temp, file))
        };
        let files = || self.base_files().ok_or_else(|| "the append-only file was switched off".to_owned());
        match begun.and_then(|()| files()).and_then(create) {
            Ok((temp, file)) => {
                self.selected_db = None;
                self.begin(io, Target::Base { temp }, Some(file), true);
            }
            Err(e) => {
                self.snapshot_failed(io, false, &e);
                self.start_scheduled(io);
            }
        }
    }

    fn begin(&mut self, io: &mut Io, target: Target, file: Option<Arc<dyn DiskFile>>, aof_base: bool) {
        let sink = self.sink(io, aof_base);
        if self.keyspace.begin_snapshot(Box::new(sink)).is_err() {
            return tracing::error!("a snapshot was begun while another one was under way");
        }
        self.stats.snapshots += 1;
        let piecemeal = if aof_base {
            self.config.aof_rewrite_incremental_fsync
        } else {
            self.config.rdb_save_incremental_fsync
        };
        let file = if piecemeal { file.map(|f| SyncedOnTheWay::new(f, SYNC_EVERY)) } else { file };
        self.persist.snapshot = Some(self.running(io, target, file, false));
    }

    fn running(&self, io: &Io, target: Target, file: Option<Arc<dyn DiskFile>>, resting: bool) -> Running {
        Running {
            // No job has been asked for since this number was given.
            serial: self.next_job,
            target,
            file,
            started_s: io.now.unix_ms / 1000,
            dirty_before: self.persist.dirty,
            in_flight: 0,
            written: 0,
            failure: Arc::default(),
            resting,
            progress: Progress { all: self.keyspace.all_keys() as u64, ..Progress::default() },
            rests_until_us: 0,
        }
    }

    /// Walks a snapshot on, or starts one that replicas wait for. At every tick.
    pub(crate) fn snapshot_cron(&mut self, io: &mut Io) {
        if self.persist.snapshot.is_none() {
            return self.start_sync_if_due(io);
        }
        self.persist.snapshot_idles = self.snapshot_must_wait(io) || self.snapshot_rests(io);
        if self.persist.snapshot_idles {
            return;
        }
        let mut done = self.walk(io);
        // Its last keys have their delay, too.
        done &= !self.snapshot_rests(io);
        let mut chunk = Vec::new();
        if done {
            let Some(sink) = self.keyspace.end_snapshot() else { return };
            let sink: Box<dyn Any> = sink;
            if let Ok(sink) = sink.downcast::<FileSink>() {
                chunk = sink.end();
            }
        } else if let Some(sink) = self.file_sink()
            && sink.out.len() >= CHUNK
        {
            chunk = sink.take();
        }
        if !chunk.is_empty() {
            self.hand_on(io, chunk);
        }
        if done {
            self.finish_snapshot(io);
        }
    }

    /// Walks on for a tick; true if that was the end.
    fn walk(&mut self, io: &Io) -> bool {
        let delay = self.config.rdb_key_save_delay;
        let before = self.file_sink().map_or((0, 0), |s| {
            s.walking = true;
            (s.out.len(), s.keys)
        });
        let (steps, buckets) =
            if delay == 0 { (STEPS_PER_TICK, BUCKETS_PER_STEP) } else { (DELAYED_STEPS, 1) };
        let mut done = false;
        for _ in 0..steps {
            done = self.keyspace.snapshot_step(buckets);
            let now = self.file_sink().map_or((0, 0), |s| (s.out.len(), s.keys));
            if done || now.0 > before.0 + BYTES_PER_TICK || delay != 0 && now.1 > before.1 {
                break;
            }
        }
        let Some(sink) = self.file_sink() else { return done };
        sink.walking = false;
        let (keys, early) = (sink.keys, sink.early);
        if let Some(s) = &mut self.persist.snapshot {
            // What commands have had encoded meanwhile takes as long.
            s.rests_until_us = io.now.mono_us + delay_us(delay, s.progress.keys, keys);
            s.progress = Progress { keys, early, ..s.progress };
        }
        done
    }

    /// What encodes the running snapshot.
    fn file_sink(&mut self) -> Option<&mut FileSink> {
        let sink: &mut dyn Any = self.keyspace.snapshot_sink()?;
        sink.downcast_mut()
    }

    /// `rdb-key-save-delay` has not passed yet.
    fn snapshot_rests(&self, io: &Io) -> bool {
        let rests = |s: &Running| io.now.mono_us < s.rests_until_us;
        self.config.rdb_key_save_delay != 0 && self.persist.snapshot.as_ref().is_some_and(rests)
    }

    /// There is nothing to be done for the running snapshot before something else has happened, or some time has passed.
    pub(crate) fn snapshot_idles(&self) -> bool {
        self.persist.snapshot_idles
    }

    /// The walk waits for a slow disk, or for the slowest replica.
    fn snapshot_must_wait(&mut self, io: &mut Io) -> bool {
        let Some(s) = &self.persist.snapshot else { return true };
        match &s.target {
            Target::Replicas { receivers, .. } => {
                let mut alive = false;
                for &conn in receivers {
                    match io.conn(conn) {
                        Some(c) if c.output.pending() > SNAPSHOT_HIGH_WATER => return true,
                        Some(_) => alive = true,
                        None => {}
                    }
                }
                if !alive {
                    // As Redis says it, whose child is our walk.
                    tracing::warn!("Diskless rdb transfer, last replica dropped, killing fork child.");
                    self.keyspace.end_snapshot();
                    self.persist.snapshot = None;
                }
                !alive
            }
            _ => s.resting || s.in_flight > IN_FLIGHT_MAX,
        }
    }

    fn hand_on(&mut self, io: &mut Io, chunk: Vec<u8>) {
        let Some(s) = &mut self.persist.snapshot else { return };
        let bytes = chunk.len() as u64;
        s.written += bytes;
        if let Target::Replicas { receivers, .. } = &s.target {
            for conn in receivers.clone() {
                self.send_snapshot(io, conn, &chunk);
            }
        } else if let Some(file) = s.file.clone() {
            s.in_flight += bytes;
            let failure = s.failure.clone();
            self.background(io, Lane::Files, JobKind::Persist(PersistJob::WriteSnapshot(bytes)), move || {
                file.append(&chunk).map_err(|e| failure.get_or_init(|| e.to_string())).ok();
                Ok(0)
            });
        }
    }

    fn finish_snapshot(&mut self, io: &mut Io) {
        let Some(s) = &mut self.persist.snapshot else { return };
        s.resting = true;
        let serial = s.serial;
        let (disk, file, failure) = (self.disk.clone(), s.file.clone(), s.failure.clone());
        // What could not be written as a whole is not published.
        let whole = move || match failure.get() {
            Some(e) => Err(std::io::Error::other(e.clone())),
            None => Ok(()),
        };
        let job: Option<crate::io::Job> = match (&s.target, file) {
            (Target::Replicas { .. }, _) => None,
            (Target::Rdb { temp }, Some(file)) => {
                let (temp, path) = (temp.clone(), self.config.dir.join(&self.config.dbfilename));
                let publishing = self.persist.publishing.clone();
                Some(Box::new(move || {
                    let _turn = turn(&publishing);
                    whole().and_then(|()| disk::publish(&*disk, &*file, &temp, &path)).map(|()| 0)
                }))
            }
            (Target::Base { .. }, Some(file)) => {
                let (files, format) = (self.base_files(), self.base_format());
                files.map(|files| -> crate::io::Job {
                    Box::new(move || files.publish_base(&*file, format, whole).map(|()| 0))
                })
            }
            (_, None) => None,
        };
        if let Some(job) = job {
            return self.background(
                io,
                Lane::Files,
                JobKind::Persist(PersistJob::FinishSnapshot(serial)),
                job,
            );
        }
        let Some(s) = self.persist.snapshot.take() else { return };
        if let Target::Replicas { receivers, mark } = s.target {
            let up = receivers.iter().filter(|&&conn| io.conn(conn).is_some()).count();
            tracing::warn!("Diskless rdb transfer, done reading from pipe, {up} replicas still up.");
            tracing::info!("Background RDB transfer terminated with success");
            for &conn in &receivers {
                self.end_snapshot_for(io, conn, &mark);
            }
            self.finish_sync(io, &receivers);
        }
    }

    pub(super) fn snapshot_written(&mut self, bytes: u64) {
        if let Some(s) = &mut self.persist.snapshot {
            s.in_flight = s.in_flight.saturating_sub(bytes);
        }
    }

    pub(super) fn snapshot_finished(&mut self, io: &mut Io, serial: u64, result: std::io::Result<u64>) {
        let Some(s) = self.persist.snapshot.take_if(|s| s.serial == serial) else { return };
        let took = io.now.unix_ms / 1000 - s.started_s;
        self.persist.last_early.note(&s);
        let error = result.err().map(|e| e.to_string());
        match s.target {
            Target::Rdb { temp } => {
                self.persist.last_bgsave_s = took;
                match error {
                    None => {
                        tracing::info!("Background saving terminated with success");
                        let dirty = self.persist.dirty.saturating_sub(s.dirty_before);
                        self.saved(io, dirty);
                    }
                    Some(e) => {
                        remove_quietly(&*self.disk, &temp);
                        self.snapshot_failed(io, true, &e);
                    }
                }
            }
            Target::Base { temp } => {
                self.persist.last_rewrite_s = took;
                match error {
                    None => {
                        if let Some(log) = &mut self.persist.log {
                            log.base_published(s.written);
                        }
                        self.note_more_durable();
                        tracing::info!("Background AOF rewrite finished successfully");
                        self.persist.last_rewrite_ok = true;
                        self.persist.rewrite_failures = 0;
                        self.persist.rewrites += 1;
                        self.remove_history(io);
                    }
                    Some(e) => {
                        remove_quietly(&*self.disk, &temp);
                        self.snapshot_failed(io, false, &e);
                    }
                }
            }
            Target::Replicas { .. } => {}
        }
        self.start_scheduled(io);
    }

    fn snapshot_failed(&mut self, io: &Io, rdb: bool, why: &str) {
        self.persist.next_try_ms = io.now.mono_ms() + SNAPSHOT_RETRY_MS;
        if rdb {
            tracing::error!("Background saving error: {why}");
            self.persist.last_bgsave_ok = false;
        } else {
            tracing::error!("Background AOF rewrite failed: {why}");
            self.persist.last_rewrite_ok = false;
            self.persist.rewrite_failures += 1;
            self.persist.next_rewrite_ms = io.now.mono_ms() + rewrite_pause_ms(self.persist.rewrite_failures);
        }
    }

    /// Ends a rewrite under way without a result.
    pub(super) fn abort_rewrite(&mut self, _io: &mut Io) {
        if let Some(s) = self.persist.snapshot.take_if(|s| s.is_rewrite() && !s.is_with_disk()) {
            self.keyspace.end_snapshot();
            tracing::info!(
                "Killing running AOF rewrite child (there is none: a rewrite within the process, {} bytes written)",
                s.written
            );
            if let (Target::Base { temp }, Some(_)) = (&s.target, &s.file) {
                remove_quietly(&*self.disk, temp);
            }
        }
    }

    /// A snapshot under way is of data that is about to be replaced as a whole.
    pub(super) fn abort_snapshot(&mut self, io: &mut Io) {
        let Some(s) = self.persist.snapshot.take() else { return };
        self.keyspace.end_snapshot();
        // What is still to be done for it is not done.
        s.failure.get_or_init(|| "it was given up".into());
        match s.target {
            Target::Replicas { receivers, .. } => self.abort_sync(io, &receivers),
            Target::Rdb { temp } => remove_quietly(&*self.disk, &temp),
            Target::Base { temp } => {
                remove_quietly(&*self.disk, &temp);
                self.persist.rewrite_scheduled = self.persist.aof_on();
            }
        }
    }

    /// The data have been flushed: nobody wants a file, or a replica's copy, of what they were. Replicas ask again.
    pub(crate) fn abort_stale_snapshot(&mut self, io: &mut Io) {
        if self.persist.snapshot.as_ref().is_some_and(|s| !s.is_rewrite() && !s.is_with_disk()) {
            tracing::info!("There is a snapshot of the flushed data under way. Giving it up");
            self.abort_snapshot(io);
        }
    }

    /// All keys were thrown away on purpose: with save points, no file is to bring them back.
    pub(crate) fn save_emptied(&mut self, io: &mut Io) {
        if self.config.save.is_empty() {
            return;
        }
        if self.saving() {
            // Too late to stop it; another one has to follow.
            self.persist.bgsave_scheduled = true;
        } else if self.save_now(io).is_ok() {
            self.effects.dirty = 0;
        }
    }

    /// Starts a snapshot for replicas that wait for one, together with others that come within the configured delay.
    fn start_sync_if_due(&mut self, io: &mut Io) {
        if self.waiting_for_snapshot() == 0 {
            self.persist.waiting_since_ms = None;
            return;
        }
        let now = io.now.mono_ms();
        let since = *self.persist.waiting_since_ms.get_or_insert(now);
        // Under a shard map writes may be waiting for this replica.
        let delay = if self.managed.is_some() || !self.config.repl_diskless_sync {
            0
        } else {
            u64::from(self.config.repl_diskless_sync_delay) * 1000
        };
        let most = self.config.repl_diskless_sync_max_replicas as usize;
        let enough = most > 0 && self.waiting_for_snapshot() >= most;
        if now < since + delay && !enough {
            return;
        }
        self.persist.waiting_since_ms = None;
        self.release_effects();
        self.flush_stream(io);
        let mark = random_id(&mut self.rng);
        let receivers = self.start_sync_of_waiting(io, &mark);
        tracing::info!("Starting BGSAVE for SYNC with target: replicas sockets");
        tracing::info!("Background RDB transfer started by pid {}", self.origins.pid);
        self.begin(io, Target::Replicas { receivers, mark }, None, false);
    }
}

/// How long the walk rests after keys `from..to`, microseconds, by `rdb-key-save-delay`: so long for each, or where it is
/// negative a microsecond for so many.
fn delay_us(delay: i32, from: u64, to: u64) -> u64 {
    match u64::from(delay.unsigned_abs()) {
        0 => 0,
        n if delay > 0 => n * (to - from),
        n => to / n - from / n,
    }
}

fn remove_quietly(disk: &dyn disk::Disk, path: &Path) {
    // A left-over is removed at the next start as well.
    let _ = disk.remove(path);
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
