//! A dataset as commands: what the base of a log holds where `aof-use-rdb-preamble` is off.

use std::borrow::Cow;

use crate::resp::encode_command;
use crate::store::num::format_float;
use crate::store::stream::Stream;
use crate::store::stream_id::StreamId;
use crate::store::value::ValueRef;

/// Most elements that one command adds, so that loading it does not block for long.
const MAX_ELEMENTS: usize = 64;

/// Writes entries of several databases in any order.
#[derive(Debug, Default)]
pub struct CommandWriter {
    db: Option<u32>,
}

impl CommandWriter {
    /// Appends the command that loads a library of functions, as [`crate::rdb::decode::Event::Function`] gives it.
    pub fn function(&mut self, out: &mut Vec<u8>, library: &[u8]) {
        encode_command(out, &[&b"FUNCTION"[..], b"LOAD", library]);
    }

    /// Appends the commands that make one key. An empty collection needs none.
    pub fn entry<'a>(
        &mut self,
        out: &mut Vec<u8>,
        db: u32,
        key: &[u8],
        value: impl Into<ValueRef<'a>>,
        expire_at_ms: Option<i64>,
    ) {
        if self.db != Some(db) {
            self.db = Some(db);
            encode_command(out, &["SELECT", &db.to_string()]);
        }
        match value.into() {
            ValueRef::Str(s) => encode_command(out, &[b"SET", key, &s.to_bytes()]),
            ValueRef::List(l) => add(out, "RPUSH", key, l.iter().map(|e| [e.to_bytes()])),
            ValueRef::Set(s) => add(out, "SADD", key, s.iter().map(|e| [e.to_bytes()])),
            ValueRef::Hash(h) => add(out, "HSET", key, h.iter().map(|(f, v)| [f.to_bytes(), v.to_bytes()])),
            ValueRef::ZSet(z) => {
                let score = |s| Cow::Owned(format_float(s).into_bytes());
                add(out, "ZADD", key, z.iter().map(|(m, s)| [score(s), m.to_bytes()]));
            }
            ValueRef::Stream(s) => stream(out, key, s),
        }
        if let Some(at) = expire_at_ms {
            encode_command(out, &[&b"PEXPIREAT"[..], key, at.to_string().as_bytes()]);
        }
    }
}

fn add<'a, const N: usize>(
    out: &mut Vec<u8>,
    command: &'a str,
    key: &'a [u8],
    elements: impl Iterator<Item = [Cow<'a, [u8]>; N]>,
) {
    let mut elements = elements.peekable();
    while elements.peek().is_some() {
        let mut words = vec![Cow::Borrowed(command.as_bytes()), Cow::Borrowed(key)];
        words.extend(elements.by_ref().take(MAX_ELEMENTS).flatten());
        encode_command(out, &words);
    }
}

/// The commands that make a stream: its entries, its figures, its groups with their consumers, and what is pending. As in
/// Redis, what is pending of entries that are gone is not among them.
fn stream(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    let totals = stream.log.totals();
    if stream.log.is_empty() {
        // An entry that is trimmed at once leaves an empty stream.
        encode_command(out, &[&b"XADD"[..], key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
    }
    for entry in stream.log.range(StreamId::MIN, StreamId::MAX) {
        let id = entry.id.to_string().into_bytes();
        let mut words = vec![Cow::Borrowed(&b"XADD"[..]), Cow::Borrowed(key), Cow::Owned(id)];
        words.extend(entry.fields().flat_map(|(name, value)| [name.to_bytes(), value.to_bytes()]));
        encode_command(out, &words);
    }
    let (last, added) = (totals.last_id.to_string(), totals.entries_added.to_string());
    let deleted = totals.max_deleted_id.to_string();
    let of_last = ["ENTRIESADDED", &added, "MAXDELETEDID", &deleted].map(str::as_bytes);
    encode_command(out, &[&[b"XSETID", key, last.as_bytes()][..], &of_last].concat());
    for (name, group) in &stream.groups {
        let (last, read) = (group.last_id.to_string(), group.entries_read.unwrap_or(-1).to_string());
        encode_command(
            out,
            &[&b"XGROUP"[..], b"CREATE", key, name, last.as_bytes(), b"ENTRIESREAD", read.as_bytes()],
        );
        for consumer in group.consumers() {
            if consumer.pending().is_empty() {
                encode_command(out, &[&b"XGROUP"[..], b"CREATECONSUMER", key, name, consumer.name()]);
            }
            for (entry, _) in consumer.pending().iter() {
                let Some(pending) = group.pending(entry) else { continue };
                let (id, time) = (entry.to_string(), pending.delivered_ms.to_string());
                let count = pending.deliveries.to_string();
                let of_entry =
                    ["0", &id, "TIME", &time, "RETRYCOUNT", &count, "JUSTID", "FORCE"].map(str::as_bytes);
                encode_command(out, &[&[&b"XCLAIM"[..], key, name, consumer.name()][..], &of_entry].concat());
            }
        }
    }
}
