//! The replication backlog: the newest bytes of the stream, for replicas that reconnect.

/// A ring of bytes that is addressed by replication offset.
///
/// Offsets count the stream's bytes from 1, as Redis does: the backlog holds the offsets `start ..= end`. It grows beyond
/// its size as long as somebody demands older bytes: so those who get a snapshot share what queues up behind it.
#[derive(Debug)]
pub struct Backlog {
    ring: Vec<u8>,
    /// What it holds while nothing more is demanded.
    size: usize,
    capacity: usize,
    /// The oldest offset that somebody is going to ask for.
    demanded: Option<u64>,
    /// Offset right behind the newest byte held.
    next: u64,
    /// Number of bytes held.
    len: usize,
}

impl Backlog {
    /// An empty backlog; the next byte appended will have the offset `next`.
    pub fn new(size: usize, next: u64) -> Self {
        let size = size.max(1);
        Backlog { ring: Vec::new(), size, capacity: size, demanded: None, next, len: 0 }
    }

    /// Offset of the oldest byte held.
    pub fn start(&self) -> u64 {
        self.next - self.len as u64
    }

    /// Number of bytes held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How much more that is than it was made for.
    pub fn excess(&self) -> usize {
        self.capacity.saturating_sub(self.size)
    }

    /// Says from which offset on everything is to be held, or that the usual is enough.
    pub fn demand(&mut self, from: Option<u64>) {
        self.demanded = from;
        let needed = self.needed(0).max(self.size);
        if self.capacity > self.size && needed < self.capacity / 2 {
            self.reshape(needed);
        }
    }

    /// Bytes to be held for those who demand it, with so many that are about to be appended.
    fn needed(&self, more: usize) -> usize {
        self.demanded.map_or(0, |from| (self.next - from.max(self.start())) as usize + more)
    }

    /// Appends the stream's next bytes; the oldest make room.
    pub fn append(&mut self, bytes: &[u8]) {
        let needed = self.needed(bytes.len());
        if needed > self.capacity {
            self.reshape(needed.next_power_of_two());
        }
        let kept = &bytes[bytes.len().saturating_sub(self.capacity)..];
        // Where the next byte goes follows from its offset, so that nothing else has to be remembered.
        let mut at = ((self.next + (bytes.len() - kept.len()) as u64) % self.capacity as u64) as usize;
        if self.ring.is_empty() {
            self.ring = vec![0; self.capacity];
        }
        let mut rest = kept;
        while !rest.is_empty() {
            let n = rest.len().min(self.capacity - at);
            self.ring[at..at + n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            at = (at + n) % self.capacity;
        }
        self.next += bytes.len() as u64;
        self.len = (self.len + bytes.len()).min(self.capacity);
    }

    /// True if everything from offset `from` on is held.
    pub fn reaches(&self, from: u64) -> bool {
        from >= self.start() && from <= self.next
    }

    /// Appends to `out` everything from offset `from` on; `from` must be within reach.
    pub fn copy_from(&self, from: u64, out: &mut Vec<u8>) {
        debug_assert!(self.reaches(from));
        let mut left = (self.next - from) as usize;
        let mut at = (from % self.capacity as u64) as usize;
        while left > 0 {
            let n = left.min(self.capacity - at);
            out.extend_from_slice(&self.ring[at..at + n]);
            left -= n;
            at = (at + n) % self.capacity;
        }
    }

    /// Changes the size and keeps the newest bytes.
    pub fn resize(&mut self, size: usize) {
        self.size = size.max(1);
        self.reshape(self.needed(0).max(self.size));
    }

    fn reshape(&mut self, capacity: usize) {
        let keep = self.len.min(capacity);
        let mut bytes = Vec::with_capacity(keep);
        self.copy_from(self.next - keep as u64, &mut bytes);
        let mut fresh = Backlog::new(capacity, self.next - keep as u64);
        fresh.append(&bytes);
        *self = Backlog { size: self.size, demanded: self.demanded, ..fresh };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rng::Rng;

    #[test]
    fn what_is_demanded_is_held_and_let_go_afterwards() {
        let mut b = Backlog::new(16, 1);
        b.append(&[0; 10]);
        b.demand(Some(11));
        let bytes: Vec<u8> = (0..200).collect();
        bytes.chunks(7).for_each(|chunk| b.append(chunk));
        let mut out = Vec::new();
        b.copy_from(11, &mut out);
        assert_eq!(out, bytes);
        assert_eq!(b.excess(), b.capacity() - 16);
        b.resize(32);
        assert!(b.reaches(11));
        b.demand(None);
        assert_eq!((b.capacity(), b.len(), b.excess()), (32, 32, 0));
        out.clear();
        b.copy_from(b.start(), &mut out);
        assert_eq!(out, bytes[168..]);
    }

    #[test]
    fn holds_the_newest_bytes_of_any_stream() {
        let mut rng = Rng::new(7);
        let (mut b, mut model) = (Backlog::new(64, 1), Vec::new());
        for step in 0..2000u32 {
            let bytes: Vec<u8> = (0..rng.below(100)).map(|i| (step as u8).wrapping_add(i as u8)).collect();
            b.append(&bytes);
            model.extend_from_slice(&bytes);
            if step % 97 == 0 {
                b.resize(32 + rng.below(100));
            }
            let from = model.len() - b.len();
            assert_eq!(b.start(), from as u64 + 1);
            let mut out = Vec::new();
            b.copy_from(b.start(), &mut out);
            assert_eq!(out, model[from..]);
            assert!(!b.reaches(b.start() - 1) && b.reaches(model.len() as u64 + 1));
        }
    }
}
