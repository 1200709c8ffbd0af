//! Replication: what replicas say to their master, and what clients ask about it.

use super::{Ctx, Error, Flags, Group, Propagation, Result, Spec};
use crate::resp::parse::parse_i64;
use crate::server::blocking::{AofWait, WAITAOF_WITHOUT_AOF};
use crate::server::client::Blocked;

const LINK: Flags =
    Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0 | Flags::ALLOW_BUSY.0);
const SYNC: Flags = Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::NO_ASYNC_LOADING.0 | Flags::NO_MULTI.0);
const REPLICAOF: Flags =
    Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::STALE.0 | Flags::NO_ASYNC_LOADING.0);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    Spec::new(Group::Server, "replconf", -1, replconf)
        .flags(LINK)
        .doc("3.0.0", "An internal command for configuring the replication stream."),
    Spec::new(Group::Server, "psync", -3, psync).flags(SYNC).doc("2.8.0", "An internal command used in replication."),
    Spec::new(Group::Server, "sync", 1, psync).flags(SYNC).doc("1.0.0", "An internal command used in replication."),
    Spec::new(Group::Server, "replicaof", 3, replicaof)
        .flags(REPLICAOF)
        .doc("5.0.0", "Configures a server as replica of another, or promotes it to a master."),
    Spec::new(Group::Server, "slaveof", 3, replicaof)
        .flags(REPLICAOF)
        .doc("1.0.0", "Sets a Redis server as a replica of another, or promotes it to being a master."),
    Spec::new(Group::Server, "failover", -1, failover)
        .flags(Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::STALE.0))
        .doc("6.2.0", "Starts a coordinated failover from a server to one of its replicas."),
    Spec::new(Group::Server, "role", 1, role)
        .flags(Flags(
            Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0 | Flags::FAST.0 | Flags::SENTINEL.0,
        ))
        .doc("2.8.12", "Returns the replication role."),
    Spec::new(Group::Generic, "wait", 3, wait)
        .flags(Flags(Flags::NOSCRIPT.0))
        .doc("3.0.0", "Blocks until the asynchronous replication of all preceding write commands sent by the connection is completed."),
    Spec::new(Group::Generic, "waitaof", 4, waitaof)
        .flags(Flags(Flags::NOSCRIPT.0))
        .doc("7.2.0", "Blocks until all of the preceding write commands sent by the connection are written to the append-only file of the master and/or replicas."),
];

/// `REPLCONF option value [option value …]`
fn replconf(ctx: &mut Ctx<'_>) -> Result {
    let (conn, args) = (ctx.conn, ctx.args);
    if let Some(line) = ctx.keys.server.replconf(ctx.io, conn, args)? {
        ctx.reply.simple(&line);
    }
    Ok(())
}

/// `PSYNC id offset`, `SYNC`
fn psync(ctx: &mut Ctx<'_>) -> Result {
    let (conn, args) = (ctx.conn, ctx.args);
    ctx.keys.server.psync(ctx.io, conn, args, ctx.reply.out)
}

/// `REPLICAOF host port | NO ONE`
fn replicaof(ctx: &mut Ctx<'_>) -> Result {
    if ctx.keys.server.config.cluster_enabled {
        return Err("ERR REPLICAOF not allowed in cluster mode.".into());
    }
    if ctx.keys.server.managed.is_some() {
        return Err("ERR REPLICAOF not allowed: this node's role comes from the shard map".into());
    }
    let server = &mut *ctx.keys.server;
    if server.repl.failover.is_some() {
        return Err("ERR REPLICAOF not allowed while failing over.".into());
    }
    if ctx.args.is(1, "no") && ctx.args.is(2, "one") {
        server.follow(ctx.io, None);
        server.config.replicaof = None;
        ctx.reply.ok();
        return Ok(());
    }
    if server.clients.get(ctx.conn).is_some_and(|c| c.is_replica()) {
        return Err("ERR Command is not valid when client is a replica.".into());
    }
    let port = parse_i64(ctx.args.at(2)).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or("ERR Invalid master port")?;
    let host = String::from_utf8_lossy(ctx.args.at(1)).into_owned();
    if server.repl.link.as_ref().is_some_and(|l| l.host == host && l.port == port) {
        ctx.reply.simple("OK Already connected to specified master");
        return Ok(());
    }
    server.config.replicaof = Some((host.clone(), port));
    server.follow(ctx.io, Some((host, port)));
    ctx.reply.ok();
    Ok(())
}

/// `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]`
fn failover(ctx: &mut Ctx<'_>) -> Result {
    if ctx.keys.server.managed.is_some() {
        return Err("ERR FAILOVER not allowed: this node's role comes from the shard map. Use SENTINEL FAILOVER with \
                    the shard's master name instead."
            .into());
    }
    if ctx.args.len() == 2 && ctx.args.is(1, "abort") {
        if !ctx.keys.server.abort_failover(ctx.io, "Failover manually aborted") {
            return Err("ERR No failover in progress.".into());
        }
        ctx.reply.ok();
        return Ok(());
    }
    let (mut timeout_ms, mut target, mut force, mut i) = (0, None, false, 1);
    while i < ctx.args.len() {
        if ctx.args.is(i, "timeout") && i + 1 < ctx.args.len() && timeout_ms == 0 {
            timeout_ms = ctx.int(i + 1)?;
            if timeout_ms <= 0 {
                return Err("ERR FAILOVER timeout must be greater than 0".into());
            }
            i += 2;
        } else if ctx.args.is(i, "to") && i + 2 < ctx.args.len() && target.is_none() {
            target = Some((String::from_utf8_lossy(ctx.args.at(i + 1)).into_owned(), ctx.int(i + 2)?));
            i += 3;
        } else if ctx.args.is(i, "force") && !force {
            force = true;
            i += 1;
        } else {
            return Err(Error::Syntax);
        }
    }
    ctx.keys.server.begin_failover(ctx.io, target, timeout_ms as u64, force)?;
    ctx.reply.ok();
    Ok(())
}

/// `ROLE`
fn role(ctx: &mut Ctx<'_>) -> Result {
    let server = &*ctx.keys.server;
    match &server.repl.link {
        Some(link) => {
            ctx.reply.array(5);
            ctx.reply.bulk(b"slave");
            ctx.reply.bulk(link.host.as_bytes());
            ctx.reply.int(i64::from(link.port));
            ctx.reply.bulk(link.state_name().as_bytes());
            ctx.reply.int(server.repl.offset() as i64);
        }
        // Under a shard map a node that waits for its role is nobody's master.
        None if !server.is_master() => {
            ctx.reply.array(5);
            ctx.reply.bulk(b"slave");
            ctx.reply.bulk(b"");
            ctx.reply.int(0);
            ctx.reply.bulk(b"none");
            ctx.reply.int(server.repl.offset() as i64);
        }
        None => {
            let replicas: Vec<_> = server.repl.online(&server.clients).collect();
            ctx.reply.array(3);
            ctx.reply.bulk(b"master");
            ctx.reply.int(server.repl.offset() as i64);
            ctx.reply.array(replicas.len());
            for r in replicas {
                ctx.reply.array(3);
                ctx.reply.bulk(r.announced.as_bytes());
                ctx.reply.bulk(r.port.to_string().as_bytes());
                ctx.reply.bulk(r.acked.to_string().as_bytes());
            }
        }
    }
    Ok(())
}

/// `WAIT numreplicas timeout`
fn wait(ctx: &mut Ctx<'_>) -> Result {
    ctx.propagation = Propagation::Done;
    let replicas = ctx.int(1)?;
    let deadline_ms = deadline(ctx, 2)?;
    if ctx.keys.server.repl.link.is_some() {
        return Err("ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.".into());
    }
    let offset = ctx.client().map_or(0, |c| c.write_offset);
    let server = &mut *ctx.keys.server;
    let acked = server.repl.acked_by(&server.clients, offset);
    if acked as i64 >= replicas || server.in_exec {
        ctx.reply.int(acked as i64);
        return Ok(());
    }
    server.repl.wants_acks = true;
    server.block(ctx.conn, Blocked::Wait { offset, replicas: replicas as usize }, deadline_ms);
    Ok(())
}

/// Monotonic milliseconds of a deadline that argument `i` gives in milliseconds from now; 0: none.
fn deadline(ctx: &Ctx<'_>, i: usize) -> Result<u64> {
    let timeout = parse_i64(ctx.args.at(i)).ok_or("ERR timeout is not an integer or out of range")?;
    if timeout < 0 {
        return Err("ERR timeout is negative".into());
    }
    Ok(if timeout == 0 { 0 } else { ctx.io.now.mono_ms().saturating_add(timeout as u64) })
}

/// `WAITAOF numlocal numreplicas timeout` (<https://redis.io/docs/latest/commands/waitaof/>)
fn waitaof(ctx: &mut Ctx<'_>) -> Result {
    ctx.propagation = Propagation::Done;
    let local = ctx.int_in(1, 0..=1)? == 1;
    let replicas = ctx.int(2).ok().and_then(|n| usize::try_from(n).ok());
    let replicas = replicas.ok_or("ERR value is out of range, must be positive")?;
    let deadline_ms = deadline(ctx, 3)?;
    if ctx.keys.server.repl.link.is_some() {
        return Err("ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are \
                    just local and are not propagated."
            .into());
    }
    if local && !ctx.keys.server.persist.aof_on() {
        return Err(WAITAOF_WITHOUT_AOF.into());
    }
    let (offset, mark) = ctx.client().map_or((0, 0), |c| (c.write_offset, c.log_mark));
    let wanted = AofWait { local, replicas, offset, mark };
    let server = &mut *ctx.keys.server;
    let reached = server.aof_acks(&wanted);
    if wanted.is_met_by(reached) || server.in_exec {
        reached.reply(&mut ctx.reply);
        return Ok(());
    }
    server.repl.wants_acks = true;
    server.block(ctx.conn, Blocked::WaitAof(wanted), deadline_ms);
    Ok(())
}
