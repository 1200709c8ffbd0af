//! `XGROUP`, `XACK`, `XPENDING`.

use super::{changed, count_at, ids, no_group, no_group_of, reply_counted, reply_id};
use crate::command::{Ctx, Error, Result, help, wrong_form};
use crate::store::stream::Stream;
use crate::store::stream_group::{Group, Pending};
use crate::store::stream_id::StreamId;
use crate::store::value::Value;

/// The group that `XGROUP` is about, to be changed; what it is told where the stream or the group is missing.
fn group<'c>(ctx: &'c mut Ctx<'_>) -> Result<&'c mut Group> {
    let (key, name) = (ctx.args.at(2), ctx.args.at(3));
    let stream = ctx.keys.stream_mut(key)?.ok_or(NO_KEY)?;
    stream.groups.get_mut(name).ok_or_else(|| no_group_of(key, name))
}

const NO_KEY: Error = Error::Text(std::borrow::Cow::Borrowed(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to \
     create an empty stream automatically.",
));

/// Options behind the id: whether MKSTREAM is among them, where that is allowed, and the number of entries read.
fn options(ctx: &Ctx<'_>, makes: bool) -> Result<(bool, Option<i64>)> {
    let (mut make, mut read, mut i) = (false, None, 5);
    while i < ctx.args.len() {
        if makes && ctx.args.is(i, "mkstream") {
            make = true;
        } else if ctx.args.is(i, "entriesread") && i + 1 < ctx.args.len() {
            i += 1;
            read = match ctx.int(i)? {
                -1 => None,
                n if n < 0 => return Err("ERR value for ENTRIESREAD must be positive or -1".into()),
                n => Some(n),
            };
        } else {
            return Err(wrong_form(ctx, "XGROUP"));
        }
        i += 1;
    }
    Ok((make, read))
}

/// `XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read]`
pub fn create(ctx: &mut Ctx<'_>) -> Result {
    let (make, read) = options(ctx, true)?;
    let (key, name, id) = (ctx.args.at(2), ctx.args.at(3), ctx.args.at(4));
    let stream = ctx.keys.stream(key)?;
    if stream.is_none() && !make {
        return Err(NO_KEY);
    }
    if ctx.args.len() > 8 {
        return Err(wrong_form(ctx, "XGROUP"));
    }
    let last_id = match id {
        b"$" => stream.map_or(StreamId::MIN, |s| s.log.totals().last_id),
        _ => ids::exact(id)?,
    };
    let made = stream.is_none();
    if stream.is_some_and(|s| s.groups.contains_key(name)) {
        return Err("BUSYGROUP Consumer Group name already exists".into());
    }
    ctx.keys.stream_or_new(key)?.groups.insert(name.into(), Group::new(last_id, read));
    if made {
        ctx.keys.touched(key);
    }
    changed(ctx, "xgroup-create", key);
    ctx.reply.ok();
    Ok(())
}

/// `XGROUP SETID key group id|$ [ENTRIESREAD entries-read]`
pub fn set_id(ctx: &mut Ctx<'_>) -> Result {
    let (_, read) = options(ctx, false)?;
    let (key, id) = (ctx.args.at(2), ctx.args.at(4));
    group(ctx)?;
    if ctx.args.len() > 7 {
        return Err(wrong_form(ctx, "XGROUP"));
    }
    let end = ctx.keys.stream(key)?.map_or(StreamId::MIN, |s| s.log.totals().last_id);
    let last_id = if id == b"$" { end } else { ids::loose(id, 0)? };
    let group = group(ctx)?;
    (group.last_id, group.entries_read) = (last_id, read);
    changed(ctx, "xgroup-setid", key);
    ctx.reply.ok();
    Ok(())
}

/// `XGROUP DESTROY key group`
pub fn destroy(ctx: &mut Ctx<'_>) -> Result {
    let (key, name) = (ctx.args.at(2), ctx.args.at(3));
    let stream = ctx.keys.stream_mut(key)?.ok_or(NO_KEY)?;
    let removed = stream.groups.remove(name);
    ctx.reply.int(i64::from(removed.is_some()));
    if let Some(group) = removed {
        changed(ctx, "xgroup-destroy", key);
        // Those who wait in it are told.
        ctx.keys.signal_ready(key);
        let lazy = ctx.keys.server.config.lazyfree_lazy_server_del;
        let rest = Stream { groups: [(name.into(), group)].into(), ..Stream::default() };
        ctx.keys.server.discard(Value::Stream(Box::new(rest)), lazy);
    }
    Ok(())
}

/// `XGROUP CREATECONSUMER key group consumer`
pub fn create_consumer(ctx: &mut Ctx<'_>) -> Result {
    let (key, name, now_ms) = (ctx.args.at(2), ctx.args.at(4), ctx.now_ms());
    let made = group(ctx)?.add_consumer(name, now_ms).is_some();
    if made {
        changed(ctx, "xgroup-createconsumer", key);
    }
    ctx.reply.int(i64::from(made));
    Ok(())
}

/// `XGROUP DELCONSUMER key group consumer`
pub fn delete_consumer(ctx: &mut Ctx<'_>) -> Result {
    let (key, name) = (ctx.args.at(2), ctx.args.at(4));
    let removed = group(ctx)?.remove_consumer(name);
    if removed.is_some() {
        changed(ctx, "xgroup-delconsumer", key);
    }
    ctx.reply.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// `XGROUP HELP`
pub fn xgroup_help(ctx: &mut Ctx<'_>) -> Result {
    let forms = [
        (
            "CREATE <key> <groupname> <id|$> [MKSTREAM] [ENTRIESREAD <entries_read>]",
            "Make a group that reads what comes behind an id. MKSTREAM: make the stream where there is none.",
        ),
        ("CREATECONSUMER <key> <groupname> <consumer>", "Make a consumer in a group."),
        ("DELCONSUMER <key> <groupname> <consumer>", "Remove a consumer with what is pending for it."),
        ("DESTROY <key> <groupname>", "Remove a group."),
        (
            "SETID <key> <groupname> <id|$> [ENTRIESREAD <entries_read>]",
            "Set the place from which a group goes on reading.",
        ),
    ];
    help(ctx, "XGROUP", &forms)
}

/// `XACK key group id [id …]`
pub fn xack(ctx: &mut Ctx<'_>) -> Result {
    let (key, name) = (ctx.args.at(1), ctx.args.at(2));
    if ctx.keys.stream(key)?.is_none_or(|s| !s.groups.contains_key(name)) {
        ctx.reply.int(0);
        return Ok(());
    }
    let ids: Vec<StreamId> = ctx.args.from(3).map(ids::exact).collect::<Result<_>>()?;
    let Some(group) = ctx.keys.stream_mut(key)?.and_then(|s| s.groups.get_mut(name)) else { return Ok(()) };
    let n = ids.into_iter().filter(|&id| group.acknowledge(id).is_some()).count();
    ctx.keys.dirty(n as u64);
    ctx.reply.int(n as i64);
    Ok(())
}

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
pub fn xpending(ctx: &mut Ctx<'_>) -> Result {
    let (args, key, name) = (ctx.args, ctx.args.at(1), ctx.args.at(2));
    if args.len() != 3 && !(6..=9).contains(&args.len()) {
        return Err(Error::Syntax);
    }
    let (mut at, mut min_idle) = (3, 0);
    if args.is(3, "idle") {
        min_idle = ctx.int(4)?;
        at = 5;
        if args.len() < 8 {
            return Err(Error::Syntax);
        }
    }
    let range = if args.len() == 3 {
        None
    } else {
        let count = count_at(ctx, at + 2)?;
        Some((ids::start(args.at(at))?, ids::end(args.at(at + 1))?, count))
    };
    let now_ms = ctx.now_ms();
    let group =
        ctx.keys.stream(key)?.and_then(|s| s.groups.get(name)).ok_or_else(|| no_group(key, name, ""))?;
    let reply = &mut ctx.reply;
    let Some((from, to, count)) = range else {
        summary(reply, group);
        return Ok(());
    };
    let of_consumer = match args.get(at + 3).map(|name| group.find(name)) {
        None => None,
        Some(Some(id)) => Some(group.get(id).pending()),
        // Nothing is pending for nobody.
        Some(None) => {
            reply.array(0);
            return Ok(());
        }
    };
    reply_counted(reply, |reply| {
        let mut written = 0;
        let mut write = |id: StreamId, pending: &Pending| {
            let idle = now_ms.wrapping_sub(pending.delivered_ms);
            if written < count && (min_idle == 0 || idle >= min_idle) {
                written += 1;
                reply.array(4);
                reply_id(reply, id);
                reply.bulk(group.get(pending.consumer).name());
                reply.int(idle.max(0));
                reply.int(pending.deliveries as i64);
            }
            written < count
        };
        match of_consumer {
            Some(ids) => {
                let pending = ids.range(from, to).filter_map(|(id, _)| Some((id, group.pending(id)?)));
                let _ = pending.take_while(|(id, p)| write(*id, p)).last();
            }
            None => {
                let _ = group.all_pending().range(from, to).take_while(|(id, p)| write(*id, p)).last();
            }
        }
        written
    });
    Ok(())
}

/// How many entries are pending, from which to which, and for whom how many.
fn summary(reply: &mut crate::resp::writer::Reply<'_>, group: &Group) {
    let all = group.all_pending();
    reply.array(4);
    reply.int(all.len() as i64);
    let Some((first, last)) = all.ends() else {
        reply.null();
        reply.null();
        return reply.null_array();
    };
    reply_id(reply, first);
    reply_id(reply, last);
    reply_counted(reply, |reply| {
        let busy = group.consumers().filter(|c| !c.pending().is_empty());
        busy.map(|consumer| {
            reply.array(2);
            reply.bulk(consumer.name());
            reply.bulk_int(consumer.pending().len() as i64);
        })
        .count()
    });
}
