//! The library `cjson` (<https://www.kyne.au/~mark/software/lua-cjson-manual.html>): what it makes of a table, and the
//! texts of its errors, are those of version 2.1, which Redis has. Reading is in [`super::cjson_decode`].

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Result, String as LuaString, Table, Value};

use super::cjson_decode::decode;
use super::raise::{Call, located, number_with, type_name};

/// Whatever depth is configured, nesting ends here: it is the native stack that it costs.
pub(super) const MAX_NESTING: u32 = 1000;
/// Most significant digits.
const MAX_PRECISION: i64 = 14;

/// What to do with numbers that JSON does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Refuse,
    Write,
    Null,
}

/// Settings of one instance of the library.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    sparse_convert: bool,
    sparse_ratio: i64,
    sparse_safe: i64,
    encode_max_depth: i64,
    /// Deepest nesting read.
    pub(super) decode_max_depth: i64,
    precision: i64,
    keep_buffer: bool,
    encode_invalid: Invalid,
    /// Hexadecimal numbers, infinity and the like are read.
    pub(super) decode_invalid: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_max_depth: 1000,
            decode_max_depth: 1000,
            precision: MAX_PRECISION,
            keep_buffer: true,
            encode_invalid: Invalid::Refuse,
            decode_invalid: true,
        }
    }
}

/// Copied for each use: an error of Lua's may leave a function without its cleaning up, and what was borrowed would stay so.
type Shared = Rc<Cell<Settings>>;

fn change<R>(shared: &Shared, act: impl FnOnce(&mut Settings) -> R) -> R {
    let mut settings = shared.get();
    let result = act(&mut settings);
    shared.set(settings);
    result
}

/// Makes the library's table, with settings of its own.
pub fn table(lua: &Lua) -> Result<Table> {
    let t = lua.create_table()?;
    let shared = Shared::default();
    t.set("_NAME", "cjson")?;
    t.set("_VERSION", "2.1.0")?;
    t.set("null", Value::NULL)?;
    t.set("new", lua.create_function(|lua, ()| table(lua))?)?;
    let s = shared.clone();
    let encode = move |lua: &Lua, args: MultiValue| {
        let call = Call::new(lua, "encode", args);
        if call.len() != 1 {
            return Err(call.bad(0, "expected 1 argument"));
        }
        let mut encoder = Encoder { lua, settings: &s.get(), out: Vec::new() };
        encoder.value(call.get(0), 0)?;
        lua.create_string(encoder.out)
    };
    t.set("encode", lua.create_function(encode)?)?;
    let s = shared.clone();
    let decode = move |lua: &Lua, args: MultiValue| {
        let call = Call::new(lua, "decode", args);
        if call.len() != 1 {
            return Err(call.bad(0, "expected 1 argument"));
        }
        let text: LuaString = call.string(0)?;
        decode(lua, &s.get(), &text.as_bytes())
    };
    t.set("decode", lua.create_function(decode)?)?;
    settings(lua, &t, &shared)?;
    Ok(t)
}

/// The functions that change settings, and answer what they are.
fn settings(lua: &Lua, t: &Table, shared: &Shared) -> Result<()> {
    let number = |name: &'static str, most: i64, field: fn(&mut Settings) -> &mut i64| {
        let s = shared.clone();
        let run = move |lua: &Lua, args: MultiValue| {
            let call = limited(lua, name, args, 1)?;
            change(&s, |s| integer(&call, 0, field(s), 1, most))
        };
        t.set(name, lua.create_function(run)?)
    };
    number("encode_max_depth", i64::from(i32::MAX), |s| &mut s.encode_max_depth)?;
    number("decode_max_depth", i64::from(i32::MAX), |s| &mut s.decode_max_depth)?;
    number("encode_number_precision", MAX_PRECISION, |s| &mut s.precision)?;
    let switch = |name: &'static str, field: fn(&mut Settings) -> &mut bool| {
        let s = shared.clone();
        let run = move |lua: &Lua, args: MultiValue| {
            let call = limited(lua, name, args, 1)?;
            change(&s, |s| boolean(&call, field(s)))
        };
        t.set(name, lua.create_function(run)?)
    };
    switch("encode_keep_buffer", |s| &mut s.keep_buffer)?;
    switch("decode_invalid_numbers", |s| &mut s.decode_invalid)?;
    let s = shared.clone();
    let invalid = move |lua: &Lua, args: MultiValue| {
        let call = limited(lua, "encode_invalid_numbers", args, 1)?;
        if let Some(choice) = option(&call, &["off", "on", "null"])? {
            change(&s, |s| s.encode_invalid = [Invalid::Refuse, Invalid::Write, Invalid::Null][choice]);
        }
        match s.get().encode_invalid {
            Invalid::Refuse => Ok(Value::Boolean(false)),
            Invalid::Write => Ok(Value::Boolean(true)),
            Invalid::Null => Ok(Value::String(lua.create_string("null")?)),
        }
    };
    t.set("encode_invalid_numbers", lua.create_function(invalid)?)?;
    let s = shared.clone();
    let sparse = move |lua: &Lua, args: MultiValue| {
        let call = limited(lua, "encode_sparse_array", args, 3)?;
        change(&s, |s| {
            boolean(&call, &mut s.sparse_convert)?;
            integer(&call, 1, &mut s.sparse_ratio, 0, i64::from(i32::MAX))?;
            integer(&call, 2, &mut s.sparse_safe, 0, i64::from(i32::MAX))?;
            Ok((s.sparse_convert, s.sparse_ratio, s.sparse_safe))
        })
    };
    t.set("encode_sparse_array", lua.create_function(sparse)?)
}

fn limited<'a>(lua: &'a Lua, name: &'static str, args: MultiValue, most: usize) -> Result<Call<'a>> {
    let call = Call::new(lua, name, args);
    if call.len() > most { Err(call.bad(most, "found too many arguments")) } else { Ok(call) }
}

fn integer(call: &Call<'_>, i: usize, setting: &mut i64, least: i64, most: i64) -> Result<i64> {
    let n = call.integer_or(i, *setting)?;
    if !(least..=most).contains(&n) {
        // Redis' library blames the first argument whichever it was.
        return Err(call.bad(0, format_args!("expected integer between {least} and {most}")));
    }
    *setting = n;
    Ok(n)
}

/// Which of the choices the first argument names; a boolean is `off` or `on`.
fn option(call: &Call<'_>, choices: &[&str]) -> Result<Option<usize>> {
    match call.get(0) {
        Value::Nil => Ok(None),
        Value::Boolean(b) => Ok(Some(usize::from(*b))),
        _ => {
            let word = call.string(0)?;
            let choice = choices.iter().position(|c| word.as_bytes() == c.as_bytes());
            let unknown = || call.bad(0, format_args!("invalid option '{}'", word.to_string_lossy()));
            choice.map(Some).ok_or_else(unknown)
        }
    }
}

fn boolean(call: &Call<'_>, setting: &mut bool) -> Result<bool> {
    if let Some(choice) = option(call, &["off", "on"])? {
        *setting = choice == 1;
    }
    Ok(*setting)
}

struct Encoder<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    out: Vec<u8>,
}

impl Encoder<'_> {
    fn refuse(&self, value: &Value, why: &str) -> mlua::Error {
        located(self.lua, format_args!("Cannot serialise {}: {why}", type_name(value)))
    }

    fn value(&mut self, value: &Value, depth: u32) -> Result<()> {
        match value {
            Value::Nil => self.out.extend_from_slice(b"null"),
            v if v.is_null() => self.out.extend_from_slice(b"null"),
            Value::Boolean(b) => self.out.extend_from_slice(if *b { b"true" } else { b"false" }),
            Value::Integer(n) => self.number(*n as f64)?,
            Value::Number(x) => self.number(*x)?,
            Value::String(s) => self.string(&s.as_bytes()),
            Value::Table(t) => self.table(t, depth + 1)?,
            other => return Err(self.refuse(other, "type not supported")),
        }
        Ok(())
    }

    fn number(&mut self, x: f64) -> Result<()> {
        if !x.is_finite() {
            match self.settings.encode_invalid {
                Invalid::Refuse => return Err(self.refuse(&Value::Number(x), "must not be NaN or Inf")),
                Invalid::Null => self.out.extend_from_slice(b"null"),
                Invalid::Write if x.is_nan() => self.out.extend_from_slice(b"nan"),
                Invalid::Write => self.out.extend_from_slice(if x > 0.0 { b"inf" } else { b"-inf" }),
            }
            return Ok(());
        }
        self.out.extend_from_slice(number_with(x, self.settings.precision as i32).as_bytes());
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        for &b in bytes {
            let short = match b {
                b'"' | b'\\' | b'/' => b,
                8 => b'b',
                9 => b't',
                10 => b'n',
                12 => b'f',
                13 => b'r',
                0..0x20 | 0x7f => {
                    self.out.extend_from_slice(format!("\\u{b:04x}").as_bytes());
                    continue;
                }
                _ => {
                    self.out.push(b);
                    continue;
                }
            };
            self.out.extend_from_slice(&[b'\\', short]);
        }
        self.out.push(b'"');
    }

    fn table(&mut self, table: &Table, depth: u32) -> Result<()> {
        if i64::from(depth) > self.settings.encode_max_depth || depth > MAX_NESTING {
            let text = format!("Cannot serialise, excessive nesting ({depth})");
            return Err(located(self.lua, text));
        }
        if let Some(len) = self.array_len(table)? {
            self.out.push(b'[');
            for i in 1..=len {
                if i > 1 {
                    self.out.push(b',');
                }
                self.value(&table.raw_get(i)?, depth)?;
            }
            self.out.push(b']');
            return Ok(());
        }
        self.out.push(b'{');
        let mut first = true;
        table.for_each(|key: Value, value: Value| {
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            match &key {
                Value::String(s) => self.string(&s.as_bytes()),
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.value(&key, depth)?;
                    self.out.push(b'"');
                }
                other => return Err(self.refuse(other, "table key must be a number or string")),
            }
            self.out.push(b':');
            self.value(&value, depth)
        })?;
        self.out.push(b'}');
        Ok(())
    }

    /// The length of a table that is an array: all its keys are positive integers, and enough of them are there.
    fn array_len(&self, table: &Table) -> Result<Option<i64>> {
        let first: Value = table.raw_get(1)?;
        let (mut largest, mut keys, mut array) = (0i64, 0i64, true);
        if first.is_nil() && table.is_empty() {
            return Ok(None);
        }
        for pair in table.pairs::<Value, Value>() {
            match pair?.0 {
                Value::Integer(n) if n > 0 => {
                    largest = largest.max(n);
                    keys += 1;
                }
                _ => {
                    array = false;
                    break;
                }
            }
        }
        if !array {
            return Ok(None);
        }
        let s = self.settings;
        if s.sparse_ratio > 0 && largest > keys.saturating_mul(s.sparse_ratio) && largest > s.sparse_safe {
            if !s.sparse_convert {
                return Err(self.refuse(&Value::Table(table.clone()), "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok(Some(largest))
    }
}
