//! Strings (<https://redis.io/docs/latest/commands/?group=string>).

use super::expiry::{self, Unit};
use super::{Ctx, Error, Event, Flags, Group, Handler, Result, Spec};
use crate::server::dispatch::Origin;
use crate::store::extended::Extended;
use crate::store::num::IntBuf;
use crate::store::str::Str;
use crate::store::value::Value;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.with(Flags::FAST);

const fn one_key(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Spec {
    Spec::new(Group::String, name, arity, handler).flags(flags).keys(1, 1, 1)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    one_key("set", -3, GROW, set).doc("1.0.0", "Sets a string, whatever the key held."),
    one_key("get", 2, READ_FAST, get).doc("1.0.0", "Returns a string."),
    one_key("getset", 3, GROW_FAST, getset).doc("1.0.0", "Sets a string and returns the one before."),
    one_key("getdel", 2, WRITE_FAST, getdel).doc("6.2.0", "Returns a string and deletes the key."),
    one_key("getex", -2, WRITE_FAST, getex).doc("6.2.0", "Returns a string and changes the key's expiry."),
    one_key("setex", 4, GROW, setex).doc("2.0.0", "Sets a string with a time to live in seconds."),
    one_key("psetex", 4, GROW, psetex).doc("2.6.0", "Sets a string with a time to live in milliseconds."),
    one_key("setnx", 3, GROW_FAST, setnx).doc("1.0.0", "Sets a string unless the key exists."),
    one_key("mset", -3, GROW, mset).keys(1, -1, 2).doc("1.0.1", "Sets several strings."),
    one_key("msetnx", -3, GROW, msetnx)
        .keys(1, -1, 2)
        .doc("1.0.1", "Sets several strings unless one of the keys exists."),
    one_key("mget", -2, READ_FAST, mget).keys(1, -1, 1).doc("1.0.0", "Returns several strings."),
    one_key("incr", 2, GROW_FAST, incr).doc("1.0.0", "Adds one to an integer."),
    one_key("decr", 2, GROW_FAST, decr).doc("1.0.0", "Subtracts one from an integer."),
    one_key("incrby", 3, GROW_FAST, incrby).doc("1.0.0", "Adds to an integer."),
    one_key("decrby", 3, GROW_FAST, decrby).doc("1.0.0", "Subtracts from an integer."),
    one_key("incrbyfloat", 3, GROW_FAST, incrbyfloat).doc("2.6.0", "Adds to a number."),
    one_key("append", 3, GROW_FAST, append).doc("2.0.0", "Appends to a string."),
    one_key("strlen", 2, READ_FAST, strlen).doc("2.2.0", "Returns the length of a string."),
    one_key("setrange", 4, GROW, setrange).doc("2.2.0", "Overwrites a part of a string."),
    one_key("getrange", 4, READ, getrange).doc("2.4.0", "Returns a part of a string."),
    one_key("substr", 4, READ, getrange).doc("1.0.0", "Returns a part of a string."),
    one_key("lcs", -3, READ, super::lcs::lcs)
        .keys(1, 2, 1)
        .doc("7.0.0", "Finds the longest common subsequence of two strings."),
];

/// Options of `SET` and `GETEX`.
#[derive(Default)]
struct Options {
    nx: bool,
    xx: bool,
    get: bool,
    keep_ttl: bool,
    persist: bool,
    /// When it expires: unit, whether it is a point in time, and the argument that says it.
    expiry: Option<(Unit, bool, usize)>,
}

impl Options {
    /// Reads the arguments from `from` on; `set`: those of `SET`.
    fn parse(ctx: &Ctx<'_>, from: usize, set: bool) -> Result<Options> {
        let (mut o, mut i) = (Options::default(), from);
        while let Some(word) = ctx.args.get(i) {
            let expiry = match word.to_ascii_uppercase().as_slice() {
                b"EX" => Some((Unit::Seconds, false)),
                b"PX" => Some((Unit::Milliseconds, false)),
                b"EXAT" => Some((Unit::Seconds, true)),
                b"PXAT" => Some((Unit::Milliseconds, true)),
                b"NX" if set && !o.xx => {
                    o.nx = true;
                    None
                }
                b"XX" if set && !o.nx => {
                    o.xx = true;
                    None
                }
                b"GET" if set => {
                    o.get = true;
                    None
                }
                b"KEEPTTL" if set && o.expiry.is_none() => {
                    o.keep_ttl = true;
                    None
                }
                b"PERSIST" if !set && o.expiry.is_none() => {
                    o.persist = true;
                    None
                }
                _ => return Err(Error::Syntax),
            };
            if let Some((unit, absolute)) = expiry {
                i += 1;
                // The same option may stand there twice; the last one counts.
                let other = o.expiry.is_some_and(|(u, a, _)| (u, a) != (unit, absolute));
                if other || o.keep_ttl || o.persist || i >= ctx.args.len() {
                    return Err(Error::Syntax);
                }
                o.expiry = Some((unit, absolute, i));
            }
            i += 1;
        }
        Ok(o)
    }

    fn expire_at(&self, ctx: &Ctx<'_>) -> Result<Option<i64>> {
        self.expiry.map(|(unit, absolute, i)| expiry::positive_deadline(ctx, i, unit, absolute)).transpose()
    }
}

/// Replies the string at `key`, or null.
fn reply_string(ctx: &mut Ctx<'_>, key: &[u8]) -> Result {
    match ctx.keys.string(key)? {
        Some(s) => ctx.reply.bulk(s.as_bytes(&mut IntBuf::new())),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// Sets a string that expires, tells who listens, and has it repeated with its deadline.
fn set_expiring(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], at_ms: i64) {
    ctx.keys.put(key, Value::Str(Str::new(value)), Some(at_ms));
    ctx.keys.modified(ctx.io, Event::String, "set", key);
    ctx.keys.notify(ctx.io, Event::Generic, "expire", key);
    ctx.propagate(&[b"SET", key, value, b"PXAT", IntBuf::new().format(at_ms)]);
}

/// `SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | KEEPTTL]`
fn set(ctx: &mut Ctx<'_>) -> Result {
    let (key, value) = (ctx.args.at(1), ctx.args.at(2));
    let o = Options::parse(ctx, 3, true)?;
    let expire_at = o.expire_at(ctx)?;
    if o.get {
        reply_string(ctx, key)?;
    }
    if (o.nx || o.xx) && ctx.keys.exists(key) == o.nx {
        if !o.get {
            ctx.reply.null();
        }
        return Ok(());
    }
    if let Some(at) = expire_at {
        set_expiring(ctx, key, value, at);
    } else {
        let kept = if o.keep_ttl { ctx.keys.expire_at(key) } else { None };
        ctx.keys.put(key, Value::Str(Str::new(value)), kept);
        ctx.keys.modified(ctx.io, Event::String, "set", key);
        if o.get {
            let args: Vec<&[u8]> =
                ctx.args.iter().take(3).chain(ctx.args.from(3).filter(|a| !is_get(a))).collect();
            ctx.propagate(&args);
        }
    }
    if !o.get {
        ctx.reply.ok();
    }
    Ok(())
}

fn is_get(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"get")
}

/// `SETEX key seconds value`
fn setex(ctx: &mut Ctx<'_>) -> Result {
    set_for(ctx, Unit::Seconds)
}

/// `PSETEX key milliseconds value`
fn psetex(ctx: &mut Ctx<'_>) -> Result {
    set_for(ctx, Unit::Milliseconds)
}

fn set_for(ctx: &mut Ctx<'_>, unit: Unit) -> Result {
    let at = expiry::positive_deadline(ctx, 2, unit, false)?;
    set_expiring(ctx, ctx.args.at(1), ctx.args.at(3), at);
    ctx.reply.ok();
    Ok(())
}

/// `SETNX key value`
fn setnx(ctx: &mut Ctx<'_>) -> Result {
    let (key, value) = (ctx.args.at(1), ctx.args.at(2));
    let new = !ctx.keys.exists(key);
    if new {
        ctx.keys.put(key, Value::Str(Str::new(value)), None);
        ctx.keys.modified(ctx.io, Event::String, "set", key);
    }
    ctx.reply.int(i64::from(new));
    Ok(())
}

/// `GET key`
fn get(ctx: &mut Ctx<'_>) -> Result {
    reply_string(ctx, ctx.args.at(1))
}

/// `GETSET key value`
fn getset(ctx: &mut Ctx<'_>) -> Result {
    let (key, value) = (ctx.args.at(1), ctx.args.at(2));
    reply_string(ctx, key)?;
    ctx.keys.put(key, Value::Str(Str::new(value)), None);
    ctx.keys.modified(ctx.io, Event::String, "set", key);
    ctx.propagate(&[b"SET", key, value]);
    Ok(())
}

/// `GETDEL key`
fn getdel(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    reply_string(ctx, key)?;
    if ctx.keys.remove(key).is_some() {
        ctx.keys.modified(ctx.io, Event::Generic, "del", key);
        ctx.propagate(&[b"DEL", key]);
    }
    Ok(())
}

/// `GETEX key [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | PERSIST]`
fn getex(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let o = Options::parse(ctx, 2, false)?;
    if ctx.keys.string(key)?.is_none() {
        ctx.reply.null();
        return Ok(());
    }
    let expire_at = o.expire_at(ctx)?;
    reply_string(ctx, key)?;
    if let Some(at) = expire_at {
        expiry::expire_or_delete(ctx, key, at, &[]);
    } else if o.persist && ctx.keys.expire_at(key).is_some() {
        ctx.keys.set_expire(key, None);
        ctx.keys.modified(ctx.io, Event::Generic, "persist", key);
        ctx.propagate(&[b"PERSIST", key]);
    }
    Ok(())
}

/// `MGET key [key …]`
fn mget(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.array(ctx.args.len() - 1);
    for key in ctx.args.from(1) {
        match ctx.keys.string(key) {
            Ok(Some(s)) => ctx.reply.bulk(s.as_bytes(&mut IntBuf::new())),
            Ok(None) | Err(_) => ctx.reply.null(),
        }
    }
    Ok(())
}

fn set_pairs(ctx: &mut Ctx<'_>) {
    for i in (1..ctx.args.len()).step_by(2) {
        let key = ctx.args.at(i);
        ctx.keys.put(key, Value::Str(Str::new(ctx.args.at(i + 1))), None);
        ctx.keys.modified(ctx.io, Event::String, "set", key);
    }
}

fn check_pairs(ctx: &Ctx<'_>) -> Result {
    if ctx.args.len().is_multiple_of(2) { Err(Error::Arity(ctx.spec.name)) } else { Ok(()) }
}

/// `MSET key value [key value …]`
fn mset(ctx: &mut Ctx<'_>) -> Result {
    check_pairs(ctx)?;
    set_pairs(ctx);
    ctx.reply.ok();
    Ok(())
}

/// `MSETNX key value [key value …]`
fn msetnx(ctx: &mut Ctx<'_>) -> Result {
    check_pairs(ctx)?;
    let free = ctx.args.from(1).step_by(2).all(|key| !ctx.keys.exists(key));
    if free {
        set_pairs(ctx);
    }
    ctx.reply.int(i64::from(free));
    Ok(())
}

/// `INCR key`
fn incr(ctx: &mut Ctx<'_>) -> Result {
    add(ctx, 1)
}

/// `DECR key`
fn decr(ctx: &mut Ctx<'_>) -> Result {
    add(ctx, -1)
}

/// `INCRBY key increment`
fn incrby(ctx: &mut Ctx<'_>) -> Result {
    let by = ctx.int(2)?;
    add(ctx, by)
}

/// `DECRBY key decrement`
fn decrby(ctx: &mut Ctx<'_>) -> Result {
    let by = ctx.int(2)?;
    add(ctx, by.checked_neg().ok_or(Error::Text("ERR decrement would overflow".into()))?)
}

fn add(ctx: &mut Ctx<'_>, by: i64) -> Result {
    let key = ctx.args.at(1);
    let sum = match ctx.keys.string_mut(key)? {
        Some(s) => {
            let n = s.as_int().ok_or(Error::NotInteger)?;
            let sum = n.checked_add(by).ok_or(OVERFLOW)?;
            *s = Str::int(sum);
            sum
        }
        None => {
            ctx.keys.put(key, Value::Str(Str::int(by)), None);
            by
        }
    };
    ctx.keys.modified(ctx.io, Event::String, "incrby", key);
    ctx.reply.int(sum);
    Ok(())
}

/// `INCRBYFLOAT key increment`
fn incrbyfloat(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let old = match ctx.keys.string(key)? {
        Some(s) => Extended::parse(s.as_bytes(&mut IntBuf::new())).ok_or(Error::NotFloat)?,
        None => Extended::ZERO,
    };
    let sum = float_sum(old, Extended::parse(ctx.args.at(2)).ok_or(Error::NotFloat)?)?;
    *ctx.keys.string_or_new(key)? = Str::raw(sum.as_bytes());
    ctx.keys.modified(ctx.io, Event::String, "incrbyfloat", key);
    ctx.reply.bulk(sum.as_bytes());
    ctx.propagate(&[b"SET", key, sum.as_bytes(), b"KEEPTTL"]);
    Ok(())
}

/// The sum of two numbers as it is stored and replied.
pub(super) fn float_sum(a: Extended, b: Extended) -> Result<String> {
    let sum = a.plus(b);
    if !sum.is_finite() {
        return Err("ERR increment would produce NaN or Infinity".into());
    }
    Ok(sum.format())
}

/// The error of integer arithmetic that leaves 64 bits.
pub(super) const OVERFLOW: Error =
    Error::Text(std::borrow::Cow::Borrowed("ERR increment or decrement would overflow"));

/// Refuses strings beyond the limit. What our master or our own file says is taken as it is.
pub(super) fn check_length(ctx: &Ctx<'_>, length: usize) -> Result {
    if ctx.keys.origin == Origin::Client && length as u64 > ctx.keys.server.config.proto_max_bulk_len {
        return Err("ERR string exceeds maximum allowed size (proto-max-bulk-len)".into());
    }
    Ok(())
}

/// `APPEND key value`
fn append(ctx: &mut Ctx<'_>) -> Result {
    let (key, value) = (ctx.args.at(1), ctx.args.at(2));
    let len = match ctx.keys.string(key)?.map(Str::len) {
        Some(old) => {
            check_length(ctx, old + value.len())?;
            ctx.keys.string_mut(key)?.map_or(0, |s| s.append(value))
        }
        None => {
            ctx.keys.put(key, Value::Str(Str::new(value)), None);
            value.len()
        }
    };
    ctx.keys.modified(ctx.io, Event::String, "append", key);
    ctx.reply.int(len as i64);
    Ok(())
}

/// `STRLEN key`
fn strlen(ctx: &mut Ctx<'_>) -> Result {
    let len = ctx.keys.string(ctx.args.at(1))?.map_or(0, Str::len);
    ctx.reply.int(len as i64);
    Ok(())
}

/// `SETRANGE key offset value`
fn setrange(ctx: &mut Ctx<'_>) -> Result {
    let (key, value) = (ctx.args.at(1), ctx.args.at(3));
    let offset =
        usize::try_from(ctx.int(2)?).map_err(|_| Error::Text("ERR offset is out of range".into()))?;
    let old = ctx.keys.string(key)?.map_or(0, Str::len);
    if value.is_empty() {
        ctx.reply.int(old as i64);
        return Ok(());
    }
    check_length(ctx, offset.saturating_add(value.len()))?;
    let len = ctx.keys.string_or_new(key)?.set_range(offset, value);
    ctx.keys.modified(ctx.io, Event::String, "setrange", key);
    ctx.reply.int(len as i64);
    Ok(())
}

/// `GETRANGE key start end`, `SUBSTR key start end`
fn getrange(ctx: &mut Ctx<'_>) -> Result {
    let (start, end) = (ctx.int(2)?, ctx.int(3)?);
    match ctx.keys.string(ctx.args.at(1))? {
        Some(s) => ctx.reply.bulk(s.get_range(start, end, &mut IntBuf::new())),
        None => ctx.reply.bulk(b""),
    }
    Ok(())
}
