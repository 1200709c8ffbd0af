//! Appends to the log: what is pushed gathers in memory, is written in one piece by [`Appender::flush`], and is durable
//! after [`Appender::sync`]. The file never keeps half of what a failed write left behind: it is cut back to the last
//! good length, and until that has succeeded nothing more is written. A failed sync is another matter: the system may
//! have dropped the bytes it could not write, and a later sync that succeeds proves nothing about them. So from then on
//! nothing counts as durable until a rewrite has put another file in this one's place, and nothing more is written: behind
//! a hole it could not be read.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::disk::DiskFile;

/// What waits to be written is kept, and where there is much of it written, in pieces of about so many bytes: some tenths
/// of a millisecond's work.
pub(super) const PIECE: usize = 256 * 1024;

/// A log file, of which a sync that has failed is remembered whoever asked for it: the system tells of it only once.
pub struct LogFile {
    inner: Arc<dyn DiskFile>,
    /// One sync at a time: the one that is told of a failure may not be the one whose bytes are lost.
    turn: Mutex<()>,
    failure: OnceLock<io::Error>,
}

impl LogFile {
    /// Makes durable what was written, if no earlier attempt has failed.
    pub fn sync(&self) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match self.failure.get() {
            Some(e) => Err(copy_of(e)),
            None => self.inner.sync().map_err(|e| copy_of(self.failure.get_or_init(|| e))),
        }
    }
}

/// The end of a log file.
pub struct Appender {
    file: Arc<LogFile>,
    /// What is to be written before `pending`, and its bytes.
    queue: VecDeque<Vec<u8>>,
    queued: u64,
    pending: Vec<u8>,
    /// Bytes that waited when it was last written, or put off.
    left: u64,
    /// Length of the file as far as it is good.
    len: u64,
    synced: u64,
    /// A write has failed, and what it left has not been cut off yet.
    torn: bool,
    write_error: Option<io::Error>,
}

impl Appender {
    /// Goes on behind the `len` bytes that `file` has, which are durable.
    pub fn new(file: Arc<dyn DiskFile>, len: u64) -> Self {
        let file = LogFile { inner: file, turn: Mutex::default(), failure: OnceLock::new() };
        Appender {
            file: Arc::new(file),
            queue: VecDeque::new(),
            queued: 0,
            pending: Vec::new(),
            left: 0,
            len,
            synced: len,
            torn: false,
            write_error: None,
        }
    }

    /// Where to append; [`Appender::flush`] writes it.
    pub fn pending(&mut self) -> &mut Vec<u8> {
        if self.pending.len() >= PIECE {
            let piece = std::mem::take(&mut self.pending);
            self.queued += piece.len() as u64;
            self.queue.push_back(piece);
        }
        &mut self.pending
    }

    /// Length of the file once all that is pending has been written.
    pub fn end(&self) -> u64 {
        self.len + self.unwritten()
    }

    /// Bytes that are pending.
    pub fn unwritten(&self) -> u64 {
        self.queued + self.pending.len() as u64
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
    pub fn error(&self) -> Option<&io::Error> {
        self.file.failure.get().or(self.write_error.as_ref())
    }

    /// A sync has failed: a later one proves nothing.
    pub fn sync_failed(&self) -> bool {
        self.file.failure.get().is_some()
    }

    /// The file, to be synced elsewhere; tell the outcome to [`Appender::note_synced`].
    pub fn file(&self) -> Arc<LogFile> {
        self.file.clone()
    }

    /// Writes what is pending. On failure it stays pending, to be tried again.
    pub fn flush(&mut self) -> io::Result<()> {
        self.flush_to(0)
    }

    /// Writes what has come since the last time, and of what waited then a piece: so it takes no longer than that, however
    /// much waits.
    pub fn flush_piece(&mut self) -> io::Result<()> {
        self.flush_to(self.left.saturating_sub(PIECE as u64))
    }

    /// Writes nothing for now.
    pub fn put_off(&mut self) {
        self.left = self.unwritten();
    }

    /// Writes until no more than `rest` bytes are left.
    fn flush_to(&mut self, rest: u64) -> io::Result<()> {
        if let Some(e) = self.file.failure.get() {
            return Err(copy_of(e));
        }
        let outcome = self.try_flush(rest);
        self.write_error = outcome.as_ref().err().map(copy_of);
        self.left = self.unwritten();
        outcome
    }

    fn try_flush(&mut self, rest: u64) -> io::Result<()> {
        if self.torn {
            self.file.inner.truncate(self.len)?;
            self.torn = false;
        }
        while self.unwritten() > rest {
            let piece = self.queue.front().unwrap_or(&self.pending);
            let bytes = piece.len() as u64;
            if let Err(e) = self.file.inner.append(piece) {
                self.torn = self.file.inner.truncate(self.len).is_err();
                return Err(e);
            }
            self.len += bytes;
            match self.queue.pop_front() {
                Some(_) => self.queued -= bytes,
                None => self.pending.clear(),
            }
        }
        Ok(())
    }

    /// Writes what is pending and makes it durable.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync()?;
        self.note_synced(self.len);
        Ok(())
    }

    /// A sync of the first `len` bytes has succeeded.
    pub fn note_synced(&mut self, len: u64) {
        self.synced = self.synced.max(len);
    }
}

fn copy_of(e: &io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(e.kind(), e.to_string()),
    }
}

/// Appends the annotation that tells when the commands behind it were executed (`aof-timestamp-enabled`), in seconds
/// since the Unix epoch.
pub fn timestamp(out: &mut Vec<u8>, unix_s: i64) {
    out.extend_from_slice(format!("#TS:{unix_s}\r\n").as_bytes());
}
