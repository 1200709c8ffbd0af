//! `DEBUG RELOAD` and `LOADAOF`: the dataset is read again from its files. It takes the present one's place only once it
//! has been read whole.

use super::load::Facts;
use crate::aof::files::LoadPart;
use crate::command::Error;
use crate::io::{Io, Lane};
use crate::rdb::decode::Expired;
use crate::server::{JobKind, Server};
use crate::store::keyspace::{KeyEntry, Keyspace};

const NOT_LOADED: &str = "ERR Error trying to load the RDB dump";

/// How to reload the RDB file.
#[derive(Debug, Clone, Copy)]
pub struct Reload {
    /// Write it before.
    pub save: bool,
    /// Its keys take the place of all others; otherwise they are added.
    pub flush: bool,
    /// Its keys may replace those that are there; otherwise nothing is loaded if there is one.
    pub merge: bool,
}

impl Server {
    /// `DEBUG RELOAD`
    pub(crate) fn reload_rdb(&mut self, io: &mut Io, how: Reload) -> Result<(), Error> {
        self.may_reload()?;
        self.release_effects();
        if how.save {
            // Why is in the log.
            self.save_now(io).map_err(|_| Error::from("ERR"))?;
        }
        let expired = if self.is_master() { Expired::Skip { now_ms: io.now.unix_ms } } else { Expired::Keep };
        let (mut facts, path) = (Facts::default(), self.rdb_path());
        self.loading = true;
        let loaded = self.read_rdb(io, &path, expired, &mut facts);
        self.loading = false;
        self.persist.progress = None;
        let loaded = loaded.map_err(|e| {
            tracing::warn!("DEBUG RELOAD: {e}");
            Error::from(NOT_LOADED)
        })?;
        if how.flush {
            self.take_functions(&mut facts).map_err(|e| {
                tracing::warn!("DEBUG RELOAD: {e}");
                Error::from(NOT_LOADED)
            })?;
            self.take_keyspace(io, loaded);
        } else {
            self.check_added(&loaded, how.merge)?;
            self.add_functions(&mut facts, how.merge).map_err(|e| {
                tracing::warn!("DEBUG RELOAD: {e}");
                Error::from(NOT_LOADED)
            })?;
            self.add_keyspace(&loaded);
        }
        self.note_loaded(facts.counts);
        if !how.save || !how.flush {
            self.touch_all_watched();
            // The append-only file does not have what was loaded.
            self.persist.rewrite_scheduled |= self.persist.aof_on();
        }
        tracing::warn!("DB reloaded by DEBUG RELOAD");
        Ok(())
    }

    /// One file is loaded at a time.
    fn may_reload(&self) -> Result<(), Error> {
        if self.in_load() { Err("LOADING Redis is loading the dataset in memory".into()) } else { Ok(()) }
    }

    /// Unless its keys may `replace` others, none of another keyspace's is there already.
    fn check_added(&self, other: &Keyspace, replace: bool) -> Result<(), Error> {
        if !replace
            && let Some((db, e)) = all_of(other).find(|(db, e)| self.keyspace.peek(*db, e.key()).is_some())
        {
            let key = String::from_utf8_lossy(e.key());
            tracing::warn!("DEBUG RELOAD: key '{key}' of database {db} is there already: nothing was loaded");
            return Err(NOT_LOADED.into());
        }
        Ok(())
    }

    /// Adds all keys of another keyspace.
    fn add_keyspace(&mut self, other: &Keyspace) {
        for (db, e) in all_of(other) {
            self.keyspace.insert(db, e.key(), e.value().to_value(), e.expire_at());
        }
    }

    /// Puts another keyspace in the present one's place, which is freed in the background.
    pub(super) fn take_keyspace(&mut self, io: &mut Io, keyspace: Keyspace) {
        self.abort_snapshot(io);
        let old = std::mem::replace(&mut self.keyspace, keyspace);
        self.background(io, Lane::Free, JobKind::Quiet, move || {
            drop(old);
            Ok(0)
        });
    }

    /// `DEBUG LOADAOF`
    pub(crate) fn reload_log(&mut self, io: &mut Io) -> Result<(), Error> {
        self.may_reload()?;
        self.release_effects();
        let failed = |e: String| {
            tracing::error!("DEBUG LOADAOF: {e}");
            Error::from("ERR Error trying to load the AOF files, check server logs.")
        };
        if let Some(log) = &mut self.persist.log {
            log.sync().map_err(|e| failed(e.to_string()))?;
        }
        let parts = match &self.persist.log {
            Some(log) => log.files().with(|f| f.parts()).map_err(|e| e.to_string()),
            None => self.open_aof_files().and_then(|f| f.parts().map_err(|e| e.to_string())),
        };
        let parts = parts.map_err(failed)?;
        if parts.is_empty() {
            return Err("ERR there is no whole append-only file to load".into());
        }
        let (dirty, db) = (self.effects.dirty, self.origin_db);
        let empty = self.empty_keyspace();
        let old = std::mem::replace(&mut self.keyspace, empty);
        let libraries = std::mem::take(&mut self.scripting.libraries);
        self.loading = true;
        let outcome = self.read_log(io, &parts);
        self.loading = false;
        self.persist.progress = None;
        if outcome.is_err() {
            self.scripting.libraries = libraries;
        }
        self.effects.clear();
        (self.effects.dirty, self.origin_db) = (dirty, db);
        let loaded = std::mem::replace(&mut self.keyspace, old);
        outcome.map_err(failed)?;
        self.take_keyspace(io, loaded);
        tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
        Ok(())
    }

    /// Reads the files of a log into the keyspace.
    fn read_log(&mut self, io: &mut Io, parts: &[LoadPart]) -> Result<(), String> {
        for part in parts {
            if self.load_log_part(io, part, &mut Facts::default())?.is_some() {
                return Err(format!("{} is cut off", part.path.display()));
            }
        }
        Ok(())
    }
}

/// A keyspace's entries, with their database.
fn all_of(keyspace: &Keyspace) -> impl Iterator<Item = (usize, &KeyEntry)> {
    (0..keyspace.databases()).flat_map(move |db| keyspace.iter(db).map(move |e| (db, e)))
}
