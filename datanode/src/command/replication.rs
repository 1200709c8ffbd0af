//! Replication: what replicas say to their master, and what clients ask about it.

use super::{Ctx, Flags, Group, Propagation, Result, Spec};
use crate::resp::parse::parse_i64;
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
        .flags(Flags(Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0 | Flags::FAST.0))
        .doc("2.8.12", "Returns the replication role."),
    Spec::new(Group::Generic, "wait", 3, wait)
        .flags(Flags(Flags::NOSCRIPT.0))
        .doc("3.0.0", "Blocks until the asynchronous replication of all preceding write commands sent by the connection is completed."),
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

/// `FAILOVER ABORT`: there is never one to be ended, since masters of this kind do not hand over by themselves; sentinels
/// and the shard map decide who is master. Starting one is refused.
fn failover(ctx: &mut Ctx<'_>) -> Result {
    if ctx.keys.server.config.cluster_enabled {
        return Err("ERR FAILOVER not allowed in cluster mode.".into());
    }
    if ctx.args.len() == 2 && ctx.args.is(1, "abort") {
        return Err("ERR No failover in progress.".into());
    }
    Err("ERR FAILOVER is not supported by this server: use SENTINEL FAILOVER".into())
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
    let timeout = parse_i64(ctx.args.at(2)).ok_or("ERR timeout is not an integer or out of range")?;
    if timeout < 0 {
        return Err("ERR timeout is negative".into());
    }
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
    let deadline_ms = if timeout == 0 { 0 } else { ctx.io.now.mono_ms() + timeout as u64 };
    server.repl.wants_acks = true;
    server.block(ctx.conn, Blocked::Wait { offset, replicas: replicas as usize }, deadline_ms);
    Ok(())
}
