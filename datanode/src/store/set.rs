//! Set values: an intset while small and all integers, a table after that.

use super::dict::{Dict, Entry};
use super::either::Either;
use super::elem::Elem;
use super::intset::Intset;
use super::limits::Limits;
use super::num::{IntBuf, parse_int};
use super::prefetch::{Stage, fetch_block};
use super::rng::Rng;
use super::small::SmallBytes;
use super::thin::{Size, Word};

/// A set value.
#[derive(Clone)]
pub struct Set(Word<Intset, Dict<Box<SmallBytes>>>);

impl Entry for Box<SmallBytes> {
    #[inline]
    fn key(&self) -> &[u8] {
        self
    }

    #[inline]
    fn fetch(&self) {
        fetch_block(&raw const **self, size_of::<SmallBytes>());
    }
}

impl Default for Set {
    fn default() -> Self {
        Set::new()
    }
}

impl Set {
    /// An empty one.
    pub fn new() -> Set {
        Set(Word::small(Intset::new()))
    }

    /// Takes over an intset from a file.
    pub fn from_intset(ints: Intset, limits: &Limits) -> Set {
        let fits = ints.len() <= limits.set_max_intset_entries;
        let mut s = Set(Word::small(ints));
        if !fits {
            s.make_table(limits);
        }
        s
    }

    /// The intset, while it is one: as it goes into files.
    pub fn as_intset(&self) -> Option<&Intset> {
        self.0.as_small()
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0.get() {
            Size::Small(ints) => ints.len(),
            Size::Large(t) => t.len(),
        }
    }

    /// Has the beginning of what it keeps elsewhere fetched into the processor's cache.
    #[inline]
    pub fn fetch(&self) {
        self.0.prefetch();
    }

    /// Has a part of what it takes to find a member fetched, by its hash.
    #[inline]
    pub fn prefetch(&self, hash: u64, stage: Stage) {
        if let Size::Large(t) = self.0.get() {
            t.prefetch(hash, stage);
        }
    }

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has this member.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self.0.get() {
            Size::Small(ints) => parse_int(member).is_some_and(|n| ints.contains(n)),
            Size::Large(t) => t.contains(member),
        }
    }

    /// Adds a member; false if it was there.
    pub fn insert(&mut self, limits: &Limits, member: &[u8]) -> bool {
        if let Size::Small(ints) = self.0.get_mut()
            && let Some(n) = parse_int(member)
        {
            if ints.contains(n) {
                return false;
            }
            if ints.len() < limits.set_max_intset_entries {
                return ints.insert(n);
            }
        }
        let table = self.make_table(limits);
        table.find_or_insert_with(member, || Box::new(SmallBytes::new(member))).1
    }

    fn make_table(&mut self, limits: &Limits) -> &mut Dict<Box<SmallBytes>> {
        if let Size::Small(ints) = self.0.get() {
            let mut table = Dict::new(limits.seed);
            for n in ints.iter() {
                table.insert(Box::new(SmallBytes::new(IntBuf::new().format(n))));
            }
            self.0 = Word::large(Box::new(table));
        }
        match self.0.get_mut() {
            Size::Large(t) => t,
            Size::Small(_) => unreachable!("it has just been made a table"),
        }
    }

    /// Removes a member; false if it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self.0.get_mut() {
            Size::Small(ints) => parse_int(member).is_some_and(|n| ints.remove(n)),
            Size::Large(t) => t.remove(member).is_some(),
        }
    }

    /// The members; integers of an intset in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Elem<'_>> {
        match self.0.get() {
            Size::Small(ints) => Either::One(ints.iter().map(Elem::Int)),
            Size::Large(t) => Either::Two(t.iter().map(|m| Elem::Bytes(m))),
        }
    }

    /// One member, all with the same probability.
    pub fn random(&self, rng: &mut Rng) -> Option<Elem<'_>> {
        match self.0.get() {
            Size::Small(ints) => ints.get(rng.below(ints.len())).map(Elem::Int),
            Size::Large(t) => t.random(rng).map(|m| Elem::Bytes(m)),
        }
    }

    /// See `Dict::scan`; an intset is given whole.
    pub fn scan(&self, cursor: u64, f: &mut dyn FnMut(Elem)) -> u64 {
        match self.0.get() {
            Size::Small(ints) => {
                ints.iter().for_each(|n| f(Elem::Int(n)));
                0
            }
            Size::Large(t) => t.scan(cursor, &mut |m| f(Elem::Bytes(m))),
        }
    }

    /// As [`Dict::part`]; a small set is given whole.
    pub fn part(&self, from: usize, least: usize, f: &mut dyn FnMut(Elem)) -> Option<usize> {
        match self.0.get() {
            Size::Small(_) => {
                self.iter().for_each(f);
                None
            }
            Size::Large(t) => t.part(from, least, &mut |x| f(Elem::Bytes(x))),
        }
    }

    /// The name `OBJECT ENCODING` gives it.
    pub fn encoding(&self) -> &'static str {
        match self.0.get() {
            Size::Small(_) => "intset",
            Size::Large(_) => "hashtable",
        }
    }

    /// Number of entries in each slot, where it is a table.
    pub fn chain_lengths(&self) -> Option<Vec<usize>> {
        match self.0.get() {
            Size::Large(t) => Some(t.chain_lengths()),
            Size::Small(_) => None,
        }
    }

    /// Memory beyond its own size; `sample` members of a table are looked at (0: all).
    pub fn heap_bytes(&self, sample: usize) -> usize {
        match self.0.get() {
            Size::Small(ints) => ints.heap_bytes(),
            Size::Large(t) => super::table_bytes(t, sample, size_of::<SmallBytes>(), |m| m.heap_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dict::HashSeed;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn behaves_like_a_set() {
        let limits = Limits::new(HashSeed::repeatable(3));
        for seed in 0..30 {
            let mut rng = Rng::new(seed);
            let (mut s, mut model) = (Set::new(), BTreeSet::new());
            let words = seed % 3 == 0;
            let space = if seed % 2 == 0 { 400 } else { 2000 };
            for _ in 0..5000 {
                let n = rng.below(space) as i64 - 50;
                let m = if words && n % 2 == 0 { format!("m{n}") } else { n.to_string() }.into_bytes();
                if rng.below(5) < 3 {
                    assert_eq!(s.insert(&limits, &m), model.insert(m));
                } else {
                    assert_eq!(s.remove(&m), model.remove(&m));
                }
                let m = rng.below(space).to_string().into_bytes();
                assert_eq!((s.contains(&m), s.len()), (model.contains(&m), model.len()));
                if let Some(e) = s.random(&mut rng) {
                    assert!(model.contains(&*e.to_bytes()));
                }
            }
            assert_eq!(s.encoding(), if words || space > 1000 { "hashtable" } else { "intset" });
            let all: BTreeSet<Vec<u8>> = s.iter().map(|e| e.to_bytes().into_owned()).collect();
            assert_eq!(all, model);
            assert_eq!(s.clone().iter().count(), model.len());
            let (mut seen, mut cursor) = (BTreeSet::new(), 0);
            loop {
                cursor = s.scan(cursor, &mut |e| {
                    seen.insert(e.to_bytes().into_owned());
                });
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(seen, model);
        }
    }

    #[test]
    fn converts_where_redis_does() {
        let limits = Limits::new(HashSeed::repeatable(3));
        let mut s = Set::new();
        (0..512).for_each(|i| assert!(s.insert(&limits, i.to_string().as_bytes())));
        assert!(!s.insert(&limits, b"7"));
        assert_eq!(s.encoding(), "intset");
        assert!(s.insert(&limits, b"512"));
        assert_eq!((s.encoding(), s.len()), ("hashtable", 513));
        let mut s = Set::new();
        s.insert(&limits, b"1");
        // Not the canonical form of an integer.
        assert!(s.insert(&limits, b"01") && s.contains(b"1"));
        assert_eq!(s.encoding(), "hashtable");
        let ints = |n| {
            let mut ints = Intset::new();
            (0..n).for_each(|i| assert!(ints.insert(i)));
            Set::from_intset(ints, &limits)
        };
        assert_eq!((ints(512).encoding(), ints(513).encoding()), ("intset", "hashtable"));
    }
}
