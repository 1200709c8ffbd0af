//! What a key holds.

use super::hash::Hash;
use super::list::List;
use super::prefetch::{Stage, fetch_block};
use super::set::Set;
use super::str::Str;
use super::stream::Stream;
use super::zset::ZSet;

/// A value of one of Redis' types, by itself. Collections are never left empty by the commands: an empty one is removed.
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

/// A value to be read, wherever it is kept.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string.
    Str(&'a Str),
    /// A list.
    List(&'a List),
    /// A set.
    Set(&'a Set),
    /// A hash.
    Hash(&'a Hash),
    /// A sorted set.
    ZSet(&'a ZSet),
    /// A stream.
    Stream(&'a Stream),
}

/// A value to be changed where it is kept.
pub enum ValueMut<'a> {
    /// A string.
    Str(&'a mut Str),
    /// A list.
    List(&'a mut List),
    /// A set.
    Set(&'a mut Set),
    /// A hash.
    Hash(&'a mut Hash),
    /// A sorted set.
    ZSet(&'a mut ZSet),
    /// A stream.
    Stream(&'a mut Stream),
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(v: &'a Value) -> Self {
        match v {
            Value::Str(v) => ValueRef::Str(v),
            Value::List(v) => ValueRef::List(v),
            Value::Set(v) => ValueRef::Set(v),
            Value::Hash(v) => ValueRef::Hash(v),
            Value::ZSet(v) => ValueRef::ZSet(v),
            Value::Stream(v) => ValueRef::Stream(v),
        }
    }
}

impl Value {
    /// To be read.
    pub fn as_ref(&self) -> ValueRef<'_> {
        self.into()
    }

    /// The name `TYPE` answers.
    pub fn type_name(&self) -> &'static str {
        self.as_ref().type_name()
    }

    /// The name `OBJECT ENCODING` answers, as Redis 7.0 does.
    pub fn encoding(&self) -> &'static str {
        self.as_ref().encoding()
    }

    /// Number of elements of a collection, bytes of a string.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// Whether it has no elements or bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a collection without elements, which no key may hold.
    pub fn is_void(&self) -> bool {
        self.as_ref().is_void()
    }

    /// How many allocations freeing it takes, about: what decides whether it is freed elsewhere.
    pub fn free_effort(&self) -> usize {
        self.as_ref().free_effort()
    }

    /// See [`ValueRef::heap_bytes`].
    pub fn heap_bytes(&self, sample: usize) -> usize {
        self.as_ref().heap_bytes(sample)
    }
}

impl ValueRef<'_> {
    /// The name `TYPE` answers.
    pub fn type_name(self) -> &'static str {
        match self {
            ValueRef::Str(_) => "string",
            ValueRef::List(_) => "list",
            ValueRef::Set(_) => "set",
            ValueRef::Hash(_) => "hash",
            ValueRef::ZSet(_) => "zset",
            ValueRef::Stream(_) => "stream",
        }
    }

    /// The name `OBJECT ENCODING` answers, as Redis 7.0 does.
    pub fn encoding(self) -> &'static str {
        match self {
            ValueRef::Str(v) => v.encoding(),
            ValueRef::List(v) => v.encoding(),
            ValueRef::Set(v) => v.encoding(),
            ValueRef::Hash(v) => v.encoding(),
            ValueRef::ZSet(v) => v.encoding(),
            ValueRef::Stream(v) => v.encoding(),
        }
    }

    /// Number of elements of a collection, bytes of a string.
    pub fn len(self) -> usize {
        match self {
            ValueRef::Str(v) => v.len(),
            ValueRef::List(v) => v.len(),
            ValueRef::Set(v) => v.len(),
            ValueRef::Hash(v) => v.len(),
            ValueRef::ZSet(v) => v.len(),
            ValueRef::Stream(v) => v.log.len() as usize,
        }
    }

    /// Whether it has no elements or bytes.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether it is a collection without elements, which no key may hold.
    pub fn is_void(self) -> bool {
        !matches!(self, ValueRef::Str(_) | ValueRef::Stream(_)) && self.is_empty()
    }

    /// Has the memory behind it fetched into the processor's cache.
    #[inline]
    pub fn prefetch(self) {
        match self {
            ValueRef::Str(v) => v.prefetch(),
            ValueRef::List(v) => v.fetch(),
            ValueRef::Set(v) => v.fetch(),
            ValueRef::Hash(v) => v.fetch(),
            ValueRef::ZSet(v) => v.fetch(),
            ValueRef::Stream(v) => fetch_block(&raw const *v, size_of::<Stream>()),
        }
    }

    /// Has a part of what it takes to find an element fetched, where there is a table to find it in.
    #[inline]
    pub fn prefetch_element(self, hash: u64, stage: Stage) {
        match self {
            ValueRef::Set(v) => v.prefetch(hash, stage),
            ValueRef::Hash(v) => v.prefetch(hash, stage),
            ValueRef::ZSet(v) => v.prefetch(hash, stage),
            ValueRef::Str(_) | ValueRef::List(_) | ValueRef::Stream(_) => {}
        }
    }

    /// A copy by itself.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Str(v) => Value::Str(v.clone()),
            ValueRef::List(v) => Value::List(Box::new(v.clone())),
            ValueRef::Set(v) => Value::Set(Box::new(v.clone())),
            ValueRef::Hash(v) => Value::Hash(Box::new(v.clone())),
            ValueRef::ZSet(v) => Value::ZSet(Box::new(v.clone())),
            ValueRef::Stream(v) => Value::Stream(Box::new(v.clone())),
        }
    }

    /// See [`Value::free_effort`].
    pub fn free_effort(self) -> usize {
        match self {
            ValueRef::List(v) => v.nodes().len(),
            ValueRef::Set(v) if v.as_intset().is_none() => v.len(),
            ValueRef::Hash(v) if v.as_listpack().is_none() => v.len(),
            ValueRef::ZSet(v) if v.as_listpack().is_none() => v.len(),
            ValueRef::Stream(v) => v.free_effort(),
            _ => 1,
        }
    }

    /// Memory in bytes beyond its own size, without the allocator's overhead: an estimate from `sample` elements of a
    /// large collection (0: from all), as `MEMORY USAGE … SAMPLES` asks for.
    pub fn heap_bytes(self, sample: usize) -> usize {
        match self {
            ValueRef::Str(v) => v.heap_bytes(),
            ValueRef::List(v) => v.heap_bytes(sample),
            ValueRef::Set(v) => v.heap_bytes(sample),
            ValueRef::Hash(v) => v.heap_bytes(sample),
            ValueRef::ZSet(v) => v.heap_bytes(sample),
            ValueRef::Stream(v) => v.heap_bytes(sample),
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
