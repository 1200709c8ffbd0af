//! The table `redis`, but for what reaches the data: see [`super::run`].

use std::rc::Rc;

use mlua::{Error, Function, Lua, MultiValue, Result, String as LuaString, Table, Value};

use super::engine::{Kind, REPL_ALL, REPL_AOF, REPL_REPLICA, Shared};
use super::gate;
use super::raise::{Raised, number_with, to_i64, to_number};
use super::stack::{Item, Stack};
use crate::command::OwnedArgs;
use crate::config::REDIS_VERSION;
use crate::store::num::IntBuf;

/// Levels of `redis.log`.
const LEVELS: [(&str, i64); 4] =
    [("LOG_DEBUG", 0), ("LOG_VERBOSE", 1), ("LOG_NOTICE", 2), ("LOG_WARNING", 3)];

fn refuse(text: &str) -> Error {
    Raised::reply(format!("ERR {text}")).into()
}

/// The version as one number, a byte for each part.
fn version_number() -> i64 {
    REDIS_VERSION.split('.').fold(0, |sum, part| sum << 8 | part.parse::<i64>().unwrap_or(0))
}

fn add_common(lua: &Lua, t: &Table) -> Result<()> {
    for (name, level) in LEVELS {
        t.set(name, level)?;
    }
    t.set("REDIS_VERSION", REDIS_VERSION)?;
    t.set("REDIS_VERSION_NUM", version_number())?;
    t.set("log", lua.create_function(log)?)
}

/// What a library finds while it is loaded.
pub fn load_table(lua: &Lua, register: Function) -> Result<Table> {
    let t = lua.create_table()?;
    add_common(lua, &t)?;
    t.set("register_function", register)?;
    Ok(t)
}

/// What scripts and functions find.
pub fn table(lua: &Lua, kind: Kind, shared: &Rc<Shared>) -> Result<Table> {
    let t = lua.create_table()?;
    add_common(lua, &t)?;
    for (name, targets) in [
        ("REPL_NONE", 0),
        ("REPL_AOF", REPL_AOF),
        ("REPL_SLAVE", REPL_REPLICA),
        ("REPL_REPLICA", REPL_REPLICA),
        ("REPL_ALL", REPL_ALL),
    ] {
        t.set(name, targets)?;
    }
    t.set("call", gate::function(lua, shared, true)?)?;
    t.set("pcall", gate::function(lua, shared, false)?)?;
    t.set("sha1hex", lua.create_function(sha1hex)?)?;
    t.set("error_reply", lua.create_function(error_reply)?)?;
    t.set("status_reply", lua.create_function(|lua, args| single(lua, args, "ok"))?)?;
    let s = shared.clone();
    let acl_check_cmd = move |_: &Lua, args: MultiValue| {
        let args = checked_command(&args)?;
        s.gate.with(|caller| caller.permits(args.as_args())).unwrap_or(Ok(false))
    };
    t.set("acl_check_cmd", lua.create_function(acl_check_cmd)?)?;
    let s = shared.clone();
    let setresp = move |lua: &Lua, args: MultiValue| {
        if args.len() != 1 {
            return Err(refuse("redis.setresp() requires one argument."));
        }
        let version = to_number(lua, &args[0]).map(to_i64);
        match version {
            Some(v @ (2 | 3)) => s.proto.set(v as u8),
            _ => return Err(refuse("RESP version must be 2 or 3.")),
        }
        Ok(())
    };
    t.set("setresp", lua.create_function(setresp)?)?;
    let s = shared.clone();
    let set_repl = move |lua: &Lua, args: MultiValue| {
        if args.len() != 1 {
            return Err(refuse("redis.set_repl() requires two arguments."));
        }
        let targets = to_number(lua, &args[0]).map_or(0, to_i64);
        match u8::try_from(targets) {
            Ok(targets) if targets & !REPL_ALL == 0 => s.repl.set(targets),
            _ => {
                let text = "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
                return Err(refuse(text));
            }
        }
        Ok(())
    };
    t.set("set_repl", lua.create_function(set_repl)?)?;
    if kind == Kind::Eval {
        // Effects are what is always replicated; and nobody debugs.
        t.set("replicate_commands", lua.create_function(|_, ()| Ok(true))?)?;
        t.set("breakpoint", lua.create_function(|_, ()| Ok(false))?)?;
        t.set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    }
    Ok(t)
}

/// `redis.log(level, text …)`
fn log(lua: &Lua, args: MultiValue) -> Result<()> {
    if args.len() < 2 {
        return Err(refuse("redis.log() requires two arguments or more."));
    }
    let (Value::Integer(_) | Value::Number(_)) = &args[0] else {
        return Err(refuse("First argument must be a number (log level)."));
    };
    let level = to_number(lua, &args[0]).map_or(-1, to_i64);
    if !LEVELS.iter().any(|(_, known)| *known == level) {
        return Err(refuse("Invalid debug level."));
    }
    let mut words = Vec::new();
    for value in args.iter().skip(1) {
        if let Some(word) = lua.coerce_string(value.clone())? {
            words.push(word.to_string_lossy());
        }
    }
    let text = words.join(" ");
    match level {
        0 => tracing::trace!("{text}"),
        1 => tracing::debug!("{text}"),
        2 => tracing::info!("{text}"),
        _ => tracing::warn!("{text}"),
    }
    Ok(())
}

/// `redis.sha1hex(text)`
fn sha1hex(lua: &Lua, args: MultiValue) -> Result<String> {
    if args.len() != 1 {
        return Err(refuse("wrong number of arguments"));
    }
    // What is no string has no bytes.
    let text = lua.coerce_string(args[0].clone())?;
    let digest = match &text {
        Some(s) => sha1_smol::Sha1::from(&s.as_bytes()[..]),
        None => sha1_smol::Sha1::from(&b""[..]),
    };
    Ok(digest.digest().to_string())
}

/// A table with one field, the only argument; what is wrong is answered, not raised.
fn single(lua: &Lua, args: MultiValue, field: &str) -> Result<Table> {
    let t = lua.create_table()?;
    match (args.len(), args.front()) {
        (1, Some(Value::String(text))) => t.raw_set(field, text)?,
        _ => t.raw_set("err", "ERR wrong number or type of arguments")?,
    }
    Ok(t)
}

/// `redis.error_reply(text)`: the code is `ERR` where the text has none; a dash in front is not needed.
fn error_reply(lua: &Lua, args: MultiValue) -> Result<Table> {
    let (1, Some(Value::String(text))) = (args.len(), args.front()) else { return single(lua, args, "err") };
    let text = text.as_bytes();
    let bare = text.strip_prefix(b"-").unwrap_or(&text);
    let bare = bare.trim_ascii_end();
    let whole = match bare.contains(&b' ') {
        true => bare.to_vec(),
        false => [b"ERR ", bare].concat(),
    };
    let t = lua.create_table()?;
    t.raw_set("err", lua.create_string(whole)?)?;
    Ok(t)
}

const NO_ARGUMENTS: &str = "Please specify at least one argument for this redis lib call";
const WRONG_ARGUMENT: &str = "Lua redis lib command arguments must be strings or integers";

/// The arguments of `redis.call(command, arg …)`: all that is on the stack.
pub fn command_args(stack: &Stack, into: &mut OwnedArgs) -> std::result::Result<(), &'static str> {
    into.clear();
    if stack.top() == 0 {
        return Err(NO_ARGUMENTS);
    }
    for at in 1..=stack.top() {
        match stack.item(at) {
            Item::Text(text) => into.push(text),
            Item::Number(x) => push_number(x, into),
            _ => return Err(WRONG_ARGUMENT),
        }
    }
    Ok(())
}

fn push_number(x: f64, into: &mut OwnedArgs) {
    /// Below this an integer has all its digits, and no exponent.
    const EXACT: f64 = 1e15;
    let n = x as i64;
    if n as f64 == x && n != 0 && x.abs() < EXACT {
        into.push(IntBuf::new().format(n));
    } else {
        into.push(number_with(x, 17).as_bytes());
    }
}

/// The arguments of `redis.acl_check_cmd(command, arg …)`.
fn checked_command(args: &MultiValue) -> Result<OwnedArgs> {
    if args.is_empty() {
        return Err(refuse(NO_ARGUMENTS));
    }
    let mut owned = OwnedArgs::default();
    for value in args {
        match value {
            Value::String(text) => owned.push(&text.as_bytes()),
            Value::Integer(n) => push_number(*n as f64, &mut owned),
            Value::Number(x) => push_number(*x, &mut owned),
            _ => return Err(refuse(WRONG_ARGUMENT)),
        }
    }
    Ok(owned)
}

/// What `redis.acl_check_cmd` says of a command that is not there.
pub fn no_such_command() -> mlua::Error {
    refuse("Invalid command passed to redis.acl_check_cmd()")
}

/// A string argument that may be given as a number, too.
pub fn text_of(lua: &Lua, value: &Value) -> Option<LuaString> {
    match value {
        Value::String(_) | Value::Integer(_) | Value::Number(_) => {
            lua.coerce_string(value.clone()).ok().flatten()
        }
        _ => None,
    }
}
