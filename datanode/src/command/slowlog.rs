//! `SLOWLOG` (<https://redis.io/docs/latest/commands/slowlog/>): commands that took long.

use super::{Ctx, Flags, Group, Result, Spec, help, wrong_form};

const LOG: Flags = Flags(Flags::ADMIN.0 | Flags::LOADING.0 | Flags::STALE.0);
const HELP: Flags = Flags(Flags::LOADING.0 | Flags::STALE.0);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[Spec::new(Group::Server, "slowlog", -2, slowlog_help)
    .doc("2.2.12", "A container for slow log commands")
    .subcommands(&[
        Spec::new(Group::Server, "slowlog|get", -2, get)
            .flags(LOG)
            .doc("2.2.12", "Get the slow log's entries"),
        Spec::new(Group::Server, "slowlog|help", 2, slowlog_help)
            .flags(HELP)
            .doc("6.2.0", "Show helpful text about the different subcommands"),
        Spec::new(Group::Server, "slowlog|len", 2, len).flags(LOG).doc("2.2.12", "Get the slow log's length"),
        Spec::new(Group::Server, "slowlog|reset", 2, reset)
            .flags(LOG)
            .doc("2.2.12", "Clear all entries from the slow log"),
    ])];

/// Entries that `SLOWLOG GET` shows where no number is given.
const DEFAULT_ENTRIES: usize = 10;

/// `SLOWLOG GET [count]`; -1 stands for all.
fn get(ctx: &mut Ctx<'_>) -> Result {
    let count = match ctx.args.len() {
        2 => DEFAULT_ENTRIES,
        3 => match ctx.int(2) {
            Ok(-1) => usize::MAX,
            Ok(n) if n >= 0 => n as usize,
            _ => return Err("ERR count should be greater than or equal to -1".into()),
        },
        _ => return Err(wrong_form(ctx, "SLOWLOG")),
    };
    let log = &ctx.keys.server.slowlog;
    ctx.reply.array(log.entries().len().min(count));
    for entry in log.entries().take(count) {
        ctx.reply.array(6);
        ctx.reply.int(entry.id as i64);
        ctx.reply.int(entry.at);
        ctx.reply.int(entry.micros as i64);
        ctx.reply.array(entry.args.len());
        entry.args.iter().for_each(|a| ctx.reply.bulk(a));
        ctx.reply.bulk(entry.peer.as_bytes());
        ctx.reply.bulk(&entry.name);
    }
    Ok(())
}

/// `SLOWLOG LEN`
fn len(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.int(ctx.keys.server.slowlog.entries().len() as i64);
    Ok(())
}

/// `SLOWLOG RESET`
fn reset(ctx: &mut Ctx<'_>) -> Result {
    ctx.keys.server.slowlog.clear();
    ctx.reply.ok();
    Ok(())
}

/// `SLOWLOG HELP`
fn slowlog_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "SLOWLOG",
        &[
            ("GET [<count>]", "The last slow commands, newest first (default 10, -1: all)."),
            ("LEN", "Number of entries."),
            ("RESET", "Forget them all."),
        ],
    )
}
