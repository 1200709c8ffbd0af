//! Hashes (<https://redis.io/docs/latest/commands/?group=hash>).

use super::scan::{Scan, reply_found};
use super::strings::{OVERFLOW, float_sum};
use super::{Ctx, Error, Event, Flags, Group, Handler, Result, Spec};
use crate::store::elem::Elem;
use crate::store::extended::Extended;
use crate::store::hash::Hash;
use crate::store::num::{IntBuf, parse_int};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const GROW_FAST: Flags = Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST);

const fn one_key(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Spec {
    Spec::new(Group::Hash, name, arity, handler).flags(flags).keys(1, 1, 1)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    one_key("hset", -4, GROW_FAST, hset).doc("2.0.0", "Sets fields of a hash."),
    one_key("hmset", -4, GROW_FAST, hmset).doc("2.0.0", "Sets fields of a hash."),
    one_key("hsetnx", 4, GROW_FAST, hsetnx).doc("2.0.0", "Sets a field of a hash unless it exists."),
    one_key("hget", 3, READ_FAST, hget).doc("2.0.0", "Returns the value of a field."),
    one_key("hmget", -3, READ_FAST, hmget).doc("2.0.0", "Returns the values of fields."),
    one_key("hgetall", 2, READ, hgetall).doc("2.0.0", "Returns all fields with their values."),
    one_key("hkeys", 2, READ, hkeys).doc("2.0.0", "Returns all fields."),
    one_key("hvals", 2, READ, hvals).doc("2.0.0", "Returns all values."),
    one_key("hdel", -3, Flags::WRITE.with(Flags::FAST), hdel).doc("2.0.0", "Removes fields of a hash."),
    one_key("hlen", 2, READ_FAST, hlen).doc("2.0.0", "Returns the number of fields."),
    one_key("hexists", 3, READ_FAST, hexists).doc("2.0.0", "Says whether a field exists."),
    one_key("hstrlen", 3, READ_FAST, hstrlen).doc("3.2.0", "Returns the length of a field's value."),
    one_key("hincrby", 4, GROW_FAST, hincrby).doc("2.0.0", "Adds to a field's integer."),
    one_key("hincrbyfloat", 4, GROW_FAST, hincrbyfloat).doc("2.6.0", "Adds to a field's number."),
    one_key("hrandfield", -2, READ, hrandfield).doc("6.2.0", "Returns random fields."),
    one_key("hscan", -3, READ, hscan).doc("2.8.0", "Iterates over fields and values, a part per call."),
];

/// Sets the fields that the arguments say; the number of new ones.
fn set_fields(ctx: &mut Ctx<'_>) -> Result<i64> {
    if !ctx.args.len().is_multiple_of(2) {
        return Err(Error::Arity(ctx.spec.name));
    }
    let key = ctx.args.at(1);
    let limits = ctx.keys.limits();
    let hash = ctx.keys.hash_or_new(key)?;
    let pairs = (2..ctx.args.len()).step_by(2);
    let mut new = 0;
    for i in pairs.clone() {
        new += i64::from(hash.insert(&limits, ctx.args.at(i), ctx.args.at(i + 1)));
    }
    ctx.keys.modified(ctx.io, Event::Hash, "hset", key);
    ctx.keys.dirty(pairs.len() as u64 - 1);
    Ok(new)
}

/// `HSET key field value [field value …]`
fn hset(ctx: &mut Ctx<'_>) -> Result {
    let new = set_fields(ctx)?;
    ctx.reply.int(new);
    Ok(())
}

/// `HMSET key field value [field value …]`
fn hmset(ctx: &mut Ctx<'_>) -> Result {
    set_fields(ctx)?;
    ctx.reply.ok();
    Ok(())
}

/// `HSETNX key field value`
fn hsetnx(ctx: &mut Ctx<'_>) -> Result {
    let (key, field) = (ctx.args.at(1), ctx.args.at(2));
    let limits = ctx.keys.limits();
    let new = !ctx.keys.hash(key)?.is_some_and(|h| h.contains(field));
    if new {
        ctx.keys.hash_or_new(key)?.insert(&limits, field, ctx.args.at(3));
        ctx.keys.modified(ctx.io, Event::Hash, "hset", key);
    }
    ctx.reply.int(i64::from(new));
    Ok(())
}

fn reply_value(reply: &mut crate::resp::writer::Reply<'_>, value: Option<Elem<'_>>) {
    match value {
        Some(v) => reply.bulk(v.as_bytes(&mut IntBuf::new())),
        None => reply.null(),
    }
}

/// `HGET key field`
fn hget(ctx: &mut Ctx<'_>) -> Result {
    let value = ctx.keys.hash(ctx.args.at(1))?.and_then(|h| h.get(ctx.args.at(2)));
    reply_value(&mut ctx.reply, value);
    Ok(())
}

/// `HMGET key field [field …]`
fn hmget(ctx: &mut Ctx<'_>) -> Result {
    let hash = ctx.keys.hash(ctx.args.at(1))?;
    ctx.reply.array(ctx.args.len() - 2);
    for field in ctx.args.from(2) {
        reply_value(&mut ctx.reply, hash.and_then(|h| h.get(field)));
    }
    Ok(())
}

/// `HGETALL key`
fn hgetall(ctx: &mut Ctx<'_>) -> Result {
    let hash = ctx.keys.hash(ctx.args.at(1))?;
    ctx.reply.map(hash.map_or(0, Hash::len));
    for (field, value) in hash.iter().flat_map(|h| h.iter()) {
        reply_value(&mut ctx.reply, Some(field));
        reply_value(&mut ctx.reply, Some(value));
    }
    Ok(())
}

/// `HKEYS key`
fn hkeys(ctx: &mut Ctx<'_>) -> Result {
    reply_halves(ctx, |pair| pair.0)
}

/// `HVALS key`
fn hvals(ctx: &mut Ctx<'_>) -> Result {
    reply_halves(ctx, |pair| pair.1)
}

fn reply_halves(ctx: &mut Ctx<'_>, half: for<'e> fn((Elem<'e>, Elem<'e>)) -> Elem<'e>) -> Result {
    let hash = ctx.keys.hash(ctx.args.at(1))?;
    ctx.reply.array(hash.map_or(0, Hash::len));
    for pair in hash.iter().flat_map(|h| h.iter()) {
        reply_value(&mut ctx.reply, Some(half(pair)));
    }
    Ok(())
}

/// `HDEL key field [field …]`
fn hdel(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let mut removed = 0;
    if let Some(hash) = ctx.keys.hash_mut(key)? {
        removed = ctx.args.from(2).filter(|field| hash.remove(field)).count();
    }
    if removed > 0 {
        ctx.keys.modified(ctx.io, Event::Hash, "hdel", key);
        ctx.keys.dirty(removed as u64 - 1);
        ctx.keys.remove_if_empty(ctx.io, key);
    }
    ctx.reply.int(removed as i64);
    Ok(())
}

/// `HLEN key`
fn hlen(ctx: &mut Ctx<'_>) -> Result {
    let len = ctx.keys.hash(ctx.args.at(1))?.map_or(0, Hash::len);
    ctx.reply.int(len as i64);
    Ok(())
}

/// `HEXISTS key field`
fn hexists(ctx: &mut Ctx<'_>) -> Result {
    let exists = ctx.keys.hash(ctx.args.at(1))?.is_some_and(|h| h.contains(ctx.args.at(2)));
    ctx.reply.int(i64::from(exists));
    Ok(())
}

/// `HSTRLEN key field`
fn hstrlen(ctx: &mut Ctx<'_>) -> Result {
    let len = ctx.keys.hash(ctx.args.at(1))?.and_then(|h| h.get(ctx.args.at(2))).map_or(0, |v| v.len());
    ctx.reply.int(len as i64);
    Ok(())
}

/// `HINCRBY key field increment`
fn hincrby(ctx: &mut Ctx<'_>) -> Result {
    let (key, field, by) = (ctx.args.at(1), ctx.args.at(2), ctx.int(3)?);
    let old = match ctx.keys.hash(key)?.and_then(|h| h.get(field)) {
        Some(Elem::Int(n)) => n,
        Some(Elem::Bytes(b)) => parse_int(b).ok_or(Error::Text("ERR hash value is not an integer".into()))?,
        None => 0,
    };
    let sum = old.checked_add(by).ok_or(OVERFLOW)?;
    let limits = ctx.keys.limits();
    ctx.keys.hash_or_new(key)?.insert(&limits, field, IntBuf::new().format(sum));
    ctx.keys.modified(ctx.io, Event::Hash, "hincrby", key);
    ctx.reply.int(sum);
    Ok(())
}

/// `HINCRBYFLOAT key field increment`
fn hincrbyfloat(ctx: &mut Ctx<'_>) -> Result {
    let (key, field) = (ctx.args.at(1), ctx.args.at(2));
    let by = Extended::parse(ctx.args.at(3)).ok_or(Error::NotFloat)?;
    if !by.is_finite() {
        return Err("ERR value is NaN or Infinity".into());
    }
    let old = match ctx.keys.hash(key)?.and_then(|h| h.get(field)) {
        Some(v) => Extended::parse(v.as_bytes(&mut IntBuf::new()))
            .ok_or(Error::Text("ERR hash value is not a float".into()))?,
        None => Extended::ZERO,
    };
    let sum = float_sum(old, by)?;
    let limits = ctx.keys.limits();
    ctx.keys.hash_or_new(key)?.insert(&limits, field, sum.as_bytes());
    ctx.keys.modified(ctx.io, Event::Hash, "hincrbyfloat", key);
    ctx.reply.bulk(sum.as_bytes());
    ctx.propagate(&[b"HSET", key, field, sum.as_bytes()]);
    Ok(())
}

/// `HRANDFIELD key [count [WITHVALUES]]`: `count` different fields, or `-count` where they may come again.
fn hrandfield(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let count = match ctx.args.len() {
        2 => None,
        _ => Some(ctx.int_in(2, -i64::MAX..=i64::MAX)?),
    };
    let values = ctx.args.len() == 4 && ctx.args.is(3, "withvalues");
    if ctx.args.len() > 4 || ctx.args.len() == 4 && !values {
        return Err(Error::Syntax);
    }
    // Twice as many elements must still be countable.
    if values && count.is_some_and(|n| n.abs() > i64::MAX / 2) {
        return Err(Error::OutOfRange);
    }
    let most = ctx.reply_limit();
    let mut rng = ctx.keys.server.rng.clone();
    let hash = ctx.keys.hash(key)?;
    let reply = &mut ctx.reply;
    match (hash, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(hash), None) => reply_value(reply, hash.random(&mut rng).map(|pair| pair.0)),
        (Some(hash), Some(n)) => {
            let wanted = n.unsigned_abs() as usize;
            let picked = if n < 0 { wanted } else { wanted.min(hash.len()) };
            let nested = reply.resp3() && values;
            reply.array(if values && !nested { picked * 2 } else { picked });
            let mut put = |(field, value): (Elem<'_>, Elem<'_>)| {
                if nested {
                    reply.array(2);
                }
                reply_value(reply, Some(field));
                if values {
                    reply_value(reply, Some(value));
                }
                reply.out.len() <= most
            };
            if n < 0 {
                (0..picked).map_while(|_| hash.random(&mut rng)).all(&mut put);
            } else {
                // Each field is taken with the probability that leaves exactly as many as are wanted.
                let (mut left, mut needed) = (hash.len(), picked);
                for pair in hash.iter() {
                    if rng.below(left) < needed {
                        put(pair);
                        needed -= 1;
                    }
                    left -= 1;
                }
            }
        }
    }
    ctx.keys.server.rng = rng;
    Ok(())
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count]`
fn hscan(ctx: &mut Ctx<'_>) -> Result {
    let cursor = Scan::cursor(ctx, 2)?;
    let (args, mut found, mut seen) = (ctx.args, Vec::new(), 0);
    let next = match ctx.keys.hash(args.at(1))? {
        None => 0,
        Some(hash) => {
            let scan = Scan::options(args, 3, false)?;
            scan.run(cursor, |cursor| {
                let next = hash.scan(cursor, &mut |field, value| {
                    seen += 1;
                    let field = field.to_bytes();
                    if scan.wants(&field) {
                        found.push(field.into_owned());
                        found.push(value.to_bytes().into_owned());
                    }
                });
                (next, seen)
            })
        }
    };
    reply_found(&mut ctx.reply, next, &found);
    Ok(())
}
