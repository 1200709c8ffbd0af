//! `XLEN`, `XRANGE`, `XREVRANGE`.

use super::{count_at, ids, reply_entries};
use crate::command::{Ctx, Error, Result};

/// `XLEN key`
pub fn xlen(ctx: &mut Ctx<'_>) -> Result {
    let len = ctx.keys.stream(ctx.args.at(1))?.map_or(0, |s| s.log.len());
    ctx.reply.int(len as i64);
    Ok(())
}

/// `XRANGE key start end [COUNT count]`, `XREVRANGE key end start [COUNT count]`
pub fn range(ctx: &mut Ctx<'_>, reverse: bool) -> Result {
    let (first, last) = if reverse { (3, 2) } else { (2, 3) };
    let (from, to) = (ids::start(ctx.args.at(first))?, ids::end(ctx.args.at(last))?);
    let mut count = None;
    for i in (4..ctx.args.len()).step_by(2) {
        if !ctx.args.is(i, "count") || i + 1 == ctx.args.len() {
            return Err(Error::Syntax);
        }
        count = Some(count_at(ctx, i + 1)?);
    }
    let Some(stream) = ctx.keys.stream(ctx.args.at(1))? else {
        ctx.reply.array(0);
        return Ok(());
    };
    if count == Some(0) {
        ctx.reply.null_array();
        return Ok(());
    }
    let count = count.unwrap_or(usize::MAX);
    match reverse {
        false => reply_entries(&mut ctx.reply, stream.log.range(from, to).take(count)),
        true => reply_entries(&mut ctx.reply, stream.log.range_rev(from, to).take(count)),
    }
    Ok(())
}
