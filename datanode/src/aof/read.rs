//! Reads a log file: commands one after the other, with the offset up to which the file is whole.
//!
//! A log that a crash cut off ends in the middle of a command, or of a transaction, or in zeros: that is
//! [`ReadError::Truncated`] and can be mended by cutting the file at `valid`. Anything else that is not a command is [`ReadError::Corrupt`]. The
//! commands of a transaction are given only once its EXEC has been read, so none of an unfinished one is ever executed.
//! Every file starts in database 0.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

use super::zeros::WithoutZeros;
use crate::command::OwnedArgs;
use crate::resp::parse::parse_i64;

const BUFFER: usize = 256 * 1024;
/// Longest `*N` or `$N` line.
const MAX_HEADER: u64 = 64;
/// Longest annotation line.
const MAX_ANNOTATION: u64 = 1024;
/// Most arguments of a command: what Redis takes from clients, and so may have logged.
const MAX_ARGS: i64 = i32::MAX as i64;
/// Arguments are read in pieces of this size, so that a wrong length costs no memory.
const PIECE: u64 = 1024 * 1024;

/// A command with its arguments.
pub type Command = OwnedArgs;

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source failed.
    #[error("cannot read the AOF at byte {offset}: {source}")]
    Io {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file ends too early.
    #[error(
        "Unexpected end of file reading the append only file: byte {offset} is in the middle of a {what}; it is whole up \
         to byte {valid}"
    )]
    Truncated {
        /// Length of the file.
        offset: u64,
        /// Where to cut it.
        valid: u64,
        /// "command" or "transaction".
        what: &'static str,
    },
    /// What is there is not a command.
    #[error(
        "Bad file format reading the append only file at byte {offset}: {what}; it is whole up to byte {valid}"
    )]
    Corrupt {
        /// Where the bad part starts.
        offset: u64,
        /// Up to where all is well.
        valid: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// One element of a log as it is written.
#[derive(Debug, PartialEq, Eq)]
pub enum Element {
    /// A command, MULTI and EXEC too.
    Command(Command),
    /// `#TS:` in seconds since the Unix epoch.
    Timestamp(i64),
    /// Another annotation: the line without `#` and its end.
    Annotation(Vec<u8>),
}

/// Reads one file.
pub struct LogReader<R> {
    inner: BufReader<WithoutZeros<R>>,
    offset: u64,
    lines: u64,
    valid: u64,
    /// `valid` before the latest element.
    before: u64,
    in_multi: bool,
    /// Room that the next command is likely to need: as much as the one before.
    room: (usize, usize),
    ready: VecDeque<Command>,
    /// The latest annotation that is no timestamp, and the offset right behind it.
    annotation: Option<(Vec<u8>, u64)>,
}

/// A reader of whose bytes the first have been looked at.
pub type Peeked<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// Whether a file starts with an RDB preamble, and the reader with nothing taken from it.
pub fn starts_with_rdb<R: Read>(mut inner: R) -> io::Result<(bool, Peeked<R>)> {
    const MAGIC: &[u8] = b"REDIS";
    let mut head = Vec::with_capacity(MAGIC.len());
    inner.by_ref().take(MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok((head == MAGIC, io::Cursor::new(head).chain(inner)))
}

impl<R: Read> LogReader<R> {
    /// Reads from `inner`, which stands at byte `offset` of its file (behind an RDB preamble, or 0).
    pub fn new(inner: R, offset: u64) -> Self {
        LogReader {
            inner: BufReader::with_capacity(BUFFER, WithoutZeros::new(inner)),
            offset,
            lines: 0,
            valid: offset,
            before: offset,
            in_multi: false,
            room: (0, 0),
            ready: VecDeque::new(),
            annotation: None,
        }
    }

    /// Up to where the file is whole, as far as it has been read: a place between commands, outside of transactions.
    pub fn valid(&self) -> u64 {
        self.valid
    }

    /// The line that is read next, or that cannot be read, counted from 1.
    pub fn next_line(&self) -> u64 {
        self.lines + 1
    }

    /// Where to cut the file to be rid of the latest element and what follows, but of no half transaction.
    pub fn before_latest(&self) -> u64 {
        self.before
    }

    /// The latest annotation that [`LogReader::next_command`] has passed (timestamps aside), without its `#`, and the
    /// offset right behind it.
    pub fn annotation(&self) -> Option<(&[u8], u64)> {
        self.annotation.as_ref().map(|(line, offset)| (line.as_slice(), *offset))
    }

    /// The next command to execute, `None` at the file's end. MULTI and EXEC themselves are not given.
    pub fn next_command(&mut self) -> Result<Option<Command>, ReadError> {
        while self.ready.is_empty() || self.in_multi {
            let was_open = self.in_multi;
            match self.next_element()? {
                None => return Ok(None),
                Some(Element::Command(command)) if was_open == self.in_multi => self.ready.push_back(command),
                Some(Element::Annotation(line)) => self.annotation = Some((line, self.offset)),
                Some(_) => {}
            }
        }
        Ok(self.ready.pop_front())
    }

    /// The next element as it is written, `None` at the file's end.
    pub fn next_element(&mut self) -> Result<Option<Element>, ReadError> {
        let start = self.offset;
        self.before = self.valid;
        let corrupt = |me: &Self, what| ReadError::Corrupt { offset: start, valid: me.valid, what };
        let element = match self.peek()? {
            None if self.in_multi => return Err(self.truncated("transaction")),
            None if self.inner.get_ref().has_zeros() => return Err(self.truncated("command")),
            None => return Ok(None),
            Some(b'#') => {
                let line = self.line(MAX_ANNOTATION, start, "the annotation is too long")?;
                match line.strip_prefix(b"TS:") {
                    None => Element::Annotation(line),
                    Some(digits) => {
                        let time = parse_i64(digits);
                        Element::Timestamp(
                            time.ok_or_else(|| corrupt(self, "the timestamp is not a number"))?,
                        )
                    }
                }
            }
            Some(b'*') => {
                let command = self.command(start)?;
                let is = |name: &[u8]| {
                    command.as_args().len() == 1 && command.as_args().at(0).eq_ignore_ascii_case(name)
                };
                match (is(b"MULTI"), is(b"EXEC"), self.in_multi) {
                    (true, _, true) => return Err(corrupt(self, "MULTI inside of a transaction")),
                    (_, true, false) => return Err(corrupt(self, "EXEC without MULTI")),
                    (true, ..) => self.in_multi = true,
                    (_, true, _) => self.in_multi = false,
                    _ => {}
                }
                Element::Command(command)
            }
            Some(_) => return Err(corrupt(self, "a command is expected")),
        };
        if !self.in_multi {
            self.valid = self.offset;
        }
        Ok(Some(element))
    }

    fn command(&mut self, start: u64) -> Result<Command, ReadError> {
        let corrupt = |me: &Self, what| ReadError::Corrupt { offset: start, valid: me.valid, what };
        let count = self.number(start, "the number of arguments does not end")?;
        let Some(count) = count.filter(|n| (1..=MAX_ARGS).contains(n)) else {
            return Err(corrupt(self, "invalid number of arguments"));
        };
        let mut command = OwnedArgs::with_room(self.room.0, self.room.1);
        for _ in 0..count {
            match self.peek()? {
                None => return Err(self.truncated("command")),
                Some(b'$') => {}
                Some(_) => return Err(corrupt(self, "`$` is expected before an argument")),
            }
            let len = self.number(start, "an argument's length does not end")?;
            let Some(len) = len.filter(|&n| n >= 0) else {
                return Err(corrupt(self, "invalid length of an argument"));
            };
            if !self.argument(len as u64, &mut command)? {
                return Err(corrupt(self, "an argument does not end where its length says"));
            }
            self.lines += 1;
        }
        const MOST: usize = 4096;
        let args = command.as_args();
        self.room = (args.bytes().min(MOST), args.len().min(MOST));
        Ok(command)
    }

    /// The number in a line behind its first byte; none if it is not one.
    fn number(&mut self, start: u64, too_long: &'static str) -> Result<Option<i64>, ReadError> {
        // Usually the whole line has been read already.
        let ahead = self.inner.buffer();
        let ahead = &ahead[..ahead.len().min(MAX_HEADER as usize)];
        let Some(end) = ahead.iter().position(|&b| b == b'\n').filter(|&end| end > 0) else {
            return Ok(parse_i64(&self.line(MAX_HEADER, start, too_long)?));
        };
        let line = &ahead[1..end];
        let number = parse_i64(line.strip_suffix(b"\r").unwrap_or(line));
        self.consume(end + 1);
        self.lines += 1;
        Ok(number)
    }

    /// Adds an argument of so many bytes; false if it does not end there.
    fn argument(&mut self, len: u64, command: &mut Command) -> Result<bool, ReadError> {
        let all = usize::try_from(len).ok().and_then(|n| self.inner.buffer().get(..n.checked_add(2)?));
        if let Some(all) = all {
            let (arg, end) = all.split_at(all.len() - 2);
            command.push(arg);
            let ended = end == b"\r\n";
            self.consume(len as usize + 2);
            return Ok(ended);
        }
        command.push(&self.bytes(len)?);
        let mut end = [0; 2];
        self.exact(&mut end)?;
        Ok(end == *b"\r\n")
    }

    /// Goes on behind bytes that have been looked at in the buffer.
    fn consume(&mut self, bytes: usize) {
        self.inner.consume(bytes);
        self.offset += bytes as u64;
    }

    fn io(&self, source: io::Error) -> ReadError {
        ReadError::Io { offset: self.offset, source }
    }

    fn truncated(&self, what: &'static str) -> ReadError {
        ReadError::Truncated { offset: self.offset, valid: self.valid, what }
    }

    fn peek(&mut self) -> Result<Option<u8>, ReadError> {
        loop {
            match self.inner.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.io(e)),
            }
        }
    }

    /// What follows the line's first byte, without the line's end (CR LF, or LF alone).
    fn line(&mut self, max: u64, start: u64, too_long: &'static str) -> Result<Vec<u8>, ReadError> {
        let mut line = Vec::new();
        let outcome = self.inner.by_ref().take(max).read_until(b'\n', &mut line);
        self.offset += line.len() as u64;
        outcome.map_err(|e| self.io(e))?;
        if line.pop_if(|b| *b == b'\n').is_none() {
            return Err(if line.len() as u64 == max {
                ReadError::Corrupt { offset: start, valid: self.valid, what: too_long }
            } else {
                self.truncated("command")
            });
        }
        line.pop_if(|b| *b == b'\r');
        self.lines += 1;
        line.remove(0);
        Ok(line)
    }

    fn exact(&mut self, out: &mut [u8]) -> Result<(), ReadError> {
        let mut filled = 0;
        while filled < out.len() {
            match self.inner.read(&mut out[filled..]) {
                Ok(0) => return Err(self.truncated("command")),
                Ok(n) => {
                    filled += n;
                    self.offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.io(e)),
            }
        }
        Ok(())
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, ReadError> {
        let mut out = Vec::new();
        let mut left = len;
        while left > 0 {
            let n = left.min(PIECE) as usize;
            let at = out.len();
            out.resize(at + n, 0);
            self.exact(&mut out[at..])?;
            left -= n as u64;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode_command;

    fn log(commands: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for c in commands {
            if c.starts_with('#') {
                out.extend_from_slice(c.as_bytes());
                out.extend_from_slice(b"\r\n");
            } else {
                encode_command(&mut out, &c.split(' ').collect::<Vec<_>>());
            }
        }
        out
    }

    fn read(bytes: &[u8]) -> (Vec<String>, Result<u64, ReadError>) {
        let mut reader = LogReader::new(bytes, 0);
        let mut seen = Vec::new();
        loop {
            match reader.next_command() {
                Ok(None) => return (seen, Ok(reader.valid())),
                Ok(Some(c)) => {
                    let words: Vec<_> =
                        c.as_args().iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect();
                    seen.push(words.join(" "));
                }
                Err(e) => return (seen, Err(e)),
            }
        }
    }

    #[test]
    fn a_whole_log() {
        let bytes = log(&[
            "#TS:12", "SELECT 0", "set k v", "#other", "multi", "del k", "#TS:13", "incr n", "EXEC", "x y",
        ]);
        let (seen, end) = read(&bytes);
        assert_eq!(seen, ["SELECT 0", "set k v", "del k", "incr n", "x y"]);
        assert_eq!(end.unwrap(), bytes.len() as u64);
    }

    #[test]
    fn every_cut_is_seen_and_says_where_to_cut() {
        let parts = [
            (log(&["set a 1"]), 1),
            (log(&["#TS:1"]), 1),
            (log(&["MULTI", "set b 2", "set c 3", "EXEC"]), 3),
            (log(&["set d 4"]), 4),
        ];
        let bytes: Vec<u8> = parts.iter().flat_map(|(b, _)| b.clone()).collect();
        for cut in 0..=bytes.len() {
            let (mut valid, mut count) = (0, 0);
            for (part, commands) in &parts {
                if valid + part.len() > cut {
                    break;
                }
                (valid, count) = (valid + part.len(), *commands);
            }
            let (seen, end) = read(&bytes[..cut]);
            assert_eq!(seen.len(), count, "{cut}");
            match end {
                Ok(at) => assert_eq!((at, valid), (cut as u64, cut)),
                Err(ReadError::Truncated { offset, valid: v, .. }) => {
                    assert!(cut > valid);
                    assert_eq!((offset, v), (cut as u64, valid as u64));
                }
                Err(e) => panic!("{cut}: {e}"),
            }
        }
    }

    #[test]
    fn garbage_is_told_from_truncation() {
        let good = log(&["set a 1"]);
        for bad in [
            "garbage",
            "\0\0\0\0",
            "*0\r\n",
            "*x\r\n",
            "*-1\r\n",
            "*2147483648\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n$-1\r\n",
            "*1\r\n$1\r\nab\r\n",
            "*1\r\n$4\r\nEXEC\r\n",
            "#TS:x\r\n",
            "set a 1\r\n",
        ] {
            let bytes = [good.clone(), bad.as_bytes().to_vec(), good.clone()].concat();
            match read(&bytes) {
                (seen, Err(ReadError::Corrupt { offset, valid, .. })) => {
                    assert_eq!(
                        (seen.len(), offset, valid),
                        (1, good.len() as u64, good.len() as u64),
                        "{bad:?}"
                    );
                }
                other => panic!("{bad:?}: {other:?}"),
            }
        }
        let nested = log(&["set a 1", "MULTI", "set b 1", "MULTI", "EXEC"]);
        assert!(
            matches!(read(&nested).1, Err(ReadError::Corrupt { valid, .. }) if valid == good.len() as u64)
        );
    }

    #[test]
    fn lengths_are_not_trusted() {
        let mut bytes = log(&["set a 1"]);
        bytes.extend_from_slice(b"*1\r\n$9223372036854775807\r\nabc");
        assert!(matches!(read(&bytes).1, Err(ReadError::Truncated { valid, .. }) if valid == 27));
        let endless = [b"*".to_vec(), vec![b'1'; 1000]].concat();
        assert!(matches!(read(&endless).1, Err(ReadError::Corrupt { offset: 0, .. })));
    }

    #[test]
    fn preamble_is_detected_and_nothing_is_lost() {
        for (text, is) in [("REDIS0010rest", true), ("*1\r\n", false), ("REDI", false), ("", false)] {
            let (rdb, mut rest) = starts_with_rdb(text.as_bytes()).unwrap();
            let mut all = String::new();
            rest.read_to_string(&mut all).unwrap();
            assert_eq!((rdb, all.as_str()), (is, text));
        }
    }

    #[test]
    fn no_mutation_makes_it_panic() {
        let bytes = log(&[
            "#TS:12",
            "SELECT 0",
            "set k v",
            "multi",
            "del k",
            "incr n",
            "EXEC",
            "lpush l a b c d e f",
        ]);
        let mut random = 0x9e37_79b9u32;
        let mut next = move |n: usize| {
            random = random.wrapping_mul(1664525).wrapping_add(1013904223);
            (random >> 8) as usize % n
        };
        let (mut good, mut bad) = (0, 0);
        for _ in 0..10_000 {
            let mut mutant = bytes.clone();
            for _ in 0..=next(3) {
                let at = next(mutant.len());
                match next(3) {
                    0 => mutant[at] = b"0123456789*$#\r\n-MX\0\xff"[next(20)],
                    1 => drop(mutant.remove(at)),
                    _ => mutant.insert(at, b"0123456789*$#\r\n-MX\0\xff"[next(20)]),
                }
            }
            let (_, end) = read(&mutant);
            match end {
                Ok(_) => good += 1,
                Err(
                    ReadError::Truncated { offset, valid, .. } | ReadError::Corrupt { offset, valid, .. },
                ) => {
                    assert!(valid <= offset && offset <= mutant.len() as u64);
                    // What is called whole is whole.
                    assert_eq!(read(&mutant[..valid as usize]).1.unwrap(), valid);
                    bad += 1;
                }
                Err(e) => panic!("{e}"),
            }
        }
        assert!(good > 100 && bad > 5_000, "{good} {bad}");
    }
}
