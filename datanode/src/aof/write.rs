//! Appends to the log: what is pushed gathers in memory, is written in one piece by [`Appender::flush`], and is durable
//! after [`Appender::sync`]. The file never keeps half of what a failed write left behind: it is cut back to the last
//! good length, and until that has succeeded nothing more is written. A failed sync is another matter: the system may
//! have dropped the bytes it could not write, and a later sync that succeeds proves nothing about them. So from then on
//! nothing counts as durable until a rewrite has put another file in this one's place.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;

/// What waits to be written is kept, and where there is much of it written, in pieces of about so many bytes: some tenths
/// of a millisecond's work.
pub(super) const PIECE: usize = 256 * 1024;

/// The end of a log file.
pub struct Appender {
    file: Arc<dyn DiskFile>,
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
    write_error: Option<io::ErrorKind>,
    sync_error: Option<io::ErrorKind>,
}

impl Appender {
    /// Goes on behind the `len` bytes that `file` has, which are durable.
    pub fn new(file: Arc<dyn DiskFile>, len: u64) -> Self {
        Appender {
            file,
            queue: VecDeque::new(),
            queued: 0,
            pending: Vec::new(),
            left: 0,
            len,
            synced: len,
            torn: false,
            write_error: None,
            sync_error: None,
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
    pub fn error(&self) -> Option<io::ErrorKind> {
        self.sync_error.or(self.write_error)
    }

    /// The file, to be synced elsewhere; tell the outcome to [`Appender::note_synced`].
    pub fn file(&self) -> Arc<dyn DiskFile> {
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
        let outcome = self.try_flush(rest);
        self.write_error = outcome.as_ref().err().map(io::Error::kind);
        self.left = self.unwritten();
        outcome
    }

    fn try_flush(&mut self, rest: u64) -> io::Result<()> {
        if self.torn {
            self.file.truncate(self.len)?;
            self.torn = false;
        }
        while self.unwritten() > rest {
            let piece = self.queue.front().unwrap_or(&self.pending);
            let bytes = piece.len() as u64;
            if let Err(e) = self.file.append(piece) {
                self.torn = self.file.truncate(self.len).is_err();
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
