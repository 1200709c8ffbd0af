//! The server as a whole (<https://redis.io/docs/latest/commands/?group=server>): figures, databases, shutdown.

use super::connection::database;
use super::{Args, Ctx, Error, Flags, Group, Propagation, Result, Spec, help};
use crate::config::REDIS_VERSION;
use crate::config::types::Guard;
use crate::server::blocking::SHUTDOWN_FAILED;
use crate::server::client::Blocked;
use crate::server::dispatch::Origin;
use crate::server::start::ShutdownMode;

const OPERATE: Flags = Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0);
const MODULES: Flags = Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::NO_ASYNC_LOADING.0);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    Spec::new(Group::Server, "info", -1, info)
        .flags(Flags(Flags::LOADING.0 | Flags::STALE.0 | Flags::SENTINEL.0))
        .doc("1.0.0", "Get information and statistics about the server"),
    Spec::new(Group::Server, "time", 1, time)
        .flags(Flags(Flags::LOADING.0 | Flags::STALE.0 | Flags::FAST.0))
        .doc("2.6.0", "Return the current server time"),
    Spec::new(Group::Server, "dbsize", 1, dbsize)
        .flags(Flags(Flags::READONLY.0 | Flags::FAST.0))
        .doc("1.0.0", "Return the number of keys in the selected database"),
    Spec::new(Group::Server, "flushdb", -1, flushdb)
        .flags(Flags::WRITE)
        .doc("1.0.0", "Remove all keys from the current database"),
    Spec::new(Group::Server, "flushall", -1, flushall)
        .flags(Flags::WRITE)
        .doc("1.0.0", "Remove all keys from all databases"),
    Spec::new(Group::Server, "swapdb", 3, swapdb)
        .flags(Flags(Flags::WRITE.0 | Flags::FAST.0))
        .doc("4.0.0", "Swaps two Redis databases"),
    Spec::new(Group::Server, "shutdown", -1, shutdown)
        .flags(Flags(OPERATE.0 | Flags::NO_MULTI.0 | Flags::ALLOW_BUSY.0 | Flags::SENTINEL.0))
        .doc("1.0.0", "Synchronously save the dataset to disk and then shut down the server"),
    Spec::new(Group::Server, "monitor", 1, monitor)
        .flags(OPERATE)
        .doc("1.0.0", "Listen for all requests received by the server in real time"),
    Spec::new(Group::Server, "lolwut", -1, lolwut)
        .flags(Flags(Flags::READONLY.0 | Flags::FAST.0))
        .doc("5.0.0", "Display some computer art and the Redis version"),
    Spec::new(Group::Server, "module", -2, module_help)
        .doc("4.0.0", "A container for module commands")
        .subcommands(&[
            Spec::new(Group::Server, "module|help", 2, module_help)
                .flags(Flags(Flags::LOADING.0 | Flags::STALE.0))
                .doc("5.0.0", "Show helpful text about the different subcommands"),
            Spec::new(Group::Server, "module|list", 2, module_list)
                .flags(Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0))
                .doc("4.0.0", "List all modules loaded by the server"),
            Spec::new(Group::Server, "module|load", -3, no_modules)
                .flags(MODULES)
                .doc("4.0.0", "Load a module"),
            Spec::new(Group::Server, "module|loadex", -3, no_modules)
                .flags(MODULES)
                .doc("7.0.0", "Load a module with extended parameters"),
            Spec::new(Group::Server, "module|unload", 3, no_modules)
                .flags(MODULES)
                .doc("4.0.0", "Unload a module"),
        ]),
];

/// `INFO [section …]`
fn info(ctx: &mut Ctx<'_>) -> Result {
    let wanted: Vec<String> =
        ctx.args.from(1).map(|a| String::from_utf8_lossy(a).to_ascii_lowercase()).collect();
    let text = ctx.keys.server.info(ctx.io, &wanted);
    ctx.reply.verbatim(&text);
    Ok(())
}

/// `TIME`
fn time(ctx: &mut Ctx<'_>) -> Result {
    let now = ctx.now_ms();
    ctx.reply.array(2);
    ctx.reply.bulk_int(now / 1000);
    ctx.reply.bulk_int(now % 1000 * 1000);
    Ok(())
}

/// `DBSIZE`
fn dbsize(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.int(ctx.keys.server.keyspace.len(ctx.keys.db) as i64);
    Ok(())
}

/// Whether memory is to be freed in the background: what `ASYNC` and `SYNC` say. Here it always is freed there, so that
/// nothing depends on it but the check of the syntax.
fn check_flush_mode(ctx: &Ctx<'_>) -> Result {
    match ctx.args.len() {
        1 => Ok(()),
        2 if ctx.args.is(1, "async") || ctx.args.is(1, "sync") => Ok(()),
        _ => Err(Error::Syntax),
    }
}

/// `FLUSHDB [ASYNC|SYNC]`
fn flushdb(ctx: &mut Ctx<'_>) -> Result {
    check_flush_mode(ctx)?;
    let db = ctx.keys.db;
    flush(ctx, Some(db));
    Ok(())
}

/// `FLUSHALL [ASYNC|SYNC]`
fn flushall(ctx: &mut Ctx<'_>) -> Result {
    check_flush_mode(ctx)?;
    flush(ctx, None);
    // What is being written of the data before is of no use any more.
    ctx.keys.server.abort_stale_snapshot(ctx.io);
    if ctx.keys.origin != Origin::Aof {
        ctx.keys.server.save_emptied(ctx.io);
    }
    Ok(())
}

fn flush(ctx: &mut Ctx<'_>, db: Option<usize>) {
    let now = ctx.now_ms();
    let server = &mut *ctx.keys.server;
    let dbs: Vec<usize> = db.map_or_else(|| (0..server.keyspace.databases()).collect(), |db| vec![db]);
    dbs.iter().for_each(|&db| server.touch_watched_in(db, None, now));
    let removed = match db {
        Some(db) => server.keyspace.flush(db),
        None => server.keyspace.flush_all(),
    };
    server.signal_databases(&dbs);
    server.effects.dirty += removed as u64;
    server.all_keys_changed(ctx.io);
    // Replicas may hold more than this node does (keys whose time is up): they flush in any case.
    ctx.propagation = Propagation::Always;
    ctx.reply.ok();
}

/// `SWAPDB index1 index2`
fn swapdb(ctx: &mut Ctx<'_>) -> Result {
    if ctx.keys.server.config.cluster_enabled {
        return Err("ERR SWAPDB is not allowed in cluster mode".into());
    }
    let index = |i: usize, which: &str| {
        let number = ctx.int(i).ok().filter(|&n| i32::try_from(n).is_ok());
        number.ok_or_else(|| Error::err(format_args!("invalid {which} DB index")))
    };
    let (first, second) = (index(1, "first")?, index(2, "second")?);
    let now = ctx.now_ms();
    let server = &mut *ctx.keys.server;
    let (Some(a), Some(b)) = (database(server, first), database(server, second)) else {
        return Err("ERR DB index is out of range".into());
    };
    if a != b {
        server.touch_watched_in(a, Some(b), now);
        server.touch_watched_in(b, Some(a), now);
        server.keyspace.swap(a, b);
        server.signal_databases(&[a, b]);
    }
    server.effects.dirty += 1;
    ctx.reply.ok();
    Ok(())
}

/// What the words behind `SHUTDOWN` ask for; true: that one which is under way be given up.
pub fn shutdown_mode(args: Args<'_>) -> Result<(ShutdownMode, bool)> {
    let mut mode = ShutdownMode::default();
    let mut abort = false;
    for word in args.from(1) {
        match word.to_ascii_lowercase().as_slice() {
            b"nosave" => mode.nosave = true,
            b"save" => mode.save = true,
            b"now" => mode.now = true,
            b"force" => mode.force = true,
            b"abort" => abort = true,
            _ => return Err(Error::Syntax),
        }
    }
    let others = mode.nosave || mode.save || mode.now || mode.force;
    if (abort && others) || (mode.nosave && mode.save) {
        return Err(Error::Syntax);
    }
    Ok((mode, abort))
}

/// `SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]`; answers only where it fails or ends one.
fn shutdown(ctx: &mut Ctx<'_>) -> Result {
    let (mode, abort) = shutdown_mode(ctx.args)?;
    let server = &mut *ctx.keys.server;
    if !mode.nosave
        && !abort
        && let Some(busy) = server.script_is_busy()
    {
        return Err(busy);
    }
    if abort {
        if !server.abort_shutdown(ctx.io) {
            return Err("ERR No shutdown in progress.".into());
        }
        ctx.reply.ok();
        return Ok(());
    }
    server.begin_shutdown(ctx.io, mode);
    // While replicas are being waited for the caller waits, too.
    match server.shutdown {
        None => Err(SHUTDOWN_FAILED.into()),
        Some(_) => {
            server.block(ctx.conn, Blocked::Shutdown, 0);
            Ok(())
        }
    }
}

/// `MONITOR`
fn monitor(ctx: &mut Ctx<'_>) -> Result {
    if ctx.keys.server.in_exec {
        return Err("ERR MONITOR isn't allowed for DENY BLOCKING client".into());
    }
    let conn = ctx.conn;
    if let Some(client) = ctx.client()
        && !std::mem::replace(&mut client.monitor, true)
    {
        ctx.keys.server.monitors.push(conn);
        ctx.reply.ok();
    }
    Ok(())
}

/// `LOLWUT [VERSION version]`
fn lolwut(ctx: &mut Ctx<'_>) -> Result {
    if ctx.args.is(1, "version") && ctx.args.len() > 2 {
        ctx.int(2)?;
    }
    ctx.reply.verbatim(&format!("Redis ver. {REDIS_VERSION}\n"));
    Ok(())
}

/// `MODULE LIST`: there are none.
fn module_list(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.array(0);
    Ok(())
}

/// `MODULE LOAD|LOADEX|UNLOAD …`
fn no_modules(ctx: &mut Ctx<'_>) -> Result {
    let guard = ctx.keys.server.config.enable_module_command;
    allowed_by(ctx, guard, "MODULE", "enable-module-command")?;
    Err("ERR modules are not supported by this server".into())
}

/// `MODULE HELP`
fn module_help(ctx: &mut Ctx<'_>) -> Result {
    help(ctx, "MODULE", &[("LIST", "The loaded modules: none, they are not supported by this server.")])
}

/// Refuses a guarded command to those who may not use it.
pub fn allowed_by(ctx: &mut Ctx<'_>, guard: Guard, command: &str, directive: &str) -> Result {
    let local = ctx.client().is_none_or(|c| c.is_local());
    match guard {
        Guard::Yes => Ok(()),
        Guard::Local if local => Ok(()),
        Guard::Local | Guard::No => Err(Error::err(format_args!(
            "{command} command not allowed. If the {directive} option is set to \"local\", you can run it from a local \
             connection, otherwise you need to set this option in the configuration file, and then restart the server."
        ))),
    }
}
