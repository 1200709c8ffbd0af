//! Expiry of keys (<https://redis.io/docs/latest/commands/expire/> and its kin).

use super::{Ctx, Error, Event, Flags, Group, Handler, Result, Spec};
use crate::store::num::IntBuf;

const READ: Flags = Flags::READONLY.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE.with(Flags::FAST);

const fn one_key(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Spec {
    Spec::new(Group::Generic, name, arity, handler).flags(flags).keys(1, 1, 1)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    one_key("expire", -3, WRITE, expire).doc("1.0.0", "Sets a key's time to live in seconds."),
    one_key("pexpire", -3, WRITE, pexpire).doc("2.6.0", "Sets a key's time to live in milliseconds."),
    one_key("expireat", -3, WRITE, expireat).doc("1.2.0", "Sets when a key expires, in unix seconds."),
    one_key("pexpireat", -3, WRITE, pexpireat).doc("2.6.0", "Sets when a key expires, in unix milliseconds."),
    one_key("ttl", 2, READ, ttl).doc("1.0.0", "Returns a key's time to live in seconds."),
    one_key("pttl", 2, READ, pttl).doc("2.6.0", "Returns a key's time to live in milliseconds."),
    one_key("expiretime", 2, READ, expiretime).doc("7.0.0", "Returns when a key expires, in unix seconds."),
    one_key("pexpiretime", 2, READ, pexpiretime)
        .doc("7.0.0", "Returns when a key expires, in unix milliseconds."),
    one_key("persist", 2, WRITE, persist).doc("2.2.0", "Takes a key's expiry away."),
];

/// Unit of a time in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// The deadline (unix ms) that argument `i` says: a point in time, or a time from now.
fn deadline(ctx: &Ctx<'_>, i: usize, unit: Unit, absolute: bool) -> Result<i64> {
    let n = ctx.int(i)?;
    let ms = match unit {
        Unit::Seconds => n.checked_mul(1000),
        Unit::Milliseconds => Some(n),
    };
    let base = if absolute { 0 } else { ctx.now_ms() };
    // The last millisecond of all stands for "never" in the store.
    ms.and_then(|ms| ms.checked_add(base)).filter(|&at| at < i64::MAX).ok_or_else(|| invalid(ctx))
}

/// The same where the number must be positive (`SET … EX`).
pub fn positive_deadline(ctx: &Ctx<'_>, i: usize, unit: Unit, absolute: bool) -> Result<i64> {
    if ctx.int(i)? <= 0 { Err(invalid(ctx)) } else { deadline(ctx, i, unit, absolute) }
}

fn invalid(ctx: &Ctx<'_>) -> Error {
    Error::err(format_args!("invalid expire time in '{}' command", ctx.spec.name))
}

/// Whether a key with this expiry is to be deleted at once. Not on a replica and while loading: the master says when.
pub fn has_passed(ctx: &Ctx<'_>, at_ms: i64) -> bool {
    at_ms <= ctx.now_ms() && ctx.keys.server.is_master() && !ctx.keys.server.loading
}

/// Deletes a key that has been given an expiry in the past.
pub fn delete_expired(ctx: &mut Ctx<'_>, key: &[u8]) {
    let lazy = ctx.keys.server.config.lazyfree_lazy_expire;
    ctx.keys.delete(key, lazy);
    ctx.keys.modified(ctx.io, Event::Generic, "del", key);
    ctx.propagate(&[if lazy { b"UNLINK".as_slice() } else { b"DEL" }, key]);
}

/// Sets the expiry of a key that exists; deletes the key where that time has passed. `conditions` under which that was
/// allowed are repeated where the effect is.
pub fn expire_or_delete(ctx: &mut Ctx<'_>, key: &[u8], at_ms: i64, conditions: &[&[u8]]) {
    if has_passed(ctx, at_ms) {
        return delete_expired(ctx, key);
    }
    ctx.keys.set_expire(key, Some(at_ms));
    ctx.keys.modified(ctx.io, Event::Generic, "expire", key);
    let mut at = IntBuf::new();
    ctx.propagate(&[&[b"PEXPIREAT", key, at.format(at_ms)], conditions].concat());
}

/// `EXPIRE key seconds [NX | XX | GT | LT]`
fn expire(ctx: &mut Ctx<'_>) -> Result {
    set_expiry(ctx, Unit::Seconds, false)
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`
fn pexpire(ctx: &mut Ctx<'_>) -> Result {
    set_expiry(ctx, Unit::Milliseconds, false)
}

/// `EXPIREAT key unix-seconds [NX | XX | GT | LT]`
fn expireat(ctx: &mut Ctx<'_>) -> Result {
    set_expiry(ctx, Unit::Seconds, true)
}

/// `PEXPIREAT key unix-milliseconds [NX | XX | GT | LT]`
fn pexpireat(ctx: &mut Ctx<'_>) -> Result {
    set_expiry(ctx, Unit::Milliseconds, true)
}

/// When an expiry may be set.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(ctx: &Ctx<'_>) -> Result<Conditions> {
        let mut c = Conditions::default();
        for word in ctx.args.from(3) {
            match word.to_ascii_uppercase().as_slice() {
                b"NX" => c.nx = true,
                b"XX" => c.xx = true,
                b"GT" => c.gt = true,
                b"LT" => c.lt = true,
                _ => {
                    let word = String::from_utf8_lossy(word);
                    return Err(Error::err(format_args!("Unsupported option {word}")));
                }
            }
        }
        if c.nx && (c.xx || c.gt || c.lt) {
            return Err("ERR NX and XX, GT or LT options at the same time are not compatible".into());
        }
        if c.gt && c.lt {
            return Err("ERR GT and LT options at the same time are not compatible".into());
        }
        Ok(c)
    }

    /// Whether the expiry `to` may replace `from`; without one a key lives for ever.
    fn allow(&self, from: Option<i64>, to: i64) -> bool {
        !(self.nx && from.is_some()
            || self.xx && from.is_none()
            || self.gt && from.is_none_or(|at| to <= at)
            || self.lt && from.is_some_and(|at| to >= at))
    }
}

fn set_expiry(ctx: &mut Ctx<'_>, unit: Unit, absolute: bool) -> Result {
    let key = ctx.args.at(1);
    let conditions = Conditions::parse(ctx)?;
    let at = deadline(ctx, 2, unit, absolute)?;
    let allowed = ctx.keys.exists(key) && conditions.allow(ctx.keys.expire_at(key), at);
    if allowed {
        let words: Vec<&[u8]> = ctx.args.from(3).collect();
        expire_or_delete(ctx, key, at, &words);
    }
    ctx.reply.int(i64::from(allowed));
    Ok(())
}

/// Replies what `f` makes of a key's expiry and the present; -1: it has none; -2: no such key.
fn reply_expiry(ctx: &mut Ctx<'_>, f: impl FnOnce(i64, i64) -> i64) -> Result {
    let now = ctx.now_ms();
    let n = match ctx.keys.peek(ctx.args.at(1)).map(|e| e.expire_at()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => f(at, now),
    };
    ctx.reply.int(n);
    Ok(())
}

fn to_seconds(ms: i64) -> i64 {
    ms.saturating_add(500) / 1000
}

/// `TTL key`
fn ttl(ctx: &mut Ctx<'_>) -> Result {
    reply_expiry(ctx, |at, now| to_seconds(at.saturating_sub(now).max(0)))
}

/// `PTTL key`
fn pttl(ctx: &mut Ctx<'_>) -> Result {
    reply_expiry(ctx, |at, now| at.saturating_sub(now).max(0))
}

/// `EXPIRETIME key`
fn expiretime(ctx: &mut Ctx<'_>) -> Result {
    reply_expiry(ctx, |at, _| to_seconds(at))
}

/// `PEXPIRETIME key`
fn pexpiretime(ctx: &mut Ctx<'_>) -> Result {
    reply_expiry(ctx, |at, _| at)
}

/// `PERSIST key`
fn persist(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let had = ctx.keys.expire_at(key).is_some();
    if had {
        ctx.keys.set_expire(key, None);
        ctx.keys.modified(ctx.io, Event::Generic, "persist", key);
    }
    ctx.reply.int(i64::from(had));
    Ok(())
}
