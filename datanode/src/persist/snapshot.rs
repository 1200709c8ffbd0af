//! Snapshots without a fork: the keyspace is walked a little at each tick while commands go on; whatever a command is
//! about to change has been encoded before. One at a time, for the RDB file, the base of the append-only file, or replicas.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::sink::{CHUNK, FileSink};
use super::{PersistJob, SNAPSHOT_RETRY_MS, rewrite_pause_ms, turn};
use crate::disk::{self, DiskFile};
use crate::io::{ConnId, Io, Lane};
use crate::replication::master::SNAPSHOT_HIGH_WATER;
use crate::server::{JobKind, Server};

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
pub(super) enum Target {
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
    pub(super) file: Option<Arc<dyn DiskFile>>,
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
    pub(super) fn begin(
        &mut self,
        io: &mut Io,
        target: Target,
        file: Option<Arc<dyn DiskFile>>,
        aof_base: bool,
    ) {
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
        let file = if piecemeal { file.map(|f| disk::synced_on_the_way(f, SYNC_EVERY)) } else { file };
        self.persist.snapshot = Some(self.running(io, target, file, false));
    }

    pub(super) fn running(
        &self,
        io: &Io,
        target: Target,
        file: Option<Arc<dyn DiskFile>>,
        resting: bool,
    ) -> Running {
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

    pub(super) fn snapshot_failed(&mut self, io: &Io, rdb: bool, why: &str) {
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
