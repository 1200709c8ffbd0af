//! The CRC-64 that ends RDB files and DUMP payloads: Jones' polynomial, bits reflected, zero as initial value and no
//! final inversion. Long inputs are folded by carry-less multiplication where the processor has it (V. Gopal et al.,
//! "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009), the rest goes by tables.

/// Jones' polynomial 0xad93d23594c935a9 with its bits reflected.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// `TABLES[k][b]`: the checksum of byte `b` followed by `k` zero bytes, so that eight bytes take eight lookups.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut t = [[0; 256]; 8];
    let mut b = 0;
    while b < 256 {
        let mut crc = b as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        t[0][b] = crc;
        b += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut b = 0;
        while b < 256 {
            let before = t[k - 1][b];
            t[k][b] = t[0][(before & 0xff) as usize] ^ (before >> 8);
            b += 1;
        }
        k += 1;
    }
    t
}

/// The checksum of what `crc` is the checksum of, followed by `bytes`. Start with 0.
pub fn update(crc: u64, bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= folded::LEAST && folded::available() {
        let (crc, rest) = folded::update(crc, bytes);
        return by_tables(crc, rest);
    }
    by_tables(crc, bytes)
}

/// By carry-less multiplication, 16 bytes at a time.
///
/// The message is a polynomial over GF(2), and what counts is its remainder by `P`. Of a block of 16 bytes that is followed
/// by another, the first half may be replaced by its product with `x^192 mod P`, the second by that with `x^128 mod P`, both
/// added to the block that follows. The last block's checksum then is the message's. With bits reflected a product of two
/// words of 64 bits comes out multiplied by `x`, so the constants have exponents one lower.
#[cfg(target_arch = "x86_64")]
mod folded {
    use super::{POLYNOMIAL, by_tables};
    use std::arch::x86_64::{
        __m128i, _mm_clmulepi64_si128, _mm_loadu_si128, _mm_set_epi64x, _mm_storeu_si128, _mm_xor_si128,
    };

    const BLOCK: usize = 16;
    /// Shorter inputs are not worth it.
    pub const LEAST: usize = 8 * BLOCK;

    /// `x^n mod P`, reflected.
    const fn power(n: u32) -> u64 {
        let (mut v, mut i) = (1 << 63, 0);
        while i < n {
            v = if v & 1 == 1 { (v >> 1) ^ POLYNOMIAL } else { v >> 1 };
            i += 1;
        }
        v
    }

    const FIRST_HALF: u64 = power(192 - 1);
    const SECOND_HALF: u64 = power(128 - 1);

    pub fn available() -> bool {
        is_x86_feature_detected!("pclmulqdq")
    }

    /// The checksum with the whole blocks of `bytes`, of which there is at least one, and what is left.
    pub fn update(crc: u64, bytes: &[u8]) -> (u64, &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        // SAFETY: `available` has been asked before.
        #[allow(unsafe_code)]
        (unsafe { fold(crc, blocks) }, rest)
    }

    #[allow(unsafe_code)]
    #[target_feature(enable = "pclmulqdq")]
    fn fold(crc: u64, blocks: &[[u8; BLOCK]]) -> u64 {
        // SAFETY: so many bytes may be read there, at any alignment.
        let load = |b: &[u8; BLOCK]| unsafe { _mm_loadu_si128(b.as_ptr().cast::<__m128i>()) };
        let constants = _mm_set_epi64x(SECOND_HALF as i64, FIRST_HALF as i64);
        let Some((first, others)) = blocks.split_first() else { return crc };
        let mut sum = _mm_xor_si128(load(first), _mm_set_epi64x(0, crc as i64));
        for block in others {
            let first_half = _mm_clmulepi64_si128::<0x00>(sum, constants);
            let second_half = _mm_clmulepi64_si128::<0x11>(sum, constants);
            sum = _mm_xor_si128(_mm_xor_si128(first_half, second_half), load(block));
        }
        let mut last = [0; BLOCK];
        // SAFETY: it has room for so many bytes.
        unsafe { _mm_storeu_si128(last.as_mut_ptr().cast::<__m128i>(), sum) };
        by_tables(0, &last)
    }
}

fn by_tables(mut crc: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    for w in &mut words {
        let mut le = [0; 8];
        le.copy_from_slice(w);
        let x = (crc ^ u64::from_le_bytes(le)).to_le_bytes();
        crc = 0;
        for (i, b) in x.into_iter().enumerate() {
            crc ^= TABLES[7 - i][usize::from(b)];
        }
    }
    for &b in words.remainder() {
        crc = TABLES[0][usize::from(crc as u8 ^ b)] ^ (crc >> 8);
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_value() {
        // The check value in the catalogue of CRCs.
        assert_eq!(update(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn folding_is_the_same_as_tables() {
        let bytes: Vec<u8> = (0..5000u32).map(|i| ((i * i * 31) >> 5) as u8).collect();
        for n in (0..300).chain([1024, 4096, 5000]) {
            for from in [0, 1, 7] {
                let part = &bytes[from.min(n)..n];
                assert_eq!(
                    update(0x0123_4567_89ab_cdef, part),
                    by_tables(0x0123_4567_89ab_cdef, part),
                    "{from} {n}"
                );
            }
        }
    }

    #[test]
    fn any_split_gives_the_same() {
        let bytes: Vec<u8> = (0..200u32).map(|i| (i * 7 % 251) as u8).collect();
        let whole = update(0, &bytes);
        for n in 0..bytes.len() {
            assert_eq!(update(update(0, &bytes[..n]), &bytes[n..]), whole);
        }
    }
}
