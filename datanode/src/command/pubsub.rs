//! Publish/subscribe (<https://redis.io/docs/latest/commands/?group=pubsub>).

use super::{Ctx, Flags, Group, Propagation, Result, Spec, help, wrong_form};
use crate::glob::glob_match;
use crate::resp::writer::Reply;
use crate::server::dispatch::Origin;
use crate::server::pubsub::{Kind, Receivers};

const LISTEN: Flags = Flags(Flags::PUBSUB.0 | Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0);
const SPEAK: Flags =
    Flags(Flags::PUBSUB.0 | Flags::LOADING.0 | Flags::STALE.0 | Flags::FAST.0 | Flags::MAY_REPLICATE.0);
const LOOK: Flags = Flags(Flags::PUBSUB.0 | Flags::LOADING.0 | Flags::STALE.0);
const HELP: Flags = Flags(Flags::LOADING.0 | Flags::STALE.0);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    Spec::new(Group::PubSub, "subscribe", -2, |c| subscribe(c, Kind::Channel))
        .flags(LISTEN)
        .doc("2.0.0", "Listen for messages published to the given channels"),
    Spec::new(Group::PubSub, "unsubscribe", -1, |c| unsubscribe(c, Kind::Channel))
        .flags(LISTEN)
        .doc("2.0.0", "Stop listening for messages posted to the given channels"),
    Spec::new(Group::PubSub, "psubscribe", -2, |c| subscribe(c, Kind::Pattern))
        .flags(LISTEN)
        .doc("2.0.0", "Listen for messages published to channels matching the given patterns"),
    Spec::new(Group::PubSub, "punsubscribe", -1, |c| unsubscribe(c, Kind::Pattern))
        .flags(LISTEN)
        .doc("2.0.0", "Stop listening for messages posted to channels matching the given patterns"),
    Spec::new(Group::PubSub, "ssubscribe", -2, |c| subscribe(c, Kind::Shard))
        .flags(LISTEN)
        .keys(1, -1, 1)
        .doc("7.0.0", "Listen for messages published to the given shard channels"),
    Spec::new(Group::PubSub, "sunsubscribe", -1, |c| unsubscribe(c, Kind::Shard))
        .flags(LISTEN)
        .keys(1, -1, 1)
        .doc("7.0.0", "Stop listening for messages posted to the given shard channels"),
    Spec::new(Group::PubSub, "publish", 3, publish)
        .flags(Flags(SPEAK.0 | Flags::SENTINEL.0))
        .doc("2.0.0", "Post a message to a channel"),
    Spec::new(Group::PubSub, "spublish", 3, spublish)
        .flags(SPEAK)
        .keys(1, 1, 1)
        .doc("7.0.0", "Post a message to a shard channel"),
    Spec::new(Group::PubSub, "pubsub", -2, pubsub_help)
        .doc("2.8.0", "A container for Pub/Sub commands")
        .subcommands(&[
            Spec::new(Group::PubSub, "pubsub|channels", -2, |c| channels(c, Kind::Channel))
                .flags(LOOK)
                .doc("2.8.0", "List active channels"),
            Spec::new(Group::PubSub, "pubsub|numpat", 2, numpat)
                .flags(LOOK)
                .doc("2.8.0", "Get the count of unique patterns pattern subscriptions"),
            Spec::new(Group::PubSub, "pubsub|numsub", -2, |c| numsub(c, Kind::Channel))
                .flags(LOOK)
                .doc("2.8.0", "Get the count of subscribers for channels"),
            Spec::new(Group::PubSub, "pubsub|shardchannels", -2, |c| channels(c, Kind::Shard))
                .flags(LOOK)
                .doc("7.0.0", "List active shard channels"),
            Spec::new(Group::PubSub, "pubsub|shardnumsub", -2, |c| numsub(c, Kind::Shard))
                .flags(LOOK)
                .doc("7.0.0", "Get the count of subscribers for shard channels"),
            Spec::new(Group::PubSub, "pubsub|help", 2, pubsub_help)
                .flags(HELP)
                .doc("6.2.0", "Show helpful text about the different subcommands"),
        ]),
];

/// One line of a (un)subscription's reply: what was done, to which channel, and how many are left.
fn confirm(ctx: &mut Ctx<'_>, kind: Kind, done: &str, channel: Option<&[u8]>) {
    let word = match kind {
        Kind::Channel => done.to_owned(),
        Kind::Pattern => format!("p{done}"),
        Kind::Shard => format!("s{done}"),
    };
    let left = ctx.client().map_or(0, |c| match kind {
        Kind::Shard => c.shard_channels.len(),
        Kind::Channel | Kind::Pattern => c.subscriptions(),
    });
    let silent = ctx.client().is_some_and(|c| c.is_silent());
    let mut apart = Vec::new();
    let out = if silent { &mut apart } else { &mut *ctx.reply.out };
    let mut reply = Reply { out, proto: ctx.reply.proto };
    reply.push(3);
    reply.bulk(word.as_bytes());
    match channel {
        Some(channel) => reply.bulk(channel),
        None => reply.null(),
    }
    reply.int(left as i64);
    // It is pushed rather than replied, so that it comes in any case.
    ctx.server().tell_silent(&apart);
}

/// `SUBSCRIBE channel [channel …]`, `PSUBSCRIBE pattern [pattern …]`, `SSUBSCRIBE shardchannel [shardchannel …]`
fn subscribe(ctx: &mut Ctx<'_>, kind: Kind) -> Result {
    for name in ctx.args.from(1) {
        ctx.keys.server.subscribe(kind, name, ctx.conn);
        confirm(ctx, kind, "subscribe", Some(name));
    }
    Ok(())
}

/// `UNSUBSCRIBE [channel …]`, `PUNSUBSCRIBE [pattern …]`, `SUNSUBSCRIBE [shardchannel …]`; without names from all.
fn unsubscribe(ctx: &mut Ctx<'_>, kind: Kind) -> Result {
    let names: Vec<Vec<u8>> = match ctx.args.len() {
        1 => ctx.client().map(|c| c.subscribed_to(kind).iter().cloned().collect()).unwrap_or_default(),
        _ => ctx.args.from(1).map(<[u8]>::to_vec).collect(),
    };
    if names.is_empty() {
        confirm(ctx, kind, "unsubscribe", None);
    }
    for name in names {
        ctx.keys.server.unsubscribe(kind, &name, ctx.conn);
        confirm(ctx, kind, "unsubscribe", Some(&name));
    }
    Ok(())
}

/// `PUBLISH channel message`; replicas deliver it to their subscribers, too.
fn publish(ctx: &mut Ctx<'_>) -> Result {
    publish_to(ctx, Kind::Channel)
}

/// `SPUBLISH shardchannel message`
fn spublish(ctx: &mut Ctx<'_>) -> Result {
    publish_to(ctx, Kind::Shard)
}

/// Delivers to subscribers here, and has the message passed on to where there may be others.
fn publish_to(ctx: &mut Ctx<'_>, kind: Kind) -> Result {
    let (channel, message) = (ctx.args.at(1), ctx.args.at(2));
    let silent = ctx.client().is_some_and(|c| c.is_silent());
    let mut apart = Vec::new();
    let server = &*ctx.keys.server;
    // Its own message, if it listens, comes in the place of the reply: not before replies that are still to be sent.
    let own = if silent { &mut apart } else { &mut *ctx.reply.out };
    let mut out = Receivers { io: ctx.io, clients: &server.clients, own: Some((ctx.conn, own)) };
    let receivers = server.pubsub.deliver(&mut out, kind, channel, message);
    ctx.server().tell_silent(&apart);
    ctx.reply.int(receivers as i64);
    if !ctx.keys.server.sends_messages() {
        ctx.propagation = Propagation::Message;
    } else if ctx.keys.origin != Origin::Master {
        ctx.keys.server.send_message(ctx.io, kind, channel, message);
    }
    Ok(())
}

/// `PUBSUB CHANNELS [pattern]`, `PUBSUB SHARDCHANNELS [pattern]`
fn channels(ctx: &mut Ctx<'_>, kind: Kind) -> Result {
    if ctx.args.len() > 3 {
        return Err(wrong_form(ctx, "PUBSUB"));
    }
    let pattern = ctx.args.get(2);
    let server = &*ctx.keys.server;
    let wanted = |name: &&Vec<u8>| pattern.is_none_or(|p| glob_match(p, name, false));
    let names: Vec<&Vec<u8>> = server.pubsub.names(kind).filter(wanted).collect();
    ctx.reply.array(names.len());
    names.iter().for_each(|name| ctx.reply.bulk(name));
    Ok(())
}

/// `PUBSUB NUMSUB [channel …]`, `PUBSUB SHARDNUMSUB [shardchannel …]`
fn numsub(ctx: &mut Ctx<'_>, kind: Kind) -> Result {
    ctx.reply.array((ctx.args.len() - 2) * 2);
    for name in ctx.args.from(2) {
        ctx.reply.bulk(name);
        ctx.reply.int(ctx.keys.server.pubsub.subscribers(kind, name) as i64);
    }
    Ok(())
}

/// `PUBSUB NUMPAT`
fn numpat(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.int(ctx.keys.server.pubsub.names(Kind::Pattern).len() as i64);
    Ok(())
}

/// `PUBSUB HELP`
fn pubsub_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "PUBSUB",
        &[
            ("CHANNELS [<pattern>]", "Channels that have subscribers, all or those that match."),
            ("NUMPAT", "How many patterns are subscribed to."),
            ("NUMSUB [<channel> ...]", "How many subscribers each channel has, patterns aside."),
            ("SHARDCHANNELS [<pattern>]", "Shard channels that have subscribers."),
            ("SHARDNUMSUB [<shardchannel> ...]", "How many subscribers each shard channel has."),
        ],
    )
}
