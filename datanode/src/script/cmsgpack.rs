//! The library `cmsgpack`: MessagePack (<https://github.com/msgpack/msgpack/blob/master/spec.md>, without its types
//! `bin` and `ext`), as far and in the forms in which Redis' library has it.

use mlua::{Lua, MultiValue, Result, String as LuaString, Table, Value};

use super::raise::{Call, located, to_i64};

/// Tables nested deeper are packed as nil.
const MAX_PACK_DEPTH: usize = 16;
/// Deepest nesting that is unpacked.
const MAX_UNPACK_DEPTH: usize = 1000;

/// Makes the library's table.
pub fn table(lua: &Lua) -> Result<Table> {
    let t = lua.create_table()?;
    t.set("_NAME", "cmsgpack")?;
    t.set("_VERSION", "lua-cmsgpack 0.4.0")?;
    t.set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    t.set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    t.set("pack", lua.create_function(pack)?)?;
    t.set("unpack", lua.create_function(unpack)?)?;
    t.set("unpack_one", lua.create_function(unpack_one)?)?;
    t.set("unpack_limit", lua.create_function(unpack_limit)?)?;
    Ok(t)
}

/// `cmsgpack.pack(value …)`: one behind the other.
fn pack(lua: &Lua, args: MultiValue) -> Result<LuaString> {
    if args.is_empty() {
        return Err(located(lua, "bad argument #0 to 'pack' (MessagePack pack needs input.)"));
    }
    let mut out = Vec::new();
    for value in &args {
        append(&mut out, value, 0)?;
    }
    lua.create_string(out)
}

fn append(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<()> {
    match value {
        Value::Boolean(b) => out.push(if *b { 0xc3 } else { 0xc2 }),
        Value::Integer(n) => append_integer(out, *n),
        Value::Number(x) => append_number(out, *x),
        Value::String(s) => {
            let bytes = s.as_bytes();
            match bytes.len() {
                n @ 0..32 => out.push(0xa0 | n as u8),
                n @ 32..=0xff => out.extend_from_slice(&[0xd9, n as u8]),
                n => append_len(out, n, [0xda, 0xdb]),
            }
            out.extend_from_slice(&bytes);
        }
        Value::Table(_) if depth == MAX_PACK_DEPTH => out.push(0xc0),
        Value::Table(t) => append_table(out, t, depth + 1)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

/// A length of 16 or 32 bits with the mark that says which.
fn append_len(out: &mut Vec<u8>, n: usize, marks: [u8; 2]) {
    match u16::try_from(n) {
        Ok(n) => {
            out.push(marks[0]);
            out.extend_from_slice(&n.to_be_bytes());
        }
        Err(_) => {
            out.push(marks[1]);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
    }
}

fn append_number(out: &mut Vec<u8>, x: f64) {
    if to_i64(x) as f64 == x {
        append_integer(out, to_i64(x));
    } else if f64::from(x as f32) == x {
        out.push(0xca);
        out.extend_from_slice(&(x as f32).to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&x.to_be_bytes());
    }
}

fn append_integer(out: &mut Vec<u8>, n: i64) {
    match n {
        -32..=127 => out.push(n as u8),
        128..=0xff => out.extend_from_slice(&[0xcc, n as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend_from_slice(&n.to_be_bytes());
        }
        -128..-32 => out.extend_from_slice(&[0xd0, n as u8]),
        -0x8000..-128 => {
            out.push(0xd1);
            out.extend_from_slice(&(n as i16).to_be_bytes());
        }
        -0x8000_0000..-0x8000 => {
            out.push(0xd2);
            out.extend_from_slice(&(n as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&n.to_be_bytes());
        }
    }
}

/// An array if the keys are 1 to n, else a map.
fn append_table(out: &mut Vec<u8>, table: &Table, depth: usize) -> Result<()> {
    let (mut keys, mut largest, mut array) = (0usize, 0i64, true);
    table.for_each(|key: Value, _: Value| {
        keys += 1;
        match key {
            Value::Integer(n) if n > 0 => largest = largest.max(n),
            _ => array = false,
        }
        Ok(())
    })?;
    if array && largest as usize == keys {
        match keys {
            0..16 => out.push(0x90 | keys as u8),
            n => append_len(out, n, [0xdc, 0xdd]),
        }
        for i in 1..=keys {
            append(out, &table.raw_get(i)?, depth)?;
        }
        return Ok(());
    }
    match keys {
        0..16 => out.push(0x80 | keys as u8),
        n => append_len(out, n, [0xde, 0xdf]),
    }
    table.for_each(|key: Value, value: Value| {
        append(out, &key, depth)?;
        append(out, &value, depth)
    })
}

/// `cmsgpack.unpack(data)`: all of it.
fn unpack(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let call = Call::new(lua, "unpack", args);
    unpack_some(lua, &call.string(0)?, 0, 0)
}

/// `cmsgpack.unpack_one(data [, offset])`
fn unpack_one(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let call = Call::new(lua, "unpack_one", args);
    let offset = call.integer_or(1, 0)?;
    unpack_some(lua, &call.string(0)?, 1, offset)
}

/// `cmsgpack.unpack_limit(data, limit [, offset])`
fn unpack_limit(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let call = Call::new(lua, "unpack_limit", args);
    let (limit, offset) = (to_i64(call.number(1)?), call.integer_or(2, 0)?);
    unpack_some(lua, &call.string(0)?, limit, offset)
}

/// Unpacks values from an offset on. Unless everything is asked for (no limit, from the start), the offset behind comes
/// first, -1 at the end.
fn unpack_some(lua: &Lua, data: &LuaString, limit: i64, offset: i64) -> Result<MultiValue> {
    let data = data.as_bytes();
    let all = limit == 0 && offset == 0;
    if offset < 0 || limit < 0 {
        let len = data.len();
        return Err(located(
            lua,
            format_args!("Invalid request to unpack with offset of {offset} and limit of {len}."),
        ));
    }
    if offset as u64 > data.len() as u64 {
        let len = data.len();
        return Err(located(lua, format_args!("Start offset {offset} greater than input length {len}.")));
    }
    let mut input = Unpacker { lua, data: &data, at: offset as usize };
    let mut values = Vec::new();
    while input.at < data.len() && (all || (values.len() as i64) < limit) {
        values.push(input.value(0)?);
    }
    if !all {
        let behind = if input.at == data.len() { -1 } else { input.at as i64 };
        values.insert(0, Value::Integer(behind));
    }
    Ok(MultiValue::from_vec(values))
}

struct Unpacker<'a> {
    lua: &'a Lua,
    data: &'a [u8],
    at: usize,
}

impl Unpacker<'_> {
    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.data.len());
        let Some(end) = end else { return Err(located(self.lua, "Missing bytes in input.")) };
        let part = &self.data[self.at..end];
        self.at = end;
        Ok(part)
    }

    /// A big-endian number of `n` bytes.
    fn number(&mut self, n: usize) -> Result<u64> {
        Ok(self.take(n)?.iter().fold(0, |sum, &b| sum << 8 | u64::from(b)))
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > MAX_UNPACK_DEPTH {
            return Err(located(self.lua, "stack overflow (in function mp_decode_to_lua_type)"));
        }
        let mark = self.number(1)? as u8;
        Ok(match mark {
            0x00..=0x7f | 0xe0..=0xff => Value::Integer(i64::from(mark as i8)),
            0x80..=0x8f => self.map(usize::from(mark & 15), depth)?,
            0x90..=0x9f => self.array(usize::from(mark & 15), depth)?,
            0xa0..=0xbf => self.string(usize::from(mark & 31))?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f64::from(f32::from_bits(self.number(4)? as u32))),
            0xcb => Value::Number(f64::from_bits(self.number(8)?)),
            0xcc..=0xcf => Value::Integer(self.number(1 << (mark - 0xcc))? as i64),
            0xd0 => Value::Integer(i64::from(self.number(1)? as i8)),
            0xd1 => Value::Integer(i64::from(self.number(2)? as i16)),
            0xd2 => Value::Integer(i64::from(self.number(4)? as i32)),
            0xd3 => Value::Integer(self.number(8)? as i64),
            0xd9..=0xdb => {
                let len = self.number(1 << (mark - 0xd9))? as usize;
                self.string(len)?
            }
            0xdc | 0xdd => {
                let len = self.number(2 << (mark - 0xdc))? as usize;
                self.array(len, depth)?
            }
            0xde | 0xdf => {
                let len = self.number(2 << (mark - 0xde))? as usize;
                self.map(len, depth)?
            }
            _ => return Err(located(self.lua, "Bad data format in input.")),
        })
    }

    fn string(&mut self, len: usize) -> Result<Value> {
        let lua = self.lua;
        Ok(Value::String(lua.create_string(self.take(len)?)?))
    }

    fn array(&mut self, len: usize, depth: usize) -> Result<Value> {
        let table = self.lua.create_table()?;
        for i in 1..=len {
            table.raw_set(i, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, depth: usize) -> Result<Value> {
        let table = self.lua.create_table()?;
        for _ in 0..len {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            match key {
                Value::Nil => return Err(located(self.lua, "table index is nil")),
                Value::Number(x) if x.is_nan() => return Err(located(self.lua, "table index is NaN")),
                key => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }
}
