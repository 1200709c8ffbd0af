//! The files of the log in `DIR/appenddirname`, and the order in which they come and go.
//!
//! At start: [`AofFiles::open`], load [`AofFiles::parts`] in order, [`AofFiles::resume`]. A rewrite: [`AofFiles::next_incr`]
//! makes a new incremental file into which what follows is directed, the base is prepared under [`AofFiles::temp_base`] from the dataset
//! of that moment, [`AofFiles::publish_base`] puts it in place of all before. A log that does not continue an earlier one
//! starts with [`AofFiles::begin_anew`] instead.
//!
//! Invariant: whatever the moment of a crash, the manifest on disk names a base and incremental files that are there
//! whole, but for a tail of the last file in use that had not been synced. So each file is durable under its name before
//! a manifest mentions it, and is removed only after a durable manifest has stopped loading it; the file before is synced
//! before its successor takes writes; and no number is used twice while the process lives. After a failed replacement it
//! is not known which manifest is on disk: until one has succeeded nothing that either of them names is removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::{Manifest, ManifestError, Part};
use super::write::Appender;
use crate::disk::{self, Disk, DiskFile};

/// How a base file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseFormat {
    /// RDB (`aof-use-rdb-preamble yes`).
    Rdb,
    /// Commands.
    Aof,
}

/// A file to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadPart {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// Whether it is the base.
    pub base: bool,
    /// Whether its tail may have been cut off by a crash: nothing is written behind it.
    pub may_be_cut: bool,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The file system failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The manifest cannot be understood.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ManifestError,
    },
    /// A file that the manifest names is not there.
    #[error("The append log file {} doesn't exist: No such file or directory", .0.display())]
    Missing(PathBuf),
}

/// The files of one log.
pub struct AofFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    name: String,
    manifest: Manifest,
    /// The incremental file of a log that is begun anew: not in the manifest before its base is.
    unlisted: Option<Part>,
    /// Files of attempts that were given up, which the manifest in force does not name.
    orphans: Vec<Part>,
    /// The last replacement of the manifest has failed: the one on disk may name orphans.
    unsure: bool,
    last_base: i64,
    last_incr: i64,
}

impl AofFiles {
    /// Reads the manifest, if there is one. Moves the single file of Redis 6 (`DIR/appendfilename`) into the directory
    /// as the log's base if there is no log yet. `dir` is the working directory, the names are `appenddirname` and
    /// `appendfilename`.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, dirname: &str, name: &str) -> Result<AofFiles, FilesError> {
        let mut files = AofFiles {
            disk,
            dir: dir.join(dirname),
            name: name.to_owned(),
            manifest: Manifest::default(),
            unlisted: None,
            orphans: Vec::new(),
            unsure: false,
            last_base: 0,
            last_incr: 0,
        };
        let path = files.manifest_path();
        match disk::read(&*files.disk, &path) {
            Ok(bytes) => match Manifest::parse(&bytes) {
                Ok(manifest) => files.manifest = manifest,
                Err(source) => return Err(FilesError::Manifest { path, source }),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(FilesError::Io { doing: "read", path, source }),
        }
        files.upgrade(dir)?;
        let m = &files.manifest;
        files.last_base = m.base.iter().chain(&m.history).map(|p| p.seq).max().unwrap_or(0);
        files.last_incr = m.incr.iter().chain(&m.history).map(|p| p.seq).max().unwrap_or(0);
        Ok(files)
    }

    /// As Redis 7 does, in an order that can be interrupted anywhere and goes on at the next start.
    fn upgrade(&mut self, root: &Path) -> Result<(), FilesError> {
        let (old, new) = (root.join(&self.name), self.dir.join(&self.name));
        let interrupted = self.manifest.incr.is_empty()
            && self.manifest.base.as_ref().is_some_and(|b| b.name == self.name)
            && !self.exists(&new)?;
        if !self.exists(&old)? || !(self.manifest.is_empty() || interrupted) {
            return Ok(());
        }
        let file = self.disk.open_append(&old).map_err(io_error("open", &old))?;
        file.sync().map_err(io_error("sync", &old))?;
        self.create_dir()?;
        let base = Some(Part { name: self.name.clone(), seq: 1 });
        self.replace_manifest(Manifest { base, ..Manifest::default() })?;
        self.disk.rename(&old, &new).map_err(io_error("move", &old))?;
        self.sync_dir(&self.dir)?;
        self.sync_dir(root)
    }

    /// The files to load, in order. Empty if there is no log yet.
    pub fn parts(&self) -> Result<Vec<LoadPart>, FilesError> {
        let mut parts = Vec::new();
        let incr = self.manifest.incr.iter().map(|p| (p, false));
        for (part, base) in self.manifest.base.iter().map(|p| (p, true)).chain(incr) {
            let path = self.dir.join(&part.name);
            match self.disk.len(&path) {
                Ok(len) => parts.push(LoadPart { path, len, base, may_be_cut: false }),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(FilesError::Missing(path)),
                Err(source) => return Err(FilesError::Io { doing: "find", path, source }),
            }
        }
        let mut behind = 0;
        for part in parts.iter_mut().rev() {
            part.may_be_cut = behind == 0;
            behind += part.len;
        }
        Ok(parts)
    }

    /// Cuts a file whose tail a crash has torn, and makes that durable.
    pub fn cut(&self, part: &LoadPart, len: u64) -> Result<(), FilesError> {
        let file = self.disk.open_append(&part.path).map_err(io_error("open", &part.path))?;
        file.truncate(len).and_then(|()| file.sync()).map_err(io_error("truncate", &part.path))
    }

    /// Opens the log's end to go on writing, once all parts have been loaded. `None` if there is no log yet, which
    /// [`AofFiles::begin_anew`] changes.
    pub fn resume(&mut self) -> Result<Option<Appender>, FilesError> {
        if self.manifest.is_empty() {
            return Ok(None);
        }
        // A process that was killed may have left files and names that are in use but not durable yet.
        self.sync_dir(&self.dir)?;
        self.remove_leftovers()?;
        let mut end = None;
        // What was written last may be in a file before the last one, which then is still empty.
        for part in &self.manifest.incr {
            let path = self.dir.join(&part.name);
            let file = self.disk.open_append(&path).map_err(io_error("open", &path))?;
            file.sync().map_err(io_error("sync", &path))?;
            let len = self.disk.len(&path).map_err(io_error("find", &path))?;
            end = Some(Appender::new(file, len));
        }
        if end.is_none() {
            end = Some(self.add_incr()?);
        }
        Ok(end)
    }

    /// Makes a new file, for the log to go on in from the moment on whose dataset the coming base is to hold. Until then
    /// it goes on where it is, and if there is no such moment, for good. Nothing may be written to the new file before
    /// all of the old one is durable, or a crash could leave a gap. Waits for the disk.
    pub fn next_incr(&mut self) -> Result<Appender, FilesError> {
        if self.unlisted.is_some() {
            return Err(self.misused("rewrite the AOF before its first base is published in"));
        }
        self.add_incr()
    }

    /// Starts a log that continues none: it counts from [`AofFiles::publish_base`] on, and until then what is on disk
    /// stays as it is. Called again, it gives the earlier attempt up.
    pub fn begin_anew(&mut self) -> Result<Appender, FilesError> {
        self.create_dir()?;
        self.orphans.extend(self.unlisted.take());
        if !self.unsure {
            self.remove_orphans();
        }
        let (part, log) = self.create_incr()?;
        self.unlisted = Some(part);
        Ok(log)
    }

    /// Where to prepare a base.
    pub fn temp_base(&self) -> PathBuf {
        disk::temp_name(&self.dir.join(self.base_name()))
    }

    fn base_name(&self) -> String {
        format!("{}.base", self.name)
    }

    /// Puts the finished base at [`AofFiles::temp_base`] in the place of everything before the latest
    /// [`AofFiles::next_incr`] or [`AofFiles::begin_anew`]. Syncs `file` first. On failure the log goes on as it was.
    pub fn publish_base(&mut self, file: &dyn DiskFile, format: BaseFormat) -> Result<(), FilesError> {
        let Some(current) = self.unlisted.as_ref().or(self.manifest.incr.last()).cloned() else {
            return Err(self.misused("publish a base before a rewrite has begun in"));
        };
        self.put_base(file, format, Some(current))
    }

    /// Puts the finished base at [`AofFiles::temp_base`] in the place of everything, while no log is being written.
    pub fn publish_alone(&mut self, file: &dyn DiskFile, format: BaseFormat) -> Result<(), FilesError> {
        self.put_base(file, format, None)
    }

    fn put_base(
        &mut self,
        file: &dyn DiskFile,
        format: BaseFormat,
        current: Option<Part>,
    ) -> Result<(), FilesError> {
        self.last_base += 1;
        let extension = if format == BaseFormat::Rdb { "rdb" } else { "aof" };
        let base =
            Part { name: format!("{}.{}.base.{extension}", self.name, self.last_base), seq: self.last_base };
        let (temp, path) = (self.temp_base(), self.dir.join(&base.name));
        // Whatever becomes of it, it is no person's.
        self.orphans.push(base.clone());
        disk::publish(&*self.disk, file, &temp, &path).map_err(io_error("publish", &path))?;
        let old = self.manifest.clone();
        let mut history = old.history;
        history.extend(old.base);
        history.extend(old.incr.into_iter().filter(|p| Some(p) != current.as_ref()));
        self.replace_manifest(Manifest { base: Some(base), history, incr: Vec::from_iter(current) })?;
        self.unlisted = None;
        Ok(())
    }

    /// Files that are replaced. Remove them (a missing one is fine; large ones take long, so elsewhere), then
    /// [`AofFiles::forget_history`]. What is not removed before a crash is at the next start.
    pub fn history(&self) -> Vec<PathBuf> {
        self.manifest.history.iter().map(|p| self.dir.join(&p.name)).collect()
    }

    /// Strikes the removed files off the manifest.
    pub fn forget_history(&mut self) -> Result<(), FilesError> {
        if self.manifest.history.is_empty() {
            return Ok(());
        }
        self.sync_dir(&self.dir)?;
        self.replace_manifest(Manifest { history: Vec::new(), ..self.manifest.clone() })
    }

    /// Where the manifest is.
    pub fn manifest_path(&self) -> PathBuf {
        self.dir.join(format!("{}.manifest", self.name))
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Removes replaced files and what an interrupted rewrite has left under temporary names. Files that only look like
    /// parts of a log stay: they may be a person's.
    fn remove_leftovers(&mut self) -> Result<(), FilesError> {
        for path in [self.dir.join(self.base_name()), self.manifest_path()] {
            disk::remove_leftovers(&*self.disk, &path).map_err(io_error("remove what is left of", &path))?;
        }
        for path in self.history() {
            match self.disk.remove(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &path)(e)),
                _ => {}
            }
        }
        self.forget_history()
    }

    fn add_incr(&mut self) -> Result<Appender, FilesError> {
        let (part, log) = self.create_incr()?;
        self.orphans.push(part.clone());
        let mut manifest = self.manifest.clone();
        manifest.incr.push(part);
        self.replace_manifest(manifest)?;
        Ok(log)
    }

    fn create_incr(&mut self) -> Result<(Part, Appender), FilesError> {
        self.last_incr += 1;
        let part = Part { name: format!("{}.{}.incr.aof", self.name, self.last_incr), seq: self.last_incr };
        let path = self.dir.join(&part.name);
        let file = self.disk.create(&path).map_err(io_error("create", &path))?;
        file.sync().map_err(io_error("sync", &path))?;
        self.sync_dir(&self.dir)?;
        Ok((part, Appender::new(file, 0)))
    }

    fn replace_manifest(&mut self, manifest: Manifest) -> Result<(), FilesError> {
        let path = self.manifest_path();
        self.unsure = true;
        disk::replace(&*self.disk, &path, &manifest.format()).map_err(io_error("replace", &path))?;
        self.unsure = false;
        let Manifest { base, history, incr } = &manifest;
        let named = |part: &Part| base.iter().chain(history).chain(incr).any(|p| p == part);
        self.orphans.retain(|part| !named(part));
        self.manifest = manifest;
        self.remove_orphans();
        Ok(())
    }

    /// Only while the manifest on disk is the one in force. What cannot be removed is tried again the next time.
    fn remove_orphans(&mut self) {
        let (disk, dir) = (&self.disk, &self.dir);
        self.orphans.retain(|part| match disk.remove(&dir.join(&part.name)) {
            Err(e) => e.kind() != io::ErrorKind::NotFound,
            Ok(()) => false,
        });
    }

    /// Makes the directory, where there is none.
    pub fn create_dir(&self) -> Result<(), FilesError> {
        self.disk.create_dir(&self.dir).map_err(io_error("create", &self.dir))?;
        self.dir.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), FilesError> {
        self.disk.sync_dir(dir).map_err(io_error("sync", dir))
    }

    fn misused(&self, doing: &'static str) -> FilesError {
        FilesError::Io { doing, path: self.dir.clone(), source: io::ErrorKind::InvalidInput.into() }
    }

    fn exists(&self, path: &Path) -> Result<bool, FilesError> {
        match self.disk.len(path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(io_error("find", path)(e)),
        }
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    move |source| FilesError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
