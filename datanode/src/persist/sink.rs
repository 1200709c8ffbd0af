//! Where a snapshot's entries are encoded.

use crate::aof::commands::CommandWriter;
use crate::rdb::Meta;
use crate::rdb::encode::{Encoder, ValueWriter};
use crate::store::keyspace::{KeyEntry, SnapshotSink};

/// Encoded bytes that are handed on together.
pub(super) const CHUNK: usize = 128 * 1024;
/// Elements by which the memory of what is encoded before its turn is estimated.
const EARLY_SAMPLE: usize = 5;

/// How a snapshot is written.
pub(super) enum Form {
    Rdb(Encoder),
    /// `aof-use-rdb-preamble no`
    Commands(CommandWriter),
}

/// Encodes entries as the walk and the commands give them.
pub(super) struct FileSink {
    form: Form,
    pub(super) out: Vec<u8>,
    /// Keys that have been encoded.
    pub(super) keys: u64,
    /// Entries come from the walk, not from a command that is about to change them.
    pub(super) walking: bool,
    /// Memory of the entries that commands have had encoded before it was their turn, bytes.
    pub(super) early: u64,
}

impl SnapshotSink for FileSink {
    fn entry(&mut self, db: usize, e: &KeyEntry) {
        let db = db as u32;
        self.note(e);
        match &mut self.form {
            Form::Rdb(encoder) => {
                let meta = Meta { expire_at_ms: e.expire_at(), ..Meta::default() };
                encoder.entry(&mut self.out, db, e.key(), e.value(), meta);
            }
            Form::Commands(writer) => writer.entry(&mut self.out, db, e.key(), e.value(), e.expire_at()),
        }
    }

    fn in_parts(&self, e: &KeyEntry) -> bool {
        matches!(self.form, Form::Rdb(_)) && ValueWriter::is_large(e.value())
    }

    fn part(&mut self, db: usize, e: &KeyEntry, from: usize) -> Option<usize> {
        let Form::Rdb(encoder) = &mut self.form else {
            self.entry(db, e);
            return None;
        };
        let meta = Meta { expire_at_ms: e.expire_at(), ..Meta::default() };
        let next = encoder.entry_part(&mut self.out, db as u32, e.key(), e.value(), meta, from);
        if next.is_none() {
            self.note(e);
        }
        next
    }
}

impl FileSink {
    pub(super) fn new(form: Form, out: Vec<u8>) -> FileSink {
        FileSink { form, out, keys: 0, walking: false, early: 0 }
    }

    /// A key has been encoded.
    fn note(&mut self, e: &KeyEntry) {
        self.keys += 1;
        if !self.walking {
            self.early += e.memory_usage(EARLY_SAMPLE) as u64;
        }
    }

    /// What has been encoded, to be handed on.
    pub(super) fn take(&mut self) -> Vec<u8> {
        if let Form::Rdb(encoder) = &mut self.form {
            encoder.sum(&self.out);
        }
        std::mem::replace(&mut self.out, Vec::with_capacity(CHUNK + CHUNK / 4))
    }

    /// What was encoded last, with the end of the file.
    pub(super) fn end(mut self) -> Vec<u8> {
        if let Form::Rdb(encoder) = self.form {
            encoder.end(&mut self.out);
        }
        self.out
    }
}
