//! Streams (<https://redis.io/docs/latest/commands/?group=stream>): entries are added and removed in `add`, looked at in
//! `range`, read (and waited for) in `read`; consumer groups are kept in `groups`, deliveries are taken over in `claim`.

mod add;
mod claim;
mod effects;
mod groups;
mod ids;
mod info;
mod range;
mod read;
#[cfg(test)]
mod tests;

use super::{Ctx, Error, Event, Flags, Group, Handler, Spec};
use crate::resp::writer::{Reply, array_len};
use crate::store::num::IntBuf;
use crate::store::stream_id::{IdBuf, StreamId};
use crate::store::stream_node::Entry;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = WRITE.with(Flags::FAST);
const GROW: Flags = WRITE.with(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.with(Flags::FAST);

const fn stream(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Spec {
    Spec::new(Group::Stream, name, arity, handler).flags(flags).keys(1, 1, 1)
}

/// A subcommand, whose key is behind it.
const fn sub(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Spec {
    stream(name, arity, flags, handler).keys(2, 2, 1)
}

/// A subcommand that explains the others.
const fn help_of(name: &'static str, handler: Handler) -> Spec {
    stream(name, 2, Flags::LOADING.with(Flags::STALE), handler)
        .keys(0, 0, 0)
        .doc("5.0.0", "Show helpful text about the different subcommands")
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    stream("xadd", -5, GROW_FAST, add::xadd).doc("5.0.0", "Appends a new entry to a stream"),
    stream("xlen", 2, READ_FAST, range::xlen).doc("5.0.0", "Return the number of entries in a stream"),
    stream("xrange", -4, READ, |c| range::range(c, false))
        .doc("5.0.0", "Return a range of elements in a stream, with IDs matching the specified IDs interval"),
    stream("xrevrange", -4, READ, |c| range::range(c, true)).doc(
        "5.0.0",
        "Return a range of elements in a stream, with IDs matching the specified IDs interval, in reverse order (from \
         greater to smaller IDs) compared to XRANGE",
    ),
    stream("xread", -4, READ.with(Flags::BLOCKING), read::xread).keys(0, 0, 0).find_keys(|a| read::find_keys(a, 1)).doc(
        "5.0.0",
        "Return never seen elements in multiple streams, with IDs greater than the ones reported by the caller for each \
         stream. Can block.",
    ),
    stream("xreadgroup", -7, WRITE.with(Flags::BLOCKING), read::xreadgroup)
        .keys(0, 0, 0)
        .find_keys(|a| read::find_keys(a, 4))
        .doc(
            "5.0.0",
            "Return new entries from a stream using a consumer group, or access the history of the pending entries for a \
             given consumer. Can block.",
        ),
    stream("xdel", -3, WRITE_FAST, add::xdel).doc(
        "5.0.0",
        "Removes the specified entries from the stream. Returns the number of items actually deleted, that may be \
         different from the number of IDs passed in case certain IDs do not exist.",
    ),
    stream("xtrim", -4, WRITE, add::xtrim)
        .doc("5.0.0", "Trims the stream to (approximately if '~' is passed) a certain size"),
    stream("xsetid", -3, GROW_FAST, add::xsetid)
        .doc("5.0.0", "An internal command for replicating stream values"),
    Spec::new(Group::Stream, "xgroup", -2, groups::xgroup_help)
        .doc("5.0.0", "A container for consumer groups commands")
        .subcommands(&[
            sub("xgroup|create", -5, GROW, groups::create).doc("5.0.0", "Create a consumer group."),
            sub("xgroup|createconsumer", 5, GROW, groups::create_consumer)
                .doc("6.2.0", "Create a consumer in a consumer group."),
            sub("xgroup|delconsumer", 5, WRITE, groups::delete_consumer)
                .doc("5.0.0", "Delete a consumer from a consumer group."),
            sub("xgroup|destroy", 4, WRITE, groups::destroy).doc("5.0.0", "Destroy a consumer group."),
            help_of("xgroup|help", groups::xgroup_help),
            sub("xgroup|setid", -5, WRITE, groups::set_id)
                .doc("5.0.0", "Set a consumer group to an arbitrary last delivered ID value."),
        ]),
    stream("xack", -4, WRITE_FAST, groups::xack).doc(
        "5.0.0",
        "Marks a pending message as correctly processed, effectively removing it from the pending entries list of the \
         consumer group. Return value of the command is the number of messages successfully acknowledged, that is, the \
         IDs we were actually able to resolve in the PEL.",
    ),
    stream("xpending", -3, READ, groups::xpending).doc(
        "5.0.0",
        "Return information and entries from a stream consumer group pending entries list, that are messages fetched but \
         never acknowledged.",
    ),
    stream("xclaim", -6, WRITE_FAST, claim::xclaim).doc(
        "5.0.0",
        "Changes (or acquires) ownership of a message in a consumer group, as if the message was delivered to the \
         specified consumer.",
    ),
    stream("xautoclaim", -6, WRITE_FAST, claim::xautoclaim).doc(
        "6.2.0",
        "Changes (or acquires) ownership of messages in a consumer group, as if the messages were delivered to the \
         specified consumer.",
    ),
    Spec::new(Group::Stream, "xinfo", -2, info::xinfo_help)
        .doc("5.0.0", "A container for stream introspection commands")
        .subcommands(&[
            sub("xinfo|consumers", 4, READ, info::consumers)
                .doc("5.0.0", "List the consumers in a consumer group"),
            sub("xinfo|groups", 3, READ, info::groups).doc("5.0.0", "List the consumer groups of a stream"),
            help_of("xinfo|help", info::xinfo_help),
            sub("xinfo|stream", -3, READ, info::stream).doc("5.0.0", "Get information about a stream"),
        ]),
];

/// Groups, or an id, have changed. That breaks no transaction that watches the key: for it only entries count in Redis 7.0.
fn changed(ctx: &mut Ctx<'_>, event: &str, key: &[u8]) {
    ctx.keys.dirty(1);
    ctx.keys.notify(ctx.io, Event::Stream, event, key);
}

/// Writes an id.
fn reply_id(reply: &mut Reply<'_>, id: StreamId) {
    reply.bulk(IdBuf::new().format(id));
}

/// Writes an entry: its id, and its fields with their values.
fn reply_entry(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply.array(2);
    reply_id(reply, entry.id);
    reply.array(entry.len() * 2);
    let mut buf = IntBuf::new();
    for (name, value) in entry.fields() {
        reply.bulk(name.as_bytes(&mut buf));
        reply.bulk(value.as_bytes(&mut buf));
    }
}

/// Writes an array of as many elements as `write` says it has written.
fn reply_counted(reply: &mut Reply<'_>, write: impl FnOnce(&mut Reply<'_>) -> usize) {
    let start = reply.out.len();
    let count = write(reply);
    let mut head = Vec::new();
    array_len(&mut head, count);
    reply.out.splice(start..start, head);
}

/// Writes entries as an array.
fn reply_entries<'a>(reply: &mut Reply<'_>, entries: impl Iterator<Item = Entry<'a>>) {
    reply_counted(reply, |reply| entries.map(|entry| reply_entry(reply, &entry)).count());
}

/// What is replied where a key or its group is missing; `where_` says in which command, if that is told.
fn no_group(key: &[u8], group: &[u8], where_: &str) -> Error {
    let show = String::from_utf8_lossy;
    let text = format!("NOGROUP No such key '{}' or consumer group '{}'{where_}", show(key), show(group));
    Error::Text(text.into())
}

/// What is replied where the key is there and its group is missing.
fn no_group_of(key: &[u8], group: &[u8]) -> Error {
    let show = String::from_utf8_lossy;
    Error::Text(
        format!("NOGROUP No such consumer group '{}' for key name '{}'", show(group), show(key)).into(),
    )
}

/// A count as COUNT gives it: at least 0.
fn count_at(ctx: &Ctx<'_>, i: usize) -> super::Result<usize> {
    Ok(ctx.int(i)?.max(0) as usize)
}
