//! The library `struct`: values to and from packed bytes (<http://www.inf.puc-rio.br/~roberto/struct/>).

use mlua::{Lua, MultiValue, Result, String as LuaString, Table, Value};

use super::raise::{Call, located, to_i64, type_name};

/// Widest integer, bytes.
const MAX_INTEGER: usize = 32;
/// Alignment that `!` alone asks for.
const NATIVE_ALIGNMENT: usize = 8;

/// Makes the library's table.
pub fn table(lua: &Lua) -> Result<Table> {
    let t = lua.create_table()?;
    t.set("pack", lua.create_function(pack)?)?;
    t.set("unpack", lua.create_function(unpack)?)?;
    t.set("size", lua.create_function(size)?)?;
    Ok(t)
}

/// One item of a format.
#[derive(Clone, Copy, PartialEq)]
enum Item {
    Signed(usize),
    Unsigned(usize),
    Float,
    Double,
    /// `cN`; 0: as long as the value, or as the number before says.
    Chars(usize),
    /// `s`: ends with a zero.
    Zeroed,
    Padding,
    /// Something that only changes how others are read, or takes no room.
    Nothing,
}

impl Item {
    fn len(self) -> usize {
        match self {
            Item::Signed(n) | Item::Unsigned(n) | Item::Chars(n) => n,
            Item::Float => 4,
            Item::Double => 8,
            Item::Padding => 1,
            Item::Zeroed | Item::Nothing => 0,
        }
    }
}

/// Reads a format from left to right.
struct Format<'a> {
    call: &'a Call<'a>,
    rest: &'a [u8],
    little: bool,
    alignment: usize,
}

impl<'a> Format<'a> {
    fn new(call: &'a Call<'a>, text: &'a [u8]) -> Self {
        Format { call, rest: text, little: cfg!(target_endian = "little"), alignment: 1 }
    }

    fn number(&mut self) -> Result<Option<usize>> {
        let mut n: Option<i64> = None;
        while let Some((&digit, rest)) = self.rest.split_first()
            && digit.is_ascii_digit()
        {
            let digit = i64::from(digit - b'0');
            let before = n.unwrap_or(0);
            if before > i64::from(i32::MAX) / 10 || before * 10 > i64::from(i32::MAX) - digit {
                return Err(located(self.call.lua, "integral size overflow"));
            }
            n = Some(before * 10 + digit);
            self.rest = rest;
        }
        Ok(n.map(|n| n as usize))
    }

    fn integer(&mut self, default: usize) -> Result<usize> {
        let n = self.number()?.unwrap_or(default);
        if n > MAX_INTEGER {
            let why = format!("integral size {n} is larger than limit of {MAX_INTEGER}");
            return Err(located(self.call.lua, why));
        }
        Ok(n)
    }

    /// The next item with its letter; `None` at the end.
    fn next(&mut self) -> Result<Option<(u8, Item)>> {
        let Some((&letter, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let item = match letter {
            b'b' => Item::Signed(1),
            b'B' => Item::Unsigned(1),
            b'h' => Item::Signed(2),
            b'H' => Item::Unsigned(2),
            b'l' => Item::Signed(8),
            b'L' | b'T' => Item::Unsigned(8),
            b'i' => Item::Signed(self.integer(4)?),
            b'I' => Item::Unsigned(self.integer(4)?),
            b'f' => Item::Float,
            b'd' => Item::Double,
            b'x' => Item::Padding,
            b'c' => Item::Chars(self.number()?.unwrap_or(1)),
            b's' => Item::Zeroed,
            _ => Item::Nothing,
        };
        Ok(Some((letter, item)))
    }

    /// Bytes of padding in front of an item at offset `at`.
    fn padding(&self, item: Item, at: usize) -> usize {
        let align = match item {
            Item::Signed(_) | Item::Unsigned(_) | Item::Float | Item::Double => {
                item.len().min(self.alignment)
            }
            _ => 1,
        };
        if align <= 1 { 0 } else { (align - (at & (align - 1))) & (align - 1) }
    }

    /// Takes a letter that only changes how others are read.
    fn control(&mut self, letter: u8) -> Result<()> {
        match letter {
            b' ' => {}
            b'>' => self.little = false,
            b'<' => self.little = true,
            b'!' => {
                let n = self.number()?.unwrap_or(NATIVE_ALIGNMENT);
                if n == 0 || !n.is_power_of_two() {
                    return Err(located(self.call.lua, format_args!("alignment {n} is not a power of 2")));
                }
                self.alignment = n;
            }
            other => {
                return Err(self.call.bad(0, format_args!("invalid format option '{}'", char::from(other))));
            }
        }
        Ok(())
    }

    fn ordered(&self, bytes: &mut [u8]) {
        if !self.little {
            bytes.reverse();
        }
    }
}

/// `struct.pack(format, value …)`
fn pack(lua: &Lua, args: MultiValue) -> Result<LuaString> {
    let call = Call::new(lua, "pack", args);
    let text = call.string(0)?;
    let text = text.as_bytes();
    let mut format = Format::new(&call, &text);
    let mut out: Vec<u8> = Vec::new();
    let mut arg = 1;
    let number = |arg: usize| match call.get(arg) {
        // What is missing was pushed as nil.
        v if call.len() <= arg => Err(call.bad(arg, format_args!("number expected, got {}", type_name(v)))),
        _ => call.number(arg),
    };
    while let Some((letter, item)) = format.next()? {
        out.resize(out.len() + format.padding(item, out.len()), 0);
        match item {
            Item::Signed(n) | Item::Unsigned(n) => {
                let x = number(arg)?;
                // Beyond the range of signed integers lies the upper half of the unsigned ones.
                let value = if x < 0.0 { to_i64(x) as u64 } else { x as u64 };
                let mut bytes = [0; MAX_INTEGER];
                let kept = n.min(8);
                bytes[..kept].copy_from_slice(&value.to_le_bytes()[..kept]);
                format.ordered(&mut bytes[..n]);
                out.extend_from_slice(&bytes[..n]);
                arg += 1;
            }
            Item::Float => {
                let mut bytes = (number(arg)? as f32).to_le_bytes();
                format.ordered(&mut bytes);
                out.extend_from_slice(&bytes);
                arg += 1;
            }
            Item::Double => {
                let mut bytes = number(arg)?.to_le_bytes();
                format.ordered(&mut bytes);
                out.extend_from_slice(&bytes);
                arg += 1;
            }
            Item::Chars(_) | Item::Zeroed => {
                let s = call.string(arg)?;
                let s = s.as_bytes();
                arg += 1;
                let n = if let Item::Chars(n) = item
                    && n > 0
                {
                    n
                } else {
                    s.len()
                };
                if s.len() < n {
                    return Err(call.bad(arg, "string too short"));
                }
                out.extend_from_slice(&s[..n]);
                if item == Item::Zeroed {
                    out.push(0);
                }
            }
            Item::Padding => out.push(0),
            Item::Nothing => format.control(letter)?,
        }
    }
    lua.create_string(out)
}

/// `struct.unpack(format, data [, position])`
fn unpack(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let call = Call::new(lua, "unpack", args);
    let (text, data) = (call.string(0)?, call.string(1)?);
    let (text, data) = (text.as_bytes(), data.as_bytes());
    let start = call.integer_or(2, 1)?;
    if start == 0 {
        return Err(call.bad(2, "offset must be 1 or greater"));
    }
    let short = || call.bad(1, "data string too short");
    let mut at = usize::try_from(start - 1).map_err(|_| short())?;
    let mut format = Format::new(&call, &text);
    let mut values: Vec<Value> = Vec::new();
    while let Some((letter, item)) = format.next()? {
        at = at.saturating_add(format.padding(item, at));
        let mut len = item.len();
        if len > data.len() || at > data.len() - len {
            return Err(short());
        }
        match item {
            Item::Signed(n) | Item::Unsigned(n) => {
                let mut bytes = [0; MAX_INTEGER];
                bytes[..n].copy_from_slice(&data[at..at + n]);
                format.ordered(&mut bytes[..n]);
                let mut low = [0; 8];
                low.copy_from_slice(&bytes[..8]);
                let value = u64::from_le_bytes(low);
                values.push(Value::Number(match item {
                    Item::Signed(_) => {
                        let unused = 64 - 8 * n.clamp(1, 8) as u32;
                        (((value << unused) as i64) >> unused) as f64
                    }
                    _ => value as f64,
                }));
            }
            Item::Float => {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(&data[at..at + 4]);
                format.ordered(&mut bytes);
                values.push(Value::Number(f64::from(f32::from_le_bytes(bytes))));
            }
            Item::Double => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&data[at..at + 8]);
                format.ordered(&mut bytes);
                values.push(Value::Number(f64::from_le_bytes(bytes)));
            }
            Item::Chars(n) => {
                if n == 0 {
                    // The number read before says how many.
                    let before = match values.last() {
                        Some(Value::Number(n)) => *n,
                        _ => return Err(located(lua, "format 'c0' needs a previous size")),
                    };
                    values.pop();
                    len = before.max(0.0) as usize;
                    if before < 0.0 || len > data.len() || at > data.len() - len {
                        return Err(short());
                    }
                }
                values.push(Value::String(lua.create_string(&data[at..at + len])?));
            }
            Item::Zeroed => {
                let Some(end) = data[at..].iter().position(|&b| b == 0) else {
                    return Err(located(lua, "unfinished string in data"));
                };
                values.push(Value::String(lua.create_string(&data[at..at + end])?));
                len = end + 1;
            }
            Item::Padding => {}
            Item::Nothing => format.control(letter)?,
        }
        at += len;
    }
    values.push(Value::Integer(at as i64 + 1));
    Ok(MultiValue::from_vec(values))
}

/// `struct.size(format)`
fn size(lua: &Lua, args: MultiValue) -> Result<i64> {
    let call = Call::new(lua, "size", args);
    let text = call.string(0)?;
    let text = text.as_bytes();
    let mut format = Format::new(&call, &text);
    let mut at: usize = 0;
    while let Some((letter, item)) = format.next()? {
        at += format.padding(item, at);
        match item {
            Item::Zeroed => return Err(call.bad(0, "option 's' has no fixed size")),
            Item::Chars(0) => return Err(call.bad(0, "option 'c0' has no fixed size")),
            // Letters that are unknown have no size, either.
            Item::Nothing if letter.is_ascii_alphanumeric() => {}
            Item::Nothing => format.control(letter)?,
            _ => {}
        }
        at += item.len();
        if at > i32::MAX as usize {
            return Err(located(lua, "integral size overflow"));
        }
    }
    Ok(at as i64)
}
