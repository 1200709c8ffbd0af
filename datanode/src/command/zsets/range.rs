//! Commands on ranges of a sorted set. Whatever a range is given by, it is a range of ranks in the end.

use std::ops::Range;

use super::{removed_from, reply_members, store_result};
use crate::command::lists::clamp_range;
use crate::command::{Ctx, Error, Result};
use crate::store::num::parse_float_lossy;
use crate::store::zset::{LexBound, ScoreBound, ZSet};

/// What a range is given by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Rank,
    Score,
    Lex,
}

/// Both ends of a range.
#[derive(Debug, PartialEq)]
enum Bounds<'a> {
    Rank(i64, i64),
    Score(ScoreBound, ScoreBound),
    Lex(LexBound<'a>, LexBound<'a>),
}

impl<'a> Bounds<'a> {
    /// Reads them from the arguments `min` and `max`.
    fn parse(ctx: &Ctx<'a>, by: By, min: usize, max: usize) -> Result<Bounds<'a>> {
        let (low, high) = (ctx.args.at(min), ctx.args.at(max));
        Ok(match by {
            By::Rank => Bounds::Rank(ctx.int(min)?, ctx.int(max)?),
            By::Score => match (score_bound(low), score_bound(high)) {
                (Some(low), Some(high)) => Bounds::Score(low, high),
                _ => return Err("ERR min or max is not a float".into()),
            },
            By::Lex => match (lex_bound(low), lex_bound(high)) {
                (Some(low), Some(high)) => Bounds::Lex(low, high),
                _ => return Err("ERR min or max not valid string range item".into()),
            },
        })
    }

    /// The ranks they mean; those of [`Bounds::Rank`] are counted in the direction of the command.
    fn ranks(&self, z: &ZSet) -> Range<usize> {
        match *self {
            Bounds::Rank(start, stop) => clamp_range(start, stop, z.len()),
            Bounds::Score(min, max) => z.by_score(min, max),
            Bounds::Lex(min, max) => z.by_lex(min, max),
        }
    }
}

/// An end of a range of scores as C's `strtod` reads it (no text is 0, blanks in front are skipped, too large is
/// infinite), behind `(` where it is excluded.
fn score_bound(text: &[u8]) -> Option<ScoreBound> {
    let (exclusive, text) = match text {
        [b'(', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if text.is_empty() {
        return Some(ScoreBound { score: 0.0, exclusive });
    }
    let blank = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    let digits = &text[text.iter().take_while(|b| blank(b)).count()..];
    let score = parse_float_lossy(digits)?;
    Some(ScoreBound { score, exclusive })
}

/// An end of a range of names: `-`, `+`, `[name` or `(name`.
fn lex_bound(text: &[u8]) -> Option<LexBound<'_>> {
    match text {
        b"-" => Some(LexBound::Min),
        b"+" => Some(LexBound::Max),
        [b'[', name @ ..] => Some(LexBound::Inclusive(name)),
        [b'(', name @ ..] => Some(LexBound::Exclusive(name)),
        _ => None,
    }
}

/// A range with its options.
struct Query<'a> {
    bounds: Bounds<'a>,
    rev: bool,
    scores: bool,
    offset: i64,
    /// How many members; negative: all.
    limit: i64,
}

impl<'a> Query<'a> {
    /// Reads `key min max [option …]` from argument `at` on. What the command's name says already (`by`, `rev`) is no
    /// option any more; `storing`: there is nothing to reply scores with.
    fn parse(
        ctx: &Ctx<'a>,
        at: usize,
        mut by: Option<By>,
        mut rev: Option<bool>,
        storing: bool,
    ) -> Result<Query<'a>> {
        let args = ctx.args;
        let (mut scores, mut offset, mut limit) = (false, 0, -1);
        let mut i = at + 3;
        while i < args.len() {
            if !storing && args.is(i, "withscores") {
                scores = true;
            } else if args.is(i, "limit") && i + 2 < args.len() {
                (offset, limit) = (ctx.int(i + 1)?, ctx.int(i + 2)?);
                i += 2;
            } else if rev.is_none() && args.is(i, "rev") {
                rev = Some(true);
            } else if by.is_none() && args.is(i, "bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && args.is(i, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(Error::Syntax);
            }
            i += 1;
        }
        let (by, rev) = (by.unwrap_or(By::Rank), rev.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
                    .into(),
            );
        }
        if scores && by == By::Lex {
            return Err("ERR syntax error, WITHSCORES not supported in combination with BYLEX".into());
        }
        let swapped = rev && by != By::Rank;
        let (min, max) = if swapped { (at + 2, at + 1) } else { (at + 1, at + 2) };
        let bounds = Bounds::parse(ctx, by, min, max)?;
        // By rank, a limit that says nothing comes with an offset that says nothing.
        let offset = if by == By::Rank { 0 } else { offset };
        Ok(Query { bounds, rev, scores, offset, limit })
    }

    /// The ranks it selects, in ascending order whatever the direction.
    fn ranks(&self, z: &ZSet) -> Range<usize> {
        let all = self.bounds.ranks(z);
        let Ok(offset) = usize::try_from(self.offset) else { return 0..0 };
        let offset = offset.min(all.len());
        let count = usize::try_from(self.limit).unwrap_or(usize::MAX).min(all.len() - offset);
        match (self.rev, &self.bounds) {
            (false, _) => all.start + offset..all.start + offset + count,
            (true, Bounds::Rank(..)) => z.len() - all.end..z.len() - all.start,
            (true, _) => all.end - offset - count..all.end - offset,
        }
    }
}

fn reply_range(ctx: &mut Ctx<'_>, query: &Query<'_>) -> Result {
    let Some(z) = ctx.keys.zset(ctx.args.at(1))? else {
        ctx.reply.array(0);
        return Ok(());
    };
    let ranks = query.ranks(z);
    let (count, members) = (ranks.len(), z.range(ranks));
    if query.rev {
        reply_members(&mut ctx.reply, count, members.rev(), query.scores);
    } else {
        reply_members(&mut ctx.reply, count, members, query.scores);
    }
    Ok(())
}

/// `ZRANGE key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`
pub(super) fn zrange(ctx: &mut Ctx<'_>) -> Result {
    let query = Query::parse(ctx, 1, None, None, false)?;
    reply_range(ctx, &query)
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]` and its kin: ZREVRANGE, ZRANGEBYLEX …
pub(super) fn range_by(ctx: &mut Ctx<'_>, by: By, rev: bool) -> Result {
    let query = Query::parse(ctx, 1, Some(by), Some(rev), false)?;
    reply_range(ctx, &query)
}

/// `ZRANGESTORE dst src min max [BYSCORE|BYLEX] [REV] [LIMIT offset count]`
pub(super) fn zrangestore(ctx: &mut Ctx<'_>) -> Result {
    let query = Query::parse(ctx, 2, None, None, true)?;
    let limits = ctx.keys.limits();
    let mut result = ZSet::new();
    if let Some(z) = ctx.keys.zset(ctx.args.at(2))? {
        for (member, score) in z.range(query.ranks(z)) {
            result.insert(&limits, &member.to_bytes(), score);
        }
    }
    let destination = ctx.args.at(1);
    store_result(ctx, destination, result, "zrangestore");
    Ok(())
}

/// `ZCOUNT key min max`, `ZLEXCOUNT key min max`
pub(super) fn count(ctx: &mut Ctx<'_>, by: By) -> Result {
    let bounds = Bounds::parse(ctx, by, 2, 3)?;
    let count = ctx.keys.zset(ctx.args.at(1))?.map_or(0, |z| bounds.ranks(z).len());
    ctx.reply.int(count as i64);
    Ok(())
}

/// `ZREMRANGEBYRANK key start stop`, `ZREMRANGEBYSCORE key min max`, `ZREMRANGEBYLEX key min max`
pub(super) fn remove(ctx: &mut Ctx<'_>, by: By) -> Result {
    let key = ctx.args.at(1);
    let bounds = Bounds::parse(ctx, by, 2, 3)?;
    let removed = match ctx.keys.zset_mut(key)? {
        None => 0,
        Some(z) => {
            let ranks = bounds.ranks(z);
            z.remove_range(ranks, &mut |_, _| {})
        }
    };
    let event = match by {
        By::Rank => "zremrangebyrank",
        By::Score => "zremrangebyscore",
        By::Lex => "zremrangebylex",
    };
    removed_from(ctx, key, removed, event);
    ctx.reply.int(removed as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::dict::HashSeed;
    use crate::store::limits::Limits;

    #[test]
    fn score_bounds_are_read_as_in_c() {
        let bound = |score, exclusive| Some(ScoreBound { score, exclusive });
        for (text, want) in [
            ("1.5", bound(1.5, false)),
            ("(1", bound(1.0, true)),
            ("(-inf", bound(f64::NEG_INFINITY, true)),
            ("+inf", bound(f64::INFINITY, false)),
            ("", bound(0.0, false)),
            ("(", bound(0.0, true)),
            (" 7", bound(7.0, false)),
            ("1e999", bound(f64::INFINITY, false)),
            (" ", None),
            ("7 ", None),
            ("((7", None),
            ("nan", None),
            ("[1", None),
        ] {
            assert_eq!(score_bound(text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn limits_count_from_the_end_where_the_range_is_reversed() {
        let limits = Limits::new(HashSeed::repeatable(1));
        let mut z = ZSet::new();
        (0..10).for_each(|i| {
            z.insert(&limits, i.to_string().as_bytes(), f64::from(i));
        });
        let at = |score| ScoreBound { score, exclusive: false };
        let ranks = |rev, offset, limit| {
            Query { bounds: Bounds::Score(at(2.0), at(7.0)), rev, scores: false, offset, limit }.ranks(&z)
        };
        assert_eq!(ranks(false, 0, -1), 2..8);
        assert_eq!(ranks(true, 0, -1), 2..8);
        assert_eq!(ranks(false, 1, 2), 3..5);
        assert_eq!(ranks(true, 1, 2), 5..7);
        assert_eq!(ranks(false, 4, 100), 6..8);
        assert_eq!(ranks(true, 4, 100), 2..4);
        assert_eq!(ranks(false, 0, -5), 2..8);
        assert!(ranks(false, -1, 3).is_empty());
        assert!(ranks(true, 9, 3).is_empty());
        assert!(ranks(true, 0, 0).is_empty());
        let by_rank =
            |rev| Query { bounds: Bounds::Rank(0, 2), rev, scores: false, offset: 0, limit: -1 }.ranks(&z);
        assert_eq!((by_rank(false), by_rank(true)), (0..3, 7..10));
    }
}
