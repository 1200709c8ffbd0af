//! The append-only file's files, which the log and the jobs in the background work on.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::aof::files::{AofFiles, BaseFormat, FilesError};
use crate::aof::write::Appender;
use crate::disk::DiskFile;

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
    pub(super) fn new(files: AofFiles, alone: bool) -> SharedFiles {
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
    pub(super) fn prepare(&self) -> io::Result<()> {
        // One may be left over from a rewrite that was given up.
        if self.lock().as_ref().is_none_or(|shared| shared.next.is_none()) {
            let next = self.with(AofFiles::next_incr)?;
            if let Some(shared) = self.lock().as_mut() {
                shared.next = Some(next);
            }
        }
        Ok(())
    }

    /// The new end that has been prepared.
    pub(super) fn take_prepared(&self) -> Option<Appender> {
        self.lock().as_mut().and_then(|shared| shared.next.take())
    }
}

fn switched_off() -> io::Error {
    io::Error::other("the append-only file was switched off")
}
