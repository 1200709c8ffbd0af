//! Hash values: a listpack of fields and values while small, a table after that.

use super::Corrupt;
use super::dict::{Dict, Entry};
use super::either::Either;
use super::elem::Elem;
use super::limits::Limits;
use super::listpack::Listpack;
use super::prefetch::{Stage, fetch_block};
use super::rng::Rng;
use super::small::SmallBytes;
use super::thin::{Size, Word};

/// A hash value.
#[derive(Clone)]
pub struct Hash(Word<Listpack, Dict<Box<Field>>>);

#[derive(Clone)]
struct Field {
    name: SmallBytes,
    value: SmallBytes,
}

impl Entry for Box<Field> {
    #[inline]
    fn key(&self) -> &[u8] {
        &self.name
    }

    #[inline]
    fn fetch(&self) {
        fetch_block(&raw const **self, size_of::<Field>());
    }

    #[inline]
    fn fetch_contents(&self) {
        if self.value.heap_bytes() > 0 {
            fetch_block(self.value.as_ptr(), self.value.len());
        }
    }
}

impl Default for Hash {
    fn default() -> Self {
        Hash::new()
    }
}

impl Hash {
    /// An empty one.
    pub fn new() -> Hash {
        Hash(Word::small(Listpack::new()))
    }

    /// Takes over a listpack of fields and values from a file. Refused: an odd number of elements, a field twice.
    pub fn from_listpack(lp: Listpack, limits: &Limits) -> Result<Hash, Corrupt> {
        if !lp.len().is_multiple_of(2) {
            return Err(Corrupt("hash: a field without a value"));
        }
        if lp.has_twice(limits.seed) {
            return Err(Corrupt("hash: a field twice"));
        }
        let longest = lp.iter().map(|e| e.len()).max().unwrap_or(0);
        let fits =
            lp.len() / 2 <= limits.hash_max_listpack_entries && longest <= limits.hash_max_listpack_value;
        let mut h = Hash(Word::small(lp));
        if !fits {
            h.make_table(limits);
        }
        Ok(h)
    }

    /// The listpack, while it is one: as it goes into files.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        self.0.as_small()
    }

    /// Number of fields.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0.get() {
            Size::Small(lp) => lp.len() / 2,
            Size::Large(t) => t.len(),
        }
    }

    /// Has the beginning of what it keeps elsewhere fetched into the processor's cache.
    #[inline]
    pub fn fetch(&self) {
        self.0.prefetch();
    }

    /// Has a part of what it takes to find a field fetched, by its hash.
    #[inline]
    pub fn prefetch(&self, hash: u64, stage: Stage) {
        if let Size::Large(t) = self.0.get() {
            t.prefetch(hash, stage);
        }
    }

    /// Whether it has no field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Elem<'_>> {
        match self.0.get() {
            Size::Small(lp) => {
                let at = lp.find(lp.first(), field, 2)?;
                lp.next(at).map(|p| lp.get(p))
            }
            Size::Large(t) => t.find(field).map(|f| Elem::Bytes(&f.value)),
        }
    }

    /// Whether it has the field.
    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// Sets a field; true if it is new.
    pub fn insert(&mut self, limits: &Limits, field: &[u8], value: &[u8]) -> bool {
        if let Size::Small(lp) = self.0.get_mut() {
            let at = lp.find(lp.first(), field, 2);
            let longest = field.len().max(value.len());
            let full = at.is_none() && lp.len() / 2 >= limits.hash_max_listpack_entries;
            if longest <= limits.hash_max_listpack_value
                && !full
                && lp.has_room(field.len() + value.len() + 10)
            {
                match at.and_then(|at| lp.next(at)) {
                    Some(at) => lp.replace(at, Elem::Bytes(value)),
                    None => {
                        lp.push_back(Elem::Bytes(field));
                        lp.push_back(Elem::Bytes(value));
                    }
                }
                return at.is_none();
            }
        }
        let table = self.make_table(limits);
        let (f, made) = table.find_or_insert_with(field, || {
            Box::new(Field { name: SmallBytes::new(field), value: SmallBytes::new(value) })
        });
        if !made {
            f.value = SmallBytes::new(value);
        }
        made
    }

    fn make_table(&mut self, limits: &Limits) -> &mut Dict<Box<Field>> {
        if let Size::Small(lp) = self.0.get() {
            let mut table = Dict::new(limits.seed);
            let mut items = lp.iter();
            while let (Some(name), Some(value)) = (items.next(), items.next()) {
                let (name, value) = (SmallBytes::new(&name.to_bytes()), SmallBytes::new(&value.to_bytes()));
                table.insert(Box::new(Field { name, value }));
            }
            self.0 = Word::large(Box::new(table));
        }
        match self.0.get_mut() {
            Size::Large(t) => t,
            Size::Small(_) => unreachable!("it has just been made a table"),
        }
    }

    /// Removes a field; false if it was not there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self.0.get_mut() {
            Size::Small(lp) => match lp.find(lp.first(), field, 2) {
                Some(at) => {
                    lp.remove(at, 2);
                    true
                }
                None => false,
            },
            Size::Large(t) => t.remove(field).is_some(),
        }
    }

    /// Fields with their values.
    pub fn iter(&self) -> impl Iterator<Item = (Elem<'_>, Elem<'_>)> {
        match self.0.get() {
            Size::Small(lp) => {
                let mut items = lp.iter();
                Either::One(std::iter::from_fn(move || Some((items.next()?, items.next()?))))
            }
            Size::Large(t) => Either::Two(t.iter().map(|f| (Elem::Bytes(&f.name), Elem::Bytes(&f.value)))),
        }
    }

    /// One field with its value, all with the same probability.
    pub fn random(&self, rng: &mut Rng) -> Option<(Elem<'_>, Elem<'_>)> {
        match self.0.get() {
            Size::Small(lp) => {
                let at = lp.seek(2 * rng.below(lp.len() / 2) as i64)?;
                Some((lp.get(at), lp.get(lp.next(at)?)))
            }
            Size::Large(t) => t.random(rng).map(|f| (Elem::Bytes(&f.name), Elem::Bytes(&f.value))),
        }
    }

    /// See `Dict::scan`; a listpack is given whole.
    pub fn scan(&self, cursor: u64, f: &mut dyn FnMut(Elem, Elem)) -> u64 {
        match self.0.get() {
            Size::Small(_) => {
                self.iter().for_each(|(field, value)| f(field, value));
                0
            }
            Size::Large(t) => t.scan(cursor, &mut |x| f(Elem::Bytes(&x.name), Elem::Bytes(&x.value))),
        }
    }

    /// As [`Dict::part`]; a listpack is given whole.
    pub fn part(&self, from: usize, least: usize, f: &mut dyn FnMut(Elem, Elem)) -> Option<usize> {
        match self.0.get() {
            Size::Small(_) => {
                self.iter().for_each(|(field, value)| f(field, value));
                None
            }
            Size::Large(t) => t.part(from, least, &mut |x| f(Elem::Bytes(&x.name), Elem::Bytes(&x.value))),
        }
    }

    /// The name `OBJECT ENCODING` gives it.
    pub fn encoding(&self) -> &'static str {
        match self.0.get() {
            Size::Small(_) => "listpack",
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

    /// Memory beyond its own size; `sample` fields of a table are looked at (0: all).
    pub fn heap_bytes(&self, sample: usize) -> usize {
        match self.0.get() {
            Size::Small(lp) => lp.heap_bytes(),
            Size::Large(t) => super::table_bytes(t, sample, size_of::<Field>(), |f| {
                f.name.heap_bytes() + f.value.heap_bytes()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dict::HashSeed;
    use super::super::num::parse_int;
    use super::*;
    use std::collections::HashMap;

    fn limits() -> Limits {
        Limits::new(HashSeed::repeatable(3))
    }

    fn content(h: &Hash) -> HashMap<Vec<u8>, Vec<u8>> {
        h.iter().map(|(f, v)| (f.to_bytes().into_owned(), v.to_bytes().into_owned())).collect()
    }

    #[test]
    fn behaves_like_a_hash_map() {
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let (mut h, mut model, limits) = (Hash::new(), HashMap::new(), limits());
            let space = if seed % 2 == 0 { 100 } else { 500 };
            for _ in 0..3000 {
                let n = rng.below(space);
                // Fields that are integers and fields that are not.
                let field =
                    if n.is_multiple_of(2) { n.to_string() } else { format!("field{n}") }.into_bytes();
                if rng.below(5) < 3 {
                    let value = rng.next_u64().to_string().into_bytes();
                    assert_eq!(h.insert(&limits, &field, &value), model.insert(field, value).is_none());
                } else {
                    assert_eq!(h.remove(&field), model.remove(&field).is_some());
                }
                let field = rng.below(space).to_string().into_bytes();
                assert_eq!(h.get(&field).map(|e| e.to_bytes().into_owned()).as_ref(), model.get(&field));
                assert_eq!((h.len(), h.is_empty()), (model.len(), model.is_empty()));
                if let Some((f, v)) = h.random(&mut rng) {
                    assert_eq!(model.get(&*f.to_bytes()), Some(&v.to_bytes().into_owned()));
                }
            }
            assert_eq!(h.encoding(), if space == 100 { "listpack" } else { "hashtable" });
            assert_eq!(content(&h), model);
            let copy = h.clone();
            h.insert(&limits, b"only in one", b"");
            assert_eq!(content(&copy), model);
            h.remove(b"only in one");
            let (mut seen, mut cursor) = (HashMap::new(), 0);
            loop {
                cursor = h.scan(cursor, &mut |f, v| {
                    seen.insert(f.to_bytes().into_owned(), v.to_bytes().into_owned());
                });
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(seen, model);
        }
    }

    /// The limits of redis-server 7.0: 128 fields, 64 bytes.
    #[test]
    fn converts_where_redis_does() {
        let limits = limits();
        let mut h = Hash::new();
        for i in 0..128 {
            h.insert(&limits, format!("f{i}").as_bytes(), &[b'v'; 64]);
        }
        h.insert(&limits, b"f0", b"again");
        assert_eq!(h.encoding(), "listpack");
        h.insert(&limits, b"one more", b"");
        assert_eq!((h.encoding(), h.len()), ("hashtable", 129));
        assert_eq!(h.get(b"f0").unwrap().to_bytes(), &b"again"[..]);
        for long in [(vec![b'f'; 65], vec![]), (vec![], vec![b'v'; 65])] {
            let mut h = Hash::new();
            h.insert(&limits, b"1", b"2");
            h.insert(&limits, &long.0, &long.1);
            assert_eq!((h.encoding(), h.len()), ("hashtable", 2));
            h.remove(&long.0);
            assert_eq!(h.encoding(), "hashtable");
        }
        assert!(h.heap_bytes(0) > 129 * 64);
        let (all, some) = (h.heap_bytes(0) as f64, h.heap_bytes(20) as f64);
        assert!((all / some - 1.0).abs() < 0.2, "{all} {some}");
    }

    #[test]
    fn listpacks_from_files_are_checked() {
        let lp = |n: i64| {
            let mut lp = Listpack::new();
            (0..n).for_each(|i| lp.push_back(Elem::Int(i / 2 * 1000 + i % 2)));
            lp
        };
        let limits = limits();
        assert!(Hash::from_listpack(lp(3), &limits).is_err());
        let h = Hash::from_listpack(lp(256), &limits).unwrap();
        assert_eq!((h.len(), h.encoding()), (128, "listpack"));
        assert!(h.iter().all(|(f, _)| parse_int(&f.to_bytes()).is_some()));
        let h = Hash::from_listpack(lp(258), &limits).unwrap();
        assert_eq!((h.len(), h.encoding()), (129, "hashtable"));
        let mut twice = lp(4);
        twice.push_back(Elem::Bytes(b"0"));
        twice.push_back(Elem::Bytes(b"x"));
        assert_eq!(Hash::from_listpack(twice, &limits).err(), Some(Corrupt("hash: a field twice")));
    }
}
