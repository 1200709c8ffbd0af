//! What a key holds.

use super::hash::Hash;
use super::list::List;
use super::prefetch::{Stage, fetch_block};
use super::set::Set;
use super::str::Str;
use super::stream::Stream;
use super::zset::ZSet;

/// A value of one of Redis' types. Collections are never left empty by the commands: an empty one is removed.
#[derive(Clone)]
pub enum Value {
    /// A string.
    Str(Str),
    /// A list.
    List(Box<List>),
    /// A set.
    Set(Box<Set>),
    /// A hash.
    Hash(Box<Hash>),
    /// A sorted set.
    ZSet(Box<ZSet>),
    /// A stream, which alone may be left empty.
    Stream(Box<Stream>),
}

const _: () = assert!(size_of::<Value>() == 24);

impl Value {
    /// The name `TYPE` answers.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Str(_) => "string",
            Value::List(_) => "list",
            Value::Set(_) => "set",
            Value::Hash(_) => "hash",
            Value::ZSet(_) => "zset",
            Value::Stream(_) => "stream",
        }
    }

    /// The name `OBJECT ENCODING` answers, as Redis 7.0 does.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Str(v) => v.encoding(),
            Value::List(v) => v.encoding(),
            Value::Set(v) => v.encoding(),
            Value::Hash(v) => v.encoding(),
            Value::ZSet(v) => v.encoding(),
            Value::Stream(v) => v.encoding(),
        }
    }

    /// Number of elements of a collection, bytes of a string.
    pub fn len(&self) -> usize {
        match self {
            Value::Str(v) => v.len(),
            Value::List(v) => v.len(),
            Value::Set(v) => v.len(),
            Value::Hash(v) => v.len(),
            Value::ZSet(v) => v.len(),
            Value::Stream(v) => v.log.len() as usize,
        }
    }

    /// Whether it has no elements or bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a collection without elements, which no key may hold.
    pub fn is_void(&self) -> bool {
        !matches!(self, Value::Str(_) | Value::Stream(_)) && self.is_empty()
    }

    /// Has the memory behind it fetched into the processor's cache.
    #[inline]
    pub fn prefetch(&self) {
        match self {
            Value::Str(v) => v.prefetch(),
            Value::List(v) => fetch_block(&raw const **v, size_of::<List>()),
            Value::Set(v) => fetch_block(&raw const **v, size_of::<Set>()),
            Value::Hash(v) => fetch_block(&raw const **v, size_of::<Hash>()),
            Value::ZSet(v) => fetch_block(&raw const **v, size_of::<ZSet>()),
            Value::Stream(v) => fetch_block(&raw const **v, size_of::<Stream>()),
        }
    }

    /// Has a part of what it takes to find an element fetched, where there is a table to find it in.
    #[inline]
    pub fn prefetch_element(&self, hash: u64, stage: Stage) {
        match self {
            Value::Set(v) => v.prefetch(hash, stage),
            Value::Hash(v) => v.prefetch(hash, stage),
            Value::ZSet(v) => v.prefetch(hash, stage),
            Value::Str(_) | Value::List(_) | Value::Stream(_) => {}
        }
    }

    /// How many allocations freeing it takes, about: what decides whether it is freed elsewhere.
    pub fn free_effort(&self) -> usize {
        match self {
            Value::List(v) => v.nodes().len(),
            Value::Set(v) if v.as_intset().is_none() => v.len(),
            Value::Hash(v) if v.as_listpack().is_none() => v.len(),
            Value::ZSet(v) if v.as_listpack().is_none() => v.len(),
            Value::Stream(v) => v.free_effort(),
            _ => 1,
        }
    }

    /// Memory in bytes beyond its own size, without the allocator's overhead: an estimate from `sample` elements of a
    /// large collection (0: from all), as `MEMORY USAGE … SAMPLES` asks for.
    pub fn heap_bytes(&self, sample: usize) -> usize {
        match self {
            Value::Str(v) => v.heap_bytes(),
            Value::List(v) => size_of::<List>() + v.heap_bytes(sample),
            Value::Set(v) => size_of::<Set>() + v.heap_bytes(sample),
            Value::Hash(v) => size_of::<Hash>() + v.heap_bytes(sample),
            Value::ZSet(v) => size_of::<ZSet>() + v.heap_bytes(sample),
            Value::Stream(v) => size_of::<Stream>() + v.heap_bytes(sample),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dict::HashSeed;
    use super::super::limits::Limits;
    use super::super::list::End;
    use super::super::stream_id::StreamId;
    use super::*;

    fn one_of_each(n: usize) -> Vec<Value> {
        let limits = Limits::new(HashSeed::repeatable(1));
        let (mut list, mut set, mut hash, mut zset) = (List::new(), Set::new(), Hash::new(), ZSet::new());
        let mut stream = Stream::new();
        for i in 0..n {
            let e = format!("element {i}").into_bytes();
            list.push(&limits, End::Back, &e);
            set.insert(&limits, &e);
            hash.insert(&limits, &e, &e);
            zset.insert(&limits, &e, i as f64);
            stream.log.append(&limits, StreamId::new(i as u64, 1), [&b"field"[..], &e].into_iter());
        }
        vec![
            Value::Str(Str::new(&vec![b's'; n])),
            Value::List(Box::new(list)),
            Value::Set(Box::new(set)),
            Value::Hash(Box::new(hash)),
            Value::ZSet(Box::new(zset)),
            Value::Stream(Box::new(stream)),
        ]
    }

    #[test]
    fn names_and_sizes() {
        let names = |v: &[Value]| v.iter().map(|v| (v.type_name(), v.encoding())).collect::<Vec<_>>();
        assert_eq!(
            names(&one_of_each(10)),
            [
                ("string", "embstr"),
                ("list", "quicklist"),
                ("set", "hashtable"),
                ("hash", "listpack"),
                ("zset", "listpack"),
                ("stream", "stream")
            ]
        );
        let large = one_of_each(5000);
        assert_eq!(
            names(&large),
            [
                ("string", "raw"),
                ("list", "quicklist"),
                ("set", "hashtable"),
                ("hash", "hashtable"),
                ("zset", "skiplist"),
                ("stream", "stream")
            ]
        );
        for (v, copy) in large.iter().zip(large.clone()) {
            assert_eq!((v.len(), copy.len(), v.is_empty()), (5000, 5000, false));
            // At least the data, at most what a wasteful structure would take.
            let bytes = v.heap_bytes(0);
            assert!((5000..5000 * 200).contains(&bytes), "{} {bytes}", v.type_name());
            let guess = v.heap_bytes(5) as f64 / bytes as f64;
            assert!((0.7..1.4).contains(&guess), "{} {guess}", v.type_name());
        }
        let efforts: Vec<usize> = large.iter().map(Value::free_effort).collect();
        assert_eq!((efforts[0], efforts[2], efforts[3], efforts[4], efforts[5]), (1, 5000, 5000, 5000, 50));
    }
}
