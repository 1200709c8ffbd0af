//! Keys of any type (<https://redis.io/docs/latest/commands/?group=generic>).

use super::scan::{Scan, reply_found};
use super::{Ctx, Event, Flags, Group, Result, Spec};
use crate::glob::glob_match;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    Spec::new(Group::Generic, "del", -2, del)
        .flags(Flags::WRITE)
        .keys(1, -1, 1)
        .doc("1.0.0", "Deletes keys."),
    Spec::new(Group::Generic, "unlink", -2, unlink)
        .flags(WRITE_FAST)
        .keys(1, -1, 1)
        .doc("4.0.0", "Deletes keys and frees their memory in the background."),
    Spec::new(Group::Generic, "exists", -2, exists)
        .flags(READ_FAST)
        .keys(1, -1, 1)
        .doc("1.0.0", "Counts which of the keys exist."),
    Spec::new(Group::Generic, "touch", -2, touch)
        .flags(READ_FAST)
        .keys(1, -1, 1)
        .doc("3.2.1", "Counts as a use of the keys; says how many exist."),
    Spec::new(Group::Generic, "keys", 2, keys)
        .flags(READ)
        .doc("1.0.0", "Returns all keys that match a pattern."),
    Spec::new(Group::Generic, "scan", -2, scan)
        .flags(READ)
        .doc("2.8.0", "Iterates over the keys, a part per call."),
    Spec::new(Group::Generic, "randomkey", 1, randomkey).flags(READ).doc("1.0.0", "Returns a random key."),
    Spec::new(Group::Generic, "type", 2, type_)
        .flags(READ_FAST)
        .keys(1, 1, 1)
        .doc("1.0.0", "Returns the type of a key's value."),
];

/// `DEL key [key …]`
fn del(ctx: &mut Ctx<'_>) -> Result {
    let lazy = ctx.keys.server.config.lazyfree_lazy_user_del;
    delete(ctx, lazy)
}

/// `UNLINK key [key …]`
fn unlink(ctx: &mut Ctx<'_>) -> Result {
    delete(ctx, true)
}

fn delete(ctx: &mut Ctx<'_>, lazy: bool) -> Result {
    let mut deleted = 0;
    for key in ctx.args.from(1) {
        if ctx.keys.delete(key, lazy) {
            ctx.keys.modified(ctx.io, Event::Generic, "del", key);
            deleted += 1;
        }
    }
    ctx.reply.int(deleted);
    Ok(())
}

/// `EXISTS key [key …]`
fn exists(ctx: &mut Ctx<'_>) -> Result {
    let n = ctx.args.from(1).filter(|key| ctx.keys.exists(key)).count();
    ctx.reply.int(n as i64);
    Ok(())
}

/// `TOUCH key [key …]`
fn touch(ctx: &mut Ctx<'_>) -> Result {
    let n = ctx.args.from(1).filter(|key| ctx.keys.find(key).is_some()).count();
    ctx.reply.int(n as i64);
    Ok(())
}

/// `KEYS pattern`
fn keys(ctx: &mut Ctx<'_>) -> Result {
    let (pattern, db, now) = (ctx.args.at(1), ctx.keys.db, ctx.keys.now_ms);
    let wanted = |key: &[u8]| pattern == b"*" || glob_match(pattern, key, false);
    let entries = ctx.keys.server.keyspace.iter(db).filter(|e| !e.is_expired(now) && wanted(e.key()));
    let found: Vec<&[u8]> = entries.map(|e| e.key()).collect();
    ctx.reply.array(found.len());
    for key in found {
        ctx.reply.bulk(key);
    }
    Ok(())
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
fn scan(ctx: &mut Ctx<'_>) -> Result {
    let scan = Scan::parse(ctx, 1, true)?;
    let (db, now) = (ctx.keys.db, ctx.keys.now_ms);
    let mut found: Vec<Vec<u8>> = Vec::new();
    let keyspace = &ctx.keys.server.keyspace;
    let mut seen = 0;
    let cursor = scan.run(|cursor| {
        let next = keyspace.scan(db, cursor, &mut |e| {
            seen += 1;
            let of_type = |t: &[u8]| t.eq_ignore_ascii_case(e.value.type_name().as_bytes());
            if !e.is_expired(now) && scan.type_name.is_none_or(of_type) && scan.wants(e.key()) {
                found.push(e.key().to_vec());
            }
        });
        (next, seen)
    });
    reply_found(&mut ctx.reply, cursor, &found);
    Ok(())
}

/// `RANDOMKEY`
fn randomkey(ctx: &mut Ctx<'_>) -> Result {
    let (db, now) = (ctx.keys.db, ctx.keys.now_ms);
    let server = &mut *ctx.keys.server;
    match server.keyspace.random(db, &mut server.rng, now) {
        Some(e) => ctx.reply.bulk(e.key()),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// `TYPE key`
fn type_(ctx: &mut Ctx<'_>) -> Result {
    let name = ctx.keys.peek(ctx.args.at(1)).map_or("none", |e| e.value.type_name());
    ctx.reply.simple(name);
    Ok(())
}
