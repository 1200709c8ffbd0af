//! Transactions (<https://redis.io/docs/latest/develop/interact/transactions/>).

use super::{Args, Ctx, Error, Flags, Group, Propagation, Result, Spec};
use crate::io::ConnId;
use crate::server::Server;
use crate::server::client::Multi;
use crate::server::dispatch::Origin;

const CONTROL: Flags =
    Flags(Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0 | Flags::FAST.0 | Flags::ALLOW_BUSY.0);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    Spec::new(Group::Transactions, "multi", 1, multi)
        .flags(CONTROL)
        .doc("1.2.0", "Mark the start of a transaction block"),
    Spec::new(Group::Transactions, "exec", 1, exec)
        .flags(Flags(Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0 | Flags::SKIP_SLOWLOG.0))
        .doc("1.2.0", "Execute all commands issued after MULTI"),
    Spec::new(Group::Transactions, "discard", 1, discard)
        .flags(CONTROL)
        .doc("2.0.0", "Discard all commands issued after MULTI"),
    Spec::new(Group::Transactions, "watch", -2, watch)
        .flags(CONTROL)
        .keys(1, -1, 1)
        .doc("2.2.0", "Watch the given keys to determine execution of the MULTI/EXEC block"),
    Spec::new(Group::Transactions, "unwatch", 1, unwatch)
        .flags(CONTROL)
        .doc("2.2.0", "Forget about all watched keys"),
];

/// `MULTI`
fn multi(ctx: &mut Ctx<'_>) -> Result {
    let Some(client) = ctx.client() else { return Ok(()) };
    if client.multi.is_some() {
        return Err("ERR MULTI calls can not be nested".into());
    }
    client.multi = Some(Multi::default());
    ctx.reply.ok();
    Ok(())
}

/// `DISCARD`
fn discard(ctx: &mut Ctx<'_>) -> Result {
    if ctx.client().is_none_or(|c| c.multi.is_none()) {
        return Err("ERR DISCARD without MULTI".into());
    }
    let conn = ctx.conn;
    ctx.server().discard_transaction(conn);
    ctx.reply.ok();
    Ok(())
}

/// `WATCH key [key …]`
fn watch(ctx: &mut Ctx<'_>) -> Result {
    if ctx.client().is_some_and(|c| c.multi.is_some()) {
        return Err("ERR WATCH inside MULTI is not allowed".into());
    }
    let (conn, db, now) = (ctx.conn, ctx.keys.db, ctx.now_ms());
    for key in ctx.args.from(1) {
        ctx.keys.server.watch(conn, db, key, now);
    }
    ctx.reply.ok();
    Ok(())
}

/// `UNWATCH`
fn unwatch(ctx: &mut Ctx<'_>) -> Result {
    let conn = ctx.conn;
    ctx.server().unwatch_all(conn);
    ctx.reply.ok();
    Ok(())
}

/// `EXEC`
fn exec(ctx: &mut Ctx<'_>) -> Result {
    ctx.propagation = Propagation::Done;
    let conn = ctx.conn;
    let now = ctx.now_ms();
    let Some(client) = ctx.client() else { return Ok(()) };
    let Some(multi) = client.multi.take() else { return Err("ERR EXEC without MULTI".into()) };
    let broken = ctx.server().watch_is_broken(conn, now);
    ctx.server().unwatch_all(conn);
    if multi.failed {
        return Err("EXECABORT Transaction discarded because of previous errors.".into());
    }
    if broken {
        ctx.reply.null_array();
        return Ok(());
    }
    ctx.reply.array(multi.queue.len());
    ctx.server().in_exec = true;
    for (spec, command) in &multi.queue {
        let args: Args<'_> = command.as_args();
        // The user may have changed since the command was queued.
        if let Err(denied) = ctx.keys.server.check_permission(ctx.io, conn, false, spec, args) {
            let error = denied.error_in_exec();
            ctx.keys.server.stats.count_error(&error.code());
            ctx.reply.error(&error.text());
            continue;
        }
        // The protocol version may change in between (HELLO).
        ctx.keys.server.call(ctx.io, conn, spec, args, Origin::Client, ctx.reply.out);
    }
    ctx.server().in_exec = false;
    Ok(())
}

impl Server {
    /// Forgets a transaction that is being queued, and its watches.
    pub fn discard_transaction(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn) {
            client.multi = None;
        }
        self.unwatch_all(conn);
    }
}

/// The text of an error that makes EXEC fail before it starts; of that error a code other than `ERR` is shown.
pub fn exec_abort(because: &Error) -> Error {
    let text = because.text();
    let text = text.strip_prefix("ERR ").unwrap_or(&text);
    Error::Text(format!("EXECABORT Transaction discarded because of: {text}").into())
}
