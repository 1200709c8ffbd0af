//! The manifest of a multi-part AOF: which files, in which order, make up the log.
//!
//! One file a line, `file NAME seq N type T` with T of b (base), h (history: replaced, to be deleted) or i
//! (incremental). Names with unusual characters are quoted; `#` starts a comment line. Anything else out of order is an
//! error with its line number: a log that is understood by half must not be loaded.

use std::path::{Component, Path};

use crate::config::value::quote;
use crate::resp::parse::{parse_i64, split_words};

/// Longest line, its newline included.
const MAX_LINE: usize = 1024;

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name in the AOF directory.
    pub name: String,
    /// Its number; 1 or more.
    pub seq: i64,
}

/// The files of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The dataset the log starts from.
    pub base: Option<Part>,
    /// Files that have been replaced and wait to be deleted.
    pub history: Vec<Part>,
    /// What happened since, oldest first.
    pub incr: Vec<Part>,
}

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("AOF manifest, line {line}: {what}")]
pub struct ManifestError {
    /// Counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl Manifest {
    /// Reads a manifest file's content.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        if bytes.is_empty() {
            return Err(ManifestError { line: 0, what: "Found an empty AOF manifest" });
        }
        let mut manifest = Manifest::default();
        for (i, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
            manifest.add_line(line).map_err(|what| ManifestError { line: i + 1, what })?;
        }
        Ok(manifest)
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if line.len() > MAX_LINE {
            return Err("The AOF manifest file contains too long line");
        }
        if line.starts_with(b"#") {
            return Ok(());
        }
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err("The AOF manifest file contains a line that does not end: it may have been cut");
        };
        let words = split_words(line).ok_or("Invalid AOF manifest file format: unbalanced quotes")?;
        if words.len() < 6 || words.len() % 2 == 1 {
            return Err("Invalid AOF manifest file format: expected `file NAME seq NUMBER type b|h|i`");
        }
        let (mut name, mut seq, mut kind) = (None, None, None);
        // Further pairs may be added by later versions of Redis.
        for pair in words.chunks_exact(2) {
            match pair[0].to_ascii_lowercase().as_slice() {
                b"file" => {
                    name = Some(plain_name(&pair[1]).ok_or("File can't be a path, just a plain file name")?)
                }
                b"seq" => {
                    let n = parse_i64(&pair[1]).filter(|&n| n > 0);
                    seq = Some(n.ok_or(
                        "Invalid AOF manifest file format: the sequence number is not a positive integer",
                    )?);
                }
                b"type" => kind = Some(pair[1].as_slice()),
                _ => {}
            }
        }
        let part = Part {
            name: name.ok_or("Invalid AOF manifest file format: `file` is missing")?,
            seq: seq.ok_or("Invalid AOF manifest file format: `seq` is missing")?,
        };
        match kind.ok_or("Invalid AOF manifest file format: `type` is missing")? {
            b"b" if self.base.is_some() => return Err("Found duplicate base file information"),
            b"b" => self.base = Some(part),
            b"h" => self.history.push(part),
            b"i" if self.incr.last().is_some_and(|last| last.seq >= part.seq) => {
                return Err("Found a non-monotonic sequence number");
            }
            b"i" => self.incr.push(part),
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The file content that [`Manifest::parse`] reads, in the order that Redis writes: base, history, incremental.
    pub fn format(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let base = self.base.iter().map(|p| (p, 'b'));
        let history = self.history.iter().map(|p| (p, 'h'));
        let incr = self.incr.iter().map(|p| (p, 'i'));
        for (part, kind) in base.chain(history).chain(incr) {
            out.extend_from_slice(b"file ");
            put_name(&mut out, part.name.as_bytes());
            out.extend_from_slice(format!(" seq {} type {kind}\n", part.seq).as_bytes());
        }
        out
    }

    /// Whether there is nothing to load.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incr.is_empty()
    }
}

fn plain_name(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?;
    let mut parts = Path::new(name).components();
    let plain = matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none();
    (plain && !name.contains('/')).then(|| name.to_owned())
}

fn put_name(out: &mut Vec<u8>, name: &[u8]) {
    let unusual = |b: &u8| !b.is_ascii_graphic() || matches!(b, b'"' | b'\'' | b'\\');
    if !name.iter().any(unusual) {
        out.extend_from_slice(name);
        return;
    }
    out.extend_from_slice(quote(name).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, seq: i64) -> Part {
        Part { name: name.into(), seq }
    }

    #[test]
    fn what_redis_writes_is_read_and_written_alike() {
        let text = b"file a.aof.2.base.rdb seq 2 type b\nfile a.aof.1.base.rdb seq 1 type h\n\
                     file a.aof.1.incr.aof seq 1 type h\nfile a.aof.2.incr.aof seq 2 type i\n\
                     file a.aof.3.incr.aof seq 3 type i\n";
        let m = Manifest::parse(text).unwrap();
        assert_eq!(m.base, Some(part("a.aof.2.base.rdb", 2)));
        assert_eq!(m.history.len(), 2);
        assert_eq!(m.incr, [part("a.aof.2.incr.aof", 2), part("a.aof.3.incr.aof", 3)]);
        assert_eq!(m.format(), text);
    }

    #[test]
    fn names_are_quoted() {
        let m = Manifest { incr: vec![part("a \"b\"\\ü.aof", 7)], ..Manifest::default() };
        assert_eq!(m.format(), b"file \"a \\\"b\\\"\\\\\\xc3\\xbc.aof\" seq 7 type i\n");
        assert_eq!(Manifest::parse(&m.format()).unwrap(), m);
    }

    #[test]
    fn order_of_words_comments_and_additions_do_not_matter() {
        let m = Manifest::parse(b"# made by hand\ntype i SEQ 3  file x startoffset 7\r\n#").unwrap();
        assert_eq!(m.incr, [part("x", 3)]);
    }

    #[test]
    fn any_error_names_its_line() {
        let long = format!("file {} seq 1 type b\n", "x".repeat(MAX_LINE));
        for (text, line, what) in [
            ("", 0, "empty"),
            ("#c\n\n", 2, "expected"),
            ("file a seq 1\n", 1, "expected"),
            ("file a seq 1 type b other\n", 1, "expected"),
            ("file a seq 1 type b", 1, "cut"),
            ("file ../a seq 1 type b\n", 1, "plain"),
            ("file .. seq 1 type b\n", 1, "plain"),
            ("file a/ seq 1 type b\n", 1, "plain"),
            ("file \"\" seq 1 type b\n", 1, "plain"),
            ("file \"a seq 1 type b\n", 1, "quotes"),
            ("file a seq 0 type b\n", 1, "sequence"),
            ("file a seq x type b\n", 1, "sequence"),
            ("file a seq 1 type x\n", 1, "Unknown AOF"),
            ("file a seq 1 tipe b\n", 1, "missing"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", 2, "duplicate base"),
            ("file a seq 2 type i\nfile b seq 2 type i\n", 2, "non-monotonic"),
            (&long, 1, "too long"),
        ] {
            let e = Manifest::parse(text.as_bytes()).unwrap_err();
            assert_eq!(e.line, line, "{text}");
            assert!(e.what.contains(what), "{text}: {e}");
        }
    }
}
