//! Sets (<https://redis.io/docs/latest/commands/?group=set>).

use std::collections::HashSet;

use super::scan::{Scan, reply_found};
use super::{Ctx, Error, Event, Flags, Group, Result, Spec, counted_keys};
use crate::store::num::IntBuf;
use crate::store::set::Set;
use crate::store::value::{Value, ValueRef};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags(Flags::READONLY.0 | Flags::FAST.0);
const WRITE_FAST: Flags = Flags(Flags::WRITE.0 | Flags::FAST.0);
const GROW: Flags = Flags(Flags::WRITE.0 | Flags::DENYOOM.0);

/// SPOP's effect is repeated as SREM commands of at most so many members.
const SREM_BATCH: usize = 1024;
/// With a negative count SRANDMEMBER may repeat members: at most so many are replied.
const MAX_REPEATED: i64 = i64::MAX / 2;

const fn set(name: &'static str, arity: i32, handler: super::Handler) -> Spec {
    Spec::new(Group::Set, name, arity, handler).keys(1, 1, 1)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    set("sadd", -3, sadd).flags(Flags(GROW.0 | Flags::FAST.0)).doc("1.0.0", "Adds one or more members to a set. Creates the key if it doesn't exist."),
    set("srem", -3, srem).flags(WRITE_FAST).doc("1.0.0", "Removes one or more members from a set. Deletes the set if the last member was removed."),
    set("smove", 4, smove).flags(WRITE_FAST).keys(1, 2, 1).doc("1.0.0", "Moves a member from one set to another."),
    set("sismember", 3, sismember).flags(READ_FAST).doc("1.0.0", "Determines whether a member belongs to a set."),
    set("smismember", -3, smismember).flags(READ_FAST).doc("6.2.0", "Determines whether multiple members belong to a set."),
    set("scard", 2, scard).flags(READ_FAST).doc("1.0.0", "Returns the number of members in a set."),
    set("spop", -2, spop).flags(WRITE_FAST).doc("1.0.0", "Returns one or more random members from a set after removing them. Deletes the set if the last member was popped."),
    set("srandmember", -2, srandmember).flags(READ).doc("1.0.0", "Get one or multiple random members from a set"),
    set("smembers", 2, smembers).flags(READ).doc("1.0.0", "Returns all members of a set."),
    set("sinter", -2, |c| combine(c, Op::Inter)).flags(READ).keys(1, -1, 1).doc("1.0.0", "Returns the intersect of multiple sets."),
    set("sunion", -2, |c| combine(c, Op::Union)).flags(READ).keys(1, -1, 1).doc("1.0.0", "Returns the union of multiple sets."),
    set("sdiff", -2, |c| combine(c, Op::Diff)).flags(READ).keys(1, -1, 1).doc("1.0.0", "Returns the difference of multiple sets."),
    set("sinterstore", -3, |c| store(c, Op::Inter)).flags(GROW).keys(1, -1, 1).doc("1.0.0", "Stores the intersect of multiple sets in a key."),
    set("sunionstore", -3, |c| store(c, Op::Union)).flags(GROW).keys(1, -1, 1).doc("1.0.0", "Stores the union of multiple sets in a key."),
    set("sdiffstore", -3, |c| store(c, Op::Diff)).flags(GROW).keys(1, -1, 1).doc("1.0.0", "Stores the difference of multiple sets in a key."),
    Spec::new(Group::Set, "sintercard", -3, sintercard).flags(READ).find_keys(|a| counted_keys(a, 1)).doc("7.0.0", "Returns the number of members of the intersect of multiple sets."),
    set("sscan", -3, sscan).flags(READ).doc("2.8.0", "Iterates over members of a set."),
];

/// `SADD key member [member …]`
fn sadd(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let limits = ctx.keys.limits();
    let target = ctx.keys.set_or_new(key)?;
    let added = ctx.args.from(2).filter(|m| target.insert(&limits, m)).count();
    if added > 0 {
        ctx.keys.dirty(added as u64 - 1);
        ctx.keys.modified(ctx.io, Event::Set, "sadd", key);
    }
    ctx.reply.int(added as i64);
    Ok(())
}

/// `SREM key member [member …]`
fn srem(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let removed = match ctx.keys.set_mut(key)? {
        None => 0,
        Some(target) => ctx.args.from(2).filter(|m| target.remove(m)).count(),
    };
    if removed > 0 {
        ctx.keys.dirty(removed as u64 - 1);
        ctx.keys.modified(ctx.io, Event::Set, "srem", key);
        ctx.keys.remove_if_empty(ctx.io, key);
    }
    ctx.reply.int(removed as i64);
    Ok(())
}

/// `SMOVE source destination member`
fn smove(ctx: &mut Ctx<'_>) -> Result {
    let (source, destination, member) = (ctx.args.at(1), ctx.args.at(2), ctx.args.at(3));
    let Some(from) = ctx.keys.set(source)? else {
        ctx.reply.int(0);
        return Ok(());
    };
    let there = from.contains(member);
    ctx.keys.set(destination)?;
    if source == destination || !there {
        ctx.reply.int(i64::from(there));
        return Ok(());
    }
    let limits = ctx.keys.limits();
    ctx.keys.set_mut(source)?.map(|s| s.remove(member));
    ctx.keys.modified(ctx.io, Event::Set, "srem", source);
    ctx.keys.remove_if_empty(ctx.io, source);
    if ctx.keys.set_or_new(destination)?.insert(&limits, member) {
        ctx.keys.modified(ctx.io, Event::Set, "sadd", destination);
    }
    ctx.reply.int(1);
    Ok(())
}

/// `SISMEMBER key member`
fn sismember(ctx: &mut Ctx<'_>) -> Result {
    let there = ctx.keys.set(ctx.args.at(1))?.is_some_and(|s| s.contains(ctx.args.at(2)));
    ctx.reply.int(i64::from(there));
    Ok(())
}

/// `SMISMEMBER key member [member …]`
fn smismember(ctx: &mut Ctx<'_>) -> Result {
    let members = ctx.args.from(2);
    let found = ctx.keys.set(ctx.args.at(1))?;
    ctx.reply.array(members.len());
    for member in members {
        ctx.reply.int(i64::from(found.is_some_and(|s| s.contains(member))));
    }
    Ok(())
}

/// `SCARD key`
fn scard(ctx: &mut Ctx<'_>) -> Result {
    let len = ctx.keys.set(ctx.args.at(1))?.map_or(0, Set::len);
    ctx.reply.int(len as i64);
    Ok(())
}

/// `SPOP key [count]`
fn spop(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let count = ctx.pop_count(Error::Syntax)?;
    let len = ctx.keys.set(key)?.map_or(0, Set::len);
    if len == 0 || count == Some(0) {
        match count {
            None => ctx.reply.null(),
            Some(_) => ctx.reply.set(0),
        }
        return Ok(());
    }
    let wanted = count.unwrap_or(1).min(len);
    let popped = take_random(ctx, key, wanted)?;
    match count {
        None => ctx.reply.bulk(&popped[0]),
        Some(_) => {
            ctx.reply.set(popped.len());
            popped.iter().for_each(|m| ctx.reply.bulk(m));
        }
    }
    ctx.keys.dirty(wanted as u64 - 1);
    ctx.keys.modified(ctx.io, Event::Set, "spop", key);
    // As in Redis, one that is asked for without a count is a member that goes, also if it is the last.
    if ctx.keys.remove_if_empty(ctx.io, key) && count.is_some() {
        ctx.propagate(&[b"DEL", key]);
    } else {
        for batch in popped.chunks(SREM_BATCH) {
            let mut command: Vec<&[u8]> = vec![b"SREM", key];
            command.extend(batch.iter().map(Vec::as_slice));
            ctx.propagate(&command);
        }
    }
    Ok(())
}

/// Removes `wanted` random members, at most as many as there are.
fn take_random(ctx: &mut Ctx<'_>, key: &[u8], wanted: usize) -> Result<Vec<Vec<u8>>> {
    let mut rng = ctx.keys.server.rng.clone();
    let mut popped = Vec::with_capacity(wanted);
    if let Some(target) = ctx.keys.set_mut(key)? {
        if wanted == target.len() {
            popped.extend(target.iter().map(|m| m.to_bytes().into_owned()));
            popped.iter().for_each(|m| {
                target.remove(m);
            });
        } else {
            while popped.len() < wanted {
                let Some(member) = target.random(&mut rng).map(|m| m.to_bytes().into_owned()) else { break };
                target.remove(&member);
                popped.push(member);
            }
        }
    }
    ctx.keys.server.rng = rng;
    Ok(popped)
}

/// `SRANDMEMBER key [count]`
fn srandmember(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let count = match ctx.args.len() {
        2 => None,
        3 => Some(ctx.int_in(2, -i64::MAX..=i64::MAX)?),
        _ => return Err(Error::Syntax),
    };
    if count.is_some_and(|n| !(-MAX_REPEATED..=i64::MAX).contains(&n)) {
        return Err(Error::OutOfRange);
    }
    let most = ctx.reply_limit();
    let mut rng = ctx.keys.server.rng.clone();
    let found = ctx.keys.set(key);
    if let Ok(found) = &found {
        match (found, count) {
            (None, None) => ctx.reply.null(),
            (None, Some(_)) => ctx.reply.array(0),
            (Some(s), None) => match s.random(&mut rng) {
                Some(m) => ctx.reply.bulk(m.as_bytes(&mut IntBuf::new())),
                None => ctx.reply.null(),
            },
            (Some(s), Some(n)) if n < 0 => {
                ctx.reply.array(n.unsigned_abs() as usize);
                for m in (0..n.unsigned_abs()).map_while(|_| s.random(&mut rng)) {
                    ctx.reply.bulk(m.as_bytes(&mut IntBuf::new()));
                    if ctx.reply.out.len() > most {
                        break;
                    }
                }
            }
            (Some(s), Some(n)) => {
                let members = sample(s, n as usize, &mut rng);
                ctx.reply.array(members.len());
                members.iter().for_each(|m| ctx.reply.bulk(m));
            }
        }
    }
    let failed = found.err();
    ctx.keys.server.rng = rng;
    failed.map_or(Ok(()), Err)
}

/// `n` different members by chance, or all where there are not more.
fn sample(set: &Set, n: usize, rng: &mut crate::store::rng::Rng) -> Vec<Vec<u8>> {
    if n >= set.len() {
        return set.iter().map(|m| m.to_bytes().into_owned()).collect();
    }
    // Few of many are drawn; where most are wanted, drawing would meet the same ones too often: drop some instead.
    if n * 3 > set.len() {
        let mut all: Vec<Vec<u8>> = set.iter().map(|m| m.to_bytes().into_owned()).collect();
        while all.len() > n {
            all.swap_remove(rng.below(all.len()));
        }
        return all;
    }
    let mut drawn = HashSet::with_capacity(n);
    while drawn.len() < n {
        match set.random(rng) {
            Some(m) => drawn.insert(m.to_bytes().into_owned()),
            None => break,
        };
    }
    drawn.into_iter().collect()
}

/// `SMEMBERS key`
fn smembers(ctx: &mut Ctx<'_>) -> Result {
    let found = ctx.keys.set(ctx.args.at(1))?;
    ctx.reply.set(found.map_or(0, Set::len));
    let mut buf = IntBuf::new();
    for m in found.into_iter().flat_map(Set::iter) {
        ctx.reply.bulk(m.as_bytes(&mut buf));
    }
    Ok(())
}

/// How sets are combined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Inter,
    Union,
    Diff,
}

/// The members of the combination of the sets at `keys`; a key that is not there is an empty set.
fn members_of<'k>(
    ctx: &mut Ctx<'_>,
    keys: impl Iterator<Item = &'k [u8]>,
    op: Op,
    limit: usize,
) -> Result<Vec<Vec<u8>>> {
    let keys: Vec<&[u8]> = keys.collect();
    for key in &keys {
        ctx.keys.set(key)?;
    }
    let (db, now) = (ctx.keys.db, ctx.keys.now_ms);
    let keyspace = &ctx.keys.server.keyspace;
    let sets: Vec<Option<&Set>> = keys
        .iter()
        .map(|key| match keyspace.lookup(db, key, now).map(|e| e.value()) {
            Some(ValueRef::Set(s)) => Some(s),
            _ => None,
        })
        .collect();
    let owned = |s: &Set| s.iter().map(|m| m.to_bytes().into_owned()).collect::<Vec<_>>();
    Ok(match op {
        Op::Inter => {
            let Some(mut sets) = sets.into_iter().collect::<Option<Vec<_>>>() else { return Ok(Vec::new()) };
            sets.sort_by_key(|s| s.len());
            let Some((smallest, others)) = sets.split_first() else { return Ok(Vec::new()) };
            let mut buf = IntBuf::new();
            let mut common = Vec::new();
            for m in smallest.iter() {
                let bytes = m.as_bytes(&mut buf);
                if others.iter().all(|s| s.contains(bytes)) {
                    common.push(bytes.to_vec());
                    if common.len() == limit {
                        break;
                    }
                }
            }
            common
        }
        Op::Union => {
            let mut seen = HashSet::new();
            let mut all = Vec::new();
            for m in sets.into_iter().flatten().flat_map(|s| s.iter()) {
                let m = m.to_bytes().into_owned();
                if seen.insert(m.clone()) {
                    all.push(m);
                }
            }
            all
        }
        Op::Diff => {
            let Some(Some(first)) = sets.first() else { return Ok(Vec::new()) };
            let mut left = owned(first);
            left.retain(|m| !sets[1..].iter().flatten().any(|s| s.contains(m)));
            left
        }
    })
}

/// `SINTER key [key …]`, `SUNION`, `SDIFF`
fn combine(ctx: &mut Ctx<'_>, op: Op) -> Result {
    let keys = ctx.args.from(1);
    let members = members_of(ctx, keys, op, usize::MAX)?;
    ctx.reply.set(members.len());
    members.iter().for_each(|m| ctx.reply.bulk(m));
    Ok(())
}

/// `SINTERSTORE destination key [key …]`, `SUNIONSTORE`, `SDIFFSTORE`
fn store(ctx: &mut Ctx<'_>, op: Op) -> Result {
    let keys = ctx.args.from(2);
    let members = members_of(ctx, keys, op, usize::MAX)?;
    let destination = ctx.args.at(1);
    let limits = ctx.keys.limits();
    let mut result = Set::new();
    for m in &members {
        result.insert(&limits, m);
    }
    ctx.reply.int(members.len() as i64);
    if members.is_empty() {
        if ctx.keys.remove(destination).is_some() {
            ctx.keys.modified(ctx.io, Event::Generic, "del", destination);
        }
        return Ok(());
    }
    ctx.keys.put(destination, Value::Set(Box::new(result)), None);
    let event = match op {
        Op::Inter => "sinterstore",
        Op::Union => "sunionstore",
        Op::Diff => "sdiffstore",
    };
    ctx.keys.modified(ctx.io, Event::Set, event, destination);
    Ok(())
}

/// `SINTERCARD numkeys key [key …] [LIMIT limit]`
fn sintercard(ctx: &mut Ctx<'_>) -> Result {
    let numkeys = ctx.int(1).ok().filter(|n| *n > 0).ok_or("ERR numkeys should be greater than 0")? as usize;
    let behind = numkeys.saturating_add(2);
    if behind > ctx.args.len() {
        return Err("ERR Number of keys can't be greater than number of args".into());
    }
    let mut limit = usize::MAX;
    for i in (behind..ctx.args.len()).step_by(2) {
        if !ctx.args.is(i, "limit") || i + 1 >= ctx.args.len() {
            return Err(Error::Syntax);
        }
        let n = ctx.int(i + 1).ok().filter(|n| *n >= 0).ok_or("ERR LIMIT can't be negative")?;
        limit = if n == 0 { usize::MAX } else { n as usize };
    }
    let keys = ctx.args.from(2).take(numkeys);
    let members = members_of(ctx, keys, Op::Inter, limit)?;
    ctx.reply.int(members.len() as i64);
    Ok(())
}

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`
fn sscan(ctx: &mut Ctx<'_>) -> Result {
    let cursor = Scan::cursor(ctx, 2)?;
    let (args, mut found, mut seen) = (ctx.args, Vec::new(), 0);
    let next = match ctx.keys.set(ctx.args.at(1))? {
        None => 0,
        Some(set) => {
            let scan = Scan::options(args, 3, false)?;
            scan.run(cursor, |cursor| {
                let next = set.scan(cursor, &mut |member| {
                    seen += 1;
                    let member = member.to_bytes();
                    if scan.wants(&member) {
                        found.push(member.into_owned());
                    }
                });
                (next, seen)
            })
        }
    };
    reply_found(&mut ctx.reply, next, &found);
    Ok(())
}
