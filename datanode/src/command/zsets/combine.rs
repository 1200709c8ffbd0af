//! Union, intersection and difference of sorted sets. A set counts as a sorted set whose scores are all 1.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

use super::{reply_members, store_result};
use crate::command::{Ctx, Error, Keys, Result};
use crate::store::elem::Elem;
use crate::store::num::IntBuf;
use crate::store::set::Set;
use crate::store::value::ValueRef;
use crate::store::zset::ZSet;

/// How sets are combined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Union,
    Inter,
    Diff,
}

/// What becomes of the scores that a member has in several sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// Of two scores. Infinities of both signs add up to 0; a `b` that is no number is not taken.
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum => or_zero(a + b),
            Aggregate::Min if b < a => b,
            Aggregate::Max if b > a => b,
            Aggregate::Min | Aggregate::Max => a,
        }
    }
}

fn or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A set to be combined; a key that is not there is an empty one.
#[derive(Clone, Copy)]
enum Input<'k> {
    Empty,
    Plain(&'k Set),
    Sorted(&'k ZSet),
}

impl<'k> Input<'k> {
    fn len(self) -> usize {
        match self {
            Input::Empty => 0,
            Input::Plain(s) => s.len(),
            Input::Sorted(z) => z.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Input::Empty => None,
            Input::Plain(s) => s.contains(member).then_some(1.0),
            Input::Sorted(z) => z.score(member),
        }
    }

    fn iter(self) -> Box<dyn Iterator<Item = (Elem<'k>, f64)> + 'k> {
        match self {
            Input::Empty => Box::new(std::iter::empty()),
            Input::Plain(s) => Box::new(s.iter().map(|m| (m, 1.0))),
            Input::Sorted(z) => Box::new(z.iter()),
        }
    }
}

type Members<'k> = Vec<(Cow<'k, [u8]>, f64)>;

/// Combines weighted sets; the result is in no order.
fn combined<'k>(mut inputs: Vec<(Input<'k>, f64)>, op: Op, aggregate: Aggregate) -> Members<'k> {
    // Redis adds scores up from the smallest set to the largest: with floats the order shows.
    if op != Op::Diff {
        inputs.sort_by_key(|(input, _)| input.len());
    }
    let Some((&(first, weight), others)) = inputs.split_first() else { return Vec::new() };
    match op {
        Op::Union => {
            let mut all: HashMap<Cow<'k, [u8]>, f64, foldhash::fast::RandomState> = HashMap::default();
            for (input, weight) in inputs {
                for (member, score) in input.iter() {
                    let score = or_zero(weight * score);
                    let entry = all.entry(member.to_bytes());
                    entry.and_modify(|old| *old = aggregate.of(*old, score)).or_insert(score);
                }
            }
            all.into_iter().collect()
        }
        Op::Inter => common(first, weight, others, aggregate).collect(),
        Op::Diff => first
            .iter()
            .map(|(member, score)| (member.to_bytes(), score))
            .filter(|(member, _)| others.iter().all(|(other, _)| other.score(member).is_none()))
            .collect(),
    }
}

/// Members that are in all sets.
fn common<'k>(
    first: Input<'k>,
    weight: f64,
    others: &[(Input<'k>, f64)],
    aggregate: Aggregate,
) -> impl Iterator<Item = (Cow<'k, [u8]>, f64)> {
    first.iter().filter_map(move |(member, score)| {
        let mut buf = IntBuf::new();
        let bytes = member.as_bytes(&mut buf);
        let mut score = or_zero(weight * score);
        for (other, weight) in others {
            score = aggregate.of(score, weight * other.score(bytes)?);
        }
        Some((member.to_bytes(), score))
    })
}

/// What the arguments from `numkeys` on say.
struct Request<'a> {
    keys: Vec<&'a [u8]>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    scores: bool,
    /// How many members are counted (ZINTERCARD).
    limit: usize,
}

/// Which options a command has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Reply,
    Store,
    Count,
}

impl<'a> Request<'a> {
    /// Reads `numkeys key [key …] [option …]` from argument `at` on; the keys' types are checked before the options.
    fn parse(ctx: &mut Ctx<'a>, at: usize, op: Op, form: Form) -> Result<Request<'a>> {
        let args = ctx.args;
        let numkeys = ctx.int(at)?;
        if numkeys < 1 {
            let name = ctx.spec.name;
            return Err(Error::err(format_args!("at least 1 input key is needed for '{name}' command")));
        }
        if numkeys > (args.len() - at - 1) as i64 {
            return Err(Error::Syntax);
        }
        let numkeys = numkeys as usize;
        let keys: Vec<&[u8]> = args.from(at + 1).take(numkeys).collect();
        for key in &keys {
            match ctx.keys.find(key).map(|e| e.value()) {
                None | Some(ValueRef::ZSet(_) | ValueRef::Set(_)) => {}
                Some(_) => return Err(Error::WrongType),
            }
        }
        let weighted = op != Op::Diff && form != Form::Count;
        let mut request = Request {
            weights: vec![1.0; numkeys],
            keys,
            aggregate: Aggregate::Sum,
            scores: false,
            limit: usize::MAX,
        };
        let mut i = at + 1 + numkeys;
        while i < args.len() {
            let behind = args.len() - i - 1;
            if weighted && behind >= numkeys && args.is(i, "weights") {
                for (j, weight) in request.weights.iter_mut().enumerate() {
                    *weight = ctx.float(i + 1 + j).map_err(|_| "ERR weight value is not a float")?;
                }
                i += numkeys;
            } else if weighted && behind >= 1 && args.is(i, "aggregate") {
                const NAMES: [(&str, Aggregate); 3] =
                    [("sum", Aggregate::Sum), ("min", Aggregate::Min), ("max", Aggregate::Max)];
                let named = NAMES.iter().find(|(name, _)| args.is(i + 1, name));
                request.aggregate = named.ok_or(Error::Syntax)?.1;
                i += 1;
            } else if form == Form::Reply && args.is(i, "withscores") {
                request.scores = true;
            } else if form == Form::Count && behind >= 1 && args.is(i, "limit") {
                let n = ctx.int(i + 1).ok().and_then(|n| usize::try_from(n).ok());
                let n = n.ok_or("ERR LIMIT can't be negative")?;
                request.limit = if n == 0 { usize::MAX } else { n };
                i += 1;
            } else {
                return Err(Error::Syntax);
            }
            i += 1;
        }
        Ok(request)
    }

    /// The sets with their weights.
    fn inputs<'k>(&self, keys: &'k Keys<'_>) -> Vec<(Input<'k>, f64)> {
        let value = |key: &[u8]| keys.server.keyspace.lookup(keys.db, key, keys.now_ms).map(|e| e.value());
        let input = |key: &&[u8]| match value(key) {
            Some(ValueRef::ZSet(z)) => Input::Sorted(z),
            Some(ValueRef::Set(s)) => Input::Plain(s),
            _ => Input::Empty,
        };
        self.keys.iter().map(input).zip(self.weights.iter().copied()).collect()
    }
}

/// `ZUNION numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]`, `ZINTER`; `ZDIFF` without
/// weights and aggregate
pub(super) fn combine(ctx: &mut Ctx<'_>, op: Op) -> Result {
    let request = Request::parse(ctx, 1, op, Form::Reply)?;
    let mut members = combined(request.inputs(&ctx.keys), op, request.aggregate);
    // 0 and -0 are equal, and there is no NaN.
    members.sort_unstable_by(|a, b| {
        a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal).then_with(|| a.0.cmp(&b.0))
    });
    let pairs = members.iter().map(|(member, score)| (Elem::Bytes(member), *score));
    reply_members(&mut ctx.reply, members.len(), pairs, request.scores);
    Ok(())
}

/// `ZUNIONSTORE destination numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM|MIN|MAX]`, `ZINTERSTORE`;
/// `ZDIFFSTORE` without weights and aggregate
pub(super) fn store(ctx: &mut Ctx<'_>, op: Op) -> Result {
    let request = Request::parse(ctx, 2, op, Form::Store)?;
    let limits = ctx.keys.limits();
    let members = combined(request.inputs(&ctx.keys), op, request.aggregate);
    let longest = members.iter().map(|(member, _)| member.len()).max().unwrap_or(0);
    let mut result = ZSet::sized(&limits, members.len(), longest);
    for (member, score) in members {
        result.insert(&limits, &member, score);
    }
    let event = match op {
        Op::Union => "zunionstore",
        Op::Inter => "zinterstore",
        Op::Diff => "zdiffstore",
    };
    let destination = ctx.args.at(1);
    store_result(ctx, destination, result, event);
    Ok(())
}

/// `ZINTERCARD numkeys key [key …] [LIMIT limit]`
pub(super) fn zintercard(ctx: &mut Ctx<'_>) -> Result {
    let request = Request::parse(ctx, 1, Op::Inter, Form::Count)?;
    let mut inputs = request.inputs(&ctx.keys);
    inputs.sort_by_key(|(input, _)| input.len());
    let count = match inputs.split_first() {
        Some((&(first, _), others)) => common(first, 1.0, others, Aggregate::Sum).take(request.limit).count(),
        None => 0,
    };
    ctx.reply.int(count as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::dict::HashSeed;
    use crate::store::limits::Limits;

    fn sorted(pairs: &[(&str, f64)]) -> ZSet {
        let limits = Limits::new(HashSeed::repeatable(1));
        let mut z = ZSet::new();
        for (member, score) in pairs {
            z.insert(&limits, member.as_bytes(), *score);
        }
        z
    }

    fn texts(mut members: Members<'_>) -> Vec<(String, f64)> {
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members.into_iter().map(|(m, s)| (String::from_utf8(m.into_owned()).unwrap(), s)).collect()
    }

    #[test]
    fn scores_are_weighted_and_aggregated() {
        let limits = Limits::new(HashSeed::repeatable(1));
        let (a, b) =
            (sorted(&[("x", 1.0), ("y", 2.0), ("7", 3.0)]), sorted(&[("y", 10.0), ("z", f64::INFINITY)]));
        let mut plain = Set::new();
        assert!(plain.insert(&limits, b"7"));
        let inputs =
            || vec![(Input::Sorted(&a), 2.0), (Input::Sorted(&b), -1.0), (Input::Plain(&plain), 5.0)];
        let pair = |m: &str, s| (m.to_owned(), s);
        assert_eq!(
            texts(combined(inputs(), Op::Union, Aggregate::Sum)),
            [pair("7", 11.0), pair("x", 2.0), pair("y", -6.0), pair("z", f64::NEG_INFINITY)]
        );
        assert_eq!(texts(combined(inputs()[..2].to_vec(), Op::Inter, Aggregate::Max)), [pair("y", 4.0)]);
        assert_eq!(texts(combined(inputs()[..2].to_vec(), Op::Inter, Aggregate::Min)), [pair("y", -10.0)]);
        assert!(combined(inputs(), Op::Inter, Aggregate::Sum).is_empty());
        assert_eq!(texts(combined(inputs(), Op::Diff, Aggregate::Sum)), [pair("x", 1.0)]);
        assert!(combined(vec![(Input::Empty, 1.0), inputs()[0]], Op::Inter, Aggregate::Sum).is_empty());
    }

    #[test]
    fn what_is_no_number_becomes_nothing() {
        let infinite = sorted(&[("m", f64::INFINITY)]);
        let both = vec![(Input::Sorted(&infinite), 1.0), (Input::Sorted(&infinite), -1.0)];
        for op in [Op::Union, Op::Inter] {
            assert_eq!(texts(combined(both.clone(), op, Aggregate::Sum)), [("m".to_owned(), 0.0)]);
        }
        let nothing = vec![(Input::Sorted(&infinite), 0.0)];
        assert_eq!(texts(combined(nothing, Op::Union, Aggregate::Min)), [("m".to_owned(), 0.0)]);
    }
}
