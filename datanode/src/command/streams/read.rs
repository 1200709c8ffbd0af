//! `XREAD` and `XREADGROUP`.
//!
//! One that finds nothing and may wait is run again when something happens to one of its streams; then it looks at that one
//! only, as in Redis, and has its ids as they were understood at first: `$` stands for the end as it was when it came.

use super::effects::Effects;
use super::{count_at, ids, no_group, reply_counted, reply_entries, reply_entry, reply_id};
use crate::command::{Args, Ctx, Error, Event, OwnedArgs, Propagation, Result};
use crate::resp::writer::Reply;
use crate::store::stream::{Stream, advance};
use crate::store::stream_group::{ConsumerId, Pending};
use crate::store::stream_id::StreamId;

/// Entries that a client gets at most that has waited and said nothing of a count.
const WOKEN_COUNT: usize = 1000;

/// Keys of `XREAD` (`from` 1) and `XREADGROUP` (4): the first half of what follows STREAMS, looked for from index `from` on.
pub fn find_keys(args: &Args<'_>, from: usize) -> Vec<usize> {
    let Some(word) = (from..args.len()).find(|&i| args.is(i, "streams")) else { return Vec::new() };
    (word + 1..=word + (args.len() - word - 1) / 2).collect()
}

/// From where on a stream is to be read.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// What no consumer of the group has got yet (`>`).
    Delivered,
    /// Entries behind this one; in a group those that are pending for the consumer.
    Id(StreamId),
}

/// What is asked for.
struct Request<'a> {
    count: Option<usize>,
    /// When to stop waiting, monotonic milliseconds (0: never).
    until: Option<u64>,
    /// Group and consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    noack: bool,
    keys: Vec<&'a [u8]>,
    /// Index of the first id.
    ids_at: usize,
}

/// `XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key …] id [id …]`
pub fn xread(ctx: &mut Ctx<'_>) -> Result {
    read(ctx, false)
}

/// `XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key …] id [id …]`
pub fn xreadgroup(ctx: &mut Ctx<'_>) -> Result {
    read(ctx, true)
}

fn read(ctx: &mut Ctx<'_>, in_group: bool) -> Result {
    let request = request(ctx, in_group)?;
    ctx.propagation = Propagation::Done;
    if let Some(key) = ctx.keys.server.woken_by.take() {
        return wake(ctx, &request, &key);
    }
    let mut after = Vec::with_capacity(request.keys.len());
    for (i, key) in request.keys.iter().enumerate() {
        after.push(place(ctx, &request, key, ctx.args.at(request.ids_at + i))?);
    }
    let start = ctx.reply.out.len();
    let mut served = 0;
    for (&key, &after) in request.keys.iter().zip(&after) {
        if serve(ctx, &request, key, after)? {
            served += 1;
        }
    }
    if served > 0 {
        // How many they are is known only now.
        let mut head = Vec::new();
        let mut reply = Reply { out: &mut head, proto: ctx.reply.proto };
        if reply.resp3() {
            reply.map(served)
        } else {
            reply.array(served)
        }
        ctx.reply.out.splice(start..start, head);
        return Ok(());
    }
    wait(ctx, &request, &after);
    Ok(())
}

fn request<'a>(ctx: &Ctx<'a>, in_group: bool) -> Result<Request<'a>> {
    let args = ctx.args;
    let mut request =
        Request { count: None, until: None, group: None, noack: false, keys: Vec::new(), ids_at: 0 };
    let only_in_group = |option: &str| {
        Error::err(format_args!(
            "The {option} option is only supported by XREADGROUP. You called XREAD instead."
        ))
    };
    let mut i = 1;
    while i < args.len() && request.ids_at == 0 {
        let more = args.len() - 1 - i;
        if more > 0 && args.is(i, "block") {
            if ctx.keys.server.in_script() {
                let name = String::from_utf8_lossy(args.at(0));
                return Err(Error::err(format_args!(
                    "{name} command is not allowed with BLOCK option from scripts"
                )));
            }
            i += 1;
            request.until = Some(deadline(ctx, i)?);
        } else if more > 0 && args.is(i, "count") {
            i += 1;
            request.count = Some(count_at(ctx, i)?).filter(|n| *n > 0);
        } else if more > 0 && args.is(i, "streams") {
            if more % 2 == 1 {
                return Err(
                    "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.".into()
                );
            }
            request.keys = args.from(i + 1).take(more / 2).collect();
            request.ids_at = i + 1 + more / 2;
        } else if more > 1 && args.is(i, "group") {
            if !in_group {
                return Err(only_in_group("GROUP"));
            }
            request.group = Some((args.at(i + 1), args.at(i + 2)));
            i += 2;
        } else if args.is(i, "noack") {
            if !in_group {
                return Err(only_in_group("NOACK"));
            }
            request.noack = true;
        } else {
            return Err(Error::Syntax);
        }
        i += 1;
    }
    if request.ids_at == 0 {
        return Err(Error::Syntax);
    }
    if in_group && request.group.is_none() {
        return Err("ERR Missing GROUP option for XREADGROUP".into());
    }
    Ok(request)
}

/// Argument `i` as milliseconds from now; 0: no end.
fn deadline(ctx: &Ctx<'_>, i: usize) -> Result<u64> {
    let ms = ctx.int(i).map_err(|_| Error::Text("ERR timeout is not an integer or out of range".into()))?;
    match u64::try_from(ms) {
        Err(_) => Err("ERR timeout is negative".into()),
        Ok(0) => Ok(0),
        // Beyond the end of time, which Redis 7.0 takes for the past.
        Ok(_) if ms.checked_add(ctx.now_ms()).is_none() => Ok(ctx.io.now.mono_ms().max(1)),
        Ok(ms) => Ok(ctx.io.now.mono_ms() + ms),
    }
}

/// What the id given for a stream means.
fn place(ctx: &mut Ctx<'_>, request: &Request<'_>, key: &[u8], id: &[u8]) -> Result<After> {
    let stream = ctx.keys.stream(key)?;
    if let Some((group, _)) = request.group
        && stream.is_none_or(|s| !s.groups.contains_key(group))
    {
        return Err(no_group(key, group, " in XREADGROUP with GROUP option"));
    }
    match (id, request.group) {
        (b"$", Some(_)) => Err("ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history \
                                of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID \
                                would just return an empty result set."
            .into()),
        (b"$", None) => Ok(After::Id(stream.map_or(StreamId::MIN, |s| s.log.totals().last_id))),
        (b">", Some(_)) => Ok(After::Delivered),
        (b">", None) => Err("ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
                             <consumer> option."
            .into()),
        _ => match ids::exact(id)? {
            // Redis cannot tell them apart.
            StreamId::MAX if request.group.is_some() => Ok(After::Delivered),
            id => Ok(After::Id(id)),
        },
    }
}

/// Replies a stream with what there is for the client; false if there is nothing.
fn serve(ctx: &mut Ctx<'_>, request: &Request<'_>, key: &[u8], after: After) -> Result<bool> {
    let Some(stream) = ctx.keys.stream(key)? else { return Ok(false) };
    let last = stream.log.last_entry_id();
    let Some((group_name, consumer)) = request.group else {
        let After::Id(after) = after else { return Ok(false) };
        let Some(from) = after.next().filter(|_| last.is_some_and(|last| last > after)) else {
            return Ok(false);
        };
        head(&mut ctx.reply, key);
        let entries = stream.log.range(from, StreamId::MAX);
        reply_entries(&mut ctx.reply, entries.take(request.count.unwrap_or(usize::MAX)));
        return Ok(true);
    };
    let Some(group) = stream.groups.get(group_name) else { return Ok(false) };
    if after == After::Delivered && last.is_none_or(|last| last <= group.last_id) {
        return Ok(false);
    }
    head(&mut ctx.reply, key);
    deliver(ctx, key, (group_name, consumer), after, request.count, request.noack)?;
    ctx.keys.dirty(1);
    Ok(true)
}

/// Begins a stream's part of the reply: its name, and what follows.
fn head(reply: &mut Reply<'_>, key: &[u8]) {
    if !reply.resp3() {
        reply.array(2);
    }
    reply.bulk(key);
}

/// Delivers entries to a consumer, who is made if need be, and replies them.
fn deliver(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    (group_name, consumer_name): (&[u8], &[u8]),
    after: After,
    count: Option<usize>,
    noack: bool,
) -> Result {
    let mut effects = Effects::new(ctx, key, group_name);
    let (now_ms, count) = (ctx.now_ms(), count.unwrap_or(usize::MAX));
    let Some(stream) = ctx.keys.stream_mut(key)? else { return Ok(()) };
    let Stream { log, groups } = stream;
    let Some(group) = groups.get_mut(group_name) else { return Ok(()) };
    let made = group.add_consumer(consumer_name, now_ms);
    if made.is_some() && noack {
        effects.made(consumer_name);
    }
    let Some(consumer) = made.or_else(|| group.find(consumer_name)) else { return Ok(()) };
    group.seen(consumer, now_ms);
    match after {
        After::Id(after) => history(&mut ctx.reply, stream, group_name, consumer, after, count, now_ms),
        After::Delivered => {
            let from = group.last_id.next().unwrap_or(StreamId::MAX);
            let mut moved = false;
            reply_counted(&mut ctx.reply, |reply| {
                let entries = log.range(from, StreamId::MAX).take(count);
                entries
                    .map(|entry| {
                        moved |= advance(log.totals(), group, entry.id);
                        reply_entry(reply, &entry);
                        if !noack {
                            let pending = Pending { consumer, delivered_ms: now_ms, deliveries: 1 };
                            group.set_pending(entry.id, pending);
                            effects.delivered(group, entry.id, &pending);
                        }
                    })
                    .count()
            });
            // Else the claims say it.
            if moved && noack {
                effects.moved(group);
            }
        }
    }
    if made.is_some() {
        ctx.keys.dirty(1);
        ctx.keys.notify(ctx.io, Event::Stream, "xgroup-createconsumer", key);
    }
    effects.release(ctx);
    Ok(())
}

/// Replies what is pending for a consumer behind an id; entries that are gone as a null.
fn history(
    reply: &mut Reply<'_>,
    stream: &mut Stream,
    group: &[u8],
    consumer: ConsumerId,
    after: StreamId,
    count: usize,
    now_ms: i64,
) {
    let Stream { log, groups } = stream;
    let (Some(group), Some(from)) = (groups.get_mut(group), after.next()) else { return reply.array(0) };
    let pending: Vec<StreamId> =
        group.get(consumer).pending().range(from, StreamId::MAX).take(count).map(|(id, _)| id).collect();
    reply.array(pending.len());
    for id in pending {
        match (log.get(id), group.pending(id)) {
            (Some(entry), Some(before)) => {
                reply_entry(reply, &entry);
                let deliveries = before.deliveries.wrapping_add(1);
                group.set_pending(id, Pending { consumer, delivered_ms: now_ms, deliveries });
            }
            _ => {
                reply.array(2);
                reply_id(reply, id);
                reply.null_array();
            }
        }
    }
}

/// Has the client wait, if it asked for that; else it is told that there is nothing.
fn wait(ctx: &mut Ctx<'_>, request: &Request<'_>, after: &[After]) {
    let waits = request.until.is_some_and(|until| {
        let keys = request.keys.iter().map(|&key| key.into()).collect();
        let ids = after.iter().map(|after| match after {
            After::Delivered => ">".to_owned(),
            After::Id(id) => id.to_string(),
        });
        let words = ctx.args.iter().take(request.ids_at).map(<[u8]>::to_vec);
        let command = OwnedArgs::collect(words.chain(ids.map(String::into_bytes)));
        ctx.block_on_keys_with(keys, until, command)
    });
    if !waits {
        ctx.reply.null_array();
    }
}

/// Something has happened to a stream for which the client waits.
fn wake(ctx: &mut Ctx<'_>, request: &Request<'_>, key: &[u8]) -> Result {
    let Some(at) = request.keys.iter().position(|k| *k == key) else { return Ok(()) };
    let mut after = Vec::with_capacity(request.keys.len());
    for i in 0..request.keys.len() {
        after.push(match ctx.args.at(request.ids_at + i) {
            b">" => After::Delivered,
            id => After::Id(ids::exact(id)?),
        });
    }
    let count = request.count.or(Some(WOKEN_COUNT));
    let news = match (ctx.keys.stream(key), request.group) {
        (Err(_) | Ok(None), Some(_)) => return Err("UNBLOCKED the stream key no longer exists".into()),
        (Err(_) | Ok(None), None) => None,
        (Ok(Some(stream)), group) => {
            let after = match (group, after[at]) {
                (None, After::Delivered) => None,
                (None, After::Id(id)) => Some(id),
                (Some((name, _)), _) => match stream.groups.get(name) {
                    Some(group) => Some(group.last_id),
                    None => {
                        return Err(
                            "NOGROUP the consumer group this client was blocked on no longer exists".into()
                        );
                    }
                },
            };
            after.filter(|after| stream.log.totals().last_id > *after).map(|after| (stream, after))
        }
    };
    let Some((stream, last_seen)) = news else {
        wait(ctx, request, &after);
        return Ok(());
    };
    if ctx.reply.resp3() {
        ctx.reply.map(1)
    } else {
        ctx.reply.array(1)
    }
    head(&mut ctx.reply, key);
    if let Some(group) = request.group {
        return deliver(ctx, key, group, After::Delivered, count, request.noack);
    }
    let from = last_seen.next().unwrap_or(StreamId::MAX);
    reply_entries(&mut ctx.reply, stream.log.range(from, StreamId::MAX).take(count.unwrap_or(usize::MAX)));
    Ok(())
}
