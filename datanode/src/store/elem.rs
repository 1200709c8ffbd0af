//! An element of a collection as it is stored: bytes, or an integer that stands for its decimal form.

use super::num::{IntBuf, int_len};
use std::borrow::Cow;

/// A borrowed element.
#[derive(Clone, Copy, Debug)]
pub enum Elem<'a> {
    /// As they were given.
    Bytes(&'a [u8]),
    /// The canonical decimal form of this integer.
    Int(i64),
}

impl<'a> Elem<'a> {
    /// Its bytes, written into `buf` where they are not stored as such.
    #[inline]
    pub fn as_bytes<'b>(&self, buf: &'b mut IntBuf) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Elem::Bytes(b) => b,
            Elem::Int(n) => buf.format(n),
        }
    }

    /// Its bytes, in memory of their own where they are not stored as such.
    pub fn to_bytes(&self) -> Cow<'a, [u8]> {
        match *self {
            Elem::Bytes(b) => Cow::Borrowed(b),
            Elem::Int(n) => Cow::Owned(IntBuf::new().format(n).to_vec()),
        }
    }

    /// How many bytes it has.
    #[inline]
    pub fn len(&self) -> usize {
        match *self {
            Elem::Bytes(b) => b.len(),
            Elem::Int(n) => int_len(n),
        }
    }

    /// Whether it is the empty string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has exactly these bytes.
    #[inline]
    pub fn eq_bytes(&self, other: &[u8]) -> bool {
        match *self {
            Elem::Bytes(b) => b == other,
            Elem::Int(n) => IntBuf::new().format(n) == other,
        }
    }
}

impl PartialEq for Elem<'_> {
    fn eq(&self, other: &Elem) -> bool {
        self.eq_bytes(other.as_bytes(&mut IntBuf::new()))
    }
}
