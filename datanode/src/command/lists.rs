//! Lists (<https://redis.io/docs/latest/commands/?group=list>).
//!
//! A blocking command that finds nothing blocks its client and is run again, from the start, when one of its keys gets an
//! element.

use std::ops::Range;

use super::{Args, Ctx, Error, Event, Flags, Group, Result, Spec, counted_keys};
use crate::store::list::{End, List};
use crate::store::num::IntBuf;

const PUSH: Flags = Flags(Flags::WRITE.0 | Flags::DENYOOM.0 | Flags::FAST.0);
const POP: Flags = Flags(Flags::WRITE.0 | Flags::FAST.0);
const MOVE: Flags = Flags(Flags::WRITE.0 | Flags::DENYOOM.0);
const BLOCK_POP: Flags = Flags(Flags::WRITE.0 | Flags::NOSCRIPT.0 | Flags::BLOCKING.0);
const BLOCK_MOVE: Flags = Flags(MOVE.0 | Flags::NOSCRIPT.0 | Flags::BLOCKING.0);

const fn list(name: &'static str, arity: i32, handler: super::Handler) -> Spec {
    Spec::new(Group::List, name, arity, handler).keys(1, 1, 1)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    list("lpush", -3, |c| push(c, End::Front, false)).flags(PUSH).doc("1.0.0", "Prepends one or more elements to a list. Creates the key if it doesn't exist."),
    list("rpush", -3, |c| push(c, End::Back, false)).flags(PUSH).doc("1.0.0", "Appends one or more elements to a list. Creates the key if it doesn't exist."),
    list("lpushx", -3, |c| push(c, End::Front, true)).flags(PUSH).doc("2.2.0", "Prepends one or more elements to a list only when the list exists."),
    list("rpushx", -3, |c| push(c, End::Back, true)).flags(PUSH).doc("2.2.0", "Appends an element to a list only when the list exists."),
    list("lpop", -2, |c| pop(c, End::Front)).flags(POP).doc("1.0.0", "Returns the first elements in a list after removing it. Deletes the list if the last element was popped."),
    list("rpop", -2, |c| pop(c, End::Back)).flags(POP).doc("1.0.0", "Returns and removes the last elements of a list. Deletes the list if the last element was popped."),
    list("llen", 2, llen).flags(Flags(Flags::READONLY.0 | Flags::FAST.0)).doc("1.0.0", "Returns the length of a list."),
    list("lindex", 3, lindex).flags(Flags::READONLY).doc("1.0.0", "Returns an element from a list by its index."),
    list("lrange", 4, lrange).flags(Flags::READONLY).doc("1.0.0", "Returns a range of elements from a list."),
    list("lset", 4, lset).flags(MOVE).doc("1.0.0", "Sets the value of an element in a list by its index."),
    list("linsert", 5, linsert).flags(MOVE).doc("2.2.0", "Inserts an element before or after another element in a list."),
    list("lrem", 4, lrem).flags(Flags::WRITE).doc("1.0.0", "Removes elements from a list. Deletes the list if the last element was removed."),
    list("ltrim", 4, ltrim).flags(Flags::WRITE).doc("1.0.0", "Removes elements from both ends a list. Deletes the list if all elements were trimmed."),
    list("lpos", -3, lpos).flags(Flags::READONLY).doc("6.0.6", "Returns the index of matching elements in a list."),
    list("rpoplpush", 3, rpoplpush).flags(MOVE).keys(1, 2, 1).doc("1.2.0", "Returns the last element of a list after removing and pushing it to another list. Deletes the list if the last element was popped."),
    list("lmove", 5, lmove).flags(MOVE).keys(1, 2, 1).doc("6.2.0", "Returns an element after popping it from one list and pushing it to another. Deletes the list if the last element was moved."),
    list("blpop", -3, |c| block_pop(c, End::Front)).flags(BLOCK_POP).keys(1, -2, 1).doc("2.0.0", "Removes and returns the first element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped."),
    list("brpop", -3, |c| block_pop(c, End::Back)).flags(BLOCK_POP).keys(1, -2, 1).doc("2.0.0", "Removes and returns the last element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped."),
    list("brpoplpush", 4, brpoplpush).flags(BLOCK_MOVE).keys(1, 2, 1).doc("2.2.0", "Pops an element from a list, pushes it to another list and returns it. Block until an element is available otherwise. Deletes the list if the last element was popped."),
    list("blmove", 6, blmove).flags(BLOCK_MOVE).keys(1, 2, 1).doc("6.2.0", "Pops an element from a list, pushes it to another list and returns it. Blocks until an element is available otherwise. Deletes the list if the last element was moved."),
    Spec::new(Group::List, "lmpop", -4, |c| multi_pop(c, 1)).flags(Flags::WRITE).find_keys(|a| counted_keys(a, 1)).doc("7.0.0", "Returns multiple elements from a list after removing them. Deletes the list if the last element was popped."),
    Spec::new(Group::List, "blmpop", -5, |c| multi_pop(c, 2)).flags(Flags(Flags::WRITE.0 | Flags::BLOCKING.0)).find_keys(|a| counted_keys(a, 2)).doc("7.0.0", "Pops the first element from one of multiple lists. Blocks until an element is available otherwise. Deletes the list if the last element was popped."),
];

fn push_event(end: End) -> &'static str {
    if end == End::Front { "lpush" } else { "rpush" }
}

fn pop_event(end: End) -> &'static str {
    if end == End::Front { "lpop" } else { "rpop" }
}

/// `LPUSH key element [element …]` and its kin
fn push(ctx: &mut Ctx<'_>, end: End, only_existing: bool) -> Result {
    let key = ctx.args.at(1);
    if only_existing && ctx.keys.list(key)?.is_none() {
        ctx.reply.int(0);
        return Ok(());
    }
    let limits = ctx.keys.limits();
    let list = ctx.keys.list_or_new(key)?;
    list.push_all(&limits, end, ctx.args.from(2));
    let len = list.len();
    ctx.keys.dirty(ctx.args.len() as u64 - 3);
    ctx.keys.modified(ctx.io, Event::List, push_event(end), key);
    ctx.keys.signal_ready(key);
    ctx.reply.int(len as i64);
    Ok(())
}

/// `LPOP key [count]`, `RPOP key [count]`
fn pop(ctx: &mut Ctx<'_>, end: End) -> Result {
    let key = ctx.args.at(1);
    let count = ctx.pop_count(Error::Arity(ctx.spec.name))?;
    let Some(list) = ctx.keys.list_mut(key)? else {
        if count.is_some() {
            ctx.reply.null_array()
        } else {
            ctx.reply.null()
        }
        return Ok(());
    };
    let Some(count) = count else {
        let popped = list.pop(end, |e| e.to_bytes().into_owned());
        match popped {
            Some(element) => ctx.reply.bulk(&element),
            None => ctx.reply.null(),
        }
        popped_from(ctx, key, end, 1);
        return Ok(());
    };
    let count = count.min(list.len());
    ctx.reply.array(count);
    for _ in 0..count {
        let mut buf = IntBuf::new();
        list.pop(end, |e| ctx.reply.bulk(e.as_bytes(&mut buf)));
    }
    if count > 0 {
        popped_from(ctx, key, end, count);
    }
    Ok(())
}

/// What follows from removing `count` elements.
fn popped_from(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: usize) {
    ctx.keys.dirty(count as u64 - 1);
    ctx.keys.modified(ctx.io, Event::List, pop_event(end), key);
    ctx.keys.remove_if_empty(ctx.io, key);
}

/// `LLEN key`
fn llen(ctx: &mut Ctx<'_>) -> Result {
    let len = ctx.keys.list(ctx.args.at(1))?.map_or(0, List::len);
    ctx.reply.int(len as i64);
    Ok(())
}

/// `LINDEX key index`
fn lindex(ctx: &mut Ctx<'_>) -> Result {
    let Some(list) = ctx.keys.list(ctx.args.at(1))? else {
        ctx.reply.null();
        return Ok(());
    };
    let index = crate::resp::parse::parse_i64(ctx.args.at(2)).ok_or(Error::NotInteger)?;
    match list.index(index).and_then(|i| list.get(i)) {
        Some(e) => ctx.reply.bulk(e.as_bytes(&mut IntBuf::new())),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// The positions that `start` and `stop` mean in something of `len` elements, both included, negative from the end.
pub(super) fn clamp_range(start: i64, stop: i64, len: usize) -> Range<usize> {
    let n = len as i64;
    let from = if start < 0 { start.saturating_add(n).max(0) } else { start };
    let to = if stop < 0 { stop.saturating_add(n) } else { stop.min(n - 1) };
    if from > to || from >= n { 0..0 } else { from as usize..to as usize + 1 }
}

/// `LRANGE key start stop`
fn lrange(ctx: &mut Ctx<'_>) -> Result {
    let (start, stop) = (ctx.int(2)?, ctx.int(3)?);
    let Some(list) = ctx.keys.list(ctx.args.at(1))? else {
        ctx.reply.array(0);
        return Ok(());
    };
    let range = clamp_range(start, stop, list.len());
    ctx.reply.array(range.len());
    let mut buf = IntBuf::new();
    for e in list.range(range) {
        ctx.reply.bulk(e.as_bytes(&mut buf));
    }
    Ok(())
}

/// `LSET key index element`
fn lset(ctx: &mut Ctx<'_>) -> Result {
    let (key, element) = (ctx.args.at(1), ctx.args.at(3));
    let limits = ctx.keys.limits();
    let index = ctx.int(2);
    let Some(list) = ctx.keys.list_mut(key)? else { return Err(Error::NoSuchKey) };
    let i = list.index(index?).ok_or(Error::IndexOutOfRange)?;
    list.set(&limits, i, element);
    ctx.keys.modified(ctx.io, Event::List, "lset", key);
    ctx.reply.ok();
    Ok(())
}

/// `LINSERT key BEFORE|AFTER pivot element`
fn linsert(ctx: &mut Ctx<'_>) -> Result {
    let (key, pivot, element) = (ctx.args.at(1), ctx.args.at(3), ctx.args.at(4));
    let after = match (ctx.args.is(2, "after"), ctx.args.is(2, "before")) {
        (true, _) => true,
        (_, true) => false,
        _ => return Err(Error::Syntax),
    };
    let limits = ctx.keys.limits();
    let Some(list) = ctx.keys.list_mut(key)? else {
        ctx.reply.int(0);
        return Ok(());
    };
    let Some(at) = list.iter().position(|e| e.eq_bytes(pivot)) else {
        ctx.reply.int(-1);
        return Ok(());
    };
    list.insert(&limits, at + usize::from(after), element);
    let len = list.len();
    ctx.keys.modified(ctx.io, Event::List, "linsert", key);
    ctx.reply.int(len as i64);
    Ok(())
}

/// `LREM key count element`
fn lrem(ctx: &mut Ctx<'_>) -> Result {
    let (key, element) = (ctx.args.at(1), ctx.args.at(3));
    let count = ctx.int(2)?;
    let removed = ctx.keys.list_mut(key)?.map_or(0, |l| l.remove_equal(element, count));
    if removed > 0 {
        ctx.keys.dirty(removed as u64 - 1);
        ctx.keys.modified(ctx.io, Event::List, "lrem", key);
        ctx.keys.remove_if_empty(ctx.io, key);
    }
    ctx.reply.int(removed as i64);
    Ok(())
}

/// `LTRIM key start stop`
fn ltrim(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let (start, stop) = (ctx.int(2)?, ctx.int(3)?);
    if let Some(list) = ctx.keys.list_mut(key)? {
        let before = list.len();
        list.retain_range(clamp_range(start, stop, before));
        let removed = before - list.len();
        ctx.keys.dirty((removed as u64).saturating_sub(1));
        // Redis counts a trim as a change even where nothing was cut off, but then dirty by 0: it is not propagated.
        if removed > 0 {
            ctx.keys.modified(ctx.io, Event::List, "ltrim", key);
        } else {
            ctx.keys.touched(key);
            let db = ctx.keys.db;
            ctx.keys.server.notify(ctx.io, Event::List, "ltrim", db, key);
        }
        ctx.keys.remove_if_empty(ctx.io, key);
    }
    ctx.reply.ok();
    Ok(())
}

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`
fn lpos(ctx: &mut Ctx<'_>) -> Result {
    let (key, element) = (ctx.args.at(1), ctx.args.at(2));
    let (mut rank, mut count, mut maxlen) = (1i64, None, 0usize);
    let mut i = 3;
    while i < ctx.args.len() {
        if i + 1 >= ctx.args.len() {
            return Err(Error::Syntax);
        }
        if ctx.args.is(i, "rank") {
            rank = ctx.int(i + 1)?;
            if rank == 0 {
                return Err("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list".into());
            }
        } else if ctx.args.is(i, "count") {
            let n = ctx.int(i + 1).ok().and_then(|n| usize::try_from(n).ok());
            count = Some(n.ok_or("ERR COUNT can't be negative")?);
        } else if ctx.args.is(i, "maxlen") {
            let n = ctx.int(i + 1).ok().and_then(|n| usize::try_from(n).ok());
            maxlen = n.ok_or("ERR MAXLEN can't be negative")?;
        } else {
            return Err(Error::Syntax);
        }
        i += 2;
    }
    let Some(list) = ctx.keys.list(key)? else {
        if count.is_some() {
            ctx.reply.array(0)
        } else {
            ctx.reply.null()
        }
        return Ok(());
    };
    let len = list.len();
    let scanned = if maxlen == 0 { len } else { maxlen.min(len) };
    let wanted = match count {
        None => 1,
        Some(0) => usize::MAX,
        Some(n) => n,
    };
    // The least integer has no magnitude of its own: in Redis 7.0 it does not skip anything.
    let skip = rank.checked_abs().map_or(0, |n| n as usize - 1);
    let matches = |e: &crate::store::elem::Elem<'_>| e.eq_bytes(element);
    let found: Vec<usize> = if rank > 0 {
        let hits = list.iter().take(scanned).enumerate().filter(|(_, e)| matches(e)).map(|(i, _)| i);
        hits.skip(skip).take(wanted).collect()
    } else {
        let hits =
            list.iter().rev().take(scanned).enumerate().filter(|(_, e)| matches(e)).map(|(i, _)| len - 1 - i);
        hits.skip(skip).take(wanted).collect()
    };
    match count {
        None => match found.first() {
            Some(i) => ctx.reply.int(*i as i64),
            None => ctx.reply.null(),
        },
        Some(_) => {
            ctx.reply.array(found.len());
            for i in found {
                ctx.reply.int(i as i64);
            }
        }
    }
    Ok(())
}

fn which_end(args: Args<'_>, i: usize) -> Result<End> {
    if args.is(i, "left") {
        Ok(End::Front)
    } else if args.is(i, "right") {
        Ok(End::Back)
    } else {
        Err(Error::Syntax)
    }
}

/// Moves one element; true if there was one, which has been replied.
fn move_element(ctx: &mut Ctx<'_>, from: End, to: End) -> Result<bool> {
    let (source, destination) = (ctx.args.at(1), ctx.args.at(2));
    if ctx.keys.list(source)?.is_none() {
        return Ok(false);
    }
    ctx.keys.list(destination)?;
    let limits = ctx.keys.limits();
    let Some(element) = ctx.keys.list_mut(source)?.and_then(|l| l.pop(from, |e| e.to_bytes().into_owned()))
    else {
        return Ok(false);
    };
    ctx.keys.list_or_new(destination)?.push(&limits, to, &element);
    ctx.keys.touched(destination);
    ctx.keys.notify(ctx.io, Event::List, push_event(to), destination);
    ctx.keys.modified(ctx.io, Event::List, pop_event(from), source);
    ctx.keys.remove_if_empty(ctx.io, source);
    ctx.keys.signal_ready(destination);
    ctx.reply.bulk(&element);
    Ok(true)
}

/// `RPOPLPUSH source destination`
fn rpoplpush(ctx: &mut Ctx<'_>) -> Result {
    if !move_element(ctx, End::Back, End::Front)? {
        ctx.reply.null();
    }
    Ok(())
}

/// `LMOVE source destination LEFT|RIGHT LEFT|RIGHT`
fn lmove(ctx: &mut Ctx<'_>) -> Result {
    let (from, to) = (which_end(ctx.args, 3)?, which_end(ctx.args, 4)?);
    if !move_element(ctx, from, to)? {
        ctx.reply.null();
    }
    Ok(())
}

/// Argument `i` as seconds; the deadline in monotonic milliseconds.
pub(super) fn deadline(ctx: &Ctx<'_>, i: usize) -> Result<u64> {
    let seconds = super::parse_float(ctx.args.at(i)).ok_or("ERR timeout is not a float or out of range")?;
    ctx.deadline(seconds)
}

/// `BRPOPLPUSH source destination timeout`
fn brpoplpush(ctx: &mut Ctx<'_>) -> Result {
    let until = deadline(ctx, 3)?;
    let (source, destination) = (ctx.args.at(1), ctx.args.at(2));
    if move_element(ctx, End::Back, End::Front)? {
        ctx.propagate(&[b"RPOPLPUSH", source, destination]);
        return Ok(());
    }
    if !ctx.block_on_keys(vec![source.into()], until) {
        ctx.reply.null();
    }
    Ok(())
}

/// `BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout`
fn blmove(ctx: &mut Ctx<'_>) -> Result {
    let (from, to) = (which_end(ctx.args, 3)?, which_end(ctx.args, 4)?);
    let until = deadline(ctx, 5)?;
    if move_element(ctx, from, to)? {
        let args = ctx.args;
        ctx.propagate(&[b"LMOVE", args.at(1), args.at(2), args.at(3), args.at(4)]);
        return Ok(());
    }
    if !ctx.block_on_keys(vec![ctx.args.at(1).into()], until) {
        ctx.reply.null();
    }
    Ok(())
}

/// `BLPOP key [key …] timeout`, `BRPOP key [key …] timeout`
fn block_pop(ctx: &mut Ctx<'_>, end: End) -> Result {
    let last = ctx.args.len() - 1;
    let until = deadline(ctx, last)?;
    for key in ctx.args.from(1).take(last - 1) {
        let Some(list) = ctx.keys.list_mut(key)? else { continue };
        let Some(element) = list.pop(end, |e| e.to_bytes().into_owned()) else { continue };
        ctx.reply.array(2);
        ctx.reply.bulk(key);
        ctx.reply.bulk(&element);
        popped_from(ctx, key, end, 1);
        ctx.propagate(&[if end == End::Front { b"LPOP".as_slice() } else { b"RPOP" }, key]);
        return Ok(());
    }
    let keys = ctx.args.from(1).take(last - 1).map(Into::into).collect();
    if !ctx.block_on_keys(keys, until) {
        ctx.reply.null_array();
    }
    Ok(())
}

/// `LMPOP numkeys key [key …] LEFT|RIGHT [COUNT count]` with `numkeys` at index `at` 1; at 2 it is
/// `BLMPOP timeout numkeys …`, whose timeout is checked last.
fn multi_pop(ctx: &mut Ctx<'_>, at: usize) -> Result {
    let numkeys = ctx.int(at).ok().filter(|n| *n > 0).ok_or("ERR numkeys should be greater than 0")?;
    let behind = usize::try_from(numkeys).ok().and_then(|n| n.checked_add(at + 1)).unwrap_or(usize::MAX);
    if behind >= ctx.args.len() {
        return Err(Error::Syntax);
    }
    let end = which_end(ctx.args, behind)?;
    let count = match ctx.args.len() - behind {
        1 => 1,
        // A wrong count is said before what follows it.
        more @ 3.. if ctx.args.is(behind + 1, "count") => {
            let n = ctx.int(behind + 2).ok().filter(|n| *n > 0);
            let n = n.ok_or("ERR count should be greater than 0")?;
            if more > 3 {
                return Err(Error::Syntax);
            }
            n as usize
        }
        _ => return Err(Error::Syntax),
    };
    let until = if at == 1 { None } else { Some(deadline(ctx, 1)?) };
    let keys = ctx.args.from(at + 1).take(behind - at - 1);
    for key in keys.clone() {
        let Some(list) = ctx.keys.list_mut(key)? else { continue };
        let n = count.min(list.len());
        ctx.reply.array(2);
        ctx.reply.bulk(key);
        ctx.reply.array(n);
        let mut buf = IntBuf::new();
        for _ in 0..n {
            list.pop(end, |e| ctx.reply.bulk(e.as_bytes(&mut buf)));
        }
        popped_from(ctx, key, end, n);
        let name = if end == End::Front { "LPOP" } else { "RPOP" };
        ctx.propagate(&[name.as_bytes(), key, n.to_string().as_bytes()]);
        return Ok(());
    }
    let keys = keys.map(Into::into).collect();
    if until.is_none_or(|until| !ctx.block_on_keys(keys, until)) {
        ctx.reply.null_array();
    }
    Ok(())
}
