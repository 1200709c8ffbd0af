//! `DEBUG DIGEST` and `DIGEST-VALUE`: fingerprints of data, equal on every server that holds the same, whatever the order
//! in which it keeps it and however it is encoded. The same as Redis 7.0's, so that copies can be compared with it.

use sha1_smol::Sha1;

use crate::store::keyspace::{KeyEntry, Keyspace};
use crate::store::num::{IntBuf, format_float};
use crate::store::stream_id::StreamId;
use crate::store::value::ValueRef;

/// A fingerprint in the making.
#[derive(Default)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Takes something in whose place among others does not matter.
    fn unordered(&mut self, bytes: &[u8]) {
        let hash = Sha1::from(bytes).digest().bytes();
        self.0.iter_mut().zip(hash).for_each(|(d, h)| *d ^= h);
    }

    /// Takes something in that comes after what was before.
    fn ordered(&mut self, bytes: &[u8]) {
        self.unordered(bytes);
        self.0 = Sha1::from(self.0).digest().bytes();
    }

    fn pair(&mut self, one: &[u8], other: &[u8]) {
        let mut both = Digest::default();
        both.ordered(one);
        both.ordered(other);
        self.unordered(&both.0);
    }

    fn value(&mut self, entry: &KeyEntry) {
        let (mut buf, mut other) = (IntBuf::new(), IntBuf::new());
        self.ordered(&type_number(entry.value()).to_be_bytes());
        match entry.value() {
            ValueRef::Str(v) => self.ordered(v.as_bytes(&mut buf)),
            ValueRef::List(v) => v.iter().for_each(|e| self.ordered(e.as_bytes(&mut buf))),
            ValueRef::Set(v) => v.iter().for_each(|e| self.unordered(e.as_bytes(&mut buf))),
            ValueRef::Hash(v) => {
                v.iter().for_each(|(f, v)| self.pair(f.as_bytes(&mut buf), v.as_bytes(&mut other)));
            }
            ValueRef::ZSet(v) => {
                v.iter()
                    .for_each(|(m, score)| self.pair(m.as_bytes(&mut buf), format_float(score).as_bytes()));
            }
            ValueRef::Stream(v) => {
                for entry in v.log.range(StreamId::MIN, StreamId::MAX) {
                    self.ordered(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for (name, value) in entry.fields() {
                        self.ordered(&name.to_bytes());
                        self.ordered(&value.to_bytes());
                    }
                }
            }
        }
        if entry.expire_at().is_some() {
            self.unordered(b"!!expire!!");
        }
    }

    fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// The number that Redis has for a type.
fn type_number(value: ValueRef<'_>) -> u32 {
    match value {
        ValueRef::Str(_) => 0,
        ValueRef::List(_) => 1,
        ValueRef::Set(_) => 2,
        ValueRef::ZSet(_) => 3,
        ValueRef::Hash(_) => 4,
        ValueRef::Stream(_) => 6,
    }
}

/// The fingerprint of a value with whether it expires, 40 hex digits; zeros where there is none.
pub fn of_value(entry: Option<&KeyEntry>) -> String {
    let mut digest = Digest::default();
    if let Some(entry) = entry {
        digest.value(entry);
    }
    digest.hex()
}

/// The fingerprint of all data, 40 hex digits; zeros where there is none.
pub fn of_all(keyspace: &Keyspace) -> String {
    let mut all = Digest::default();
    for db in (0..keyspace.databases()).filter(|&db| keyspace.len(db) > 0) {
        all.ordered(&(db as u32).to_be_bytes());
        for entry in keyspace.iter(db) {
            let mut digest = Digest::default();
            digest.ordered(entry.key());
            digest.value(entry);
            all.unordered(&digest.0);
        }
    }
    all.hex()
}
