//! Byte strings that need no memory of their own while they are short: keys, fields, members.

/// Longest string that is kept inline.
pub const INLINE: usize = 22;

/// An immutable byte string of 24 bytes plus, if it is longer than `INLINE`, one allocation.
#[derive(Clone)]
pub struct SmallBytes(Repr);

#[derive(Clone)]
enum Repr {
    Inline(u8, [u8; INLINE]),
    Heap(Box<[u8]>),
}

impl SmallBytes {
    /// A copy of `b`.
    #[inline]
    pub fn new(b: &[u8]) -> SmallBytes {
        if b.len() <= INLINE {
            let mut buf = [0; INLINE];
            buf[..b.len()].copy_from_slice(b);
            SmallBytes(Repr::Inline(b.len() as u8, buf))
        } else {
            SmallBytes(Repr::Heap(b.into()))
        }
    }

    /// Its bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(len, buf) => &buf[..usize::from(*len)],
            Repr::Heap(b) => b,
        }
    }

    /// Memory beyond its own 24 bytes.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Inline(..) => 0,
            Repr::Heap(b) => b.len(),
        }
    }
}

impl std::ops::Deref for SmallBytes {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for SmallBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_any_length() {
        assert_eq!(size_of::<SmallBytes>(), 24);
        for n in 0..100 {
            let b: Vec<u8> = (0..n).collect();
            let s = SmallBytes::new(&b);
            assert_eq!(&*s, &b[..]);
            assert_eq!(s.heap_bytes() == 0, n <= 22);
        }
    }
}
