//! Appends to the log: what is pushed gathers in memory, is written in one piece by [`Appender::flush`], and is durable
//! after [`Appender::sync`]. The file never keeps half of what a failed write left behind: it is cut back to the last
//! good length, and until that has succeeded nothing more is written. A failed sync is another matter: the system may
//! have dropped the bytes it could not write, and a later sync that succeeds proves nothing about them. So from then on
//! nothing counts as durable until a rewrite has put another file in this one's place.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;

/// The end of a log file.
pub struct Appender {
    file: Arc<dyn DiskFile>,
    pending: Vec<u8>,
    /// Length of the file as far as it is good.
    len: u64,
    synced: u64,
    /// A write has failed, and what it left has not been cut off yet.
    torn: bool,
    write_error: Option<io::ErrorKind>,
    sync_error: Option<io::ErrorKind>,
}

impl Appender {
    /// Goes on behind the `len` bytes that `file` has, which are durable.
    pub fn new(file: Arc<dyn DiskFile>, len: u64) -> Self {
        Appender {
            file,
            pending: Vec::new(),
            len,
            synced: len,
            torn: false,
            write_error: None,
            sync_error: None,
        }
    }

    /// Where to append; [`Appender::flush`] writes it.
    pub fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Length of the file once all that is pending has been written.
    pub fn end(&self) -> u64 {
        self.len + self.pending.len() as u64
    }

    /// Bytes that are written.
    pub fn written(&self) -> u64 {
        self.len
    }

    /// Bytes that are durable.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// What keeps the log from being complete on disk: the latest write's failure, or any sync's.
    pub fn error(&self) -> Option<io::ErrorKind> {
        self.sync_error.or(self.write_error)
    }

    /// A sync has failed: a later one proves nothing.
    pub fn sync_failed(&self) -> bool {
        self.sync_error.is_some()
    }

    /// The file, to be synced elsewhere; tell the outcome to [`Appender::note_synced`].
    pub fn file(&self) -> Arc<dyn DiskFile> {
        self.file.clone()
    }

    /// Writes what is pending. On failure it stays pending, to be tried again.
    pub fn flush(&mut self) -> io::Result<()> {
        let outcome = self.try_flush();
        self.write_error = outcome.as_ref().err().map(io::Error::kind);
        outcome
    }

    fn try_flush(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.truncate(self.len)?;
            self.torn = false;
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Err(e) = self.file.append(&self.pending) {
            self.torn = self.file.truncate(self.len).is_err();
            return Err(e);
        }
        self.len += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Writes what is pending and makes it durable.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        let outcome = self.file.sync();
        self.note_synced(self.len, &outcome);
        match self.sync_error {
            Some(earlier) if outcome.is_ok() => Err(earlier.into()),
            _ => outcome,
        }
    }

    /// Takes note of how a sync of the first `len` bytes went.
    pub fn note_synced(&mut self, len: u64, outcome: &io::Result<()>) {
        match outcome {
            Ok(()) if self.sync_error.is_none() => self.synced = self.synced.max(len),
            Ok(()) => {}
            Err(e) => self.sync_error = Some(e.kind()),
        }
    }
}

/// Appends the annotation that tells when the commands behind it were executed (`aof-timestamp-enabled`), in seconds
/// since the Unix epoch.
pub fn timestamp(out: &mut Vec<u8>, unix_s: i64) {
    out.extend_from_slice(format!("#TS:{unix_s}\r\n").as_bytes());
}
