//! Strings (<https://redis.io/docs/latest/commands/?group=string>).

use super::{Ctx, Event, Flags, Group, Result, Spec};
use crate::store::str::Str;
use crate::store::value::Value;

const READ: Flags = Flags(Flags::READONLY.0 | Flags::FAST.0);
const WRITE: Flags = Flags(Flags::WRITE.0 | Flags::DENYOOM.0);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    Spec::new(Group::String, "get", 2, get)
        .flags(READ)
        .keys(1, 1, 1)
        .doc("1.0.0", "Returns the string value of a key."),
    Spec::new(Group::String, "append", 3, append)
        .flags(Flags(WRITE.0 | Flags::FAST.0))
        .keys(1, 1, 1)
        .doc("2.0.0", "Appends a string to the value of a key. Creates the key if it doesn't exist."),
    Spec::new(Group::String, "setnx", 3, setnx)
        .flags(Flags(WRITE.0 | Flags::FAST.0))
        .keys(1, 1, 1)
        .doc("1.0.0", "Set the string value of a key only when the key doesn't exist."),
];

/// `GET key`
fn get(ctx: &mut Ctx<'_>) -> Result {
    match ctx.keys.string(ctx.args.at(1))? {
        Some(s) => ctx.reply.bulk(&s.to_bytes()),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// `APPEND key value`
fn append(ctx: &mut Ctx<'_>) -> Result {
    let (key, value) = (ctx.args.at(1), ctx.args.at(2));
    let len = ctx.keys.string_or_new(key)?.append(value);
    ctx.keys.modified(ctx.io, Event::String, "append", key);
    ctx.reply.int(len as i64);
    Ok(())
}

/// `SETNX key value`
fn setnx(ctx: &mut Ctx<'_>) -> Result {
    let (key, value) = (ctx.args.at(1), ctx.args.at(2));
    if ctx.keys.exists(key) {
        ctx.reply.int(0);
        return Ok(());
    }
    ctx.keys.put(key, Value::Str(Str::new(value)), None);
    ctx.keys.modified(ctx.io, Event::String, "set", key);
    ctx.reply.int(1);
    Ok(())
}
