//! A hash table that grows and shrinks one bucket at a time (linear hashing): no second table, no pause.
//!
//! Buckets are one cache line: six entries, a byte of each entry's hash to skip most key comparisons, and a link to
//! an overflow bucket. A bucket's number is the low bits of the hash, so a bucket covers one interval of the hashes
//! read backwards (bit-reversed): `scan` cursors are positions in that space and stay valid while the table changes.
//!
//! **Walks** give every entry that existed at `begin_walk` to a function exactly once, with the content it had at that
//! moment, while the table goes on changing. The owner keeps one rule: before each `insert`, `find_or_insert_with`,
//! `remove`, `find_mut`, it calls `touch` with the same key. Debug builds check it.

use super::prefetch::{self, Stage};
use super::rng::Rng;
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use std::hash::Hasher;
use std::mem::size_of;

/// Something a `Dict` can hold: usually a `Box`, so that six of them fit into a bucket.
pub trait Entry {
    /// The bytes by which it is found. They must not change while it is in the table.
    fn key(&self) -> &[u8];
    /// Has what it points to fetched into the processor's cache ([`Dict::prefetch`]), without looking at it.
    fn fetch(&self) {}
    /// Has what that points to fetched in turn.
    fn fetch_contents(&self) {}
}

/// What makes the hashes of one process unpredictable. One per server, shared by all its tables.
#[derive(Clone, Copy, Debug)]
pub struct HashSeed(&'static SharedSeed, u64);

impl HashSeed {
    /// The process-wide random tables, together with `seed`.
    pub fn new(seed: u64) -> HashSeed {
        HashSeed(SharedSeed::global_random(), seed)
    }

    /// Hashes depend on nothing but `seed`: for simulations that must be repeatable.
    pub fn repeatable(seed: u64) -> HashSeed {
        HashSeed(SharedSeed::global_fixed(), seed)
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(self, key: &[u8]) -> u64 {
        let mut h = FoldHasher::with_seed(self.1, self.0);
        h.write(key);
        h.finish()
    }
}

const SLOTS: usize = 6;
/// Buckets of one segment: the largest piece of memory that growth asks for at once (128 KiB).
const SEGMENT: usize = 2048;
/// The table grows above `GROW_NUM / GROW_DEN` entries per bucket…
const GROW_NUM: usize = 9;
const GROW_DEN: usize = 2;
/// … and shrinks below this many.
const SHRINK_LOAD: usize = 2;
/// Tries of `random` before it settles for a less even choice.
const RANDOM_TRIES: usize = 200;
/// Bits of the space that scan cursors live in.
const CURSOR_BITS: u32 = 48;

const LOW: u64 = 0x0101_0101_0101_0101;
const SLOT_HIGH: u64 = 0x0000_8080_8080_8080;
const STAMP: usize = 6;

/// One cache line. `meta` holds six tags (0: free slot), the walk stamp, and a spare byte.
#[repr(align(64))]
struct Bucket<E> {
    meta: [u8; 8],
    entries: [Option<E>; SLOTS],
    next: Option<Box<Bucket<E>>>,
}

/// Where an entry is: bucket, how far down its chain, slot.
#[derive(Clone, Copy)]
struct Loc {
    bucket: usize,
    depth: usize,
    slot: usize,
}

#[inline]
fn tag_of(hash: u64) -> u8 {
    // 0 means free, so the tags 0 and 1 share.
    ((hash >> 56) as u8).max(1)
}

impl<E: Entry> Bucket<E> {
    fn new(stamp: u8) -> Bucket<E> {
        let mut meta = [0; 8];
        meta[STAMP] = stamp;
        Bucket { meta, entries: [const { None }; SLOTS], next: None }
    }

    /// The slots whose tag may be `tag`, as the high bits of six bytes. False positives are possible, misses not.
    #[inline]
    fn candidates(&self, tag: u8) -> u64 {
        let x = u64::from_le_bytes(self.meta) ^ (u64::from(tag) * LOW);
        x.wrapping_sub(LOW) & !x & SLOT_HIGH
    }

    #[inline]
    fn position(&self, tag: u8, key: &[u8]) -> Option<usize> {
        let mut found = self.candidates(tag);
        while found != 0 {
            let slot = (found.trailing_zeros() / 8) as usize;
            if let Some(e) = &self.entries[slot]
                && e.key() == key
            {
                return Some(slot);
            }
            found &= found - 1;
        }
        None
    }

    fn for_each(&self, f: &mut dyn FnMut(&E)) {
        let mut b = Some(self);
        while let Some(bucket) = b {
            bucket.entries.iter().flatten().for_each(&mut *f);
            b = bucket.next.as_deref();
        }
    }

    fn at_depth(&mut self, depth: usize) -> &mut Bucket<E> {
        let mut b = self;
        for _ in 0..depth {
            b = b.next.as_mut().expect("a location names an existing bucket");
        }
        b
    }

    /// Puts an entry into the first free slot of the chain. Says where, and whether an overflow bucket was added.
    fn push(&mut self, tag: u8, e: E) -> (usize, usize, bool) {
        let (mut b, mut depth, mut added) = (self, 0, false);
        loop {
            if let Some(slot) = b.entries.iter().position(Option::is_none) {
                b.meta[slot] = tag;
                b.entries[slot] = Some(e);
                return (depth, slot, added);
            }
            let stamp = b.meta[STAMP];
            b = b.next.get_or_insert_with(|| {
                added = true;
                Box::new(Bucket::new(stamp))
            });
            depth += 1;
        }
    }

    /// Takes the last entry of the last bucket of the chain below this one, and drops that bucket if it is empty then.
    fn pop_overflow(&mut self) -> Option<(u8, E, bool)> {
        let last = self.next.as_deref_mut()?;
        if last.next.is_some() {
            return last.pop_overflow();
        }
        let slot = last.entries.iter().rposition(Option::is_some)?;
        let tag = std::mem::take(&mut last.meta[slot]);
        let e = last.entries[slot].take()?;
        let emptied = last.entries.iter().all(Option::is_none);
        if emptied {
            self.next = None;
        }
        Some((tag, e, emptied))
    }
}

/// The table. See the module's description.
pub struct Dict<E> {
    /// All full (`SEGMENT` buckets) but the last.
    segments: Vec<Vec<Bucket<E>>>,
    /// Number of buckets: `2^level <= buckets < 2^(level + 1)`.
    buckets: usize,
    level: u32,
    len: usize,
    overflow: usize,
    /// No chain has ever been longer since the table was last empty.
    longest: usize,
    seed: HashSeed,
    stamp: u8,
    /// While a walk is under way: every bucket below this number has been visited.
    walked: Option<usize>,
    /// Walks given up since the last complete one: so many old stamps may be on the buckets.
    abandoned: u8,
}

impl<E: Entry> Dict<E> {
    /// An empty table.
    pub fn new(seed: HashSeed) -> Dict<E> {
        let mut d = Dict {
            segments: Vec::new(),
            buckets: 0,
            level: 0,
            len: 0,
            overflow: 0,
            longest: 1,
            seed,
            stamp: 0,
            walked: None,
            abandoned: 0,
        };
        d.push_bucket();
        d
    }

    /// Number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of buckets, overflow aside: the length of a walk.
    pub fn buckets(&self) -> usize {
        self.buckets
    }

    /// The seed the table was made with.
    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// Makes room for so many entries, where it is empty: they will then be added without any bucket being split.
    pub fn reserve(&mut self, entries: usize) {
        if self.len > 0 || self.walked.is_some() {
            return;
        }
        while self.grows_at(entries) {
            self.push_bucket();
        }
    }

    /// Memory of the table itself in bytes, without what the entries point to.
    pub fn bytes(&self) -> usize {
        let slots: usize = self.segments.iter().map(Vec::capacity).sum();
        (slots + self.overflow) * size_of::<Bucket<E>>()
            + self.segments.capacity() * size_of::<Vec<Bucket<E>>>()
            + size_of::<Self>()
    }

    #[inline]
    fn bucket(&self, i: usize) -> &Bucket<E> {
        &self.segments[i / SEGMENT][i % SEGMENT]
    }

    #[inline]
    fn bucket_mut(&mut self, i: usize) -> &mut Bucket<E> {
        &mut self.segments[i / SEGMENT][i % SEGMENT]
    }

    #[inline]
    fn address(&self, hash: u64) -> usize {
        let wide = (hash & ((2 << self.level) - 1)) as usize;
        if wide < self.buckets { wide } else { wide & ((1 << self.level) - 1) }
    }

    /// How many low bits of the hash make up the number of bucket `i`.
    fn address_bits(&self, i: usize) -> u32 {
        let half = 1usize << self.level;
        if i >= half || i + half < self.buckets { self.level + 1 } else { self.level }
    }

    fn locate(&self, hash: u64, key: &[u8]) -> Option<Loc> {
        let (bucket, tag) = (self.address(hash), tag_of(hash));
        let mut b = self.bucket(bucket);
        let mut depth = 0;
        loop {
            if let Some(slot) = b.position(tag, key) {
                return Some(Loc { bucket, depth, slot });
            }
            b = b.next.as_deref()?;
            depth += 1;
        }
    }

    fn at_mut(&mut self, loc: Loc) -> &mut E {
        debug_assert!(self.is_stamped(loc.bucket), "changed without touch");
        self.bucket_mut(loc.bucket).at_depth(loc.depth).entries[loc.slot]
            .as_mut()
            .expect("a location names an existing entry")
    }

    /// The entry with this key.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<&E> {
        let hash = self.seed.hash(key);
        let tag = tag_of(hash);
        let mut b = self.bucket(self.address(hash));
        loop {
            if let Some(slot) = b.position(tag, key) {
                return b.entries[slot].as_ref();
            }
            b = b.next.as_deref()?;
        }
    }

    /// The first entry with this hash for which `is` holds.
    pub fn find_hashed(&self, hash: u64, is: impl Fn(&E) -> bool) -> Option<&E> {
        let mut entries =
            Chain(Some(self.bucket(self.address(hash)))).flat_map(|b| b.entries.iter().flatten());
        entries.find(|e| is(e) && self.seed.hash(e.key()) == hash)
    }

    /// Has a part of what it takes to find an entry fetched into the processor's cache, by its hash alone; the stages before
    /// should have been asked for some time ago.
    #[inline]
    pub fn prefetch(&self, hash: u64, stage: Stage) {
        if stage == Stage::Bucket {
            return prefetch::fetch(self.bucket(self.address(hash)));
        }
        self.guess(hash, |e| if stage == Stage::Entry { e.fetch() } else { e.fetch_contents() });
    }

    /// Gives to `f` what may be the entry with this hash, by its bucket alone.
    #[inline]
    pub fn guess(&self, hash: u64, f: impl Fn(&E)) {
        let bucket = self.bucket(self.address(hash));
        let mut found = bucket.candidates(tag_of(hash));
        while found != 0 {
            if let Some(e) = &bucket.entries[(found.trailing_zeros() / 8) as usize] {
                f(e);
            }
            found &= found - 1;
        }
    }

    /// Whether there is an entry with this key.
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// The entry with this key, to be changed (its key must not be).
    pub fn find_mut(&mut self, key: &[u8]) -> Option<&mut E> {
        let loc = self.locate(self.seed.hash(key), key)?;
        Some(self.at_mut(loc))
    }

    /// Puts an entry in, and returns the one with the same key that it replaced.
    pub fn insert(&mut self, e: E) -> Option<E> {
        let hash = self.seed.hash(e.key());
        if let Some(loc) = self.locate(hash, e.key()) {
            return Some(std::mem::replace(self.at_mut(loc), e));
        }
        self.add(hash, e);
        None
    }

    /// The entry with this key, made if there was none; true if it was made.
    pub fn find_or_insert_with(&mut self, key: &[u8], make: impl FnOnce() -> E) -> (&mut E, bool) {
        let hash = self.seed.hash(key);
        if let Some(loc) = self.locate(hash, key) {
            return (self.at_mut(loc), false);
        }
        let e = make();
        debug_assert_eq!(e.key(), key);
        let loc = self.add(hash, e);
        (self.at_mut(loc), true)
    }

    fn add(&mut self, hash: u64, e: E) -> Loc {
        if self.grows_at(self.len + 1) {
            self.split();
        }
        let bucket = self.address(hash);
        debug_assert!(self.is_stamped(bucket), "inserted without touch");
        let (depth, slot, added) = self.bucket_mut(bucket).push(tag_of(hash), e);
        self.overflow += usize::from(added);
        self.longest = self.longest.max(depth + 1);
        self.len += 1;
        Loc { bucket, depth, slot }
    }

    /// Takes the entry with this key out.
    pub fn remove(&mut self, key: &[u8]) -> Option<E> {
        let loc = self.locate(self.seed.hash(key), key)?;
        Some(self.take(loc))
    }

    fn take(&mut self, loc: Loc) -> E {
        debug_assert!(self.is_stamped(loc.bucket), "removed without touch");
        let head = self.bucket_mut(loc.bucket);
        let b = head.at_depth(loc.depth);
        b.meta[loc.slot] = 0;
        let e = b.entries[loc.slot].take().expect("a location names an existing entry");
        // Keep chains dense: the last entry of the chain moves into the hole.
        let mut emptied = false;
        if b.next.is_some() {
            if let Some((tag, moved, gone)) = b.pop_overflow() {
                b.meta[loc.slot] = tag;
                b.entries[loc.slot] = Some(moved);
                emptied = gone;
            }
        } else if loc.depth > 0 && b.entries.iter().all(Option::is_none) {
            head.at_depth(loc.depth - 1).next = None;
            emptied = true;
        }
        self.overflow -= usize::from(emptied);
        self.len -= 1;
        if self.shrinks_at(self.len) {
            self.merge();
        }
        if self.len == 0 {
            self.longest = 1;
        }
        e
    }

    fn grows_at(&self, len: usize) -> bool {
        // A single bucket is filled up before it is split.
        if self.buckets == 1 { len > SLOTS } else { len * GROW_DEN > self.buckets * GROW_NUM }
    }

    fn shrinks_at(&self, len: usize) -> bool {
        self.buckets > 1 && len < self.buckets * SHRINK_LOAD
    }

    fn push_bucket(&mut self) {
        if self.segments.last().is_none_or(|s| s.len() == SEGMENT) {
            // The first segment grows by doubling, so that small tables stay small.
            let room = if self.segments.is_empty() { 1 } else { SEGMENT };
            self.segments.push(Vec::with_capacity(room));
        }
        let stamp = self.stamp;
        self.segments.last_mut().expect("there is a segment").push(Bucket::new(stamp));
        self.buckets += 1;
        self.level = self.buckets.ilog2();
    }

    fn split(&mut self) {
        // The bucket to be split, and the new one, differ in the highest bit of the new one's number.
        let source = self.buckets - (1 << self.level);
        debug_assert!(self.is_stamped(source), "split without touch");
        let bit = 1u64 << self.level;
        self.push_bucket();
        let target = self.buckets - 1;
        let stamp = self.stamp;
        let old = std::mem::replace(self.bucket_mut(source), Bucket::new(stamp));
        let seed = self.seed;
        self.redistribute(old, |e| if seed.hash(e.key()) & bit == 0 { source } else { target });
    }

    fn merge(&mut self) {
        let source = self.buckets - 1;
        let target = self.merge_target();
        debug_assert!(self.is_stamped(source) && self.is_stamped(target), "merged without touch");
        let only_one = self.segments.len() == 1;
        let last = self.segments.last_mut().expect("there is a segment");
        let old = last.pop().expect("the last segment is not empty");
        if last.is_empty() {
            self.segments.pop();
        } else if only_one && last.len() * 4 <= last.capacity() {
            let room = last.len() * 2;
            last.shrink_to(room);
        }
        self.buckets -= 1;
        self.level = self.buckets.ilog2();
        self.redistribute(old, |_| target);
    }

    /// The bucket that the last one is merged into: its number without the highest bit.
    fn merge_target(&self) -> usize {
        let last = self.buckets - 1;
        last & !(1 << last.ilog2())
    }

    fn redistribute(&mut self, chain: Bucket<E>, to: impl Fn(&E) -> usize) {
        let mut chain = Some(Box::new(chain));
        let mut head = true;
        while let Some(mut b) = chain {
            if !head {
                self.overflow -= 1;
            }
            head = false;
            for slot in 0..SLOTS {
                if let Some(e) = b.entries[slot].take() {
                    let i = to(&e);
                    let (depth, _, added) = self.bucket_mut(i).push(b.meta[slot], e);
                    self.overflow += usize::from(added);
                    self.longest = self.longest.max(depth + 1);
                }
            }
            chain = b.next.take();
        }
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.segments.iter().flatten().enumerate().flat_map(|(i, b)| {
            self.fetch_after(i);
            Chain(Some(b)).flat_map(|b| b.entries.iter().flatten())
        })
    }

    /// Has what the buckets after this one hold fetched into the processor's cache, where all are looked at in order: the
    /// entries of the second, and what those of the first point to, which have been fetched before.
    #[inline]
    fn fetch_after(&self, i: usize) {
        if i + 2 < self.buckets {
            self.bucket(i + 2).entries.iter().flatten().for_each(E::fetch);
        }
        if i + 1 < self.buckets {
            self.bucket(i + 1).entries.iter().flatten().for_each(E::fetch_contents);
        }
    }

    /// Number of entries in each bucket, overflow included.
    pub fn chain_lengths(&self) -> Vec<usize> {
        let length = |b| Chain(Some(b)).map(|b: &Bucket<E>| b.entries.iter().flatten().count()).sum();
        self.segments.iter().flatten().map(length).collect()
    }

    /// Gives the entries of bucket `from` and those after it to `f`, at least `least` of them if there are so many; returns
    /// the bucket to go on with. Only as long as the table does not change.
    pub fn part(&self, from: usize, least: usize, f: &mut dyn FnMut(&E)) -> Option<usize> {
        let mut given = 0;
        for i in from..self.buckets {
            if given >= least {
                return Some(i);
            }
            self.fetch_after(i);
            self.bucket(i).for_each(&mut |e| {
                given += 1;
                f(e);
            });
        }
        None
    }

    /// Gives up the table to free it in pieces.
    pub fn into_remains(self) -> Remains<E> {
        Remains { segments: self.segments, len: self.len }
    }

    /// One entry, every one with the same probability. If `RANDOM_TRIES` tries all hit a free slot (the table has
    /// shrunk to almost nothing), the first one found from a random bucket on.
    pub fn random(&self, rng: &mut Rng) -> Option<&E> {
        if self.len == 0 {
            return None;
        }
        for _ in 0..RANDOM_TRIES {
            let slot = rng.below(self.longest * SLOTS);
            let b = Chain(Some(self.bucket(rng.below(self.buckets)))).nth(slot / SLOTS);
            if let Some(e) = b.and_then(|b| b.entries[slot % SLOTS].as_ref()) {
                return Some(e);
            }
        }
        let start = rng.below(self.buckets);
        (start..self.buckets)
            .chain(0..start)
            .flat_map(|i| Chain(Some(self.bucket(i))).flat_map(|b| b.entries.iter().flatten()))
            .next()
    }

    /// Gives the entries of the bucket that covers `cursor` to `f`, and returns the cursor to go on with: 0 at the end.
    /// Whatever is in the table from the first call (with 0) to the last is given at least once, even if the table
    /// grows and shrinks in between. Cursors are below 2^48; higher bits are ignored.
    pub fn scan(&self, cursor: u64, f: &mut dyn FnMut(&E)) -> u64 {
        let at = reverse(cursor & ((1 << CURSOR_BITS) - 1));
        let i = self.address(at);
        self.bucket(i).for_each(f);
        let end = reverse(i as u64) + (1 << (CURSOR_BITS - self.address_bits(i)));
        end & ((1 << CURSOR_BITS) - 1)
    }

    /// Where `key` lies in the space of scan cursors: a scan has passed it once its cursor is larger.
    pub fn position(&self, key: &[u8]) -> u64 {
        reverse(self.seed.hash(key) & ((1 << CURSOR_BITS) - 1))
    }

    #[inline]
    fn is_stamped(&self, i: usize) -> bool {
        self.walked.is_none() || self.bucket(i).meta[STAMP] == self.stamp
    }

    fn visit(&mut self, i: usize, f: &mut dyn FnMut(&E)) {
        let stamp = self.stamp;
        let b = self.bucket_mut(i);
        if b.meta[STAMP] == stamp {
            return;
        }
        b.for_each(f);
        let mut b = Some(b);
        while let Some(bucket) = b {
            bucket.meta[STAMP] = stamp;
            b = bucket.next.as_deref_mut();
        }
    }

    /// Begins a walk. One that is still under way is given up.
    pub fn begin_walk(&mut self) {
        self.abandon_walk();
        if self.abandoned == u8::MAX - 1 {
            // Every other stamp may still be on some bucket: begin again with one for all.
            self.walked = Some(0);
            self.walk(usize::MAX, &mut |_| ());
        }
        self.stamp = self.stamp.wrapping_add(1);
        self.walked = Some(0);
    }

    /// Ends a walk before it is complete, if one is under way.
    pub fn abandon_walk(&mut self) {
        if self.walked.take().is_some() {
            self.abandoned += 1;
        }
    }

    /// Whether a walk is under way.
    #[inline]
    pub fn is_walking(&self) -> bool {
        self.walked.is_some()
    }

    /// Goes on with the walk over at most `budget` buckets; true when it is complete.
    pub fn walk(&mut self, budget: usize, f: &mut dyn FnMut(&E)) -> bool {
        let Some(from) = self.walked else { return true };
        let to = from.saturating_add(budget).min(self.buckets);
        for i in from..to {
            self.fetch_after(i);
            self.visit(i, f);
        }
        // Buckets that are added in the meantime are made of visited ones.
        self.walked = (to < self.buckets).then_some(to);
        if self.walked.is_none() {
            self.abandoned = 0;
        }
        self.walked.is_none()
    }

    /// To be called before anything about `key` is changed: during a walk, gives to `f` all entries that were not yet
    /// visited of the buckets that the change may affect (the key's own, and those of a split or merge it may cause).
    #[inline]
    pub fn touch(&mut self, key: &[u8], f: &mut dyn FnMut(&E)) {
        if self.walked.is_some() {
            self.touch_walked(key, f);
        }
    }

    fn touch_walked(&mut self, key: &[u8], f: &mut dyn FnMut(&E)) {
        self.visit(self.address(self.seed.hash(key)), f);
        if self.grows_at(self.len + 1) {
            self.visit(self.buckets - (1 << self.level), f);
        }
        if self.shrinks_at(self.len.saturating_sub(1)) {
            self.visit(self.merge_target(), f);
            self.visit(self.buckets - 1, f);
        }
    }
}

impl<E: Entry + Clone> Clone for Dict<E> {
    /// A table of its own with copies of the entries; a walk under way is not carried over.
    fn clone(&self) -> Self {
        let mut copy = Dict::new(self.seed);
        for e in self.iter() {
            copy.insert(e.clone());
        }
        copy
    }
}

fn reverse(x: u64) -> u64 {
    x.reverse_bits() >> (u64::BITS - CURSOR_BITS)
}

struct Chain<'a, E>(Option<&'a Bucket<E>>);

impl<'a, E> Iterator for Chain<'a, E> {
    type Item = &'a Bucket<E>;
    fn next(&mut self) -> Option<&'a Bucket<E>> {
        let b = self.0?;
        self.0 = b.next.as_deref();
        Some(b)
    }
}

/// What is left of a table that is being freed.
pub struct Remains<E> {
    segments: Vec<Vec<Bucket<E>>>,
    len: usize,
}

impl<E> Remains<E> {
    /// Number of entries not freed yet.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry is left.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Frees at least `n` entries (buckets are freed whole); true when nothing is left.
    pub fn free_some(&mut self, n: usize) -> bool {
        let mut freed = 0;
        while freed < n {
            let Some(last) = self.segments.last_mut() else { break };
            match last.pop() {
                Some(b) => {
                    freed += Chain(Some(&b)).map(|b| b.entries.iter().flatten().count()).sum::<usize>()
                }
                None => drop(self.segments.pop()),
            }
        }
        self.len -= freed;
        if self.len == 0 {
            self.segments.clear();
        }
        self.segments.is_empty()
    }
}

#[cfg(test)]
#[path = "dict_tests.rs"]
mod tests;
