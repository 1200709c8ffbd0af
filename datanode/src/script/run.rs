//! One execution of a script or function: what it may do, the commands it calls, and what becomes of its result.

use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::RegistryKey;

use super::convert::Writer;
use super::engine::{Engine, Failure, REPL_ALL};
use super::limits::Running;
use super::raise::Raised;
use super::shebang::Flags;
use super::stack::Stack;
use super::{Script, api};
use crate::command::{Args, Ctx, Error, Flags as CommandFlags, OwnedArgs, Propagation, Result, table};
use crate::io::ConnId;
use crate::resp::writer::Reply;
use crate::server::Server;
use crate::server::dispatch::Origin;
use crate::server::effects::Targets;

/// Buffers that each run uses again.
#[derive(Default)]
pub struct Scratch {
    args: OwnedArgs,
    out: Vec<u8>,
    last: table::Last,
}

/// A larger reply buffer is not kept for the next run, bytes.
const KEEP_REPLY: usize = 64 * 1024;

/// What is to be run.
pub struct Program {
    engine: Rc<Engine>,
    function: Rc<RegistryKey>,
    flags: Flags,
    /// Digest or name, as errors show it.
    name: Rc<str>,
}

impl Program {
    /// A script.
    pub fn of_script(server: &mut Server, script: &Script) -> Result<Program> {
        let engine = server.scripting.eval_engine()?;
        let name = script.name.clone();
        Ok(Program { engine, function: script.function.clone(), flags: script.flags, name })
    }

    /// A function.
    pub fn of_function(server: &mut Server, f: &super::function::Registered) -> Result<Program> {
        let engine = server.scripting.libraries.engine()?;
        let name = f.name.clone();
        Ok(Program { engine, function: f.callback.clone(), flags: f.flags, name })
    }
}

/// Runs a program for `NAME what numkeys key … arg …`; `read_only`: it was called so.
pub fn run(ctx: &mut Ctx<'_>, program: &Program, keys: usize, read_only: bool) -> Result {
    ctx.propagation = Propagation::Done;
    if ctx.server().in_script() {
        // Possible only where DEBUG has allowed all commands.
        return Err(Error::err("A script cannot run another one"));
    }
    let flags = program.flags;
    let out_of_memory = check(ctx, flags, read_only)?;
    let conn = ctx.conn;
    let started = Instant::now();
    let running = Running {
        conn,
        kind: program.engine.kind,
        started,
        read_only: read_only || flags.any(Flags::NO_WRITES),
        // Without a first line a script may always touch several slots.
        cross_slot: flags.any(Flags::COMPATIBLE.with(Flags::ALLOW_CROSS_SLOT)),
        checks_memory: out_of_memory && !flags.any(Flags::ALLOW_OOM),
        slot: None,
        wrote: false,
        busy: None,
        killed: None,
        client_gone: false,
    };
    let before = ctx.client().map(|c| (c.db, c.proto, c.last_command));
    ctx.server().scripting.running = Some(running);
    let mut stack = program.engine.stack.borrow_mut();
    let top = stack.top();
    let outcome = execute(ctx, program, &mut stack, keys, started);
    if let (Some(client), Some((db, proto, command))) = (ctx.client(), before) {
        (client.db, client.proto, client.last_command) = (db, proto, command);
    }
    if let Some(running) = ctx.keys.server.scripting.running.take() {
        ctx.keys.server.script_ended(ctx.io, &running);
    }
    let result = match outcome {
        Ok(()) => reply(ctx, &program.engine, &mut stack),
        Err(failure) => {
            let mut text = failure.text;
            if let Some((source, line)) = failure.at {
                text.push_str(&format!(" script: {}, on {source}:{line}.", program.name));
            }
            Err(if failure.counted { Error::Counted(text) } else { Error::Text(text.into()) })
        }
    };
    stack.truncate(top);
    result
}

/// What has to be so before a program may start. True if memory is at its limit.
fn check(ctx: &mut Ctx<'_>, flags: Flags, read_only: bool) -> Result<bool> {
    let obeys = ctx.keys.origin != Origin::Client;
    let server = &mut *ctx.keys.server;
    let stale = !obeys && !server.config.replica_serve_stale_data && !server.repl.link_is_up();
    let full = !obeys && server.config.maxmemory > 0 && !server.make_room(ctx.io);
    if flags.any(Flags::COMPATIBLE) {
        return if stale { Err(STALE.into()) } else { Ok(full) };
    }
    // What its first line says of a script counts as the command's own flags.
    let writes = !flags.any(Flags::NO_WRITES);
    if full && writes && !flags.any(Flags::ALLOW_OOM) {
        return Err(OUT_OF_MEMORY.into());
    }
    if writes && !obeys {
        server.refuse_write(ctx.io)?;
    }
    if stale && !flags.any(Flags::ALLOW_STALE) {
        return Err(STALE.into());
    }
    if flags.any(Flags::NO_CLUSTER) && server.config.cluster_enabled {
        return Err(Error::err("Can not run script on cluster, 'no-cluster' flag is set."));
    }
    if writes && read_only && !obeys {
        return Err(Error::err("Can not execute a script with write flag using *_ro command."));
    }
    Ok(full)
}

const STALE: &str = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// Runs it; its result is on top of the stack then.
fn execute(
    ctx: &mut Ctx<'_>,
    program: &Program,
    stack: &mut Stack,
    keys: usize,
    started: Instant,
) -> std::result::Result<(), Failure> {
    const FIRST_KEY: usize = 3;
    let engine = &*program.engine;
    let args = ctx.args;
    engine.shared.proto.set(2);
    engine.shared.repl.set(REPL_ALL);
    let threshold = ctx.keys.server.config.busy_reply_threshold;
    let limit = (threshold > 0).then(|| started + Duration::from_millis(threshold));
    engine.shared.patience.set(limit);
    let scratch = std::mem::take(&mut ctx.keys.server.scripting.scratch);
    let mut caller = Caller { ctx, engine, scratch };
    let (keys, argv) = (args.from(FIRST_KEY).take(keys), args.from(FIRST_KEY + keys));
    let done = engine.run(stack, &program.function, &mut caller, keys, argv);
    engine.shared.patience.set(None);
    let Caller { ctx, mut scratch, .. } = caller;
    if scratch.out.capacity() > KEEP_REPLY {
        scratch.out = Vec::new();
    }
    ctx.keys.server.scripting.scratch = scratch;
    ctx.keys.server.effects.set_targets(Targets::ALL);
    done.ok_or_else(|| engine.shared.failure.take().unwrap_or_default())
}

/// Answers what the script returned: what is on top of the stack. One that answers an error has failed.
fn reply(ctx: &mut Ctx<'_>, engine: &Engine, stack: &mut Stack) -> Result {
    let start = ctx.reply.out.len();
    let proto = engine.shared.proto.get();
    let mut writer = Writer { reply: &mut ctx.reply, proto, errors: Vec::new() };
    let result = stack.top();
    writer.value(stack, result, 0);
    for text in writer.errors {
        ctx.keys.server.stats.count_error(Error::code_of(&text));
    }
    if ctx.reply.out.get(start) != Some(&b'-') {
        return Ok(());
    }
    let line = ctx.reply.out.split_off(start);
    Err(Error::Counted(String::from_utf8_lossy(error_text(&line)).into_owned()))
}

/// What `redis.call` is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Return the reply.
    Reply,
    /// Return the reply, an error that the statistics of errors do not have yet.
    Uncounted,
    /// Raise what [`Shared::raised`](super::engine::Shared::raised) has.
    Raise,
}

/// What `redis.call` and the other functions that reach the core work with.
pub struct Caller<'a, 'c> {
    ctx: &'a mut Ctx<'c>,
    engine: &'a Engine,
    scratch: Scratch,
}

impl Caller<'_, '_> {
    /// `redis.call(command, arg …)`, and `redis.pcall`, which does not raise errors but returns them. The arguments are all
    /// that is on the stack; what is to be returned is in [`Caller::reply`].
    pub fn call(&mut self, stack: &Stack, raises: bool) -> Answer {
        let mut scratch = std::mem::take(&mut self.scratch);
        let answer = self.command(stack, &mut scratch, raises);
        self.scratch = scratch;
        answer
    }

    /// What the last command replied.
    pub fn reply(&self) -> &[u8] {
        &self.scratch.out
    }

    /// `redis.acl_check_cmd(command, arg …)`
    pub fn permits(&mut self, args: Args<'_>) -> mlua::Result<bool> {
        let spec = table::find(args).map_err(|_| api::no_such_command())?;
        let (conn, server) = (self.ctx.conn, &*self.ctx.keys.server);
        Ok(server.permitted(conn, spec, args).is_ok())
    }

    /// The script has taken long: others are served once. The error ends it.
    pub fn serve_others(&mut self) -> mlua::Result<()> {
        match self.ctx.keys.server.serve_during_script(self.ctx.io, self.ctx.args) {
            Some(text) => Err(Raised::Killed(text).into()),
            None => Ok(()),
        }
    }

    fn command(&mut self, stack: &Stack, scratch: &mut Scratch, raises: bool) -> Answer {
        scratch.out.clear();
        let mut counted = true;
        if let Err(text) = api::command_args(stack, &mut scratch.args) {
            counted = false;
            write_error(&mut scratch.out, &format!("ERR {text}"));
        } else if let Err(e) = self.execute(scratch) {
            self.ctx.keys.server.stats.count_error(&e.code());
            if let Ok(spec) = table::called(scratch.args.as_args()) {
                self.ctx.keys.server.stats.count_rejected(spec.name);
            }
            write_error(&mut scratch.out, &e.text());
        }
        let failed = scratch.out.first() == Some(&b'-');
        if failed && raises {
            let text = String::from_utf8_lossy(error_text(&scratch.out)).into_owned();
            self.engine.shared.raised.replace(Some(Raised::Reply { text, counted }));
            return Answer::Raise;
        }
        if counted { Answer::Reply } else { Answer::Uncounted }
    }

    /// The checks before a script's command, in Redis' order, and the command.
    fn execute(&mut self, scratch: &mut Scratch) -> std::result::Result<(), Error> {
        let args = scratch.args.as_args();
        let spec = scratch.last.find(args).map_err(|e| match e {
            Error::Arity(_) => Error::err("Wrong number of args calling Redis command from script"),
            _ => Error::err("Unknown Redis command called from script"),
        })?;
        let (conn, origin) = (self.ctx.conn, self.ctx.keys.origin);
        let server = &mut *self.ctx.keys.server;
        let flags = spec.flags;
        if flags.any(CommandFlags::NOSCRIPT) && !server.debug.scripts_may_all {
            return Err(Error::err("This Redis command is not allowed from script"));
        }
        let own = origin == Origin::Client;
        if own {
            let stale = !server.config.replica_serve_stale_data && !server.repl.link_is_up();
            if stale && !flags.any(CommandFlags::STALE) {
                return Err(Error::err("Can not execute the command on a stale replica"));
            }
            server
                .check_permission(self.ctx.io, conn, true, spec, args)
                .map_err(crate::acl::Denied::error_in_script)?;
        }
        let writes = flags.any(CommandFlags::WRITE);
        let Some(running) = &server.scripting.running else { return Ok(()) };
        let (first_write, mut slot) = (!running.wrote, running.slot);
        // What such a script may do is not held up by a pause of writes.
        if running.read_only && flags.any(CommandFlags::WRITE | CommandFlags::MAY_REPLICATE) {
            return Err(Error::err("Write commands are not allowed from read-only scripts."));
        }
        let full = running.checks_memory && flags.any(CommandFlags::DENYOOM);
        let cross_slot = running.cross_slot;
        // Once something has been written, stopping would leave half of it.
        if own && first_write {
            if writes {
                server.refuse_write(self.ctx.io)?;
            }
            if full {
                return Err(OUT_OF_MEMORY.into());
            }
        }
        if own && server.config.cluster_enabled {
            server.redirect(conn, spec, args).map_err(|e| script_redirect(&e))?;
            let first_key =
                spec.key_indexes(&args).first().map(|&i| crate::store::slot::key_slot(args.at(i)));
            if let (Some(key_slot), false) = (first_key, cross_slot)
                && *slot.get_or_insert(key_slot) != key_slot
            {
                return Err(Error::err(CROSS_SLOT));
            }
        }
        if let Some(running) = &mut server.scripting.running {
            running.wrote |= writes;
            running.slot = slot;
        }
        let shared = &self.engine.shared;
        if let Some(client) = server.clients.get_mut(conn) {
            client.proto = shared.proto.get();
        }
        server.effects.set_targets(Targets(shared.repl.get()));
        server.stats.commands_processed += 1;
        server.call(self.ctx.io, conn, spec, args, origin, &mut scratch.out);
        if own {
            server.track_script(conn, spec, self.ctx.spec, self.ctx.args);
        }
        Ok(())
    }
}

const CROSS_SLOT: &str = "Script attempted to access keys that do not hash to the same slot";

/// What a script is told where a client would be sent elsewhere.
fn script_redirect(e: &Error) -> Error {
    Error::err(match e.code().as_str() {
        "CROSSSLOT" => CROSS_SLOT,
        "CLUSTERDOWN" => "Script attempted to execute a command while the cluster is down",
        _ => "Script attempted to access a non local key in a cluster node",
    })
}

fn write_error(out: &mut Vec<u8>, text: &str) {
    Reply { out, proto: 2 }.error(text);
}

/// The text of an error reply.
pub fn error_text(reply: &[u8]) -> &[u8] {
    reply.get(1..).unwrap_or_default().trim_ascii_end()
}

/// True if this is the connection whose script is running: it waits like everybody else.
pub fn is_of(running: &Option<Running>, conn: ConnId) -> bool {
    running.as_ref().is_some_and(|r| r.conn == conn)
}
