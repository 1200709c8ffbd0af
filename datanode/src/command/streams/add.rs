//! `XADD`, and what removes entries: `XTRIM`, `XDEL`; and `XSETID`.

use super::{changed, ids, reply_id};
use crate::command::{Ctx, Error, Event, Propagation, Result};
use crate::server::dispatch::Origin;
use crate::store::stream_id::{IdBuf, StreamId};
use crate::store::stream_log::{Keep, Log, NewId, fits};

/// Entries that one trimming with `~` removes at most, in nodes full to their limit, and the bounds of that.
const APPROXIMATE_NODES: u64 = 100;
const APPROXIMATE_DEFAULT: u64 = 10_000;
const APPROXIMATE_MAX: u64 = 1_000_000;

const TOO_LARGE: &str = "ERR Elements are too large to be stored";

/// How a stream is to be trimmed.
struct Trim {
    keep: Keep,
    approximate: bool,
    limit: u64,
    /// Index of the threshold.
    at: usize,
}

/// The options of `XADD` or `XTRIM`.
struct Options {
    make: bool,
    trim: Option<Trim>,
    id: NewId,
    /// Index of the id, `XADD`'s last option; where there is none, one behind the arguments.
    id_at: usize,
}

fn options(ctx: &Ctx<'_>, adds: bool) -> Result<Options> {
    let args = ctx.args;
    let mut options = Options { make: true, trim: None, id: NewId::Auto, id_at: args.len() };
    let mut limit = None;
    let mut i = 2;
    while i < args.len() {
        let more = args.len() - 1 - i;
        let by_length = args.is(i, "maxlen");
        if adds && args.at(i) == b"*" {
            options.id_at = i;
            break;
        } else if more > 0 && (by_length || args.is(i, "minid")) {
            if options.trim.is_some() {
                return Err(
                    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible".into()
                );
            }
            let approximate = more > 1 && args.at(i + 1) == b"~";
            i += 1 + usize::from(approximate || more > 1 && args.at(i + 1) == b"=");
            let keep = if by_length {
                let n = u64::try_from(ctx.int(i)?);
                Keep::Newest(n.map_err(|_| Error::Text("ERR The MAXLEN argument must be >= 0.".into()))?)
            } else {
                Keep::From(ids::exact(args.at(i))?)
            };
            options.trim = Some(Trim { keep, approximate, limit: 0, at: i });
        } else if more > 0 && args.is(i, "limit") {
            i += 1;
            let n = u64::try_from(ctx.int(i)?);
            limit = Some(n.map_err(|_| Error::Text("ERR The LIMIT argument must be >= 0.".into()))?);
        } else if adds && args.is(i, "nomkstream") {
            options.make = false;
        } else if adds {
            options.id = ids::new(args.at(i))?;
            options.id_at = i;
            break;
        } else {
            return Err(Error::Syntax);
        }
        i += 1;
    }
    if options.trim.is_none() && limit.is_some_and(|n| n > 0) {
        return Err("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy".into());
    }
    if options.trim.is_none() && !adds {
        return Err("ERR syntax error, XTRIM must be called with a trimming strategy".into());
    }
    // Our master, and the append-only file, have said exactly what is to go.
    if ctx.keys.origin != Origin::Client {
        return Ok(options);
    }
    let approximate = options.trim.as_mut().filter(|trim| trim.approximate);
    if limit.is_some() && approximate.is_none() {
        return Err("ERR syntax error, LIMIT cannot be used without the special ~ option".into());
    }
    if let Some(trim) = approximate {
        let usual = approximate_limit(ctx.keys.server.limits.stream_node_max_entries);
        trim.limit = limit.unwrap_or(usual);
    }
    Ok(options)
}

fn approximate_limit(node_entries: u64) -> u64 {
    match node_entries.saturating_mul(APPROXIMATE_NODES) {
        0 => APPROXIMATE_DEFAULT,
        n => n.min(APPROXIMATE_MAX),
    }
}

impl Trim {
    fn apply(&self, log: &mut Log) -> u64 {
        log.trim(self.keep, self.approximate, self.limit)
    }

    /// The threshold that has the same effect without `~`.
    fn exactly(&self, log: &Log) -> String {
        match self.keep {
            Keep::Newest(_) => log.len().to_string(),
            // Deleted entries count too, as long as their node is there.
            Keep::From(_) => log.nodes().next().map_or(StreamId::MAX, |(own, _)| own).to_string(),
        }
    }
}

/// Has the command repeated with other arguments in the place of some.
fn repeat_with(ctx: &mut Ctx<'_>, changes: &[(usize, &[u8])]) {
    if !ctx.keys.propagates() {
        ctx.propagation = Propagation::Done;
        return;
    }
    let mut args: Vec<&[u8]> = ctx.args.iter().collect();
    for &(i, other) in changes {
        args[i] = other;
    }
    ctx.propagate(&args);
}

/// `XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value [field value …]`
pub fn xadd(ctx: &mut Ctx<'_>) -> Result {
    let options = options(ctx, true)?;
    let parts = ctx.args.len().saturating_sub(options.id_at + 1);
    if parts < 2 || parts % 2 == 1 {
        return Err(Error::Arity(ctx.spec.name));
    }
    if options.id == NewId::Exact(StreamId::MIN) {
        return Err("ERR The ID specified in XADD must be greater than 0-0".into());
    }
    let (key, fields) = (ctx.args.at(1), ctx.args.from(options.id_at + 1));
    if !options.make && ctx.keys.stream(key)?.is_none() {
        ctx.reply.null();
        return Ok(());
    }
    if !fits(fields.clone()) {
        return Err(TOO_LARGE.into());
    }
    let (limits, now_ms) = (ctx.keys.limits(), ctx.now_ms());
    let log = &mut ctx.keys.stream_or_new(key)?.log;
    if log.totals().last_id == StreamId::MAX {
        return Err("ERR The stream has exhausted the last possible ID, unable to add more items".into());
    }
    let id = log.new_id(options.id, now_ms as u64).ok_or(match options.id {
        // Redis says the same of a millisecond that is full as of what is too large.
        NewId::Ms(ms) if ms == log.totals().last_id.ms => TOO_LARGE,
        _ => "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    })?;
    log.append(&limits, id, fields);
    let trimmed = options.trim.as_ref().map_or(0, |trim| trim.apply(log));
    let approximate = options.trim.as_ref().filter(|trim| trim.approximate);
    let threshold = approximate.map(|trim| (trim.at, trim.exactly(log)));
    reply_id(&mut ctx.reply, id);
    ctx.keys.modified(ctx.io, Event::Stream, "xadd", key);
    if trimmed > 0 {
        ctx.keys.notify(ctx.io, Event::Stream, "xtrim", key);
    }
    ctx.keys.signal_ready(key);
    let mut buf = IdBuf::new();
    let given = (options.id_at, buf.format(id));
    match &threshold {
        Some((at, exactly)) => repeat_with(ctx, &[given, (at - 1, b"="), (*at, exactly.as_bytes())]),
        None if !matches!(options.id, NewId::Exact(_)) => repeat_with(ctx, &[given]),
        None => {}
    }
    Ok(())
}

/// `XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]`
pub fn xtrim(ctx: &mut Ctx<'_>) -> Result {
    let options = options(ctx, false)?;
    let key = ctx.args.at(1);
    let (Some(trim), Some(stream)) = (options.trim, ctx.keys.stream_mut(key)?) else {
        ctx.reply.int(0);
        return Ok(());
    };
    let removed = trim.apply(&mut stream.log);
    let exactly = trim.exactly(&stream.log);
    ctx.reply.int(removed as i64);
    if removed == 0 {
        return Ok(());
    }
    ctx.keys.dirty(removed - 1);
    ctx.keys.modified(ctx.io, Event::Stream, "xtrim", key);
    if trim.approximate {
        repeat_with(ctx, &[(trim.at - 1, b"="), (trim.at, exactly.as_bytes())]);
    }
    Ok(())
}

/// `XDEL key id [id …]`
pub fn xdel(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let Some(_) = ctx.keys.stream(key)? else {
        ctx.reply.int(0);
        return Ok(());
    };
    let ids: Vec<StreamId> = ctx.args.from(2).map(ids::exact).collect::<Result<_>>()?;
    let Some(stream) = ctx.keys.stream_mut(key)? else { return Ok(()) };
    let removed = ids.into_iter().filter(|&id| stream.log.delete(id)).count() as u64;
    if removed > 0 {
        ctx.keys.dirty(removed - 1);
        ctx.keys.modified(ctx.io, Event::Stream, "xdel", key);
    }
    ctx.reply.int(removed as i64);
    Ok(())
}

/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`
pub fn xsetid(ctx: &mut Ctx<'_>) -> Result {
    let (args, key) = (ctx.args, ctx.args.at(1));
    let id = ids::exact(args.at(2))?;
    let (mut added, mut deleted) = (None, None);
    let mut i = 3;
    while i < args.len() {
        if args.is(i, "entriesadded") && i + 1 < args.len() {
            let n = u64::try_from(ctx.int(i + 1)?);
            added = Some(n.map_err(|_| Error::Text("ERR entries_added must be positive".into()))?);
        } else if args.is(i, "maxdeletedid") && i + 1 < args.len() {
            let up_to = ids::exact(args.at(i + 1))?;
            if id < up_to {
                return Err(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id".into(),
                );
            }
            deleted = Some(up_to).filter(|id| *id != StreamId::MIN);
        } else {
            return Err(Error::Syntax);
        }
        i += 2;
    }
    let Some(stream) = ctx.keys.stream_mut(key)? else { return Err(Error::NoSuchKey) };
    let log = &mut stream.log;
    if log.last_entry_id().is_some_and(|last| id < last) {
        return Err("ERR The ID specified in XSETID is smaller than the target stream top item".into());
    }
    if !log.is_empty() && added.is_some_and(|n| n < log.len()) {
        return Err(
            "ERR The entries_added specified in XSETID is smaller than the target stream length".into()
        );
    }
    log.set_last(id, added, deleted);
    changed(ctx, "xsetid", key);
    ctx.reply.ok();
    Ok(())
}
