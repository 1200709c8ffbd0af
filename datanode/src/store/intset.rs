//! Redis' intset: a sorted array of integers of 16, 32 or 64 bits each, byte for byte as Redis keeps it.
//!
//! Layout: bytes per integer (u32 LE), number of integers (u32 LE), the integers (LE), in ascending order.

use super::Corrupt;
use super::thin::{IsThin, Measured, Thin};

const HEADER: usize = 8;

/// See the module's description.
#[derive(Clone)]
#[repr(transparent)]
pub struct Intset(Thin<Header>);

// SAFETY: it is transparent.
#[allow(unsafe_code)]
unsafe impl IsThin for Intset {}

impl std::fmt::Debug for Intset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl PartialEq for Intset {
    fn eq(&self, other: &Intset) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Intset {}

/// Width and number, in front of the integers.
struct Header;

impl Measured for Header {
    const HEAD: usize = HEADER;
    #[inline]
    fn measure(head: &[u8]) -> usize {
        HEADER + usize::from(head[0]) * u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize
    }
    fn state(head: &mut [u8], len: usize) {
        let count = (len - HEADER) / usize::from(head[0]);
        head[4..8].copy_from_slice(&(count as u32).to_le_bytes());
    }
}

impl Default for Intset {
    fn default() -> Self {
        Intset::new()
    }
}

fn width_for(n: i64) -> usize {
    if i16::try_from(n).is_ok() {
        2
    } else if i32::try_from(n).is_ok() {
        4
    } else {
        8
    }
}

impl Intset {
    /// An empty one.
    pub fn new() -> Intset {
        Intset(Thin::copy_of(&[2, 0, 0, 0, 0, 0, 0, 0]))
    }

    /// Takes over bytes from a file, after checking them.
    pub fn from_bytes(b: impl AsRef<[u8]>) -> Result<Intset, Corrupt> {
        let b = b.as_ref();
        if b.len() < HEADER {
            return Err(Corrupt("intset: too short"));
        }
        let width = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let len = u32::from_le_bytes([b[4], b[5], b[6], b[7]]);
        if !matches!(width, 2 | 4 | 8) {
            return Err(Corrupt("intset: unknown encoding"));
        }
        if u64::from(width) * u64::from(len) != (b.len() - HEADER) as u64 {
            return Err(Corrupt("intset: its length is not the one it states"));
        }
        let set = Intset(Thin::copy_of(b));
        if set.iter().zip(set.iter().skip(1)).any(|(a, b)| a >= b) {
            return Err(Corrupt("intset: not in ascending order"));
        }
        Ok(set)
    }

    /// As it goes into files.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Memory it holds.
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    #[inline]
    fn width(&self) -> usize {
        usize::from(self.as_bytes()[0])
    }

    /// Number of integers.
    #[inline]
    pub fn len(&self) -> usize {
        (self.as_bytes().len() - HEADER) / self.width()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().len() == HEADER
    }

    /// Integer number `i`, in ascending order.
    #[inline]
    pub fn get(&self, i: usize) -> Option<i64> {
        let width = self.width();
        let raw = self.as_bytes().get(HEADER + i * width..HEADER + (i + 1) * width)?;
        Some(match *raw {
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            _ => i64::from_le_bytes(raw.try_into().ok()?),
        })
    }

    /// The integers in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + Clone + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    /// Where `n` is, or where it belongs.
    fn search(&self, n: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let mid = (low + high) / 2;
            match self.get(mid) {
                Some(x) if x == n => return Ok(mid),
                Some(x) if x < n => low = mid + 1,
                _ => high = mid,
            }
        }
        Err(low)
    }

    /// Whether `n` is in it.
    #[inline]
    pub fn contains(&self, n: i64) -> bool {
        self.search(n).is_ok()
    }

    /// Adds `n`; false if it was there.
    pub fn insert(&mut self, n: i64) -> bool {
        if width_for(n) > self.width() {
            self.widen(width_for(n));
        }
        let Err(i) = self.search(n) else { return false };
        let width = self.width();
        self.0.reshape(HEADER + i * width, 0, width);
        self.0.body_mut()[i * width..(i + 1) * width].copy_from_slice(&n.to_le_bytes()[..width]);
        true
    }

    fn widen(&mut self, width: usize) {
        let mut wide = Vec::with_capacity(HEADER + (self.len() + 1) * width);
        wide.extend_from_slice(&(width as u32).to_le_bytes());
        wide.extend_from_slice(&self.as_bytes()[4..8]);
        for n in self.iter() {
            wide.extend_from_slice(&n.to_le_bytes()[..width]);
        }
        self.0 = Thin::copy_of(&wide);
    }

    /// Removes `n`; false if it was not there.
    pub fn remove(&mut self, n: i64) -> bool {
        let Ok(i) = self.search(n) else { return false };
        let width = self.width();
        self.0.reshape(HEADER + i * width, width, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;
    use std::collections::BTreeSet;

    /// Contents of DUMP payloads of redis-server 7.0.
    #[test]
    fn has_the_bytes_that_redis_writes() {
        for (ints, hex) in [
            (&[1, 2, -3][..], "0200000003000000fdff01000200"),
            (&[1, 70000], "04000000020000000100000070110100"),
            (&[1, 5000000000], "0800000002000000010000000000000000f2052a01000000"),
        ] {
            let mut set = Intset::new();
            assert!(ints.iter().all(|&n| set.insert(n)));
            let bytes: String = set.as_bytes().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(bytes, hex);
            assert_eq!(Intset::from_bytes(set.as_bytes()), Ok(set));
        }
    }

    #[test]
    fn behaves_like_a_sorted_set() {
        let mut rng = Rng::new(1);
        for width in [100, 100_000, i64::MAX as usize] {
            let (mut set, mut model) = (Intset::new(), BTreeSet::new());
            for _ in 0..3000 {
                let n = rng.below(width) as i64 % (width as i64).min(500 * 40_000) - 50;
                if rng.one_in(3) {
                    assert_eq!(set.remove(n), model.remove(&n));
                } else {
                    assert_eq!(set.insert(n), model.insert(n));
                }
                assert_eq!((set.len(), set.contains(n)), (model.len(), model.contains(&n)));
            }
            assert!(set.iter().eq(model.iter().copied()));
            assert!(Intset::from_bytes(set.as_bytes()).is_ok());
        }
        let mut set = Intset::new();
        for n in [i64::MIN, i64::MAX, 0, -1, i64::from(i16::MIN), i64::from(i32::MAX)] {
            assert!(set.insert(n) && !set.insert(n) && set.contains(n));
        }
        assert_eq!(set.get(0), Some(i64::MIN));
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let good = {
            let mut s = Intset::new();
            (0..9).for_each(|n| assert!(s.insert(n * 1000)));
            s.as_bytes().to_vec()
        };
        for n in 0..good.len() {
            assert!(Intset::from_bytes(&good[..n]).is_err());
        }
        let mut rng = Rng::new(2);
        for _ in 0..20_000 {
            let mut bad = good.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bad.len());
                bad[at] = rng.next_u64() as u8;
            }
            if let Ok(s) = Intset::from_bytes(bad) {
                assert_eq!(s.iter().count(), s.len());
            }
        }
    }
}
