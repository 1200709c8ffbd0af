//! String values: an integer, or bytes in the form that suits their size and use.

use super::num::{IntBuf, int_len, parse_int};
use super::prefetch::fetch_block;
use super::small::INLINE;
use std::borrow::Cow;

/// Longest string that `OBJECT ENCODING` calls `embstr`.
const EMBSTR_MAX: usize = 44;

/// A string value.
#[derive(Clone, Debug)]
pub struct Str(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Int(i64),
    Inline(u8, [u8; INLINE]),
    Fixed(Box<[u8]>),
    /// It has been changed in place, so it may be again: with room to grow.
    // The Box keeps the other forms small.
    #[allow(clippy::box_collection)]
    Grown(Box<Vec<u8>>),
}

impl Str {
    /// A copy of `b`; an integer is kept as one.
    #[inline]
    pub fn new(b: &[u8]) -> Str {
        if let Some(n) = parse_int(b) {
            return Str(Repr::Int(n));
        }
        Str::raw(b)
    }

    /// A copy of `b` that is kept as bytes even if it is an integer (what `OBJECT ENCODING` then shows as `embstr`/`raw`).
    pub fn raw(b: &[u8]) -> Str {
        if b.len() <= INLINE {
            let mut buf = [0; INLINE];
            buf[..b.len()].copy_from_slice(b);
            Str(Repr::Inline(b.len() as u8, buf))
        } else {
            Str(Repr::Fixed(b.into()))
        }
    }

    /// Takes bytes over; what fits inline or is an integer is kept so.
    pub fn from_vec(b: Vec<u8>) -> Str {
        if b.len() <= INLINE { Str::new(&b) } else { Str(Repr::Fixed(b.into_boxed_slice())) }
    }

    /// An integer.
    #[inline]
    pub fn int(n: i64) -> Str {
        Str(Repr::Int(n))
    }

    /// The integer, if the string is the canonical form of one.
    #[inline]
    pub fn as_int(&self) -> Option<i64> {
        match &self.0 {
            Repr::Int(n) => Some(*n),
            Repr::Inline(len, buf) => parse_int(&buf[..usize::from(*len)]),
            Repr::Fixed(_) => None,
            Repr::Grown(b) => parse_int(b),
        }
    }

    /// Its bytes, written into `buf` if it is kept as an integer.
    #[inline]
    pub fn as_bytes<'a>(&'a self, buf: &'a mut IntBuf) -> &'a [u8] {
        match &self.0 {
            Repr::Int(n) => buf.format(*n),
            Repr::Inline(len, buf) => &buf[..usize::from(*len)],
            Repr::Fixed(b) => b,
            Repr::Grown(b) => b,
        }
    }

    /// Its bytes, in memory of their own if it is kept as an integer.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        match &self.0 {
            Repr::Int(n) => Cow::Owned(IntBuf::new().format(*n).to_vec()),
            Repr::Inline(len, buf) => Cow::Borrowed(&buf[..usize::from(*len)]),
            Repr::Fixed(b) => Cow::Borrowed(b),
            Repr::Grown(b) => Cow::Borrowed(b),
        }
    }

    /// Has its bytes fetched into the processor's cache, where they are not a part of it.
    #[inline]
    pub fn prefetch(&self) {
        match &self.0 {
            Repr::Int(_) | Repr::Inline(..) => {}
            Repr::Fixed(b) => fetch_block(b.as_ptr(), b.len()),
            Repr::Grown(b) => fetch_block(&raw const **b, size_of::<Vec<u8>>()),
        }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Int(n) => int_len(*n),
            Repr::Inline(len, _) => usize::from(*len),
            Repr::Fixed(b) => b.len(),
            Repr::Grown(b) => b.len(),
        }
    }

    /// Whether it is the empty string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name `OBJECT ENCODING` gives it.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Int(_) => "int",
            Repr::Grown(_) => "raw",
            _ if self.len() <= EMBSTR_MAX => "embstr",
            _ => "raw",
        }
    }

    /// Its bytes, to be changed at will (SETBIT, BITFIELD and the like).
    pub fn make_mut(&mut self) -> &mut Vec<u8> {
        if !matches!(self.0, Repr::Grown(_)) {
            let owned = match std::mem::replace(&mut self.0, Repr::Int(0)) {
                Repr::Fixed(b) => b.into_vec(),
                other => Str(other).to_bytes().into_owned(),
            };
            self.0 = Repr::Grown(Box::new(owned));
        }
        match &mut self.0 {
            Repr::Grown(b) => b,
            _ => unreachable!("it has just been made so"),
        }
    }

    /// Appends (APPEND); returns the new length.
    pub fn append(&mut self, b: &[u8]) -> usize {
        let v = self.make_mut();
        v.extend_from_slice(b);
        v.len()
    }

    /// Overwrites from `offset` on, filling a gap with zero bytes (SETRANGE); returns the new length. The caller has
    /// checked that `offset + b.len()` is within the limit for strings.
    pub fn set_range(&mut self, offset: usize, b: &[u8]) -> usize {
        let v = self.make_mut();
        let end = offset + b.len();
        if v.len() < end {
            v.resize(end, 0);
        }
        v[offset..end].copy_from_slice(b);
        v.len()
    }

    /// The part from `start` to `end`, both inclusive, negative from the end (GETRANGE).
    pub fn get_range<'a>(&'a self, start: i64, end: i64, buf: &'a mut IntBuf) -> &'a [u8] {
        let b = self.as_bytes(buf);
        // With both negative and the wrong way round the answer is empty even where clamping would make them meet.
        if start < 0 && end < 0 && start > end {
            return &[];
        }
        let from_end = |i: i64| if i < 0 { (b.len() as i64).saturating_add(i).max(0) } else { i };
        let (start, end) = (from_end(start), from_end(end).min(b.len() as i64 - 1));
        if start > end { &[] } else { &b[start as usize..=end as usize] }
    }

    /// Memory beyond its own size.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Int(_) | Repr::Inline(..) => 0,
            Repr::Fixed(b) => b.len(),
            Repr::Grown(b) => b.capacity() + size_of::<Vec<u8>>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &Str) -> String {
        String::from_utf8(s.to_bytes().into_owned()).unwrap()
    }

    #[test]
    fn keeps_bytes_and_names_encodings_as_redis_does() {
        let long = "x".repeat(44);
        let longer = "x".repeat(45);
        for (s, encoding) in [
            ("12345", "int"),
            ("abc", "embstr"),
            (&long, "embstr"),
            (&longer, "raw"),
            ("9223372036854775808", "embstr"),
            ("-0", "embstr"),
            ("007", "embstr"),
            ("", "embstr"),
        ] {
            for v in [Str::new(s.as_bytes()), Str::from_vec(s.into())] {
                assert_eq!((text(&v).as_str(), v.len(), v.encoding()), (s, s.len(), encoding));
                assert_eq!(v.as_bytes(&mut IntBuf::new()), s.as_bytes());
            }
        }
        assert_eq!(Str::raw(b"12").encoding(), "embstr");
        assert_eq!(Str::raw(b"12").as_int(), Some(12));
    }

    #[test]
    fn is_changed_in_place() {
        let mut s = Str::int(5);
        assert_eq!((s.append(b"6"), text(&s).as_str(), s.encoding()), (2, "56", "raw"));
        assert_eq!(s.as_int(), Some(56));
        assert_eq!(s.set_range(4, b"ab"), 6);
        assert_eq!(text(&s), "56\0\0ab");
        assert_eq!(s.set_range(0, b"x"), 6);
        let mut s = Str::new(&[b'y'; 30]);
        s.append(b"z");
        assert_eq!((s.len(), s.to_bytes()[30]), (31, b'z'));
    }

    #[test]
    fn ranges_clamp() {
        let s = Str::new(b"hello");
        for (start, end, want) in [
            (0, -1, "hello"),
            (1, 2, "el"),
            (-3, -2, "ll"),
            (-100, 100, "hello"),
            (3, 1, ""),
            (5, 9, ""),
            (-1, -5, ""),
            (-6, -7, ""),
            (-7, -6, "h"),
            (0, i64::MAX, "hello"),
            (i64::MIN, 0, "h"),
        ] {
            assert_eq!(s.get_range(start, end, &mut IntBuf::new()), want.as_bytes(), "{start} {end}");
        }
        assert_eq!(Str::new(b"").get_range(0, -1, &mut IntBuf::new()), b"");
        assert_eq!(Str::int(-123).get_range(1, 2, &mut IntBuf::new()), b"12");
    }
}
