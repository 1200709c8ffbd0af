//! Redis' listpack: a list of strings and integers in one piece of memory, byte for byte as Redis 7 keeps it, since it
//! goes into RDB files and DUMP payloads as it is.
//!
//! Layout: total bytes (u32 LE), number of elements (u16 LE, 65535: count them), the elements, 0xFF. An element is its
//! encoding, its data, and the length of both, written so that it can be read backwards.
//! Positions are offsets of elements; they are valid until the listpack changes.

use super::Corrupt;
use super::dict::HashSeed;
use super::elem::Elem;
use super::num::{IntBuf, parse_int};
use super::thin::{IsThin, Measured, Thin};
use std::collections::HashSet;

const HEADER: usize = 6;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;
/// Largest listpack in bytes, as in Redis.
pub const MAX_BYTES: usize = 1 << 30;

/// See the module's description.
#[derive(Clone)]
#[repr(transparent)]
pub struct Listpack(Thin<Total>);

// SAFETY: it is transparent.
#[allow(unsafe_code)]
unsafe impl IsThin for Listpack {}

impl PartialEq for Listpack {
    fn eq(&self, other: &Listpack) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Listpack {}

/// The length in front of a listpack.
struct Total;

impl Measured for Total {
    const HEAD: usize = 4;
    #[inline]
    fn measure(head: &[u8]) -> usize {
        u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize
    }
    fn state(head: &mut [u8], len: usize) {
        head.copy_from_slice(&(len as u32).to_le_bytes());
    }
}

impl Default for Listpack {
    fn default() -> Self {
        Listpack::new()
    }
}

/// The encoding and data of one element, ready to be copied in.
struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    data: &'a [u8],
}

impl<'a> Encoded<'a> {
    fn new(e: Elem<'a>) -> Encoded<'a> {
        let (mut head, mut put) = ([0; 9], 0);
        let mut push = |bytes: &[u8]| {
            head[put..put + bytes.len()].copy_from_slice(bytes);
            put += bytes.len();
        };
        let mut data: &[u8] = &[];
        let int = match e {
            Elem::Int(n) => Some(n),
            Elem::Bytes(b) => parse_int(b).or_else(|| {
                data = b;
                None
            }),
        };
        match int {
            Some(n @ 0..=127) => push(&[n as u8]),
            Some(n @ -4096..=4095) => push(&[0xc0 | ((n >> 8) as u8 & 0x1f), n as u8]),
            Some(n) => {
                let le = n.to_le_bytes();
                let (code, len) = match n {
                    -0x8000..=0x7fff => (0xf1, 2),
                    -0x80_0000..=0x7f_ffff => (0xf2, 3),
                    -0x8000_0000..=0x7fff_ffff => (0xf3, 4),
                    _ => (0xf4, 8),
                };
                push(&[code]);
                push(&le[..len]);
            }
            None => match data.len() {
                len @ 0..64 => push(&[0x80 | len as u8]),
                len @ 64..4096 => push(&[0xe0 | (len >> 8) as u8, len as u8]),
                len => {
                    push(&[0xf0]);
                    push(&(len as u32).to_le_bytes());
                }
            },
        }
        Encoded { head, head_len: put, data }
    }

    fn len(&self) -> usize {
        self.head_len + self.data.len()
    }

    /// Bytes that it takes with its backward length.
    fn size(&self) -> usize {
        self.len() + back_len_size(self.len())
    }

    /// Writes it to the beginning of `place`; its size.
    fn put(&self, place: &mut [u8]) -> usize {
        let (len, size) = (self.len(), self.size());
        place[..self.head_len].copy_from_slice(&self.head[..self.head_len]);
        place[self.head_len..len].copy_from_slice(self.data);
        put_back_len(&mut place[len..size], len);
        size
    }
}

/// Bytes that the backward length `len` takes. The limits are Redis' own, one below what would fit.
fn back_len_size(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16383 => 2,
        16383..2097151 => 3,
        2097151..268435455 => 4,
        _ => 5,
    }
}

fn put_back_len(out: &mut [u8], len: usize) {
    let n = out.len();
    for (i, b) in out.iter_mut().rev().enumerate() {
        *b = (len >> (7 * i)) as u8 & 127 | if i + 1 < n { 128 } else { 0 };
    }
}

/// The length that ends in the last byte of `b`.
fn read_back_len(b: &[u8]) -> Option<usize> {
    let mut len = 0;
    for (i, &byte) in b.iter().rev().take(5).enumerate() {
        len |= usize::from(byte & 127) << (7 * i);
        if byte & 128 == 0 {
            return Some(len);
        }
    }
    None
}

/// The element that `b` starts with, and the length of its encoding and data.
#[inline]
fn decode(b: &[u8]) -> Option<(Elem<'_>, usize)> {
    let first = *b.first()?;
    let text = |at: usize, len: usize| Some((Elem::Bytes(b.get(at..at.checked_add(len)?)?), at + len));
    let int = |len: usize| {
        let raw = b.get(1..=len)?;
        let mut le = [if raw[len - 1] & 0x80 != 0 { 0xff } else { 0 }; 8];
        le[..len].copy_from_slice(raw);
        Some((Elem::Int(i64::from_le_bytes(le)), 1 + len))
    };
    match first {
        0..=0x7f => Some((Elem::Int(i64::from(first)), 1)),
        0x80..=0xbf => text(1, usize::from(first & 0x3f)),
        0xc0..=0xdf => {
            let n = i64::from(first & 0x1f) << 8 | i64::from(*b.get(1)?);
            Some((Elem::Int(if n > 4095 { n - 8192 } else { n }), 2))
        }
        0xe0..=0xef => text(2, usize::from(first & 0x0f) << 8 | usize::from(*b.get(1)?)),
        0xf0 => text(5, u32::from_le_bytes(b.get(1..5)?.try_into().ok()?) as usize),
        0xf1 => int(2),
        0xf2 => int(3),
        0xf3 => int(4),
        0xf4 => int(8),
        _ => None,
    }
}

/// The length of the encoding and data of the element that `b` starts with, as its first bytes say.
#[inline]
fn stated_len(b: &[u8]) -> Option<usize> {
    let first = *b.first()?;
    Some(match first {
        0..=0x7f => 1,
        0x80..=0xbf => 1 + usize::from(first & 0x3f),
        0xc0..=0xdf => 2,
        0xe0..=0xef => 2 + (usize::from(first & 0x0f) << 8 | usize::from(*b.get(1)?)),
        0xf0 => 5 + u32::from_le_bytes(*b.get(1..)?.first_chunk()?) as usize,
        0xf1..=0xf3 => usize::from(first - 0xf1) + 3,
        0xf4 => 9,
        _ => return None,
    })
}

/// Checks every length in `b`, so that all operations on it are safe. Never panics.
pub fn validate(b: &[u8]) -> Result<(), Corrupt> {
    let err = |what| Err(Corrupt(what));
    if b.len() < HEADER + 1 || b.len() > MAX_BYTES {
        return err("listpack: impossible size");
    }
    if u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize != b.len() {
        return err("listpack: its length is not the one it states");
    }
    let end = b.len() - 1;
    if b[end] != END {
        return err("listpack: no end mark");
    }
    let (mut at, mut count) = (HEADER, 0usize);
    while at < end {
        let Some(len) = stated_len(&b[at..end]) else { return err("listpack: element out of bounds") };
        let size = back_len_size(len);
        let Some(back) = b[..end].get(at + len..at + len + size) else {
            return err("listpack: element out of bounds");
        };
        // Most are short.
        let right = match back {
            [short] => usize::from(*short) == len,
            long => {
                let mut want = [0; 5];
                put_back_len(&mut want[..size], len);
                long == &want[..size]
            }
        };
        if !right {
            return err("listpack: backward length does not match");
        }
        at += len + size;
        count += 1;
    }
    let stated = u16::from_le_bytes([b[4], b[5]]);
    if stated != COUNT_UNKNOWN && usize::from(stated) != count {
        return err("listpack: wrong number of elements");
    }
    Ok(())
}

impl Listpack {
    /// An empty one.
    pub fn new() -> Listpack {
        Listpack(Thin::copy_of(&[7, 0, 0, 0, 0, 0, END]))
    }

    /// Takes over bytes from a file, after `validate`.
    pub fn from_bytes(b: impl AsRef<[u8]>) -> Result<Listpack, Corrupt> {
        validate(b.as_ref())?;
        Ok(Listpack(Thin::copy_of(b.as_ref())))
    }

    /// As it goes into files.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Size in bytes, header and end included.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Memory it holds.
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Whether another `extra` bytes of data may be added.
    pub fn has_room(&self, extra: usize) -> bool {
        // No encoding adds more than 5 bytes in front and 5 behind.
        self.byte_len() + extra + 10 <= MAX_BYTES
    }

    fn stated_count(&self) -> u16 {
        let b = self.as_bytes();
        u16::from_le_bytes([b[4], b[5]])
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self.stated_count() {
            COUNT_UNKNOWN => self.iter().count(),
            n => usize::from(n),
        }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.byte_len() == HEADER + 1
    }

    fn end(&self) -> usize {
        self.byte_len() - 1
    }

    #[inline]
    fn read(&self, pos: usize) -> (Elem<'_>, usize) {
        decode(&self.as_bytes()[pos..]).expect("a position names an element")
    }

    /// The element at a position.
    #[inline]
    pub fn get(&self, pos: usize) -> Elem<'_> {
        self.read(pos).0
    }

    /// The first position.
    #[inline]
    pub fn first(&self) -> Option<usize> {
        (!self.is_empty()).then_some(HEADER)
    }

    /// The last position.
    #[inline]
    pub fn last(&self) -> Option<usize> {
        self.prev(self.end())
    }

    #[inline]
    fn after(&self, pos: usize) -> usize {
        let len = stated_len(&self.as_bytes()[pos..]).expect("a position names an element");
        pos + len + back_len_size(len)
    }

    /// The position after `pos`.
    #[inline]
    pub fn next(&self, pos: usize) -> Option<usize> {
        let next = self.after(pos);
        (next < self.end()).then_some(next)
    }

    /// The position before `pos`.
    #[inline]
    pub fn prev(&self, pos: usize) -> Option<usize> {
        if pos <= HEADER {
            return None;
        }
        let len = read_back_len(&self.as_bytes()[..pos]).expect("elements can be read backwards");
        Some(pos - len - back_len_size(len))
    }

    /// The position of element number `index`, negative from the end (-1 is the last).
    pub fn seek(&self, index: i64) -> Option<usize> {
        let count = self.stated_count();
        // From the nearer end, if the number of elements is known.
        let index = match count {
            COUNT_UNKNOWN => index,
            n if index >= i64::from(n) || index < -i64::from(n) => return None,
            n if index >= i64::from(n / 2) => index - i64::from(n),
            n if index < -i64::from(n / 2) => index + i64::from(n),
            _ => index,
        };
        if index >= 0 {
            let mut pos = self.first()?;
            for _ in 0..index {
                pos = self.next(pos)?;
            }
            Some(pos)
        } else {
            let mut pos = self.last()?;
            for _ in 0..-(index + 1) {
                pos = self.prev(pos)?;
            }
            Some(pos)
        }
    }

    /// The position of the first element equal to `needle` among every `stride`-th, from `from` on.
    pub fn find(&self, from: Option<usize>, needle: &[u8], stride: usize) -> Option<usize> {
        // We store an integer as one, but a file may come from somebody who does not.
        let int = parse_int(needle);
        let mut pos = from?;
        loop {
            let hit = match (self.get(pos), int) {
                (Elem::Int(a), Some(b)) => a == b,
                (Elem::Bytes(a), _) => a == needle,
                _ => false,
            };
            if hit {
                return Some(pos);
            }
            for _ in 0..stride {
                pos = self.next(pos)?;
            }
        }
    }

    fn set_count(&mut self, count: u16) {
        self.0.body_mut()[..2].copy_from_slice(&count.to_le_bytes());
    }

    /// Replaces the bytes `at..at + old` by the element. The count is left to the caller.
    fn write(&mut self, at: usize, old: usize, e: Elem) {
        let enc = Encoded::new(e);
        self.0.reshape(at, old, enc.size());
        enc.put(&mut self.0.body_mut()[at - Total::HEAD..]);
    }

    fn insert_at(&mut self, at: usize, e: Elem) {
        self.write(at, 0, e);
        // Saturates at "unknown".
        self.set_count(self.stated_count().saturating_add(1));
    }

    /// Adds several elements in one piece of memory.
    fn insert_all_at<'a>(&mut self, at: usize, elements: impl Iterator<Item = Elem<'a>> + Clone) {
        let sizes = elements.clone().map(|e| Encoded::new(e).size());
        self.0.reshape(at, 0, sizes.sum());
        let (mut to, mut count) = (at - Total::HEAD, usize::from(self.stated_count()));
        for e in elements {
            to += Encoded::new(e).put(&mut self.0.body_mut()[to..]);
            count += 1;
        }
        self.set_count(u16::try_from(count).unwrap_or(COUNT_UNKNOWN));
    }

    /// Adds an element before the one at `pos`, which then is the position of the new one.
    pub fn insert_before(&mut self, pos: usize, e: Elem) {
        self.insert_at(pos, e);
    }

    /// Adds an element after the one at `pos`; returns the position of the new one.
    pub fn insert_after(&mut self, pos: usize, e: Elem) -> usize {
        let at = self.after(pos);
        self.insert_at(at, e);
        at
    }

    /// Adds an element at the end.
    #[inline]
    pub fn push_back(&mut self, e: Elem) {
        self.insert_at(self.end(), e);
    }

    /// Adds elements at the end. It takes about as long as adding one.
    pub fn append<'a>(&mut self, elements: impl Iterator<Item = Elem<'a>> + Clone) {
        self.insert_all_at(self.end(), elements);
    }

    /// The same at the front.
    pub fn prepend<'a>(&mut self, elements: impl Iterator<Item = Elem<'a>> + Clone) {
        self.insert_all_at(HEADER, elements);
    }

    /// Adds two elements before the one at `pos`, which then is the position of the first.
    pub fn insert_pair_before(&mut self, pos: usize, first: Elem, second: Elem) {
        self.insert_all_at(pos, [first, second].into_iter());
    }

    /// Adds an element at the front.
    pub fn push_front(&mut self, e: Elem) {
        self.insert_at(HEADER, e);
    }

    /// Puts another element in the place of the one at `pos`.
    pub fn replace(&mut self, pos: usize, e: Elem) {
        let old = self.after(pos) - pos;
        self.write(pos, old, e);
    }

    /// Removes `count` elements (or as many as there are) from `pos` on; what then is at `pos`, if anything, is what
    /// followed them.
    pub fn remove(&mut self, pos: usize, count: usize) -> Option<usize> {
        let (mut to, mut removed) = (pos, 0);
        while removed < count && to < self.end() {
            to = self.after(to);
            removed += 1;
        }
        self.0.reshape(pos, to - pos, 0);
        let known = match self.stated_count() {
            COUNT_UNKNOWN => COUNT_UNKNOWN,
            n => n - removed as u16,
        };
        self.set_count(known);
        (pos < self.end()).then_some(pos)
    }

    /// Moves the elements from `pos` on into a new listpack.
    pub fn split_off(&mut self, pos: usize) -> Listpack {
        let end = self.end();
        let mut tail = Listpack::new();
        tail.0.reshape(HEADER, 0, end - pos);
        tail.0.body_mut()[HEADER - Total::HEAD..][..end - pos].copy_from_slice(&self.as_bytes()[pos..end]);
        self.0.reshape(pos, end - pos, 0);
        for lp in [&mut tail, self] {
            let count = lp.iter().count();
            lp.set_count(u16::try_from(count).unwrap_or(COUNT_UNKNOWN));
        }
        tail
    }

    /// Whether two of every second element, from the first on, are the same: a field or member twice.
    pub fn has_twice(&self, seed: HashSeed) -> bool {
        // Of two that are the same the second finds its bit set. In a small listpack few others do.
        let (mut marks, mut perhaps) = ([0u64; 64], false);
        self.for_each_second_hash(seed, |hash| {
            let bit = hash >> (64 - 12);
            let (mark, word) = (1 << (bit % 64), &mut marks[bit as usize / 64]);
            perhaps |= *word & mark != 0;
            *word |= mark;
        });
        if !perhaps {
            return false;
        }
        let mut hashes = Vec::new();
        self.for_each_second_hash(seed, |hash| hashes.push(hash));
        hashes.sort_unstable();
        if hashes.windows(2).all(|w| w[0] != w[1]) {
            return false;
        }
        let mut seen = HashSet::new();
        !self.iter().step_by(2).all(|e| seen.insert(e.to_bytes()))
    }

    fn for_each_second_hash(&self, seed: HashSeed, mut f: impl FnMut(u64)) {
        let (mut buf, mut elements) = (IntBuf::new(), self.iter());
        while let Some(e) = elements.next() {
            elements.skip_one();
            f(seed.hash(e.as_bytes(&mut buf)));
        }
    }

    /// The elements, from either end.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { lp: self, from: HEADER, to: self.end() }
    }

    /// The elements from position `pos` on.
    pub fn iter_from(&self, pos: Option<usize>) -> Iter<'_> {
        Iter { lp: self, from: pos.unwrap_or(self.end()), to: self.end() }
    }

    /// `count` elements (or as many as there are) from number `start` on, from either end.
    pub fn slice(&self, start: usize, count: usize) -> Iter<'_> {
        let from = self.seek(start as i64).unwrap_or(self.end());
        let to = match self.len() - start.min(self.len()) {
            rest if rest <= count => self.end(),
            _ => self.seek((start + count) as i64).unwrap_or(self.end()),
        };
        Iter { lp: self, from, to }
    }
}

impl std::fmt::Debug for Listpack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Elements of a listpack.
#[derive(Clone)]
pub struct Iter<'a> {
    lp: &'a Listpack,
    from: usize,
    to: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Elem<'a>;
    #[inline]
    fn next(&mut self) -> Option<Elem<'a>> {
        if self.from >= self.to {
            return None;
        }
        let (e, len) = self.lp.read(self.from);
        self.from += len + back_len_size(len);
        Some(e)
    }
}

impl Iter<'_> {
    /// Leaves out the next element.
    #[inline]
    fn skip_one(&mut self) {
        if self.from < self.to {
            self.from = self.lp.after(self.from);
        }
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    fn next_back(&mut self) -> Option<Elem<'a>> {
        if self.from >= self.to {
            return None;
        }
        self.to = self.lp.prev(self.to)?;
        Some(self.lp.get(self.to))
    }
}

#[cfg(test)]
#[path = "listpack_tests.rs"]
mod tests;
