//! The ids of a stream's entries: milliseconds and a number within them, written `ms-seq`.

/// An entry's id. Ids of a stream only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    /// Usually the time at which the entry was added, Unix milliseconds.
    pub ms: u64,
    /// Tells entries of one millisecond apart.
    pub seq: u64,
}

/// Bytes of an id in the files of Redis.
pub const ID_BYTES: usize = 16;
/// Longest written form: two numbers of 20 digits and what is between them.
const MAX_TEXT: usize = 41;

impl StreamId {
    /// The least id; no entry has it.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The largest id.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// An id of its parts.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The id right behind this one, if it is not the largest.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| StreamId { ms, seq: 0 }),
        }
    }

    /// The id right before this one, if it is not the least.
    pub fn prev(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| StreamId { ms, seq: u64::MAX }),
        }
    }

    /// As the files have it: both parts big-endian, so that bytes sort as ids do.
    pub fn to_bytes(self) -> [u8; ID_BYTES] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    /// The reverse of [`StreamId::to_bytes`].
    pub fn from_bytes(bytes: [u8; ID_BYTES]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId { ms: (both >> 64) as u64, seq: both as u64 }
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Room for an id's written form.
pub struct IdBuf([u8; MAX_TEXT]);

impl Default for IdBuf {
    fn default() -> Self {
        IdBuf::new()
    }
}

impl IdBuf {
    /// Fresh room.
    pub fn new() -> IdBuf {
        IdBuf([0; MAX_TEXT])
    }

    /// The written form of `id`.
    pub fn format(&mut self, id: StreamId) -> &[u8] {
        let at = self.digits(MAX_TEXT, id.seq) - 1;
        self.0[at] = b'-';
        let at = self.digits(at, id.ms);
        &self.0[at..]
    }

    /// Writes decimal digits that end before `end`; where they begin.
    fn digits(&mut self, mut end: usize, mut n: u64) -> usize {
        loop {
            end -= 1;
            self.0[end] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                return end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_bytes_and_text() {
        let ids = [
            (StreamId::new(5, 7), Some(StreamId::new(5, 8)), Some(StreamId::new(5, 6))),
            (StreamId::new(5, 0), Some(StreamId::new(5, 1)), Some(StreamId::new(4, u64::MAX))),
            (StreamId::new(5, u64::MAX), Some(StreamId::new(6, 0)), Some(StreamId::new(5, u64::MAX - 1))),
            (StreamId::MIN, Some(StreamId::new(0, 1)), None),
            (StreamId::MAX, None, Some(StreamId::new(u64::MAX, u64::MAX - 1))),
        ];
        for (id, next, prev) in ids {
            assert_eq!((id.next(), id.prev()), (next, prev));
            assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
            assert_eq!(IdBuf::new().format(id), id.to_string().as_bytes());
        }
        assert!(StreamId::new(1, 255).to_bytes() < StreamId::new(1, 256).to_bytes());
        assert!(StreamId::new(1, u64::MAX) < StreamId::new(2, 0));
    }
}
