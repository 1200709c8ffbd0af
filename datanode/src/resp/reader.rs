//! Replies as a client reads them: for links to a master, between sentinels, to datanodes, and for tools.

/// A reply of either protocol version.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `+text`
    Simple(String),
    /// `-CODE text`
    Error(String),
    /// `:n`
    Int(i64),
    /// A bulk string.
    Bulk(Vec<u8>),
    /// A RESP3 verbatim string, without the name of its format.
    Verbatim(Vec<u8>),
    /// Null of any kind.
    Null,
    /// An array.
    Array(Vec<Value>),
    /// A RESP3 set.
    Set(Vec<Value>),
    /// A RESP3 push message.
    Push(Vec<Value>),
    /// A RESP3 map.
    Map(Vec<(Value, Value)>),
    /// A RESP3 double or big number, as it was written.
    Number(String),
    /// A RESP3 boolean.
    Bool(bool),
}

/// Deepest nesting of a reply that is read.
const MAX_DEPTH: usize = 32;
/// Largest announced length of one aggregate or string.
const MAX_LEN: i64 = 512 * 1024 * 1024;

/// A reply that is a line or two, as in handshakes, takes at most so many bytes.
pub const MAX_SHORT_REPLY: usize = 64 * 1024;

/// The peer does not speak the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("protocol error: {0}")]
pub struct ProtocolError(String);

/// Reads one reply from the front of `buf`: the reply and its length in bytes, or `None` if it is not whole yet.
pub fn read(buf: &[u8]) -> Result<Option<(Value, usize)>, ProtocolError> {
    let mut pos = 0;
    Ok(value(buf, &mut pos, 0)?.map(|v| (v, pos)))
}

/// Takes one reply from the front of `input`; `None` if it is not whole yet. One that is not whole in `most` bytes is an
/// error: whoever sends it could go on for ever.
pub fn take(input: &mut Vec<u8>, most: usize) -> Result<Option<Value>, ProtocolError> {
    match read(input)? {
        Some((value, used)) => {
            input.drain(..used);
            Ok(Some(value))
        }
        None if input.len() > most => Err(ProtocolError(format!("a reply of more than {most} bytes"))),
        None => Ok(None),
    }
}

fn line<'a>(buf: &'a [u8], pos: &mut usize) -> Option<&'a [u8]> {
    let rest = &buf[*pos..];
    let end = rest.windows(2).position(|w| w == b"\r\n")?;
    *pos += end + 2;
    Some(&rest[..end])
}

fn bad(what: &str, text: &[u8]) -> ProtocolError {
    ProtocolError(format!("{what}: {}", String::from_utf8_lossy(&text[..text.len().min(64)])))
}

fn length(text: &[u8]) -> Result<Option<usize>, ProtocolError> {
    match super::parse::parse_i64(text) {
        Some(-1) => Ok(None),
        Some(n) if (0..=MAX_LEN).contains(&n) => Ok(Some(n as usize)),
        _ => Err(bad("invalid length", text)),
    }
}

fn value(buf: &[u8], pos: &mut usize, depth: usize) -> Result<Option<Value>, ProtocolError> {
    if depth > MAX_DEPTH {
        return Err(ProtocolError("nested too deeply".into()));
    }
    let Some(&kind) = buf.get(*pos) else { return Ok(None) };
    let mut at = *pos + 1;
    if kind == b'|' {
        // An attribute is told of beside the reply that follows it, which is what was asked for.
        let Some(head) = line(buf, &mut at) else { return Ok(None) };
        for _ in 0..length(head)?.unwrap_or(0) * 2 {
            if value(buf, &mut at, depth + 1)?.is_none() {
                return Ok(None);
            }
        }
        *pos = at;
        return value(buf, pos, depth + 1);
    }
    let Some(head) = line(buf, &mut at) else { return Ok(None) };
    let text = || String::from_utf8_lossy(head).into_owned();
    let v = match kind {
        b'+' => Value::Simple(text()),
        b'-' => Value::Error(text()),
        b':' => Value::Int(super::parse::parse_i64(head).ok_or_else(|| bad("invalid integer", head))?),
        b'_' => Value::Null,
        b'#' => Value::Bool(head == b"t"),
        b',' | b'(' => Value::Number(text()),
        b'$' | b'=' | b'!' => match length(head)? {
            None => Value::Null,
            Some(n) => {
                let Some(bytes) = buf.get(at..at + n) else { return Ok(None) };
                if buf.len() < at + n + 2 {
                    return Ok(None);
                }
                at += n + 2;
                match kind {
                    b'!' => Value::Error(String::from_utf8_lossy(bytes).into_owned()),
                    b'=' => Value::Verbatim(bytes.get(4..).unwrap_or_default().to_vec()),
                    _ => Value::Bulk(bytes.to_vec()),
                }
            }
        },
        b'*' | b'~' | b'>' | b'%' => match length(head)? {
            None => Value::Null,
            Some(n) => {
                let total = if kind == b'%' { n * 2 } else { n };
                let mut items = Vec::with_capacity(total.min(1024));
                for _ in 0..total {
                    let Some(v) = value(buf, &mut at, depth + 1)? else { return Ok(None) };
                    items.push(v);
                }
                match kind {
                    b'>' => Value::Push(items),
                    b'%' => {
                        let mut pairs = Vec::with_capacity(n);
                        let mut it = items.into_iter();
                        while let (Some(k), Some(v)) = (it.next(), it.next()) {
                            pairs.push((k, v));
                        }
                        Value::Map(pairs)
                    }
                    b'~' => Value::Set(items),
                    _ => Value::Array(items),
                }
            }
        },
        _ => return Err(bad("unexpected byte", &buf[*pos..])),
    };
    *pos = at;
    Ok(Some(v))
}

impl Value {
    /// The text of a string or status reply.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Simple(s) => Some(s.clone()),
            Value::Bulk(b) | Value::Verbatim(b) => Some(String::from_utf8_lossy(b).into_owned()),
            _ => None,
        }
    }

    /// The elements of an array, set or push message.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Value::Array(v) | Value::Set(v) | Value::Push(v) => Some(v),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_incomplete_and_the_whole_is_read() {
        let whole = b"*3\r\n$3\r\nfoo\r\n:-5\r\n%1\r\n+k\r\n_\r\n";
        for n in 0..whole.len() {
            assert_eq!(read(&whole[..n]).unwrap(), None, "{n}");
        }
        let (v, used) = read(whole).unwrap().unwrap();
        assert_eq!(used, whole.len());
        let map = Value::Map(vec![(Value::Simple("k".into()), Value::Null)]);
        assert_eq!(v, Value::Array(vec![Value::Bulk(b"foo".to_vec()), Value::Int(-5), map]));
    }

    #[test]
    fn a_reply_that_does_not_end_is_an_error() {
        let mut input = b"+OK\r\n+abc".to_vec();
        assert_eq!(take(&mut input, 4), Ok(Some(Value::Simple("OK".into()))));
        assert_eq!(take(&mut input, 4), Ok(None));
        input.push(b'd');
        assert!(take(&mut input, 4).is_err());
    }

    #[test]
    fn absurd_input_is_an_error() {
        assert!(read(b"*99999999999\r\n").is_err());
        assert!(read(b"?\r\n").is_err());
        assert!(read(&b"*1\r\n".repeat(100)).is_err());
    }
}
