//! What a server holds, in a form that can be compared: the same whatever the order and the encoding it is kept in.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use crate::server::Server;
use crate::store::keyspace::KeyEntry;
use crate::store::num::IntBuf;
use crate::store::stream::Stream;
use crate::store::stream_id::StreamId;
use crate::store::value::ValueRef;

/// All keys with a fingerprint of their values and with their times, and the libraries of functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    keys: BTreeMap<(usize, Vec<u8>), (u64, Option<i64>)>,
    libraries: Vec<Vec<u8>>,
}

impl State {
    pub(super) fn of(server: &Server) -> State {
        let keyspace = &server.keyspace;
        let entries = (0..keyspace.databases()).flat_map(|db| keyspace.iter(db).map(move |e| (db, e)));
        State {
            keys: entries.map(|(db, e)| ((db, e.key().to_vec()), (print(e), e.expire_at()))).collect(),
            libraries: server.scripting.libraries.iter().map(|l| l.text.to_vec()).collect(),
        }
    }

    /// Keys whose time is up at `now_ms` are as good as gone.
    pub(super) fn is_as(&self, other: &State, now_ms: i64) -> bool {
        let alive = |s: &State| -> Vec<_> {
            let keys = s.keys.iter().filter(|(_, (_, expire))| expire.is_none_or(|at| at > now_ms));
            keys.map(|(k, v)| (k.clone(), *v)).collect()
        };
        self.libraries == other.libraries && (self == other || alive(self) == alive(other))
    }

    /// What is different, for people.
    pub(super) fn difference(&self, other: &State) -> String {
        let mut text = String::new();
        for (name, mine) in &self.keys {
            let theirs = other.keys.get(name);
            if theirs != Some(mine) {
                text += &format!("  {}:{} {mine:?} / {theirs:?}\n", name.0, name.1.escape_ascii());
            }
        }
        for (name, theirs) in other.keys.iter().filter(|(name, _)| !self.keys.contains_key(*name)) {
            text += &format!("  {}:{} None / {theirs:?}\n", name.0, name.1.escape_ascii());
        }
        text
    }
}

fn hash_of(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}

/// A fingerprint of a value.
fn print(entry: &KeyEntry) -> u64 {
    let (mut one, mut other) = (IntBuf::new(), IntBuf::new());
    let mut hasher = DefaultHasher::new();
    let mut unordered = 0u64;
    match entry.value() {
        ValueRef::Str(v) => hasher.write(v.as_bytes(&mut one)),
        ValueRef::List(v) => v.iter().for_each(|e| hasher.write_u64(hash_of(&[e.as_bytes(&mut one)]))),
        ValueRef::Set(v) => {
            hasher.write_u8(1);
            v.iter().for_each(|e| unordered = unordered.wrapping_add(hash_of(&[e.as_bytes(&mut one)])));
        }
        ValueRef::Hash(v) => {
            hasher.write_u8(2);
            for (field, value) in v.iter() {
                let pair = hash_of(&[field.as_bytes(&mut one), value.as_bytes(&mut other)]);
                unordered = unordered.wrapping_add(pair);
            }
        }
        ValueRef::ZSet(v) => {
            hasher.write_u8(3);
            for (member, score) in v.iter() {
                let pair = hash_of(&[member.as_bytes(&mut one), &score.to_bits().to_be_bytes()]);
                unordered = unordered.wrapping_add(pair);
            }
        }
        ValueRef::Stream(v) => stream(v, &mut hasher),
    }
    hasher.write_u64(unordered);
    hasher.finish()
}

/// Everything but when consumers were seen, which no file has to the moment, and how much a group has read, which the
/// effects of reading do not tell (as in Redis).
fn stream(v: &Stream, hasher: &mut DefaultHasher) {
    for entry in v.log.range(StreamId::MIN, StreamId::MAX) {
        hasher.write(&entry.id.to_bytes());
        for (name, value) in entry.fields() {
            hasher.write_u64(hash_of(&[&name.to_bytes(), &value.to_bytes()]));
        }
    }
    hasher.write(format!("{:?}", v.log.totals()).as_bytes());
    for (name, group) in &v.groups {
        hasher.write_u64(hash_of(&[name]));
        hasher.write(&group.last_id.to_bytes());
        for (id, p) in group.all_pending().iter() {
            hasher.write(&id.to_bytes());
            let consumer = group.get(p.consumer).name();
            hasher.write(format!("{consumer:?} {} {}", p.delivered_ms, p.deliveries).as_bytes());
        }
        let mut names: Vec<_> = group.consumers().map(|c| c.name().to_vec()).collect();
        names.sort();
        hasher.write(format!("{names:?}").as_bytes());
    }
}
