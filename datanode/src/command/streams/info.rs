//! `XINFO`.

use super::{no_group_of, reply_entries, reply_entry, reply_id};
use crate::command::{Ctx, Error, Result, help, wrong_form};
use crate::resp::writer::Reply;
use crate::store::stream::{Stream, lag};
use crate::store::stream_group::Group;
use crate::store::stream_id::StreamId;
use crate::store::stream_log::Totals;

/// Entries and deliveries that `FULL` shows where nothing else is said.
const FULL_COUNT: usize = 10;

fn name(reply: &mut Reply<'_>, name: &str) {
    reply.bulk(name.as_bytes());
}

fn int(reply: &mut Reply<'_>, field: &str, n: i64) {
    name(reply, field);
    reply.int(n);
}

fn id(reply: &mut Reply<'_>, field: &str, id: StreamId) {
    name(reply, field);
    reply_id(reply, id);
}

/// A number, or null where it is not known.
fn known(reply: &mut Reply<'_>, field: &str, n: Option<i64>) {
    name(reply, field);
    match n {
        Some(n) => reply.int(n),
        None => reply.null(),
    }
}

/// `XINFO STREAM key [FULL [COUNT count]]`
pub fn stream(ctx: &mut Ctx<'_>) -> Result {
    let args = ctx.args;
    let stream = ctx.keys.stream(args.at(2))?.ok_or(Error::NoSuchKey)?;
    let form = (args.len(), args.is(3, "full"), args.is(4, "count"));
    let count = match form {
        (3, ..) => None,
        (4, true, _) => Some(FULL_COUNT),
        (6, true, true) => {
            let n = crate::resp::parse::parse_i64(args.at(5)).ok_or(Error::NotInteger)?;
            Some(usize::try_from(n).unwrap_or(FULL_COUNT))
        }
        _ => return Err(wrong_form(ctx, "XINFO")),
    };
    let reply = &mut ctx.reply;
    let (log, totals) = (&stream.log, stream.log.totals());
    reply.map(if count.is_some() { 9 } else { 10 });
    int(reply, "length", totals.len as i64);
    int(reply, "radix-tree-keys", log.nodes().len() as i64);
    int(reply, "radix-tree-nodes", log.radix_nodes() as i64);
    id(reply, "last-generated-id", totals.last_id);
    id(reply, "max-deleted-entry-id", totals.max_deleted_id);
    int(reply, "entries-added", totals.entries_added as i64);
    id(reply, "recorded-first-entry-id", totals.first_id);
    match count {
        None => {
            int(reply, "groups", stream.groups.len() as i64);
            let (from, to) = (StreamId::MIN, StreamId::MAX);
            let ends = [log.range(from, to).next(), log.range_rev(from, to).next()];
            for (field, entry) in ["first-entry", "last-entry"].into_iter().zip(ends) {
                name(reply, field);
                match entry {
                    Some(entry) => reply_entry(reply, &entry),
                    None => reply.null(),
                }
            }
        }
        // 0 stands for all.
        Some(count) => full(reply, stream, if count == 0 { usize::MAX } else { count }),
    }
    Ok(())
}

fn full(reply: &mut Reply<'_>, stream: &Stream, count: usize) {
    let totals = stream.log.totals();
    name(reply, "entries");
    reply_entries(reply, stream.log.range(StreamId::MIN, StreamId::MAX).take(count));
    name(reply, "groups");
    reply.array(stream.groups.len());
    for (group_name, group) in &stream.groups {
        reply.map(7);
        name(reply, "name");
        reply.bulk(group_name);
        id(reply, "last-delivered-id", group.last_id);
        progress(reply, totals, group);
        int(reply, "pel-count", group.all_pending().len() as i64);
        name(reply, "pending");
        reply.array(group.all_pending().len().min(count));
        for (entry, pending) in group.all_pending().iter().take(count) {
            reply.array(4);
            reply_id(reply, entry);
            reply.bulk(group.get(pending.consumer).name());
            reply.int(pending.delivered_ms);
            reply.int(pending.deliveries as i64);
        }
        name(reply, "consumers");
        reply.array(group.consumers().len());
        for consumer in group.consumers() {
            reply.map(4);
            name(reply, "name");
            reply.bulk(consumer.name());
            int(reply, "seen-time", consumer.seen_ms);
            int(reply, "pel-count", consumer.pending().len() as i64);
            name(reply, "pending");
            reply.array(consumer.pending().len().min(count));
            for (entry, _) in consumer.pending().iter().take(count) {
                let pending = group.pending(entry);
                reply.array(3);
                reply_id(reply, entry);
                reply.int(pending.map_or(0, |p| p.delivered_ms));
                reply.int(pending.map_or(0, |p| p.deliveries as i64));
            }
        }
    }
}

/// How far a group has come.
fn progress(reply: &mut Reply<'_>, totals: &Totals, group: &Group) {
    known(reply, "entries-read", group.entries_read);
    known(reply, "lag", lag(totals, group));
}

/// `XINFO GROUPS key`
pub fn groups(ctx: &mut Ctx<'_>) -> Result {
    let stream = ctx.keys.stream(ctx.args.at(2))?.ok_or(Error::NoSuchKey)?;
    let reply = &mut ctx.reply;
    reply.array(stream.groups.len());
    for (group_name, group) in &stream.groups {
        reply.map(6);
        name(reply, "name");
        reply.bulk(group_name);
        int(reply, "consumers", group.consumers().len() as i64);
        int(reply, "pending", group.all_pending().len() as i64);
        id(reply, "last-delivered-id", group.last_id);
        progress(reply, stream.log.totals(), group);
    }
    Ok(())
}

/// `XINFO CONSUMERS key group`
pub fn consumers(ctx: &mut Ctx<'_>) -> Result {
    let (key, group_name, now_ms) = (ctx.args.at(2), ctx.args.at(3), ctx.now_ms());
    let stream = ctx.keys.stream(key)?.ok_or(Error::NoSuchKey)?;
    let group = stream.groups.get(group_name).ok_or_else(|| no_group_of(key, group_name))?;
    let reply = &mut ctx.reply;
    reply.array(group.consumers().len());
    for consumer in group.consumers() {
        reply.map(3);
        name(reply, "name");
        reply.bulk(consumer.name());
        int(reply, "pending", consumer.pending().len() as i64);
        int(reply, "idle", now_ms.wrapping_sub(consumer.seen_ms).max(0));
    }
    Ok(())
}

/// `XINFO HELP`
pub fn xinfo_help(ctx: &mut Ctx<'_>) -> Result {
    let forms = [
        ("CONSUMERS <key> <groupname>", "The consumers of a group."),
        ("GROUPS <key>", "The groups of a stream."),
        (
            "STREAM <key> [FULL [COUNT <count>]]",
            "Figures of a stream; FULL: with entries, groups and what is pending.",
        ),
    ];
    help(ctx, "XINFO", &forms)
}
