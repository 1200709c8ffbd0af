//! Strings as arrays of bits (<https://redis.io/docs/latest/commands/?group=bitmap>). Bit 0 is the highest of byte 0.

use super::strings::check_length;
use super::{Ctx, Error, Event, Flags, Group, Handler, Result, Spec};
use crate::store::num::IntBuf;
use crate::store::str::Str;
use crate::store::value::Value;

const READ: Flags = Flags::READONLY;
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);

const fn one_key(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Spec {
    Spec::new(Group::Bitmap, name, arity, handler).flags(flags).keys(1, 1, 1)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    one_key("setbit", 4, GROW, setbit).doc("2.2.0", "Sets or clears a bit of a string."),
    one_key("getbit", 3, READ.with(Flags::FAST), getbit).doc("2.2.0", "Returns a bit of a string."),
    one_key("bitcount", -2, READ, bitcount).doc("2.6.0", "Counts the bits that are set."),
    one_key("bitpos", -3, READ, bitpos).doc("2.8.7", "Finds the first bit that is set or clear."),
    one_key("bitop", -4, GROW, bitop).keys(2, -1, 1).doc("2.6.0", "Combines strings bit by bit."),
    one_key("bitfield", -2, GROW, bitfield)
        .doc("3.2.0", "Reads and changes integers of any width in a string."),
    one_key("bitfield_ro", -2, READ.with(Flags::FAST), bitfield_ro)
        .doc("6.0.0", "Reads integers of any width in a string."),
];

/// The bytes at `key`; none where there is no key.
fn bytes<'a>(ctx: &'a mut super::Keys<'_>, key: &[u8], buf: &'a mut IntBuf) -> Result<Option<&'a [u8]>> {
    Ok(ctx.string(key)?.map(|s| s.as_bytes(buf)))
}

/// The position of a bit that argument `i` says; with `width` given, `#n` stands for the `n`th integer of that width.
fn bit_offset(ctx: &Ctx<'_>, i: usize, width: Option<u32>) -> Result<u64> {
    const TEXT: Error =
        Error::Text(std::borrow::Cow::Borrowed("ERR bit offset is not an integer or out of range"));
    let (factor, digits) = match (width, ctx.args.at(i)) {
        (Some(width), [b'#', rest @ ..]) => (u64::from(width), rest),
        (_, all) => (1, all),
    };
    let n = crate::store::num::parse_int(digits).and_then(|n| u64::try_from(n).ok()).ok_or(TEXT)?;
    let offset = n.checked_mul(factor).filter(|&o| o <= i64::MAX as u64).ok_or(TEXT)?;
    check_length(ctx, (offset / 8) as usize + 1).map_err(|_| TEXT)?;
    Ok(offset)
}

/// `SETBIT key offset value`
fn setbit(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let offset = bit_offset(ctx, 2, None)?;
    let on = match ctx.int(3) {
        Ok(n @ (0 | 1)) => n == 1,
        _ => return Err("ERR bit is not an integer or out of range".into()),
    };
    let (byte, mask) = ((offset / 8) as usize, 0x80 >> (offset % 8));
    let grows = ctx.keys.string(key)?.is_none_or(|s| s.len() <= byte);
    let bits = ctx.keys.string_or_new(key)?.make_mut();
    if grows {
        bits.resize(byte + 1, 0);
    }
    let was = bits[byte] & mask != 0;
    if was != on {
        bits[byte] ^= mask;
    }
    if was != on || grows {
        ctx.keys.modified(ctx.io, Event::String, "setbit", key);
    }
    ctx.reply.int(i64::from(was));
    Ok(())
}

/// `GETBIT key offset`
fn getbit(ctx: &mut Ctx<'_>) -> Result {
    let offset = bit_offset(ctx, 2, None)?;
    let mut buf = IntBuf::new();
    let bits = bytes(&mut ctx.keys, ctx.args.at(1), &mut buf)?.unwrap_or_default();
    let byte = bits.get((offset / 8) as usize).copied().unwrap_or(0);
    ctx.reply.int(i64::from(byte >> (7 - offset % 8) & 1));
    Ok(())
}

/// The bits from `start` to behind `end`, out of `bytes * 8`, that a range of bytes or bits stands for, as its
/// arguments from `at` on say; negative numbers count from the end. With no `end` in the arguments it goes to the end.
fn bit_range(ctx: &Ctx<'_>, at: usize, bytes: usize) -> Result<std::ops::Range<u64>> {
    let unit = match ctx.args.get(at + 2) {
        Some(_) if ctx.args.is(at + 2, "bit") => 1,
        Some(_) if ctx.args.is(at + 2, "byte") => 8,
        Some(_) => return Err(Error::Syntax),
        None => 8,
    };
    let total = bytes as i64 * 8 / unit;
    let start = if ctx.args.len() > at { ctx.int(at)? } else { 0 };
    let end = if ctx.args.len() > at + 1 { ctx.int(at + 1)? } else { total - 1 };
    let clamp = |i: i64| if i < 0 { total.saturating_add(i).max(0) } else { i };
    let (start, end) = (clamp(start), clamp(end).min(total - 1));
    if start > end { Ok(0..0) } else { Ok((start * unit) as u64..((end + 1) * unit) as u64) }
}

/// Calls `f` with each byte that has a part in a range of bits, the bits outside cleared, and which those inside are.
fn masked(bits: &[u8], range: std::ops::Range<u64>) -> impl Iterator<Item = (u8, u8)> {
    let first = (range.start / 8) as usize;
    let last = range.end.div_ceil(8) as usize;
    bits.get(first..last).unwrap_or_default().iter().enumerate().map(move |(i, &byte)| {
        let mut mask = 0xff;
        if i == 0 {
            mask &= 0xff >> (range.start % 8);
        }
        if first + i + 1 == last && !range.end.is_multiple_of(8) {
            mask &= !(0xff >> (range.end % 8));
        }
        (byte & mask, mask)
    })
}

/// `BITCOUNT key [start end [BYTE | BIT]]`
fn bitcount(ctx: &mut Ctx<'_>) -> Result {
    let mut buf = IntBuf::new();
    let key = ctx.args.at(1);
    let len = ctx.keys.string(key)?.map(Str::len);
    // Both before the beginning and the wrong way round: nothing, whatever follows.
    let crossed = |start: i64, end: i64| start < 0 && end < 0 && start > end;
    let nothing = matches!(ctx.args.len(), 4 | 5) && len.is_some() && crossed(ctx.int(2)?, ctx.int(3)?);
    let Some(len) = len.filter(|_| !nothing) else {
        ctx.reply.int(0);
        return Ok(());
    };
    if ctx.args.len() == 3 || ctx.args.len() > 5 {
        return Err(Error::Syntax);
    }
    let range = bit_range(ctx, 2, len)?;
    let bits = bytes(&mut ctx.keys, key, &mut buf)?.unwrap_or_default();
    // Whole words where there are many: the ends are what the masks are for.
    let ones = if range == (0..len as u64 * 8) {
        let (words, rest) = bits.as_chunks::<8>();
        words.iter().map(|w| u64::from(u64::from_ne_bytes(*w).count_ones())).sum::<u64>()
            + rest.iter().map(|b| u64::from(b.count_ones())).sum::<u64>()
    } else {
        masked(bits, range).map(|(b, _)| u64::from(b.count_ones())).sum()
    };
    ctx.reply.int(ones as i64);
    Ok(())
}

/// `BITPOS key bit [start [end [BYTE | BIT]]]`
fn bitpos(ctx: &mut Ctx<'_>) -> Result {
    let key = ctx.args.at(1);
    let wanted = match ctx.int(2)? {
        n @ (0 | 1) => n == 1,
        _ => return Err("ERR The bit argument must be 1 or 0.".into()),
    };
    let Some(len) = ctx.keys.string(key)?.map(Str::len) else {
        ctx.reply.int(if wanted { -1 } else { 0 });
        return Ok(());
    };
    if ctx.args.len() > 6 {
        return Err(Error::Syntax);
    }
    let range = bit_range(ctx, 3, len)?;
    let mut buf = IntBuf::new();
    let bits = bytes(&mut ctx.keys, key, &mut buf)?.unwrap_or_default();
    let first = range.start / 8 * 8;
    let hit = masked(bits, range.clone())
        .map(|(byte, mask)| if wanted { byte } else { !byte & mask })
        .enumerate()
        .find(|(_, byte)| *byte != 0)
        .map(|(i, byte)| first as i64 + i as i64 * 8 + i64::from(byte.leading_zeros()));
    // Behind a string there are zeros without end, unless the caller has set one.
    let behind = !wanted && ctx.args.len() < 5 && !range.is_empty();
    ctx.reply.int(hit.unwrap_or(if behind { range.end as i64 } else { -1 }));
    Ok(())
}

/// `BITOP AND | OR | XOR | NOT destkey key [key …]`
fn bitop(ctx: &mut Ctx<'_>) -> Result {
    let combine: fn(u8, u8) -> u8 = match ctx.args.at(1).to_ascii_uppercase().as_slice() {
        b"AND" => |a, b| a & b,
        b"OR" => |a, b| a | b,
        b"XOR" => |a, b| a ^ b,
        b"NOT" => |a, _| !a,
        _ => return Err(Error::Syntax),
    };
    if ctx.args.is(1, "not") && ctx.args.len() != 4 {
        return Err("ERR BITOP NOT must be called with a single source key.".into());
    }
    let target = ctx.args.at(2);
    let mut sources: Vec<Vec<u8>> = Vec::with_capacity(ctx.args.len() - 3);
    for key in ctx.args.from(3) {
        sources.push(bytes(&mut ctx.keys, key, &mut IntBuf::new())?.unwrap_or_default().to_vec());
    }
    let len = sources.iter().map(Vec::len).max().unwrap_or(0);
    let mut result = sources.swap_remove(0);
    result.resize(len, 0);
    if ctx.args.is(1, "not") {
        result.iter_mut().for_each(|b| *b = combine(*b, 0));
    }
    for source in &sources {
        let padded = source.iter().copied().chain(std::iter::repeat(0));
        result.iter_mut().zip(padded).for_each(|(a, b)| *a = combine(*a, b));
    }
    if len > 0 {
        let mut string = Str::raw(b"");
        *string.make_mut() = result;
        ctx.keys.put(target, Value::Str(string), None);
        ctx.keys.modified(ctx.io, Event::String, "set", target);
    } else if ctx.keys.delete(target, false) {
        ctx.keys.modified(ctx.io, Event::Generic, "del", target);
    }
    ctx.reply.int(len as i64);
    Ok(())
}

/// What happens where an integer of BITFIELD leaves its width.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// An integer type of BITFIELD: 1 to 64 bits signed, 1 to 63 unsigned.
#[derive(Clone, Copy)]
struct Width {
    signed: bool,
    bits: u32,
}

impl Width {
    fn parse(text: &[u8]) -> Option<Width> {
        let (signed, digits) = match text {
            [b'i', rest @ ..] => (true, rest),
            [b'u', rest @ ..] => (false, rest),
            _ => return None,
        };
        let bits = crate::store::num::parse_int(digits)?;
        let most = if signed { 64 } else { 63 };
        (1..=most).contains(&bits).then_some(Width { signed, bits: bits as u32 })
    }

    fn min(self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    fn max(self) -> i128 {
        if self.signed { (1 << (self.bits - 1)) - 1 } else { (1 << self.bits) - 1 }
    }

    /// The number that SET was given: for an unsigned type a negative one stands for a very large one.
    fn as_given(self, n: i64) -> i128 {
        if self.signed { i128::from(n) } else { i128::from(n as u64) }
    }

    /// The value that is stored for `n`, unless it does not fit and that is a failure.
    fn fit(self, n: i128, overflow: Overflow) -> Option<i64> {
        if (self.min()..=self.max()).contains(&n) {
            return Some(n as i64);
        }
        match overflow {
            Overflow::Fail => None,
            Overflow::Saturate => Some(n.clamp(self.min(), self.max()) as i64),
            Overflow::Wrap => Some(self.extend(n as u64 & (u64::MAX >> (64 - self.bits)))),
        }
    }

    /// The value of the lowest bits of `raw`; those above are zero.
    fn extend(self, raw: u64) -> i64 {
        let shift = 64 - self.bits;
        if self.signed { ((raw << shift) as i64) >> shift } else { raw as i64 }
    }

    fn get(self, bits: &[u8], offset: u64) -> i64 {
        let one = |i: u64| bits.get((i / 8) as usize).map_or(0, |b| u64::from(b >> (7 - i % 8) & 1));
        self.extend((offset..offset + u64::from(self.bits)).fold(0, |raw, i| raw << 1 | one(i)))
    }

    /// The bits must be there.
    fn set(self, bits: &mut [u8], offset: u64, value: i64) {
        for n in 0..self.bits {
            let i = offset + u64::from(n);
            let (byte, mask) = (&mut bits[(i / 8) as usize], 0x80u8 >> (i % 8));
            let on = value as u64 >> (self.bits - 1 - n) & 1 != 0;
            *byte = if on { *byte | mask } else { *byte & !mask };
        }
    }
}

#[derive(Clone, Copy)]
enum FieldOp {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

/// The operations of BITFIELD: what, on which integer, at which bit.
fn parse_fields(ctx: &Ctx<'_>, readonly: bool) -> Result<Vec<(FieldOp, Width, u64)>> {
    let (mut ops, mut overflow, mut i) = (Vec::new(), Overflow::Wrap, 2);
    while i < ctx.args.len() {
        let left = ctx.args.len() - i - 1;
        let word = ctx.args.at(i).to_ascii_uppercase();
        match word.as_slice() {
            b"OVERFLOW" if left >= 1 => {
                overflow = match ctx.args.at(i + 1).to_ascii_uppercase().as_slice() {
                    b"WRAP" => Overflow::Wrap,
                    b"SAT" => Overflow::Saturate,
                    b"FAIL" => Overflow::Fail,
                    _ => return Err("ERR Invalid OVERFLOW type specified".into()),
                };
                i += 2;
                continue;
            }
            b"GET" if left >= 2 => {}
            b"SET" | b"INCRBY" if left >= 3 => {}
            _ => return Err(Error::Syntax),
        }
        let width = Width::parse(ctx.args.at(i + 1)).ok_or(Error::Text(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.".into(),
        ))?;
        let offset = bit_offset(ctx, i + 2, Some(width.bits))?;
        let op = match word.as_slice() {
            b"GET" => FieldOp::Get,
            b"SET" => FieldOp::Set(ctx.int(i + 3)?, overflow),
            _ => FieldOp::Add(ctx.int(i + 3)?, overflow),
        };
        i += if matches!(op, FieldOp::Get) { 3 } else { 4 };
        ops.push((op, width, offset));
    }
    if readonly && ops.iter().any(|op| !matches!(op.0, FieldOp::Get)) {
        return Err("ERR BITFIELD_RO only supports the GET subcommand".into());
    }
    Ok(ops)
}

/// `BITFIELD key [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset value | INCRBY type offset increment …]`
fn bitfield(ctx: &mut Ctx<'_>) -> Result {
    run_fields(ctx, false)
}

/// `BITFIELD_RO key [GET type offset …]`
fn bitfield_ro(ctx: &mut Ctx<'_>) -> Result {
    run_fields(ctx, true)
}

fn run_fields(ctx: &mut Ctx<'_>, readonly: bool) -> Result {
    let key = ctx.args.at(1);
    let ops = parse_fields(ctx, readonly)?;
    let ends = ops
        .iter()
        .filter(|op| !matches!(op.0, FieldOp::Get))
        .map(|(_, width, at)| at + u64::from(width.bits));
    let Some(end) = ends.max() else {
        let mut buf = IntBuf::new();
        let bits = bytes(&mut ctx.keys, key, &mut buf)?.unwrap_or_default();
        ctx.reply.array(ops.len());
        ops.iter().for_each(|(_, width, at)| ctx.reply.int(width.get(bits, *at)));
        return Ok(());
    };
    let needed = end.div_ceil(8) as usize;
    check_length(ctx, needed)?;
    let old = ctx.keys.string(key)?.map_or(0, Str::len);
    let bits = ctx.keys.string_or_new(key)?.make_mut();
    let (mut changes, grows) = (0, old < needed);
    if grows {
        bits.resize(needed, 0);
    }
    ctx.reply.array(ops.len());
    for (op, width, at) in ops {
        let was = width.get(bits, at);
        let (new, overflow) = match op {
            FieldOp::Get => {
                ctx.reply.int(was);
                continue;
            }
            FieldOp::Set(n, overflow) => (width.as_given(n), overflow),
            FieldOp::Add(n, overflow) => (i128::from(was) + i128::from(n), overflow),
        };
        match width.fit(new, overflow) {
            Some(value) => {
                width.set(bits, at, value);
                changes += u64::from(grows || value != was);
                ctx.reply.int(if matches!(op, FieldOp::Set(..)) { was } else { value });
            }
            None => ctx.reply.null(),
        }
    }
    // The string may have grown although every operation failed.
    if changes > 0 || grows {
        ctx.keys.modified(ctx.io, Event::String, "setbit", key);
        ctx.keys.dirty(u64::max(changes, 1) - 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_width_at_any_bit() {
        let mut rng = crate::store::rng::Rng::new(9);
        for _ in 0..2000 {
            let signed = rng.one_in(2);
            let width = Width { signed, bits: 1 + rng.below(if signed { 64 } else { 63 }) as u32 };
            let at = rng.below(100) as u64;
            let before: Vec<u8> = (0..24).map(|_| rng.next_u64() as u8).collect();
            let value = width.fit(i128::from(rng.next_u64() as i64), Overflow::Wrap).unwrap();
            assert!((width.min()..=width.max()).contains(&i128::from(value)));
            let mut bits = before.clone();
            width.set(&mut bits, at, value);
            assert_eq!(width.get(&bits, at), value);
            let one = Width { signed: false, bits: 1 };
            let own = at..at + u64::from(width.bits);
            let same = |i: &u64| own.contains(i) || one.get(&bits, *i) == one.get(&before, *i);
            assert!((0..24 * 8).all(|i| same(&i)), "a bit outside has changed");
        }
    }

    #[test]
    fn overflow_as_told() {
        let i8_ = Width::parse(b"i8").unwrap();
        assert_eq!(i8_.fit(128, Overflow::Wrap), Some(-128));
        assert_eq!(i8_.fit(-1000, Overflow::Saturate), Some(-128));
        assert_eq!(i8_.fit(128, Overflow::Fail), None);
        assert_eq!(Width::parse(b"u63").unwrap().fit(-1, Overflow::Wrap), Some(i64::MAX));
        assert!([&b"u64"[..], b"i65", b"u0", b"8", b"i", b"i08"].iter().all(|t| Width::parse(t).is_none()));
    }

    #[test]
    fn ends_of_a_range_are_masked() {
        let parts = |range| masked(&[0xff, 0xff, 0xff], range).map(|p| p.0).collect::<Vec<_>>();
        assert_eq!(parts(3..20), [0x1f, 0xff, 0xf0]);
        assert_eq!(parts(9..11), [0x60]);
        assert_eq!(parts(8..8), Vec::<u8>::new());
        assert_eq!(parts(0..24), [0xff; 3]);
    }
}
