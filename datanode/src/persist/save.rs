//! Snapshots that are made at once, and the beginnings of those that take their time.

use super::shared_files::SharedFiles;
use super::sink::{CHUNK, FileSink, Form};
use super::snapshot::{Running, Target};
use super::turn;
use crate::aof::commands::CommandWriter;
use crate::aof::files::BaseFormat;
use crate::aof::write::timestamp;
use crate::config::REDIS_VERSION;
use crate::disk::{self, DiskFile};
use crate::io::Io;
use crate::rdb::encode::{Encoder, Preamble, Replication};
use crate::replication::random_id;
use crate::server::Server;
use crate::store::keyspace::SnapshotSink;

impl Server {
    pub(super) fn sink(&self, io: &Io, aof_base: bool) -> FileSink {
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

    pub(super) fn base_format(&self) -> BaseFormat {
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

    pub(super) fn saved(&mut self, io: &Io, dirty_since: u64) {
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
    pub(super) fn start_sync_if_due(&mut self, io: &mut Io) {
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
