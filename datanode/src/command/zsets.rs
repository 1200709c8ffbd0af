//! Sorted sets (<https://redis.io/docs/latest/commands/?group=sorted-set>): members one by one. Ranges, pops and the
//! combination of several sets are in files of their own.

mod combine;
mod pop;
mod range;

use std::collections::HashSet;

use self::combine::Op;
use self::range::By;
use super::scan::{Scan, reply_found};
use super::{Args, Ctx, Error, Event, Flags, Group, Handler, Result, Spec, counted_keys};
use crate::resp::writer::{Reply, format_double};
use crate::store::elem::Elem;
use crate::store::num::IntBuf;
use crate::store::rng::Rng;
use crate::store::zset::ZSet;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = WRITE.with(Flags::FAST);
const GROW: Flags = WRITE.with(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.with(Flags::FAST);
const BLOCK: Flags = WRITE.with(Flags::BLOCKING);
const BLOCK_POP: Flags = BLOCK.with(Flags::NOSCRIPT).with(Flags::FAST);

/// With a negative count ZRANDMEMBER may draw members again, without an end in the set's size: the most it draws.
const MAX_DRAWN: i64 = 1 << 24;

const fn zset(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Spec {
    Spec::new(Group::SortedSet, name, arity, handler).flags(flags).keys(1, 1, 1)
}

/// A command whose keys are counted, with the number of them at index 1.
const fn counted(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Spec {
    zset(name, arity, flags, handler).keys(0, 0, 0).find_keys(|a| counted_keys(a, 1))
}

/// The same with a destination in front.
const fn storing(name: &'static str, handler: Handler) -> Spec {
    zset(name, -4, GROW, handler).find_keys(destination_and_counted_keys)
}

fn destination_and_counted_keys(args: &Args<'_>) -> Vec<usize> {
    let mut keys = counted_keys(args, 2);
    if !keys.is_empty() {
        keys.insert(0, 1);
    }
    keys
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    zset("zadd", -4, GROW_FAST, |c| add(c, false)).doc("1.2.0", "Adds members or changes their scores."),
    zset("zincrby", 4, GROW_FAST, |c| add(c, true)).doc("1.2.0", "Adds to a member's score."),
    zset("zrem", -3, WRITE_FAST, zrem).doc("1.2.0", "Removes members."),
    zset("zcard", 2, READ_FAST, zcard).doc("1.2.0", "Returns the number of members."),
    zset("zscore", 3, READ_FAST, zscore).doc("1.2.0", "Returns a member's score."),
    zset("zmscore", -3, READ_FAST, zmscore).doc("6.2.0", "Returns the scores of several members."),
    zset("zrank", 3, READ_FAST, |c| rank(c, false))
        .doc("2.0.0", "Returns a member's rank, lowest score first."),
    zset("zrevrank", 3, READ_FAST, |c| rank(c, true))
        .doc("2.0.0", "Returns a member's rank, highest score first."),
    zset("zrandmember", -2, READ, zrandmember).doc("6.2.0", "Returns random members."),
    zset("zscan", -3, READ, zscan).doc("2.8.0", "Iterates over members and scores, a part per call."),
    zset("zrange", -4, READ, range::zrange)
        .doc("1.2.0", "Returns members of a range of ranks, scores or names."),
    zset("zrangestore", -5, GROW, range::zrangestore)
        .keys(1, 2, 1)
        .doc("6.2.0", "Stores members of a range in a key."),
    zset("zrevrange", -4, READ, |c| range::range_by(c, By::Rank, true))
        .doc("1.2.0", "Returns members of a range of ranks, highest score first."),
    zset("zrangebyscore", -4, READ, |c| range::range_by(c, By::Score, false))
        .doc("1.0.5", "Returns members of a range of scores."),
    zset("zrevrangebyscore", -4, READ, |c| range::range_by(c, By::Score, true))
        .doc("2.2.0", "Returns members of a range of scores, highest score first."),
    zset("zrangebylex", -4, READ, |c| range::range_by(c, By::Lex, false))
        .doc("2.8.9", "Returns members of a range of names."),
    zset("zrevrangebylex", -4, READ, |c| range::range_by(c, By::Lex, true))
        .doc("2.8.9", "Returns members of a range of names, last name first."),
    zset("zcount", 4, READ_FAST, |c| range::count(c, By::Score))
        .doc("2.0.0", "Counts members of a range of scores."),
    zset("zlexcount", 4, READ_FAST, |c| range::count(c, By::Lex))
        .doc("2.8.9", "Counts members of a range of names."),
    zset("zremrangebyrank", 4, WRITE, |c| range::remove(c, By::Rank))
        .doc("2.0.0", "Removes members of a range of ranks."),
    zset("zremrangebyscore", 4, WRITE, |c| range::remove(c, By::Score))
        .doc("1.2.0", "Removes members of a range of scores."),
    zset("zremrangebylex", 4, WRITE, |c| range::remove(c, By::Lex))
        .doc("2.8.9", "Removes members of a range of names."),
    zset("zpopmin", -2, WRITE_FAST, |c| pop::pop(c, pop::MIN))
        .doc("5.0.0", "Removes and returns the members with the lowest scores."),
    zset("zpopmax", -2, WRITE_FAST, |c| pop::pop(c, pop::MAX))
        .doc("5.0.0", "Removes and returns the members with the highest scores."),
    zset("bzpopmin", -3, BLOCK_POP, |c| pop::block_pop(c, pop::MIN)).keys(1, -2, 1).doc(
        "5.0.0",
        "Removes and returns the member with the lowest score, waiting for one if there is none.",
    ),
    zset("bzpopmax", -3, BLOCK_POP, |c| pop::block_pop(c, pop::MAX)).keys(1, -2, 1).doc(
        "5.0.0",
        "Removes and returns the member with the highest score, waiting for one if there is none.",
    ),
    counted("zmpop", -4, WRITE, |c| pop::multi_pop(c, 1))
        .doc("7.0.0", "Removes and returns members of the first set that has any."),
    zset("bzmpop", -5, BLOCK, |c| pop::multi_pop(c, 2)).keys(0, 0, 0).find_keys(|a| counted_keys(a, 2)).doc(
        "7.0.0",
        "Removes and returns members of the first set that has any, waiting for one if there is none.",
    ),
    counted("zunion", -3, READ, |c| combine::combine(c, Op::Union))
        .doc("6.2.0", "Returns the union of sets."),
    counted("zinter", -3, READ, |c| combine::combine(c, Op::Inter))
        .doc("6.2.0", "Returns the intersection of sets."),
    counted("zdiff", -3, READ, |c| combine::combine(c, Op::Diff))
        .doc("6.2.0", "Returns the difference of sets."),
    counted("zintercard", -3, READ, combine::zintercard)
        .doc("7.0.0", "Returns the number of members of the intersection of sets."),
    storing("zunionstore", |c| combine::store(c, Op::Union))
        .doc("2.0.0", "Stores the union of sets in a key."),
    storing("zinterstore", |c| combine::store(c, Op::Inter))
        .doc("2.0.0", "Stores the intersection of sets in a key."),
    storing("zdiffstore", |c| combine::store(c, Op::Diff))
        .doc("6.2.0", "Stores the difference of sets in a key."),
];

/// Replies `count` members, with their scores (in RESP3 each pair in an array of its own) or without.
fn reply_members<'e>(
    reply: &mut Reply<'_>,
    count: usize,
    members: impl Iterator<Item = (Elem<'e>, f64)>,
    scores: bool,
) {
    let nested = scores && reply.resp3();
    reply.array(if scores && !nested { count * 2 } else { count });
    let mut buf = IntBuf::new();
    for (member, score) in members {
        if nested {
            reply.array(2);
        }
        reply.bulk(member.as_bytes(&mut buf));
        if scores {
            reply.double(score);
        }
    }
}

/// Makes `result` what the key holds, and replies its length; an empty one removes the key.
pub(super) fn store_result(ctx: &mut Ctx<'_>, key: &[u8], result: ZSet, event: &str) {
    let len = result.len();
    if len > 0 {
        ctx.keys.put(key, crate::store::value::Value::ZSet(Box::new(result)), None);
        ctx.keys.modified(ctx.io, Event::ZSet, event, key);
        ctx.keys.signal_ready(key);
    } else {
        let lazy = ctx.keys.server.config.lazyfree_lazy_server_del;
        if ctx.keys.delete(key, lazy) {
            ctx.keys.modified(ctx.io, Event::Generic, "del", key);
        }
    }
    ctx.reply.int(len as i64);
}

/// Says that `removed` members are gone from a key.
fn removed_from(ctx: &mut Ctx<'_>, key: &[u8], removed: usize, event: &str) {
    if removed > 0 {
        ctx.keys.dirty(removed as u64 - 1);
        ctx.keys.modified(ctx.io, Event::ZSet, event, key);
        ctx.keys.remove_if_empty(ctx.io, key);
    }
}

/// Options of ZADD, of which GEOADD has some.
#[derive(Default)]
pub(super) struct AddOptions {
    pub(super) nx: bool,
    pub(super) xx: bool,
    gt: bool,
    lt: bool,
    pub(super) ch: bool,
    incr: bool,
}

impl AddOptions {
    /// The option that argument `i` names.
    fn named(&mut self, args: Args<'_>, i: usize) -> Option<&mut bool> {
        let names = [
            ("nx", &mut self.nx),
            ("xx", &mut self.xx),
            ("gt", &mut self.gt),
            ("lt", &mut self.lt),
            ("ch", &mut self.ch),
            ("incr", &mut self.incr),
        ];
        names.into_iter().find(|(name, _)| args.is(i, name)).map(|(_, flag)| flag)
    }

    /// The score that a member gets which has `old`; `None`: it is left alone.
    fn score(&self, old: Option<f64>, given: f64) -> Result<Option<f64>> {
        let Some(old) = old else { return Ok((!self.xx).then_some(given)) };
        if self.nx {
            return Ok(None);
        }
        let new = if self.incr { old + given } else { given };
        if new.is_nan() {
            return Err("ERR resulting score is not a number (NaN)".into());
        }
        let refused = self.lt && new >= old || self.gt && new <= old;
        Ok((!refused).then_some(new))
    }
}

/// `ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member [score member …]`, `ZINCRBY key increment member`
fn add(ctx: &mut Ctx<'_>, incr: bool) -> Result {
    let (args, key) = (ctx.args, ctx.args.at(1));
    let mut o = AddOptions { incr, ..AddOptions::default() };
    let mut first = 2;
    while let Some(flag) = o.named(args, first) {
        *flag = true;
        first += 1;
    }
    let rest = args.len() - first;
    if rest == 0 || rest % 2 != 0 {
        return Err(Error::Syntax);
    }
    if o.nx && o.xx {
        return Err("ERR XX and NX options at the same time are not compatible".into());
    }
    if o.gt && o.lt || o.nx && (o.gt || o.lt) {
        return Err("ERR GT, LT, and/or NX options at the same time are not compatible".into());
    }
    if o.incr && rest > 2 {
        return Err("ERR INCR option supports a single increment-element pair".into());
    }
    let pairs = (first..args.len()).step_by(2);
    let scores = pairs.clone().map(|i| ctx.float(i)).collect::<Result<Vec<f64>>>()?;
    add_members(ctx, key, &o, scores.into_iter().zip(pairs.map(|i| args.at(i + 1)))).map(|_| ())
}

/// Adds members with their scores to the set at a key, and replies; whether that changed anything.
pub(super) fn add_members<'m>(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    o: &AddOptions,
    members: impl Iterator<Item = (f64, &'m [u8])>,
) -> Result<bool> {
    let limits = ctx.keys.limits();
    let target = if o.xx { ctx.keys.zset_mut(key)? } else { Some(ctx.keys.zset_or_new(key)?) };
    let (mut added, mut updated, mut last) = (0, 0, None);
    if let Some(target) = target {
        let always = !(o.nx || o.xx || o.gt || o.lt || o.incr);
        for (score, member) in members {
            // Most often nothing depends on the old score: then the member need not be looked up twice.
            let (old, new) = if always {
                (target.insert(&limits, member, score), score)
            } else {
                let old = target.score(member);
                let Some(new) = o.score(old, score)? else { continue };
                if old != Some(new) {
                    target.insert(&limits, member, new);
                }
                (old, new)
            };
            added += i64::from(old.is_none());
            updated += i64::from(old.is_some_and(|old| old != new));
            last = Some(new);
        }
    }
    let changed = added + updated > 0;
    if changed {
        ctx.keys.dirty((added + updated) as u64 - 1);
        ctx.keys.modified(ctx.io, Event::ZSet, if o.incr { "zincr" } else { "zadd" }, key);
        ctx.keys.signal_ready(key);
    }
    match (o.incr, last) {
        (true, Some(score)) => ctx.reply.double(score),
        (true, None) => ctx.reply.null(),
        (false, _) => ctx.reply.int(if o.ch { added + updated } else { added }),
    }
    Ok(changed)
}

/// `ZREM key member [member …]`
fn zrem(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let removed = match ctx.keys.zset_mut(key)? {
        None => 0,
        Some(target) => ctx.args.from(2).filter(|m| target.remove(m).is_some()).count(),
    };
    removed_from(ctx, key, removed, "zrem");
    ctx.reply.int(removed as i64);
    Ok(())
}

/// `ZCARD key`
fn zcard(ctx: &mut Ctx<'_>) -> Result {
    let len = ctx.keys.zset(ctx.args.at(1))?.map_or(0, ZSet::len);
    ctx.reply.int(len as i64);
    Ok(())
}

fn reply_score(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

/// `ZSCORE key member`
fn zscore(ctx: &mut Ctx<'_>) -> Result {
    let score = ctx.keys.zset(ctx.args.at(1))?.and_then(|z| z.score(ctx.args.at(2)));
    reply_score(&mut ctx.reply, score);
    Ok(())
}

/// `ZMSCORE key member [member …]`
fn zmscore(ctx: &mut Ctx<'_>) -> Result {
    let found = ctx.keys.zset(ctx.args.at(1))?;
    ctx.reply.array(ctx.args.len() - 2);
    for member in ctx.args.from(2) {
        reply_score(&mut ctx.reply, found.and_then(|z| z.score(member)));
    }
    Ok(())
}

/// `ZRANK key member`, `ZREVRANK key member`
fn rank(ctx: &mut Ctx<'_>, from_top: bool) -> Result {
    let found = ctx.keys.zset(ctx.args.at(1))?;
    match found.and_then(|z| z.rank(ctx.args.at(2)).map(|rank| (z.len(), rank))) {
        Some((len, rank)) => ctx.reply.int(if from_top { len - 1 - rank } else { rank } as i64),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// `n` different numbers below `len`, all choices with the same probability (Floyd's algorithm); `n` is at most `len`.
fn different(n: usize, len: usize, rng: &mut Rng) -> HashSet<usize> {
    let mut chosen = HashSet::with_capacity(n);
    for top in len - n..len {
        if !chosen.insert(rng.below(top + 1)) {
            chosen.insert(top);
        }
    }
    chosen
}

/// `ZRANDMEMBER key [count [WITHSCORES]]`: `count` different members, or `-count` where they may come again.
fn zrandmember(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let count = match ctx.args.len() {
        2 => None,
        _ => Some(ctx.int(2)?),
    };
    if count == Some(i64::MIN) {
        return Err(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
                .into(),
        );
    }
    let scores = ctx.args.is(3, "withscores");
    if ctx.args.len() > 4 || ctx.args.len() == 4 && !scores {
        return Err(Error::Syntax);
    }
    // Twice as many elements must still be countable.
    if count.is_some_and(|n| n < -MAX_DRAWN || scores && n > i64::MAX / 2) {
        return Err(Error::OutOfRange);
    }
    let mut rng = ctx.keys.server.rng.clone();
    let found = ctx.keys.zset(key)?;
    let reply = &mut ctx.reply;
    match (found, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(z), None) => match z.random(&mut rng) {
            Some((member, _)) => reply.bulk(member.as_bytes(&mut IntBuf::new())),
            None => reply.null(),
        },
        (Some(z), Some(n)) if n < 0 => {
            let n = n.unsigned_abs() as usize;
            reply_members(reply, n, (0..n).filter_map(|_| z.random(&mut rng)), scores);
        }
        (Some(z), Some(n)) if n as usize >= z.len() => reply_members(reply, z.len(), z.iter(), scores),
        (Some(z), Some(n)) => {
            let ranks = different(n as usize, z.len(), &mut rng).into_iter();
            reply_members(reply, n as usize, ranks.filter_map(|r| z.range(r..r + 1).next()), scores);
        }
    }
    ctx.keys.server.rng = rng;
    Ok(())
}

/// `ZSCAN key cursor [MATCH pattern] [COUNT count]`
fn zscan(ctx: &mut Ctx<'_>) -> Result {
    let cursor = Scan::cursor(ctx, 2)?;
    let (args, mut found, mut seen) = (ctx.args, Vec::new(), 0);
    let next = match ctx.keys.zset(ctx.args.at(1))? {
        None => 0,
        Some(z) => {
            let scan = Scan::options(args, 3, false)?;
            scan.run(cursor, |cursor| {
                let next = z.scan(cursor, &mut |member, score| {
                    seen += 1;
                    let member = member.to_bytes();
                    if scan.wants(&member) {
                        found.push(member.into_owned());
                        found.push(format_double(score).into_bytes());
                    }
                });
                (next, seen)
            })
        }
    };
    reply_found(&mut ctx.reply, next, &found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_numbers_are_different_and_every_one_is_reached() {
        let mut rng = Rng::new(7);
        let mut seen = [0u32; 6];
        for _ in 0..6000 {
            let drawn = different(2, 6, &mut rng);
            assert_eq!(drawn.len(), 2);
            drawn.into_iter().for_each(|i| seen[i] += 1);
        }
        assert!(seen.iter().all(|n| (1800..2200).contains(n)), "{seen:?}");
        assert_eq!(different(3, 3, &mut rng).len(), 3);
        assert!(different(0, 3, &mut rng).is_empty());
    }
}
