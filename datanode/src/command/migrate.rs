//! `MIGRATE` and `RESTORE-ASKING`: keys that move to another server (<https://redis.io/docs/latest/commands/migrate/>).

use super::{Args, Ctx, Error, Flags, Group, Propagation, Result, Spec, generic};
use crate::server::migrate::{DEFAULT_TIMEOUT_MS, Request};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    Spec::new(Group::Generic, "migrate", -6, migrate)
        .flags(Flags::WRITE)
        .keys(3, 3, 1)
        .find_keys(migrated_keys)
        .doc("2.6.0", "Atomically transfer a key from a Redis instance to another one."),
    Spec::new(Group::Server, "restore-asking", -4, generic::restore)
        .flags(Flags(Flags::WRITE.0 | Flags::DENYOOM.0 | Flags::ASKING.0))
        .keys(1, 1, 1)
        .doc("3.0.0", "An internal command for migrating keys in a cluster"),
];

/// Index of the first option.
const OPTIONS: usize = 6;

/// Indexes of the keys: the third argument, or all behind `KEYS` where that is empty.
fn migrated_keys(args: &Args<'_>) -> Vec<usize> {
    if !args.at(3).is_empty() {
        return vec![3];
    }
    let mut i = OPTIONS;
    while i < args.len() {
        match () {
            () if args.is(i, "keys") => return (i + 1..args.len()).collect(),
            () if args.is(i, "auth") => i += 2,
            () if args.is(i, "auth2") => i += 3,
            () => i += 1,
        }
    }
    vec![3]
}

/// `MIGRATE host port key|"" destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password]
/// [KEYS key [key …]]`
fn migrate(ctx: &mut Ctx<'_>) -> Result {
    ctx.propagation = Propagation::Done;
    let (mut copy, mut replace, mut auth, mut first_key, mut i) = (false, false, Vec::new(), None, OPTIONS);
    while i < ctx.args.len() {
        let more = ctx.args.len() - 1 - i;
        if ctx.args.is(i, "copy") {
            copy = true;
        } else if ctx.args.is(i, "replace") {
            replace = true;
        } else if ctx.args.is(i, "auth") && more >= 1 {
            auth = vec![ctx.args.at(i + 1).to_vec()];
            i += 1;
        } else if ctx.args.is(i, "auth2") && more >= 2 {
            auth = vec![ctx.args.at(i + 1).to_vec(), ctx.args.at(i + 2).to_vec()];
            i += 2;
        } else if ctx.args.is(i, "keys") {
            if !ctx.args.at(3).is_empty() {
                return Err(
                    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string"
                        .into(),
                );
            }
            first_key = Some(i + 1);
            break;
        } else {
            return Err(Error::Syntax);
        }
        i += 1;
    }
    let timeout = ctx.int(5)?;
    let db = ctx.int(4)?;
    let wanted: Vec<&[u8]> = match first_key {
        Some(first) => ctx.args.from(first).collect(),
        None => vec![ctx.args.at(3)],
    };
    let keys: Vec<Vec<u8>> =
        wanted.into_iter().filter(|key| ctx.keys.find(key).is_some()).map(<[u8]>::to_vec).collect();
    if keys.is_empty() {
        ctx.reply.simple("NOKEY");
        return Ok(());
    }
    if ctx.keys.server.in_exec || ctx.client().is_none() {
        return Err(
            "ERR MIGRATE inside a transaction is not supported by this server: it would have to wait".into(),
        );
    }
    let request = Request {
        host: String::from_utf8_lossy(ctx.args.at(1)).into_owned(),
        port: crate::resp::parse::parse_i64(ctx.args.at(2)).and_then(|p| u16::try_from(p).ok()).unwrap_or(0),
        db,
        timeout_ms: u64::try_from(timeout).ok().filter(|t| *t > 0).unwrap_or(DEFAULT_TIMEOUT_MS),
        copy,
        replace,
        auth,
        keys,
    };
    let (conn, db) = (ctx.conn, ctx.keys.db);
    ctx.keys.server.migrate(ctx.io, conn, db, request);
    Ok(())
}
