//! The CRC-64 that ends RDB files and DUMP payloads: Jones' polynomial, bits reflected, zero as initial value and no
//! final inversion.

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
pub fn update(mut crc: u64, bytes: &[u8]) -> u64 {
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
    fn any_split_gives_the_same() {
        let bytes: Vec<u8> = (0..200u32).map(|i| (i * 7 % 251) as u8).collect();
        let whole = update(0, &bytes);
        for n in 0..bytes.len() {
            assert_eq!(update(update(0, &bytes[..n]), &bytes[n..]), whole);
        }
    }
}
