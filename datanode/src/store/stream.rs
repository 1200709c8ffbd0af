//! Streams: a log of entries and the groups of consumers that read it.

use super::stream_group::Group;
use super::stream_log::{Log, Totals};
use std::collections::BTreeMap;

/// A stream. Unlike other collections it may be empty.
#[derive(Clone, Default)]
pub struct Stream {
    /// Its entries.
    pub log: Log,
    /// Its groups by name.
    pub groups: BTreeMap<Box<[u8]>, Group>,
}

/// How many entries a group has still to read, where that is known.
pub fn lag(totals: &Totals, group: &Group) -> Option<i64> {
    if totals.entries_added == 0 {
        return Some(0);
    }
    let known = group.entries_read.filter(|_| !totals.deleted_from(group.last_id));
    let read = known.or_else(|| totals.added_up_to(group.last_id))?;
    Some((totals.entries_added as i64).wrapping_sub(read))
}

/// An entry is delivered to a consumer of the group: the group's place moves on to it, if it was before it. Whether it was.
pub fn advance(totals: &Totals, group: &mut Group, id: super::stream_id::StreamId) -> bool {
    if id <= group.last_id {
        return false;
    }
    group.entries_read = match group.entries_read {
        Some(n) if !totals.deleted_from(id) => Some(n.wrapping_add(1)),
        _ => totals.added_up_to(id),
    };
    group.last_id = id;
    true
}

impl Stream {
    /// An empty one.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// The name `OBJECT ENCODING` gives it.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// How many allocations freeing it takes, about.
    pub fn free_effort(&self) -> usize {
        self.log.nodes().len() + self.groups.values().map(|g| 1 + g.all_pending().len()).sum::<usize>()
    }

    /// Memory beyond its own size; `sample` nodes and groups are looked at (0: all).
    pub fn heap_bytes(&self, sample: usize) -> usize {
        let groups = self.groups.iter().map(|(name, group)| name.len() + group.heap_bytes());
        self.log.heap_bytes(sample)
            + super::tree_bytes::<Box<[u8]>, Group>(self.groups.len())
            + super::sampled(groups, self.groups.len(), sample)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
