//! Streams: nodes as they are, figures, and groups with what is pending. Read in the three forms that there are (Redis 5,
//! 7.0 and 7.2), written in that of 7.0.

use std::collections::BTreeMap;
use std::io::Read;

use super::encode::{ValueWriter, length};
use super::input::Input;
use super::value::{flaw, listpack};
use super::*;
use crate::store::stream::Stream;
use crate::store::stream_group::{Group, Pending};
use crate::store::stream_id::{ID_BYTES, StreamId};
use crate::store::stream_log::Totals;

/// `entries_read` of a group that does not know it.
const UNKNOWN_READ: i64 = -1;

/// What errors call the nodes.
const LISTPACK: &str = "Stream listpack";

/// Reads a stream of type `kind`.
pub fn read<R: Read>(input: &mut Input<R>, kind: u8) -> Result<Stream, Error> {
    let mut stream = Stream::new();
    for _ in 0..input.len()? {
        let own: [u8; ID_BYTES] =
            input.string()?.try_into().map_err(|_| input.corrupt("stream: a node's id of another size"))?;
        let lp = listpack(input, LISTPACK)?;
        stream.log.push_node(StreamId::from_bytes(own), lp).map_err(|e| flaw(input, LISTPACK, e))?;
    }
    let len = input.len()?;
    let mut totals = Totals { len, last_id: id(input)?, entries_added: len, ..Totals::default() };
    if kind != T_STREAM {
        totals.first_id = id(input)?;
        totals.max_deleted_id = id(input)?;
        totals.entries_added = input.len()?;
    }
    stream.log.finish(totals).map_err(|e| flaw(input, "Stream", e))?;
    for _ in 0..input.len()? {
        let name = input.string()?;
        let last_id = id(input)?;
        let entries_read = match kind {
            T_STREAM => stream.log.totals().added_up_to(last_id),
            _ => match input.len()? as i64 {
                UNKNOWN_READ => None,
                n if n < 0 => return Err(input.corrupt("stream: a negative number of entries read")),
                n => Some(n),
            },
        };
        let group = group(input, kind, Group::new(last_id, entries_read))?;
        if stream.groups.insert(name.into(), group).is_some() {
            return Err(input.corrupt("stream: a group twice"));
        }
    }
    Ok(stream)
}

fn id<R: Read>(input: &mut Input<R>) -> Result<StreamId, Error> {
    Ok(StreamId::new(input.len()?, input.len()?))
}

/// Reads what is pending in a group, and its consumers.
fn group<R: Read>(input: &mut Input<R>, kind: u8, mut group: Group) -> Result<Group, Error> {
    let mut unowned = BTreeMap::new();
    for _ in 0..input.len()? {
        let entry = StreamId::from_bytes(input.array()?);
        let delivery = (i64::from_le_bytes(input.array()?), input.len()?);
        if unowned.insert(entry, delivery).is_some() {
            return Err(input.corrupt("stream: an entry pending twice in a group"));
        }
    }
    for _ in 0..input.len()? {
        let name = input.string()?;
        let seen_ms = i64::from_le_bytes(input.array()?);
        if kind == T_STREAM_3 {
            // When it was last given something, which Redis 7.0 does not keep.
            input.array::<8>()?;
        }
        let consumer = group
            .add_consumer(&name, seen_ms)
            .ok_or_else(|| input.corrupt("Duplicate stream consumer detected"))?;
        for _ in 0..input.len()? {
            let entry = StreamId::from_bytes(input.array()?);
            let Some((delivered_ms, deliveries)) = unowned.remove(&entry) else {
                return Err(
                    input.corrupt("stream: an entry that is pending for no group, or for two consumers")
                );
            };
            group.set_pending(entry, Pending { consumer, delivered_ms, deliveries });
        }
    }
    if !unowned.is_empty() {
        return Err(input.corrupt("stream: an entry that is pending for no consumer"));
    }
    Ok(group)
}

/// Appends a stream.
pub fn write(values: &mut ValueWriter, out: &mut Vec<u8>, stream: &Stream) {
    let nodes = stream.log.nodes();
    length(out, nodes.len() as u64);
    for (own, node) in nodes {
        values.string(out, &own.to_bytes());
        values.string(out, node.as_bytes());
    }
    let totals = stream.log.totals();
    length(out, totals.len);
    write_id(out, totals.last_id);
    write_id(out, totals.first_id);
    write_id(out, totals.max_deleted_id);
    length(out, totals.entries_added);
    length(out, stream.groups.len() as u64);
    for (name, group) in &stream.groups {
        values.string(out, name);
        write_id(out, group.last_id);
        length(out, group.entries_read.unwrap_or(UNKNOWN_READ) as u64);
        length(out, group.all_pending().len() as u64);
        for (entry, pending) in group.all_pending().iter() {
            out.extend_from_slice(&entry.to_bytes());
            out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
            length(out, pending.deliveries);
        }
        length(out, group.consumers().len() as u64);
        for consumer in group.consumers() {
            values.string(out, consumer.name());
            out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
            length(out, consumer.pending().len() as u64);
            consumer.pending().iter().for_each(|(entry, _)| out.extend_from_slice(&entry.to_bytes()));
        }
    }
}

fn write_id(out: &mut Vec<u8>, id: StreamId) {
    length(out, id.ms);
    length(out, id.seq);
}
