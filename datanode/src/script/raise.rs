//! Errors that functions of ours raise in a script, and the arguments those functions take. Lua sees such an error as an
//! opaque value; whatever catches errors (`pcall`, `xpcall`, `coroutine.resume`, the end of the script) turns it into what
//! a script of Redis finds there.

use mlua::{Error, FromLuaMulti, Lua, MultiValue, String as LuaString, Value, Variadic};

use crate::store::num::format_general;

/// An error on its way through a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raised {
    /// A table whose `err` is this text, code first; `counted`: the statistics of errors have it already.
    Reply {
        /// The text.
        text: String,
        /// It is in the statistics.
        counted: bool,
    },
    /// A string.
    Text(Vec<u8>),
    /// The script was killed: nothing catches this.
    Killed(&'static str),
}

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Raised::Reply { text, .. } => f.write_str(text),
            Raised::Text(text) => f.write_str(&String::from_utf8_lossy(text)),
            Raised::Killed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Raised {}

impl Raised {
    /// A table with a text that has its code in front, not counted yet.
    pub fn reply(text: impl Into<String>) -> Raised {
        Raised::Reply { text: text.into(), counted: false }
    }

    /// What was raised, if it was by one of our functions; anything else is the interpreter's own (out of memory).
    pub fn of(error: &Error) -> Raised {
        match error {
            Error::CallbackError { cause, .. } => Raised::of(cause),
            other => match other.downcast_ref::<Raised>() {
                Some(raised) => raised.clone(),
                None => Raised::Text(other.to_string().into_bytes()),
            },
        }
    }
}

impl From<Raised> for Error {
    fn from(raised: Raised) -> Error {
        Error::external(raised)
    }
}

/// Where the function at `level` of the stack is: `chunk:line: `, nothing for a function that is not Lua's.
pub fn place(lua: &Lua, level: usize) -> String {
    lua.inspect_stack(level, |d| match (d.source().short_src, d.current_line()) {
        (Some(source), Some(line)) if line > 0 => format!("{source}:{line}: "),
        _ => String::new(),
    })
    .unwrap_or_default()
}

/// A string error that names the place of the caller, as `luaL_error` makes them.
pub fn located(lua: &Lua, text: impl std::fmt::Display) -> Error {
    Raised::Text(format!("{}{text}", place(lua, 1)).into_bytes()).into()
}

/// A number as Lua writes it.
pub fn number_text(x: f64) -> String {
    number_with(x, 14)
}

/// A number with so many significant digits.
pub fn number_with(x: f64, digits: i32) -> String {
    if x.is_nan() {
        return if x.is_sign_negative() { "-nan".into() } else { "nan".into() };
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf".into() } else { "-inf".into() };
    }
    format_general(x, digits)
}

/// A value as a number, strings that are numerals included.
pub fn to_number(lua: &Lua, value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Number(n) => Some(*n),
        Value::String(_) => lua.coerce_number(value.clone()).ok().flatten(),
        _ => None,
    }
}

/// As C converts a double to a signed integer of 64 bits on the machines that Redis runs on.
pub fn to_i64(x: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&x) { x as i64 } else { i64::MIN }
}

/// The arguments of one call of a library's function.
pub struct Call<'a> {
    /// The interpreter.
    pub lua: &'a Lua,
    name: &'static str,
    args: Vec<Value>,
}

impl<'a> Call<'a> {
    /// The arguments of the function of this name.
    pub fn new(lua: &'a Lua, name: &'static str, args: MultiValue) -> Call<'a> {
        let args: Variadic<Value> = Variadic::from_lua_multi(args, lua).unwrap_or_default();
        Call { lua, name, args: args.into() }
    }

    /// Number of arguments.
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// Argument `i`, counted from 0; nil where there is none.
    pub fn get(&self, i: usize) -> &Value {
        self.args.get(i).unwrap_or(&Value::Nil)
    }

    /// True if there is no argument `i`, or it is nil.
    pub fn lacks(&self, i: usize) -> bool {
        self.get(i).is_nil()
    }

    /// An error that blames argument `i`.
    pub fn bad(&self, i: usize, why: impl std::fmt::Display) -> Error {
        located(self.lua, format_args!("bad argument #{} to '{}' ({why})", i + 1, self.name))
    }

    fn expected(&self, i: usize, what: &str) -> Error {
        let got = self.args.get(i).map_or("no value", type_name);
        self.bad(i, format_args!("{what} expected, got {got}"))
    }

    /// Argument `i` as a string; a number is written out.
    pub fn string(&self, i: usize) -> mlua::Result<LuaString> {
        match self.args.get(i) {
            Some(Value::String(s)) => Ok(s.clone()),
            Some(Value::Integer(n)) => self.lua.create_string(number_text(*n as f64)),
            Some(Value::Number(n)) => self.lua.create_string(number_text(*n)),
            _ => Err(self.expected(i, "string")),
        }
    }

    /// Argument `i` as a number.
    pub fn number(&self, i: usize) -> mlua::Result<f64> {
        self.args.get(i).and_then(|v| to_number(self.lua, v)).ok_or_else(|| self.expected(i, "number"))
    }

    /// Argument `i` as an integer, `default` where there is none.
    pub fn integer_or(&self, i: usize, default: i64) -> mlua::Result<i64> {
        if self.lacks(i) { Ok(default) } else { self.number(i).map(to_i64) }
    }
}

/// The name that Lua has for a value's type.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}
