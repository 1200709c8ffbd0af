//! Commands that take members from the ends of sorted sets. A blocking one that finds nothing blocks its client and is
//! run again, from the start, when one of its keys gets a member.

use super::removed_from;
use crate::command::lists::deadline;
use crate::command::{Ctx, Error, Result};

/// One end of a sorted set, as commands and events name it.
#[derive(Clone, Copy)]
pub(super) struct End {
    highest: bool,
    /// The command that takes from here.
    command: &'static str,
    event: &'static str,
}

/// The lowest scores.
pub(super) const MIN: End = End { highest: false, command: "ZPOPMIN", event: "zpopmin" };
/// The highest scores.
pub(super) const MAX: End = End { highest: true, command: "ZPOPMAX", event: "zpopmax" };

type Popped = Vec<(Vec<u8>, f64)>;

/// Removes up to `count` members, the outermost first; `None`: there is no such key.
fn take(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: usize) -> Result<Option<Popped>> {
    let Some(z) = ctx.keys.zset_mut(key)? else { return Ok(None) };
    let (len, n) = (z.len(), count.min(z.len()));
    let mut popped = Vec::with_capacity(n);
    let ranks = if end.highest { len - n..len } else { 0..n };
    z.remove_range(ranks, &mut |member, score| popped.push((member.to_bytes().into_owned(), score)));
    if end.highest {
        popped.reverse();
    }
    removed_from(ctx, key, n, end.event);
    Ok(Some(popped))
}

fn reply_popped(ctx: &mut Ctx<'_>, popped: &Popped, nested: bool) {
    for (member, score) in popped {
        if nested {
            ctx.reply.array(2);
        }
        ctx.reply.bulk(member);
        ctx.reply.double(*score);
    }
}

/// `ZPOPMIN key [count]`, `ZPOPMAX key [count]`
pub(super) fn pop(ctx: &mut Ctx<'_>, end: End) -> Result {
    let key = ctx.args.at(1);
    let count = ctx.pop_count(Error::Syntax)?;
    let popped = take(ctx, key, end, count.unwrap_or(1))?.unwrap_or_default();
    // Without a count the reply is flat in RESP3 too.
    let nested = ctx.reply.resp3() && count.is_some();
    ctx.reply.array(if nested { popped.len() } else { popped.len() * 2 });
    reply_popped(ctx, &popped, nested);
    Ok(())
}

/// `BZPOPMIN key [key …] timeout`, `BZPOPMAX key [key …] timeout`
pub(super) fn block_pop(ctx: &mut Ctx<'_>, end: End) -> Result {
    let last = ctx.args.len() - 1;
    let until = deadline(ctx, last)?;
    let keys = ctx.args.from(1).take(last - 1);
    for key in keys.clone() {
        let Some(popped) = take(ctx, key, end, 1)? else { continue };
        ctx.reply.array(1 + popped.len() * 2);
        ctx.reply.bulk(key);
        reply_popped(ctx, &popped, false);
        ctx.propagate(&[end.command.as_bytes(), key]);
        return Ok(());
    }
    if !ctx.block_on_keys(keys.map(Into::into).collect(), until) {
        ctx.reply.null_array();
    }
    Ok(())
}

/// `ZMPOP numkeys key [key …] MIN|MAX [COUNT count]` with `numkeys` at index `at` 1; at 2 it is
/// `BZMPOP timeout numkeys …`, whose timeout is checked last.
pub(super) fn multi_pop(ctx: &mut Ctx<'_>, at: usize) -> Result {
    let args = ctx.args;
    let numkeys = ctx.int(at).ok().filter(|n| *n > 0).ok_or("ERR numkeys should be greater than 0")?;
    let behind = usize::try_from(numkeys).ok().and_then(|n| n.checked_add(at + 1)).unwrap_or(usize::MAX);
    if behind >= args.len() {
        return Err(Error::Syntax);
    }
    let end = match (args.is(behind, "min"), args.is(behind, "max")) {
        (true, _) => MIN,
        (_, true) => MAX,
        _ => return Err(Error::Syntax),
    };
    let mut count = None;
    for i in (behind + 1..args.len()).step_by(2) {
        if count.is_some() || !args.is(i, "count") || i + 1 >= args.len() {
            return Err(Error::Syntax);
        }
        let n = ctx.int(i + 1).ok().filter(|n| *n > 0);
        count = Some(n.ok_or("ERR count should be greater than 0")? as usize);
    }
    let until = if at == 1 { None } else { Some(deadline(ctx, 1)?) };
    let keys = args.from(at + 1).take(behind - at - 1);
    for key in keys.clone() {
        let Some(popped) = take(ctx, key, end, count.unwrap_or(1))? else { continue };
        ctx.reply.array(2);
        ctx.reply.bulk(key);
        ctx.reply.array(popped.len());
        reply_popped(ctx, &popped, true);
        ctx.propagate(&[end.command.as_bytes(), key, popped.len().to_string().as_bytes()]);
        return Ok(());
    }
    let keys = keys.map(Into::into).collect();
    if until.is_none_or(|until| !ctx.block_on_keys(keys, until)) {
        ctx.reply.null_array();
    }
    Ok(())
}
