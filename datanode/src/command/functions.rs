//! Libraries of functions (<https://redis.io/docs/latest/commands/function-load/>).

use super::{Ctx, Error, Flags, Group, Result, Spec, help, wrong_form};
use crate::glob::glob_match;
use crate::rdb::functions;
use crate::script::function::{Clash, Restore};
use crate::script::limits::Killer;

const CHANGES: Flags = Flags(Flags::WRITE.0 | Flags::NOSCRIPT.0);
const ADDS: Flags = Flags(CHANGES.0 | Flags::DENYOOM.0);
const WHILE_BUSY: Flags = Flags(Flags::NOSCRIPT.0 | Flags::ALLOW_BUSY.0);

const fn sub(name: &'static str, arity: i32, handler: super::Handler, flags: Flags) -> Spec {
    Spec::new(Group::Scripting, name, arity, handler).flags(flags)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[Spec::new(Group::Scripting, "function", -2, function)
    .doc("7.0.0", "A container for function commands")
    .subcommands(&[
        sub("function|delete", 3, delete, CHANGES).doc("7.0.0", "Delete a function by name"),
        sub("function|dump", 2, dump, Flags::NOSCRIPT)
            .doc("7.0.0", "Dump all functions into a serialized binary payload"),
        sub("function|flush", -2, flush, CHANGES).doc("7.0.0", "Deleting all functions"),
        sub("function|help", 2, function_help, Flags(Flags::LOADING.0 | Flags::STALE.0))
            .doc("7.0.0", "Show helpful text about the different subcommands"),
        sub("function|kill", 2, kill, WHILE_BUSY).doc("7.0.0", "Kill the function currently in execution."),
        sub("function|list", -2, list, Flags::NOSCRIPT)
            .doc("7.0.0", "List information about all the functions"),
        sub("function|load", -3, load, ADDS)
            .doc("7.0.0", "Create a function with the given arguments (name, code, description)"),
        sub("function|restore", -3, restore, ADDS)
            .doc("7.0.0", "Restore all the functions on the given payload"),
        sub("function|stats", 2, stats, WHILE_BUSY).doc(
            "7.0.0",
            "Return information about the function currently running (name, description, duration)",
        ),
    ])];

/// `FUNCTION` with a subcommand that is none
fn function(ctx: &mut Ctx<'_>) -> Result {
    Err(wrong_form(ctx, "FUNCTION"))
}

/// `FUNCTION LOAD [REPLACE] code`
fn load(ctx: &mut Ctx<'_>) -> Result {
    let last = ctx.args.len() - 1;
    let mut clash = Clash::Refuse;
    for i in 2..last {
        if !ctx.args.is(i, "replace") {
            let shown = String::from_utf8_lossy(ctx.args.at(i)).into_owned();
            return Err(Error::err(format_args!("Unknown option given: {shown}")));
        }
        clash = Clash::Replace;
    }
    let text = ctx.args.at(last);
    let name = ctx.server().scripting.libraries.load(text, clash)?;
    ctx.keys.dirty(1);
    ctx.reply.bulk(name.as_bytes());
    Ok(())
}

/// `FUNCTION DELETE library`
fn delete(ctx: &mut Ctx<'_>) -> Result {
    let name = String::from_utf8_lossy(ctx.args.at(2)).into_owned();
    if !ctx.server().scripting.libraries.delete(&name) {
        return Err("ERR Library not found".into());
    }
    ctx.keys.dirty(1);
    ctx.reply.ok();
    Ok(())
}

/// `FUNCTION FLUSH [ASYNC|SYNC]`
fn flush(ctx: &mut Ctx<'_>) -> Result {
    if ctx.args.len() > 3 {
        return Err(wrong_form(ctx, "FUNCTION"));
    }
    if ctx.args.len() == 3 && !ctx.args.is(2, "sync") && !ctx.args.is(2, "async") {
        return Err("ERR FUNCTION FLUSH only supports SYNC|ASYNC option".into());
    }
    ctx.server().scripting.libraries.flush();
    ctx.keys.dirty(1);
    ctx.reply.ok();
    Ok(())
}

/// `FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]`
fn list(ctx: &mut Ctx<'_>) -> Result {
    let (mut pattern, mut with_code) = (None, false);
    let mut i = 2;
    while i < ctx.args.len() {
        if !with_code && ctx.args.is(i, "withcode") {
            with_code = true;
        } else if pattern.is_none() && ctx.args.is(i, "libraryname") {
            i += 1;
            pattern = Some(ctx.args.get(i).ok_or("ERR library name argument was not given")?);
        } else {
            let shown = String::from_utf8_lossy(ctx.args.at(i)).into_owned();
            return Err(Error::err(format_args!("Unknown argument {shown}")));
        }
        i += 1;
    }
    let matches = |name: &str| pattern.is_none_or(|p| glob_match(p, name.as_bytes(), false));
    let found: Vec<_> =
        ctx.keys.server.scripting.libraries.iter().filter(|l| matches(&l.name)).cloned().collect();
    let reply = &mut ctx.reply;
    reply.array(found.len());
    for library in found {
        reply.map(3 + usize::from(with_code));
        reply.bulk(b"library_name");
        reply.bulk(library.name.as_bytes());
        reply.bulk(b"engine");
        reply.bulk(b"LUA");
        reply.bulk(b"functions");
        reply.array(library.functions.len());
        for f in library.functions.values() {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(f.name.as_bytes());
            reply.bulk(b"description");
            match &f.description {
                Some(text) => reply.bulk(text.as_bytes()),
                None => reply.null(),
            }
            reply.bulk(b"flags");
            reply.set(f.flags.names().count());
            f.flags.names().for_each(|name| reply.simple(name));
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.text);
        }
    }
    Ok(())
}

/// `FUNCTION DUMP`
fn dump(ctx: &mut Ctx<'_>) -> Result {
    let compression = ctx.keys.server.config.rdbcompression;
    let libraries = ctx.keys.server.scripting.libraries.iter().map(|l| &*l.text);
    let payload = functions::dump(libraries, compression);
    ctx.reply.bulk(&payload);
    Ok(())
}

/// `FUNCTION RESTORE payload [FLUSH|APPEND|REPLACE]`
fn restore(ctx: &mut Ctx<'_>) -> Result {
    if ctx.args.len() > 4 {
        return Err(wrong_form(ctx, "FUNCTION"));
    }
    let policy = match ctx.args.get(3) {
        None => Restore::Append,
        Some(_) if ctx.args.is(3, "append") => Restore::Append,
        Some(_) if ctx.args.is(3, "replace") => Restore::Replace,
        Some(_) if ctx.args.is(3, "flush") => Restore::Flush,
        Some(_) => {
            return Err(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.".into()
            );
        }
    };
    let texts = functions::restore(ctx.args.at(2)).map_err(|e| match e {
        functions::Refused::Footer => Error::err("DUMP payload version or checksum are wrong"),
        functions::Refused::Content => Error::err("failed loading functions"),
        functions::Refused::NotFunctions => Error::err("given type is not a function"),
    })?;
    ctx.server().scripting.libraries.restore(&texts, policy)?;
    ctx.keys.dirty(1);
    ctx.reply.ok();
    Ok(())
}

/// `FUNCTION KILL`
fn kill(ctx: &mut Ctx<'_>) -> Result {
    ctx.server().kill_script(Killer::Function)?;
    ctx.reply.ok();
    Ok(())
}

/// `FUNCTION STATS`
fn stats(ctx: &mut Ctx<'_>) -> Result {
    if ctx.keys.server.scripting.running.as_ref().is_some_and(|r| !r.is_function())
        && let Some(busy) = ctx.server().script_is_busy()
    {
        return Err(busy);
    }
    let scripting = &ctx.keys.server.scripting;
    let figures = scripting.figures();
    let reply = &mut ctx.reply;
    reply.map(2);
    reply.bulk(b"running_script");
    match scripting.running.as_ref().filter(|r| r.is_function()) {
        None => reply.null(),
        Some(running) => {
            let command = running.busy.as_ref().map(|c| c.as_args());
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(command.map_or(&b""[..], |c| c.at(1)));
            reply.bulk(b"command");
            reply.array(command.map_or(0, |c| c.len()));
            command.iter().flat_map(|c| c.iter()).for_each(|a| reply.bulk(a));
            reply.bulk(b"duration_ms");
            reply.int(running.duration_ms() as i64);
        }
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.int(figures.number_of_libraries as i64);
    reply.bulk(b"functions_count");
    reply.int(figures.number_of_functions as i64);
    Ok(())
}

/// `FUNCTION HELP`
fn function_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "FUNCTION",
        &[
            ("LOAD [REPLACE] <FUNCTION CODE>", "Create a new library with the given library name and code."),
            ("DELETE <LIBRARY NAME>", "Delete the given library."),
            (
                "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
                "Return general information on all the libraries:\n\
                 * Library name\n\
                 * The engine used to run the Library\n\
                 * Library description\n\
                 * Functions list\n\
                 * Library code (if WITHCODE is given)\n\
                 It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
            ),
            (
                "STATS",
                "Return information about the current function running:\n\
                 * Function name\n\
                 * Command used to run the function\n\
                 * Duration in MS that the function is running\n\
                 If no function is running, return nil\n\
                 In addition, returns a list of available engines.",
            ),
            ("KILL", "Kill the current running function."),
            (
                "FLUSH [ASYNC|SYNC]",
                "Delete all the libraries.\n\
                 When called without the optional mode argument, the behavior is determined by the\n\
                 lazyfree-lazy-user-flush configuration directive. Valid modes are:\n\
                 * ASYNC: Asynchronously flush the libraries.\n\
                 * SYNC: Synchronously flush the libraries.",
            ),
            (
                "DUMP",
                "Return a serialized payload representing the current libraries, can be restored using FUNCTION \
                 RESTORE command",
            ),
            (
                "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
                "Restore the libraries represented by the given payload, it is possible to give a restore policy to\n\
                 control how to handle existing libraries (default APPEND):\n\
                 * FLUSH: delete all existing libraries.\n\
                 * APPEND: appends the restored libraries to the existing libraries. On collision, abort.\n\
                 * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old\n  \
                 libraries with the new libraries (notice that even on this option there is a chance of failure\n  \
                 in case of functions name collision with another library).",
            ),
        ],
    )
}
