//! Persistence on demand.

use super::{Ctx, Error, Flags, Group, Result, Spec};

const FLAGS: Flags = Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::NO_ASYNC_LOADING.0);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    Spec::new(Group::Server, "save", 1, save)
        .flags(Flags(FLAGS.0 | Flags::NO_MULTI.0))
        .doc("1.0.0", "Synchronously saves the database(s) to disk."),
    Spec::new(Group::Server, "bgsave", -1, bgsave)
        .flags(FLAGS)
        .doc("1.0.0", "Asynchronously saves the database(s) to disk."),
    Spec::new(Group::Server, "bgrewriteaof", 1, bgrewriteaof)
        .flags(FLAGS)
        .doc("1.0.0", "Asynchronously rewrites the append-only file to disk."),
    Spec::new(Group::Server, "lastsave", 1, lastsave)
        .flags(Flags(Flags::LOADING.0 | Flags::STALE.0 | Flags::FAST.0))
        .doc("1.0.0", "Returns the Unix timestamp of the last successful save to disk."),
];

/// `SAVE`
fn save(ctx: &mut Ctx<'_>) -> Result {
    if ctx.keys.server.saving() {
        return Err("ERR Background save already in progress".into());
    }
    ctx.keys.server.save_now(ctx.io).map_err(|_| Error::Text("ERR".into()))?;
    ctx.reply.ok();
    Ok(())
}

/// `BGSAVE [SCHEDULE]`
fn bgsave(ctx: &mut Ctx<'_>) -> Result {
    let schedule = match ctx.args.len() {
        1 => false,
        2 if ctx.args.is(1, "schedule") => true,
        _ => return Err(Error::Syntax),
    };
    let text = ctx.keys.server.bgsave(ctx.io, schedule)?;
    ctx.reply.simple(text);
    Ok(())
}

/// `BGREWRITEAOF`
fn bgrewriteaof(ctx: &mut Ctx<'_>) -> Result {
    let text = ctx.keys.server.bgrewriteaof(ctx.io)?;
    ctx.reply.simple(text);
    Ok(())
}

/// `LASTSAVE`
fn lastsave(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.int(ctx.keys.server.persist.last_save);
    Ok(())
}
