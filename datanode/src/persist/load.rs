//! Reading files: at start, and a snapshot that has been received from a master.

use std::collections::VecDeque;
use std::path::Path;

use super::log::{Log, POSITION};
use super::turn;
use crate::aof::files::{BaseFormat, LoadPart};
use crate::aof::load::{LoadError, LoadErrorKind, PartReader, Step};
use crate::aof::read::ReadError;
use crate::command::table;
use crate::io::{ConnId, Io};
use crate::managed::Lineage;
use crate::rdb::decode::{Counts, Decoder, Entry, Event, Expired};
use crate::replication::parse_offset;
use crate::script::function::Restore;
use crate::server::Server;
use crate::server::dispatch::Origin;
use crate::store::keyspace::Keyspace;

/// What a file says of itself.
#[derive(Debug, Default)]
pub(super) struct Facts {
    lineage: Lineage,
    /// How many keys there were.
    pub(super) counts: Counts,
    /// Replication id and offset.
    position: Option<(String, u64)>,
    /// Keys, with their databases, that were left out because they had expired: those who followed us have them.
    left_out: Vec<(u32, Vec<u8>)>,
    /// Texts of libraries of functions.
    functions: Vec<Vec<u8>>,
    /// The database that was named last.
    db: usize,
}

/// A place in no connection: commands of files come from nobody.
const NOBODY: ConnId = ConnId(u64::MAX);

impl Server {
    /// Loads what is on disk. The error is what the process ends with; under a shard map the node stays up instead, says
    /// what is wrong and touches nothing.
    pub(crate) fn load_dataset(&mut self, io: &mut Io) -> Result<(), String> {
        self.loading = true;
        let started = std::time::Instant::now();
        let outcome = self.load_files(io);
        self.loading = false;
        self.persist.progress = None;
        match outcome {
            Ok(()) => {
                let keys = self.keyspace.all_keys();
                tracing::info!("DB loaded: {keys} keys, {:.3} seconds", started.elapsed().as_secs_f64());
                self.remove_leftovers();
                Ok(())
            }
            Err(e) if self.managed.is_some() => {
                tracing::error!("The data on disk cannot be loaded: {e}");
                self.keyspace.flush_all();
                self.persist.lineage = Lineage::default();
                self.persist.log = None;
                self.persist.restore_error = Some(e);
                Ok(())
            }
            Err(e) if self.config.appendonly || self.shutdown.is_some() => Err(e),
            Err(e) => {
                tracing::error!("{e}");
                tracing::error!("Terminating server after rdb file reading failure. {e}");
                Err("Fatal error loading the DB, check server logs. Exiting.".into())
            }
        }
    }

    /// What earlier processes were about to write when they ended; the append-only file sees to its own.
    fn remove_leftovers(&self) {
        let acl = (!self.config.aclfile.is_empty()).then(|| self.config.dir.join(&self.config.aclfile));
        let managed = self.managed.as_ref().map(|m| m.path().to_owned());
        let config = self.config.extra.config_file.clone();
        let own = [self.rdb_path(), self.synced_path()];
        for path in own.into_iter().chain(acl).chain(managed).chain(config) {
            if let Err(e) = crate::disk::remove_leftovers(&*self.disk, &path) {
                tracing::warn!("What is left of attempts to write {} cannot be removed: {e}", path.display());
            }
        }
    }

    fn load_files(&mut self, io: &mut Io) -> Result<(), String> {
        let mut facts = Facts::default();
        if self.config.appendonly {
            let mut files = self.open_aof_files()?;
            let parts = files.parts().map_err(|e| e.to_string())?;
            if parts.is_empty() {
                // A log that is switched on beside an existing RDB file must not hide that file's data.
                self.load_rdb_file(io, &mut facts)?;
                self.take_position(&facts);
                self.persist.log = Some(Log::begin(files, self.repl.offset())?);
                return self.write_base_now(io);
            }
            for part in &parts {
                if let Some(cut_at) = self.load_log_part(io, part, &mut facts)? {
                    files.cut(part, cut_at).map_err(|e| e.to_string())?;
                }
            }
            self.take_position(&facts);
            self.note_loaded(facts.counts);
            let size = parts.iter().map(|p| p.len).sum();
            if let Some(end) = files.resume().map_err(|e| e.to_string())? {
                self.persist.log = Some(Log::resumed(files, end, size, self.repl.offset()));
                self.persist.loaded_from_log = true;
            }
        } else {
            self.load_rdb_file(io, &mut facts)?;
            self.take_position(&facts);
        }
        self.persist.dirty = 0;
        self.effects.clear();
        self.effects.dirty = 0;
        Ok(())
    }

    /// Takes over lineage and place in the stream, so that replicas, or we as one, can resume.
    fn take_position(&mut self, facts: &Facts) {
        self.persist.lineage = facts.lineage.clone();
        if let Some((id, offset)) = &facts.position {
            self.repl.restore(id.clone(), *offset);
            if self.managed.is_none() && self.config.replicaof.is_none() {
                // A master takes a new id; those who followed the old one can go on from here.
                self.repl.fork(&mut self.rng);
                self.repl.ensure_backlog(&self.config);
                self.tell_of_left_out(facts);
            }
        }
    }

    /// Replicas that go on from where they were keep what has expired until they are told: they are, by the stream.
    fn tell_of_left_out(&mut self, facts: &Facts) {
        let name: &[u8] = if self.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
        for (db, key) in &facts.left_out {
            self.add_effect(*db as usize, &[name, key], Origin::Client);
            self.release_effects();
        }
    }

    fn load_rdb_file(&mut self, io: &mut Io, facts: &mut Facts) -> Result<(), String> {
        let path = self.rdb_path();
        match self.disk.len(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(format!("{} cannot be read: {e}", path.display())),
            Ok(_) => {}
        }
        let follows = self.config.replicaof.is_some() || self.managed.is_some();
        let expired = if follows { Expired::Keep } else { Expired::Skip { now_ms: io.now.unix_ms } };
        self.keyspace = self.read_rdb(io, &path, expired, facts)?;
        self.note_loaded(facts.counts);
        self.take_functions(facts)
    }

    /// Has the libraries of a file, and no others.
    pub(super) fn take_functions(&mut self, facts: &mut Facts) -> Result<(), String> {
        self.restore_functions(facts, Restore::Flush)
    }

    /// Has the libraries of a file beside those that are there; all or none of them.
    pub(super) fn add_functions(&mut self, facts: &mut Facts, replace: bool) -> Result<(), String> {
        self.restore_functions(facts, if replace { Restore::Replace } else { Restore::Append })
    }

    fn restore_functions(&mut self, facts: &mut Facts, how: Restore) -> Result<(), String> {
        let texts = std::mem::take(&mut facts.functions);
        let libraries = &mut self.scripting.libraries;
        libraries.restore(&texts, how).map_err(|e| format!("a library of functions: {}", e.text()))
    }

    /// For INFO and the log: what was in the file that was read last.
    pub(super) fn note_loaded(&mut self, counts: Counts) {
        let Counts { keys, expired, empty, .. } = counts;
        tracing::info!(
            "Done loading RDB, keys loaded: {}, keys expired: {expired}, empty keys skipped: {empty}.",
            keys - expired - empty
        );
        self.persist.loaded = counts;
    }

    pub(super) fn empty_keyspace(&self) -> Keyspace {
        Keyspace::new(self.config.databases as usize, self.limits.seed)
    }

    /// Reads an RDB file into a keyspace of its own.
    pub(super) fn read_rdb(
        &mut self,
        io: &mut Io,
        path: &Path,
        expired: Expired,
        facts: &mut Facts,
    ) -> Result<Keyspace, String> {
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let inner = self.disk.open_read(path).map_err(|e| failed(&e))?;
        let mut keyspace = self.empty_keyspace();
        let len = self.disk.len(path).map_err(|e| failed(&e))?;
        let mut decoder = Decoder::new(inner, self.limits.clone(), expired);
        let mut waiting = Waiting::default();
        self.begin_progress(io, len);
        loop {
            self.delay_load(decoder.counts().keys);
            self.note_progress(io, decoder.offset())?;
            let event = decoder.next_event().map_err(|e| failed(&e))?;
            let left_out = decoder.take_left_out();
            if facts.position.is_some() {
                facts.left_out.extend(left_out);
            }
            let taken = take_event(event, &mut keyspace, &mut waiting, facts, len);
            if taken.map_err(|e| failed(&e))? == Whole::Yes {
                facts.counts = decoder.counts();
                return Ok(keyspace);
            }
        }
    }

    /// Loads one file of the append-only file. Where its tail is torn and that may be mended: where to cut it.
    pub(super) fn load_log_part(
        &mut self,
        io: &mut Io,
        part: &LoadPart,
        facts: &mut Facts,
    ) -> Result<Option<u64>, String> {
        let mut reader = PartReader::open(&*self.disk, part, &self.limits).map_err(|e| e.to_string())?;
        let mut preamble = None;
        let mut commands = 0u64;
        self.begin_progress(io, part.len);
        self.origin_db = 0;
        let cut = loop {
            self.note_progress(io, reader.offset())?;
            match reader.next_step() {
                Ok(None) => break None,
                Ok(Some(Step::Preamble(event))) => {
                    let (keyspace, waiting, read) = preamble
                        .get_or_insert_with(|| (self.empty_keyspace(), Waiting::default(), Facts::default()));
                    if take_event(event, keyspace, waiting, read, part.len)? == Whole::Yes
                        && let Some((keyspace, _, read)) = preamble.take()
                    {
                        self.keyspace = keyspace;
                        *facts = read;
                        self.take_functions(facts)?;
                    }
                }
                Ok(Some(Step::Command(command))) => {
                    let args = command.as_args();
                    commands += 1;
                    self.delay_load(commands);
                    let Ok(spec) = table::find(args) else {
                        return Err(format!(
                            "Unknown command '{}' reading the append only file {}",
                            String::from_utf8_lossy(args.at(0)),
                            part.path.display()
                        ));
                    };
                    self.apply(io, NOBODY, spec, args, Origin::Aof).map_err(|e| {
                        format!("{}: a command cannot be executed: {}", part.path.display(), e.text())
                    })?;
                }
                Err(LoadError {
                    kind: LoadErrorKind::Commands(ReadError::Truncated { valid, .. }),
                    path,
                }) if part.may_be_cut && self.config.aof_load_truncated => {
                    tracing::warn!(
                        "AOF loaded anyway because aof-load-truncated is enabled: {} is cut to {valid} bytes",
                        path.display()
                    );
                    break Some(valid);
                }
                Err(e) => return Err(e.to_string()),
            }
        };
        let tail = reader.tail();
        match tail.annotation.as_ref().and_then(|(line, at)| Some((parse_position(line)?, *at))) {
            Some(((lineage, id, offset), at)) => {
                facts.lineage = lineage;
                facts.position = Some((id, offset + tail.valid.saturating_sub(at)));
            }
            // Without a position of its own the file goes on where the one before ended.
            None => {
                if let Some((_, offset)) = &mut facts.position {
                    *offset += tail.valid.saturating_sub(tail.start);
                }
            }
        }
        Ok(cut)
    }

    /// Loads a received snapshot beside the present data, and takes it only when it is whole.
    pub(crate) fn load_snapshot_of_master(&mut self, io: &mut Io, temp: &Path) -> Result<(), String> {
        let mut facts = Facts::default();
        if let Some(board) = &self.metrics {
            board.busy("the master's snapshot is being loaded");
        }
        match self.shares_history() {
            true => self.async_loading = true,
            false => self.loading = true,
        }
        let read = self.read_rdb(io, temp, Expired::Keep, &mut facts);
        (self.loading, self.async_loading) = (false, false);
        self.persist.progress = None;
        let keyspace = read?;
        self.take_functions(&mut facts)?;
        self.take_keyspace(io, keyspace);
        self.note_loaded(facts.counts);
        self.persist.lineage = facts.lineage;
        Ok(())
    }

    /// Makes the received snapshot the local file: base of a new append-only file, or the RDB file.
    pub(crate) fn adopt_synced_file(&mut self, io: &mut Io, temp: &Path) -> Result<(), String> {
        let text = |e: std::io::Error| e.to_string();
        self.persist.restore_error = None;
        if self.config.appendonly {
            let disk = self.disk.clone();
            let len = disk.len(temp).map_err(text)?;
            let log = self.log_begun_anew()?;
            let base = log.temp_base();
            disk.rename(temp, &base).map_err(text)?;
            let file = disk.open_append(&base).map_err(text)?;
            log.publish_base(&*file, len, BaseFormat::Rdb)?;
            // That was one.
            self.persist.rewrite_scheduled = false;
            self.remove_history(io);
        } else if !self.config.save.is_empty() {
            let file = self.disk.open_append(temp).map_err(text)?;
            let _turn = turn(&self.persist.publishing);
            crate::disk::publish(&*self.disk, &*file, temp, &self.rdb_path()).map_err(text)?;
        } else {
            self.disk.remove(temp).map_err(text)?;
        }
        Ok(())
    }
}

/// Whether a file has been read to its end, and found sound.
#[derive(PartialEq, Eq)]
enum Whole {
    Yes,
    NotYet,
}

/// Bytes of a file that a key takes at least.
const LEAST_ENTRY: u64 = 4;

/// Keys that have been read and not been put into the table yet: their places in it are being fetched from memory.
#[derive(Default)]
struct Waiting(VecDeque<Box<Entry>>);

impl Waiting {
    /// So many keys wait.
    const MOST: usize = 8;

    /// Adds a key, and puts those in that have waited long enough.
    fn add(&mut self, e: Box<Entry>, keyspace: &mut Keyspace) -> Result<(), String> {
        keyspace.fetch_place(e.db as usize, &e.key);
        self.0.push_back(e);
        self.put(keyspace, Self::MOST)
    }

    /// Puts keys in until no more than `rest` wait.
    fn put(&mut self, keyspace: &mut Keyspace, rest: usize) -> Result<(), String> {
        while self.0.len() > rest
            && let Some(e) = self.0.pop_front()
        {
            let db = e.db as usize;
            if keyspace.insert(db, &e.key, e.value, e.meta.expire_at_ms).is_some() {
                return Err(format!("the key '{}' is there twice in database {db}", e.key.escape_ascii()));
            }
        }
        Ok(())
    }
}

/// Takes over one event of an RDB file of so many bytes.
fn take_event(
    event: Event,
    keyspace: &mut Keyspace,
    waiting: &mut Waiting,
    facts: &mut Facts,
    file_len: u64,
) -> Result<Whole, String> {
    match event {
        Event::Aux(name, value) => {
            let text = String::from_utf8_lossy(&value).into_owned();
            match name.as_slice() {
                b"repl-id" => facts.position = Some((text, facts.position.as_ref().map_or(0, |p| p.1))),
                b"repl-offset" => {
                    // The id comes first; an offset alone means nothing.
                    if let (Some(position), Some(offset)) = (&mut facts.position, parse_offset(&text)) {
                        position.1 = offset;
                    }
                }
                b"replicaset-dataset" => facts.lineage.dataset = Some(text),
                b"replicaset-epoch" => facts.lineage.epoch = text.parse().unwrap_or(0),
                _ => {}
            }
        }
        Event::Entry(e) => {
            let db = e.db as usize;
            if db >= keyspace.databases() {
                return Err(format!(
                    "there are keys in database {db}, this server has {}",
                    keyspace.databases()
                ));
            }
            waiting.add(e, keyspace)?;
            facts.counts.keys += 1;
        }
        Event::Function(text) => facts.functions.push(text),
        Event::SelectDb(db) => facts.db = db as usize,
        Event::ResizeDb(keys, _) => {
            // It is only a hint, but there cannot be more of them than the file has room for.
            if facts.db < keyspace.databases() {
                keyspace.reserve(facts.db, keys.min(file_len / LEAST_ENTRY) as usize);
            }
        }
        Event::End(_) => {
            waiting.put(keyspace, 0)?;
            return Ok(Whole::Yes);
        }
    }
    Ok(Whole::NotYet)
}

/// Reads an annotation of [`Log::annotate`].
fn parse_position(line: &[u8]) -> Option<(Lineage, String, u64)> {
    let text = std::str::from_utf8(line.strip_prefix(POSITION)?).ok()?;
    let mut words = text.trim_end().split(':');
    let dataset = words.next()?.to_owned();
    let epoch = words.next()?.parse().ok()?;
    let id = words.next()?.to_owned();
    let offset = parse_offset(words.next()?)?;
    Some((Lineage { dataset: Some(dataset), epoch }, id, offset))
}
