//! Zeros at a log's end are no part of it. After a loss of power a file can be longer than what was written of it: the
//! system had noted its new length, but the data had not reached the disk. No log ends in a zero byte by itself.

use std::io::{self, Read};

/// Reads what comes before the zeros at the end.
pub struct WithoutZeros<R> {
    inner: R,
    /// Zeros that have been read: the end, as long as nothing else follows.
    zeros: u64,
    /// Zeros that were not the end, and what follows them: given next.
    owed: u64,
    behind: io::Cursor<Vec<u8>>,
}

impl<R: Read> WithoutZeros<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> Self {
        WithoutZeros { inner, zeros: 0, owed: 0, behind: io::Cursor::default() }
    }

    /// There are zeros behind what has been read.
    pub fn has_zeros(&self) -> bool {
        self.zeros > 0
    }
}

impl<R: Read> Read for WithoutZeros<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.owed > 0 {
                let n = out.len().min(usize::try_from(self.owed).unwrap_or(usize::MAX));
                out[..n].fill(0);
                self.owed -= n as u64;
                return Ok(n);
            }
            let n = self.behind.read(out)?;
            if n > 0 {
                return Ok(n);
            }
            let n = self.inner.read(out)?;
            let content = out[..n].iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            let before = std::mem::replace(&mut self.zeros, (n - content) as u64);
            match (content, before) {
                (0, _) => {
                    self.zeros += before;
                    if n == 0 {
                        return Ok(0);
                    }
                }
                (_, 0) => return Ok(content),
                _ => {
                    self.owed = before;
                    self.behind = io::Cursor::new(out[..content].to_vec());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zeros_at_the_end_are_left_out() {
        for (bytes, without) in [
            (b"".as_slice(), b"".as_slice()),
            (b"ab", b"ab"),
            (b"\0\0\0\0\0", b""),
            (b"a\0\0b\0\0\0c\0", b"a\0\0b\0\0\0c"),
            (b"\0a\n\0\0\0\0\0\0\0", b"\0a\n"),
        ] {
            for piece in 1..=bytes.len() + 1 {
                let mut reader = WithoutZeros::new(bytes);
                let (mut out, mut buffer) = (Vec::new(), vec![0; piece]);
                loop {
                    match reader.read(&mut buffer).unwrap() {
                        0 => break,
                        n => out.extend_from_slice(&buffer[..n]),
                    }
                }
                assert_eq!(out, without, "by {piece}");
                assert_eq!(reader.has_zeros(), bytes.ends_with(b"\0"));
            }
        }
    }
}
