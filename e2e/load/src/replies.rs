//! Counts replies in what a server sends, without keeping them.

use datanode::resp::parse::parse_i64;

/// Where in the stream of replies a connection is.
#[derive(Debug)]
pub struct Replies {
    /// Bytes of a bulk string, with its end, that are still to come.
    skip: usize,
    /// Values missing from the reply that is being received.
    open: usize,
    /// A line whose end has not come yet.
    line: Vec<u8>,
    /// Error replies so far.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
}

impl Default for Replies {
    fn default() -> Self {
        Replies { skip: 0, open: 1, line: Vec::new(), errors: 0, first_error: None }
    }
}

impl Replies {
    /// Takes what has come; how many replies it completes.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<usize, String> {
        let mut complete = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = &bytes[n..];
                complete += usize::from(self.skip == 0 && self.value());
                continue;
            }
            // Lines are short, so that a plain search is the fastest.
            let Some(end) = bytes.iter().position(|&b| b == b'\n') else {
                self.line.extend_from_slice(bytes);
                break;
            };
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            let done = if self.line.is_empty() {
                self.header(line)?
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.header(&whole)?
            };
            complete += usize::from(done);
        }
        Ok(complete)
    }

    /// A value is complete; true if the reply is.
    fn value(&mut self) -> bool {
        self.open -= 1;
        if self.open == 0 {
            self.open = 1;
            return true;
        }
        false
    }

    fn header(&mut self, line: &[u8]) -> Result<bool, String> {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        let length = || parse_i64(&text[1..]).ok_or_else(|| format!("not a length: {}", text.escape_ascii()));
        match text.first() {
            Some(b'+' | b':' | b'_' | b',' | b'#' | b'(') => {}
            Some(b'-') => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| String::from_utf8_lossy(&text[1..]).into_owned());
            }
            Some(b'$' | b'=') => {
                let n = length()?;
                if n >= 0 {
                    self.skip = n as usize + 2;
                    return Ok(false);
                }
            }
            Some(&kind @ (b'*' | b'~' | b'>' | b'%')) => {
                let values = length()?.max(0) as usize * if kind == b'%' { 2 } else { 1 };
                self.open += values;
            }
            _ => return Err(format!("not a reply: {}", text.escape_ascii())),
        }
        Ok(self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_however_they_are_cut() {
        let stream = b"+OK\r\n:1\r\n$3\r\na\nb\r\n$-1\r\n*2\r\n$1\r\nx\r\n*1\r\n:5\r\n*0\r\n*-1\r\n-ERR no\r\n%1\r\n+a\r\n+b\r\n$0\r\n\r\n";
        for chunk in 1..stream.len() {
            let mut replies = Replies::default();
            let n: usize = stream.chunks(chunk).map(|c| replies.feed(c).unwrap()).sum();
            assert_eq!(
                (n, replies.errors, replies.first_error.as_deref()),
                (10, 1, Some("ERR no")),
                "{chunk}"
            );
        }
        assert!(Replies::default().feed(b"what\r\n").is_err());
    }
}
