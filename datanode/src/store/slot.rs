//! Hash slots of Redis Cluster: CRC16 (XMODEM) of the key, or of what is between its first `{` and the next `}`.

/// Number of hash slots.
pub const SLOTS: u16 = 16384;

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

fn crc16(b: &[u8]) -> u16 {
    b.iter().fold(0, |crc, &x| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ x)])
}

/// The slot of a key (CLUSTER KEYSLOT).
pub fn key_slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&b| b == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&b| b == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-16/XMODEM, and what redis-server 7.0 answers to CLUSTER KEYSLOT.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, slot) in [
            ("", 0),
            ("foo", 12182),
            ("user:1000", 1649),
            ("{user1000}.following", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
            ("a}b{c}", 7365),
            ("{", 4092),
        ] {
            assert_eq!(key_slot(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(key_slot(b"{user}.a"), key_slot(b"user"));
        assert_eq!(key_slot(b"x{}y"), crc16(b"x{}y") % SLOTS);
    }
}
