//! The keys: numbered databases, expiry, and snapshots that are taken while commands go on.
//!
//! A key whose time is up is invisible to `lookup` and its kin, but stays until somebody removes it: whether that is done
//! (and told to replicas) is the caller's decision. Pass `SEE_ALL` as the time to see such keys too.
//!
//! Every change goes through a method of `Keyspace`, which first lets a running snapshot have what is about to change. So
//! the sink gets each entry that existed at `begin_snapshot` exactly once, with the value and expiry it had then, under the
//! number that its database had then.

use super::dict::{Dict, HashSeed, Remains};
pub use super::entry::KeyEntry;
use super::prefetch::Stage;
use super::rng::Rng;
use super::slot::key_slot;
use super::value::Value;
use std::any::Any;
use std::collections::BTreeSet;

/// A time before all expiries.
pub const SEE_ALL: i64 = i64::MIN;

/// Tries of `random_volatile` to hit a key with an expiry by chance.
const VOLATILE_TRIES: usize = 16;

/// A use that a command will make of a key, by hashes.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// Database.
    pub db: usize,
    /// Hash of the key.
    pub key: u64,
    /// Hash of the element that it is about, where the key holds a collection.
    pub element: Option<u64>,
}

/// Who takes a snapshot's entries: an encoder that appends to memory.
pub trait SnapshotSink: Any + Send {
    /// One key. `db` is the number its database had when the snapshot began.
    fn entry(&mut self, db: usize, e: &KeyEntry);

    /// Whether a key is so large that it is better taken in parts.
    fn in_parts(&self, _e: &KeyEntry) -> bool {
        false
    }

    /// A part of one key, from 0 on; where to go on, if that was not all. Nothing else is given in between.
    fn part(&mut self, db: usize, e: &KeyEntry, _from: usize) -> Option<usize> {
        self.entry(db, e);
        None
    }
}

/// What is left of a flushed database, to be freed step by step or on another thread.
pub type Garbage = Remains<KeyEntry>;

/// A snapshot is already being taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a snapshot is already in progress")]
pub struct SnapshotInProgress;

/// One numbered database.
struct Db {
    dict: Dict<KeyEntry>,
    /// (time, hash of the key) of every key that expires.
    expiry: BTreeSet<(i64, u64)>,
    /// The sum of these times, for the average.
    expiry_sum: i128,
    /// Its number when the running snapshot began.
    snapshot_number: usize,
}

impl Db {
    fn new(seed: HashSeed) -> Db {
        Db { dict: Dict::new(seed), expiry: BTreeSet::new(), expiry_sum: 0, snapshot_number: 0 }
    }

    fn index(&mut self, key: &[u8], from: Option<i64>, to: Option<i64>) {
        if from == to {
            return;
        }
        let hash = self.dict.seed().hash(key);
        if let Some(from) = from.filter(|&at| self.expiry.remove(&(at, hash))) {
            self.expiry_sum -= i128::from(from);
        }
        if let Some(to) = to.filter(|&at| self.expiry.insert((at, hash))) {
            self.expiry_sum += i128::from(to);
        }
    }

    /// The key behind an element of the expiry index.
    fn indexed(&self, &(at, hash): &(i64, u64)) -> Option<&KeyEntry> {
        self.dict.find_hashed(hash, |e| e.expire_at() == Some(at))
    }
}

struct Snapshot {
    sink: Box<dyn SnapshotSink>,
    /// Flushed databases that have not been walked to the end.
    frozen: Vec<(usize, Dict<KeyEntry>)>,
    /// Keys to be given in parts, with the numbers their databases had, once all others have been given: until then, and
    /// in between, whoever is about to change one has it given as a whole.
    large: Vec<(usize, Box<[u8]>)>,
    /// How much of the last of them has been given.
    given: usize,
}

impl Snapshot {
    /// Gives a key that the walk has come to, or puts it off. `now`: the key that is about to change.
    fn give(
        sink: &mut dyn SnapshotSink,
        large: &mut Vec<(usize, Box<[u8]>)>,
        db: usize,
        e: &KeyEntry,
        now: Option<&[u8]>,
    ) {
        if sink.in_parts(e) && now != Some(e.key()) {
            large.push((db, e.key().into()));
        } else {
            sink.entry(db, e);
        }
    }

    /// Gives the rest of the last of the large keys.
    fn finish_last(&mut self, dbs: &[Db]) {
        while !self.step_last(dbs) {}
    }

    /// Gives a part of the last of the large keys; true if that was the end of it, or there is none.
    fn step_last(&mut self, dbs: &[Db]) -> bool {
        let Some((n, key)) = self.large.last() else { return true };
        let entry = dbs.iter().find(|db| db.snapshot_number == *n).and_then(|db| db.dict.find(key));
        let next = entry.and_then(|e| self.sink.part(*n, e, self.given));
        self.given = next.unwrap_or(0);
        if next.is_none() {
            self.large.pop();
        }
        next.is_none()
    }

    /// Gives those of the large keys for which `is` holds.
    fn give_large(&mut self, dbs: &[Db], is: impl Fn(usize, &[u8]) -> bool) {
        while let Some(i) = self.large.iter().rposition(|(n, key)| is(*n, key)) {
            if self.given > 0 {
                // Only a whole key may be followed by another.
                self.finish_last(dbs);
            } else {
                let last = self.large.len() - 1;
                self.large.swap(i, last);
                self.finish_last(dbs);
            }
        }
    }
}

/// The number that a database has that did not exist when the snapshot began.
const NO_NUMBER: usize = usize::MAX;

/// All databases of a server.
pub struct Keyspace {
    dbs: Vec<Db>,
    seed: HashSeed,
    snapshot: Option<Snapshot>,
    garbage: Vec<Garbage>,
}

impl Keyspace {
    /// `databases` empty ones. Database numbers passed to the other methods must be below that.
    pub fn new(databases: usize, seed: HashSeed) -> Keyspace {
        let dbs = (0..databases).map(|_| Db::new(seed)).collect();
        Keyspace { dbs, seed, snapshot: None, garbage: Vec::new() }
    }

    /// Makes room for so many keys in a database that is still empty.
    pub fn reserve(&mut self, db: usize, keys: usize) {
        self.dbs[db].dict.reserve(keys);
    }

    /// Number of databases.
    pub fn databases(&self) -> usize {
        self.dbs.len()
    }

    /// The key, unless its time is up.
    #[inline]
    pub fn lookup(&self, db: usize, key: &[u8], now_ms: i64) -> Option<&KeyEntry> {
        self.peek(db, key).filter(|e| !e.is_expired(now_ms))
    }

    /// The key, even if its time is up.
    #[inline]
    pub fn peek(&self, db: usize, key: &[u8]) -> Option<&KeyEntry> {
        self.dbs[db].dict.find(key)
    }

    /// The hash of a key, or of an element of a collection.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash(key)
    }

    /// Has the place fetched that a new key will have.
    pub fn fetch_place(&self, db: usize, key: &[u8]) {
        self.dbs[db].dict.prefetch(self.hash(key), Stage::Bucket);
    }

    /// Has what commands on these keys will need fetched into the processor's cache. The waiting for memory, which is most
    /// of what a lookup costs, is done for all at once.
    pub fn prefetch(&self, uses: &[Use]) {
        for stage in [Stage::Bucket, Stage::Entry, Stage::Contents] {
            // Several elements of one key follow each other.
            for of_key in uses.chunk_by(|a, b| (a.db, a.key) == (b.db, b.key)) {
                self.dbs[of_key[0].db].dict.prefetch(of_key[0].key, stage);
            }
        }
        for stage in [Stage::Bucket, Stage::Entry, Stage::Contents] {
            for used in uses {
                if let Some(element) = used.element {
                    let dict = &self.dbs[used.db].dict;
                    dict.guess(used.key, |e| e.value().prefetch_element(element, stage));
                }
            }
        }
    }

    /// The key, to be changed, unless its time is up.
    pub fn lookup_write(&mut self, db: usize, key: &[u8], now_ms: i64) -> Option<&mut KeyEntry> {
        self.touch(db, key);
        let e = self.dbs[db].dict.find_mut(key)?;
        (!e.is_expired(now_ms)).then_some(e)
    }

    /// The key, to be changed, with a new value if there was none; true if it was made. One whose time is up is replaced.
    pub fn get_or_insert(
        &mut self,
        db: usize,
        key: &[u8],
        now_ms: i64,
        make: impl FnOnce() -> Value,
    ) -> (&mut KeyEntry, bool) {
        self.touch(db, key);
        if self.peek(db, key).is_some_and(|e| e.is_expired(now_ms)) {
            self.remove_touched(db, key);
            // A removal may have merged buckets, and the insertion may split others.
            self.touch(db, key);
        }
        let (e, made) = self.dbs[db].dict.find_or_insert_with(key, || KeyEntry::new(key, make(), None));
        (e, made)
    }

    /// Sets a key, with its expiry, whatever was there; returns the value it replaced.
    pub fn insert(
        &mut self,
        db: usize,
        key: &[u8],
        value: Value,
        expire_at_ms: Option<i64>,
    ) -> Option<Value> {
        self.touch(db, key);
        let mut value = Some(value);
        let db = &mut self.dbs[db];
        let (e, made) = db.dict.find_or_insert_with(key, || {
            KeyEntry::new(key, value.take().expect("it is made once"), expire_at_ms)
        });
        let was = if made { None } else { e.set_expire_at(expire_at_ms) };
        let old = value.map(|v| e.replace(v));
        db.index(key, was, expire_at_ms);
        old
    }

    /// Removes a key, even if its time is up, and returns what it was.
    pub fn remove(&mut self, db: usize, key: &[u8]) -> Option<KeyEntry> {
        self.touch(db, key);
        self.remove_touched(db, key)
    }

    fn remove_touched(&mut self, db: usize, key: &[u8]) -> Option<KeyEntry> {
        let db = &mut self.dbs[db];
        let e = db.dict.remove(key)?;
        db.index(key, e.expire_at(), None);
        Some(e)
    }

    /// Sets or takes away a key's expiry (unix ms); false if there is no such key.
    pub fn set_expire(&mut self, db: usize, key: &[u8], expire_at_ms: Option<i64>) -> bool {
        self.touch(db, key);
        let db = &mut self.dbs[db];
        let Some(e) = db.dict.find_mut(key) else { return false };
        let was = e.set_expire_at(expire_at_ms);
        db.index(key, was, expire_at_ms);
        true
    }

    /// Number of keys, with those whose time is up (DBSIZE).
    pub fn len(&self, db: usize) -> usize {
        self.dbs[db].dict.len()
    }

    /// Number of keys of all databases.
    pub fn all_keys(&self) -> usize {
        self.dbs.iter().map(|db| db.dict.len()).sum()
    }

    /// Whether no database has a key.
    pub fn is_empty(&self) -> bool {
        self.dbs.iter().all(|db| db.dict.is_empty())
    }

    /// Number of keys with an expiry.
    pub fn expires(&self, db: usize) -> usize {
        self.dbs[db].expiry.len()
    }

    /// The average time that keys with an expiry have left, in ms (0 if none has).
    pub fn avg_ttl_ms(&self, db: usize, now_ms: i64) -> i64 {
        let db = &self.dbs[db];
        match db.expiry.len() as i128 {
            0 => 0,
            n => (db.expiry_sum / n - i128::from(now_ms)).clamp(0, i128::from(i64::MAX)) as i64,
        }
    }

    /// Up to `limit` keys whose time is up, with their databases; in each database the longest overdue first.
    pub fn expired_keys(&self, now_ms: i64, limit: usize) -> Vec<(usize, Vec<u8>)> {
        let due = |(n, db)| {
            let db: &Db = db;
            db.expiry.range(..(now_ms, 0)).filter_map(move |i| Some((n, db.indexed(i)?.key().to_vec())))
        };
        self.dbs.iter().enumerate().flat_map(due).take(limit).collect()
    }

    /// When the next key of any database expires (unix ms).
    pub fn next_expiry(&self) -> Option<i64> {
        self.dbs.iter().filter_map(|db| db.expiry.first()).map(|i| i.0).min()
    }

    /// The key of a database that expires next (volatile-ttl).
    pub fn soonest(&self, db: usize) -> Option<&KeyEntry> {
        let db = &self.dbs[db];
        db.expiry.iter().find_map(|i| db.indexed(i))
    }

    /// A key, all with the same probability, those whose time is up too.
    pub fn random(&self, db: usize, rng: &mut Rng) -> Option<&KeyEntry> {
        self.dbs[db].dict.random(rng)
    }

    /// A key with an expiry, for eviction: an even choice where such keys are common, else by a random point in time.
    pub fn random_volatile(&self, db: usize, rng: &mut Rng) -> Option<&KeyEntry> {
        let db = &self.dbs[db];
        let (first, last) = (db.expiry.first()?, db.expiry.last()?);
        let by_chance =
            (0..VOLATILE_TRIES).filter_map(|_| db.dict.random(rng)).find(|e| e.expire_at().is_some());
        if let Some(e) = by_chance {
            return Some(e);
        }
        let span = usize::try_from(i128::from(last.0) - i128::from(first.0)).unwrap_or(usize::MAX);
        let point = first.0.saturating_add_unsigned(rng.below(span.saturating_add(1)) as u64);
        // The index ends at `last`, so there is something from any point up to it.
        db.expiry.range((point, rng.next_u64())..).chain([last, first]).find_map(|i| db.indexed(i))
    }

    /// See `Dict::scan`. Keys whose time is up are given too.
    pub fn scan(&self, db: usize, cursor: u64, f: &mut dyn FnMut(&KeyEntry)) -> u64 {
        self.dbs[db].dict.scan(cursor, &mut |e| f(e))
    }

    /// All keys of a database, those whose time is up too.
    pub fn iter(&self, db: usize) -> impl Iterator<Item = &KeyEntry> {
        self.dbs[db].dict.iter()
    }

    /// Number of keys of database 0 in a hash slot. Goes over all keys.
    pub fn count_in_slot(&self, slot: u16) -> usize {
        self.in_slot(slot).count()
    }

    /// Up to `limit` keys of database 0 in a hash slot. Goes over the keys until it has them.
    pub fn keys_in_slot(&self, slot: u16, limit: usize) -> Vec<Vec<u8>> {
        self.in_slot(slot).take(limit).map(|e| e.key().to_vec()).collect()
    }

    fn in_slot(&self, slot: u16) -> impl Iterator<Item = &KeyEntry> {
        self.iter(0).filter(move |e| key_slot(e.key()) == slot)
    }

    /// Makes a database empty; returns how many keys it had. What was in it is left in the garbage.
    pub fn flush(&mut self, db: usize) -> usize {
        if let Some(s) = &mut self.snapshot {
            let n = self.dbs[db].snapshot_number;
            s.give_large(&self.dbs, |of, _| of == n);
        }
        let fresh = Db { snapshot_number: NO_NUMBER, ..Db::new(self.seed) };
        let old = std::mem::replace(&mut self.dbs[db], fresh);
        let len = old.dict.len();
        match &mut self.snapshot {
            Some(s) if old.dict.is_walking() => s.frozen.push((old.snapshot_number, old.dict)),
            _ if len > 0 => self.garbage.push(old.dict.into_remains()),
            _ => {}
        }
        len
    }

    /// Makes all databases empty; returns how many keys they had.
    pub fn flush_all(&mut self) -> usize {
        (0..self.dbs.len()).map(|db| self.flush(db)).sum()
    }

    /// What flushed databases have left behind: to be dropped wherever it disturbs nobody.
    pub fn take_garbage(&mut self) -> Vec<Garbage> {
        std::mem::take(&mut self.garbage)
    }

    /// Exchanges two databases (SWAPDB).
    pub fn swap(&mut self, a: usize, b: usize) {
        self.dbs.swap(a, b);
    }

    /// Number of entries in each slot of a database's table.
    pub fn chain_lengths(&self, db: usize) -> Vec<usize> {
        self.dbs[db].dict.chain_lengths()
    }

    /// Memory of tables and indexes in bytes, without keys and values: what MEMORY STATS calls overhead.
    pub fn overhead_bytes(&self, db: usize) -> usize {
        let db = &self.dbs[db];
        // A B-tree's nodes are about three quarters full.
        db.dict.bytes() + db.expiry.len() * size_of::<(i64, u64)>() * 4 / 3
    }

    /// Memory of a database in bytes, estimated from `sample` random keys.
    pub fn memory_estimate(&self, db: usize, rng: &mut Rng, sample: usize) -> usize {
        let dict = &self.dbs[db].dict;
        let sizes: Vec<usize> =
            (0..sample).map_while(|_| dict.random(rng)).map(|e| e.memory_usage(sample)).collect();
        let mean = sizes.iter().sum::<usize>() / sizes.len().max(1);
        self.overhead_bytes(db) + mean * dict.len()
    }

    /// Begins a snapshot of all databases as they are now.
    pub fn begin_snapshot(&mut self, sink: Box<dyn SnapshotSink>) -> Result<(), SnapshotInProgress> {
        if self.snapshot.is_some() {
            return Err(SnapshotInProgress);
        }
        for (n, db) in self.dbs.iter_mut().enumerate() {
            db.snapshot_number = n;
            db.dict.begin_walk();
        }
        self.snapshot = Some(Snapshot { sink, frozen: Vec::new(), large: Vec::new(), given: 0 });
        Ok(())
    }

    /// Whether a snapshot has been begun and not been ended.
    pub fn in_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Goes on with the snapshot over about `budget` buckets (of some five keys each); true when it is complete, or
    /// when there is none.
    pub fn snapshot_step(&mut self, budget: usize) -> bool {
        let Some(s) = &mut self.snapshot else { return true };
        // What has been flushed goes first, since it holds memory.
        if let Some((n, dict)) = s.frozen.last_mut() {
            if !dict.walk(budget, &mut |e| s.sink.entry(*n, e)) {
                return false;
            }
            self.garbage.extend(s.frozen.pop().map(|(_, dict)| dict.into_remains()));
            return false;
        }
        let Some(db) = self.dbs.iter_mut().find(|db| db.dict.is_walking()) else {
            return s.step_last(&self.dbs) && s.large.is_empty();
        };
        let n = db.snapshot_number;
        let (sink, large) = (&mut *s.sink, &mut s.large);
        db.dict.walk(budget, &mut |e| Snapshot::give(sink, large, n, e, None));
        false
    }

    /// The sink of the running snapshot, to take out what it has gathered (by way of `Any`).
    pub fn snapshot_sink(&mut self) -> Option<&mut dyn SnapshotSink> {
        self.snapshot.as_mut().map(|s| &mut *s.sink)
    }

    /// Ends the snapshot, complete or not, and gives the sink back.
    pub fn end_snapshot(&mut self) -> Option<Box<dyn SnapshotSink>> {
        let s = self.snapshot.take()?;
        self.dbs.iter_mut().for_each(|db| db.dict.abandon_walk());
        self.garbage.extend(s.frozen.into_iter().map(|(_, dict)| dict.into_remains()));
        Some(s.sink)
    }

    #[inline]
    fn touch(&mut self, db: usize, key: &[u8]) {
        if let Some(s) = &mut self.snapshot {
            let n = self.dbs[db].snapshot_number;
            if !s.large.is_empty() {
                s.give_large(&self.dbs, |of, large| of == n && large == key);
            }
            let (sink, large) = (&mut *s.sink, &mut s.large);
            self.dbs[db].dict.touch(key, &mut |e| Snapshot::give(sink, large, n, e, Some(key)));
        }
    }
}

#[cfg(test)]
#[path = "keyspace_tests.rs"]
mod tests;
