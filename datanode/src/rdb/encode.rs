//! Writes RDB: version 10, value types up to 19. Piece by piece into a buffer that the caller empties whenever it
//! likes: the checksum is kept over what has been produced, so a snapshot may emit the entries of several databases in
//! any order, while other work goes on in between.

use super::lzf::Compressor;
use super::*;
use crate::store::elem::Elem;
use crate::store::list::NodeRef;
use crate::store::num::parse_int;
use crate::store::value::ValueRef;

/// Shorter strings are not worth compressing.
const MIN_COMPRESSED: usize = 20;
/// Longest string that may be an integer of 32 bits.
const MAX_INT_TEXT: usize = 11;
/// At least so many bytes must be saved by compression.
const MIN_SAVING: usize = 4;

/// A collection with more elements is written in parts …
const LARGE: usize = 2 * PART;
/// … of about so many.
const PART: usize = 512;
/// As so many elements counts a node of a list.
const ELEMENTS_OF_NODE: usize = 64;

/// What a file says about itself before its entries.
#[derive(Debug, Clone, Copy, Default)]
pub struct Preamble<'a> {
    /// `redis-ver`: the version of Redis whose format this is.
    pub redis_version: &'a str,
    /// `ctime`: when it is written, seconds since the Unix epoch.
    pub unix_s: i64,
    /// `used-mem`: bytes.
    pub used_memory: u64,
    /// Where in which replication stream the dataset stands.
    pub replication: Option<Replication<'a>>,
    /// `aof-base`: whether it is the base of an AOF.
    pub aof_base: bool,
    /// `replicaset-dataset`: the lineage of the data.
    pub dataset: Option<&'a str>,
    /// `replicaset-epoch`: the epoch of the master whose stream the data comes from.
    pub epoch: Option<u64>,
}

/// A place in a replication stream.
#[derive(Debug, Clone, Copy)]
pub struct Replication<'a> {
    /// `repl-stream-db`: the database selected there, -1 if none is.
    pub stream_db: i64,
    /// `repl-id`: 40 hex digits.
    pub id: &'a str,
    /// `repl-offset`: bytes.
    pub offset: i64,
}

/// Writes values and strings.
#[derive(Debug)]
pub struct ValueWriter {
    compressor: Option<Compressor>,
    /// Where a string is compressed before its length is known.
    packed: Vec<u8>,
}

impl ValueWriter {
    /// With `compression`, longer strings are compressed where that helps (`rdbcompression`).
    pub fn new(compression: bool) -> Self {
        ValueWriter { compressor: compression.then(Compressor::default), packed: Vec::new() }
    }

    /// A value's type, as [`ValueWriter::value`] will write it.
    pub fn kind<'a>(value: impl Into<ValueRef<'a>>) -> u8 {
        match value.into() {
            ValueRef::Str(_) => T_STRING,
            ValueRef::List(_) => T_LIST_QUICKLIST_2,
            ValueRef::Set(s) if s.as_intset().is_some() => T_SET_INTSET,
            ValueRef::Set(_) => T_SET,
            ValueRef::Hash(h) if h.as_listpack().is_some() => T_HASH_LISTPACK,
            ValueRef::Hash(_) => T_HASH,
            ValueRef::ZSet(z) if z.as_listpack().is_some() => T_ZSET_LISTPACK,
            ValueRef::ZSet(_) => T_ZSET_2,
            ValueRef::Stream(_) => T_STREAM_2,
        }
    }

    /// Appends a value, without its type.
    pub fn value<'a>(&mut self, out: &mut Vec<u8>, value: impl Into<ValueRef<'a>>) {
        match value.into() {
            ValueRef::Str(s) => self.string(out, &s.to_bytes()),
            ValueRef::List(list) => {
                length(out, list.nodes().len() as u64);
                list.nodes().for_each(|node| self.node(out, node));
            }
            ValueRef::Set(set) => match set.as_intset() {
                Some(ints) => self.string(out, ints.as_bytes()),
                None => {
                    length(out, set.len() as u64);
                    for member in set.iter() {
                        self.string(out, &member.to_bytes());
                    }
                }
            },
            ValueRef::Hash(hash) => match hash.as_listpack() {
                Some(lp) => self.string(out, lp.as_bytes()),
                None => {
                    length(out, hash.len() as u64);
                    for (field, value) in hash.iter() {
                        self.string(out, &field.to_bytes());
                        self.string(out, &value.to_bytes());
                    }
                }
            },
            ValueRef::ZSet(zset) => match zset.as_listpack() {
                Some(lp) => self.string(out, lp.as_bytes()),
                None => {
                    length(out, zset.len() as u64);
                    // From the end: a reader that inserts in this order always inserts at the front.
                    self.scored(out, zset.iter().rev());
                }
            },
            ValueRef::Stream(stream) => stream::write(self, out, stream),
        }
    }

    /// Whether a value is so large that it should be written in parts.
    pub fn is_large(value: ValueRef<'_>) -> bool {
        match value {
            // Their nodes are of some kilobytes each.
            ValueRef::List(list) => list.nodes().len() > LARGE / ELEMENTS_OF_NODE,
            value => value.free_effort() > LARGE,
        }
    }

    /// Appends a part of a value, without its type: what follows `from`, which is 0 at first. Returns where to go on. The
    /// value must not change in between.
    pub fn part(&mut self, out: &mut Vec<u8>, value: ValueRef<'_>, from: usize) -> Option<usize> {
        match value {
            ValueRef::Set(set) if set.as_intset().is_none() => {
                if from == 0 {
                    length(out, set.len() as u64);
                }
                set.part(from, PART, &mut |member| self.string(out, &member.to_bytes()))
            }
            ValueRef::Hash(hash) if hash.as_listpack().is_none() => {
                if from == 0 {
                    length(out, hash.len() as u64);
                }
                hash.part(from, PART, &mut |field, value| {
                    self.string(out, &field.to_bytes());
                    self.string(out, &value.to_bytes());
                })
            }
            ValueRef::ZSet(zset) if zset.as_listpack().is_none() => {
                if from == 0 {
                    length(out, zset.len() as u64);
                }
                // As in `value`: from the end.
                let to = zset.len() - from;
                self.scored(out, zset.range(to.saturating_sub(PART)..to).rev());
                (to > PART).then_some(from + PART)
            }
            ValueRef::List(list) => {
                let nodes = list.nodes();
                let (count, part) = (nodes.len(), PART / ELEMENTS_OF_NODE);
                if from == 0 {
                    length(out, count as u64);
                }
                nodes.skip(from).take(part).for_each(|node| self.node(out, node));
                (from + part < count).then_some(from + part)
            }
            value => {
                self.value(out, value);
                None
            }
        }
    }

    fn node(&mut self, out: &mut Vec<u8>, node: NodeRef<'_>) {
        match node {
            NodeRef::Plain(bytes) => {
                length(out, value::NODE_PLAIN);
                self.string(out, bytes);
            }
            NodeRef::Packed(lp) => {
                length(out, value::NODE_PACKED);
                self.string(out, lp.as_bytes());
            }
        }
    }

    fn scored<'a>(&mut self, out: &mut Vec<u8>, pairs: impl Iterator<Item = (Elem<'a>, f64)>) {
        for (member, score) in pairs {
            self.string(out, &member.to_bytes());
            out.extend_from_slice(&score.to_le_bytes());
        }
    }

    /// Appends a string in its shortest form.
    pub fn string(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        if bytes.len() <= MAX_INT_TEXT
            && let Some(n) = parse_int(bytes).and_then(|n| i32::try_from(n).ok())
        {
            return int(out, n);
        }
        if let Some(compressor) = self.compressor.as_mut().filter(|_| bytes.len() > MIN_COMPRESSED) {
            self.packed.clear();
            if compressor.compress(bytes, bytes.len() - MIN_SAVING, &mut self.packed) {
                out.push(0xc0 | ENC_LZF);
                length(out, self.packed.len() as u64);
                length(out, bytes.len() as u64);
                return out.extend_from_slice(&self.packed);
            }
        }
        length(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

/// Appends a length.
pub(super) fn length(out: &mut Vec<u8>, len: u64) {
    match len {
        0..=0x3f => out.push(len as u8),
        0x40..=0x3fff => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        _ => match u32::try_from(len) {
            Ok(len) => {
                out.push(LEN_32);
                out.extend_from_slice(&len.to_be_bytes());
            }
            Err(_) => {
                out.push(LEN_64);
                out.extend_from_slice(&len.to_be_bytes());
            }
        },
    }
}

fn int(out: &mut Vec<u8>, n: i32) {
    if let Ok(n) = i8::try_from(n) {
        out.push(0xc0 | ENC_INT8);
        out.extend_from_slice(&n.to_le_bytes());
    } else if let Ok(n) = i16::try_from(n) {
        out.push(0xc0 | ENC_INT16);
        out.extend_from_slice(&n.to_le_bytes());
    } else {
        out.push(0xc0 | ENC_INT32);
        out.extend_from_slice(&n.to_le_bytes());
    }
}

/// Writes one file: [`Encoder::preamble`], entries, [`Encoder::end`]. What is appended to `out` must go to the file in
/// the same order.
#[derive(Debug)]
pub struct Encoder {
    values: ValueWriter,
    checksum: Option<u64>,
    db: Option<u32>,
}

impl Encoder {
    /// `rdbcompression`, `rdbchecksum`.
    pub fn new(compression: bool, checksum: bool) -> Self {
        Encoder { values: ValueWriter::new(compression), checksum: checksum.then_some(0), db: None }
    }

    /// Counts what has been written into the checksum. To be called with each piece that leaves the buffer before the
    /// end, in order.
    pub fn sum(&mut self, piece: &[u8]) {
        self.checksum = self.checksum.map(|crc| crc64::update(crc, piece));
    }

    /// The start of the file.
    pub fn preamble(&mut self, out: &mut Vec<u8>, p: &Preamble) {
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(format!("{VERSION:04}").as_bytes());
        let mut aux = |name: &str, value: &str| {
            out.push(OP_AUX);
            self.values.string(out, name.as_bytes());
            self.values.string(out, value.as_bytes());
        };
        aux("redis-ver", p.redis_version);
        aux("redis-bits", "64");
        aux("ctime", &p.unix_s.to_string());
        aux("used-mem", &p.used_memory.to_string());
        if let Some(r) = p.replication {
            aux("repl-stream-db", &r.stream_db.to_string());
            aux("repl-id", r.id);
            aux("repl-offset", &r.offset.to_string());
        }
        aux("aof-base", if p.aof_base { "1" } else { "0" });
        if let Some(dataset) = p.dataset {
            aux("replicaset-dataset", dataset);
        }
        if let Some(epoch) = p.epoch {
            aux("replicaset-epoch", &epoch.to_string());
        }
    }

    /// A library of functions, as [`super::decode::Event::Function`] gives it.
    pub fn function(&mut self, out: &mut Vec<u8>, library: &[u8]) {
        out.push(OP_FUNCTION);
        self.values.string(out, library);
    }

    /// A hint of how many keys database `db` has, and how many of them expire: before its first entry.
    pub fn resize_db(&mut self, out: &mut Vec<u8>, db: u32, keys: u64, expires: u64) {
        self.select(out, db);
        out.push(OP_RESIZE_DB);
        length(out, keys);
        length(out, expires);
    }

    fn select(&mut self, out: &mut Vec<u8>, db: u32) {
        if self.db != Some(db) {
            self.db = Some(db);
            out.push(OP_SELECT_DB);
            length(out, u64::from(db));
        }
    }

    /// One key with its value.
    pub fn entry<'a>(
        &mut self,
        out: &mut Vec<u8>,
        db: u32,
        key: &[u8],
        value: impl Into<ValueRef<'a>>,
        meta: Meta,
    ) {
        let value = value.into();
        self.begin_entry(out, db, key, value, meta);
        self.values.value(out, value);
    }

    /// A part of one key's value, from 0 on, with the key in front of the first; returns where to go on. Nothing else may be
    /// written in between, nor the value be changed.
    pub fn entry_part(
        &mut self,
        out: &mut Vec<u8>,
        db: u32,
        key: &[u8],
        value: ValueRef<'_>,
        meta: Meta,
        from: usize,
    ) -> Option<usize> {
        if from == 0 {
            self.begin_entry(out, db, key, value, meta);
        }
        self.values.part(out, value, from)
    }

    fn begin_entry(&mut self, out: &mut Vec<u8>, db: u32, key: &[u8], value: ValueRef<'_>, meta: Meta) {
        self.select(out, db);
        if let Some(at) = meta.expire_at_ms {
            out.push(OP_EXPIRE_MS);
            out.extend_from_slice(&at.to_le_bytes());
        }
        if let Some(idle) = meta.idle_s {
            out.push(OP_IDLE);
            length(out, idle);
        }
        if let Some(freq) = meta.freq {
            out.extend_from_slice(&[OP_FREQ, freq]);
        }
        out.push(ValueWriter::kind(value));
        self.values.string(out, key);
    }

    /// The end of the file, behind what of it has not been given to [`Encoder::sum`]. 0 stands for a checksum that is
    /// switched off.
    pub fn end(mut self, out: &mut Vec<u8>) {
        out.push(OP_EOF);
        self.sum(out);
        out.extend_from_slice(&self.checksum.unwrap_or(0).to_le_bytes());
    }
}
