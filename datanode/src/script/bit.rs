//! The library `bit`: operations on 32 bits (<https://bitop.luajit.org/api.html>).

use mlua::{Lua, MultiValue, Result, Table};

use super::raise::Call;

/// Adding this to a number leaves its lowest 32 bits, rounded, in the lowest bits of the mantissa.
const MAGIC: f64 = 6_755_399_441_055_744.0;

fn bits(x: f64) -> u32 {
    (x + MAGIC).to_bits() as u32
}

fn signed(b: u32) -> f64 {
    f64::from(b as i32)
}

/// Makes the library's table.
pub fn table(lua: &Lua) -> Result<Table> {
    let t = lua.create_table()?;
    let one = |name: &'static str, f: fn(u32) -> u32| {
        let run = move |lua: &Lua, args: MultiValue| {
            let call = Call::new(lua, name, args);
            Ok(signed(f(bits(call.number(0)?))))
        };
        t.set(name, lua.create_function(run)?)
    };
    one("tobit", |b| b)?;
    one("bnot", |b| !b)?;
    one("bswap", u32::swap_bytes)?;
    let fold = |name: &'static str, f: fn(u32, u32) -> u32| {
        let run = move |lua: &Lua, args: MultiValue| {
            let call = Call::new(lua, name, args);
            let mut b = bits(call.number(0)?);
            for i in 1..call.len() {
                b = f(b, bits(call.number(i)?));
            }
            Ok(signed(b))
        };
        t.set(name, lua.create_function(run)?)
    };
    fold("band", |a, b| a & b)?;
    fold("bor", |a, b| a | b)?;
    fold("bxor", |a, b| a ^ b)?;
    // Of the distance only the lowest five bits count.
    let shift = |name: &'static str, f: fn(u32, u32) -> u32| {
        let run = move |lua: &Lua, args: MultiValue| {
            let call = Call::new(lua, name, args);
            Ok(signed(f(bits(call.number(0)?), bits(call.number(1)?) & 31)))
        };
        t.set(name, lua.create_function(run)?)
    };
    shift("lshift", |b, n| b << n)?;
    shift("rshift", |b, n| b >> n)?;
    shift("arshift", |b, n| ((b as i32) >> n) as u32)?;
    shift("rol", u32::rotate_left)?;
    shift("ror", u32::rotate_right)?;
    t.set("tohex", lua.create_function(tohex)?)?;
    Ok(t)
}

/// `bit.tohex(x [, digits])`: negative digits ask for capitals.
fn tohex(lua: &Lua, args: MultiValue) -> Result<String> {
    const DIGITS: u32 = 8;
    let call = Call::new(lua, "tohex", args);
    let b = bits(call.number(0)?);
    let n = if call.lacks(1) { DIGITS as i32 } else { bits(call.number(1)?) as i32 };
    let text = if n < 0 { format!("{b:08X}") } else { format!("{b:08x}") };
    Ok(text[(DIGITS - n.unsigned_abs().min(DIGITS)) as usize..].to_owned())
}
