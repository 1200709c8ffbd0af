//! `math.random` as Redis has it: the same numbers on every machine, from the interpreter's start on
//! (<https://pubs.opengroup.org/onlinepubs/9699919799/functions/drand48.html>).

use std::rc::Rc;

use mlua::{Lua, MultiValue, Result, Table};

use super::engine::Shared;
use super::raise::{Call, located, to_i64};

/// The state of `lrand48`: 48 bits.
#[derive(Debug, Clone, Copy)]
pub struct Random(u64);

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;
/// The largest number drawn.
const MAX: u32 = i32::MAX as u32;

impl Default for Random {
    fn default() -> Random {
        Random(0x1234_ABCD_330E)
    }
}

impl Random {
    fn seeded(seed: i32) -> Random {
        Random(u64::from(seed as u32) << 16 | 0x330E)
    }

    /// The next number of 31 bits.
    fn draw(&mut self) -> u32 {
        self.0 = (self.0.wrapping_mul(MULTIPLIER) + INCREMENT) & MASK;
        (self.0 >> 17) as u32
    }
}

/// Puts `random` and `randomseed` in the place of the interpreter's.
pub fn replace(lua: &Lua, math: &Table, shared: &Rc<Shared>) -> Result<()> {
    let s = shared.clone();
    let random = move |lua: &Lua, args: MultiValue| {
        let call = Call::new(lua, "random", args);
        let mut state = s.random.get();
        let part = f64::from(state.draw() % MAX) / f64::from(MAX);
        s.random.set(state);
        let (least, most) = match call.len() {
            0 => return Ok(part),
            1 => (1, to_i64(call.number(0)?)),
            2 => (to_i64(call.number(0)?), to_i64(call.number(1)?)),
            _ => return Err(located(lua, "wrong number of arguments")),
        };
        if least > most {
            return Err(call.bad(call.len() - 1, "interval is empty"));
        }
        Ok((part * (most as f64 - least as f64 + 1.0)).floor() + least as f64)
    };
    math.set("random", lua.create_function(random)?)?;
    let s = shared.clone();
    let seed = move |lua: &Lua, args: MultiValue| {
        let call = Call::new(lua, "randomseed", args);
        s.random.set(Random::seeded(to_i64(call.number(0)?) as i32));
        Ok(())
    };
    math.set("randomseed", lua.create_function(seed)?)
}
