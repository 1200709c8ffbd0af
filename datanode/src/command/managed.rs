//! `REPLICASET`: what the authority says to a datanode. See `docs/architecture.md`, "Commands between the parts".

use super::{Ctx, Error, Flags, Group, Result, Spec};
use crate::server::pubsub::{Kind, Receivers};
use crate::shardmap::{NodeAddr, ShardMap};

const FLAGS: Flags = Flags(
    Flags::ADMIN.0
        | Flags::NOSCRIPT.0
        | Flags::LOADING.0
        | Flags::STALE.0
        | Flags::NO_MULTI.0
        | Flags::SKIP_SLOWLOG.0
        | Flags::SENTINEL.0,
);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[Spec::new(Group::Server, "replicaset", -2, unknown)
    .flags(FLAGS)
    .doc("7.0.0", "A container for the commands of a shard map's authority.")
    .subcommands(&[
        Spec::new(Group::Server, "replicaset|map", 2, map)
            .flags(FLAGS)
            .doc("7.0.0", "Returns the newest shard map that the node knows."),
        Spec::new(Group::Server, "replicaset|offer", 3, offer)
            .flags(FLAGS)
            .doc("7.0.0", "Merges a shard map into the node's and returns the result."),
        Spec::new(Group::Server, "replicaset|status", -2, status)
            .flags(FLAGS)
            .doc("7.0.0", "Returns what the node is and how far its data goes."),
        Spec::new(Group::Server, "replicaset|promise", 4, promise)
            .flags(FLAGS)
            .doc("7.0.0", "Has the node acknowledge nothing to masters of older epochs any more."),
        Spec::new(Group::Server, "replicaset|handover", 6, handover)
            .flags(FLAGS)
            .doc("7.0.0", "Pauses writes until a replica has the whole stream."),
        Spec::new(Group::Server, "replicaset|publish", 4, publish)
            .flags(FLAGS)
            .doc("7.0.0", "Delivers what was published on another member to the subscribers of this one."),
        Spec::new(Group::Server, "replicaset|spublish", 4, spublish)
            .flags(FLAGS)
            .doc("7.0.0", "Delivers what was published on a shard's channel on another member of the shard."),
        Spec::new(Group::Server, "replicaset|switchover", -3, sentinels_only)
            .flags(FLAGS)
            .doc("7.0.0", "Has the sentinels move a shard's master in order."),
        Spec::new(Group::Server, "replicaset|vote", 7, sentinels_only)
            .flags(FLAGS)
            .doc("7.0.0", "Asks a sentinel for its vote in an epoch."),
        Spec::new(Group::Server, "replicaset|accept", 4, sentinels_only)
            .flags(FLAGS)
            .doc("7.0.0", "Has a sentinel accept the decision of an epoch's leader."),
        Spec::new(Group::Server, "replicaset|epoch", 2, sentinels_only).flags(FLAGS).doc(
            "7.0.0",
            "Returns the largest epoch that a sentinel knows, whether it may not vote yet, its id and what it has accepted.",
        ),
    ])];

fn unknown(_: &mut Ctx<'_>) -> Result {
    Err(Error::Syntax)
}

/// `REPLICASET SWITCHOVER`, `VOTE`, `ACCEPT`, `EPOCH`: a sentinel carries them out itself.
fn sentinels_only(_: &mut Ctx<'_>) -> Result {
    Err(Error::err("this is not a sentinel"))
}

/// Marks the caller as part of the authority, whose connection outlives a demotion.
fn authority(ctx: &mut Ctx<'_>) -> Result {
    if ctx.keys.server.managed.is_none() {
        return Err(Error::err("this server does not follow a shard map (managed no)"));
    }
    if let Some(client) = ctx.client() {
        client.control = true;
    }
    Ok(())
}

fn address(ctx: &Ctx<'_>, i: usize) -> Result<NodeAddr> {
    let text = String::from_utf8_lossy(ctx.args.at(i)).into_owned();
    text.parse().map_err(|_| Error::err("not an address of the form HOST:PORT"))
}

fn number<T: TryFrom<i64>>(ctx: &Ctx<'_>, i: usize) -> Result<T> {
    T::try_from(ctx.int(i)?).map_err(|_| Error::OutOfRange)
}

/// `REPLICASET MAP`
fn map(ctx: &mut Ctx<'_>) -> Result {
    authority(ctx)?;
    match ctx.keys.server.managed.as_ref().and_then(|m| m.map()).map(ShardMap::to_json) {
        Some(json) => ctx.reply.bulk(json.as_bytes()),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// `REPLICASET OFFER json`
fn offer(ctx: &mut Ctx<'_>) -> Result {
    authority(ctx)?;
    let merged = ctx.keys.server.offer_map(ctx.io, ctx.conn, ctx.args.at(2))?;
    ctx.reply.bulk(merged.as_bytes());
    Ok(())
}

/// `REPLICASET STATUS [sentinel epoch run-id token]`: what follows is the echo of a token; see [`crate::managed`].
fn status(ctx: &mut Ctx<'_>) -> Result {
    authority(ctx)?;
    match ctx.args.len() {
        2 => {}
        6 => {
            let sentinel = address(ctx, 2)?;
            let (epoch, token) = (number(ctx, 3)?, number(ctx, 5)?);
            ctx.keys.server.take_echo(ctx.io, ctx.conn, sentinel, epoch, ctx.args.at(4), token);
        }
        _ => return Err(Error::Syntax),
    }
    let json = ctx.keys.server.status_json(ctx.io);
    ctx.reply.bulk(json.as_bytes());
    Ok(())
}

/// `REPLICASET PROMISE shard epoch`
fn promise(ctx: &mut Ctx<'_>) -> Result {
    authority(ctx)?;
    let (shard, epoch) = (number(ctx, 2)?, number(ctx, 3)?);
    let json = ctx.keys.server.promise(ctx.io, ctx.conn, shard, epoch)?;
    ctx.reply.bulk(json.as_bytes());
    Ok(())
}

/// `REPLICASET PUBLISH channel message`
fn publish(ctx: &mut Ctx<'_>) -> Result {
    deliver(ctx, Kind::Channel)
}

/// `REPLICASET SPUBLISH shardchannel message`
fn spublish(ctx: &mut Ctx<'_>) -> Result {
    deliver(ctx, Kind::Shard)
}

fn deliver(ctx: &mut Ctx<'_>, kind: Kind) -> Result {
    authority(ctx)?;
    let server = &*ctx.keys.server;
    let mut out = Receivers { io: ctx.io, clients: &server.clients, own: None };
    let receivers = server.pubsub.deliver(&mut out, kind, ctx.args.at(2), ctx.args.at(3));
    ctx.reply.int(receivers as i64);
    Ok(())
}

/// `REPLICASET HANDOVER shard member epoch timeout-ms`
fn handover(ctx: &mut Ctx<'_>) -> Result {
    authority(ctx)?;
    let shard: u32 = number(ctx, 2)?;
    if ctx.keys.server.managed.as_ref().is_some_and(|m| m.shard != shard) {
        return Err(Error::err("this node belongs to another shard"));
    }
    let member = address(ctx, 3)?;
    let (epoch, timeout) = (number(ctx, 4)?, number(ctx, 5)?);
    ctx.keys.server.handover(ctx.io, ctx.conn, member, epoch, timeout)
}
