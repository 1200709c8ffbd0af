//! A node of a stream: entries that follow each other, in one listpack, byte for byte as Redis 5 and later keep it, since
//! it goes into RDB files and DUMP payloads as it is.
//!
//! First comes the master entry: number of live entries, number of deleted ones, the names of the first entry's fields
//! (behind their number), and a zero. Then each entry: flags, its id as the distance to the node's own id (milliseconds,
//! number), names and values (behind the number of fields) or, if the names are the master entry's, only values, and last
//! the number of elements that this makes, so that entries can be gone over backwards. A deleted entry stays, flagged.

use super::Corrupt;
use super::elem::Elem;
use super::listpack::{Iter, Listpack};
use super::stream_id::StreamId;

// Flags of an entry.
const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
/// Elements of an entry beside fields and the closing count: flags and the two parts of the id.
const HEAD: usize = 3;

/// See the module's description. Its own id is kept beside it.
#[derive(Clone)]
pub struct Node(Listpack);

/// What the master entry says.
#[derive(Clone, Copy)]
struct Master {
    fields: usize,
    first_field: usize,
    /// The zero that ends it.
    end: usize,
}

/// One entry of a stream.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Its id.
    pub id: StreamId,
    lp: &'a Listpack,
    flags: i64,
    at: usize,
    /// Where the names are, if they are the master entry's.
    names: Option<usize>,
    /// Where the values are, with the names in between if they are its own.
    values: usize,
    fields: usize,
}

impl<'a> Entry<'a> {
    /// Whether it has not been deleted.
    pub fn is_live(&self) -> bool {
        self.flags & DELETED == 0
    }

    /// Number of its fields.
    pub fn len(&self) -> usize {
        self.fields
    }

    /// Whether it has no fields, which only a file can bring about.
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// Its fields with their values.
    pub fn fields(&self) -> impl Iterator<Item = (Elem<'a>, Elem<'a>)> {
        let mut values = self.lp.iter_from(Some(self.values));
        let mut names = self.names.map(|at| self.lp.iter_from(Some(at)));
        (0..self.fields).map_while(move |_| {
            let name = names.as_mut().unwrap_or(&mut values).next()?;
            Some((name, values.next()?))
        })
    }

    /// Where the entry behind it begins, if there is one.
    fn end(&self) -> Option<usize> {
        let parts = if self.names.is_some() { self.fields } else { 2 * self.fields };
        let count = (0..parts).fold(self.values, |at, _| after(self.lp, at));
        self.lp.next(count)
    }
}

fn int(lp: &Listpack, at: usize) -> i64 {
    match lp.get(at) {
        Elem::Int(n) => n,
        Elem::Bytes(_) => unreachable!("numbers are checked when a node is taken over"),
    }
}

fn after(lp: &Listpack, at: usize) -> usize {
    lp.next(at).expect("an entry has all its parts")
}

fn number(rest: &mut Iter<'_>) -> Result<i64, Corrupt> {
    match rest.next() {
        Some(Elem::Int(n)) => Ok(n),
        _ => Err(Corrupt("stream: a node lacks a number")),
    }
}

fn size(rest: &mut Iter<'_>) -> Result<u64, Corrupt> {
    u64::try_from(number(rest)?).map_err(|_| Corrupt("stream: a negative number in a node"))
}

fn skip(rest: &mut Iter<'_>, parts: u64) -> Result<(), Corrupt> {
    match (0..parts).all(|_| rest.next().is_some()) {
        true => Ok(()),
        false => Err(Corrupt("stream: a node ends within an entry")),
    }
}

impl Node {
    /// A node without entries, whose entries will mostly have fields of these names.
    pub fn new<'a>(names: impl Iterator<Item = &'a [u8]> + Clone) -> Node {
        let mut lp = Listpack::new();
        let head = [0, 0, names.clone().count() as i64].into_iter().map(Elem::Int);
        lp.append(head.chain(names.map(Elem::Bytes)).chain(std::iter::once(Elem::Int(0))));
        Node(lp)
    }

    /// Takes over a node from a file, with its own id, after checking all of it: the node, the id of its last entry.
    pub fn from_listpack(own: StreamId, lp: Listpack) -> Result<(Node, StreamId), Corrupt> {
        let mut rest = lp.iter();
        let (count, deleted, fields) = (size(&mut rest)?, size(&mut rest)?, size(&mut rest)?);
        skip(&mut rest, fields)?;
        if number(&mut rest)? != 0 {
            return Err(Corrupt("stream: a master entry without its end"));
        }
        let entries =
            count.checked_add(deleted).ok_or(Corrupt("stream: impossible number of entries in a node"))?;
        let (mut last, mut live) = (None, 0);
        for _ in 0..entries {
            let (flags, ms, seq) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
            let parts = if flags & SAME_FIELDS != 0 {
                fields
            } else {
                size(&mut rest)?.checked_mul(2).ok_or(Corrupt("stream: impossible number of fields"))?
            };
            skip(&mut rest, parts)?;
            let own_count = u64::from(flags & SAME_FIELDS == 0);
            if parts.checked_add(HEAD as u64 + own_count) != Some(size(&mut rest)?) {
                return Err(Corrupt("stream: an entry of another length than it states"));
            }
            let id = offset(own, ms, seq);
            if last.map_or(id < own, |last| id <= last) {
                return Err(Corrupt("stream: entries out of order"));
            }
            last = Some(id);
            live += u64::from(flags & DELETED == 0);
        }
        if rest.next().is_some() {
            return Err(Corrupt("stream: bytes behind a node's entries"));
        }
        if live != count {
            return Err(Corrupt("stream: a wrong number of live entries in a node"));
        }
        let last = last.ok_or(Corrupt("stream: a node without entries"))?;
        Ok((Node(lp), last))
    }

    /// As it goes into files.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Memory it holds beyond its own size.
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Size in bytes.
    pub fn byte_len(&self) -> usize {
        self.0.byte_len()
    }

    fn first(&self) -> usize {
        self.0.first().expect("a node has a master entry")
    }

    fn master(&self) -> Master {
        let lp = &self.0;
        let deleted = after(lp, self.first());
        let fields = after(lp, deleted);
        let first_field = after(lp, fields);
        let number = int(lp, fields) as usize;
        Master { fields: number, first_field, end: (0..number).fold(first_field, |at, _| after(lp, at)) }
    }

    /// Number of entries that have not been deleted, and of those that have.
    pub fn counts(&self) -> (u64, u64) {
        let deleted = after(&self.0, self.first());
        (int(&self.0, self.first()) as u64, int(&self.0, deleted) as u64)
    }

    fn set_counts(&mut self, count: u64, deleted: u64) {
        let at = self.first();
        self.0.replace(at, Elem::Int(count as i64));
        let at = after(&self.0, at);
        self.0.replace(at, Elem::Int(deleted as i64));
    }

    /// Adds an entry of `fields`: names and values in turn. `own` is the node's id.
    pub fn push<'a>(&mut self, own: StreamId, id: StreamId, fields: impl Iterator<Item = &'a [u8]> + Clone) {
        let at = self.first();
        let count = int(&self.0, at) + 1;
        self.0.replace(at, Elem::Int(count));
        let master = self.master();
        let names = || fields.clone().step_by(2);
        let number = names().count();
        let lp = &mut self.0;
        let same = number == master.fields
            && lp.iter_from(Some(master.first_field)).zip(names()).all(|(a, b)| a.eq_bytes(b));
        let flags = if same { SAME_FIELDS } else { 0 };
        let (ms, seq) = (id.ms.wrapping_sub(own.ms) as i64, id.seq.wrapping_sub(own.seq) as i64);
        let head = [flags, ms, seq].into_iter().map(Elem::Int);
        let end = |parts| std::iter::once(Elem::Int((HEAD + parts) as i64));
        if same {
            let values = fields.skip(1).step_by(2).map(Elem::Bytes);
            lp.append(head.chain(values).chain(end(number)));
        } else {
            let count = std::iter::once(Elem::Int(number as i64));
            lp.append(head.chain(count).chain(fields.map(Elem::Bytes)).chain(end(1 + 2 * number)));
        }
    }

    fn entry(&self, own: StreamId, master: &Master, at: usize) -> Entry<'_> {
        let lp = &self.0;
        let flags = int(lp, at);
        let ms = after(lp, at);
        let seq = after(lp, ms);
        let id = offset(own, int(lp, ms), int(lp, seq));
        let third = after(lp, seq);
        let (names, fields, values) = match flags & SAME_FIELDS {
            0 => (None, int(lp, third) as usize, after(lp, third)),
            _ => (Some(master.first_field), master.fields, third),
        };
        Entry { id, lp, flags, at, names, values, fields }
    }

    /// All entries, deleted ones too. `own` is the node's id.
    pub fn entries(&self, own: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let master = self.master();
        let mut at = self.0.next(master.end);
        std::iter::from_fn(move || {
            let entry = self.entry(own, &master, at?);
            at = entry.end();
            Some(entry)
        })
    }

    /// The same from the last one on.
    pub fn entries_rev(&self, own: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let master = self.master();
        let mut end = self.0.last();
        std::iter::from_fn(move || {
            let count = end.filter(|&at| at != master.end)?;
            let start = (0..int(&self.0, count)).try_fold(count, |at, _| self.0.prev(at))?;
            end = self.0.prev(start);
            Some(self.entry(own, &master, start))
        })
    }

    /// The id of its last entry, deleted or not.
    pub fn last_id(&self, own: StreamId) -> StreamId {
        self.entries_rev(own).next().map_or(own, |e| e.id)
    }

    /// Marks an entry as deleted; whether it was there.
    pub fn delete(&mut self, own: StreamId, id: StreamId) -> bool {
        let Some(entry) = self.entries(own).take_while(|e| e.id <= id).last() else { return false };
        if entry.id != id || !entry.is_live() {
            return false;
        }
        let (at, flags) = (entry.at, entry.flags);
        self.0.replace(at, Elem::Int(flags | DELETED));
        let (count, deleted) = self.counts();
        self.set_counts(count - 1, deleted + 1);
        true
    }

    /// Marks entries from the first one on as deleted, up to the first for which `stop`, given the number of those
    /// deleted now, says so; how many.
    pub fn delete_front(&mut self, own: StreamId, stop: impl Fn(&Entry<'_>, u64) -> bool) -> u64 {
        let mut found = Vec::new();
        for entry in self.entries(own) {
            if stop(&entry, found.len() as u64) {
                break;
            }
            if entry.is_live() {
                found.push((entry.at, entry.flags));
            }
        }
        // From the last one on: should a file have had flags in a longer form than needed, what follows moves.
        for &(at, flags) in found.iter().rev() {
            self.0.replace(at, Elem::Int(flags | DELETED));
        }
        let (count, deleted) = self.counts();
        let n = found.len() as u64;
        self.set_counts(count - n, deleted + n);
        n
    }
}

fn offset(own: StreamId, ms: i64, seq: i64) -> StreamId {
    StreamId { ms: own.ms.wrapping_add(ms as u64), seq: own.seq.wrapping_add(seq as u64) }
}
