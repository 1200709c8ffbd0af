//! Files as the core sees them: a trait that the real file system and a fault-injecting fake implement, and the one
//! crash-safe way to replace a file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An open file that is written by appending.
pub trait DiskFile: Send + Sync {
    /// Appends all bytes.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was appended durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// `file`, which is synced on the way, whenever so many bytes have been appended. A sync of a large file in one piece at its
/// end takes long, and holds up the syncs of others meanwhile.
pub fn synced_on_the_way(file: Arc<dyn DiskFile>, every: u64) -> Arc<dyn DiskFile> {
    Arc::new(SyncedOnTheWay { file, every, unsynced: AtomicU64::new(0) })
}

struct SyncedOnTheWay {
    file: Arc<dyn DiskFile>,
    every: u64,
    unsynced: AtomicU64,
}

impl DiskFile for SyncedOnTheWay {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)?;
        let len = bytes.len() as u64;
        if self.unsynced.fetch_add(len, Ordering::Relaxed) + len < self.every { Ok(()) } else { self.sync() }
    }

    fn sync(&self) -> io::Result<()> {
        self.unsynced.store(0, Ordering::Relaxed);
        self.file.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Creates a file for writing, in the place of one of that name: who is still writing to that one writes to another.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file, or creates it, to append to its end.
    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for sequential reading.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>>;
    /// Length in bytes; `NotFound` where there is none.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Atomically renames within one directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Creates a directory and its parents.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names of the files in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
}

/// Reads a whole file.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut disk.open_read(path)?, &mut bytes)?;
    Ok(bytes)
}

/// Publishes a finished temporary file under its name: fsync, rename, fsync of the directory. After a crash at any
/// point either the old file or the new one is there, whole.
pub fn publish(disk: &dyn Disk, file: &dyn DiskFile, temp: &Path, path: &Path) -> io::Result<()> {
    file.sync()?;
    disk.rename(temp, path)?;
    disk.sync_dir(parent(path))
}

/// Replaces a file's content in the crash-safe way of [`publish`].
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temp = temp_name(path);
    let write = || {
        let file = disk.create(&temp)?;
        file.append(bytes)?;
        publish(disk, &*file, &temp, path)
    };
    write().inspect_err(|_| {
        // The failed attempt's remains are of no use; the error that matters is the first one.
        let _ = disk.remove(&temp);
    })
}

/// The name under which a file is prepared, in the same directory so that the rename is atomic.
pub fn temp_name(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!("temp-{}-{name}", std::process::id()))
}

/// Removes what earlier processes, ended in the midst of preparing this file, have left under [`temp_name`]. A process that
/// lives may still be at it.
pub fn remove_leftovers(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let is_left = |name: &str| {
        let (pid, of) = name.strip_prefix("temp-")?.split_once('-')?;
        let pid: u32 = pid.parse().ok()?;
        let lives = pid != std::process::id() && Path::new("/proc").join(pid.to_string()).exists();
        Some(path.file_name()?.to_str()? == of && !lives)
    };
    for name in disk.list(parent(path))?.iter().filter(|name| is_left(name) == Some(true)) {
        match disk.remove(&path.with_file_name(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl DiskFile for std::fs::File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut f = self;
        io::Write::write_all(&mut f, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)?;
        // A file from `create` writes at its own position, which must not stay behind the new end.
        let mut f = self;
        io::Seek::seek(&mut f, io::SeekFrom::End(0)).map(|_| ())
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(Arc::new(std::fs::File::create_new(path)?)),
        }
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(std::fs::OpenOptions::new().create(true).append(true).open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(io::BufReader::with_capacity(256 * 1024, std::fs::File::open(path)?)))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(path)?.len())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::File::open(dir)?.sync_all()
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appending_goes_on_at_the_end_of_a_truncated_file() {
        let path = std::env::temp_dir().join(format!("disk-truncate-{}", std::process::id()));
        let file = RealDisk.create(&path).unwrap();
        file.append(b"whole, torn").unwrap();
        file.truncate(5).unwrap();
        file.append(b"!").unwrap();
        assert_eq!(read(&RealDisk, &path).unwrap(), b"whole!");
        RealDisk.remove(&path).unwrap();
    }

    #[test]
    fn who_writes_to_a_replaced_file_does_not_write_to_the_new_one() {
        let path = std::env::temp_dir().join(format!("disk-create-{}", std::process::id()));
        let given_up = RealDisk.create(&path).unwrap();
        given_up.append(b"old").unwrap();
        let file = RealDisk.create(&path).unwrap();
        given_up.append(b"late").unwrap();
        file.append(b"new").unwrap();
        assert_eq!(read(&RealDisk, &path).unwrap(), b"new");
        RealDisk.remove(&path).unwrap();
    }

    #[test]
    fn replace_leaves_only_the_new_file() {
        let dir = std::env::temp_dir().join(format!("disk-test-{}", std::process::id()));
        RealDisk.create_dir(&dir).unwrap();
        let path = dir.join("f");
        replace(&RealDisk, &path, b"one").unwrap();
        replace(&RealDisk, &path, b"two").unwrap();
        assert_eq!(read(&RealDisk, &path).unwrap(), b"two");
        assert_eq!(RealDisk.list(&dir).unwrap(), vec!["f"]);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_ended_processes_have_left_is_removed_and_nothing_else() {
        let disk = crate::disk_fake::FakeDisk::with_dir(Path::new("/data"));
        let own = std::process::id();
        let gone = u32::MAX;
        let names = [
            format!("temp-{own}-f"),
            format!("temp-{gone}-f"),
            "temp-1-f".into(), // the first process always lives
            format!("temp-{gone}-f.rdb"),
            format!("temp-{gone}x-f"),
            "temp-f".into(),
            "f".into(),
        ];
        for name in &names {
            disk.create(&Path::new("/data").join(name)).unwrap();
        }
        remove_leftovers(&disk, Path::new("/data/f")).unwrap();
        let mut kept = names[2..].to_vec();
        kept.sort();
        assert_eq!(disk.list(Path::new("/data")).unwrap(), kept);
        assert!(remove_leftovers(&disk, Path::new("/nowhere/f")).is_err());
    }
}
