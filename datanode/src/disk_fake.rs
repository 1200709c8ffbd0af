//! A file system in memory that fails on demand and forgets at a crash what was not made durable: for tests.
//!
//! It is as forgetful as POSIX allows: contents survive only as far as they were synced, names only as far as their
//! directory was.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The n-th change (from 0) and all after it fail: the machine has crashed.
    CrashAt(u64),
    /// The n-th change fails, as on a full disk.
    FailAt(u64),
}

/// What of the unsynced is found after a crash.
#[derive(Debug, Clone, Copy)]
pub enum Survives {
    /// Nothing: the power failed.
    Nothing,
    /// Everything: the process was killed.
    Everything,
    /// Some of it, by this seed: of each file a prefix, of the changes of names any.
    Some(u64),
}

#[derive(Debug, Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
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
}

/// The file system.
#[derive(Clone, Default)]
pub struct FakeDisk(Arc<Mutex<State>>);

struct FakeFile {
    disk: FakeDisk,
    inode: Inode,
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

    /// The file system as it is found after a crash now.
    pub fn after_crash(&self, survives: Survives) -> FakeDisk {
        let state = lock(&self.0);
        let mut random = match survives {
            Survives::Some(seed) => seed | 1,
            Survives::Nothing => 0,
            Survives::Everything => return state.copy(),
        };
        // With a seed of 0 it picks 0 forever.
        let mut pick = move |n: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % (n as u64 + 1)) as usize
        };
        let mut names = state.durable.clone();
        for change in &state.unsynced {
            if pick(1) == 1 {
                apply(&mut names, change);
            }
        }
        let orphan = |p: &Path| p.parent().is_some_and(|d| d != Path::new("/") && !names.contains_key(d));
        let lost: Vec<_> = names.keys().filter(|p| orphan(p)).cloned().collect();
        for path in lost {
            names.remove(&path);
        }
        for entry in names.values_mut() {
            if let Entry::File(inode) = entry {
                let c = lock(inode).clone();
                let bytes = if c.now.starts_with(&c.durable) {
                    let more = pick(c.now.len() - c.durable.len());
                    c.now[..c.durable.len() + more].to_vec()
                } else if pick(1) == 0 {
                    c.durable
                } else {
                    c.now
                };
                *entry = Entry::File(Arc::new(Mutex::new(Content { now: bytes.clone(), durable: bytes })));
            }
        }
        let state = State { durable: names.clone(), names, ..State::default() };
        FakeDisk(Arc::new(Mutex::new(state)))
    }

    /// Counts a change; fails if it is its turn. `Ok` if the change is to be made.
    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = lock(&self.0);
        let n = state.changes;
        state.changes += 1;
        match state.fault {
            Some(Fault::CrashAt(at)) if n >= at => Err(io::Error::other("crashed")),
            Some(Fault::FailAt(at)) if n == at => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(state),
        }
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
        let outcome = self.disk.change();
        // A write that fails may have written some of it.
        let n = if outcome.is_ok() { bytes.len() } else { bytes.len() / 2 };
        lock(&self.inode).now.extend_from_slice(&bytes[..n]);
        outcome.map(|_| ())
    }

    fn sync(&self) -> io::Result<()> {
        let _state = self.disk.change()?;
        let mut c = lock(&self.inode);
        c.durable = c.now.clone();
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let _state = self.disk.change()?;
        lock(&self.inode).now.truncate(len as usize);
        Ok(())
    }
}

impl Disk for FakeDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.change()?.create(path)?;
        Ok(Arc::new(FakeFile { disk: self.clone(), inode }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.change()?.open(path)?;
        Ok(Arc::new(FakeFile { disk: self.clone(), inode }))
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
        self.change()?.make(vec![(to.to_owned(), Some(Entry::File(inode))), (from.to_owned(), None)])
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inode(path)?;
        self.change()?.make(vec![(path.to_owned(), None)])
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        let covered = |c: &Change| c.iter().any(|(p, _)| p.parent() == Some(dir));
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.unsynced).into_iter().partition(covered);
        for change in &now {
            apply(&mut state.durable, change);
        }
        state.unsynced = later;
        Ok(())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        match state.names.get(dir) {
            Some(Entry::Dir) => Ok(()),
            Some(Entry::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => state.make(vec![(dir.to_owned(), Some(Entry::Dir))]),
        }
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
