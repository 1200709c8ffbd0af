//! Keys of any type (<https://redis.io/docs/latest/commands/?group=generic>).

use super::scan::{Scan, reply_found};
use super::{Ctx, Error, Event, Flags, Group, Handler, Result, Spec, expiry, sort};
use crate::glob::glob_match;
use crate::rdb::dump as payload;
use crate::rdb::encode::ValueWriter;
use crate::store::num::IntBuf;
use crate::store::value::ValueRef;

/// Keys that RANDOMKEY picks before it gives up finding one whose time is not up.
const RANDOM_TRIES: usize = 100;

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
    Spec::new(Group::Generic, "rename", 3, rename)
        .flags(Flags::WRITE)
        .keys(1, 2, 1)
        .doc("1.0.0", "Renames a key, over another one if need be."),
    Spec::new(Group::Generic, "renamenx", 3, renamenx)
        .flags(WRITE_FAST)
        .keys(1, 2, 1)
        .doc("1.0.0", "Renames a key unless the new name is taken."),
    Spec::new(Group::Generic, "copy", -3, copy)
        .flags(Flags::WRITE.with(Flags::DENYOOM))
        .keys(1, 2, 1)
        .doc("6.2.0", "Copies a key."),
    Spec::new(Group::Generic, "move", 3, move_)
        .flags(WRITE_FAST)
        .keys(1, 1, 1)
        .doc("1.0.0", "Moves a key to another database."),
    Spec::new(Group::Generic, "object", -2, object_help)
        .doc("2.2.3", "Looks into how a value is stored.")
        .subcommands(OBJECT),
    Spec::new(Group::Generic, "sort", -2, sort::sort)
        .flags(Flags::WRITE.with(Flags::DENYOOM))
        .keys(1, 1, 1)
        .find_keys(sort::find_keys)
        .doc("1.0.0", "Sorts a list, set or sorted set, and may store the result."),
    Spec::new(Group::Generic, "sort_ro", -2, sort::sort_ro)
        .flags(READ)
        .keys(1, 1, 1)
        .find_keys(sort::find_keys)
        .doc("7.0.0", "Sorts a list, set or sorted set."),
    Spec::new(Group::Generic, "dump", 2, dump)
        .flags(READ)
        .keys(1, 1, 1)
        .doc("2.6.0", "Returns a value in the form that RESTORE takes."),
    Spec::new(Group::Generic, "restore", -4, restore)
        .flags(Flags::WRITE.with(Flags::DENYOOM))
        .keys(1, 1, 1)
        .doc("2.6.0", "Makes a key from what DUMP has returned."),
];

const fn object(name: &'static str, handler: Handler) -> Spec {
    Spec::new(Group::Generic, name, 3, handler).flags(READ).keys(2, 2, 1)
}

const OBJECT: &[Spec] = &[
    object("object|encoding", object_encoding).doc("2.2.3", "Returns the encoding of a value."),
    object("object|freq", object_freq).doc("4.0.0", "Returns a key's logarithmic use counter."),
    object("object|idletime", object_idletime).doc("2.2.3", "Returns the seconds since a key was used."),
    object("object|refcount", object_refcount).doc("2.2.3", "Returns the number of references to a value."),
    Spec::new(Group::Generic, "object|help", 2, object_help)
        .flags(Flags::LOADING.with(Flags::STALE))
        .doc("6.2.0", "Explains the subcommands."),
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
    let cursor = Scan::cursor(ctx, 1)?;
    let scan = Scan::options(ctx.args, 2, true)?;
    let (db, now) = (ctx.keys.db, ctx.keys.now_ms);
    let (mut found, mut expired): (Vec<Vec<u8>>, Vec<Vec<u8>>) = Default::default();
    let keyspace = &ctx.keys.server.keyspace;
    let mut seen = 0;
    let next = scan.run(cursor, |cursor| {
        let next = keyspace.scan(db, cursor, &mut |e| {
            seen += 1;
            let of_type = |t: &[u8]| t.eq_ignore_ascii_case(e.value().type_name().as_bytes());
            match scan.wants(e.key()) {
                true if e.is_expired(now) => expired.push(e.key().to_vec()),
                true if scan.type_name.is_none_or(of_type) => found.push(e.key().to_vec()),
                _ => {}
            }
        });
        (next, seen)
    });
    expired.iter().for_each(|key| ctx.keys.expire_in_passing(key));
    reply_found(&mut ctx.reply, next, &found);
    Ok(())
}

/// `RANDOMKEY`
fn randomkey(ctx: &mut Ctx<'_>) -> Result {
    let (db, now) = (ctx.keys.db, ctx.keys.now_ms);
    for _ in 0..RANDOM_TRIES {
        let server = &mut *ctx.keys.server;
        match server.keyspace.random(db, &mut server.rng) {
            Some(e) if e.is_expired(now) => {
                let key = e.key().to_vec();
                ctx.keys.expire_in_passing(&key);
            }
            Some(e) => {
                ctx.reply.bulk(e.key());
                return Ok(());
            }
            None => break,
        }
    }
    ctx.reply.null();
    Ok(())
}

/// `TYPE key`
fn type_(ctx: &mut Ctx<'_>) -> Result {
    let name = ctx.keys.peek(ctx.args.at(1)).map_or("none", |e| e.value().type_name());
    ctx.reply.simple(name);
    Ok(())
}

/// `RENAME key newkey`
fn rename(ctx: &mut Ctx<'_>) -> Result {
    move_name(ctx, true)?;
    ctx.reply.ok();
    Ok(())
}

/// `RENAMENX key newkey`
fn renamenx(ctx: &mut Ctx<'_>) -> Result {
    let renamed = move_name(ctx, false)?;
    ctx.reply.int(i64::from(renamed));
    Ok(())
}

fn move_name(ctx: &mut Ctx<'_>, replace: bool) -> Result<bool> {
    let (from, to) = (ctx.args.at(1), ctx.args.at(2));
    if !ctx.keys.exists(from) {
        return Err(Error::NoSuchKey);
    }
    if from == to || !replace && ctx.keys.exists(to) {
        return Ok(false);
    }
    let Some(entry) = ctx.keys.remove(from) else { return Err(Error::NoSuchKey) };
    let (_, value, expire_at) = entry.into_parts();
    ctx.keys.put_anew(to, value, expire_at);
    ctx.keys.modified(ctx.io, Event::Generic, "rename_from", from);
    ctx.keys.touched(to);
    ctx.keys.notify(ctx.io, Event::Generic, "rename_to", to);
    Ok(true)
}

/// The database that argument `i` names.
fn database(ctx: &Ctx<'_>, i: usize) -> Result<usize> {
    let n = ctx.int_in(i, i32::MIN.into()..=i32::MAX.into())?;
    let db = usize::try_from(n).ok().filter(|&db| db < ctx.keys.server.keyspace.databases());
    db.ok_or(Error::Text("ERR DB index is out of range".into()))
}

const SAME_OBJECT: &str = "ERR source and destination objects are the same";

/// `COPY source destination [DB destination-db] [REPLACE]`
fn copy(ctx: &mut Ctx<'_>) -> Result {
    let (from, to) = (ctx.args.at(1), ctx.args.at(2));
    let (mut db, mut replace, mut i) = (ctx.keys.db, false, 3);
    while i < ctx.args.len() {
        if ctx.args.is(i, "replace") {
            replace = true;
        } else if ctx.args.is(i, "db") && i + 1 < ctx.args.len() {
            i += 1;
            db = database(ctx, i)?;
        } else {
            return Err(Error::Syntax);
        }
        i += 1;
    }
    if ctx.keys.server.config.cluster_enabled && (ctx.keys.db != 0 || db != 0) {
        return Err("ERR Copying to another database is not allowed in cluster mode".into());
    }
    if from == to && db == ctx.keys.db {
        return Err(SAME_OBJECT.into());
    }
    let copied = match ctx.keys.find(from).map(|e| (e.value().to_value(), e.expire_at())) {
        Some((value, expire_at)) => ctx.keys.in_db(db, |keys| {
            let free = replace || !keys.exists(to);
            if free {
                keys.put_anew(to, value, expire_at);
                keys.modified(ctx.io, Event::Generic, "copy_to", to);
            }
            free
        }),
        None => false,
    };
    ctx.reply.int(i64::from(copied));
    Ok(())
}

/// `MOVE key db`
fn move_(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    if ctx.keys.server.config.cluster_enabled {
        return Err("ERR MOVE is not allowed in cluster mode".into());
    }
    let db = database(ctx, 2)?;
    if db == ctx.keys.db {
        return Err(SAME_OBJECT.into());
    }
    let taken = ctx.keys.in_db(db, |keys| keys.exists(key));
    let entry = if taken { None } else { ctx.keys.remove(key) };
    let moved = entry.is_some();
    if let Some(entry) = entry {
        let (_, value, expire_at) = entry.into_parts();
        ctx.keys.modified(ctx.io, Event::Generic, "move_from", key);
        ctx.keys.in_db(db, |keys| {
            keys.put_anew(key, value, expire_at);
            keys.touched(key);
            keys.notify(ctx.io, Event::Generic, "move_to", key);
        });
    }
    ctx.reply.int(i64::from(moved));
    Ok(())
}

/// `OBJECT ENCODING key`
fn object_encoding(ctx: &mut Ctx<'_>) -> Result {
    match ctx.keys.peek(ctx.args.at(2)) {
        Some(e) => ctx.reply.bulk(e.value().encoding().as_bytes()),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// `OBJECT REFCOUNT key`: small integers answer what stands for a shared value where Redis would share them. That is not so
/// where a policy wants to know of each key when it was last used.
fn object_refcount(ctx: &mut Ctx<'_>) -> Result {
    let config = &ctx.keys.server.config;
    let shares = config.maxmemory == 0 || !config.maxmemory_policy.is_by_use();
    match ctx.keys.peek(ctx.args.at(2)).map(|e| shares && is_small_integer(e.value())) {
        Some(true) => ctx.reply.int(SHARED),
        Some(false) => ctx.reply.int(1),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// What `OBJECT REFCOUNT` answers for a value that many keys share.
const SHARED: i64 = i32::MAX as i64;
/// Integers below this one are shared in Redis.
const SHARED_INTEGERS: i64 = 10_000;

fn is_small_integer(value: ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Str(s) if s.as_int().is_some_and(|n| (0..SHARED_INTEGERS).contains(&n)))
}

/// The use stamp of the key of an `OBJECT` subcommand.
fn access(ctx: &mut Ctx<'_>) -> Option<u32> {
    ctx.keys.peek(ctx.args.at(2)).map(|e| e.access().get())
}

/// `OBJECT IDLETIME key`
fn object_idletime(ctx: &mut Ctx<'_>) -> Result {
    let Some(stamp) = access(ctx) else {
        ctx.reply.null();
        return Ok(());
    };
    let server = &*ctx.keys.server;
    if server.config.maxmemory_policy.is_lfu() {
        return Err("ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                    between policies at runtime LRU and LFU data will take some time to adjust."
            .into());
    }
    ctx.reply.int(server.access_clock.idle_seconds(stamp).into());
    Ok(())
}

/// `OBJECT FREQ key`
fn object_freq(ctx: &mut Ctx<'_>) -> Result {
    let Some(stamp) = access(ctx) else {
        ctx.reply.null();
        return Ok(());
    };
    let server = &*ctx.keys.server;
    if !server.config.maxmemory_policy.is_lfu() {
        return Err("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                    switching between policies at runtime LRU and LFU data will take some time to adjust."
            .into());
    }
    ctx.reply.int(server.access_clock.frequency(stamp, &server.config).into());
    Ok(())
}

/// `OBJECT HELP`
fn object_help(ctx: &mut Ctx<'_>) -> Result {
    super::help(
        ctx,
        "OBJECT",
        &[
            ("ENCODING <key>", "Encoding of the value."),
            ("FREQ <key>", "Logarithmic use counter, under an LFU maxmemory policy."),
            ("IDLETIME <key>", "Seconds since the last use, unless under an LFU maxmemory policy."),
            ("REFCOUNT <key>", "Number of references to the value."),
        ],
    )
}

/// `DUMP key`
fn dump(ctx: &mut Ctx<'_>) -> Result {
    let mut writer = ValueWriter::new(ctx.keys.server.config.rdbcompression);
    match ctx.keys.find(ctx.args.at(1)) {
        Some(e) => ctx.reply.bulk(&payload::encode(&mut writer, e.value())),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// `RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds | FREQ frequency]`
pub(super) fn restore(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let (mut replace, mut absolute, mut idle, mut frequency, mut i) = (false, false, None, None, 4);
    while i < ctx.args.len() {
        let more = i + 1 < ctx.args.len();
        if ctx.args.is(i, "replace") {
            replace = true;
        } else if ctx.args.is(i, "absttl") {
            absolute = true;
        } else if ctx.args.is(i, "idletime") && more && frequency.is_none() {
            i += 1;
            let seconds = u32::try_from(ctx.int(i)?.min(i64::from(u32::MAX)));
            idle = Some(seconds.map_err(|_| Error::from("ERR Invalid IDLETIME value, must be >= 0"))?);
        } else if ctx.args.is(i, "freq") && more && idle.is_none() {
            i += 1;
            let counter = u8::try_from(ctx.int(i)?);
            frequency =
                Some(counter.map_err(|_| Error::from("ERR Invalid FREQ value, must be >= 0 and <= 255"))?);
        } else {
            return Err(Error::Syntax);
        }
        i += 1;
    }
    let taken = ctx.keys.exists(key);
    if taken && !replace {
        return Err("BUSYKEY Target key name already exists.".into());
    }
    let ttl = ctx.int(2)?;
    if ttl < 0 {
        return Err("ERR Invalid TTL value, must be >= 0".into());
    }
    let decode = match ctx.keys.server.debug.skip_checksums {
        true => payload::decode_unverified,
        false => payload::decode,
    };
    let value = decode(ctx.args.at(3), &ctx.keys.limits()).map_err(|e| match e.kind {
        crate::rdb::ErrorKind::Corrupt(_) | crate::rdb::ErrorKind::Unsupported(_) => {
            tracing::warn!("RESTORE was given a payload that cannot be used: {e}");
            Error::from("ERR Bad data format")
        }
        _ => Error::from("ERR DUMP payload version or checksum are wrong"),
    })?;
    let base = if absolute { 0 } else { ctx.now_ms() };
    let expire_at = (ttl > 0).then(|| ttl.saturating_add(base).min(i64::MAX - 1));
    if let Some(at) = expire_at
        && expiry::has_passed(ctx, at)
    {
        if taken {
            expiry::delete_expired(ctx, key);
        }
        ctx.reply.ok();
        return Ok(());
    }
    ctx.keys.put_anew(key, value, expire_at);
    ctx.keys.set_access(key, idle, frequency);
    ctx.keys.modified(ctx.io, Event::Generic, "restore", key);
    if let Some(at) = expire_at
        && !absolute
    {
        let mut buf = IntBuf::new();
        let mut args: Vec<&[u8]> = ctx.args.iter().collect();
        args[2] = buf.format(at);
        args.push(b"ABSTTL");
        ctx.propagate(&args);
    }
    ctx.reply.ok();
    Ok(())
}
