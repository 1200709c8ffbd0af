//! `DEBUG`: what tests of clients and tools use. Guarded by `enable-debug-command`.

use super::admin::allowed_by;
use super::{Ctx, Error, Event, Flags, Group, Propagation, Result, Spec, help, wrong_form};
use crate::store::str::Str;
use crate::store::value::Value;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[Spec::new(Group::Server, "debug", -2, debug)
    .flags(Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0))
    .doc("1.0.0", "A container for debugging commands")];

/// Longest `DEBUG SLEEP`, seconds: longer than any test waits, and not for ever.
const MAX_SLEEP: f64 = 3600.0;

/// `DEBUG subcommand [arg …]`
fn debug(ctx: &mut Ctx<'_>) -> Result {
    let guard = ctx.keys.server.config.enable_debug_command;
    allowed_by(ctx, guard, "DEBUG", "enable-debug-command")?;
    let word = ctx.args.at(1).to_ascii_lowercase();
    match (word.as_slice(), ctx.args.len()) {
        (b"help", 2) => return debug_help(ctx),
        (b"sleep", 3) => {
            let seconds = ctx.float(2).unwrap_or(0.0).clamp(0.0, MAX_SLEEP);
            std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
        }
        (b"set-active-expire", 3) => ctx.keys.server.active_expire = ctx.int(2).unwrap_or(0) != 0,
        (b"jmap", 2) => {}
        (b"change-repl-id", 2) => {
            let server = &mut *ctx.keys.server;
            server.repl.new_id(&mut server.rng);
            server.repl.id2 = crate::replication::NO_ID.into();
            server.repl.second_offset = 0;
        }
        (b"error", 3) => {
            return Err(Error::Text(String::from_utf8_lossy(ctx.args.at(2)).into_owned().into()));
        }
        (b"log", 3) => tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(ctx.args.at(2))),
        (b"object", 3) => return object(ctx),
        (b"populate", 3..=5) => populate(ctx)?,
        (b"protocol", 3) => return protocol(ctx),
        (b"replicate", n) if n >= 3 => {
            let args: Vec<Vec<u8>> = ctx.args.from(3).map(<[u8]>::to_vec).collect();
            ctx.propagate(&args);
        }
        (b"quicklist-packed-threshold", 3) => {}
        _ => {
            return Err(wrong_form(ctx, "DEBUG"));
        }
    }
    ctx.reply.ok();
    Ok(())
}

/// `DEBUG OBJECT key`
fn object(ctx: &mut Ctx<'_>) -> Result {
    let Some(e) = ctx.keys.peek(ctx.args.at(2)) else { return Err(Error::NoSuchKey) };
    let (at, encoding, stamp) = (&raw const *e, e.value().encoding(), e.access().get());
    let idle = ctx.keys.server.access_clock.idle_seconds(stamp);
    let text = format!("Value at:{at:p} refcount:1 encoding:{encoding} lru:{stamp} lru_seconds_idle:{idle}");
    ctx.reply.simple(&text);
    Ok(())
}

/// `DEBUG POPULATE count [prefix] [size]`: keys that no replica hears of.
fn populate(ctx: &mut Ctx<'_>) -> Result {
    let count = ctx.int_in(2, 0..=i64::MAX)?;
    let prefix = ctx.args.get(3).unwrap_or(b"key").to_vec();
    let size = if ctx.args.len() > 4 { ctx.int_in(4, 0..=512 << 20)? as usize } else { 0 };
    for i in 0..count {
        let key = [prefix.as_slice(), format!(":{i}").as_bytes()].concat();
        if ctx.keys.exists(&key) {
            continue;
        }
        let mut value = format!("value:{i}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        ctx.keys.put(&key, Value::Str(Str::new(&value)), None);
        ctx.keys.modified(ctx.io, Event::Generic, "set", &key);
    }
    ctx.propagation = Propagation::Done;
    Ok(())
}

/// What `DEBUG PROTOCOL double` has always answered; not meant to be precise.
#[allow(clippy::approx_constant)]
const SOME_DOUBLE: f64 = 3.141;

/// `DEBUG PROTOCOL type`: a value of each type of reply.
fn protocol(ctx: &mut Ctx<'_>) -> Result {
    let reply = &mut ctx.reply;
    match ctx.args.at(2).to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.int(12345),
        b"double" => reply.double(SOME_DOUBLE),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|i| reply.int(i));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|i| reply.int(i));
        }
        b"map" => {
            reply.map(3);
            for i in 0..3 {
                reply.int(i);
                reply.bool(i == 1);
            }
        }
        b"bignum" if reply.resp3() => {
            reply.out.extend_from_slice(b"(1234567999999999999999999999999999999\r\n");
        }
        b"bignum" => reply.bulk(b"1234567999999999999999999999999999999"),
        b"attrib" => {
            if reply.resp3() {
                reply.out.extend_from_slice(b"|1\r\n");
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.int(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" if !reply.resp3() => return Err("ERR RESP2 is not supported by this command".into()),
        b"push" => {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        b"verbatim" => reply.verbatim("This is a verbatim\nstring"),
        b"true" => reply.bool(true),
        b"false" => reply.bool(false),
        _ => {
            return Err("ERR Wrong protocol type name. Please use one of the following: \
                        string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"
                .into());
        }
    }
    Ok(())
}

/// `DEBUG HELP`
fn debug_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "DEBUG",
        &[
            ("CHANGE-REPL-ID", "Take a new replication id; replicas will need full synchronizations."),
            ("ERROR <text>", "Reply with this error."),
            ("LOG <text>", "Write a line to the log."),
            ("OBJECT <key>", "Low level facts about a value."),
            ("POPULATE <count> [<prefix>] [<size>]", "Make keys, on this node only."),
            ("PROTOCOL <type>", "Reply with a value of this type."),
            ("REPLICATE <target> <command> [<arg> ...]", "Send a command to the replicas only."),
            (
                "SET-ACTIVE-EXPIRE (0|1)",
                "Whether keys are removed when their time is up without being asked for.",
            ),
            ("SLEEP <seconds>", "Stop the server for this time."),
        ],
    )
}
