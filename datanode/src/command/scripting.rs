//! Scripts in Lua (<https://redis.io/docs/latest/develop/interact/programmability/eval-intro/>).

use super::{Ctx, Error, Flags, Group, Result, Spec, counted_keys, help, wrong_form};
use crate::script::Digest;
use crate::script::limits::Killer;
use crate::script::run::{self, Program};

const RUNS: Flags = Flags(
    Flags::NOSCRIPT.0
        | Flags::STALE.0
        | Flags::SKIP_MONITOR.0
        | Flags::MAY_REPLICATE.0
        | Flags::NO_MANDATORY_KEYS.0,
);
const RUNS_READING: Flags = Flags((RUNS.0 & !Flags::MAY_REPLICATE.0) | Flags::READONLY.0);

const fn runs(name: &'static str, handler: super::Handler, flags: Flags) -> Spec {
    Spec::new(Group::Scripting, name, -3, handler).flags(flags).find_keys(|a| counted_keys(a, 2))
}

const fn sub(name: &'static str, arity: i32, handler: super::Handler, flags: Flags) -> Spec {
    Spec::new(Group::Scripting, name, arity, handler).flags(flags)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    runs("eval", eval, RUNS).doc("2.6.0", "Execute a Lua script server side"),
    runs("eval_ro", eval, RUNS_READING).doc("7.0.0", "Execute a read-only Lua script server side"),
    runs("evalsha", evalsha, RUNS).doc("2.6.0", "Execute a Lua script server side"),
    runs("evalsha_ro", evalsha, RUNS_READING).doc("7.0.0", "Execute a read-only Lua script server side"),
    runs("fcall", fcall, RUNS).doc("7.0.0", "Invoke a function"),
    runs("fcall_ro", fcall, RUNS_READING).doc("7.0.0", "Invoke a read-only function"),
    Spec::new(Group::Scripting, "script", -2, script)
        .doc("2.6.0", "A container for Lua scripts management commands")
        .subcommands(&[
            sub("script|debug", 3, debug, Flags::NOSCRIPT)
                .doc("3.2.0", "Set the debug mode for executed scripts."),
            sub("script|exists", -3, exists, Flags::NOSCRIPT)
                .doc("2.6.0", "Check existence of scripts in the script cache."),
            sub("script|flush", -2, flush, Flags::NOSCRIPT)
                .doc("2.6.0", "Remove all the scripts from the script cache."),
            sub("script|help", 2, script_help, Flags(Flags::LOADING.0 | Flags::STALE.0))
                .doc("5.0.0", "Show helpful text about the different subcommands"),
            sub("script|kill", 2, kill, Flags(Flags::NOSCRIPT.0 | Flags::ALLOW_BUSY.0))
                .doc("2.6.0", "Kill the script currently in execution."),
            sub("script|load", 3, load, Flags(Flags::NOSCRIPT.0 | Flags::STALE.0))
                .doc("2.6.0", "Load the specified Lua script into the script cache."),
        ]),
];

/// The number of keys, argument 2.
fn number_of_keys(ctx: &Ctx<'_>, not_a_number: Error) -> Result<usize> {
    let n = ctx.int(2).map_err(|_| not_a_number)?;
    if n > ctx.args.len() as i64 - 3 {
        return Err("ERR Number of keys can't be greater than number of args".into());
    }
    usize::try_from(n).map_err(|_| "ERR Number of keys can't be negative".into())
}

fn read_only(ctx: &Ctx<'_>) -> bool {
    ctx.spec.flags.any(Flags::READONLY)
}

/// Runs the script of a digest.
fn run_script(ctx: &mut Ctx<'_>, digest: &Digest, keys: usize) -> Result {
    let Some(script) = ctx.server().scripting.script(digest) else {
        return Err("NOSCRIPT No matching script. Please use EVAL.".into());
    };
    let program = Program::of_script(ctx.server(), &script)?;
    let read_only = read_only(ctx);
    run::run(ctx, &program, keys, read_only)
}

/// `EVAL script numkeys [key …] [arg …]`, and `EVAL_RO`
fn eval(ctx: &mut Ctx<'_>) -> Result {
    ctx.show_to_monitors();
    let keys = number_of_keys(ctx, Error::NotInteger)?;
    let text = ctx.args.at(1);
    let digest = Digest::of(text);
    ctx.server().scripting.add(digest, text)?;
    run_script(ctx, &digest, keys)
}

/// `EVALSHA sha1 numkeys [key …] [arg …]`, and `EVALSHA_RO`
fn evalsha(ctx: &mut Ctx<'_>) -> Result {
    ctx.show_to_monitors();
    let Some(digest) = Digest::sent(ctx.args.at(1)) else {
        return Err("NOSCRIPT No matching script. Please use EVAL.".into());
    };
    let keys = number_of_keys(ctx, Error::NotInteger)?;
    run_script(ctx, &digest, keys)
}

/// `FCALL function numkeys [key …] [arg …]`, and `FCALL_RO`
fn fcall(ctx: &mut Ctx<'_>) -> Result {
    ctx.show_to_monitors();
    let Some(function) = ctx.keys.server.scripting.libraries.function(ctx.args.at(1)) else {
        return Err("ERR Function not found".into());
    };
    let keys = number_of_keys(ctx, "ERR Bad number of keys provided".into())?;
    let program = Program::of_function(ctx.server(), &function)?;
    let read_only = read_only(ctx);
    run::run(ctx, &program, keys, read_only)
}

/// `SCRIPT` with a subcommand that is none
fn script(ctx: &mut Ctx<'_>) -> Result {
    Err(wrong_form(ctx, "SCRIPT"))
}

/// `SCRIPT LOAD script`
fn load(ctx: &mut Ctx<'_>) -> Result {
    let text = ctx.args.at(2);
    let digest = Digest::of(text);
    ctx.server().scripting.add(digest, text)?;
    ctx.reply.bulk(digest.text().as_bytes());
    Ok(())
}

/// `SCRIPT EXISTS sha1 [sha1 …]`
fn exists(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.array(ctx.args.len() - 2);
    for hex in ctx.args.from(2) {
        let found = Digest::sent(hex).is_some_and(|d| ctx.keys.server.scripting.script(&d).is_some());
        ctx.reply.int(found.into());
    }
    Ok(())
}

/// `SCRIPT FLUSH [ASYNC|SYNC]`
fn flush(ctx: &mut Ctx<'_>) -> Result {
    let known =
        ctx.args.len() == 2 || (ctx.args.len() == 3 && (ctx.args.is(2, "sync") || ctx.args.is(2, "async")));
    if !known {
        return Err("ERR SCRIPT FLUSH only support SYNC|ASYNC option".into());
    }
    ctx.server().scripting.flush();
    ctx.reply.ok();
    Ok(())
}

/// `SCRIPT KILL`
fn kill(ctx: &mut Ctx<'_>) -> Result {
    ctx.server().kill_script(Killer::Script)?;
    ctx.reply.ok();
    Ok(())
}

/// `SCRIPT DEBUG YES|SYNC|NO`: nothing is debugged here.
fn debug(ctx: &mut Ctx<'_>) -> Result {
    if ctx.args.is(2, "no") {
        ctx.reply.ok();
        return Ok(());
    }
    if ctx.args.is(2, "yes") || ctx.args.is(2, "sync") {
        return Err("ERR The debugger of Lua scripts is not supported".into());
    }
    Err("ERR Use SCRIPT DEBUG YES/SYNC/NO".into())
}

/// `SCRIPT HELP`
fn script_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "SCRIPT",
        &[
            ("DEBUG (YES|SYNC|NO)", "Set the debug mode for subsequent scripts executed."),
            (
                "EXISTS <sha1> [<sha1> ...]",
                "Return information about the existence of the scripts in the script cache.",
            ),
            (
                "FLUSH [ASYNC|SYNC]",
                "Flush the Lua scripts cache. Very dangerous on replicas.\n\
                 When called without the optional mode argument, the behavior is determined by the\n\
                 lazyfree-lazy-user-flush configuration directive. Valid modes are:\n\
                 * ASYNC: Asynchronously flush the scripts cache.\n\
                 * SYNC: Synchronously flush the scripts cache.",
            ),
            ("KILL", "Kill the currently executing Lua script."),
            ("LOAD <script>", "Load a script into the scripts cache without executing it."),
        ],
    )
}
