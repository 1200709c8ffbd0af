//! A file system in memory that fails on demand and forgets at a crash what was not made durable: for tests.
//!
//! It is as forgetful as POSIX allows: contents survive only as far as they were synced, names only as far as their
//! directory was. Beyond that a prefix of what was appended may survive, with zeros in the place of its end, and any of
//! the changes of names. After a failed sync the bytes that it was to make durable are never safe again, whatever a later
//! sync says. The same calls and the same seed give the same outcome.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile};
use crate::rng::Rng;

/// What goes wrong. A write that fails has written the first half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The n-th change (from 0) and all after it fail: the machine has crashed.
    CrashAt(u64),
    /// The n-th change fails, as on a full disk.
    FailAt(u64),
    /// The n-th change fails: an error of the device.
    BreakAt(u64),
    /// The disk is full from the n-th change on, until another fault is set: what needs space fails.
    FullFrom(u64),
    /// The device is broken from the n-th change on, until another fault is set: every change fails.
    BrokenFrom(u64),
}

/// What of the unsynced is found after a crash.
#[derive(Debug, Clone, Copy)]
pub enum Survives {
    /// Nothing: the power failed.
    Nothing,
    /// Everything: the process was killed.
    Everything,
    /// Some of it, by this seed: of each file a prefix whose end may be zeros; of the changes of names the first ones, as
    /// a journal keeps them, or any.
    Some(u64),
}

/// A change, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Create,
    Append,
    Sync,
    Truncate,
    Rename,
    Remove,
    SyncDir,
    CreateDir,
}

impl Call {
    fn needs_space(self) -> bool {
        matches!(self, Call::Create | Call::Append | Call::CreateDir)
    }

    /// What was changed before is made durable; nothing else happens.
    fn is_sync(self) -> bool {
        matches!(self, Call::Sync | Call::SyncDir)
    }
}

/// The file system as it was in the midst of a change: whether that is made depends on what survives.
pub struct Moment {
    /// The change.
    pub call: Call,
    /// What it changes; of a rename the new name.
    pub path: PathBuf,
    /// The file system.
    pub disk: FakeDisk,
}

/// Linux' numbers of the errors.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// One in so many files that survive in part ends in zeros.
const ZEROS_ONE_IN: u64 = 4;

#[derive(Debug, Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes from here up to there were part of a sync that failed.
    doomed: Vec<(usize, usize)>,
}

impl Content {
    fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        for &(from, to) in &self.doomed {
            self.durable[from..to].fill(0);
        }
    }

    fn sync_failed(&mut self) {
        let safe = self.durable.len().min(self.now.len());
        self.doomed.push((safe, self.now.len()));
    }

    fn truncate(&mut self, len: usize) {
        self.now.truncate(len);
        for (from, to) in &mut self.doomed {
            (*from, *to) = ((*from).min(len), (*to).min(len));
        }
    }

    /// What is found after a crash.
    fn survivor(&self, random: &mut Rng) -> Vec<u8> {
        if !self.now.starts_with(&self.durable) {
            return if random.below(2) == 0 { self.durable.clone() } else { self.now.clone() };
        }
        let safe = self.durable.len();
        let len = safe + random.below((self.now.len() - safe) as u64 + 1) as usize;
        let mut bytes = self.now[..len].to_vec();
        if random.below(ZEROS_ONE_IN) == 0 {
            let from = safe + random.below((len - safe) as u64 + 1) as usize;
            bytes[from..].fill(0);
        }
        bytes
    }
}

type Inode = Arc<Mutex<Content>>;

#[derive(Clone)]
enum Entry {
    File(Inode),
    Dir,
}

/// Names within one directory that change together.
type Change = Vec<(PathBuf, Option<Entry>)>;

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    /// Changes of names that no sync has covered, oldest first.
    unsynced: Vec<Change>,
    changes: u64,
    fault: Option<Fault>,
    /// The moments since they were last taken, where they are wanted.
    moments: Option<Vec<Moment>>,
}

/// The file system.
#[derive(Clone, Default)]
pub struct FakeDisk(Arc<Mutex<State>>);

struct FakeFile {
    disk: FakeDisk,
    inode: Inode,
    path: PathBuf,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl FakeDisk {
    /// An empty file system that has the directory `dir`.
    pub fn with_dir(dir: &Path) -> Self {
        let disk = FakeDisk::default();
        lock(&disk.0).names.insert(dir.to_owned(), Entry::Dir);
        lock(&disk.0).durable.insert(dir.to_owned(), Entry::Dir);
        disk
    }

    /// From now on this goes wrong; changes are counted from here.
    pub fn set_fault(&self, fault: Fault) {
        let mut state = lock(&self.0);
        state.fault = Some(fault);
        state.changes = 0;
    }

    /// Changes made since the fault was set.
    pub fn changes(&self) -> u64 {
        lock(&self.0).changes
    }

    /// Whether the machine has crashed, by [`Fault::CrashAt`].
    pub fn has_crashed(&self) -> bool {
        let state = lock(&self.0);
        matches!(state.fault, Some(Fault::CrashAt(at)) if state.changes > at)
    }

    /// From now on keeps what the disk is like in the midst of each change: [`FakeDisk::take_moments`].
    pub fn keep_moments(&self) {
        lock(&self.0).moments = Some(Vec::new());
    }

    /// The moments since the last call, oldest first.
    pub fn take_moments(&self) -> Vec<Moment> {
        lock(&self.0).moments.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The file system as it is found after a crash now: another one, that what is written to this one does not reach.
    pub fn after_crash(&self, survives: Survives) -> FakeDisk {
        let state = lock(&self.0);
        let mut random = match survives {
            Survives::Everything => {
                let disk = state.copy();
                lock(&disk.0).forgive();
                return disk;
            }
            Survives::Nothing => None,
            Survives::Some(seed) => Some(Rng::new(seed)),
        };
        let mut names = state.durable.clone();
        if let Some(random) = &mut random {
            let journal = random.below(2) == 0;
            let kept = random.below(state.unsynced.len() as u64 + 1) as usize;
            for (i, change) in state.unsynced.iter().enumerate() {
                if if journal { i < kept } else { random.below(2) == 0 } {
                    apply(&mut names, change);
                }
            }
        }
        let orphan = |p: &Path| p.parent().is_some_and(|d| d != Path::new("/") && !names.contains_key(d));
        let lost: Vec<_> = names.keys().filter(|p| orphan(p)).cloned().collect();
        for path in lost {
            names.remove(&path);
        }
        let mut found: HashMap<*const Mutex<Content>, Inode> = HashMap::new();
        for entry in names.values_mut() {
            let Entry::File(inode) = entry else { continue };
            let survivor = found.entry(Arc::as_ptr(inode)).or_insert_with(|| {
                let c = lock(inode);
                let bytes = random.as_mut().map_or_else(|| c.durable.clone(), |random| c.survivor(random));
                Arc::new(Mutex::new(Content { now: bytes.clone(), durable: bytes, doomed: Vec::new() }))
            });
            *entry = Entry::File(survivor.clone());
        }
        let state = State { durable: names.clone(), names, ..State::default() };
        FakeDisk(Arc::new(Mutex::new(state)))
    }

    /// Makes a change, if it is not its turn to fail. What `f` does is volatile, but for a sync.
    fn change<R>(
        &self,
        call: Call,
        path: &Path,
        f: impl FnOnce(&mut State) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut state = lock(&self.0);
        let n = state.changes;
        state.changes += 1;
        let full = || Err(io::Error::from_raw_os_error(ENOSPC));
        let broken = || Err(io::Error::from_raw_os_error(EIO));
        match state.fault {
            Some(Fault::CrashAt(at)) if n >= at => return Err(io::Error::other("crashed")),
            Some(Fault::FailAt(at)) if n == at => return full(),
            Some(Fault::FullFrom(at)) if n >= at && call.needs_space() => return full(),
            Some(Fault::BreakAt(at)) if n == at => return broken(),
            Some(Fault::BrokenFrom(at)) if n >= at => return broken(),
            _ => {}
        }
        if call.is_sync() {
            state.note(call, path);
        }
        let outcome = f(&mut state);
        if !call.is_sync() && outcome.is_ok() {
            state.note(call, path);
        }
        outcome
    }

    fn inode(&self, path: &Path) -> io::Result<Inode> {
        match lock(&self.0).names.get(path) {
            Some(Entry::File(inode)) => Ok(inode.clone()),
            Some(Entry::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(not_found()),
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Entry>, change: &Change) {
    for (path, entry) in change {
        match entry {
            Some(e) => names.insert(path.clone(), e.clone()),
            None => names.remove(path),
        };
    }
}

impl State {
    fn note(&mut self, call: Call, path: &Path) {
        if self.moments.is_some() {
            let moment = Moment { call, path: path.to_owned(), disk: self.copy() };
            self.moments.get_or_insert_default().push(moment);
        }
    }

    /// Syncs that have failed are as if they had not been: who comes next can only go by those of its own.
    fn forgive(&mut self) {
        for entry in self.names.values().chain(self.durable.values()) {
            if let Entry::File(inode) = entry {
                lock(inode).doomed.clear();
            }
        }
    }

    /// A disk of its own in the same state, without fault.
    fn copy(&self) -> FakeDisk {
        let mut copies = BTreeMap::new();
        let mut copy = |entry: &Entry| match entry {
            Entry::Dir => Entry::Dir,
            Entry::File(inode) => {
                let new = || Arc::new(Mutex::new(lock(inode).clone()));
                Entry::File(copies.entry(Arc::as_ptr(inode)).or_insert_with(new).clone())
            }
        };
        let names = self.names.iter().map(|(p, e)| (p.clone(), copy(e))).collect();
        let durable = self.durable.iter().map(|(p, e)| (p.clone(), copy(e))).collect();
        let mut copy_change =
            |c: &Change| c.iter().map(|(p, e)| (p.clone(), e.as_ref().map(&mut copy))).collect();
        let unsynced = self.unsynced.iter().map(&mut copy_change).collect();
        FakeDisk(Arc::new(Mutex::new(State { names, durable, unsynced, ..State::default() })))
    }

    fn make(&mut self, change: Change) -> io::Result<()> {
        for (path, _) in &change {
            let dir = path.parent().ok_or_else(not_found)?;
            if !matches!(self.names.get(dir), Some(Entry::Dir)) {
                return Err(not_found());
            }
        }
        apply(&mut self.names, &change);
        self.unsynced.push(change);
        Ok(())
    }

    fn open(&mut self, path: &Path) -> io::Result<Inode> {
        if let Some(Entry::File(inode)) = self.names.get(path) {
            return Ok(inode.clone());
        }
        self.create(path)
    }

    fn create(&mut self, path: &Path) -> io::Result<Inode> {
        let inode = Inode::default();
        self.make(vec![(path.to_owned(), Some(Entry::File(inode.clone())))])?;
        Ok(inode)
    }
}

impl DiskFile for FakeFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let write = |n: usize| lock(&self.inode).now.extend_from_slice(&bytes[..n]);
        let outcome = self.disk.change(Call::Append, &self.path, |_| {
            write(bytes.len());
            Ok(())
        });
        // A write that fails may have written some of it.
        outcome.inspect_err(|_| write(bytes.len() / 2))
    }

    fn sync(&self) -> io::Result<()> {
        let outcome = self.disk.change(Call::Sync, &self.path, |_| {
            lock(&self.inode).sync();
            Ok(())
        });
        outcome.inspect_err(|e| {
            if e.raw_os_error().is_some() {
                lock(&self.inode).sync_failed();
            }
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.change(Call::Truncate, &self.path, |_| {
            lock(&self.inode).truncate(len as usize);
            Ok(())
        })
    }
}

impl Disk for FakeDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.change(Call::Create, path, |s| s.create(path))?;
        Ok(Arc::new(FakeFile { disk: self.clone(), inode, path: path.to_owned() }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = match self.inode(path) {
            Ok(inode) => inode,
            Err(_) => self.change(Call::Create, path, |s| s.open(path))?,
        };
        Ok(Arc::new(FakeFile { disk: self.clone(), inode, path: path.to_owned() }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        let bytes = lock(&*self.inode(path)?).now.clone();
        Ok(Box::new(io::Cursor::new(bytes)))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(lock(&*self.inode(path)?).now.len() as u64)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.inode(from)?;
        // The new name comes first: a move to another directory may be seen in both, never in none.
        let change = vec![(to.to_owned(), Some(Entry::File(inode))), (from.to_owned(), None)];
        self.change(Call::Rename, to, |s| s.make(change))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inode(path)?;
        self.change(Call::Remove, path, |s| s.make(vec![(path.to_owned(), None)]))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(Call::SyncDir, dir, |state| {
            let covered = |c: &Change| c.iter().any(|(p, _)| p.parent() == Some(dir));
            let (now, later): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.unsynced).into_iter().partition(covered);
            for change in &now {
                apply(&mut state.durable, change);
            }
            state.unsynced = later;
            Ok(())
        })
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(Call::CreateDir, dir, |state| match state.names.get(dir) {
            Some(Entry::Dir) => Ok(()),
            Some(Entry::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => state.make(vec![(dir.to_owned(), Some(Entry::Dir))]),
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = lock(&self.0);
        if !matches!(state.names.get(dir), Some(Entry::Dir)) {
            return Err(not_found());
        }
        let files = state.names.keys().filter(|p| p.parent() == Some(dir));
        Ok(files.filter_map(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk;

    const DIR: &str = "/data";

    fn path(name: &str) -> PathBuf {
        Path::new(DIR).join(name)
    }

    /// What is found of a file in many crashes, each once.
    fn found(disk: &FakeDisk, name: &str) -> Vec<Option<Vec<u8>>> {
        let read = |s| disk::read(&disk.after_crash(Survives::Some(s)), &path(name)).ok();
        let mut found: Vec<_> = (0..2000).map(read).collect();
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn of_what_was_not_synced_any_prefix_survives_with_zeros_at_its_end() {
        let disk = FakeDisk::with_dir(Path::new(DIR));
        let file = disk.create(&path("f")).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        file.append(b"ab").unwrap();
        file.sync().unwrap();
        file.append(b"cd").unwrap();
        let expected: Vec<Option<Vec<u8>>> =
            [b"ab".as_slice(), b"ab\0", b"ab\0\0", b"abc", b"abc\0", b"abcd"]
                .map(|b| Some(b.to_vec()))
                .into();
        assert_eq!(found(&disk, "f"), expected);
        let same = |s| disk::read(&disk.after_crash(Survives::Some(s)), &path("f")).unwrap();
        assert_eq!(same(77), same(77));
    }

    #[test]
    fn names_are_as_durable_as_their_directory() {
        let disk = FakeDisk::with_dir(Path::new(DIR));
        for (name, text) in [("old", b"1"), ("new", b"2")] {
            let file = disk.create(&path(name)).unwrap();
            file.append(text).unwrap();
            file.sync().unwrap();
        }
        assert_eq!(disk.after_crash(Survives::Nothing).list(Path::new(DIR)).unwrap().len(), 0);
        disk.sync_dir(Path::new(DIR)).unwrap();
        disk.rename(&path("new"), &path("old")).unwrap();
        disk.remove(&path("old")).unwrap();
        // The rename, then the removal; or only one of them.
        assert_eq!(found(&disk, "old"), [None, Some(b"1".to_vec()), Some(b"2".to_vec())]);
        assert_eq!(found(&disk, "new"), [None, Some(b"2".to_vec())]);
        let kept = disk.after_crash(Survives::Nothing);
        assert_eq!(disk::read(&kept, &path("old")).unwrap(), b"1");
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_a_later_one() {
        let disk = FakeDisk::with_dir(Path::new(DIR));
        let file = disk.create(&path("f")).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        file.append(b"ab").unwrap();
        disk.set_fault(Fault::BreakAt(0));
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(EIO));
        file.append(b"c").unwrap();
        file.sync().unwrap();
        assert_eq!(disk::read(&disk, &path("f")).unwrap(), b"abc");
        assert_eq!(disk::read(&disk.after_crash(Survives::Nothing), &path("f")).unwrap(), b"\0\0c");
    }

    #[test]
    fn a_full_disk_still_renames_and_a_broken_one_does_nothing() {
        let disk = FakeDisk::with_dir(Path::new(DIR));
        let file = disk.create(&path("f")).unwrap();
        disk.set_fault(Fault::FullFrom(1));
        file.append(b"abcd").unwrap();
        assert_eq!(file.append(b"efgh").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk::read(&disk, &path("f")).unwrap(), b"abcdef");
        file.sync().unwrap();
        disk.rename(&path("f"), &path("g")).unwrap();
        disk.set_fault(Fault::BrokenFrom(0));
        assert!(disk.rename(&path("g"), &path("f")).is_err() && file.sync().is_err());
        assert_eq!(disk.list(Path::new(DIR)).unwrap(), ["g"]);
    }

    #[test]
    fn a_moment_has_the_change_that_may_have_been_made() {
        let disk = FakeDisk::with_dir(Path::new(DIR));
        disk.keep_moments();
        let file = disk.create(&path("f")).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        file.append(b"ab").unwrap();
        file.sync().unwrap();
        let moments = disk.take_moments();
        let calls: Vec<_> = moments.iter().map(|m| m.call).collect();
        assert_eq!(calls, [Call::Create, Call::SyncDir, Call::Append, Call::Sync]);
        assert_eq!(found(&moments[1].disk, "f"), [None, Some(Vec::new())], "the directory is being synced");
        assert_eq!(found(&moments[3].disk, "f").len(), 6, "nothing of the sync is certain yet");
        assert!(disk.take_moments().is_empty());
    }
}
