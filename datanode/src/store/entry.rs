//! A key with what belongs to it, in one allocation: header, expiry where there is one, value, key.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | clock of its last use |
//! | 4 | type, whether there is an expiry, length of the key |
//! | 8 | the expiry, where there is one |
//! | 24 or 8 | the value: a string, or the one word of a collection |
//! | 8 | the length of the key, where 24 bits do not hold it |
//! | … | the key |
//!
//! A short string is kept in its 24 bytes, so a string of 16 bytes under a key of 16 takes 48.

#![allow(unsafe_code)]

use super::dict::Entry;
use super::hash::Hash;
use super::list::List;
use super::prefetch::fetch_block;
use super::set::Set;
use super::small::SmallBytes;
use super::str::Str;
use super::stream::Stream;
use super::value::{Value, ValueMut, ValueRef};
use super::zset::ZSet;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// In front of everything. `meta`: the length of the key in its upper 24 bits, `EXPIRES`, the type.
#[repr(C)]
struct Head {
    access: Cell<u32>,
    meta: u32,
}

const TYPE: u32 = 0x7f;
const EXPIRES: u32 = 0x80;
const KEY_SHIFT: u32 = 8;
/// A key of this length or more has its length written in front of it.
const KEY_LONG: usize = 0xff_ffff;
/// Everything before the key is a multiple of this.
const ALIGN: usize = 8;

/// Gives each type its number, and says how it is kept inside an entry and by itself.
macro_rules! kinds {
    ($($name:ident $type:ty, $number:literal, $pack:expr, $unpack:expr;)*) => {
        const fn payload_size(kind: u32) -> usize {
            match kind {
                $($number => size_of::<$type>(),)*
                _ => unreachable!(),
            }
        }

        $(const _: () = assert!(align_of::<$type>() <= ALIGN && size_of::<$type>().is_multiple_of(ALIGN));)*

        fn kind_of(value: &Value) -> u32 {
            match value {
                $(Value::$name(_) => $number,)*
            }
        }

        /// Writes a value to where one of its type belongs.
        ///
        /// # Safety
        /// There are so many bytes at `p` that are aligned, ours, and hold no value.
        unsafe fn write_payload(p: *mut u8, value: Value) {
            match value {
                // SAFETY: the caller's promise.
                $(Value::$name(v) => unsafe { p.cast::<$type>().write(($pack)(v)) },)*
            }
        }

        /// Takes a value out.
        ///
        /// # Safety
        /// A value of this type is at `p`, and will not be used there again.
        unsafe fn read_payload(p: *mut u8, kind: u32) -> Value {
            match kind {
                // SAFETY: the caller's promise.
                $($number => Value::$name(($unpack)(unsafe { p.cast::<$type>().read() })),)*
                _ => unreachable!("types are numbered in one place"),
            }
        }

        /// Drops a value where it is.
        ///
        /// # Safety
        /// As for `read_payload`.
        unsafe fn drop_payload(p: *mut u8, kind: u32) {
            match kind {
                // SAFETY: the caller's promise.
                $($number => unsafe { p.cast::<$type>().drop_in_place() },)*
                _ => unreachable!("types are numbered in one place"),
            }
        }

        impl KeyEntry {
            /// What the key holds.
            #[inline]
            pub fn value(&self) -> ValueRef<'_> {
                match self.kind() {
                    // SAFETY: a value of the entry's type is there for as long as the entry is.
                    $($number => ValueRef::$name(unsafe { &*self.payload().cast::<$type>() }),)*
                    _ => unreachable!("types are numbered in one place"),
                }
            }

            /// What the key holds, to be changed. Only from entries that `Keyspace` has given to be changed.
            #[inline]
            pub fn value_mut(&mut self) -> ValueMut<'_> {
                match self.kind() {
                    // SAFETY: as above, and the entry is borrowed exclusively.
                    $($number => ValueMut::$name(unsafe { &mut *self.payload().cast::<$type>() }),)*
                    _ => unreachable!("types are numbered in one place"),
                }
            }
        }
    };
}

kinds! {
    Str Str, 0, std::convert::identity, std::convert::identity;
    List List, 1, |b: Box<List>| *b, Box::new;
    Set Set, 2, |b: Box<Set>| *b, Box::new;
    Hash Hash, 3, |b: Box<Hash>| *b, Box::new;
    ZSet ZSet, 4, |b: Box<ZSet>| *b, Box::new;
    Stream Stream, 5, |b: Box<Stream>| *b, Box::new;
}

/// Bytes of an entry that are fetched ahead: as many as one takes whose key is not long. How long it is would have to be
/// waited for.
const FETCHED: usize = 64;

/// A key with its value, expiry and clock. One word, which owns the allocation.
pub struct KeyEntry(NonNull<Head>, PhantomData<Value>);

// SAFETY: it owns what it points to, all of which may be sent.
unsafe impl Send for KeyEntry {}

impl Entry for KeyEntry {
    #[inline]
    fn key(&self) -> &[u8] {
        KeyEntry::key(self)
    }

    #[inline]
    fn fetch(&self) {
        fetch_block(self.0.as_ptr(), FETCHED);
    }

    #[inline]
    fn fetch_contents(&self) {
        self.value().prefetch();
    }
}

impl KeyEntry {
    /// A key with what belongs to it.
    pub fn new(key: &[u8], value: Value, expire_at_ms: Option<i64>) -> KeyEntry {
        let kind = kind_of(&value);
        let short = key.len().min(KEY_LONG);
        let meta = (short as u32) << KEY_SHIFT | if expire_at_ms.is_some() { EXPIRES } else { 0 } | kind;
        let layout = layout(meta, key.len());
        // SAFETY: the layout has room for the head at least.
        let Some(p) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let e = KeyEntry(p.cast(), PhantomData);
        // SAFETY: the parts lie one after the other within the layout, each aligned, as its description says.
        unsafe {
            e.0.write(Head { access: Cell::new(0), meta });
            if let Some(at) = expire_at_ms {
                p.add(size_of::<Head>()).cast().write(at);
            }
            write_payload(e.payload(), value);
            if short == KEY_LONG {
                e.behind_payload().cast::<usize>().write(key.len());
            }
            e.key_start().copy_from_nonoverlapping(key.as_ptr(), key.len());
        }
        e
    }

    #[inline]
    fn meta(&self) -> u32 {
        // SAFETY: the head is initialised and lives as long as the entry.
        unsafe { (*self.0.as_ptr()).meta }
    }

    #[inline]
    fn kind(&self) -> u32 {
        self.meta() & TYPE
    }

    #[inline]
    fn payload(&self) -> *mut u8 {
        // SAFETY: within the allocation.
        unsafe { self.0.as_ptr().cast::<u8>().add(payload_offset(self.meta())) }
    }

    fn behind_payload(&self) -> *mut u8 {
        // SAFETY: within the allocation, or at its end.
        unsafe { self.payload().add(payload_size(self.kind())) }
    }

    #[inline]
    fn key_start(&self) -> *mut u8 {
        let meta = self.meta();
        // SAFETY: within the allocation, or at its end.
        unsafe { self.0.as_ptr().cast::<u8>().add(key_offset(meta)) }
    }

    #[inline]
    fn key_len(&self) -> usize {
        match (self.meta() >> KEY_SHIFT) as usize {
            // SAFETY: then its length is written in front of it.
            KEY_LONG => unsafe { self.behind_payload().cast::<usize>().read() },
            n => n,
        }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        // SAFETY: so many bytes were written there, and they never change.
        unsafe { std::slice::from_raw_parts(self.key_start(), self.key_len()) }
    }

    /// The LRU or LFU clock of its last use. Not part of what a snapshot freezes.
    #[inline]
    pub fn access(&self) -> &Cell<u32> {
        // SAFETY: the head lives as long as the entry, and only this cell of it is reached by more than one reference.
        unsafe { &(*self.0.as_ptr()).access }
    }

    /// When it expires (unix ms), if it does.
    #[inline]
    pub fn expire_at(&self) -> Option<i64> {
        // SAFETY: the flag says that a time was written behind the head.
        (self.meta() & EXPIRES != 0).then(|| unsafe { self.0.add(1).cast::<i64>().read() })
    }

    /// Whether its time is up. As in Redis, it is still there in its last millisecond.
    #[inline]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expire_at().is_some_and(|at| now_ms > at)
    }

    /// Sets or takes away the expiry; returns the one before.
    pub(super) fn set_expire_at(&mut self, at: Option<i64>) -> Option<i64> {
        let was = self.expire_at();
        match at {
            // SAFETY: there is room for one, since there is one.
            Some(at) if was.is_some() => unsafe { self.0.add(1).cast::<i64>().write(at) },
            None if was.is_none() => {}
            at => {
                let value = self.take();
                self.rebuild(value, at);
            }
        }
        was
    }

    /// Puts another value in; returns the one before.
    pub(super) fn replace(&mut self, value: Value) -> Value {
        let kind = kind_of(&value);
        let old = self.take();
        if payload_size(kind) == payload_size(self.kind()) {
            // SAFETY: the old value has been taken out, and what is put in needs as much room.
            unsafe {
                write_payload(self.payload(), value);
                let head = &mut *self.0.as_ptr();
                head.meta = head.meta & !TYPE | kind;
            }
        } else {
            let at = self.expire_at();
            self.rebuild(value, at);
        }
        old
    }

    /// Takes the value out; the caller puts one in, or rebuilds, before anything else can happen.
    fn take(&mut self) -> Value {
        // SAFETY: our callers do not use the place again before a value has been written to it.
        unsafe { read_payload(self.payload(), self.kind()) }
    }

    /// Becomes another allocation of the same key, after `take`.
    fn rebuild(&mut self, value: Value, expire_at_ms: Option<i64>) {
        let new = KeyEntry::new(self.key(), value, expire_at_ms);
        new.access().set(self.access().get());
        let old = std::mem::replace(self, new);
        old.free_emptied();
    }

    /// Frees the allocation after `take`.
    fn free_emptied(self) {
        let e = std::mem::ManuallyDrop::new(self);
        // SAFETY: it was allocated with this layout, its value has been taken out, and it is not used again.
        unsafe { dealloc(e.0.as_ptr().cast(), layout(e.meta(), e.key_len())) };
    }

    /// Key, value and expiry, for putting the value elsewhere.
    pub fn into_parts(mut self) -> (SmallBytes, Value, Option<i64>) {
        let (key, at) = (SmallBytes::new(self.key()), self.expire_at());
        let value = self.take();
        self.free_emptied();
        (key, value, at)
    }

    /// Memory in bytes, without the allocator's overhead (MEMORY USAGE); `sample` elements are looked at (0: all).
    pub fn memory_usage(&self, sample: usize) -> usize {
        // With its place in the table.
        layout(self.meta(), self.key_len()).size() + size_of::<usize>() + self.value().heap_bytes(sample)
    }
}

impl Drop for KeyEntry {
    fn drop(&mut self) {
        let layout = layout(self.meta(), self.key_len());
        // SAFETY: the value is dropped once, then the memory is given back with the layout it was allocated with.
        unsafe {
            drop_payload(self.payload(), self.kind());
            dealloc(self.0.as_ptr().cast(), layout);
        }
    }
}

#[inline]
fn payload_offset(meta: u32) -> usize {
    size_of::<Head>() + if meta & EXPIRES != 0 { size_of::<i64>() } else { 0 }
}

#[inline]
fn key_offset(meta: u32) -> usize {
    let long = if (meta >> KEY_SHIFT) as usize == KEY_LONG { size_of::<usize>() } else { 0 };
    payload_offset(meta) + payload_size(meta & TYPE) + long
}

fn layout(meta: u32, key_len: usize) -> Layout {
    Layout::from_size_align(key_offset(meta) + key_len, ALIGN)
        .expect("a key that is in memory fits into memory")
}

#[cfg(test)]
mod tests {
    use super::super::dict::HashSeed;
    use super::super::limits::Limits;
    use super::super::rng::Rng;
    use super::super::stream_id::StreamId;
    use super::*;

    fn shown(v: ValueRef<'_>) -> String {
        match v {
            ValueRef::Str(s) => String::from_utf8_lossy(&s.to_bytes()).into_owned(),
            ValueRef::List(l) => format!("list of {}", l.len()),
            ValueRef::Set(s) => format!("set of {}", s.len()),
            ValueRef::Hash(h) => format!("hash of {}", h.len()),
            ValueRef::ZSet(z) => format!("zset of {}", z.len()),
            ValueRef::Stream(s) => format!("stream of {}", s.log.len()),
        }
    }

    fn some_value(rng: &mut Rng, limits: &Limits) -> Value {
        let most = if rng.one_in(10) { 1000 } else { 5 };
        let n = 1 + rng.below(most);
        let word = |i: usize| format!("e{i}").into_bytes();
        match rng.below(7) {
            0 => Value::Str(Str::int(n as i64)),
            1 => Value::Str(Str::new(&vec![b's'; n])),
            2 => {
                let mut v = List::new();
                (0..n).for_each(|i| v.push(limits, super::super::list::End::Back, &word(i)));
                Value::List(Box::new(v))
            }
            3 => {
                let mut v = Set::new();
                (0..n).for_each(|i| assert!(v.insert(limits, i.to_string().as_bytes())));
                Value::Set(Box::new(v))
            }
            5 => {
                let mut v = Hash::new();
                (0..n).for_each(|i| assert!(v.insert(limits, &word(i), b"v")));
                Value::Hash(Box::new(v))
            }
            4 => {
                let mut v = Stream::new();
                let id = |i| StreamId::new(1 + i as u64, 0);
                (0..n).for_each(|i| v.log.append(limits, id(i), [&b"f"[..], &word(i)].into_iter()));
                Value::Stream(Box::new(v))
            }
            _ => {
                let mut v = ZSet::new();
                (0..n).for_each(|i| assert!(v.insert(limits, &word(i), i as f64).is_none()));
                Value::ZSet(Box::new(v))
            }
        }
    }

    #[test]
    fn takes_what_it_needs() {
        let size = |key: &[u8], v: Value, at| KeyEntry::new(key, v, at).memory_usage(0) - size_of::<usize>();
        let text = || Value::Str(Str::new(&[b'v'; 16]));
        assert_eq!(size(&[b'k'; 16], text(), None), 48);
        assert_eq!(size(&[b'k'; 16], text(), Some(1)), 56);
        assert_eq!(size(b"", Value::Str(Str::int(7)), None), 32);
        let limits = Limits::new(HashSeed::repeatable(1));
        let mut set = Set::new();
        set.insert(&limits, b"1");
        // An intset of one takes 10 bytes.
        assert_eq!(size(&[b'k'; 16], Value::Set(Box::new(set)), None), 32 + 16);
        assert_eq!(size_of::<Option<KeyEntry>>(), 8);
    }

    #[test]
    fn keeps_what_it_is_given_through_all_changes() {
        let limits = Limits::new(HashSeed::repeatable(1));
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let key: Vec<u8> = (0..rng.below(40)).map(|_| rng.next_u64() as u8).collect();
            let first = some_value(&mut rng, &limits);
            let mut model = (shown(first.as_ref()), None, 0);
            let mut e = KeyEntry::new(&key, first, None);
            for _ in 0..100 {
                match rng.below(5) {
                    0 => {
                        let at = rng.one_in(2).then(|| rng.next_u64() as i64);
                        assert_eq!(e.set_expire_at(at), model.1);
                        model.1 = at;
                    }
                    1 => {
                        let v = some_value(&mut rng, &limits);
                        let text = shown(v.as_ref());
                        assert_eq!(shown(e.replace(v).as_ref()), model.0);
                        model.0 = text;
                    }
                    2 => {
                        model.2 = rng.next_u64() as u32;
                        e.access().set(model.2);
                    }
                    3 => {
                        if let ValueMut::Str(s) = e.value_mut() {
                            s.append(b"more");
                            model.0 += "more";
                        }
                    }
                    _ => {
                        let (k, v, at) = e.into_parts();
                        e = KeyEntry::new(&k, v, at);
                        e.access().set(model.2);
                    }
                }
                assert_eq!((e.key(), e.expire_at(), e.access().get()), (&key[..], model.1, model.2));
                assert_eq!(shown(e.value()), model.0);
            }
        }
    }

    #[test]
    fn keys_of_any_length() {
        for n in [0, 1, 255, KEY_LONG - 1, KEY_LONG, KEY_LONG + 1] {
            let key: Vec<u8> = (0..n).map(|i| i as u8).collect();
            let mut e = KeyEntry::new(&key, Value::Str(Str::int(1)), Some(5));
            assert!(e.key() == key && e.expire_at() == Some(5));
            e.set_expire_at(None);
            assert!(e.key() == key && e.expire_at().is_none());
            assert!(*e.into_parts().0 == *key);
        }
    }
}
