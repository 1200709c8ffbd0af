//! LZF, the compression of strings in RDB files.
//!
//! A stream is a sequence of two kinds of items. `000LLLLL`: L + 1 literal bytes follow. `LLLooooo [LLLLLLLL] oooooooo`:
//! copy L + 2 bytes from `o + 1` bytes back in the output, where L = 7 announces a further byte to add to L.

const MAX_LITERAL: usize = 32;
const MAX_DISTANCE: usize = 1 << 13;
const MAX_MATCH: usize = 7 + 255 + 2;
/// What one input byte can become at most: three bytes make `MAX_MATCH`.
const MAX_RATIO: u64 = MAX_MATCH as u64 / 3;
const HASH_BITS: u32 = 14;
const LEAST_HASH_BITS: u32 = 8;

/// Keeps the table of places seen, so that compressing a short string does not cost clearing it.
#[derive(Debug)]
pub struct Compressor {
    /// For each hash, the latest place, counted from an origin that moves on with every call: what is left from
    /// earlier calls lies before the present one's origin.
    places: Box<[u32; 1 << HASH_BITS]>,
    origin: u32,
}

impl Default for Compressor {
    fn default() -> Self {
        Compressor { places: Box::new([0; 1 << HASH_BITS]), origin: 1 }
    }
}

impl Compressor {
    /// Appends the compressed form of `input` to `out` if that takes at most `limit` bytes. Otherwise leaves `out` as
    /// it was and returns false.
    pub fn compress(&mut self, input: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
        let Ok(len) = u32::try_from(input.len()) else { return false };
        if self.origin.checked_add(len).is_none() {
            self.places.fill(0);
            self.origin = 1;
        }
        let start = out.len();
        let shift = u32::BITS - hash_bits(input.len());
        let (mut pos, mut literals) = (0, 0);
        // A match that begins at the last three bytes is not looked for: they are read four at a time.
        while let Some(here) = word(input, pos) {
            let place = &mut self.places[hash(here, shift)];
            let earlier = std::mem::replace(place, self.origin + pos as u32);
            let candidate = earlier.checked_sub(self.origin).map(|c| c as usize);
            let Some(from) = candidate.filter(|&c| pos - c <= MAX_DISTANCE && begins_as(input, c, here))
            else {
                pos += 1;
                continue;
            };
            let len = common(&input[from..], &input[pos..]);
            put_literals(out, &input[literals..pos]);
            put_match(out, pos - from - 1, len);
            if out.len() - start > limit {
                out.truncate(start);
                self.origin += input.len() as u32;
                return false;
            }
            // The last places within the match are worth remembering, or repeated text is found only once.
            let end = pos + len;
            for p in end - 2..end {
                if let Some(there) = word(input, p) {
                    self.places[hash(there, shift)] = self.origin + p as u32;
                }
            }
            pos = end;
            literals = pos;
        }
        put_literals(out, &input[literals..]);
        self.origin += len;
        let fits = out.len() - start <= limit;
        if !fits {
            out.truncate(start);
        }
        fits
    }
}

/// Bits of the hashes within an input: for a short one few, so that what is used of the table stays in the processor's cache.
fn hash_bits(len: usize) -> u32 {
    (usize::BITS - len.leading_zeros() + 1).clamp(LEAST_HASH_BITS, HASH_BITS)
}

/// The four bytes at `pos`, if there are so many.
#[inline]
fn word(input: &[u8], pos: usize) -> Option<u32> {
    input.get(pos..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

/// The first three of them.
#[inline]
fn three(word: u32) -> u32 {
    word << 8
}

#[inline]
fn hash(word: u32, shift: u32) -> usize {
    (three(word).wrapping_mul(0x9e37_79b1) >> shift) as usize
}

/// Whether at `pos` there are the same three bytes as `here`.
#[inline]
fn begins_as(input: &[u8], pos: usize, here: u32) -> bool {
    word(input, pos).is_some_and(|there| three(there) == three(here))
}

/// How many bytes both start with, at most `MAX_MATCH`. Eight are compared at a time.
#[inline]
fn common(a: &[u8], b: &[u8]) -> usize {
    let most = a.len().min(b.len()).min(MAX_MATCH);
    let (a, b) = (&a[..most], &b[..most]);
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (i, (x, y)) in a_words.iter().zip(b_words).enumerate() {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return 8 * i + (differ.trailing_zeros() / 8) as usize;
        }
    }
    8 * a_words.len() + a_rest.iter().zip(b_rest).take_while(|(x, y)| x == y).count()
}

fn put_literals(out: &mut Vec<u8>, bytes: &[u8]) {
    for run in bytes.chunks(MAX_LITERAL) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

fn put_match(out: &mut Vec<u8>, distance: usize, len: usize) {
    let l = len - 2;
    let high = (distance >> 8) as u8;
    if l < 7 {
        out.push((l as u8) << 5 | high);
    } else {
        out.push(7 << 5 | high);
        out.push((l - 7) as u8);
    }
    out.push(distance as u8);
}

/// Restores `len` bytes from `input` in `out`, in the place of what was there. `None` if the stream is damaged or makes
/// another length. Allocates no more than the input can really become.
pub fn decompress(input: &[u8], len: u64, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    if len > (input.len() as u64).saturating_mul(MAX_RATIO) {
        return None;
    }
    let len = usize::try_from(len).ok()?;
    out.reserve_exact(len);
    let mut rest = input;
    while let Some((&head, after)) = rest.split_first() {
        rest = after;
        if usize::from(head) < MAX_LITERAL {
            let (run, after) = rest.split_at_checked(usize::from(head) + 1)?;
            if out.len() + run.len() > len {
                return None;
            }
            out.extend_from_slice(run);
            rest = after;
            continue;
        }
        let mut n = usize::from(head >> 5);
        if n == 7 {
            let (&more, after) = rest.split_first()?;
            n += usize::from(more);
            rest = after;
        }
        let (&low, after) = rest.split_first()?;
        rest = after;
        let distance = (usize::from(head & 0x1f) << 8 | usize::from(low)) + 1;
        let from = out.len().checked_sub(distance)?;
        n += 2;
        if out.len() + n > len {
            return None;
        }
        // Source and target may overlap: that is how runs are written.
        while n > 0 {
            let piece = n.min(out.len() - from);
            out.extend_from_within(from..from + piece);
            n -= piece;
        }
    }
    (out.len() == len).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(input: &[u8], len: u64) -> Option<Vec<u8>> {
        let mut out = b"left over".to_vec();
        decompress(input, len, &mut out).map(|()| out)
    }

    fn round_trip(c: &mut Compressor, input: &[u8]) -> usize {
        let mut out = vec![9];
        assert!(c.compress(input, input.len() * 2 + 1, &mut out));
        assert_eq!(restored(&out[1..], input.len() as u64).as_deref(), Some(input));
        out.len() - 1
    }

    #[test]
    fn round_trips() {
        let mut c = Compressor::default();
        let mut noise = 1u32;
        let mut random = |n: usize, range: u32| -> Vec<u8> {
            (0..n)
                .map(|_| {
                    noise = noise.wrapping_mul(1664525).wrapping_add(1013904223);
                    ((noise >> 16) % range) as u8
                })
                .collect()
        };
        for n in [1, 2, 3, 4, 20, 31, 32, 33, 64, 300, 10_000, 100_000] {
            round_trip(&mut c, &random(n, 256));
            round_trip(&mut c, &random(n, 3));
            assert!(n < 20 || round_trip(&mut c, &vec![b'a'; n]) < n / 2);
        }
    }

    #[test]
    fn what_does_not_shrink_leaves_no_trace() {
        let mut out = b"x".to_vec();
        assert!(!Compressor::default().compress(b"abcdefghijklmnopqrstuvwxyz", 22, &mut out));
        assert_eq!(out, b"x");
    }

    #[test]
    fn origin_wraps_around() {
        let mut c = Compressor { origin: u32::MAX - 50, ..Compressor::default() };
        for _ in 0..5 {
            round_trip(&mut c, b"abcabcabcabcabcabcabcabcabcabc");
        }
    }

    #[test]
    fn damaged_streams_are_refused() {
        let good = [0, b'a', 0xe0, 10, 0];
        assert_eq!(restored(&good, 20), Some(vec![b'a'; 20]));
        assert_eq!(restored(&good, 19), None);
        assert_eq!(restored(&good, 21), None);
        assert_eq!(restored(&good[..4], 20), None);
        assert_eq!(restored(&[0x20, 0], 3), None, "points before the start");
        assert_eq!(restored(&[5, 1], 6), None);
        assert_eq!(restored(&good, u64::MAX), None);
    }
}
