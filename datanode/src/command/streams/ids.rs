//! Ids as commands take them: `ms`, `ms-seq`; where a new entry gets one also `ms-*`; in intervals also `-`, `+`, and
//! `(id` for one that is not included.

use crate::command::{Error, Result};
use crate::store::num::parse_int;
use crate::store::stream_id::StreamId;
use crate::store::stream_log::NewId;

const INVALID: Error =
    Error::Text(std::borrow::Cow::Borrowed("ERR Invalid stream ID specified as stream command argument"));
/// Longest id that is looked at.
const MAX_TEXT: usize = 127;

/// The second half of an id.
enum Seq {
    Missing,
    Any,
    Is(u64),
}

/// The text up to its first NUL, where Redis stops reading.
fn readable(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
    (text.len() <= MAX_TEXT).then_some(&text[..end])
}

fn halves(text: &[u8]) -> Option<(u64, Seq)> {
    let text = readable(text)?;
    let Some(dash) = text.iter().position(|&b| b == b'-') else {
        return Some((number(text)?, Seq::Missing));
    };
    let (ms, seq) = (number(&text[..dash])?, &text[dash + 1..]);
    Some((ms, if seq == b"*" { Seq::Any } else { Seq::Is(number(seq)?) }))
}

/// A number as C's `strtoull` reads it (blanks and a sign in front, a negative one counted from the end of the range), but
/// for negative ones in their usual form, which are refused.
fn number(text: &[u8]) -> Option<u64> {
    if let Some(n) = parse_int(text) {
        return u64::try_from(n).ok();
    }
    let blanks = text.iter().take_while(|b| matches!(b, b' ' | b'\t'..=b'\r')).count();
    let (negative, digits) = match &text[blanks..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { n.wrapping_neg() } else { n })
}

fn id(text: &[u8], missing_seq: u64) -> Option<StreamId> {
    match halves(text)? {
        (ms, Seq::Missing) => Some(StreamId::new(ms, missing_seq)),
        (ms, Seq::Is(seq)) => Some(StreamId::new(ms, seq)),
        (_, Seq::Any) => None,
    }
}

/// The id of one entry.
pub fn exact(text: &[u8]) -> Result<StreamId> {
    id(text, 0).ok_or(INVALID)
}

/// An id, or `-` or `+`, the least and the largest.
pub fn loose(text: &[u8], missing_seq: u64) -> Result<StreamId> {
    match readable(text) {
        Some(b"-") => Ok(StreamId::MIN),
        Some(b"+") => Ok(StreamId::MAX),
        _ => id(text, missing_seq).ok_or(INVALID),
    }
}

/// The id that a new entry is given; `*` has been looked for before.
pub fn new(text: &[u8]) -> Result<NewId> {
    match halves(text).ok_or(INVALID)? {
        (ms, Seq::Any) => Ok(NewId::Ms(ms)),
        (ms, Seq::Missing) => Ok(NewId::Exact(StreamId::new(ms, 0))),
        (ms, Seq::Is(seq)) => Ok(NewId::Exact(StreamId::new(ms, seq))),
    }
}

/// The id without the bracket of one that is not included.
fn excluded(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"(").filter(|rest| !rest.is_empty())
}

/// The first id of an interval.
pub fn start(text: &[u8]) -> Result<StreamId> {
    match excluded(text) {
        None => loose(text, 0),
        Some(rest) => exact(rest)?.next().ok_or_else(|| "ERR invalid start ID for the interval".into()),
    }
}

/// The last id of an interval.
pub fn end(text: &[u8]) -> Result<StreamId> {
    match excluded(text) {
        None => loose(text, u64::MAX),
        Some(rest) => {
            let id = id(rest, u64::MAX).ok_or(INVALID)?;
            id.prev().ok_or_else(|| "ERR invalid end ID for the interval".into())
        }
    }
}
