//! What SCAN, HSCAN, SSCAN and ZSCAN have in common (<https://redis.io/docs/latest/commands/scan/>).

use super::{Ctx, Error, Result};
use crate::glob::glob_match;
use crate::resp::writer::Reply;

/// Elements asked for where `COUNT` says nothing.
const DEFAULT_COUNT: usize = 10;
/// Buckets visited per element asked for, before a reply with fewer elements is given.
const BUCKETS_PER_ELEMENT: usize = 10;

/// Cursor and options.
pub struct Scan<'a> {
    cursor: u64,
    pattern: Option<&'a [u8]>,
    count: usize,
    /// `TYPE`, of SCAN.
    pub type_name: Option<&'a [u8]>,
}

impl<'a> Scan<'a> {
    /// Reads the cursor from argument `at` and the options behind it; `keys`: `TYPE` is one of them.
    pub fn parse(ctx: &Ctx<'a>, at: usize, keys: bool) -> Result<Scan<'a>> {
        let cursor = parse_cursor(ctx.args.at(at)).ok_or(Error::Text("ERR invalid cursor".into()))?;
        let mut scan = Scan { cursor, pattern: None, count: DEFAULT_COUNT, type_name: None };
        for i in (at + 1..ctx.args.len()).step_by(2) {
            let value = ctx.args.get(i + 1).ok_or(Error::Syntax)?;
            if ctx.args.is(i, "count") {
                let count = ctx.int(i + 1)?;
                scan.count = usize::try_from(count).ok().filter(|&n| n > 0).ok_or(Error::Syntax)?;
            } else if ctx.args.is(i, "match") {
                // Everything matches it: no need to look.
                scan.pattern = Some(value).filter(|v| v != b"*");
            } else if keys && ctx.args.is(i, "type") {
                scan.type_name = Some(value);
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(scan)
    }

    /// Whether a name is wanted.
    pub fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|p| glob_match(p, name, false))
    }

    /// Runs `step`, which visits one bucket from a cursor on, until it has seen enough elements: the next cursor.
    /// `step` returns that cursor and how many elements it has seen so far, the unwanted ones too: a pattern that
    /// nothing matches must not make a call longer.
    pub fn run(&self, mut step: impl FnMut(u64) -> (u64, usize)) -> u64 {
        let mut cursor = self.cursor;
        for _ in 0..self.count.saturating_mul(BUCKETS_PER_ELEMENT) {
            let (next, seen) = step(cursor);
            cursor = next;
            if cursor == 0 || seen >= self.count {
                break;
            }
        }
        cursor
    }
}

/// Replies the next cursor and what has been found.
pub fn reply_found<T: AsRef<[u8]>>(reply: &mut Reply<'_>, cursor: u64, found: &[T]) {
    reply.array(2);
    reply.bulk(cursor.to_string().as_bytes());
    reply.array(found.len());
    for f in found {
        reply.bulk(f.as_ref());
    }
}

/// A cursor as C's `strtoul` reads it: no text is 0, and a minus sign counts down from the top.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { n.wrapping_neg() } else { n })
}
