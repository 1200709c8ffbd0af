//! `XCLAIM` and `XAUTOCLAIM`: a consumer takes over what is pending for others.

use super::effects::Effects;
use super::{ids, no_group, reply_counted, reply_entry, reply_id};
use crate::command::{Ctx, Error, Event, Result};
use crate::store::stream::Stream;
use crate::store::stream_group::{ConsumerId, Group, Pending};
use crate::store::stream_id::StreamId;

/// Entries that `XAUTOCLAIM` claims where nothing else is said.
const AUTOCLAIM_COUNT: i64 = 100;
/// Pending entries that it looks at for each one that it may claim.
const AUTOCLAIM_TRIES: usize = 10;
/// Largest COUNT of `XAUTOCLAIM`.
const AUTOCLAIM_MAX: i64 = i64::MAX / 16;

/// Who claims: looked for, and made if need be, when there is something to claim.
struct Claimant<'a> {
    name: &'a [u8],
    now_ms: i64,
    id: Option<ConsumerId>,
    made: bool,
}

impl<'a> Claimant<'a> {
    fn new(name: &'a [u8], now_ms: i64) -> Claimant<'a> {
        Claimant { name, now_ms, id: None, made: false }
    }

    fn within(&mut self, group: &mut Group) -> Option<ConsumerId> {
        if self.id.is_none() {
            let made = group.add_consumer(self.name, self.now_ms);
            self.made = made.is_some();
            self.id = made.or_else(|| group.find(self.name));
            self.id.iter().for_each(|&id| group.seen(id, self.now_ms));
        }
        self.id
    }
}

/// Announces a consumer that has been made, and passes on what has been claimed.
fn finish(ctx: &mut Ctx<'_>, key: &[u8], made: bool, changes: u64, effects: Effects<'_>) {
    if made {
        ctx.keys.notify(ctx.io, Event::Stream, "xgroup-createconsumer", key);
    }
    ctx.keys.dirty(changes + u64::from(made));
    effects.release(ctx);
}

/// The options of `XCLAIM`.
struct Options {
    ids: Vec<(StreamId, usize)>,
    force: bool,
    just_ids: bool,
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    last_id: StreamId,
}

fn options(ctx: &Ctx<'_>) -> Result<Options> {
    let args = ctx.args;
    let mut options = Options {
        ids: Vec::new(),
        force: false,
        just_ids: false,
        delivered_ms: None,
        deliveries: None,
        last_id: StreamId::MIN,
    };
    let number = |i: usize, option: &str| {
        ctx.int(i).map_err(|_| Error::err(format_args!("Invalid {option} option argument for XCLAIM")))
    };
    let mut i = 5;
    while let Some(id) = args.get(i).and_then(|text| ids::exact(text).ok()) {
        options.ids.push((id, i));
        i += 1;
    }
    while i < args.len() {
        let more = i + 1 < args.len();
        if args.is(i, "force") {
            options.force = true;
        } else if args.is(i, "justid") {
            options.just_ids = true;
        } else if more && args.is(i, "idle") {
            i += 1;
            options.delivered_ms = Some(ctx.now_ms().wrapping_sub(number(i, "IDLE")?));
        } else if more && args.is(i, "time") {
            i += 1;
            options.delivered_ms = Some(number(i, "TIME")?);
        } else if more && args.is(i, "retrycount") {
            i += 1;
            options.deliveries = u64::try_from(number(i, "RETRYCOUNT")?).ok();
        } else if more && args.is(i, "lastid") {
            i += 1;
            options.last_id = ids::exact(args.at(i))?;
        } else {
            let option = String::from_utf8_lossy(args.at(i));
            return Err(Error::err(format_args!("Unrecognized XCLAIM option '{option}'")));
        }
        i += 1;
    }
    Ok(options)
}

/// `XCLAIM key group consumer min-idle-time id [id …] [IDLE ms] [TIME unix-time-ms] [RETRYCOUNT count] [FORCE] [JUSTID]
/// [LASTID id]`
pub fn xclaim(ctx: &mut Ctx<'_>) -> Result {
    let (args, key, group_name) = (ctx.args, ctx.args.at(1), ctx.args.at(2));
    if ctx.keys.stream(key)?.is_none_or(|s| !s.groups.contains_key(group_name)) {
        return Err(no_group(key, group_name, ""));
    }
    let min_idle =
        ctx.int(4).map_err(|_| Error::Text("ERR Invalid min-idle-time argument for XCLAIM".into()))?;
    let options = options(ctx)?;
    let now_ms = ctx.now_ms();
    // A time that makes no sense comes from a clock that differs from ours: it is taken for now.
    let delivered_ms = options.delivered_ms.filter(|ms| (0..=now_ms).contains(ms)).unwrap_or(now_ms);
    let mut effects = Effects::new(ctx, key, group_name);
    let Some(Stream { log, groups }) = ctx.keys.stream_mut(key)? else { return Ok(()) };
    let Some(group) = groups.get_mut(group_name) else { return Ok(()) };
    let mut moved = options.last_id > group.last_id;
    if moved {
        group.last_id = options.last_id;
    }
    let mut claimant = Claimant::new(args.at(3), now_ms);
    let mut changes = 0;
    reply_counted(&mut ctx.reply, |reply| {
        let mut claimed = 0;
        for &(id, at) in &options.ids {
            let before = group.pending(id);
            let Some(entry) = log.get(id) else {
                // It is gone: nobody can be waiting for it.
                if let Some(before) = before {
                    effects.claimed(group, args.at(at), &before);
                    group.acknowledge(id);
                    (moved, changes) = (false, changes + 1);
                }
                continue;
            };
            let deliveries = match before {
                Some(before) if min_idle > 0 && now_ms.wrapping_sub(before.delivered_ms) < min_idle => {
                    continue;
                }
                Some(before) => before.deliveries,
                None if options.force => 1,
                None => continue,
            };
            let Some(consumer) = claimant.within(group) else { continue };
            let one_more = deliveries.wrapping_add(u64::from(!options.just_ids));
            let deliveries = options.deliveries.unwrap_or(one_more);
            let pending = Pending { consumer, delivered_ms, deliveries };
            group.set_pending(id, pending);
            if options.just_ids {
                reply_id(reply, id)
            } else {
                reply_entry(reply, &entry)
            }
            claimed += 1;
            effects.claimed(group, args.at(at), &pending);
            // The effect says the group's place, too.
            (moved, changes) = (false, changes + 1);
        }
        claimed
    });
    if moved {
        effects.moved(group);
        changes += 1;
    }
    finish(ctx, key, claimant.made, changes, effects);
    Ok(())
}

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
pub fn xautoclaim(ctx: &mut Ctx<'_>) -> Result {
    let (args, key, group_name) = (ctx.args, ctx.args.at(1), ctx.args.at(2));
    let min_idle =
        ctx.int(4).map_err(|_| Error::Text("ERR Invalid min-idle-time argument for XAUTOCLAIM".into()))?;
    let start = ids::start(args.at(5))?;
    let (mut count, mut just_ids, mut i) = (AUTOCLAIM_COUNT, false, 6);
    while i < args.len() {
        if args.is(i, "count") && i + 1 < args.len() {
            i += 1;
            let n = ctx.int(i).ok().filter(|n| (1..=AUTOCLAIM_MAX).contains(n));
            count = n.ok_or("ERR COUNT must be > 0")?;
        } else if args.is(i, "justid") {
            just_ids = true;
        } else {
            return Err(Error::Syntax);
        }
        i += 1;
    }
    if ctx.keys.stream(key)?.is_none_or(|s| !s.groups.contains_key(group_name)) {
        return Err(no_group(key, group_name, ""));
    }
    let now_ms = ctx.now_ms();
    let mut effects = Effects::new(ctx, key, group_name);
    let Some(Stream { log, groups }) = ctx.keys.stream_mut(key)? else { return Ok(()) };
    let Some(group) = groups.get_mut(group_name) else { return Ok(()) };
    let mut claimant = Claimant::new(args.at(3), now_ms);
    let (mut left, mut tries) = (count as usize, (count as usize).saturating_mul(AUTOCLAIM_TRIES));
    let (mut next, mut gone, mut changes) = (Some(start), Vec::new(), 0);
    let mut claims = Vec::new();
    let claimed = {
        let mut reply = crate::resp::writer::Reply { out: &mut claims, proto: ctx.reply.proto };
        let mut claimed = 0;
        while left > 0 && tries > 0 {
            let Some((id, &before)) =
                next.and_then(|from| group.all_pending().range(from, StreamId::MAX).next())
            else {
                next = None;
                break;
            };
            next = id.next();
            tries -= 1;
            let Some(entry) = log.get(id) else {
                effects.delivered(group, id, &before);
                group.acknowledge(id);
                gone.push(id);
                (left, changes) = (left - 1, changes + 1);
                continue;
            };
            if min_idle > 0 && now_ms.wrapping_sub(before.delivered_ms) < min_idle {
                continue;
            }
            let Some(consumer) = claimant.within(group) else { break };
            let deliveries = before.deliveries.wrapping_add(u64::from(!just_ids));
            let pending = Pending { consumer, delivered_ms: now_ms, deliveries };
            group.set_pending(id, pending);
            if just_ids {
                reply_id(&mut reply, id)
            } else {
                reply_entry(&mut reply, &entry)
            }
            claimed += 1;
            effects.delivered(group, id, &pending);
            (left, changes) = (left - 1, changes + 1);
        }
        claimed
    };
    // Where the next call has to go on; 0-0 if this one has come to the end.
    let following =
        next.and_then(|from| group.all_pending().range(from, StreamId::MAX).next()).map(|(id, _)| id);
    let reply = &mut ctx.reply;
    reply.array(3);
    reply_id(reply, following.unwrap_or(StreamId::MIN));
    reply.array(claimed);
    reply.out.extend_from_slice(&claims);
    reply.array(gone.len());
    gone.into_iter().for_each(|id| reply_id(reply, id));
    finish(ctx, key, claimant.made, changes, effects);
    Ok(())
}
