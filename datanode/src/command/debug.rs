//! `DEBUG`: what tests of clients and tools use. Guarded by `enable-debug-command`.

pub mod digest;
mod process;
mod values;

use super::admin::allowed_by;
use super::{Ctx, Error, Flags, Group, OwnedArgs, Propagation, Result, Spec, help, wrong_form};
use crate::config::value::parse_memory;
use crate::glob::glob_match;
use crate::persist::reload::Reload;
use crate::resp::parse::parse_i64;
use crate::server::DebugSwitches;
use crate::server::client::Client;
use crate::store::keyspace::{KeyEntry, Keyspace};
use crate::store::rng::Rng;
use crate::store::str::Str;
use crate::store::value::Value;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[Spec::new(Group::Server, "debug", -2, debug)
    .flags(Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0))
    .doc("1.0.0", "A container for debugging commands")];

/// Longest `DEBUG SLEEP`, seconds: longer than any test waits, and not for ever.
const MAX_SLEEP: f64 = 3600.0;
/// Longest wait before the append-only file is written, microseconds.
const MAX_FLUSH_SLEEP_US: i64 = 60_000_000;
/// Largest value that `DEBUG POPULATE` makes, bytes.
const MAX_POPULATED: usize = 512 << 20;
/// Largest threshold that `DEBUG QUICKLIST-PACKED-THRESHOLD` takes, bytes.
const MAX_PACKED: u64 = 4 << 30;

/// `DEBUG subcommand [arg …]`
fn debug(ctx: &mut Ctx<'_>) -> Result {
    let guard = ctx.keys.server.config.enable_debug_command;
    allowed_by(ctx, guard, "DEBUG", "enable-debug-command")?;
    let word = ctx.args.at(1).to_ascii_lowercase();
    match (word.as_slice(), ctx.args.len()) {
        (b"help", 2) => return debug_help(ctx),
        (b"object", 3) => return values::object(ctx),
        (b"sdslen", 3) => return values::sdslen(ctx),
        (b"listpack", 3) => return values::listpack(ctx),
        (b"quicklist", 3 | 4) => return values::quicklist(ctx),
        (b"htstats", 3) => return values::htstats(ctx),
        (b"htstats-key", 3) => return values::htstats_key(ctx),
        (b"digest", 2) => {
            let text = digest::of_all(&ctx.keys.server.keyspace);
            ctx.reply.simple(&text);
            return Ok(());
        }
        (b"digest-value", _) => return digest_value(ctx),
        (b"protocol", 3) => return protocol(ctx),
        (b"structsize", 2) => return structsize(ctx),
        (b"client-eviction", 2) => return Err("ERR maxmemory-clients is disabled.".into()),
        (b"stringmatch-len", 4) => {
            let matches = glob_match(ctx.args.at(2), ctx.args.at(3), false);
            ctx.reply.int(matches.into());
            return Ok(());
        }
        (b"segfault", 2) => return process::segfault(),
        (b"panic", 2) => panic!("DEBUG PANIC was called"),
        (b"assert", 2) => process::abort("ASSERT"),
        (b"oom", 2) => process::abort("OOM"),
        (b"restart", 2 | 3) => return process::restart(ctx),
        (b"crash-and-recover", 2 | 3) => return process::crash(ctx),
        (b"mallctl" | b"mallctl-str", 3 | 4) => {
            return Err("ERR the allocator has no parameters that could be read or set".into());
        }
        (b"clusterlink", 5) => {
            return Err("ERR Debug option only available for cluster mode enabled setup!".into());
        }
        (b"error", 3) => {
            return Err(Error::Text(String::from_utf8_lossy(ctx.args.at(2)).into_owned().into()));
        }
        (b"sleep", 3) => {
            let seconds = ctx.float(2).unwrap_or(0.0).clamp(0.0, MAX_SLEEP);
            std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
        }
        (b"config-rewrite-force-all", 2) => super::config::rewrite_file(ctx.keys.server, true)?,
        (b"reload", _) => reload(ctx)?,
        (b"loadaof", 2) => ctx.keys.server.reload_log(ctx.io)?,
        (b"change-repl-id", 2) => {
            let server = &mut *ctx.keys.server;
            server.repl.new_id(&mut server.rng);
            server.repl.id2 = crate::replication::NO_ID.into();
            server.repl.second_offset = 0;
        }
        (b"log", 3) => tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(ctx.args.at(2))),
        (b"leak", 3) => {
            Box::leak(Box::<[u8]>::from(ctx.args.at(2)));
        }
        (b"populate", 3..=5) => populate(ctx)?,
        (b"replicate", n) if n >= 3 => {
            let command = OwnedArgs::collect(ctx.args.from(2));
            let db = ctx.keys.db;
            if ctx.keys.server.repl.has_backlog() {
                ctx.keys.server.effects.add_message(db, command.as_args());
            }
        }
        (b"quicklist-packed-threshold", 3) => check_packed_threshold(ctx)?,
        (b"replybuffer", 4) => check_reply_buffer(ctx)?,
        (b"stringmatch-test", 2) => {
            fuzz_patterns(&mut ctx.keys.server.rng);
            ctx.reply.simple("Apparently Redis did not crash: test passed");
            return Ok(());
        }
        // What it switches is not there: a table of objects shared with a virtual machine, a cluster bus.
        (b"jmap", 2) | (b"drop-cluster-packet-filter", 3) => {}
        (name, 3) => match switched(&mut ctx.keys.server.debug, name) {
            Some(switch) => *switch = number(ctx.args.at(2)) != 0,
            None if name == b"set-active-expire" => {
                ctx.keys.server.active_expire = number(ctx.args.at(2)) != 0
            }
            None if name == b"aof-flush-sleep" => {
                ctx.keys.server.debug.aof_flush_sleep_us =
                    number(ctx.args.at(2)).clamp(0, MAX_FLUSH_SLEEP_US) as u64;
            }
            None => return Err(wrong_form(ctx, "DEBUG")),
        },
        _ => return Err(wrong_form(ctx, "DEBUG")),
    }
    ctx.reply.ok();
    Ok(())
}

/// What a subcommand of the form `NAME 0|1` switches.
fn switched<'s>(switches: &'s mut DebugSwitches, name: &[u8]) -> Option<&'s mut bool> {
    match name {
        b"pause-cron" => Some(&mut switches.pause_cron),
        b"set-skip-checksum-validation" => Some(&mut switches.skip_checksums),
        b"set-disable-deny-scripts" => Some(&mut switches.scripts_may_all),
        _ => None,
    }
}

/// A number as C's `atoi` reads it: what is none is 0.
fn number(text: &[u8]) -> i64 {
    parse_i64(text).unwrap_or(0)
}

/// `DEBUG RELOAD [MERGE] [NOFLUSH] [NOSAVE]`
fn reload(ctx: &mut Ctx<'_>) -> Result {
    let mut how = Reload { save: true, flush: true, merge: false };
    for word in ctx.args.from(2) {
        match word.to_ascii_lowercase().as_slice() {
            b"merge" => how.merge = true,
            b"noflush" => how.flush = false,
            b"nosave" => how.save = false,
            _ => return Err("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.".into()),
        }
    }
    ctx.keys.server.reload_rdb(ctx.io, how)
}

/// `DEBUG DIGEST-VALUE [key …]`
fn digest_value(ctx: &mut Ctx<'_>) -> Result {
    let keys = ctx.args.from(2);
    ctx.reply.array(keys.len());
    for key in keys {
        let text = digest::of_value(ctx.keys.peek(key));
        ctx.reply.simple(&text);
    }
    Ok(())
}

/// `DEBUG POPULATE count [prefix] [size]`: keys that no replica hears of.
fn populate(ctx: &mut Ctx<'_>) -> Result {
    let positive = |i: usize| {
        let n = ctx.int(i).ok().and_then(|n| usize::try_from(n).ok());
        n.ok_or("ERR value is out of range, must be positive")
    };
    let count = positive(2)?;
    let size = if ctx.args.len() > 4 { positive(4)? } else { 0 };
    if size > MAX_POPULATED {
        return Err("ERR value is out of range".into());
    }
    let prefix = ctx.args.get(3).unwrap_or(b"key").to_vec();
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
        ctx.keys.touched(&key);
    }
    ctx.propagation = Propagation::Done;
    Ok(())
}

/// `DEBUG QUICKLIST-PACKED-THRESHOLD size`: when an element of a list gets a node of its own follows from
/// `list-max-listpack-size` here, so that there is nothing to set.
fn check_packed_threshold(ctx: &Ctx<'_>) -> Result {
    let size = std::str::from_utf8(ctx.args.at(2)).ok().and_then(parse_memory);
    match size.filter(|&n| n <= MAX_PACKED) {
        Some(_) => Ok(()),
        None => Err("ERR argument must be a memory value bigger than 1 and smaller than 4gb".into()),
    }
}

/// `DEBUG REPLYBUFFER PEAK-RESET-TIME never|reset|milliseconds`, `REPLYBUFFER RESIZING 0|1`: buffers of replies follow what
/// they hold here, so that there is nothing to set.
fn check_reply_buffer(ctx: &Ctx<'_>) -> Result {
    let fits = match ctx.args.at(2).to_ascii_lowercase().as_slice() {
        b"peak-reset-time" => {
            if !ctx.args.is(3, "never") && !ctx.args.is(3, "reset") {
                ctx.int(3)?;
            }
            true
        }
        b"resizing" => true,
        _ => false,
    };
    if fits { Ok(()) } else { Err(wrong_form(ctx, "DEBUG")) }
}

/// `DEBUG STRINGMATCH-TEST`: random patterns against random texts.
fn fuzz_patterns(rng: &mut Rng) {
    const ROUNDS: usize = 100_000;
    const LETTERS: &[u8] = b"ab*?[]^-\\";
    let text = |rng: &mut Rng| -> Vec<u8> {
        let len = rng.below(12);
        (0..len).map(|_| LETTERS[rng.below(LETTERS.len())]).collect()
    };
    for _ in 0..ROUNDS {
        let (pattern, subject) = (text(rng), text(rng));
        std::hint::black_box(glob_match(&pattern, &subject, rng.below(2) == 0));
    }
}

/// `DEBUG STRUCTSIZE`
fn structsize(ctx: &mut Ctx<'_>) -> Result {
    let text = format!(
        "bits:{} value:{} entry:{} client:{} keyspace:{}",
        usize::BITS,
        size_of::<Value>(),
        size_of::<KeyEntry>(),
        size_of::<Client>(),
        size_of::<Keyspace>(),
    );
    ctx.reply.simple(&text);
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
            ("AOF-FLUSH-SLEEP <microseconds>", "Wait so long before the append-only file is written."),
            ("ASSERT", "End the process by SIGABRT."),
            ("CHANGE-REPL-ID", "Take a new replication id; replicas will need full synchronizations."),
            ("CLIENT-EVICTION", "Refused: clients are not evicted."),
            ("CONFIG-REWRITE-FORCE-ALL", "As CONFIG REWRITE, with what is at its default."),
            ("CRASH-AND-RECOVER [<milliseconds>]", "Start the program anew without saving anything."),
            ("DIGEST", "Fingerprint of all data, equal on every server that has the same."),
            ("DIGEST-VALUE [<key> ...]", "Fingerprints of values."),
            ("ERROR <text>", "Reply with this error."),
            ("HTSTATS <dbid>", "How well a database's table is filled."),
            ("HTSTATS-KEY <key>", "How well a value's table is filled."),
            ("JMAP", "Nothing; clients' tests call it."),
            ("LEAK <text>", "Never free a copy of the text."),
            ("LISTPACK <key>", "Print a value that is one listpack on stdout."),
            ("LOADAOF", "Write out the append-only file and load the data from it."),
            ("LOG <text>", "Write a line to the log."),
            ("OBJECT <key>", "Low level facts about a value."),
            ("OOM", "End the process as if memory had run out."),
            ("PANIC", "Crash, as by an error in the program."),
            ("PAUSE-CRON (0|1)", "Whether nothing happens by itself."),
            ("POPULATE <count> [<prefix>] [<size>]", "Make keys, on this node only."),
            ("PROTOCOL <type>", "Reply with a value of this type."),
            ("QUICKLIST <key> [<0|1>]", "Print the nodes of a list on stdout, with 1 their elements."),
            ("QUICKLIST-PACKED-THRESHOLD <size>", "Nothing but a check of the size."),
            (
                "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
                "Save the RDB file, then load it in place of the data, or add it.",
            ),
            ("REPLICATE <command> [<arg> ...]", "Send a command to the replicas only."),
            ("REPLYBUFFER (PEAK-RESET-TIME|RESIZING) <value>", "Nothing but a check of the value."),
            ("RESTART [<milliseconds>]", "Save configuration and data, and start the program anew."),
            ("SDSLEN <key>", "Sizes of a key and a string value."),
            ("SEGFAULT", "End the process by SIGSEGV."),
            (
                "SET-ACTIVE-EXPIRE (0|1)",
                "Whether keys are removed when their time is up without being asked for.",
            ),
            ("SET-DISABLE-DENY-SCRIPTS (0|1)", "Whether scripts may call commands that are not for them."),
            ("SET-SKIP-CHECKSUM-VALIDATION (0|1)", "Whether RESTORE takes payloads with a wrong checksum."),
            ("SLEEP <seconds>", "Stop the server for this time."),
            ("STRINGMATCH-LEN <pattern> <text>", "1 if the text matches."),
            ("STRINGMATCH-TEST", "Match random patterns with random texts."),
            ("STRUCTSIZE", "Sizes of internal structures."),
        ],
    )
}
