//! Replies of commands as Lua values, and Lua values as replies
//! (<https://redis.io/docs/latest/develop/interact/programmability/lua-api/#data-type-conversion>).

use mlua::{Lua, Result, Table, Value};

use super::engine::Names;
use super::raise::to_i64;
use crate::resp::parse::parse_i64;
use crate::resp::writer::Reply;

/// Tables nested deeper are not answered.
const MAX_DEPTH: usize = 1000;

/// Reads a reply that the server itself has written, of either protocol version.
pub struct Reader<'a> {
    /// The interpreter.
    pub lua: &'a Lua,
    /// Names of fields.
    pub names: &'a Names,
    /// The reply.
    pub bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> &'a [u8] {
        let end = self.bytes.iter().position(|&b| b == b'\r').unwrap_or(self.bytes.len());
        let (line, rest) = self.bytes.split_at(end);
        self.bytes = rest.get(2..).unwrap_or_default();
        line
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (part, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest.get(2..).unwrap_or_default();
        part
    }

    /// The next so many values, if all of them are texts: most arrays are, and these are made at one go.
    fn texts(&mut self, len: usize) -> Option<Vec<&'a str>> {
        let mut ahead = Reader { lua: self.lua, names: self.names, bytes: self.bytes };
        let mut texts = Vec::with_capacity(len);
        for _ in 0..len {
            ahead.bytes = ahead.bytes.strip_prefix(b"$")?;
            let size = usize::try_from(parse_i64(ahead.line())?).ok()?;
            texts.push(std::str::from_utf8(ahead.take(size)).ok()?);
        }
        self.bytes = ahead.bytes;
        Some(texts)
    }

    /// The next value.
    pub fn value(&mut self) -> Result<Value> {
        let Some((&kind, rest)) = self.bytes.split_first() else { return Ok(Value::Nil) };
        self.bytes = rest;
        let head = self.line();
        let number = || parse_i64(head).unwrap_or(0);
        Ok(match kind {
            b':' => Value::Integer(number()),
            b'$' => match usize::try_from(number()) {
                Ok(len) => Value::String(self.lua.create_string(self.take(len))?),
                Err(_) => Value::Boolean(false),
            },
            b'*' => match usize::try_from(number()) {
                Ok(len) => {
                    if let Some(texts) = self.texts(len) {
                        return Ok(Value::Table(self.lua.create_sequence_from(texts)?));
                    }
                    let table = self.lua.create_table_with_capacity(len, 0)?;
                    for i in 1..=len {
                        table.raw_set(i, self.value()?)?;
                    }
                    Value::Table(table)
                }
                Err(_) => Value::Boolean(false),
            },
            b'+' => self.single(&self.names.ok, Value::String(self.lua.create_string(head)?))?,
            b'-' => {
                let table = self.lua.create_table()?;
                table.raw_set(&self.names.err, self.lua.create_string(head)?)?;
                table.raw_set(&self.names.counted, true)?;
                Value::Table(table)
            }
            b'#' => Value::Boolean(head == b"t"),
            b',' => {
                let x = std::str::from_utf8(head).ok().and_then(|s| s.parse().ok()).unwrap_or(f64::NAN);
                self.single(&self.names.double, Value::Number(x))?
            }
            b'(' => self.single(&self.names.big_number, Value::String(self.lua.create_string(head)?))?,
            b'=' => {
                let text = self.take(number() as usize);
                let (format, text) = text.split_at(text.len().min(4));
                let table = self.lua.create_table()?;
                table.raw_set("format", self.lua.create_string(&format[..format.len().min(3)])?)?;
                table.raw_set("string", self.lua.create_string(text)?)?;
                self.single(&self.names.verbatim, Value::Table(table))?
            }
            b'%' => {
                let table = self.lua.create_table()?;
                for _ in 0..number() {
                    let key = self.value()?;
                    let value = self.value()?;
                    table.raw_set(key, value)?;
                }
                self.single(&self.names.map, Value::Table(table))?
            }
            b'~' => {
                let table = self.lua.create_table()?;
                for _ in 0..number() {
                    table.raw_set(self.value()?, true)?;
                }
                self.single(&self.names.set, Value::Table(table))?
            }
            // An attribute stands before the reply that it says something about.
            b'|' => {
                for _ in 0..2 * number() {
                    self.value()?;
                }
                self.value()?
            }
            // A null, and what no command replies to a script.
            _ => Value::Nil,
        })
    }

    fn single(&self, name: &mlua::String, value: Value) -> Result<Value> {
        let table = self.lua.create_table()?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    }
}

/// Writes what a script has returned.
pub struct Writer<'a, 'b> {
    /// Names of fields.
    pub names: &'a Names,
    /// The client's reply.
    pub reply: &'a mut Reply<'b>,
    /// The version that the script has set.
    pub proto: u8,
    /// Errors that were returned and are not in the statistics yet.
    pub errors: Vec<String>,
}

impl Writer<'_, '_> {
    /// Writes a value.
    pub fn value(&mut self, value: &Value, depth: usize) -> Result<()> {
        match value {
            Value::String(s) => self.reply.bulk(&s.as_bytes()),
            Value::Integer(n) => self.reply.int(*n),
            Value::Number(x) => self.reply.int(to_i64(*x)),
            Value::Boolean(b) if self.proto >= 3 => self.reply.bool(*b),
            Value::Boolean(true) => self.reply.int(1),
            Value::Table(_) if depth >= MAX_DEPTH => {
                self.errors.push("ERR reached lua stack limit".into());
                self.reply.error("ERR reached lua stack limit");
            }
            Value::Table(t) => self.table(t, depth + 1)?,
            _ => self.reply.null(),
        }
        Ok(())
    }

    fn table(&mut self, t: &Table, depth: usize) -> Result<()> {
        let names = self.names;
        if let Value::String(text) = t.raw_get(&names.err)? {
            let text = text.to_string_lossy().replace(['\r', '\n'], " ");
            if !t.raw_get::<bool>(&names.counted)? {
                self.errors.push(text.clone());
            }
            self.reply.error(&text);
            return Ok(());
        }
        if let Value::String(text) = t.raw_get(&names.ok)? {
            self.line(b'+', &text.as_bytes());
            return Ok(());
        }
        match t.raw_get(&names.double)? {
            Value::Number(x) => return self.double(x),
            Value::Integer(n) => return self.double(n as f64),
            _ => {}
        }
        if let Value::Table(map) = t.raw_get(&names.map)? {
            self.reply.map(map.pairs::<Value, Value>().count());
            return map.for_each(|key: Value, value: Value| {
                self.value(&key, depth)?;
                self.value(&value, depth)
            });
        }
        if let Value::Table(set) = t.raw_get(&names.set)? {
            self.reply.set(set.pairs::<Value, Value>().count());
            return set.for_each(|key: Value, _: Value| self.value(&key, depth));
        }
        if let Value::String(digits) = t.raw_get(&names.big_number)? {
            match self.reply.resp3() {
                true => self.line(b'(', &digits.as_bytes()),
                false => self.reply.bulk(&one_line(&digits.as_bytes())),
            }
            return Ok(());
        }
        if let Value::Table(v) = t.raw_get(&names.verbatim)?
            && let (Value::String(format), Value::String(text)) = (v.raw_get("format")?, v.raw_get("string")?)
        {
            self.verbatim(&format.as_bytes(), &text.as_bytes());
            return Ok(());
        }
        // How many there are is known only at the end; most arrays have no holes.
        let len = t.raw_len();
        let start = self.reply.out.len();
        self.reply.array(len);
        for i in 1..=len {
            let value: Value = t.raw_get(i)?;
            if value.is_nil() {
                return self.array_up_to(t, i - 1, start, depth);
            }
            self.value(&value, depth)?;
        }
        Ok(())
    }

    /// Writes an array again that ends at a hole.
    fn array_up_to(&mut self, t: &Table, len: usize, start: usize, depth: usize) -> Result<()> {
        self.reply.out.truncate(start);
        self.reply.array(len);
        for i in 1..=len {
            self.value(&t.raw_get(i)?, depth)?;
        }
        Ok(())
    }

    fn double(&mut self, x: f64) -> Result<()> {
        self.reply.double(x);
        Ok(())
    }

    /// A line of its own kind; what would end it early is replaced.
    fn line(&mut self, kind: u8, text: &[u8]) {
        self.reply.out.push(kind);
        self.reply.out.extend(one_line(text));
        self.reply.out.extend_from_slice(b"\r\n");
    }

    fn verbatim(&mut self, format: &[u8], text: &[u8]) {
        if !self.reply.resp3() {
            return self.reply.bulk(text);
        }
        // The format has three letters, whatever was given.
        let mut letters = [b' '; 3];
        let n = format.len().min(3);
        letters[..n].copy_from_slice(&format[..n]);
        self.reply.out.extend_from_slice(format!("={}\r\n", text.len() + 4).as_bytes());
        self.reply.out.extend_from_slice(&letters);
        self.reply.out.push(b':');
        self.reply.out.extend_from_slice(text);
        self.reply.out.extend_from_slice(b"\r\n");
    }
}

/// A text with blanks in the place of what would end a line.
fn one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }).collect()
}
