//! Requests: RESP arrays of bulk strings, and inline commands as people type them.

pub use crate::store::num::parse_int as parse_i64;

/// Bounds on what a client may send before it is refused.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// `proto-max-bulk-len`, bytes.
    pub max_bulk: usize,
    /// Most arguments of one command.
    pub max_args: usize,
    /// Longest inline command or header line, bytes.
    pub max_inline: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { max_bulk: 512 * 1024 * 1024, max_args: 1024 * 1024, max_inline: 64 * 1024 }
    }
}

/// Before a client has authenticated it may not make the server allocate much (as Redis since 6.2.6).
pub const UNAUTHENTICATED_BOUNDS: Bounds =
    Bounds { max_bulk: 16 * 1024, max_args: 10, max_inline: 64 * 1024 };

/// Arguments of a request as ranges of the buffer they were parsed from; reused from request to request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ArgRanges(pub Vec<(usize, usize)>);

/// A request of which only the first part has arrived. Its reading goes on where it stopped, so that one that comes in many
/// pieces is not read from its start with each of them.
#[derive(Debug)]
pub struct Half {
    /// Where its next argument begins, counted from its own start.
    next: usize,
    /// Arguments that are missing.
    left: i64,
    /// Those that are there, counted from its own start.
    args: Vec<(usize, usize)>,
    /// Their bytes.
    held: usize,
}

impl Half {
    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Half>() + self.args.capacity() * size_of::<(usize, usize)>()
    }
}

/// With fewer arguments than that a request is read again: that costs less than keeping what was read.
const HALF_ARGS: usize = 16;

/// What the front of a buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request of `consumed` bytes; zero arguments mean an empty line, to be ignored.
    Request {
        /// Bytes to remove from the buffer once the request has been served.
        consumed: usize,
    },
    /// Nothing whole yet; `need` more bytes at least, where known (0 where not).
    Incomplete {
        /// Missing bytes, 0 if unknown.
        need: usize,
    },
    /// The stream cannot be understood any more: reply this text and close.
    Invalid(String),
}

/// Parses one request at `buf[from..]`. Argument ranges are absolute positions in `buf`. An inline request's words
/// are unquoted into `scratch`, and then the ranges are positions in `scratch` (`inline` is true).
pub fn request(buf: &[u8], from: usize, bounds: &Bounds, args: &mut ArgRanges) -> Parsed {
    args.0.clear();
    further_request(buf, from, bounds, args, &mut None)
}

/// As [`request`], but the ranges are added to those that are there. If there is no whole request, some may be left over.
/// `half` is what an earlier call has left there about the request at `from`; that is where it goes on.
pub fn further_request(
    buf: &[u8],
    from: usize,
    bounds: &Bounds,
    args: &mut ArgRanges,
    half: &mut Option<Box<Half>>,
) -> Parsed {
    if from >= buf.len() {
        return Parsed::Incomplete { need: 0 };
    }
    if let Some(mut h) = half.take() {
        let mut pos = from + h.next;
        let known = h.args.len();
        let stopped = arguments(buf, &mut pos, &mut h.left, bounds, from, &mut h.args);
        h.held += bytes_of(&h.args[known..]);
        if let Some(Parsed::Incomplete { .. }) = stopped {
            h.next = pos - from;
            *half = Some(h);
        } else {
            args.0.extend(h.args.iter().map(|&(a, b)| (from + a, from + b)));
        }
        return stopped.unwrap_or(Parsed::Request { consumed: pos - from });
    }
    debug_assert!(buf[from] == b'*', "inline requests go through `inline`");
    let mut pos = from + 1;
    let count = match header(buf, &mut pos, bounds.max_inline) {
        Header::Value(n) => n,
        Header::Incomplete => return Parsed::Incomplete { need: 0 },
        Header::TooLong => return Parsed::Invalid("ERR Protocol error: too big mbulk count string".into()),
        Header::Invalid => return Parsed::Invalid("ERR Protocol error: invalid multibulk length".into()),
    };
    if count > bounds.max_args as i64 {
        let what = if bounds.max_args <= UNAUTHENTICATED_BOUNDS.max_args {
            "unauthenticated multibulk length"
        } else {
            "invalid multibulk length"
        };
        return Parsed::Invalid(format!("ERR Protocol error: {what}"));
    }
    let (first, mut left) = (args.0.len(), count);
    let stopped = arguments(buf, &mut pos, &mut left, bounds, 0, &mut args.0);
    if let Some(Parsed::Incomplete { .. }) = stopped
        && args.0.len() - first >= HALF_ARGS
    {
        let args: Vec<_> = args.0.drain(first..).map(|(a, b)| (a - from, b - from)).collect();
        let held = bytes_of(&args);
        *half = Some(Box::new(Half { next: pos - from, left, args, held }));
    }
    stopped.unwrap_or(Parsed::Request { consumed: pos - from })
}

/// Reads the `left` arguments of a request from `*pos` on, and moves behind each that is there. `None` once all are; otherwise
/// why it stopped. The ranges are counted from `base`.
#[inline]
fn arguments(
    buf: &[u8],
    pos: &mut usize,
    left: &mut i64,
    bounds: &Bounds,
    base: usize,
    args: &mut Vec<(usize, usize)>,
) -> Option<Parsed> {
    while *left > 0 {
        let mut at = *pos;
        let Some(&mark) = buf.get(at) else { return Some(Parsed::Incomplete { need: 0 }) };
        if mark != b'$' {
            let c = char::from(mark);
            let text = format!("ERR Protocol error: expected '$', got '{}'", c.escape_default());
            return Some(Parsed::Invalid(text));
        }
        at += 1;
        let len = match header(buf, &mut at, bounds.max_inline) {
            Header::Value(n) if n >= 0 && n <= bounds.max_bulk as i64 => n as usize,
            Header::Value(n) if n > 0 && bounds.max_bulk <= UNAUTHENTICATED_BOUNDS.max_bulk => {
                return Some(Parsed::Invalid("ERR Protocol error: unauthenticated bulk length".into()));
            }
            Header::Incomplete => return Some(Parsed::Incomplete { need: 0 }),
            Header::TooLong => {
                return Some(Parsed::Invalid("ERR Protocol error: too big bulk count string".into()));
            }
            Header::Value(_) | Header::Invalid => {
                return Some(Parsed::Invalid("ERR Protocol error: invalid bulk length".into()));
            }
        };
        if buf.len() - at < len + 2 {
            return Some(Parsed::Incomplete { need: at + len + 2 - buf.len() });
        }
        args.push((at - base, at + len - base));
        *pos = at + len + 2;
        *left -= 1;
    }
    None
}

enum Header {
    Value(i64),
    Incomplete,
    Invalid,
    TooLong,
}

/// Reads `digits\r\n` at `*pos` and moves behind it.
fn header(buf: &[u8], pos: &mut usize, max: usize) -> Header {
    let rest = &buf[*pos..];
    // Nearly all are of one or two digits.
    match *rest {
        [a @ b'0'..=b'9', b'\r', b'\n', ..] => {
            *pos += 3;
            return Header::Value(i64::from(a - b'0'));
        }
        [a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => {
            *pos += 4;
            return Header::Value(i64::from(a - b'0') * 10 + i64::from(b - b'0'));
        }
        _ => {}
    }
    // Headers are short: a plain scan beats a search routine's set-up.
    let Some(len) = rest.iter().take(max + 1).position(|&b| b == b'\r') else {
        return if rest.len() > max { Header::TooLong } else { Header::Incomplete };
    };
    if len + 1 >= rest.len() {
        return Header::Incomplete;
    }
    let Some(n) = parse_i64(&rest[..len]) else { return Header::Invalid };
    *pos += len + 2;
    Header::Value(n)
}

/// How much of a request has arrived that is not whole yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of its whole arguments.
    pub arguments: usize,
    /// Where the argument begins that is not whole, behind its header if that is.
    pub behind: usize,
}

fn bytes_of(args: &[(usize, usize)]) -> usize {
    args.iter().map(|(a, b)| b - a).sum()
}

/// How far the request at the front of `buf` has arrived, of which `half` was read before. Of a whole one only the first
/// arguments are looked at.
pub fn progress(buf: &[u8], half: Option<&Half>) -> Progress {
    if let Some(half) = half {
        return Progress { arguments: half.held, behind: half.next.min(buf.len()) };
    }
    let mut found = Progress::default();
    let max = Bounds::default().max_inline;
    let mut pos = 1;
    if buf.first() != Some(&b'*') || !matches!(header(buf, &mut pos, max), Header::Value(_)) {
        return found;
    }
    found.behind = pos;
    for _ in 0..HALF_ARGS {
        if buf.get(pos) != Some(&b'$') {
            break;
        }
        pos += 1;
        let Header::Value(len) = header(buf, &mut pos, max) else { break };
        found.behind = pos;
        let Ok(len) = usize::try_from(len) else { break };
        if buf.len() - pos < len.saturating_add(2) {
            break;
        }
        pos += len + 2;
        found.arguments += len;
        found.behind = pos;
    }
    found
}

/// An inline request: the front line of `buf`, split into words.
pub enum Inline {
    /// Words, and the bytes the line took.
    Words(Vec<Vec<u8>>, usize),
    /// No whole line yet.
    Incomplete,
    /// Reply this and close.
    Invalid(String),
}

/// Parses an inline request at `buf[from..]`.
pub fn inline(buf: &[u8], from: usize, bounds: &Bounds) -> Inline {
    let rest = &buf[from..];
    let Some(end) = rest.iter().take(bounds.max_inline + 1).position(|&b| b == b'\n') else {
        return if rest.len() > bounds.max_inline {
            Inline::Invalid("ERR Protocol error: too big inline request".into())
        } else {
            Inline::Incomplete
        };
    };
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    match split_words(line) {
        Some(words) => Inline::Words(words, end + 1),
        None => Inline::Invalid("ERR Protocol error: unbalanced quotes in request".into()),
    }
}

/// Splits a line into words as Redis' inline commands and configuration files do: blanks separate, `"…"` with
/// backslash escapes (`\n \r \t \b \a \xHH`), `'…'` with `\'` only. `None` on unbalanced quotes.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut i = 0;
    loop {
        while i < line.len() && line[i].is_ascii_whitespace() {
            i += 1;
        }
        if i >= line.len() {
            return Some(words);
        }
        let mut word = Vec::new();
        while i < line.len() && !line[i].is_ascii_whitespace() {
            match line[i] {
                q @ (b'"' | b'\'') => {
                    i = quoted(line, i + 1, q, &mut word)?;
                    if i < line.len() && !line[i].is_ascii_whitespace() {
                        return None;
                    }
                }
                b => {
                    word.push(b);
                    i += 1;
                }
            }
        }
        words.push(word);
    }
}

/// Reads a quoted part from behind its opening quote; returns the position behind the closing one.
fn quoted(line: &[u8], mut i: usize, quote: u8, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match *line.get(i)? {
            b if b == quote => return Some(i + 1),
            b'\\' if quote == b'"' => {
                let hex = |k: usize| line.get(k).and_then(|&b| char::from(b).to_digit(16));
                match *line.get(i + 1)? {
                    b'x' if hex(i + 2).is_some() && hex(i + 3).is_some() => {
                        word.push((hex(i + 2)? * 16 + hex(i + 3)?) as u8);
                        i += 4;
                        continue;
                    }
                    b'n' => word.push(b'\n'),
                    b'r' => word.push(b'\r'),
                    b't' => word.push(b'\t'),
                    b'b' => word.push(8),
                    b'a' => word.push(7),
                    other => word.push(other),
                }
                i += 2;
            }
            b'\\' if line.get(i + 1) == Some(&b'\'') => {
                word.push(b'\'');
                i += 2;
            }
            b => {
                word.push(b);
                i += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte by byte, with another request in front of it.
    #[test]
    fn a_request_in_pieces_is_read_once() {
        let mut whole = b"*1\r\n$4\r\nPING\r\n".to_vec();
        let from = whole.len();
        whole.extend_from_slice(b"*40\r\n");
        (10..50).for_each(|i| whole.extend_from_slice(format!("$2\r\n{i}\r\n").as_bytes()));
        let (mut half, mut args) = (None, ArgRanges::default());
        for n in from..whole.len() {
            args.0.clear();
            let parsed = further_request(&whole[..n], from, &Bounds::default(), &mut args, &mut half);
            assert!(matches!(parsed, Parsed::Incomplete { .. }), "{n}");
            assert!(half.as_ref().is_none_or(|h| h.left + h.args.len() as i64 == 40), "{n}");
        }
        assert!(half.as_ref().is_some_and(|h| h.left == 1), "all but the last argument are known");
        args.0.clear();
        let parsed = further_request(&whole, from, &Bounds::default(), &mut args, &mut half);
        assert_eq!(parsed, Parsed::Request { consumed: whole.len() - from });
        let mut at_once = ArgRanges::default();
        request(&whole, from, &Bounds::default(), &mut at_once);
        assert_eq!((args.0, half.is_none()), (at_once.0, true));
    }

    fn parse(buf: &[u8]) -> (Parsed, Vec<Vec<u8>>) {
        let mut args = ArgRanges::default();
        let p = request(buf, 0, &Bounds::default(), &mut args);
        let words = args.0.iter().map(|&(a, b)| buf[a..b].to_vec()).collect();
        (p, words)
    }

    #[test]
    fn every_prefix_of_a_request_is_incomplete() {
        let whole = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n";
        for n in 1..whole.len() {
            assert!(matches!(parse(&whole[..n]).0, Parsed::Incomplete { .. }), "{n}");
        }
        let (p, words) = parse(whole);
        assert_eq!(p, Parsed::Request { consumed: whole.len() });
        assert_eq!(words, [b"SET".to_vec(), b"k".to_vec(), b"hello".to_vec()]);
    }

    #[test]
    fn garbage_is_refused_with_redis_texts() {
        let text = |b: &[u8]| match parse(b).0 {
            Parsed::Invalid(t) => t,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(b"*x\r\n"), "ERR Protocol error: invalid multibulk length");
        assert_eq!(text(b"*1\r\n:5\r\n"), "ERR Protocol error: expected '$', got ':'");
        assert_eq!(text(b"*1\r\n$-5\r\n"), "ERR Protocol error: invalid bulk length");
        assert_eq!(text(b"*99999999\r\n"), "ERR Protocol error: invalid multibulk length");
        assert_eq!(text(b"*1\r\n$999999999999\r\n"), "ERR Protocol error: invalid bulk length");
    }

    #[test]
    fn integers_are_canonical() {
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        for bad in [&b"9223372036854775808"[..], b"", b"-", b"+1", b"01", b"-0", b" 1", b"1 "] {
            assert_eq!(parse_i64(bad), None);
        }
    }

    #[test]
    fn words_and_quotes() {
        let w = |s: &str| split_words(s.as_bytes());
        assert_eq!(w(r#"set  k "a b\x41\n""#).unwrap()[2], b"a bA\n");
        assert_eq!(w(r"'it\'s'").unwrap()[0], b"it's");
        assert_eq!(w("   ").unwrap().len(), 0);
        assert!(w(r#""open"#).is_none());
        assert!(w(r#""a"b"#).is_none());
    }
}
