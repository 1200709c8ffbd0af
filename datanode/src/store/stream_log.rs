//! A stream's entries: nodes in an index by their ids, and what is known of entries that have come and gone.
//!
//! What the figures of consumer groups (entries read, lag) are estimated from is here too, as in Redis 7.0: an entry's
//! place among all that were ever added is known only where nothing has been deleted behind it.

use super::Corrupt;
use super::limits::Limits;
use super::listpack::{self, Listpack};
use super::stream_id::StreamId;
use super::stream_node::{Entry, Node};
use super::stream_radix;
use std::collections::BTreeMap;

/// The most that a listpack spends on an element beside its bytes: encoding, and length for reading backwards.
const ELEMENT_OVERHEAD: usize = 10;
/// More elements than a node and an entry have beside fields and values.
const FIXED_ELEMENTS: usize = 16;

/// Whether an entry of these names and values can be stored.
pub fn fits<'a>(fields: impl Iterator<Item = &'a [u8]>) -> bool {
    let bytes = fields.fold(FIXED_ELEMENTS * ELEMENT_OVERHEAD, |sum, part| {
        sum.saturating_add(part.len() + ELEMENT_OVERHEAD)
    });
    bytes <= listpack::MAX_BYTES
}

/// Which id a new entry shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// The present time, or what follows the last id.
    Auto,
    /// These milliseconds, with the first free number.
    Ms(u64),
    /// This one.
    Exact(StreamId),
}

/// What trimming leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// So many entries, the newest.
    Newest(u64),
    /// Entries from this id on.
    From(StreamId),
}

/// Figures of a stream, in which it outlives its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Entries that are there.
    pub len: u64,
    /// The largest id that was ever given (or set).
    pub last_id: StreamId,
    /// The first entry's id; 0-0 where there is none.
    pub first_id: StreamId,
    /// The largest id that `XDEL` has removed.
    pub max_deleted_id: StreamId,
    /// Entries that were ever added.
    pub entries_added: u64,
}

impl Totals {
    /// How many entries were added up to `id`, with it; unknown where something may have been deleted in between.
    pub fn added_up_to(&self, id: StreamId) -> Option<i64> {
        let added = self.entries_added as i64;
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= self.last_id || id == self.last_id {
            return Some(added);
        }
        if id > self.last_id || !self.is_whole() || id > self.first_id {
            return None;
        }
        let before = added.wrapping_sub(self.len as i64);
        Some(if id == self.first_id { before.wrapping_add(1) } else { before })
    }

    /// Whether nothing has been deleted behind the first entry.
    fn is_whole(&self) -> bool {
        self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id
    }

    /// Whether an entry from `id` on, and behind the first one, may have been deleted.
    pub fn deleted_from(&self, id: StreamId) -> bool {
        self.len > 0 && !self.is_whole() && id <= self.max_deleted_id
    }
}

/// See the module's description.
#[derive(Clone, Default)]
pub struct Log {
    nodes: BTreeMap<StreamId, Node>,
    totals: Totals,
}

impl Log {
    /// Its figures.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.totals.len
    }

    /// Whether there is no entry. (The stream may stay nevertheless.)
    pub fn is_empty(&self) -> bool {
        self.totals.len == 0
    }

    /// Sets the last id (no less than the last entry's), and where given the number of entries ever added and the largest
    /// id removed.
    pub fn set_last(
        &mut self,
        last_id: StreamId,
        entries_added: Option<u64>,
        max_deleted_id: Option<StreamId>,
    ) {
        self.totals.last_id = last_id;
        self.totals.entries_added = entries_added.unwrap_or(self.totals.entries_added);
        self.totals.max_deleted_id = max_deleted_id.unwrap_or(self.totals.max_deleted_id);
    }

    /// The id of an entry to be added, if one is left that is larger than all before.
    pub fn new_id(&self, wanted: NewId, now_ms: u64) -> Option<StreamId> {
        let last = self.totals.last_id;
        let id = match wanted {
            NewId::Auto if now_ms > last.ms => StreamId::new(now_ms, 0),
            NewId::Auto => last.next()?,
            NewId::Ms(ms) if ms == last.ms => StreamId::new(ms, last.seq.checked_add(1)?),
            NewId::Ms(ms) => StreamId::new(ms, 0),
            NewId::Exact(id) => id,
        };
        (id > last).then_some(id)
    }

    /// Adds an entry with an id from [`Log::new_id`]; `fields` are names and values in turn, which must fit ([`fits`]).
    pub fn append<'a>(
        &mut self,
        limits: &Limits,
        id: StreamId,
        fields: impl Iterator<Item = &'a [u8]> + Clone,
    ) {
        let bytes: usize = fields.clone().map(<[u8]>::len).sum();
        let max_bytes = limits.stream_node_bytes();
        let last = self.nodes.last_entry().and_then(|mut last| {
            let node = last.get_mut();
            let (live, deleted) = node.counts();
            let full = node.byte_len().saturating_add(bytes) >= max_bytes
                || limits.stream_node_max_entries > 0 && live + deleted >= limits.stream_node_max_entries;
            (!full).then_some(last)
        });
        match last {
            Some(mut last) => {
                let own = *last.key();
                last.get_mut().push(own, id, fields);
            }
            None => {
                let mut node = Node::new(fields.clone().step_by(2));
                node.push(id, id, fields);
                self.nodes.insert(id, node);
            }
        }
        let totals = &mut self.totals;
        totals.len += 1;
        totals.entries_added = totals.entries_added.wrapping_add(1);
        totals.last_id = id;
        if totals.len == 1 {
            totals.first_id = id;
        }
    }

    /// The entries from one id to another, both included.
    pub fn range(&self, from: StreamId, to: StreamId) -> impl Iterator<Item = Entry<'_>> {
        // The node that `from` would be in begins before it.
        let start = self.nodes.range(..=from).next_back().map_or(from, |(own, _)| *own);
        let nodes = (start <= to).then(|| self.nodes.range(start..=to)).into_iter().flatten();
        nodes
            .flat_map(|(own, node)| node.entries(*own))
            .skip_while(move |e| e.id < from)
            .take_while(move |e| e.id <= to)
            .filter(Entry::is_live)
    }

    /// The same from the last one on.
    pub fn range_rev(&self, from: StreamId, to: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let nodes = self.nodes.range(..=to).rev();
        nodes
            .flat_map(|(own, node)| node.entries_rev(*own))
            .skip_while(move |e| e.id > to)
            .take_while(move |e| e.id >= from)
            .filter(Entry::is_live)
    }

    /// The entry with this id.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// The id of the last entry.
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.range_rev(StreamId::MIN, StreamId::MAX).next().map(|e| e.id)
    }

    /// Removes an entry; whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((&own, node)) = self.nodes.range_mut(..=id).next_back() else { return false };
        if !node.delete(own, id) {
            return false;
        }
        if node.counts().0 == 0 {
            self.nodes.remove(&own);
        }
        self.totals.len -= 1;
        self.totals.max_deleted_id = self.totals.max_deleted_id.max(id);
        if id == self.totals.first_id {
            self.find_first();
        }
        true
    }

    /// Removes entries from the front; how many. `whole_nodes`: only as long as whole nodes can go; then `limit` is the
    /// most entries removed (0: all that can be).
    pub fn trim(&mut self, keep: Keep, whole_nodes: bool, limit: u64) -> u64 {
        let mut removed = 0;
        while let Some(mut first) = self.nodes.first_entry() {
            let own = *first.key();
            let node = first.get_mut();
            let len = self.totals.len;
            let (live, _) = node.counts();
            if matches!(keep, Keep::Newest(n) if len <= n) || limit > 0 && removed + live > limit {
                break;
            }
            let goes = match keep {
                Keep::Newest(n) => len - live >= n,
                Keep::From(id) => node.last_id(own) < id,
            };
            if goes {
                first.remove();
                self.totals.len -= live;
                removed += live;
                continue;
            }
            if !whole_nodes {
                let n = node.delete_front(own, |entry, n| match keep {
                    Keep::Newest(keep) => len - n <= keep,
                    Keep::From(id) => entry.id >= id,
                });
                self.totals.len -= n;
                removed += n;
            }
            break;
        }
        if removed > 0 {
            self.find_first();
        }
        removed
    }

    fn find_first(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX).next().map(|e| e.id);
        self.totals.first_id = first.unwrap_or_default();
    }

    /// The nodes with their ids, as they go into files.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (StreamId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// Number of nodes that Redis' index of the same nodes has.
    pub fn radix_nodes(&self) -> usize {
        stream_radix::nodes(self.nodes.keys().copied())
    }

    /// Takes over a node from a file, behind those before.
    pub fn push_node(&mut self, own: StreamId, lp: Listpack) -> Result<(), Corrupt> {
        let (node, last) = Node::from_listpack(own, lp)?;
        if !self.nodes.is_empty() && own <= self.totals.last_id {
            return Err(Corrupt("stream: nodes out of order"));
        }
        self.totals.len += node.counts().0;
        self.totals.last_id = last;
        self.nodes.insert(own, node);
        Ok(())
    }

    /// Takes over what a file says beside the nodes, which have been taken over before.
    pub fn finish(&mut self, totals: Totals) -> Result<(), Corrupt> {
        if totals.len != self.totals.len {
            return Err(Corrupt("stream: another number of entries than it states"));
        }
        if totals.last_id < self.totals.last_id {
            return Err(Corrupt("stream: entries behind its last id"));
        }
        self.totals = totals;
        self.find_first();
        Ok(())
    }

    /// Memory beyond its own size; `sample` nodes are looked at (0: all).
    pub fn heap_bytes(&self, sample: usize) -> usize {
        super::tree_bytes::<StreamId, Node>(self.nodes.len())
            + super::sampled(self.nodes.values().map(Node::heap_bytes), self.nodes.len(), sample)
    }
}
