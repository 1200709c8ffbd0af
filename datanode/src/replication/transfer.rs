//! The replica's side: a snapshot that arrives.

use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{self, DiskFile};

/// Length of the mark that ends a snapshot of unknown length.
const EOF_MARK_LEN: usize = 40;
/// It is synced every so many bytes, as in Redis: nobody is served meanwhile.
const SYNC_EVERY: u64 = 8 << 20;

/// A snapshot being received into a file beside the old one.
pub(super) struct Transfer {
    pub(super) id: String,
    pub(super) offset: u64,
    pub(super) temp: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    /// Length where it was announced.
    left: Option<u64>,
    /// The mark that ends it otherwise.
    mark: Vec<u8>,
    /// The last bytes received: the mark may arrive in pieces.
    tail: Vec<u8>,
    received: u64,
    begun: bool,
}

impl Transfer {
    /// Of a snapshot of this history up to this offset, none of which has arrived yet.
    pub(super) fn new(id: String, offset: u64, temp: PathBuf, file: Arc<dyn DiskFile>) -> Self {
        let file = disk::synced_on_the_way(file, SYNC_EVERY);
        let (mark, tail) = (Vec::new(), Vec::new());
        Transfer { id, offset, temp, file, left: None, mark, tail, received: 0, begun: false }
    }

    /// Bytes received, and how many are missing where that is known.
    pub(super) fn progress(&self) -> (u64, Option<u64>) {
        (self.received, self.left)
    }

    /// Moves what belongs to the snapshot from `input` to the file; true when it is complete. What follows stays.
    pub(super) fn take(&mut self, input: &mut Vec<u8>) -> Result<bool, String> {
        if !self.begun {
            while input.first() == Some(&b'\n') {
                input.remove(0);
            }
            let Some(end) = input.windows(2).position(|w| w == b"\r\n") else {
                return if input.len() > 128 { Err("no snapshot header".into()) } else { Ok(false) };
            };
            let line: Vec<u8> = input.drain(..end + 2).collect();
            let line = &line[..end];
            if let Some(mark) = line.strip_prefix(b"$EOF:") {
                if mark.len() != EOF_MARK_LEN {
                    return Err("the snapshot's end mark has a wrong length".into());
                }
                self.mark = mark.to_vec();
            } else {
                let length = line.strip_prefix(b"$").and_then(crate::resp::parse::parse_i64);
                match length.and_then(|n| u64::try_from(n).ok()) {
                    Some(n) => self.left = Some(n),
                    None => return Err(format!("bad snapshot header {:?}", String::from_utf8_lossy(line))),
                }
            }
            self.begun = true;
        }
        match self.left {
            Some(left) => {
                let n = (input.len() as u64).min(left) as usize;
                self.store(&input[..n])?;
                input.drain(..n);
                self.left = Some(left - n as u64);
                Ok(left == n as u64)
            }
            None => {
                // The mark may be cut anywhere: the last bytes are kept back until more have come.
                self.tail.append(input);
                if let Some(at) = find(&self.tail, &self.mark) {
                    *input = self.tail.split_off(at + EOF_MARK_LEN);
                    self.tail.truncate(at);
                    let rest = std::mem::take(&mut self.tail);
                    self.store(&rest)?;
                    return Ok(true);
                }
                let keep = self.tail.len().min(EOF_MARK_LEN - 1);
                let rest: Vec<u8> = self.tail.drain(..self.tail.len() - keep).collect();
                self.store(&rest)?;
                Ok(false)
            }
        }
    }

    fn store(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.received += bytes.len() as u64;
        self.file.append(bytes).map_err(|e| format!("write error: {e}"))
    }
}

/// Where `needle` first is. After R. N. Horspool, "Practical fast searching in strings" (1980): the last byte of a place
/// that does not fit says how far the next one is that could, which for data and a mark of hex digits is mostly its length.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let Some((_, but_last)) = needle.split_last() else { return Some(0) };
    let mut step = [needle.len(); 256];
    for (i, &b) in but_last.iter().enumerate() {
        step[usize::from(b)] = but_last.len() - i;
    }
    let mut at = 0;
    while let Some(place) = haystack.get(at..at + needle.len()) {
        if place == needle {
            return Some(at);
        }
        at += step[usize::from(place[but_last.len()])];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::store::rng::Rng;

    #[test]
    fn the_mark_is_found_wherever_it_is() {
        let mut rng = Rng::new(3);
        for _ in 0..20_000 {
            let haystack: Vec<u8> = (0..rng.below(40)).map(|_| b'a' + rng.below(3) as u8).collect();
            let needle: Vec<u8> = (0..1 + rng.below(5)).map(|_| b'a' + rng.below(3) as u8).collect();
            let want = haystack.windows(needle.len()).position(|w| w == needle);
            assert_eq!(find(&haystack, &needle), want);
        }
    }
}
